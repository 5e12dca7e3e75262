"""What does a node learn from a schema registry, and what from one that is away or hostile?"""

from collections.abc import AsyncGenerator

import pytest

from engine.clock import SystemClock
from provider_log import codec
from provider_log.schema_registry import AGAIN_MS, SchemaRegistry
from schemas import read_lock, released_text
from tests.registry import FakeRegistry

pytestmark = pytest.mark.anyio

PATIENCE_MS = 10_000
CANCEL = next(released_text(line.fingerprint) for line in read_lock() if line.name == "turnlog.message.CancelInstance")


class Clock(SystemClock):
    """Time that passes by itself, and as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.later_ms = 0

    def boot_ms(self) -> int:
        return super().boot_ms() + self.later_ms


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.fake = FakeRegistry()
        self.registry = SchemaRegistry(self.fake.url, self.clock)

    async def learn(self, *ids: int) -> list[int]:
        await self.registry.learn(ids, PATIENCE_MS)
        return sorted(self.registry.known)


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    bench = Bench()
    yield bench
    await bench.registry.close()


async def test_what_was_told_is_never_asked_again(bench: Bench) -> None:
    bench.fake.register(3, CANCEL)
    with bench.fake.running():
        assert await bench.learn(3, 3) == [3]
        assert await bench.learn(3) == [3]
    assert bench.fake.asked == ["/schemas/ids/3"]
    assert callable(bench.registry.known[3])


async def test_an_id_that_it_does_not_know_is_asked_again_after_a_while(bench: Bench) -> None:
    with bench.fake.running():
        assert await bench.learn(3) == []
        bench.fake.register(3, CANCEL)
        assert await bench.learn(3) == []
        bench.clock.later_ms = AGAIN_MS
        assert await bench.learn(3) == [3]
    assert len(bench.fake.asked) == 2


@pytest.mark.parametrize(
    "answer", [(503, b""), (301, b""), (401, b"{}"), (200, b"<html>"), (200, b"\xff"), (200, b'{"schema": 3}')]
)
async def test_one_that_answers_nothing_usable_is_away(bench: Bench, answer: tuple[int, bytes]) -> None:
    bench.fake.answers["/schemas/ids/3"] = answer
    with bench.fake.running():
        assert await bench.learn(3) == []
        bench.fake.register(3, CANCEL)
        assert await bench.learn(3, 4) == []
        bench.clock.later_ms = AGAIN_MS
        assert await bench.learn(3) == [3]
    assert bench.fake.asked == ["/schemas/ids/3"] * 2


async def test_one_that_is_not_there_is_away_until_it_is(bench: Bench) -> None:
    bench.fake.register(3, CANCEL)
    assert await bench.learn(3) == []
    with bench.fake.running():
        bench.clock.later_ms = AGAIN_MS
        assert await bench.learn(3) == [3]


async def test_what_no_version_can_use_is_known_as_such(bench: Bench) -> None:
    bench.fake.register(1, CANCEL + " " * 70_000)
    bench.fake.register(2, "syntax = 'proto3';", schemaType="PROTOBUF")
    bench.fake.answers["/schemas/ids/3"] = (200, b'"' + b"x" * 3_000_000)
    with bench.fake.running():
        assert await bench.learn(1, 2, 3) == [1, 2, 3]
    says = ["at most 65536 characters", "an Avro schema, but it is 'PROTOBUF'", "an answer of at most 1048576 bytes"]
    for number, sentence in enumerate(says, 1):
        with pytest.raises(codec.Malformed, match=sentence):
            codec.decode_input(b"\x00" + number.to_bytes(4, "big"), [], bench.registry.known)


async def test_nobody_waits_longer_than_his_patience_and_the_answer_counts_when_it_comes(bench: Bench) -> None:
    bench.fake.register(3, CANCEL)
    with bench.fake.running():
        await bench.registry.learn([3], 0)
        assert bench.registry.known == {}
        assert await bench.learn(3) == [3]
    assert bench.fake.asked == ["/schemas/ids/3"]
