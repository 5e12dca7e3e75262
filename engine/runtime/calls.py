"""What happens between a work item and its completion? One call of a user's activity, in its task or thread."""

import asyncio
import logging
from typing import Any

from msgspec import structs

from engine.activity_context import ActivityContext
from engine.client import Client
from engine.converter import Converter
from engine.errors import ConversionError
from engine.model.failure import Category, Failure
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import Payload
from engine.model.work import WorkItem
from engine.observe import Subject, SubjectLogger, logger, subject
from engine.port import FetchedWorkItem
from engine.registry import ActivityDefinition
from engine.replay.failures import failure_of
from engine.runtime.doors import Threads

# Whatever else a user's code lets through is the loop's or the process's business (KeyboardInterrupt).
RAISED_BY_CODE = (Exception, asyncio.CancelledError, SystemExit)


class NotHeld(Exception):
    """The lease was gone before the activity's code began."""


class Call:
    """One delivery of a work item to this engine: what the worker knows about it, and the activity's context."""

    def __init__(self, fetched: FetchedWorkItem, client: Client) -> None:
        self.item: WorkItem = fetched.item
        self.client = client
        self.lock_token = fetched.lock_token
        self.revoked = fetched.revoked
        self.holds = fetched.holds
        self.attempt = fetched.attempt_count
        self.definition: ActivityDefinition | None = None  # while the activity is executed
        self.finished = False  # the activity has ended; what remains is to say so
        self.settled = False  # the provider has the completion, or the lease is not ours any more
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

    def is_cancelled(self) -> bool:
        return self._cancelled

    async def cancelled(self) -> None:
        if not self._cancelled:
            self._told = self._told or asyncio.Event()
            await self._told.wait()

    def raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError(f"activity {self.name} of {self.instance} is cancelled")

    # The worker's side

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
            return self.failed(structs.replace(failure_of(error), retryable=False))
        if len(payload.data) > payload_bytes_max:
            return self.too_large(
                f"expected {what} to have at most {payload_bytes_max} bytes, but it has {len(payload.data)}"
            )
        return self.completion_of(payload)

    def completion_of(self, result: Payload) -> CompleteActivity:
        """The message that tells the orchestration what came out."""
        item = self.item
        return CompleteActivity(
            instance=item.instance,
            incarnation=item.incarnation,
            execution_id=item.execution_id,
            activity_id=item.activity_id,
            result=result,
        )

    def too_large(self, message: str) -> FailActivity:
        """The failure of an activity whose result no record holds. Code sees it, so that compensation runs."""
        failure = Failure(category=Category.APPLICATION, type="ResultTooLarge", message=message, retryable=False)
        return self.failed(failure)

    def failed(self, failure: Failure) -> FailActivity:
        """The message that tells the orchestration that the activity ended with `failure`."""
        item = self.item
        return FailActivity(
            instance=item.instance,
            incarnation=item.incarnation,
            execution_id=item.execution_id,
            activity_id=item.activity_id,
            failure=failure,
        )


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
            return call.failed(structs.replace(failure_of(error), retryable=False))
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
    context: ActivityContext = call
    return definition.call(context, value)
