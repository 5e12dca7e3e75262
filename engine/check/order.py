"""Does the code depend on an order or a number that another process has not? Rules TL301 and TL302.

The order of a set of strings comes from the hash seed, that of a set of objects from their addresses. Numbers, and
tasks and futures of this loop, hash alike in every process: a set of them is iterated in peace.
"""

import ast
from collections.abc import Iterator

from engine.check.awaiting import NONE_SEEN, elements
from engine.check.program import Place
from engine.check.rules import Seen, shown
from engine.check.sources import Assigned

ORDER_FREE = frozenset(
    {f"builtins.{name}" for name in ("sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all", "bool")}
    | {"collections.Counter", "math.fsum", "math.prod"}
)
"""Functions whose result does not depend on the order of what they are given."""

ORDERED = frozenset(
    {
        *(f"builtins.{name}" for name in ("list", "tuple", "enumerate", "iter", "zip", "map", "filter", "next")),
        "builtins.dict.fromkeys", "collections.deque", "functools.reduce", "itertools.chain", "itertools.product",
        "itertools.combinations", "itertools.permutations", "itertools.islice", "itertools.accumulate",
        "itertools.batched", "itertools.pairwise", "itertools.groupby", "itertools.cycle", "itertools.zip_longest",
        "itertools.chain.from_iterable", "itertools.starmap",
    }
)  # fmt: skip
"""Functions whose result does."""

HANDED_ON = frozenset({*(f"builtins.{name}" for name in ("list", "tuple", "iter", "map", "filter")), "itertools.chain"})
"""Functions that give what they are given, all of it and in its order."""

SET_METHODS = frozenset(
    {
        "update", "union", "difference", "intersection", "symmetric_difference", "difference_update",
        "intersection_update", "symmetric_difference_update", "issubset", "issuperset", "isdisjoint",
    }
)  # fmt: skip
"""Methods of a set that make nothing of the order of what they are given."""

NUMBERS = frozenset({f"builtins.{name}" for name in ("int", "float", "len", "ord", "round", "abs", "range")})
TASKS = frozenset({"asyncio.create_task", "asyncio.ensure_future", "asyncio.shield"})
ASKED = frozenset(
    {
        "schedule_activity", "schedule_sub_orchestration", "schedule_timer", "wait_event", "dequeue",
        "get_key_value_of",
    }
)  # fmt: skip
SETTLED_TYPES = frozenset(
    {
        "builtins.int",
        "builtins.float",
        "builtins.bool",
        "uuid.UUID",
        "asyncio.Task",
        "asyncio.Future",
        "engine.DurableFuture",
    }
)


def iteration(node: ast.AST, place: Place) -> Iterator[Seen]:
    """Sets whose order reaches the code."""
    for iterated in _iterated(node, place):
        if place.kind(iterated) == "set" and not _is_settled_set(iterated, place):
            yield Seen(iterated, "TL301", f"the set {shown(iterated)}")


def identity(node: ast.AST, place: Place) -> Iterator[Seen]:
    """Numbers made of addresses and of the hash seed."""
    if isinstance(node, ast.Call) and (name := place.name(node.func)) in {"builtins.id", "builtins.hash"}:
        yield Seen(node, "TL302", f"{name.removeprefix('builtins.')}()")


def _iterated(node: ast.AST, place: Place) -> Iterator[ast.expr]:
    """Expressions that `node` goes over in their order."""
    match node:
        case ast.For(iter=iterated) | ast.YieldFrom(value=iterated):
            yield iterated
        case ast.ListComp() | ast.GeneratorExp() | ast.DictComp():
            if not _is_order_free(node, place):
                yield from (each.iter for each in node.generators)
        case ast.Starred(value=iterated, ctx=ast.Load()):
            around = place.parent(node)
            if not isinstance(around, ast.Set) and not _takes_any_order(around, place):
                yield iterated
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=iterated):
            yield iterated
        case ast.Call(func=func, args=arguments):
            yield from _iterated_by_call(node, func, arguments, place)
        case _:
            pass


def _iterated_by_call(node: ast.Call, func: ast.expr, arguments: list[ast.expr], place: Place) -> Iterator[ast.expr]:
    if place.name(func) in ORDERED:
        if not _is_order_free(node, place):
            yield from arguments
    elif isinstance(func, ast.Attribute):
        if func.attr == "join" and isinstance(func.value, ast.Constant):
            yield from arguments
        elif func.attr == "pop" and not arguments:
            yield func.value


def _is_order_free(node: ast.expr, place: Place) -> bool:
    """Whether what is around it makes nothing of its order."""
    return _takes_any_order(place.parent(node), place)


def _takes_any_order(around: ast.AST, place: Place) -> bool:
    """Whether it, or what it is given to in the same order, makes nothing of the order."""
    while isinstance(around, (ast.Call, ast.comprehension, ast.GeneratorExp, ast.ListComp, ast.SetComp)):
        if isinstance(around, ast.SetComp):
            return True
        if not isinstance(around, ast.Call):
            around = place.parent(around)
            continue
        name = place.name(around.func)
        if name in ORDER_FREE:
            return True
        if isinstance(around.func, ast.Attribute) and around.func.attr in SET_METHODS:
            return place.kind(around.func.value) == "set"
        if name not in HANDED_ON:
            return False
        around = place.parent(around)
    return False


