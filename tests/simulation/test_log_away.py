"""Does every call come back when the log goes away, at whichever request, and does all go on when it is there again?

The log is away from the k-th request on, for k = 1, 2, 3 … until all calls get through before. A call returns, or
raises what says what was expected; only those may wait for ever whose contract says so, and a client bounds them.
"""

from collections.abc import Awaitable
from typing import TypeVar

import pytest

from engine.clock import Clock
from engine.errors import ProviderError
from engine.model.failure import Category, Failure
from engine.model.messages import RaiseEvent, StartOrchestration
from engine.runtime.doors import within
from provider_log import LogProvider
from provider_log.log.simulated import Faults, LoseReply, LoseRequest, Unavailable
from provider_log.log.simulated.faults import Fault, Operation
from provider_log.simulation.world import World
from tests.simulation.scenario import is_fold, run
from tests.simulation.test_cancelled import ANSWER, FIRST, ITEM, NULL, START

T = TypeVar("T")

K_MAX = 300
POLL_MS = 500
LOCK_MS = 60_000
BOUND_MS = 6_000
"""A sender whose message is durable waits five seconds for it to arrive; nobody else waits longer."""

EVENT = RaiseEvent(instance="i", name="e", data=NULL)
BEHIND = Failure(Category.NONDETERMINISM, "Moved", "the code has moved")


class Away(Faults):
    """From the k-th request on, counted from when it is armed, each meets `fault`, until the log is back."""

    def __init__(self, k: int, fault: Fault) -> None:
        super().__init__()
        self._left = k
        self._fault = fault
        self.is_armed = False

    @property
    def is_away(self) -> bool:
        return self._left <= 0

    def draw(self, operation: Operation) -> Fault | None:
        super().draw(operation)  # of no kind in particular: it meets them all
        if not self.is_armed:
            return None
        self._left -= 1
        return self._fault if self.is_away else None


class Caller:
    """Calls a provider, and holds each call to its bound."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.refused: list[str] = []

    async def hears(self, call: Awaitable[T]) -> T | None:
        """What a call returns, or None if it raises."""
        try:
            return await within(self._clock, call, BOUND_MS)
        except ProviderError as error:
            self.refused.append(str(error))
            return None


async def call_everything(provider: LogProvider, caller: Caller) -> None:
    """Every method of the port that a caller can call, with whatever the calls before have left."""
    hears = caller.hears
    for message in (START, StartOrchestration(instance="j", name="go", input=NULL), EVENT):
        await hears(provider.enqueue_for_orchestrator(message))
    await hears(provider.enqueue_for_worker(ITEM))
    if (item := await hears(provider.fetch_orchestration_item(LOCK_MS, POLL_MS))) is not None:
        await hears(provider.renew_orchestration_item_lock(item.lock_token, LOCK_MS))
        await hears(admitted(provider, item.lock_token))
    if (item := await hears(provider.fetch_orchestration_item(LOCK_MS, POLL_MS))) is not None:
        await hears(provider.hold_orchestration_item(item.lock_token, BEHIND))
        await hears(provider.resume_instance(item.instance))
    if (item := await hears(provider.fetch_orchestration_item(LOCK_MS, POLL_MS))) is not None:
        await hears(provider.abandon_orchestration_item(item.lock_token))
    for completion in (ANSWER, None):
        if (work := await hears(provider.fetch_work_item(LOCK_MS, POLL_MS))) is not None:
            await hears(provider.renew_work_item_lock(work.lock_token, LOCK_MS))
            await hears(provider.ack_work_item(work.lock_token, completion))
    if (work := await hears(provider.fetch_work_item(LOCK_MS, POLL_MS))) is not None:
        await hears(provider.abandon_work_item(work.lock_token))
    for query in (provider.get_instance_info("i"), provider.read("i"), provider.read_with_execution("i", 1)):
        await hears(query)
    for question in (provider.list_instances(), provider.list_executions("i"), provider.get_queue_depths()):
        await hears(question)


async def admitted(provider: LogProvider, lock_token: str) -> None:
    await provider.ack_orchestration_item(lock_token, FIRST)


@pytest.mark.parametrize("fault", [Unavailable(), LoseRequest(), LoseReply()], ids=lambda fault: type(fault).__name__)
def test_every_call_comes_back_when_the_log_is_away_and_all_goes_on_when_it_is_back(fault: Fault) -> None:
    refused = 0
    for k in range(1, K_MAX):
        away = Away(k, fault)
        world = World(seed=k, faults=away)

        async def played(world: World = world, away: Away = away) -> None:
            nonlocal refused
            caller = Caller(world.clock)
            async with world.provider() as provider:
                away.is_armed = True
                await call_everything(provider, caller)
                away.is_armed = False
                await provider.enqueue_for_orchestrator(EVENT)
                again = Caller(world.clock)
                await call_everything(provider, again)
            refused += len(caller.refused)
            assert all("expected " in said for said in caller.refused), caller.refused
            await is_fold(world)

        run(world, played, f"the log was away from request {k} on")
        if not away.is_away:
            assert refused > k, "expected calls that are refused while the log is away"
            return
    raise AssertionError(f"expected every call to get through before request {K_MAX}")
