"""How does somebody make, change or delete a topic who does not leave it to Turnlog?"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from provider_log.log.kafka.topics import RULES
from provider_log.log.port import TopicSpec


@asynccontextmanager
async def administering(bootstrap: str) -> AsyncGenerator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def good_settings(spec: TopicSpec, replicas: int) -> dict[str, str]:
    return {rule.setting: rule.value(spec, replicas) for rule in RULES}


async def make_topic(bootstrap: str, spec: TopicSpec, *, replicas: int = 1, wrong: dict[str, str]) -> None:
    """One with the settings it should have, but for what is wrong."""
    settings = good_settings(spec, replicas) | wrong
    async with administering(bootstrap) as admin:
        await admin.create_topics([NewTopic(spec.name, spec.partitions, replicas, topic_configs=settings)])


async def change_topic(bootstrap: str, topic: str, settings: dict[str, str]) -> None:
    """Give a topic settings; all others become the brokers' own."""
    async with administering(bootstrap) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])


async def delete_topic(bootstrap: str, topic: str) -> None:
    async with administering(bootstrap) as admin:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110  # a broker tells nobody when it is gone
            await asyncio.sleep(0.02)
