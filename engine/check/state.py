"""Does the code keep or find something in a global of a module, which no history has? Rules TL303 and TL304.

A global that nothing changes after the import is a constant, whatever its type, and may be read.
"""

import ast
from collections.abc import Iterator

from engine.check.program import Place
from engine.check.resolving import Resolver
from engine.check.rules import Seen
from engine.check.sources import FUNCTIONS, Assigned, Class, Function, Module

CONTAINERS = frozenset(
    {
        "builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", "collections.defaultdict",
        "collections.deque", "collections.Counter", "collections.OrderedDict",
    }
)  # fmt: skip
ITERATORS = frozenset({"builtins.iter", "itertools.count", "itertools.cycle"})
MUTATORS = frozenset(
    {
        "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard", "update",
        "setdefault", "popitem", "appendleft", "popleft", "extendleft", "rotate", "subtract", "move_to_end",
        "difference_update", "intersection_update", "symmetric_difference_update",
    }
)  # fmt: skip
"""Methods that change a container."""

LOGGER = "logging.getLogger"

Variable = tuple[Module, str]


class Globals:
    """Which variables of modules do their functions change? Found once for each module."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._changed: dict[Module, dict[str, str]] = {}  # variables, each with a function that does it

    def changed(self, node: ast.AST, place: Place) -> Iterator[Seen]:
        """Changes of globals."""
        for variable, _ in _changes(node, place.module, self._resolver):
            yield Seen(node, "TL303", f"the global {_shown(variable)}")

    def read(self, node: ast.AST, place: Place) -> Iterator[Seen]:
        """Reads of globals that a function of their module changes."""
        if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
            return
        variable = self._resolver.variable(node, place.scope(node))
        by = None if variable is None else self._changed_in(variable[0]).get(variable[1])
        if variable is not None and by is not None and not _is_changed_there(node, place, self._resolver):
            yield Seen(node, "TL304", f"the global {_shown(variable)}", says=f"is changed by {by}()")

    def _changed_in(self, module: Module) -> dict[str, str]:
        if module not in self._changed:
            self._changed[module] = {
                name: around[0].name
                for node, around in _in_functions(module)
                for name in _changed_names(node, module, self._resolver)
                if not _stays_what_it_is(name, module, self._resolver)
            }
        return self._changed[module]


def _stays_what_it_is(name: str, module: Module, resolver: Resolver) -> bool:
    """Whether a change of an attribute changes nothing: of a class, or of a logger, from which nothing comes back."""
    first = module.scope.bindings.get(name, [None])[0]
    value = first.value if isinstance(first, Assigned) else None
    made_by = resolver.name(value.func, module.scope) if isinstance(value, ast.Call) else None
    return isinstance(first, Class) or made_by == LOGGER


def _changed_names(node: ast.AST, module: Module, resolver: Resolver) -> Iterator[str]:
    yield from (name for (owner, name), _ in _changes(node, module, resolver) if owner is module)


def _is_changed_there(node: ast.AST, place: Place, resolver: Resolver) -> bool:
    """Whether `node` is read for no other purpose than to change what it names."""
    around = place.parent(node)
    while isinstance(around, (ast.Attribute, ast.Subscript, ast.Call)):
        if any(changed is node for _, changed in _changes(around, place.module, resolver)):
            return True
        around = place.parent(around)
    return False


def _changes(node: ast.AST, module: Module, resolver: Resolver) -> Iterator[tuple[Variable, ast.AST]]:
    """Variables of modules that `node` changes, each with the expression that names it."""
    scope = module.scope_of.get(node, module.scope)
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if name in scope.globals:
            yield (module, name), node
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            inner: ast.expr = node
            while isinstance(inner, (ast.Attribute, ast.Subscript)):
                variable = resolver.variable(inner, scope)
                if variable is not None:
                    break
                inner = inner.value
            else:
                variable = resolver.variable(inner, scope)
            if variable is not None:
                yield variable, inner
        case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method in MUTATORS:
            variable = resolver.variable(owner, scope)
            if variable is not None and _holds(variable, CONTAINERS, resolver):
                yield variable, owner
        case ast.Call(func=func, args=[owner, *_]) if resolver.name(func, scope) == "builtins.next":
            variable = resolver.variable(owner, scope)
            if variable is not None and _holds(variable, ITERATORS, resolver):
                yield variable, owner
        case _:
            pass


def _holds(variable: Variable, made_by: frozenset[str], resolver: Resolver) -> bool:
    """Whether all that the variable is given at module level is certainly made by one of these."""
    module, name = variable
    bindings = module.scope.bindings.get(name, [])
    return bool(bindings) and all(
        isinstance(each, Assigned) and each.value is not None and _is_made_by(each.value, made_by, module, resolver)
        for each in bindings
    )


def _is_made_by(value: ast.expr, made_by: frozenset[str], module: Module, resolver: Resolver) -> bool:
    if isinstance(value, ast.Call):
        return resolver.name(value.func, module.scope) in made_by
    if made_by is ITERATORS:
        return isinstance(value, ast.GeneratorExp)
    return isinstance(value, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))


def _in_functions(module: Module) -> Iterator[tuple[ast.AST, list[Function]]]:
    """Nodes that run when a function is called, and not by the import; with the functions around, innermost first."""
    by_import = _called_by_import(module)
    for node in module.scope_of:
        around = _functions_around(node, module)
        if around and not any(each.name in by_import for each in around):
            yield node, around


def _functions_around(node: ast.AST, module: Module) -> list[Function]:
    found: list[Function] = []
    while node in module.parents:
        node = module.parents[node]
        if isinstance(node, FUNCTIONS):
            found.append(module.function_of[node])
    return found


def _called_by_import(module: Module) -> set[str]:
    """Names of functions that fill a global while the module is imported: its decorators, and what its body calls."""
    found: set[str] = set()
    for node in module.scope_of:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            called = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
        elif isinstance(node, ast.Call) and module.scope_of[node] is module.scope and not _is_for_main(node, module):
            called = [node.func]
        else:
            continue
        found.update(each.id for each in called if isinstance(each, ast.Name))
    return found


def _is_for_main(node: ast.AST, module: Module) -> bool:
    """Whether it is under `if __name__ == "__main__"`."""
    while node in module.parents:
        node = module.parents[node]
        if isinstance(node, ast.If) and any(getattr(each, "id", "") == "__name__" for each in ast.walk(node.test)):
            return True
    return False


def _shown(variable: Variable) -> str:
    module, name = variable
    return f"{name} of {module.source.name}"
