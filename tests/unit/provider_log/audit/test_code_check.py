"""Which histories does new code leave? Real ones, with the code that made them, with changed code, and without it."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine import OrchestrationContext, Registry, activity, orchestration
from engine.clock import SystemClock
from engine.errors import UsageError
from provider_log.audit.code_check import CodeCheck, Departure, Unreadable, check_code
from provider_log.audit.replay import Answer
from provider_log.log.embedded import EmbeddedLog, SnapshotView
from provider_log.log.port import LogRecord
from tests.e2e.audited import break_down, family, linger, lose, make_data, never, pack, ship, turn_over, wait_for_word
from tests.unit.provider_log.audit.recorded import TOPIC, read

STILL_RUNNING = ["doomed", "lingers", "waits"]


@pytest.fixture(scope="module")
async def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audited")
    await make_data(path)
    return path


def registry(*changed: Any, without: Any = None, activities: tuple[Any, ...] = (pack, break_down, never)) -> Registry:
    """The code that made the data, but for what is changed or gone."""
    names = {each.__name__.removesuffix("_changed") for each in changed}
    kept = (each for each in (ship, lose, family, turn_over, wait_for_word, linger) if each is not without)
    return Registry(
        orchestrations=[*changed, *(each for each in kept if each.__name__ not in names)], activities=activities
    )


async def checked(data: Path, code: Registry, **options: Any) -> CodeCheck:
    log = SnapshotView(data / "log")
    try:
        return await check_code(log, code, app="turnlog", **options)
    finally:
        await log.close()


def told(found: CodeCheck) -> list[tuple[str, Answer, int | None]]:
    return sorted((each.instance, each.answer, each.event_id) for each in found.departures)


@orchestration(name="wait_for_word")
async def wait_for_word_changed(ctx: OrchestrationContext) -> str:
    async with asyncio.timeout(3600):
        return await ctx.wait_event("sentence", str)


async def test_the_code_that_made_them_agrees_with_all_that_run(data: Path) -> None:
    found = await checked(data, registry())
    assert (found.agrees, found.departures, found.unreadable, found.partitions) == (True, (), (), 2)
    assert (found.instances, found.executions) == (len(STILL_RUNNING), len(STILL_RUNNING))


async def test_what_has_ended_is_replayed_if_it_is_asked_for(data: Path) -> None:
    found = await checked(data, registry(), ended=True)
    assert found.agrees
    # Three executions of what continued as new twice, and one of that which was pruned down to its last.
    assert found.executions == found.instances + 2
    assert found.instances > 15


async def test_what_was_deleted_is_not_asked_about(data: Path) -> None:
    none = await checked(data, Registry(), ended=True)
    instances = {each.instance for each in none.departures}
    assert {"doomed", "family-0", "family-0::sub::2", "cut", "over"} <= instances
    assert not [each for each in instances if each.startswith("buried")]
    assert [each.execution_id for each in none.departures if each.instance == "cut"] == [3]


async def test_changed_code_is_named_by_instance_and_event(data: Path) -> None:
    found = await checked(data, registry(wait_for_word_changed))
    assert told(found) == [("doomed", Answer.NONDETERMINISM, 3), ("waits", Answer.NONDETERMINISM, 3)]
    waits = next(each for each in found.departures if each.instance == "waits")
    assert isinstance(waits, Departure)
    assert (found.agrees, waits.name, waits.version, waits.execution_id, waits.ended) == (
        False, "wait_for_word", "1.0.0", 1, False,
    )  # fmt: skip
    assert waits.sentence == (
        "event 3: expected ExternalSubscribed(name='word') as recorded, "
        "but the code asks for ExternalSubscribed(name='sentence')"
    )


async def test_of_what_ended_only_what_is_asked_for_is_named(data: Path) -> None:
    @orchestration(name="turn_over")
    async def turn_over_changed(ctx: OrchestrationContext, left: int) -> str:
        return await ctx.dequeue("envelopes", str)

    assert (await checked(data, registry(turn_over_changed))).agrees
    found = await checked(data, registry(turn_over_changed), ended=True)
    assert {(each.instance, each.execution_id, each.ended) for each in found.departures} == {
        ("over", 1, True), ("over", 2, True), ("over", 3, True), ("cut", 3, True),
    }  # fmt: skip


async def test_an_orchestration_that_is_gone_is_named(data: Path) -> None:
    found = await checked(data, registry(without=linger))
    assert told(found) == [("lingers", Answer.NOT_REGISTERED, None)]
    assert "expected orchestration 'linger' to be registered" in found.departures[0].sentence


async def test_a_version_that_is_gone_is_named(data: Path) -> None:
    @orchestration(name="wait_for_word", version="2.0.0")
    async def wait_for_word_changed(ctx: OrchestrationContext) -> str:
        return await ctx.wait_event("sentence", str)

    found = await checked(data, registry(wait_for_word_changed))
    assert told(found) == [("doomed", Answer.NOT_REGISTERED, None), ("waits", Answer.NOT_REGISTERED, None)]
    assert "expected version 1.0.0 of orchestration 'wait_for_word'" in found.departures[0].sentence
    both = Registry(orchestrations=[wait_for_word, wait_for_word_changed, linger], activities=[never])
    assert (await checked(data, both)).agrees


async def test_an_activity_under_way_that_is_gone_is_named(data: Path) -> None:
    found = await checked(data, registry(activities=(pack, break_down)))
    (lingers,) = found.departures
    assert (lingers.instance, lingers.answer) == ("lingers", Answer.NOT_REGISTERED)
    assert lingers.sentence.startswith(
        f"event {lingers.event_id}: expected activity 'never', which is under way, to be"
    )
    # That nodes of orchestrations alone have none is as it should be.
    assert (await checked(data, registry(activities=()))).agrees


async def test_code_that_reaches_outside_is_told_as_a_node_would(data: Path) -> None:
    @orchestration(name="wait_for_word")
    async def wait_for_word_changed(ctx: OrchestrationContext) -> str:
        return await asyncio.to_thread(str)

    found = await checked(data, registry(wait_for_word_changed))
    assert told(found) == [("doomed", Answer.NONDETERMINISM, None), ("waits", Answer.NONDETERMINISM, None)]
    assert "it used run_in_executor" in found.departures[0].sentence


async def test_no_activity_runs(data: Path) -> None:
    ran: list[int] = []

    @activity(name="never")
    async def counted() -> None:
        ran.append(1)

    assert (await checked(data, registry(activities=(pack, break_down, counted)), ended=True)).agrees
    assert ran == []


async def append(data: Path, value: bytes, key: bytes | None = None) -> int:
    log = await EmbeddedLog.open(data / "log", clock=SystemClock())
    try:
        return await log.append(LogRecord(topic=TOPIC, partition=0, key=key, value=value))
    finally:
        await log.close()


async def test_a_record_that_nobody_can_read_is_named(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    offset = await append(copy, b"none of ours")
    found = await checked(copy, registry())
    assert (found.agrees, found.departures, found.unreadable) == (False, (), (Unreadable(0, offset),))


async def test_a_record_of_an_owner_that_had_lost_its_partition_never_happened(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    old = next(each for each in read(data, 0) if type(each.record).__name__ == "TurnCommitted")
    await append(copy, old.data, old.key)
    assert await checked(copy, registry()) == await checked(data, registry())


async def test_it_tells_how_far_it_is(data: Path) -> None:
    read_so_far: list[tuple[int, int]] = []
    replayed_so_far: list[tuple[int, int]] = []

    def reading(done: int, total: int) -> None:
        read_so_far.append((done, total))

    def replaying(done: int, total: int) -> None:
        replayed_so_far.append((done, total))

    await checked(data, registry(), reading=reading, replaying=replaying)
    records = sum(len(read(data, partition)) for partition in range(2))
    assert read_so_far[-1] == (records, records)
    assert replayed_so_far[-1] == (3, 3)


async def test_another_application_is_told(data: Path) -> None:
    log = SnapshotView(data / "log")
    with pytest.raises(UsageError, match="expected the log of application 'other'"):
        await check_code(log, registry(), app="other")
    await log.close()
