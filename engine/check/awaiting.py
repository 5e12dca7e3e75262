"""What is a coroutine, what is what `gather` returns, and what is in a collection? As far as the text is certain."""

import ast
from collections.abc import Iterator

from engine.check.program import Place
from engine.check.sources import FUNCTIONS, Assigned, Function

COROUTINES = frozenset(
    {"asyncio.sleep", "asyncio.wait_for", "asyncio.wait", "anyio.sleep", "anyio.sleep_until", "anyio.sleep_forever"}
)
"""Functions whose calls are coroutines."""

CONTEXT_COROUTINES = frozenset({"activity", "join", "select", "sub_orchestration"})
"""Methods of a context that are coroutine functions; the others ask at once and return futures."""

PRIMITIVES = frozenset(
    {
        "asyncio.Event.wait", "asyncio.Lock.acquire", "asyncio.Semaphore.acquire", "asyncio.BoundedSemaphore.acquire",
        "asyncio.Condition.acquire", "asyncio.Condition.wait", "asyncio.Condition.wait_for", "asyncio.Queue.get",
        "asyncio.Queue.put", "asyncio.Queue.join", "asyncio.LifoQueue.get", "asyncio.PriorityQueue.get",
        "asyncio.Barrier.wait",
    }
)  # fmt: skip
"""Methods of asyncio's own that are coroutine functions."""

NONE_SEEN: frozenset[ast.AST] = frozenset()

COLLECTIONS = frozenset({"builtins.list", "builtins.tuple", "builtins.set", "builtins.frozenset"})


def is_coroutine(node: ast.expr, place: Place) -> bool:
    """Whether `node` is certainly a coroutine: a call of an async function, or a name for one."""
    if isinstance(node, ast.Name):
        value = value_of(node, place)
        return isinstance(value, ast.Call) and is_coroutine(value, place)
    if not isinstance(node, ast.Call):
        return False
    if place.name(node.func) in COROUTINES:
        return True
    function = place.called(node.func)
    if function is not None:
        return is_coroutine_function(function, place)
    if not isinstance(node.func, ast.Attribute):
        return False
    if place.kind(node.func.value) == "ctx":
        return node.func.attr in CONTEXT_COROUTINES
    made_by = value_of(node.func.value, place)
    made = place.name(made_by.func) if isinstance(made_by, ast.Call) else None
    return f"{made}.{node.func.attr}" in PRIMITIVES


def is_coroutine_function(function: Function, place: Place) -> bool:
    """Whether a call of it is a coroutine: it is async, no generator, and no decorator makes another thing of it."""
    if not isinstance(function.node, ast.AsyncFunctionDef) or _is_generator(function):
        return False
    return not function.node.decorator_list or bool(place.resolver.role(function))


def value_of(node: ast.expr, place: Place) -> ast.expr | None:
    """The one value that a name is given, in the module of `place`; the expression itself, if it is no name."""
    if not isinstance(node, ast.Name):
        return node
    found = place.scope(node).find(node.id)
    if found is None or len(found[1]) != 1:
        return None
    binding = found[1][0]
    return binding.value if isinstance(binding, Assigned) else None


def elements(node: ast.expr, place: Place, seen: frozenset[ast.AST] = NONE_SEEN) -> Iterator[ast.expr]:
    """Expressions for what is in a collection, as far as it is written out; `seen` are those that led here."""
    value = value_of(node, place)
    if value is None or value in seen:
        return
    seen |= {value}
    match value:
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            for part in parts:
                if isinstance(part, ast.Starred):
                    yield from elements(part.value, place, seen)
                else:
                    yield part
        case ast.ListComp(elt=part) | ast.SetComp(elt=part) | ast.GeneratorExp(elt=part):
            yield part
        case ast.Call(func=func, args=[inner]) if place.name(func) in COLLECTIONS:
            yield from elements(inner, place, seen)
        case _:
            pass


def _is_generator(function: Function) -> bool:
    waiting: list[ast.AST] = list(function.node.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return False
