"""Does the code swallow a cancellation, drop what is to be awaited, or run an activity itself? Rules TL401 to TL403.

To catch a cancellation and do something about it is the orchestration's right; to catch it with all else, or to do
nothing, is a mistake. A task that the code has cancelled itself is waited for with `except CancelledError: pass`, and
may end with it.
"""

import ast
from collections.abc import Iterator

from engine.check.awaiting import is_coroutine
from engine.check.program import Place
from engine.check.rules import Seen, shown
from engine.check.sources import FUNCTIONS

EVERYTHING = "builtins.BaseException"
CANCELLED = frozenset({"asyncio.CancelledError", "asyncio.exceptions.CancelledError"})
SUPPRESS = "contextlib.suppress"
WAITED_FOR = frozenset({"schedule_timer", "wait_event", "dequeue"})
"""What a context asks for only to be waited for; a dropped activity or child still does its work."""

SAYING = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
SHOWING = frozenset({f"builtins.{name}" for name in ("str", "repr", "print", "type", "isinstance")})
"""What makes no more of an exception than a text."""


def swallowed(node: ast.AST, place: Place) -> Iterator[Seen]:
    """Handlers and the like that a cancellation does not get past."""
    if isinstance(node, ast.Try) and _waits(node.body):
        yield from _handlers(node, place)
        for inner in _own(node.finalbody):
            if isinstance(inner, ast.Return):
                yield Seen(inner, "TL401", "a return in finally", "a return after the try")
    elif isinstance(node, ast.With) and _waits(node.body):
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and place.name(call.func) == SUPPRESS:
                caught = {place.name(each) for each in call.args}
                if EVERYTHING in caught or (caught & CANCELLED and _is_cancelled_from_outside(node, place)):
                    yield Seen(call, "TL401", shown(call), "try and except, with a `raise` at its end")


def called_activity(node: ast.AST, place: Place) -> Iterator[Seen]:
    """Activities that are called as functions: the decorator leaves them what they were, so that nothing says no."""
    if isinstance(node, ast.Call) and _is_activity(node.func, place):
        yield Seen(node, "TL403", f"{shown(node.func)}()", f"await ctx.schedule_activity({shown(node.func)}, …)")


def _is_activity(func: ast.expr, place: Place) -> bool:
    function = place.called(func)
    return function is not None and place.resolver.is_our_activity(function)


def dropped(node: ast.AST, place: Place) -> Iterator[Seen]:
    """Awaitables that nobody will await."""
    match node:
        case ast.Expr(value=ast.Call(func=func)) | ast.Assign(value=ast.Call(func=func)) if _is_activity(func, place):
            pass  # TL403 says what to do about it, and that is not to await the call
        case ast.Expr(value=ast.Call() as call):
            if is_coroutine(call, place) or _is_only_waited_for(call, place):
                yield Seen(call, "TL402", f"{shown(call.func)}()")
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if is_coroutine(call, place):
            if not any(_reads(each, name) for each in place.nodes()):
                yield Seen(call, "TL402", f"{shown(call.func)}()")
        case _:
            pass


def _handlers(node: ast.Try, place: Place) -> Iterator[Seen]:
    for handler in node.handlers:
        caught = _caught(handler, place)
        if EVERYTHING in caught:
            if not any(_goes_on(each, handler, place) for each in _own(handler.body)):
                yield Seen(handler, "TL401", "except BaseException" if handler.type else "except without a type")
            return
        if caught & CANCELLED:
            if all(_does_nothing(each) for each in handler.body) and _is_cancelled_from_outside(handler, place):
                yield Seen(handler, "TL401", "except CancelledError")
            return


def _caught(handler: ast.ExceptHandler, place: Place) -> set[str]:
    if handler.type is None:
        return {EVERYTHING}
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {place.name(each) or "" for each in kinds}
    calls = (place.name(each.func) for each in kinds if isinstance(each, ast.Call))
    return names | {"asyncio.CancelledError" for name in calls if name == "anyio.get_cancelled_exc_class"}


def _waits(body: list[ast.stmt]) -> bool:
    """Whether a cancellation can arrive in it."""
    return any(isinstance(each, (ast.Await, ast.AsyncFor, ast.AsyncWith)) for each in _own(body))


def _goes_on(node: ast.AST, handler: ast.ExceptHandler, place: Place) -> bool:
    """Whether what was caught is raised again, or is handed on in a variable or an argument."""
    match node:
        case ast.Raise() | ast.Call(func=ast.Attribute(attr="continue_as_new")):
            return True
        case ast.Name(id=name, ctx=ast.Load()) if name == handler.name:
            return not _is_only_shown(place.parent(node), place)
        case _:
            return False


def _is_only_shown(around: ast.AST, place: Place) -> bool:
    match around:
        case ast.FormattedValue() | ast.Attribute():
            return True
        case ast.Call(func=ast.Attribute(attr=method)) if method in SAYING:
            return True
        case ast.Call(func=func):
            return place.name(func) in SHOWING
        case _:
            return False


def _does_nothing(node: ast.stmt) -> bool:
    match node:
        case ast.Pass() | ast.Continue() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=method))):
            return method in SAYING
        case _:
            return False


def _is_cancelled_from_outside(node: ast.stmt | ast.ExceptHandler, place: Place) -> bool:
    """Whether what is caught is the cancellation of the orchestration.

    It is that in its own body. Other functions may be tasks, which end so when nobody needs them any more; and
    if something was cancelled before, this may be the wait for its end.
    """
    around: ast.AST = node
    while not isinstance(around, (*FUNCTIONS, ast.Lambda)):
        around = place.parent(around)
    if around is not place.function.node or place.resolver.role(place.function) != "orchestration":
        return False
    return not any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == "cancel"
        and each.lineno <= node.lineno + len(getattr(node, "body", ()))
        for each in place.nodes()
    )


def _is_only_waited_for(call: ast.Call, place: Place) -> bool:
    func = call.func
    return isinstance(func, ast.Attribute) and func.attr in WAITED_FOR and place.kind(func.value) == "ctx"


def _reads(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes of statements, without those of functions in them."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
            waiting += reversed(list(ast.iter_child_nodes(node)))
