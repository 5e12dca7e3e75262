"""How do instances get their turns? Fetch, turn, admit; the next fetch does not wait for the commit.

One loop. A turn is synchronous; admitting it frees the instance at once, so that its next turn may be admitted before
this one is durable. What goes wrong later is the provider's to undo: it changes the lineage, and the coroutine kept
from a turn that never happened is put away.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence

from engine.errors import (
    LeaseLost,
    NotRegistered,
    OrchestrationHeld,
    OwnershipLost,
    ProviderError,
    Refused,
    TurnTooLarge,
)
from engine.model.failure import Category, Failure
from engine.model.messages import StartOrchestration
from engine.model.status import TERMINAL
from engine.model.turn import TurnResult
from engine.observe import Subject, known_marks, logger, mark
from engine.port import OrchestrationItem
from engine.replay.live import LiveExecution
from engine.replay.turn import Committed, Held, TurnOutcome, Unregistered, Waiting, restart_among, run_turn
from engine.runtime.cache import LiveCache
from engine.runtime.doors import Tasks, future_of
from engine.runtime.options import back_off_ms
from engine.runtime.poison import ended_by_engine
from engine.runtime.reactions import REPEATABLE, Reaction, pause_after, reaction_to, repeated
from engine.runtime.shared import Shared
from engine.runtime.watchdog import Watchdog

log = logger("turns")
known_marks(
    "turn.ack_lease_lost",
    "turn.ack_refused",
    "turn.ack_repeated",
    "turn.in_flight_bound",
    "turn.lost",
    "turn.poisoned",
    "turn.raised",
    "turn.too_large",
)


class OrchestrationDispatcher:
    """Gives turns to instances that have messages.

    `run` is one task; cancelling it at any moment is safe and stops the fetching alone. What it has begun goes on in
    the background: `drain` waits for that, `aclose` ends it.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._cache: LiveCache[LiveExecution] = LiveCache(
            shared.options.cache_bytes_max, shared.options.cache_executions_max, shared.counters
        )
        self._tasks = Tasks("turnlog.turns", shared.fail)
        self._in_flight = 0
        self._durable_again = asyncio.Event()
        self._watchdog = Watchdog(shared.options.turn_ms_max)

    @property
    def in_flight(self) -> int:
        """Turns admitted and not yet durable."""
        return self._in_flight

    @property
    def live_executions(self) -> int:
        """Suspended executions kept between turns."""
        return len(self._cache)

    @property
    def live_bytes_estimate(self) -> int:
        """What they hold in memory, by estimate."""
        return self._cache.bytes_estimate

    async def run(self) -> None:
        """Fetch and take turns until cancelled.

        Raises:
            ProviderError: One that ends the engine.
        """
        self._watchdog.start()
        options, provider = self._shared.options, self._shared.provider
        failures = 0
        while True:
            await self._room()
            try:
                items: Sequence[OrchestrationItem] = await provider.fetch_orchestration_items(
                    options.turns_max, options.turn_lease_ms, options.poll_ms, options.supported_pins
                )
            except ProviderError as error:
                if reaction_to(error) is Reaction.STOP:
                    raise
                failures += 1
                await pause_after(error, failures, self._shared.clock, options, self._shared.counters)
                continue
            failures = 0
            self._shared.counters.instances_fetched += len(items)
            for item in items:
                self._take_turn(item)
            # A fetch that finds something need not suspend, and activities run on this loop too.
            await self._shared.clock.sleep_ms(0)

    async def drain(self) -> None:
        """Return when every turn that was begun is durable, given back or lost. Call after `run` was cancelled."""
        while self._in_flight or len(self._tasks):
            await self._tasks.settle()
            if self._in_flight:
                await self._next_durable()

    async def aclose(self) -> list[str]:
        """End what is in the background, and put away all live executions; the names of what refuses to end."""
        try:
            left = await self._tasks.aclose(self._shared.clock, self._shared.options.stop_ms)
            self._watchdog.watched(None, self._cache.clear)
        finally:
            self._watchdog.close()
        return left

    async def _room(self) -> None:
        while self._in_flight >= self._shared.options.turns_in_flight_max:
            mark("turn.in_flight_bound")
            await self._next_durable()

    async def _next_durable(self) -> None:
        self._durable_again.clear()
        await self._durable_again.wait()

    def _take_turn(self, item: OrchestrationItem) -> None:
        live = self._cache.take(item.instance)
        try:
            # What has ended consumes its messages without running code, however often they were delivered; unless one
            # of them lets it begin anew.
            runs_code = item.status not in TERMINAL or restart_among(item.messages) is not None
            poisonous = item.attempt_count > self._shared.options.attempts_max and runs_code
            outcome = self._poisoned(item, live) if poisonous else self._turn(item, live)
        except Exception:
            # A defect in the engine must not take every other instance along; attempts are counted, so it ends.
            mark("turn.raised")
            log.exception("the turn itself failed", extra=_about(item))
            self._give_back(item)
            return
        self._do(item, outcome)

    def _turn(self, item: OrchestrationItem, live: LiveExecution | None) -> TurnOutcome:
        shared = self._shared
        take = functools.partial(
            run_turn,
            item,
            shared.registry,
            shared.converter,
            shared.options.turn,
            live=live,
            new_incarnation=shared.chance.incarnation(),
        )
        return self._watchdog.watched(item, take)

    def _poisoned(self, item: OrchestrationItem, live: LiveExecution | None) -> TurnOutcome:
        if live is not None:
            live.put_away()
        mark("turn.poisoned")
        message = (
            f"expected a turn within {self._shared.options.attempts_max} deliveries, "
            f"but this is number {item.attempt_count}{self._missing(item)}"
        )
        log.error("%s", message, extra=_about(item))
        failure = Failure(category=Category.POISON, type="Poison", message=message, retryable=False)
        return ended_by_engine(item, failure, self._shared.chance.incarnation())

    def _missing(self, item: OrchestrationItem) -> str:
        """The code this engine lacks for `item`, as the end of a sentence; nothing if it has it."""
        starts = (message for message in item.messages if isinstance(message, StartOrchestration))
        start = next(starts, None) if item.incarnation is None else None
        try:
            if start is not None:
                self._shared.registry.orchestration(start.name, start.version)
            elif item.orchestration_name:
                self._shared.registry.orchestration(item.orchestration_name, item.version)
        except NotRegistered as error:
            return f"; {error}"
        return ""

    def _do(self, item: OrchestrationItem, outcome: TurnOutcome) -> None:
        match outcome:
            case Committed(result=result, live=live):
                self._admit(item, result, live)
            case Held(failure=failure):
                self._hold(item, failure)
            case Unregistered(name=name, version=version):
                what = f"{name} {version}" if version else name
                log.warning("expected orchestration %s to be registered, but it is not", what, extra=_about(item))
                self._give_back(item)
            case Waiting(reason=reason):
                log.info("no turn yet: %s", reason, extra=_about(item))
                self._give_back(item)

    # Admitting

    def _admit(self, item: OrchestrationItem, result: TurnResult, live: LiveExecution | None) -> None:
        error = self._offer(item, result, live)
        if isinstance(error, REPEATABLE):
            mark("turn.ack_repeated")
            admitting = self._tasks.spawn(f"ack {item.instance}", self._admit_later(item, result, live, error))
            if live is not None:  # not in the task: one that is cancelled before it begins has no say
                admitting.add_done_callback(lambda ended: live.put_away() if ended.cancelled() else None)
        elif error is not None:
            self._not_admitted(item, live, error)

    async def _admit_later(
        self, item: OrchestrationItem, result: TurnResult, live: LiveExecution | None, error: Exception | None
    ) -> None:
        shared = self._shared
        attempt = 0
        while isinstance(error, REPEATABLE):
            attempt += 1
            await pause_after(error, attempt, shared.clock, shared.options, shared.counters)
            error = self._offer(item, result, live)
        if error is not None:
            self._not_admitted(item, live, error)

    def _offer(self, item: OrchestrationItem, result: TurnResult, live: LiveExecution | None) -> Exception | None:
        """Offer the turn once; what the provider said if it did not admit it."""
        try:
            durable = self._shared.provider.ack_orchestration_item(item.lock_token, result)
        except Exception as error:
            return error
        self._admitted(item, result, live, durable)
        return None

    def _admitted(
        self, item: OrchestrationItem, result: TurnResult, live: LiveExecution | None, durable: Awaitable[None]
    ) -> None:
        self._shared.tally.turn(item, result)
        if live is not None:
            self._cache.keep(item.instance, live)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", _line(item, result), extra=_about(item))
        future = future_of(durable)
        if future.done():
            self._settle(item, future)
        else:
            self._in_flight += 1
            future.add_done_callback(functools.partial(self._settle_in_flight, item))

    def _settle_in_flight(self, item: OrchestrationItem, durable: "asyncio.Future[None]") -> None:
        self._in_flight -= 1
        self._durable_again.set()
        self._settle(item, durable)

    def _settle(self, item: OrchestrationItem, durable: "asyncio.Future[None]") -> None:
        error = None if durable.cancelled() else durable.exception()
        if error is None and not durable.cancelled():
            self._shared.counters.turns_durable += 1
            return
        # Whatever the coroutine has seen since may never have happened.
        self._cache.drop(item.instance)
        self._shared.counters.turns_lost += 1
        mark("turn.lost")
        if error is not None and reaction_to(error) is Reaction.STOP:
            self._shared.fail(error)
        else:
            log.info("the turn was admitted and then lost: %s", error or "cancelled", extra=_about(item))

    def _not_admitted(self, item: OrchestrationItem, live: LiveExecution | None, error: Exception) -> None:
        if live is not None:
            live.put_away()
        match error:
            case LeaseLost() | OwnershipLost():
                mark("turn.ack_lease_lost")
                self._shared.counters.turns_lost += 1
                log.info("the turn came too late: %s", error, extra=_about(item))
            case TurnTooLarge(size=size, size_max=size_max):
                mark("turn.too_large")
                message = f"expected a turn of at most {size_max} bytes, but it asks for {size}"
                failure = Failure(category=Category.LIMIT, type="LimitPassed", message=message, retryable=False)
                self._do(item, ended_by_engine(item, failure, self._shared.chance.incarnation()))
            case Refused():
                # The same turn would be refused again; counted attempts end it as poison.
                mark("turn.ack_refused")
                self._shared.counters.provider_errors += 1
                log.error("the turn was refused: %s", error, extra=_about(item))
                self._give_back(item)
            case _:
                self._shared.fail(error)

    # Not taking a turn

    def _give_back(self, item: OrchestrationItem) -> None:
        """Deliver the messages again after a wait that doubles with every attempt."""
        options, provider = self._shared.options, self._shared.provider
        delay_ms = back_off_ms(
            options.unregistered_delay_ms, options.unregistered_delay_max_ms, max(1, item.attempt_count)
        )
        self._shared.counters.turns_abandoned += 1
        self._in_background("abandon", item, lambda: provider.abandon_orchestration_item(item.lock_token, delay_ms))

    def _hold(self, item: OrchestrationItem, failure: Failure) -> None:
        log.warning("%s", OrchestrationHeld(item.instance, failure), extra=_about(item))
        self._shared.counters.turns_held += 1
        provider = self._shared.provider
        self._in_background("hold", item, lambda: provider.hold_orchestration_item(item.lock_token, failure))

    def _in_background(self, what: str, item: OrchestrationItem, call: Callable[[], Awaitable[None]]) -> None:
        self._tasks.spawn(f"{what} {item.instance}", self._until_done(item, call))

    async def _until_done(self, item: OrchestrationItem, call: Callable[[], Awaitable[None]]) -> None:
        shared = self._shared
        try:
            await repeated(call, shared.clock, shared.options, shared.counters)
        except ProviderError as error:
            if reaction_to(error) is Reaction.STOP:
                raise
            # The lock is lost or will expire: whoever fetches the messages next does the same again.
            log.info("%s", error, extra=_about(item))


def _about(item: OrchestrationItem) -> dict[str, object]:
    return Subject(item.instance, item.execution_id).as_extra()


def _line(item: OrchestrationItem, result: TurnResult) -> str:
    status = result.metadata.status
    return (
        f"turn: {len(item.messages)} messages in; {len(result.history_delta)} events, "
        f"{len(result.work_items)} work items, {len(result.messages)} messages out"
        f"{f'; {status.value}' if status else ''}"
    )
