"""How are activities executed? Fetch, run, say how it ended; leases are renewed and taken back meanwhile."""

import asyncio
import contextlib

from msgspec import structs

from engine.errors import LeaseLost, NotRegistered, OwnershipLost, ProviderError, Refused, TurnTooLarge
from engine.model.failure import Category, Failure
from engine.model.messages import CompleteActivity, FailActivity
from engine.observe import known_marks, logger, mark
from engine.port import FetchedWorkItem
from engine.registry import ActivityDefinition
from engine.replay.time_outs import is_late, never_begun
from engine.runtime.builtins import BUILTINS
from engine.runtime.calls import Call, NotHeld, Reach, perform
from engine.runtime.doors import Tasks, Threads, settled_within, within
from engine.runtime.leases import Leases
from engine.runtime.limits import Limits
from engine.runtime.options import back_off_ms
from engine.runtime.reactions import Reaction, pause_after, reaction_to, repeated
from engine.runtime.sessions import Sessions
from engine.runtime.shared import Shared

log = logger("activities")
known_marks(
    "activity.cancelled_after_grace",
    "activity.completion_refused",
    "activity.given_back",
    "activity.left_behind",
    "activity.not_begun",
    "activity.not_begun_in_time",
    "activity.poisoned",
    "activity.result_dropped",
    "activity.timed_out",
)

FETCHES_A_PAUSE = 16  # fetches that find something need not suspend; so often the loop gets its turn all the same


