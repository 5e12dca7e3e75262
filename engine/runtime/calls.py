"""What happens between a work item and its completion? One call of a user's activity, in its task or thread."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from engine.activity_context import ActivityContext
from engine.client import Client
from engine.converter import Converter
from engine.errors import ConversionError
from engine.model import answers
from engine.model.failure import Category, Failure
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import Payload
from engine.model.work import WorkItem
from engine.observe import Subject, SubjectLogger, logger, subject
from engine.port import FetchedWorkItem
from engine.registry import ActivityDefinition
from engine.replay.failures import failure_of, not_convertible
from engine.runtime.doors import Threads
from engine.runtime.shared import Shared

T = TypeVar("T")

# Whatever else a user's code lets through is the loop's or the process's business (KeyboardInterrupt).
RAISED_BY_CODE = (Exception, asyncio.CancelledError, SystemExit)


class NotHeld(Exception):
    """The lease was gone before the activity's code began."""


class Reach:
    """What the code of a call reaches of its engine, from the thread it runs in.

    Args:
        begun: Told on the loop that the code of a call has begun, if it `is_limited`.
        said: Told on the loop that a call has said for the first time how far it is.
    """

    def __init__(self, shared: Shared, begun: "Callable[[Call], None]", said: "Callable[[Call], None]") -> None:
        self.shared = shared
        self.begun = begun
        self.said = said
        self.client = Client(shared.provider, converter=shared.converter, clock=shared.clock, chance=shared.chance)
        self.loop: asyncio.AbstractEventLoop | None = None  # that of the engine, once it runs

    def tell(self, what: "Callable[[Call], None]", call: "Call") -> None:
        """Call `what` on the loop."""
        assert self.loop is not None, "code runs in an engine that runs"
        with contextlib.suppress(RuntimeError):  # a closed loop is that of an engine stopped at once
            self.loop.call_soon_threadsafe(what, call)


