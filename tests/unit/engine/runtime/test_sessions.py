"""Does an engine keep the sessions it holds, no more of them than it may, and give up those that nothing uses?"""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from engine import ActivityContext, EngineOptions
from engine.errors import Fatal, OwnershipLost, Refused, Retryable, UsageError
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.work import WorkItem
from engine.registry import activity
from tests.unit.engine.runtime.running import Bench, cycles, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

LOCK_MS = 3_000
OPTIONS = EngineOptions(
    session_lock_timeout_ms=LOCK_MS,
    session_idle_timeout_ms=20_000,
    session_cleanup_interval_ms=60_000,
    worker_node_id="engine",
    activity_lease_ms=30_000,
)
OTHER = SessionClaim("other", LOCK_MS)


def work_item(activity_id: int, session_id: str | None) -> WorkItem:
    return WorkItem(
        instance="order-1",
        incarnation=7,
        execution_id=1,
        activity_id=activity_id,
        name="works",
        input=Payload(b"null"),
        session_id=session_id,
    )


class Worker:
    """An activity that says which call it is, and ends when it may."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, str | None]] = []
        self.may_end = anyio.Event()

    def activity(self) -> Callable[..., Any]:
        @activity(name="works")
        async def works(ctx: ActivityContext) -> None:
            self.begun.append((ctx.activity_id, ctx.session_id))
            await self.may_end.wait()

        return works


async def passes(bench: Bench, duration_ms: int) -> None:
    """Time, in steps that no renewal misses."""
    while duration_ms > 0:
        step_ms = min(500, duration_ms)
        bench.clock.advance(step_ms)
        await cycles()
        duration_ms -= step_ms


async def test_an_activity_sees_its_session(bench: Bench) -> None:
    worker = Worker()
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=OPTIONS):
        for number, session_id in ((1, None), (2, "s"), (3, "s")):
            await bench.provider.enqueue_for_worker(work_item(number, session_id))
        await cycles()
        assert worker.begun == [(1, None), (2, "s"), (3, "s")]
        worker.may_end.set()


async def test_a_session_is_held_as_long_as_it_is_used_and_not_for_ever(bench: Bench) -> None:
    """A long activity is use: its renewals say so. After it, nobody else gets the session until it is idle."""
    worker = Worker()
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=OPTIONS):
        await bench.provider.enqueue_for_worker(work_item(1, "s"))
        await passes(bench, 60_000)
        assert bench.provider.renewed[-1] == (["engine"], LOCK_MS, 20_000)
        worker.may_end.set()
        await passes(bench, 15_000)
        assert bench.provider.holder("s") == "engine"
        await passes(bench, 10_000)
        assert bench.provider.holder("s") is None
        count = len(bench.provider.renewed)
        await passes(bench, 10_000)
        assert len(bench.provider.renewed) == count  # nothing is left to be renewed


async def test_an_engine_without_sessions_renews_none(bench: Bench) -> None:
    worker = Worker()
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=OPTIONS):
        await bench.provider.enqueue_for_worker(work_item(1, None))
        await passes(bench, 20_000)
        worker.may_end.set()
    assert bench.provider.renewed == []


@upstream(
    "session_e2e_tests",
    "test_max_sessions_per_runtime_enforced",
    "test_same_session_shares_one_slot",
    "test_session_cap_blocks_then_unblocks",
)
@upstream(
    "session_e2e_tests",
    "test_ephemeral_same_session_serialized",
    differs="All activities of one engine share its sessions, whether it has a name or not.",
)
async def test_no_more_sessions_are_under_way_than_may_be(bench: Bench) -> None:
    """Those without one go on; as soon as a session has nothing under way, the next one is taken."""
    worker = Worker()
    options = EngineOptions(max_sessions=2)
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=options) as engine:
        for number, session_id in enumerate(("a", "a", "b", "c", None), start=1):
            await bench.provider.enqueue_for_worker(work_item(number, session_id))
        await passes(bench, 1_000)
        # At the bound nobody asks whether an item is of a session that is held.
        assert worker.begun == [(1, "a"), (2, "a"), (3, "b"), (5, None)]
        assert engine.gauges()["sessions_under_way"] == 2
        worker.may_end.set()
        await passes(bench, 1_000)
        assert worker.begun[4:] == [(4, "c")]
        assert engine.gauges()["sessions_under_way"] == 0


async def test_an_engine_may_take_no_sessions(bench: Bench) -> None:
    worker = Worker()
    options = EngineOptions(max_sessions=0)
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=options):
        for number, session_id in ((1, "a"), (2, None)):
            await bench.provider.enqueue_for_worker(work_item(number, session_id))
        await passes(bench, 1_000)
        assert worker.begun == [(2, None)]
        worker.may_end.set()


@upstream("session_e2e_tests", "test_two_slots_serve_same_session_concurrently")
async def test_engines_of_one_name_share_and_others_do_not(bench: Bench) -> None:
    first, second, third = Worker(), Worker(), Worker()
    one = EngineOptions(worker_node_id="shared", activities_max=1)
    other = EngineOptions()
    async with (
        nothing_left(),
        bench.engine(activities=[first.activity()], options=one),
    ):
        await bench.provider.enqueue_for_worker(work_item(1, "s"))
        await cycles()
        await bench.provider.enqueue_for_worker(work_item(2, "s"))
        async with bench.engine(activities=[third.activity()], options=other):
            await passes(bench, 1_000)
            assert third.begun == []
            async with bench.engine(activities=[second.activity()], options=one):
                await passes(bench, 1_000)
                assert (first.begun, second.begun, third.begun) == ([(1, "s")], [(2, "s")], [])
                for worker in (first, second):
                    worker.may_end.set()


async def test_the_provider_forgets_now_and_then(bench: Bench) -> None:
    worker = Worker()
    worker.may_end.set()
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=OPTIONS):
        await bench.provider.enqueue_for_worker(work_item(1, "s"))
        await passes(bench, 50_000)
        assert bench.provider.known_sessions() == {"s"}
        await passes(bench, 11_000)
        assert bench.provider.known_sessions() == set()


@pytest.mark.parametrize("error", [Retryable("renew", "away"), Refused("renew", "no"), OwnershipLost("renew", "gone")])
async def test_a_renewal_that_fails_is_made_again(bench: Bench, error: Exception) -> None:
    worker = Worker()
    async with nothing_left(), bench.engine(activities=[worker.activity()], options=OPTIONS):
        await bench.provider.enqueue_for_worker(work_item(1, "s"))
        await cycles()
        bench.provider.fail("renew_session_lock", error)
        bench.provider.fail("cleanup_orphaned_sessions", error)
        await passes(bench, 61_000)
        assert bench.provider.holder("s") == "engine"
        assert bench.provider.calls["cleanup_orphaned_sessions"] == 1 + isinstance(error, Retryable)
        worker.may_end.set()


async def test_an_error_that_ends_the_engine_does(bench: Bench) -> None:
    worker = Worker()
    worker.may_end.set()

    async def works_until_it_breaks() -> None:
        async with bench.engine(activities=[worker.activity()], options=OPTIONS):
            await bench.provider.enqueue_for_worker(work_item(1, "s"))
            await cycles()
            bench.provider.fail("renew_session_lock", Fatal("renew_session_lock", "broken"))
            await passes(bench, 2_000)
            await asyncio.Event().wait()

    with pytest.raises(Fatal, match="broken"):
        await works_until_it_breaks()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"session_idle_timeout_ms": 10_000},
            "expected session_idle_timeout_ms above 10000, a third of activity_lease_ms, .* but it is 10000",
        ),
        ({"worker_node_id": ""}, "expected an owner of sessions of 1 to 256 bytes, but '' has 0"),
        ({"max_sessions": -1}, "expected max_sessions of at least 0, but it is -1"),
        ({"session_lock_timeout_ms": 2}, "expected session_lock_timeout_ms of at least 3, so that .*, but it is 2"),
    ],
)
@upstream("session_e2e_tests", "test_session_idle_timeout_must_exceed_worker_renewal_interval")
def test_options_that_cannot_be_followed_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        EngineOptions(**fields)
