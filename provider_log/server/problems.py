"""How does an error cross HTTP? As problem+json (RFC 9457) whose `type` is the name of the error's class."""

from http import HTTPStatus

from msgspec import Struct

from engine.errors import (
    ConversionError,
    EngineError,
    Fatal,
    HistoryCorrupted,
    InDoubt,
    InstanceExists,
    InstanceNotFound,
    LeaseLost,
    NotRegistered,
    OwnershipLost,
    ProviderError,
    Refused,
    Retryable,
    StateCorrupted,
    Unreachable,
    UsageError,
)

CONTENT_TYPE = "application/problem+json"

STATUS_OF: dict[type[EngineError], HTTPStatus] = {
    UsageError: HTTPStatus.BAD_REQUEST,
    InstanceNotFound: HTTPStatus.NOT_FOUND,
    InstanceExists: HTTPStatus.CONFLICT,
    Refused: HTTPStatus.CONFLICT,
    Retryable: HTTPStatus.SERVICE_UNAVAILABLE,
    InDoubt: HTTPStatus.SERVICE_UNAVAILABLE,
    OwnershipLost: HTTPStatus.SERVICE_UNAVAILABLE,
    HistoryCorrupted: HTTPStatus.INTERNAL_SERVER_ERROR,
    StateCorrupted: HTTPStatus.INTERNAL_SERVER_ERROR,
    Fatal: HTTPStatus.INTERNAL_SERVER_ERROR,
    EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The nearest class among an error's own decides."""

PLAIN = {
    kind.__name__: kind
    for kind in (
        EngineError,
        UsageError,
        NotRegistered,
        ConversionError,
        HistoryCorrupted,
        InstanceNotFound,
        InstanceExists,
    )
}
OF_A_PROVIDER = {
    kind.__name__: kind for kind in (Retryable, InDoubt, Refused, LeaseLost, OwnershipLost, StateCorrupted, Fatal)
}


class Problem(Struct, frozen=True, kw_only=True):
    """The body of every answer that is an error.

    Attributes:
        type: Name of a class in `engine.errors`; of those that a caller can tell apart, the nearest.
        title: What kind of trouble, always the same for a status.
        status: The HTTP status.
        detail: What was expected, and what was there instead.
        operation: The port's method that failed, where a provider said so.
    """

    type: str
    title: str
    status: int
    detail: str
    operation: str | None = None


def problem_of(error: EngineError, status: HTTPStatus | None = None) -> Problem:
    """The problem that says what `error` says; `status` where HTTP has a finer word than the class."""
    kinds = type(error).__mro__
    if status is None:
        status = next(STATUS_OF[kind] for kind in kinds if kind in STATUS_OF)
    operation = error.operation if isinstance(error, ProviderError) else None
    return Problem(
        type=next(kind.__name__ for kind in kinds if kind.__name__ in PLAIN or kind.__name__ in OF_A_PROVIDER),
        title=status.phrase,
        status=status,
        detail=str(error).removeprefix(f"{operation}: "),
        operation=operation,
    )


def error_of(problem: Problem) -> EngineError:
    """The error that `problem_of` was given, or one of its kind."""
    if kind := OF_A_PROVIDER.get(problem.type):
        return kind(problem.operation or "request", problem.detail)
    if kind := PLAIN.get(problem.type):
        return kind(problem.detail)
    return Unreachable(f"expected an error this client knows, but the node answered {problem.type}: {problem.detail}")
