"""Which applications on Kafka does a provider not serve, which work does it not do, and does it say what to do?"""

import asyncio
import uuid
from pathlib import Path

import pytest

from engine import Client, Engine, OrchestrationContext, OrchestrationFailed, Registry, activity, orchestration
from engine.clock import SystemClock
from engine.errors import Fatal, UsageError
from provider_log import LogProvider
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogNotOpened, TopicSpec
from provider_log.topics import Topics
from tests.kafka.by_hand import change_topic, delete_topic, good_settings, make_topic

WAIT_S = 60
MIB = 1024 * 1024


@activity
async def writes(size: int) -> str:
    return "x" * size


@orchestration
async def asks_for(ctx: OrchestrationContext, size: int) -> int:
    return len(await ctx.schedule_activity(writes, size))


REGISTRY = Registry(orchestrations=[asks_for], activities=[writes])


@pytest.fixture
def app() -> str:
    return f"a{uuid.uuid4().hex}"


async def begin(bootstrap: str, directory: Path, app: str, partitions: int | None = None) -> None:
    """Start a node of an application, and end it."""
    async with LogProvider.kafka(bootstrap, directory, app=app, partitions=partitions):
        pass


async def test_a_history_that_takes_less_than_an_activity_may_return_is_refused(
    bootstrap: str, tmp_path: Path, app: str
) -> None:
    history = TopicSpec(name=Topics.of(app).history, partitions=1, record_bytes_max=4 * MIB)
    await make_topic(bootstrap, history, wrong={"max.message.bytes": str(MIB)})

    with pytest.raises(LogNotOpened, match=rf"{app}.history with max.message.bytes=.* is {MIB}: .*kafka-configs.sh"):
        await begin(bootstrap, tmp_path, app)


class Skewed(SystemClock):
    """A machine whose wall clock is set to another time."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms


@pytest.mark.parametrize(("ahead_ms", "where"), [(60_000, "ahead"), (-60_000, "behind")])
async def test_a_node_whose_clock_is_not_that_of_the_brokers_owns_nothing(
    bootstrap: str, tmp_path: Path, app: str, ahead_ms: int, where: str
) -> None:
    provider = LogProvider.kafka(bootstrap, tmp_path, app=app, clock=Skewed(ahead_ms))
    with pytest.raises(
        Fatal, match=rf"clock to be within 5000 ms of .*, but it is [56]\d\d\d\d ms {where}; set the clocks"
    ):
        async with provider:
            pass
    async with LogProvider.kafka(bootstrap, tmp_path, app=app, clock=Skewed(ahead_ms // 20)) as later:
        assert later.ready


async def test_a_result_larger_than_the_log_takes_fails_its_instance_alone(
    bootstrap: str, tmp_path: Path, app: str
) -> None:
    async with LogProvider.kafka(bootstrap, tmp_path, app=app) as provider, Engine(provider, REGISTRY):
        client = Client(provider)
        await client.start("asks_for", 3 * MIB, instance="large")
        with pytest.raises(OrchestrationFailed, match=rf"result of activity writes to have at most {2 * MIB} bytes"):
            await client.wait("large", WAIT_S)

        await client.start("asks_for", 1, instance="small")
        assert await client.wait("small", WAIT_S, output=int) == 1


async def test_a_topic_that_takes_less_than_before_stops_the_node_and_the_next_one_goes_on_once_it_is_mended(
    bootstrap: str, tmp_path: Path, app: str
) -> None:
    history = next(spec for spec in Topics.of(app).specs(1) if spec.name == Topics.of(app).history)
    async with LogProvider.kafka(bootstrap, tmp_path, app=app) as provider:
        running = asyncio.ensure_future(Engine(provider, REGISTRY).run())
        await change_topic(bootstrap, history.name, good_settings(history, 1) | {"max.message.bytes": str(MIB)})
        await Client(provider).start("asks_for", 3 * MIB // 2, instance="i")
        with pytest.raises(
            Fatal, match=rf"{history.name} to take .*kafka-configs.sh .*{history.name} .*max.message.bytes="
        ):
            await running
    with pytest.raises(LogNotOpened, match=rf"{history.name} with max.message.bytes="):
        await begin(bootstrap, tmp_path, app)

    await change_topic(bootstrap, history.name, good_settings(history, 1))
    async with LogProvider.kafka(bootstrap, tmp_path, app=app) as provider, Engine(provider, REGISTRY):
        assert await Client(provider).wait("i", WAIT_S, output=int) == 3 * MIB // 2


async def test_another_number_of_partitions_is_refused(bootstrap: str, tmp_path: Path, app: str) -> None:
    await begin(bootstrap, tmp_path, app, partitions=2)

    with pytest.raises(UsageError, match=r"expected 3 partitions .* has 2; their number is fixed"):
        await begin(bootstrap, tmp_path, app, partitions=3)


async def test_a_topic_with_another_number_of_partitions_than_the_rest_is_refused(
    bootstrap: str, tmp_path: Path, app: str
) -> None:
    history = TopicSpec(name=Topics.of(app).history, partitions=1, record_bytes_max=4 * MIB)
    worker = TopicSpec(name=Topics.of(app).worker, partitions=3, record_bytes_max=4 * MIB)
    await make_topic(bootstrap, history, wrong={})
    await make_topic(bootstrap, worker, wrong={})

    with pytest.raises(LogNotOpened, match=rf"1 partitions in every topic .*'{worker.name}': 3.*make the topic anew"):
        await begin(bootstrap, tmp_path, app)


@pytest.mark.parametrize("name", ["history", "owners"])
async def test_an_application_that_lost_a_topic_is_refused_and_the_topic_is_not_made(
    bootstrap: str, tmp_path: Path, app: str, name: str
) -> None:
    await begin(bootstrap, tmp_path, app)
    await delete_topic(bootstrap, f"{app}.{name}")

    for _ in range(2):
        with pytest.raises(
            LogNotOpened, match=rf"but {app}\.{name} cannot be seen .* bring it back, or use another app"
        ):
            await begin(bootstrap, tmp_path, app)


async def test_topics_without_records_are_completed_as_a_creation_that_was_cut_off(
    bootstrap: str, tmp_path: Path, app: str
) -> None:
    worker = TopicSpec(name=Topics.of(app).worker, partitions=2, record_bytes_max=4 * MIB)
    await make_topic(bootstrap, worker, wrong={})

    async with LogProvider.kafka(bootstrap, tmp_path, app=app) as provider:
        assert provider.partitions == 2


async def test_topics_that_were_copied_from_another_cluster_are_refused(
    bootstrap: str, tmp_path: Path, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setattr(KafkaLog, "cluster_id", "over-there")
        await begin(bootstrap, tmp_path / "there", app)

    with pytest.raises(
        Fatal, match=r"was created for .* on log over-there .*Use the brokers it was created on, or another"
    ):
        await begin(bootstrap, tmp_path / "here", app)


async def test_a_directory_with_stores_of_another_cluster_is_refused(
    bootstrap: str, tmp_path: Path, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(bootstrap, tmp_path, app)
    monkeypatch.setattr(KafkaLog, "cluster_id", "over-there")

    with pytest.raises(UsageError, match=r"stores of log over-there, .* are those of .*or another data directory"):
        await begin(bootstrap, tmp_path, app)