class Call:
    """One delivery of a work item to this engine: what the worker knows about it, and the activity's context.

    Attributes:
        definition: While the activity is executed.
        finished: The activity has ended; what remains is to say so.
        settled: The provider has the completion, or the lease is not ours any more.
        details: What the newest heartbeat said; at first, what the provider had.
        kept: What the provider has of that, for the next delivery.
        is_sending: Details are on their way to the provider.
        has_sent: Some have arrived there.
        begun_at_ms: When the code of a call that `is_limited` began, in boot time.
        beat_at_ms: When it gave its last sign of life.
        overdue: Says that it took too long, while its code may still run: how that ends is dropped.
    """

    finished = False
    settled = False
    is_sending = False
    has_sent = False
    begun_at_ms = 0
    beat_at_ms = 0
    definition: ActivityDefinition | None = None
    overdue: asyncio.Task[None] | None = None

    def __init__(self, fetched: FetchedWorkItem, reach: Reach) -> None:
        self._reach = reach
        self.item: WorkItem = fetched.item
        self.lock_token = fetched.lock_token
        self.revoked = fetched.revoked
        self.holds = fetched.holds
        self.attempt = fetched.attempt_count
        self.fetched_at_ms = fetched.now_ms
        self.details = self.kept = fetched.heartbeat
        self._cancelled = False
        self._told: asyncio.Event | None = None
        self._logger: SubjectLogger | None = None

    # ActivityContext

    @property
    def instance(self) -> str:
        return self.item.instance

    @property
    def execution_id(self) -> int:
        return self.item.execution_id

    @property
    def activity_id(self) -> int:
        return self.item.activity_id

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def orchestration(self) -> str:
        return self.item.orchestration

    @property
    def version(self) -> str:
        return self.item.version

    @property
    def traceparent(self) -> str | None:
        return self.item.traceparent

    @property
    def session_id(self) -> str | None:
        return self.item.session_id

    @property
    def tag(self) -> str | None:
        return self.item.tag

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        if self._logger is None:
            self._logger = SubjectLogger(logger(f"activity.{self.item.name}"), self.about)
        return self._logger

    @property
    def client(self) -> Client:
        return self._reach.client

    def is_cancelled(self) -> bool:
        return self._cancelled

    async def cancelled(self) -> None:
        if not self._cancelled:
            self._told = self._told or asyncio.Event()
            await self._told.wait()

    def raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError(f"activity {self.name} of {self.instance} is cancelled")

    def heartbeat(self, details: object = None) -> None:
        shared = self._reach.shared
        self.beat_at_ms = shared.clock.boot_ms()
        if details is None:
            return
        what = f"details of a heartbeat of activity {self.name}"
        payload = shared.converter.encode(details, what)
        if len(payload.data) > shared.options.heartbeat_bytes_max:
            raise ConversionError(
                f"expected {what} to have at most {shared.options.heartbeat_bytes_max} bytes, "
                f"but they have {len(payload.data)}"
            )
        is_first = self.details is self.kept and not self.has_sent
        self.details = payload
        if is_first:  # later ones go with the renewals of the lease
            self._reach.tell(self._reach.said, self)

    def heartbeat_details(self, expected: Any = object, /) -> Any:
        details = self.details
        if details is None:
            return None
        return self._reach.shared.converter.decode(details, expected, f"details of a heartbeat of activity {self.name}")

    # The worker's side

    @property
    def is_limited(self) -> bool:
        """Whether somebody must watch how long the code runs, or is silent."""
        limits = self.item.limits
        return limits is not None and (limits.run_timeout_ms is not None or limits.heartbeat_timeout_ms is not None)

    def begins(self) -> None:
        """The code of a call that `is_limited` begins, in its thread."""
        self.begun_at_ms = self.beat_at_ms = self._reach.shared.clock.boot_ms()
        self._reach.tell(self._reach.begun, self)

    def news(self) -> Payload | None:
        """Details that the provider has not, and that are not on their way there while others are."""
        return None if self.is_sending or self.details is self.kept else self.details

    @property
    def about(self) -> Subject:
        """For log records."""
        return Subject(self.item.instance, self.item.execution_id)

    def tell_cancelled(self) -> None:
        """From now on the context says so, and whoever waits for it is woken."""
        self._cancelled = True
        if self._told is not None:
            self._told.set()

    def completed(
        self, converter: Converter, result: object, payload_bytes_max: int
    ) -> CompleteActivity | FailActivity:
        """The message that tells the orchestration what the activity returned, or that it cannot travel."""
        what = f"the result of activity {self.name}"
        try:
            payload = converter.encode(result, what)
        except ConversionError as error:
            return self.failed(not_convertible(error))
        if len(payload.data) > payload_bytes_max:
            return self.too_large(
                f"expected {what} to have at most {payload_bytes_max} bytes, but it has {len(payload.data)}"
            )
        return self.completion_of(payload)

    def completion_of(self, result: Payload) -> CompleteActivity:
        """The message that tells the orchestration what came out."""
        return answers.completed(self.item, result)

    def too_large(self, message: str) -> FailActivity:
        """The failure of an activity whose result no record holds. Code sees it, so that compensation runs."""
        failure = Failure(category=Category.APPLICATION, type="ResultTooLarge", message=message, retryable=False)
        return self.failed(failure)

    def failed(self, failure: Failure) -> FailActivity:
        """The message that tells the orchestration that the activity ended with `failure`."""
        return answers.failed(self.item, failure, self.details)


async def perform(
    call: Call, definition: ActivityDefinition, converter: Converter, threads: Threads, payload_bytes_max: int
) -> CompleteActivity | FailActivity:
    """Run the activity and say how it ended. Whatever its code raises is a failure, cancellation included.

    Raises:
        NotHeld: It was not run.
        UsageError: The threads are closed.
    """
    value: object = None
    if definition.takes_input:
        try:
            value = converter.decode(call.item.input, definition.input_type, f"the input of activity {call.name}")
        except ConversionError as error:
            return call.failed(not_convertible(error))
    subject.set(call.about)
    try:
        if definition.is_async:
            result = await _begun(call, definition, value)
        else:
            result = await threads.offload(_begun, call, definition, value)
    except NotHeld:
        raise
    except RAISED_BY_CODE as error:
        return call.failed(failure_of(error))
    return call.completed(converter, result, payload_bytes_max)


def _begun(call: Call, definition: ActivityDefinition, value: object) -> Any:
    """What the activity's function returns; between the look at the lease and its first line nothing is waited for."""
    if not call.holds():
        raise NotHeld(f"expected the lease of activity {call.name} of {call.instance} to hold, but it is gone")
    if call.is_limited:
        call.begins()
    context: ActivityContext = call
    return definition.call(context, value)
