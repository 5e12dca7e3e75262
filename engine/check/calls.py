"""Does a call lead out of the history, or ask the loop for what it has not? Rules TL101 to TL204."""

import ast
from collections.abc import Iterator

from engine.check.awaiting import elements, is_coroutine
from engine.check.outside import AS_COMPLETED, CALLS, LOOP, METHODS, READS, WAIT_FOR, WAIT_OVER_GATHER, Use
from engine.check.program import Place, calls_what_it_is_given
from engine.check.rules import Seen
from engine.check.sources import Assigned, Function


def outside(node: ast.AST, place: Place) -> Iterator[Seen]:
    """Calls and reads of what is in the tables of `outside`."""
    if isinstance(node, ast.Call):
        yield from _called(node, place)
        if calls_what_it_is_given(node, place.resolver.meaning(node.func, place.scope(node))):
            for given in (*node.args, *(each.value for each in node.keywords)):
                name = place.name(given)
                if name in CALLS and CALLS[name].unless is None:
                    yield _seen(given, f"{_shown(name)}()", CALLS[name])
    elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
        name = place.name(node)
        if name in READS and not _is_local(node, place):
            yield _seen(node, _shown(name), READS[name])


def loop(node: ast.AST, place: Place) -> Iterator[Seen]:
    """What the loop refuses, or does not do alike on every Python, by what it is given."""
    if not isinstance(node, ast.Call):
        return
    name = place.name(node.func)
    if (
        name == "asyncio.as_completed"
        and node.args
        and any(is_coroutine(e, place) for e in elements(node.args[0], place))
    ):
        yield Seen(node, AS_COMPLETED, "asyncio.as_completed()")
    elif name == "asyncio.wait" and node.args:
        if any(_is_gather(each, place) for each in elements(node.args[0], place)):
            yield Seen(node, WAIT_OVER_GATHER, "asyncio.wait()")
    elif name == "asyncio.wait_for" and node.args and is_coroutine(node.args[0], place):
        yield Seen(node, WAIT_FOR, "asyncio.wait_for()")
    if any(each.arg == "eager_start" and _is_true(each.value) for each in node.keywords):
        yield Seen(node, LOOP, "eager_start=True", "create_task() without it", "is not on every Python that replays")


def _called(node: ast.Call, place: Place) -> Iterator[Seen]:
    name = place.name(node.func)
    if name in CALLS:
        use = CALLS[name]
        if use.unless is None or not _has_arguments(node, use.unless):
            yield _seen(node, f"{_shown(name)}()", use)
    elif name is None and isinstance(node.func, ast.Attribute):
        kind = place.kind(node.func.value)
        if isinstance(kind, str) and (use := METHODS.get(f"{kind}.{node.func.attr}")) is not None:
            yield _seen(node, f"{kind.rpartition('.')[2]}.{node.func.attr}()", use)


def _seen(node: ast.expr, shown: str, use: Use) -> Seen:
    return Seen(node, use.code, shown, use.instead)


def _shown(name: str) -> str:
    return name.removeprefix("builtins.")


def _has_arguments(node: ast.Call, number: int) -> bool:
    """Whether it has so many arguments, None being none; of what is starred nobody knows."""
    given = [*node.args, *(each.value for each in node.keywords)]
    if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
        return True
    return sum(not (isinstance(each, ast.Constant) and each.value is None) for each in given) >= number


def _is_local(node: ast.Name | ast.Attribute, place: Place) -> bool:
    """Whether it is a function's own name for what is found where that name is bound."""
    if not isinstance(node, ast.Name):
        return False
    found = place.scope(node).find(node.id)
    return found is not None and isinstance(found[0].owner, Function) and isinstance(found[1][0], Assigned)


def _is_gather(node: ast.expr, place: Place) -> bool:
    return isinstance(node, ast.Call) and place.name(node.func) == "asyncio.gather"


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
