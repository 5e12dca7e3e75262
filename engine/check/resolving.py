"""What does an expression stand for? The full name of what is imported, a function or class of the user's, or unknown.

Unknown is the answer wherever two would be possible, for what is not certain is no finding.
"""

import ast
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from engine.check.outside import ANNOTATED, INSTANCE_OF
from engine.check.sources import Assigned, Binding, Class, Function, Imported, Module, Scope

ORCHESTRATION = frozenset({"engine.orchestration", "engine.registry.orchestration"})
ACTIVITY = frozenset({"engine.activity", "engine.registry.activity"})
CONTEXT_NAMES = frozenset({"ctx", "context"})

SAME_KIND_METHODS: dict[str, frozenset[str]] = {
    "pathlib.Path": frozenset({"joinpath", "with_suffix", "with_name", "with_stem", "absolute", "relative_to"}),
    "set": frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"}),
}
"""Methods that return another of their kind."""


OPERATORS_OF: dict[str, tuple[type[ast.operator], ...]] = {
    "pathlib.Path": (ast.Div,),
    "set": (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor),
}
"""Operators that do."""


class Named(Struct, frozen=True):
    """What an import or Python itself gives, by its full name: `time.time`, `builtins.open`."""

    dotted: str


Meaning: TypeAlias = Named | Function | Class | None
Kind: TypeAlias = str | Class | None
"""What something is an instance of: a key of the tables in `outside`, or a class of the user's."""


