"""Which functions are orchestrations and activities, and under which names and versions are they found?

The decorators return the function unchanged and note what they know in an attribute; nothing is registered by
importing a module. A `Registry` is built explicitly from the functions a program serves.
"""

import builtins
import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, TypeVar, Union, cast, get_args, get_origin, get_type_hints, overload

from engine.activity_context import ActivityContext
from engine.errors import NotRegistered, UsageError
from engine.model.builtins import RESERVED
from engine.replay.raised import Declared, declared

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_VERSION = "1.0.0"
VERSION_FORM = re.compile(r"\d+(\.\d+)*")

CONTEXT_NAMES = frozenset({"ctx", "context"})
CONTEXT_CLASS = "OrchestrationContext"  # its module imports this one

_ACTIVITY = "__turnlog_activity__"
_ORCHESTRATION = "__turnlog_orchestration__"


class _Definition:
    """What the two kinds of functions have in common."""

    _takes: ClassVar[str]

    def __init__(self, function: Callable[..., Any], name: str, context_parameters: int, raises: Declared) -> None:
        self.function = function
        self.name = name
        self.raises = declared(raises, name)
        self.is_async = inspect.iscoroutinefunction(function)
        parameters = _parameters(function)
        required = [p for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
        taken = [p for p in parameters[context_parameters:] if p.kind not in {p.KEYWORD_ONLY, p.VAR_KEYWORD}]
        if len(required) > context_parameters + 1 or any(p.kind is p.KEYWORD_ONLY for p in required):
            raise UsageError(
                f"expected {function.__qualname__} to take at most {self._takes}, but it takes "
                f"{', '.join(p.name for p in parameters)}; put several inputs in a dataclass"
            )
        self._input_parameter = taken[0].name if taken else None

    @property
    def takes_input(self) -> bool:
        """Whether the function wants an input at all."""
        return self._input_parameter is not None

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise UsageError(
                f"expected the annotations of {self.function.__qualname__} to name types of its module, but {error}; "
                "an orchestration inside a function cannot use types of that function"
            ) from error

    @functools.cached_property
    def input_type(self) -> Any:
        """Annotation of the input; `Any` if it has none."""
        return self._hints.get(self._input_parameter or "", Any)

    @functools.cached_property
    def output_type(self) -> Any:
        """Annotation of what it returns; `Any` if it has none."""
        output = self._hints.get("return", Any)
        return None if output is type(None) else output


class ActivityDefinition(_Definition):
    """An activity: `async def` or `def`, with or without a context, with or without an input."""

    _takes = "a context, annotated `ActivityContext`, and one input by position"

    def __init__(self, function: Callable[..., Any], name: str, raises: Declared = ()) -> None:
        first = next(iter(_parameters(function)), None)
        if first is not None and first.annotation is first.empty and first.name in CONTEXT_NAMES:
            raise UsageError(
                f"expected the context of activity {name} to be annotated, `{first.name}: ActivityContext`, "
                "but it is not; without that it would be the input"
            )
        self.takes_context = _first_annotation(function) is ActivityContext
        super().__init__(function, name, context_parameters=int(self.takes_context), raises=raises)

    def call(self, context: ActivityContext, value: object) -> Any:
        """What the function returns; a coroutine if it `is_async`. `value` is left out where no input is taken."""
        arguments = [context] if self.takes_context else []
        return self.function(*arguments, *([value] if self.takes_input else []))


class OrchestrationDefinition(_Definition):
    """An orchestration: `async def`, a context first, with or without an input."""

    _takes = "a context and one input by position"

    def __init__(self, function: Callable[..., Any], name: str, version: str, raises: Declared = ()) -> None:
        if not inspect.iscoroutinefunction(function):
            raise UsageError(f"expected orchestration {name} to be an async def, but {function!r} is none")
        if not _parameters(function):
            raise UsageError(
                f"expected orchestration {name} to take an OrchestrationContext first, but it takes nothing"
            )
        _require_context(function, name, _first_annotation(function))
        if not isinstance(version, str) or not VERSION_FORM.fullmatch(version):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise UsageError(f"expected a version like {DEFAULT_VERSION!r} for {name}, but it is {version!r}")
        super().__init__(function, name, context_parameters=1, raises=raises)
        self.version = version

    def require_context(self) -> None:
        """Check the annotation of the first parameter, now that the names of the module are all there.

        Raises:
            UsageError: It is no OrchestrationContext.
        """
        _require_context(self.function, self.name, self._hints.get(_parameters(self.function)[0].name, Any))


@overload
def activity(function: F, /) -> F: ...
@overload
def activity(*, name: str | None = None, raises: Declared = ()) -> Callable[[F], F]: ...
def activity(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    raises: Declared = (),
) -> F | Callable[[F], F]:
    """Mark a function as an activity, named as the function unless `name` says otherwise.

    Args:
        function: The function.
        name: What it is called in histories.
        raises: Exceptions that arrive in the orchestration as what they were, so that `except OutOfStock` catches
            one. Exactly these classes: a subclass is another name. Each is an ActivityError besides, with `failure`;
            its message travels, its attributes do not.

    Raises:
        UsageError: The name cannot be one, or `raises` has something that is no exception class.
    """

    def mark(function: F) -> F:
        setattr(function, _ACTIVITY, ActivityDefinition(function, _name(function, name), raises))
        return function

    return mark if function is None else mark(function)


@overload
def orchestration(function: F, /) -> F: ...
@overload
def orchestration(
    *,
    name: str | None = None,
    version: str = DEFAULT_VERSION,
    raises: Declared = (),
) -> Callable[[F], F]: ...
def orchestration(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    version: str = DEFAULT_VERSION,
    raises: Declared = (),
) -> F | Callable[[F], F]:
    """Mark an async function as an orchestration, named as the function unless `name` says otherwise.

    Args:
        function: The function.
        name: What it is called in histories.
        version: Numbers between dots; instances stay with the one they began with.
        raises: As of `activity`, for the parents of its instances; there each is a SubOrchestrationError besides.

    Raises:
        UsageError: The name or version cannot be one, the first parameter is annotated as something else than an
            OrchestrationContext, or `raises` has something that is no exception class.
    """

    def mark(function: F) -> F:
        setattr(function, _ORCHESTRATION, OrchestrationDefinition(function, _name(function, name), version, raises))
        return function

    return mark if function is None else mark(function)


def activity_definition(function: Callable[..., Any]) -> ActivityDefinition:
    """What `@activity` noted.

    Raises:
        UsageError: The function is not decorated.
    """
    return cast("ActivityDefinition", _definition(function, _ACTIVITY, "@activity"))


def orchestration_definition(function: Callable[..., Any]) -> OrchestrationDefinition:
    """What `@orchestration` noted.

    Raises:
        UsageError: The function is not decorated.
    """
    return cast("OrchestrationDefinition", _definition(function, _ORCHESTRATION, "@orchestration"))


class Registry:
    """The orchestrations and activities of a program, by name and version. Immutable.

    Args:
        orchestrations: Functions decorated with `@orchestration`; several versions of one name may stand together.
        activities: Functions decorated with `@activity`.

    Raises:
        UsageError: A function is not decorated, or two have the same name (and version).
    """

    def __init__(
        self, *, orchestrations: Iterable[Callable[..., Any]] = (), activities: Iterable[Callable[..., Any]] = ()
    ) -> None:
        self._orchestrations: dict[str, dict[str, OrchestrationDefinition]] = {}
        self._activities: dict[str, ActivityDefinition] = {}
        for function in orchestrations:
            found = orchestration_definition(function)
            versions = self._orchestrations.setdefault(found.name, {})
            _require_free(versions.get(found.version), found, f"orchestration {found.name} {found.version}")
            versions[found.version] = found
        for function in activities:
            definition = activity_definition(function)
            _require_free(self._activities.get(definition.name), definition, f"activity {definition.name}")
            self._activities[definition.name] = definition
        # Annotations are read here, once, so that one that names an unknown type stops the start and not a turn.
        for definition in (*self.orchestrations(), *self._activities.values()):
            _ = definition.input_type, definition.output_type
            if isinstance(definition, OrchestrationDefinition):
                definition.require_context()

    def orchestration(self, name: str, version: str | None = None) -> OrchestrationDefinition:
        """Exactly `version` of `name`, or the latest if None.

        Raises:
            NotRegistered: There is none.
        """
        versions = self._orchestrations.get(name)
        if not versions:
            raise NotRegistered(
                f"expected orchestration {name!r} to be registered, but {_listing(self._orchestrations)}"
            )
        if version is None:
            return versions[max(versions, key=_version_key)]
        if version not in versions:
            raise NotRegistered(f"expected version {version} of orchestration {name!r}, but {_listing(versions)}")
        return versions[version]

    def activity(self, name: str) -> ActivityDefinition:
        """The activity `name`.

        Raises:
            NotRegistered: There is none.
        """
        if name not in self._activities:
            raise NotRegistered(f"expected activity {name!r} to be registered, but {_listing(self._activities)}")
        return self._activities[name]

    def orchestrations(self) -> list[OrchestrationDefinition]:
        """All orchestrations, by name, oldest version first."""
        return [
            self._orchestrations[name][version]
            for name in sorted(self._orchestrations)
            for version in sorted(self._orchestrations[name], key=_version_key)
        ]

    def activities(self) -> list[ActivityDefinition]:
        """All activities, by name."""
        return [self._activities[name] for name in sorted(self._activities)]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        raise UsageError(
            f"expected a function whose parameters can be read, but those of {function!r} cannot; wrap it in one"
        ) from None


def _first_annotation(function: Callable[..., Any]) -> object:
    first = next(iter(_parameters(function)), None)
    if first is None:
        return None
    # Under `from __future__ import annotations` it is text, and the module's other names may not exist yet.
    if isinstance(first.annotation, str):
        name = first.annotation.strip("\"'").rsplit(".", 1)[-1]
        if name == ActivityContext.__name__:
            return ActivityContext
        return function.__globals__.get(name, getattr(builtins, name, first.annotation))
    return first.annotation


def _require_context(function: Callable[..., Any], name: str, annotation: object) -> None:
    if not _admits_context(annotation):
        first = _parameters(function)[0]
        raise UsageError(
            f"expected orchestration {name} to take an OrchestrationContext first, but first it takes `{first}`"
        )


def _admits_context(annotation: object) -> bool:
    """Whether an orchestration's context may be of it. What is no class, or not yet there, is nothing to judge by."""
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        return any(_admits_context(one) for one in get_args(annotation))
    if origin is Annotated:
        return _admits_context(get_args(annotation)[0])
    kind = annotation if origin is None else origin
    if kind is ActivityContext:
        return False
    if not isinstance(kind, type) or kind in {object, Any, inspect.Parameter.empty}:
        return True
    if getattr(kind, "_is_protocol", False):
        return True
    return any(one.__name__ == CONTEXT_CLASS for one in kind.__mro__)


def _name(function: Callable[..., Any], name: str | None) -> str:
    if not callable(function):
        raise UsageError(f"expected a decorator without arguments or with name=…, but it was given {function!r}")
    if name is not None and (not isinstance(name, str) or not name):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise UsageError(f"expected a name for {function!r}, but it is {name!r}")
    if name is not None and name.startswith(RESERVED):
        raise UsageError(
            f"expected a name that does not begin with {RESERVED!r}, which is the engine's own, but got {name!r}"
        )
    return name or function.__name__


def _definition(function: Callable[..., Any], attribute: str, decorator: str) -> object:
    found = getattr(function, attribute, None)
    if found is None:
        raise UsageError(f"expected a function decorated with {decorator}, but {function!r} is not")
    return found


def _require_free(taken: _Definition | None, new: _Definition, what: str) -> None:
    if taken is not None:
        first, second = (f"{d.function.__module__}.{d.function.__qualname__}" for d in (taken, new))
        raise UsageError(f"expected one function for {what}, but there are two: {first} and {second}")


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _listing(names: Iterable[str]) -> str:
    known = sorted(names)
    return "only these are: " + ", ".join(known) if known else "none is"