class ActivityDispatcher:
    """Executes work items: async activities as tasks of this loop, sync ones in threads.

    `run` fetches and is one task; cancelling it at any moment is safe. What it has begun goes on: `drain` waits for
    that, `aclose` ends it. `leases.run` and `sessions.renew` must run until both are over.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._tasks = Tasks("turnlog.activities", shared.fail)
        self._threads = Threads("turnlog-activity", shared.options.activity_threads_max)
        self.leases = Leases(shared, self._tasks, self._lease_lost)
        self._limits = Limits(shared, self._tasks, self._time_is_up)
        self._reach = Reach(shared, self._limits.watch, self.leases.send)
        self.sessions = Sessions(shared)
        self._leased: dict[Call, asyncio.Task[None]] = {}
        self._running = 0
        self._ended = asyncio.Event()
        self._closing = False

    @property
    def running(self) -> int:
        """Activities whose code has not ended."""
        return self._running

    @property
    def leased(self) -> int:
        """Work items whose lease is held: running, or ended and not yet durable."""
        return len(self._leased)

    async def run(self) -> None:
        """Fetch and start activities until cancelled.

        Raises:
            ProviderError: One that ends the engine.
        """
        options, provider, clock = self._shared.options, self._shared.provider, self._shared.clock
        self._reach.loop = asyncio.get_running_loop()
        failures = found = 0
        while True:
            await self._room()
            claim = self.sessions.claim()
            try:
                fetched = await provider.fetch_work_item(
                    options.activity_lease_ms, self.sessions.poll_ms(claim), options.worker_tags, claim
                )
            except ProviderError as error:
                if reaction_to(error) is Reaction.STOP:
                    raise
                failures += 1
                await pause_after(error, failures, clock, options, self._shared.counters)
                continue
            failures = 0
            if fetched is not None:
                self._start(fetched)
                self._shared.counters.work_items_fetched += 1
                found += 1
            if fetched is None or found % FETCHES_A_PAUSE == 0:
                await clock.sleep_ms(0)

    async def drain(self) -> None:
        """Return when every activity that was begun has ended and its completion is durable."""
        while self._leased:
            await asyncio.wait(self._leased.values())

    async def aclose(self, *, give_back: bool) -> list[str]:
        """End what runs, and the threads; the names of what refuses to end.

        Args:
            give_back: Give the work items of interrupted activities back, so that another engine need not wait for
                their leases to expire. The delivery then does not count as an attempt.
        """
        shared = self._shared
        self._closing = True
        for call in self._leased:
            call.tell_cancelled()
        interrupted = [call for call in self._leased if not call.settled]
        left = await self._tasks.aclose(shared.clock, shared.options.stop_ms)
        if give_back and interrupted:
            await self._give_back_all(interrupted)
        if threads_left := self._threads.close(shared.options.stop_ms):
            mark("activity.left_behind")
            left.append(f"{threads_left} threads inside synchronous activities")
        return left

    async def _room(self) -> None:
        options = self._shared.options
        while self._running >= options.activities_max or len(self._leased) >= options.work_items_max:
            self._ended.clear()
            await self._ended.wait()

    def _start(self, fetched: FetchedWorkItem) -> None:
        call = Call(fetched, self._reach)
        self._running += 1
        self.leases.add(call)
        self.sessions.add(call.session_id)
        self._leased[call] = self._tasks.spawn(f"{call.name} of {call.instance}", self._serve(call))

    async def _serve(self, call: Call) -> None:
        """All of one call, from the lease to the ack."""
        try:
            completion = await self._completion(call)
            self._finish(call)
            if completion is not None and not call.settled:
                await self._ack(call, completion)
            elif call.overdue is not None:
                await asyncio.wait({call.overdue})  # the lease holds until that is said
        except ProviderError as error:
            if reaction_to(error) is Reaction.STOP:
                raise
            log.info("%s", error, extra=call.about.as_extra())
        finally:
            self._finish(call)
            self.leases.forget(call)
            self.sessions.forget(call.session_id)
            del self._leased[call]
            self._ended.set()

    def _finish(self, call: Call) -> None:
        if not call.finished:
            call.finished = True
            self.leases.unwatch(call)
            self._limits.forget(call)
            self._running -= 1
            self._ended.set()

    async def _completion(self, call: Call) -> CompleteActivity | FailActivity | None:
        """How the call ended; None if nobody waits for that."""
        shared = self._shared
        if call.item.limits is not None and is_late(call.item, call.attempt, call.fetched_at_ms):
            return self._not_begun_in_time(call)
        if call.attempt > shared.options.attempts_max:
            return self._poisoned(call)
        if (builtin := BUILTINS.get(call.name)) is not None:
            found = await repeated(
                lambda: builtin(call.item, shared.provider, shared.converter),
                shared.clock,
                shared.options,
                shared.counters,
            )
            return call.completion_of(found)
        try:
            definition = shared.registry.activity(call.name)
        except NotRegistered as error:
            log.warning("%s", error, extra=call.about.as_extra())
            shared.counters.activities_unregistered += 1
            await self._give_back(call)
            return None
        shared.counters.activities_started += 1
        call.definition = definition
        begun_ms = shared.clock.boot_ms()
        try:
            completion = await perform(
                call, definition, shared.converter, self._threads, shared.options.turn.payload_bytes_max
            )
        except NotHeld as gone:
            mark("activity.not_begun")
            log.info("%s", gone, extra=call.about.as_extra())
            await repeated(
                lambda: shared.provider.abandon_work_item(call.lock_token, ignore_attempt=True),
                shared.clock,
                shared.options,
                shared.counters,
            )
            return None
        if call.settled or self._closing or call.overdue is not None:
            mark("activity.result_dropped")
            return None
        completed = isinstance(completion, CompleteActivity)
        shared.tally.activity(call.name, shared.clock.boot_ms() - begun_ms, completed=completed)
        if isinstance(completion, FailActivity):
            log.info("failed: %s: %s", completion.failure.type, completion.failure.message, extra=call.about.as_extra())
        return completion

    def _not_begun_in_time(self, call: Call) -> FailActivity:
        mark("activity.not_begun_in_time")
        self._shared.counters.activities_failed += 1
        failure = never_begun(call.item)
        log.info("%s", failure.message, extra=call.about.as_extra())
        return call.failed(failure)

    def _poisoned(self, call: Call) -> FailActivity:
        mark("activity.poisoned")
        self._shared.counters.activities_poisoned += 1
        message = (
            f"expected activity {call.name} to end within {self._shared.options.attempts_max} deliveries, "
            f"but this is number {call.attempt}{self._missing(call)}"
        )
        log.error("%s", message, extra=call.about.as_extra())
        return call.failed(Failure(category=Category.POISON, type="Poison", message=message, retryable=False))

    def _missing(self, call: Call) -> str:
        """The code this engine lacks for `call`, as the end of a sentence; nothing if it has it."""
        if call.name in BUILTINS:
            return ""
        try:
            self._shared.registry.activity(call.name)
        except NotRegistered as error:
            return f"; {error}"
        return ""

    # Saying how it ended

    async def _ack(self, call: Call, completion: CompleteActivity | FailActivity) -> None:
        try:
            await self._ack_once(call, completion)
        except LeaseLost as error:
            self._shared.counters.leases_lost += 1
            log.info("the result came too late: %s", error, extra=call.about.as_extra())
        except Refused as error:
            # The provider cannot store this completion, and would refuse it after every further execution too.
            if isinstance(completion, FailActivity) and completion.heartbeat is not None:
                mark("activity.completion_refused")
                log.warning("details of a heartbeat are dropped: %s", error, extra=call.about.as_extra())
                await self._ack(call, structs.replace(completion, heartbeat=None))
            else:
                self._note_refused()
                await self._ack_once(call, _refused(call, error))
        except OwnershipLost as error:
            log.info(
                "the result may be lost, the activity is then executed again: %s", error, extra=call.about.as_extra()
            )
        call.settled = True

    def _note_refused(self) -> None:
        mark("activity.completion_refused")
        self._shared.counters.activities_refused += 1

    async def _ack_once(self, call: Call, completion: CompleteActivity | FailActivity) -> None:
        shared = self._shared
        await repeated(
            lambda: shared.provider.ack_work_item(call.lock_token, completion),
            shared.clock,
            shared.options,
            shared.counters,
        )

    async def _give_back(self, call: Call) -> None:
        shared, options = self._shared, self._shared.options
        delay_ms = back_off_ms(options.unregistered_delay_ms, options.unregistered_delay_max_ms, max(1, call.attempt))
        start_by_ms = None if call.item.limits is None or call.attempt > 1 else call.item.limits.start_by_ms
        if start_by_ms is not None:
            # Nobody has begun it. If nobody does in its time, whoever then fetches it must learn that from the count.
            delay_ms = max(1, min(delay_ms, start_by_ms - call.fetched_at_ms))
        await repeated(
            lambda: shared.provider.abandon_work_item(call.lock_token, delay_ms, start_by_ms is not None),
            shared.clock,
            shared.options,
            shared.counters,
        )
        call.settled = True

    async def _give_back_all(self, calls: list[Call]) -> None:
        mark("activity.given_back")
        provider, options = self._shared.provider, self._shared.options
        for call in calls:
            if (details := call.news()) is not None:
                with contextlib.suppress(ProviderError, TimeoutError):  # who goes on then begins further back
                    kept = provider.renew_work_item_lock(call.lock_token, options.activity_lease_ms, details)
                    await within(self._shared.clock, kept, options.stop_ms)
            # That it was begun in time, the count of its first delivery alone says.
            ignore_attempt = call.attempt > 1 or call.item.limits is None
            try:
                abandoned = provider.abandon_work_item(call.lock_token, ignore_attempt=ignore_attempt)
                await within(self._shared.clock, abandoned, options.stop_ms)
            except (ProviderError, TimeoutError) as error:
                log.info("another engine waits for the lease to expire: %s", error, extra=call.about.as_extra())

    # Taking too long

    def _time_is_up(self, call: Call, failure: Failure) -> None:
        """The call has failed, whatever its code still does: that is said at once, for the code may never end."""
        assert call.definition is not None, "limits count from when the code begins"
        mark("activity.timed_out")
        self._shared.counters.activities_failed += 1
        log.info("failed: %s: %s", failure.type, failure.message, extra=call.about.as_extra())
        about = f"{call.instance}/{call.activity_id}"
        call.overdue = self._tasks.spawn(f"fail {about}", self._fail_overdue(call, failure))
        self._tasks.spawn(f"interrupt {about}", self._interrupt(call, call.definition))

    async def _fail_overdue(self, call: Call, failure: Failure) -> None:
        try:
            await self._ack(call, call.failed(failure))
        except ProviderError as error:
            if reaction_to(error) is Reaction.STOP:
                raise
            log.info("%s", error, extra=call.about.as_extra())
        finally:
            self.leases.forget(call)

    # Losing the lease

    def _lease_lost(self, call: Call) -> None:
        """Nobody waits for this call any more, or somebody else makes it: its result is dropped."""
        call.settled = True
        self.leases.forget(call)
        self._limits.forget(call)
        if call.definition is not None and not call.finished and call.overdue is None:
            self._tasks.spawn(f"cancel {call.instance}/{call.activity_id}", self._cancel(call, call.definition))

    async def _cancel(self, call: Call, definition: ActivityDefinition) -> None:
        self._shared.counters.activities_cancelled += 1
        log.info("cancelled", extra=call.about.as_extra())
        await self._interrupt(call, definition)

    async def _interrupt(self, call: Call, definition: ActivityDefinition) -> None:
        """Tell the activity; after a while interrupt it, if it is one that can be."""
        call.tell_cancelled()
        if not definition.is_async:
            return  # nothing can interrupt a thread
        task = self._leased[call]
        # An activity that takes no context cannot know, so waiting for it is of no use.
        if definition.takes_context and await settled_within(
            self._shared.clock, {task}, self._shared.options.cancel_grace_ms
        ):
            return
        if not call.finished:  # else the task only waits for the provider
            mark("activity.cancelled_after_grace")
            task.cancel()


def _refused(call: Call, error: Refused) -> FailActivity:
    """What is said instead of a completion that the provider does not take."""
    message, kind = str(error), "ResultRefused"
    if isinstance(error, TurnTooLarge):
        what = f"expected the result of activity {call.name} to have at most {error.size_max} bytes"
        message, kind = f"{what}, but encoded it has {error.size}", "ResultTooLarge"
    refused = call.too_large(message)
    return structs.replace(refused, failure=structs.replace(refused.failure, type=kind), heartbeat=None)
