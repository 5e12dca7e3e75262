"""Who is let in by brokers that do not let everybody in, and what is said to everybody else?"""

import uuid
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from engine import Client, Engine
from provider_log import LogProvider
from provider_log.bench.workloads import REGISTRY
from provider_log.log.kafka import ClientSettings, KafkaLog
from provider_log.log.kafka.security import SaslMechanism
from provider_log.log.port import LogBroken, LogNotOpened, LogRecord, LogUnavailable, TopicSpec
from tests.kafka.secure import LEAVER, SecureBroker, secure_broker

WAIT_S = 60
OUTPUT = "hello hello hello log"

Settings = Callable[[SecureBroker], ClientSettings]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Generator[SecureBroker]:
    with secure_broker(tmp_path_factory.mktemp("certificates")) as broker:
        yield broker


async def test_an_engine_runs_encrypted_and_under_its_name(secure: SecureBroker, tmp_path: Path) -> None:
    app = f"a{uuid.uuid4().hex}"
    bootstrap = secure.broker.address("SASL_SSL")
    async with (
        LogProvider.kafka(bootstrap, tmp_path, app=app, kafka=secure.scram()) as provider,
        Engine(provider, REGISTRY),
    ):
        await Client(provider).start("hello3", "log", instance="i")
        assert await Client(provider).wait("i", WAIT_S, output=str) == OUTPUT


def without_encryption(secure: SecureBroker) -> ClientSettings:
    settings = secure.scram()
    settings.pop("ssl_cafile")
    return settings | {"security_protocol": "SASL_PLAINTEXT"}


def by_another_mechanism(mechanism: SaslMechanism) -> Settings:
    return lambda secure: secure.scram() | {"sasl_mechanism": mechanism}


@pytest.mark.parametrize(
    "settings",
    [SecureBroker.tls, by_another_mechanism("SCRAM-SHA-256"), by_another_mechanism("PLAIN"), without_encryption],
    ids=["certificate", "scram-256", "plain", "scram-512-unencrypted"],
)
async def test_every_other_way_in_is_open(secure: SecureBroker, settings: Settings) -> None:
    let_in_by = settings(secure)
    log = await KafkaLog.open(secure.broker.address(let_in_by.get("security_protocol", "")), settings=let_in_by)
    assert log.cluster_id
    await log.close()


def wrong_password(secure: SecureBroker) -> ClientSettings:
    return secure.scram() | {"sasl_plain_password": "wrong"}


def wrong_authority(secure: SecureBroker) -> ClientSettings:
    return secure.scram() | {"ssl_cafile": secure.file("stranger.pem")}


def no_certificate(secure: SecureBroker) -> ClientSettings:
    return {"security_protocol": "SSL", "ssl_cafile": secure.file("ca.pem")}


def nothing(_: SecureBroker) -> ClientSettings:
    return {}


@pytest.mark.parametrize(
    ("listener", "settings", "sentence"),
    [
        ("SASL_SSL", wrong_password, "invalid credentials .*; mend sasl_plain_username, sasl_plain_password"),
        ("SASL_SSL", wrong_authority, "certificate verify failed.*; mend ssl_cafile"),
        ("SASL_SSL", nothing, "it speaks TLS; mend security_protocol"),
        ("PLAINTEXT", without_encryption, "it asks for no name; mend security_protocol"),
        ("SSL", no_certificate, "certificate required.*; mend security_protocol, ssl_certfile"),
    ],
    ids=["wrong-password", "wrong-authority", "no-tls", "a-name-nobody-asks-for", "no-certificate"],
)
async def test_who_is_not_let_in_is_told_what_to_mend(
    secure: SecureBroker, listener: str, settings: Settings, sentence: str
) -> None:
    with pytest.raises(LogNotOpened, match=f"(?s)to let us in.*{sentence}"):
        await KafkaLog.open(secure.broker.address(listener), settings=settings(secure))


@pytest.mark.parametrize(
    ("listener", "settings"),
    [("PLAINTEXT", SecureBroker.scram), ("SASL_PLAINTEXT", nothing)],
    ids=["tls", "no-name"],
)
async def test_who_is_shut_out_without_a_word_is_told_what_that_may_be(
    secure: SecureBroker, listener: str, settings: Settings
) -> None:
    # A broker that goes down does the same, so this alone does not say that somebody must act.
    with pytest.raises(LogUnavailable, match="another security_protocol than ") as raised:
        await KafkaLog.open(secure.broker.address(listener), settings=settings(secure))
    assert not isinstance(raised.value, LogBroken)


async def test_the_name_a_certificate_is_for_is_checked_unless_told_otherwise(secure: SecureBroker) -> None:
    elsewhere = secure.broker.address("SASL_SSL").replace("127.0.0.1", "localhost")
    with pytest.raises(LogNotOpened, match=r"Hostname mismatch.*or the name the broker is asked by"):
        await KafkaLog.open(elsewhere, settings=secure.scram())

    log = await KafkaLog.open(elsewhere, settings=secure.scram() | {"ssl_check_hostname": False})
    await log.close()


async def test_a_node_that_is_let_in_no_more_does_not_ask_for_ever(secure: SecureBroker) -> None:
    settings = secure.scram() | {"sasl_plain_username": LEAVER}
    log = await KafkaLog.open(secure.broker.address("SASL_SSL"), settings=settings)
    topic = f"history-{uuid.uuid4().hex}"
    await log.create_topics([TopicSpec(name=topic, partitions=1, record_bytes_max=10_000)])
    reader = await log.open_reader(topic, 0, 0)

    secure.forget(LEAVER)  # who has a connection keeps it; each of these makes its own

    with pytest.raises(LogBroken, match="mend sasl_plain_username"):
        await log.open_producer("x")
    with pytest.raises(LogBroken, match="mend sasl_plain_username"):
        await log.append(LogRecord(topic=topic, partition=0, key=None, value=b"x"))
    with pytest.raises(LogBroken, match="mend sasl_plain_username"):
        await reader.read(1, 60_000)
    await log.close()