class Resolver:
    """Looks expressions up.

    Args:
        find: The module of a dotted name, if it is one of those to be read.
    """

    def __init__(self, find: Callable[[str], Module | None]) -> None:
        self._find = find
        self._marked: dict[Function, str] = {}
        # What is under way is unknown: a name may be defined by itself, and modules may import each other.
        self._meanings: dict[ast.expr | tuple[Scope, str], Meaning] = {}
        self._kinds: dict[ast.expr, Kind] = {}
        self._variables: dict[tuple[Scope, str], tuple[Module, str] | None] = {}

    def meaning(self, node: ast.expr, scope: Scope) -> Meaning:
        """What `node` stands for, read in `scope`."""
        if node not in self._meanings:
            self._meanings[node] = None
            self._meanings[node] = self._meaning(node, scope)
        return self._meanings[node]

    def _meaning(self, node: ast.expr, scope: Scope) -> Meaning:
        if isinstance(node, ast.Name):
            return self._of_name(node.id, scope)
        if isinstance(node, ast.Attribute):
            owner = self.meaning(node.value, scope)
            if isinstance(owner, Named):
                return self._named(f"{owner.dotted}.{node.attr}")
            kind = owner or self.kind(node.value, scope)
            return kind.method(node.attr) if isinstance(kind, Class) else None
        return None

    def name(self, node: ast.expr, scope: Scope) -> str | None:
        """The full name of what `node` stands for, if it has one."""
        found = self.meaning(node, scope)
        return found.dotted if isinstance(found, Named) else None

    def kind(self, node: ast.expr, scope: Scope) -> Kind:
        """What `node` is an instance of."""
        if node not in self._kinds:
            self._kinds[node] = None
            self._kinds[node] = self._kind(node, scope)
        return self._kinds[node]

    def _kind(self, node: ast.expr, scope: Scope) -> Kind:
        match node:
            case ast.Name(id=name):
                found = scope.find(name)
                kinds = {self._kind_of(each, found[0], name) for each in found[1]} if found else {None}
                return kinds.pop() if len(kinds) == 1 else None
            case ast.Call(func=func):
                return self._kind_of_call(func, scope)
            case ast.Set() | ast.SetComp():
                return "set"
            case ast.BinOp(op=operator):
                kind = "pathlib.Path" if isinstance(operator, ast.Div) else "set"
                same = OPERATORS_OF[kind]
                first: ast.expr = node
                while isinstance(first, ast.BinOp) and isinstance(first.op, same):
                    first = first.left
                return kind if first is not node and self.kind(first, scope) == kind else None
            case ast.NamedExpr(value=value):
                return self.kind(value, scope)
            case _:
                return None

    def annotated(self, annotation: ast.expr, scope: Scope) -> Kind:
        """What something with this annotation is an instance of."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                annotation = ast.parse(annotation.value, mode="eval").body
            except SyntaxError:
                return None
        if isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        found = self.meaning(annotation, scope)
        return ANNOTATED.get(found.dotted) if isinstance(found, Named) else found if isinstance(found, Class) else None

    def variable(self, node: ast.expr, scope: Scope) -> tuple[Module, str] | None:
        """The module and the name of the variable of a module that `node` is."""
        if isinstance(node, ast.Attribute):
            owner = self.name(node.value, scope)
            return self._variable_named(f"{owner}.{node.attr}") if owner is not None else None
        if not isinstance(node, ast.Name) or (found := scope.find(node.id)) is None:
            return None
        return self._variable_of(node.id, *found)

    def _variable_named(self, dotted: str) -> tuple[Module, str] | None:
        module_name, _, name = dotted.rpartition(".")
        module = self._find(module_name) if module_name else None
        if module is None or name not in module.scope.bindings:
            return None
        return self._variable_of(name, module.scope, module.scope.bindings[name])

    def _variable_of(self, name: str, scope: Scope, bindings: list[Binding]) -> tuple[Module, str] | None:
        first = bindings[0]
        if isinstance(first, Imported):
            if (scope, name) not in self._variables:
                self._variables[scope, name] = None
                self._variables[scope, name] = self._variable_named(first.dotted)
            return self._variables[scope, name]
        is_variable = scope.parent is None and not isinstance(first, Function)
        return (scope.module, name) if is_variable else None

    # Orchestrations and activities.

    def role(self, function: Function) -> str:
        """`orchestration`, `activity`, or nothing."""
        for decorator in function.node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            if found := self.marks(call, function.around):
                return found
            # Whoever calls a decorator of theirs `activity` says what it makes, wherever it comes from.
            if (call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")) == "activity":
                return "activity"
        return self._marked.get(function, "")

    def is_our_activity(self, function: Function) -> bool:
        """Whether it is decorated with `engine.activity`, for certain."""
        calls = (each.func if isinstance(each, ast.Call) else each for each in function.node.decorator_list)
        return any(self.marks(call, function.around) == "activity" for call in calls)

    def marks(self, func: ast.expr, scope: Scope) -> str:
        """What a call of `func` with a function makes of that function; `activity(name="a")(f)` is one, too."""
        if isinstance(func, ast.Call) and not func.args:
            func = func.func
        found = self.meaning(func, scope)
        dotted = found.dotted if isinstance(found, Named) else ""
        return "orchestration" if dotted in ORCHESTRATION else "activity" if dotted in ACTIVITY else ""

    def mark(self, function: Function, role: str) -> None:
        """Remember what a call made of `function`."""
        self._marked.setdefault(function, role)
        self._kinds.clear()  # its first parameter may be a context now

    # Names.

    def _of_name(self, name: str, scope: Scope) -> Meaning:
        found = scope.find(name)
        if found is None:
            return Named(f"builtins.{name}")
        key = found[0], name
        if key not in self._meanings:
            self._meanings[key] = None
            self._meanings[key] = self._of_bindings(*found)
        return self._meanings[key]

    def _of_bindings(self, where: Scope, bindings: list[Binding]) -> Meaning:
        first, last = bindings[0], bindings[-1]
        if isinstance(first, Imported) and all(isinstance(each, Imported) for each in bindings):
            return self._named(first.dotted)
        # Of several definitions the last one counts, as after @overload.
        if isinstance(last, Function) and all(isinstance(each, Function) for each in bindings):
            return last
        if len(bindings) > 1:
            return None
        if isinstance(first, Class):
            return first
        if isinstance(first, Assigned) and first.value is not None:
            return self.meaning(first.value, where)
        return None

    def _named(self, dotted: str) -> Meaning:
        """What `dotted` is: if it is in a module to be read, what that module says."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            module = self._find(".".join(parts[:length]))
            if module is None:
                continue
            if length == len(parts):
                return Named(dotted)
            # An attribute of it; of that one further attributes are looked up one by one.
            name = parts[length]
            known = length + 1 == len(parts) and name in module.scope.bindings
            return self._of_name(name, module.scope) if known else None
        return Named(dotted)

    # Kinds.

    def _kind_of(self, binding: Binding, scope: Scope, name: str) -> Kind:
        if not isinstance(binding, Assigned):
            return None
        if binding.annotation is not None:
            return self.annotated(binding.annotation, scope)
        if binding.is_parameter:
            return self._kind_of_parameter(scope, name)
        return self.kind(binding.value, scope) if binding.value is not None else None

    def _kind_of_parameter(self, scope: Scope, name: str) -> Kind:
        function = scope.owner
        if not isinstance(function, Function) or not function.parameters or function.parameters[0].arg != name:
            return None
        around = function.around.owner
        if isinstance(around, Class):
            return None if _is_static(function) else around
        return "ctx" if name in CONTEXT_NAMES or self.role(function) == "orchestration" else None

    def _kind_of_call(self, func: ast.expr, scope: Scope) -> Kind:
        found = self.meaning(func, scope)
        if isinstance(found, Class):
            return found
        if isinstance(found, Named):
            return INSTANCE_OF.get(found.dotted)
        if isinstance(func, ast.Attribute):
            kind = self.kind(func.value, scope)
            if isinstance(kind, str) and func.attr in SAME_KIND_METHODS.get(kind, ()):
                return kind
        return None


def _is_static(function: Function) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.node.decorator_list)
