"""Which failures arrive as the exceptions they were? Those whose classes the activity or orchestration declares.

A failure crosses the history as data. Building any class that a text names would let a history choose the code that
runs; so code says which ones it knows, and everything else stays an ActivityError with the name in its failure.
"""

import functools
import types
from typing import cast

from engine.errors import ActivityError, UsageError
from engine.model.failure import Category, Failure
from engine.replay.failures import type_of

Raises = tuple[type[Exception], ...]
Declared = type[Exception] | Raises


def declared(raises: Declared, what: str) -> Raises:
    """`raises`, a class or several, as a tuple.

    Raises:
        UsageError: Something in it is no exception class, or cannot be built from a failure.
    """
    kinds = raises if isinstance(raises, tuple) else (raises,)
    for kind in kinds:
        if not _is_exception(kind):
            raise UsageError(f"expected exception classes in `raises` of {what}, but got {kind!r}")
        if issubclass(kind, StopIteration):
            raise UsageError(f"expected classes in `raises` of {what} that a future carries, but got {type_of(kind)}")
        probe = Failure(category=Category.APPLICATION, type=type_of(kind), message="", retryable=True)
        try:
            _ = arriving_as(kind, ActivityError)(probe)
        except Exception as error:
            raise UsageError(
                f"expected classes in `raises` of {what} that can be built without arguments of their own, "
                f"but {type_of(kind)} cannot: {error}"
            ) from error
    return kinds


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def kind_of(failure: Failure, raises: Raises, otherwise: type[ActivityError]) -> type[ActivityError]:
    """What `failure` arrives as: the declared class of its name, which is an `otherwise` too; or `otherwise` alone."""
    for kind in raises:
        if type_of(kind) == failure.type:
            return arriving_as(kind, otherwise)
    return otherwise


@functools.cache
def arriving_as(kind: type[Exception], base: type[ActivityError]) -> type[ActivityError]:
    """A class under both, with the name of `kind`; so `except` of either catches it, and on its way on it is `kind`.

    The constructor of `kind` is not called, for its arguments did not travel.
    """
    if issubclass(kind, base):
        return kind

    def built(self: ActivityError, failure: Failure) -> None:
        self.args = (f"{failure.type}: {failure.message}",)
        self.failure = failure

    def shown(self: ActivityError) -> str:
        return str(self.args[0])

    namespace = {"__init__": built, "__str__": shown, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    made = types.new_class(kind.__name__, (kind, base), exec_body=lambda body: body.update(namespace))
    return cast("type[ActivityError]", made)
