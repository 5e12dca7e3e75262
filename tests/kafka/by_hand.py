"""How does somebody make a topic who does not leave it to Turnlog?"""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from provider_log.log.kafka.topics import RULES
from provider_log.log.port import TopicSpec


async def make_topic(bootstrap: str, spec: TopicSpec, *, replicas: int = 1, wrong: dict[str, str]) -> None:
    """One with the settings it should have, but for what is wrong."""
    settings = {rule.setting: rule.value(spec, replicas) for rule in RULES} | wrong
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(spec.name, spec.partitions, replicas, topic_configs=settings)])
    await admin.close()
