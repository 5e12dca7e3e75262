"""What does a log on Kafka refuse, and does the sentence say what to do?"""

import uuid

import aiokafka
import pytest

from engine.errors import UsageError
from provider_log.log.kafka import KafkaLog
from provider_log.log.kafka.topics import RULES
from provider_log.log.port import LogNotOpened, LogUnavailable, TopicSpec
from tests.kafka.by_hand import make_topic

WRONG = {
    "message.timestamp.type": "CreateTime",
    "cleanup.policy": "compact",
    "retention.ms": "604800000",
    "retention.bytes": "1000000",
    "min.insync.replicas": None,  # one broker cannot have it too small; see test_three_brokers
    "unclean.leader.election.enable": "true",
    "max.message.bytes": "10000",
}


def test_the_version_is_the_one_this_was_written_for() -> None:
    # provider_log/log/kafka uses what aiokafka does not promise to keep: with another version, read it again first.
    assert aiokafka.__version__ == "0.14.0"


def test_every_rule_has_a_setting_that_breaks_it() -> None:
    assert {rule.setting for rule in RULES} == set(WRONG)


@pytest.mark.parametrize(("setting", "value"), [(name, value) for name, value in WRONG.items() if value is not None])
async def test_a_topic_with_a_setting_that_loses_records_is_refused(bootstrap: str, setting: str, value: str) -> None:
    spec = TopicSpec(name=f"made-by-hand-{uuid.uuid4().hex}", partitions=1, record_bytes_max=10_000)
    await make_topic(bootstrap, spec, wrong={setting: value})
    log = await KafkaLog.open(bootstrap)

    with pytest.raises(LogNotOpened, match=rf"{setting}=.*but it is {value}.*kafka-configs.sh .*{setting}="):
        await log.create_topics([spec])

    await log.close()


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "a:1,b"])
async def test_a_bootstrap_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        await KafkaLog.open(text)


async def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        await KafkaLog.open("127.0.0.1:1")


async def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="sasl_plain_pasword"):
        await KafkaLog.open("127.0.0.1:1", settings={"sasl_plain_pasword": "x"})
