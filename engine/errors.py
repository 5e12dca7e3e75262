"""Which errors are there, and who has to act?

    EngineError
    ├─ UsageError                 the programmer: the call is wrong whatever the world    → fix the call
    │  ├─ NotRegistered           … names an orchestration or activity nobody registered
    │  └─ ConversionError         … has a value that cannot travel, or not as the type it is read as
    ├─ HistoryCorrupted           the operator: a stored history breaks its own rules     → the instance is held
    ├─ ProviderError              (.operation) the engine reacts by class, never by text
    │  ├─ Retryable               nothing was written                                     → back off, same call again
    │  ├─ InDoubt                 it may have been written                                → same call, same message id
    │  ├─ Refused                 the call can never succeed (bad token, duplicate id)    → drop it
    │  │  ├─ TurnTooLarge        a turn passes the documented bound                        → fail the instance
    │  │  └─ LeaseLost            the lock token is unknown, expired, or was taken back   → drop the work
    │  ├─ OwnershipLost           another owner has the partition, or the outcome is in doubt → fetch again
    │  ├─ StateCorrupted          store and log contradict each other                     → stop, verify, wipe the store
    │  └─ Fatal                   neither waiting nor restoring helps                     → stop the node
    └─ ClientError                the caller of a client
       ├─ InstanceNotFound
       ├─ OrchestrationFailed     (.failure)
       ├─ OrchestrationHeld       (.failure) it goes no further by itself: fix the code, start the node, resume
       ├─ WaitTimedOut
       └─ Unreachable             no node answers

Failures that cross a queue or a history are `engine.model.failure.Failure` values, never exceptions. What
orchestration code sees (`ActivityError`, `SubOrchestrationError`, `TimedOut`) is not an EngineError, so that
`except EngineError` in a host never eats a business failure.
"""

import shlex

from engine.model.failure import Category, Failure


class EngineError(Exception):
    """Base of everything the engine and its providers raise to their callers."""


class UsageError(EngineError):
    """The call is wrong whatever the state of the world."""


class NotRegistered(UsageError):
    """A name that no registered orchestration or activity has."""


class ConversionError(UsageError):
    """A value that has no payload, or a payload that is not of the expected type."""


class HistoryCorrupted(EngineError):
    """A stored history cannot be read or breaks its own rules."""


class ProviderError(EngineError):
    """A provider could not do what was asked.

    Attributes:
        operation: The port's method, for logs and metrics.
    """

    def __init__(self, operation: str, message: str) -> None:
        super().__init__(f"{operation}: {message}")
        self.operation = operation


class Retryable(ProviderError):
    """Nothing was written and locks are as before; the same call may succeed later."""


class InDoubt(ProviderError):
    """It may have been written. Repeating the call is safe with the same message id, which drops the second."""


class Refused(ProviderError):
    """The call was checked and refused; nothing was written, repeating it gives the same answer."""


class LeaseLost(Refused):
    """The lock token is unknown, has expired, or was taken back: whoever holds it now does the work."""


class TurnTooLarge(Refused):
    """What a turn asks to write is larger than the provider takes. The lock stays held: ack a smaller turn.

    Attributes:
        size: What it would have been, in bytes.
        size_max: What the provider takes.
    """

    def __init__(self, instance: str, size: int, size_max: int) -> None:
        super().__init__(
            "ack_orchestration_item", f"expected a turn of at most {size_max} bytes, but {instance} asks for {size}"
        )
        self.size = size
        self.size_max = size_max


class OwnershipLost(ProviderError):
    """The partition has another owner, or its last commit is in doubt. What was committed is in the log."""


class StateCorrupted(ProviderError):
    """Store and log contradict each other."""


class Fatal(ProviderError):
    """Neither waiting nor restoring helps; the node must stop."""


class ClientError(EngineError):
    """Base of what a client raises."""


class InstanceNotFound(ClientError):
    """No instance has this id."""


class InstanceExists(ClientError):
    """An instance has this id already, and this very start did not begin it."""


class OrchestrationFailed(ClientError):
    """The awaited instance failed or was cancelled.

    Attributes:
        instance: Its id.
        failure: What it ended with.
    """

    def __init__(self, instance: str, failure: Failure) -> None:
        super().__init__(f"{instance} ended with {failure.type}: {failure.message}")
        self.instance = instance
        self.failure = failure


class OrchestrationHeld(ClientError):
    """The awaited instance is set aside: it waits for code that fits, and goes no further until it is resumed.

    Attributes:
        instance: Its id.
        failure: Why it is held.
    """

    def __init__(self, instance: str, failure: Failure) -> None:
        super().__init__(
            f"{instance} is held: {failure.type}: {failure.message}; "
            f"fix the code, start the node with it, then `turnlog resume {shlex.quote(instance)}`"
        )
        self.instance = instance
        self.failure = failure


class WaitTimedOut(ClientError):
    """The instance is still running; waiting longer may succeed."""


class Unreachable(ClientError):
    """No node answered."""


class ActivityError(Exception):
    """Raised in orchestration code when an activity failed for good.

    Code may raise one of its own, with a text.

    Attributes:
        failure: What the activity raised, as data.

    Raises:
        UsageError: It is made of something else.
    """

    def __init__(self, failure: Failure | str = "") -> None:
        if isinstance(failure, Failure):
            super().__init__(f"{failure.type}: {failure.message}")
            self.failure = failure
            return
        kind = type(self).__qualname__
        if not isinstance(failure, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise UsageError(f"expected a text to make {kind} of, but it is {failure!r}")
        super().__init__(failure)
        self.failure = Failure(category=Category.APPLICATION, type=kind, message=failure)


class SubOrchestrationError(ActivityError):
    """Raised in orchestration code when a child failed or was cancelled."""


class TimedOut(ActivityError):
    """Raised in orchestration code when an activity took longer than one of its time-outs or its deadline."""