def _is_settled_set(node: ast.expr, place: Place, seen: frozenset[ast.AST] = NONE_SEEN) -> bool:
    """Whether all that is in a set hashes alike everywhere; `seen` are the expressions that led here."""
    if node in seen:
        return False
    seen |= {node}
    if isinstance(node, ast.BinOp):
        return _is_settled_set(node.left, place, seen) and _is_settled_set(node.right, place, seen)
    if isinstance(node, ast.Name):
        return _is_settled_name(node, place, seen)
    if isinstance(node, ast.Call) and not node.args and place.name(node.func) in {"builtins.set", "builtins.frozenset"}:
        return True
    found = list(elements(node, place))
    if isinstance(node, ast.Call) and not found:
        return bool(node.args) and (_is_range(node.args[0], place) or _is_declared_settled(node.args[0], place))
    return bool(found) and all(_is_settled(each, place, seen) for each in found)


def _is_settled_name(node: ast.Name, place: Place, seen: frozenset[ast.AST]) -> bool:
    found = place.scope(node).find(node.id)
    if found is None:
        return False
    for binding in found[1]:
        if not isinstance(binding, Assigned):
            return False
        if _is_annotated_settled(binding.annotation, place):
            continue
        if binding.value is None or not _is_settled_set(binding.value, place, seen):
            return False
    return all(_is_settled(each, place, seen) for each in _put_in(node.id, place))


def _put_in(name: str, place: Place) -> Iterator[ast.expr]:
    """What the function puts in the set of that name later."""
    for node in place.nodes():
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="add"), args=[one]) if owner == name:
                yield one
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="update"), args=many) if owner == name:
                for each in many:
                    parts = list(elements(each, place))
                    yield from parts or [each]
            case _:
                pass


def _is_settled(node: ast.expr, place: Place, seen: frozenset[ast.AST]) -> bool:
    """Whether a value hashes alike in every process: a number, a task, a future."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, (int, float))
        case ast.UnaryOp(operand=operand):
            return _is_settled(operand, place, seen)
        case ast.BinOp(left=left, right=right):
            return _is_settled(left, place, seen) and _is_settled(right, place, seen)
        case ast.Tuple(elts=parts):
            return all(_is_settled(each, place, seen) for each in parts)
        case ast.Call(func=func):
            return place.name(func) in NUMBERS | TASKS or _makes_a_future(func, place)
        case ast.Name():
            return _is_settled_variable(node, place, seen)
        case _:
            return False


def _makes_a_future(func: ast.expr, place: Place) -> bool:
    if not isinstance(func, ast.Attribute):
        return False
    return func.attr == "create_task" or (func.attr in ASKED and place.kind(func.value) == "ctx")


def _is_settled_variable(node: ast.Name, place: Place, seen: frozenset[ast.AST]) -> bool:
    """A name for nothing but such values, and for what a range or a list of them gives one after the other."""
    found = place.scope(node).find(node.id)
    unknown = 0
    for binding in () if found is None else found[1]:
        if not isinstance(binding, Assigned):
            return False
        if binding.value is not None:
            if binding.value in seen or not _is_settled(binding.value, place, seen | {binding.value}):
                return False
        elif not _is_settled_type(binding.annotation, place):
            unknown += 1
    loops = [each for each in place.nodes() if isinstance(each, (ast.For, ast.comprehension))]
    given = [each.iter for each in loops if isinstance(each.target, ast.Name) and each.target.id == node.id]
    return found is not None and unknown == len(given) and all(_gives_settled(each, place, seen) for each in given)


def _gives_settled(iterated: ast.expr, place: Place, seen: frozenset[ast.AST]) -> bool:
    if _is_range(iterated, place) or _is_declared_settled(iterated, place):
        return True
    parts = list(elements(iterated, place)) if iterated not in seen else []
    return bool(parts) and all(_is_settled(part, place, seen | {iterated}) for part in parts)


def _is_range(node: ast.expr, place: Place) -> bool:
    return isinstance(node, ast.Call) and place.name(node.func) == "builtins.range"


def _is_declared_settled(node: ast.expr, place: Place) -> bool:
    """Whether it is a name that is declared to be `list[int]` or the like, and is given nothing else."""
    found = place.scope(node).find(node.id) if isinstance(node, ast.Name) else None
    return found is not None and all(
        isinstance(binding, Assigned) and _is_annotated_settled(binding.annotation, place) for binding in found[1]
    )


def _is_annotated_settled(annotation: ast.expr | None, place: Place) -> bool:
    """Whether it is `set[int]` or the like."""
    return isinstance(annotation, ast.Subscript) and _is_settled_type(annotation.slice, place)


def _is_settled_type(annotation: ast.expr | None, place: Place) -> bool:
    if isinstance(annotation, ast.Subscript):
        if place.name(annotation.value) == "builtins.tuple" and isinstance(annotation.slice, ast.Tuple):
            return all(
                isinstance(each, ast.Constant) or _is_settled_type(each, place) for each in annotation.slice.elts
            )
        annotation = annotation.value
    return annotation is not None and place.name(annotation) in SETTLED_TYPES
