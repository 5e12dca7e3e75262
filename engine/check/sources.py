"""What does the text of a module say? Its scopes, what each name is bound to, and which functions are there.

Names are bound as Python binds them: in a function for the whole function, in a class for its body alone, and what a
comprehension binds counts as bound in the function around it, which can only make a name less certain.
"""

import ast
from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class SourceText(Struct, frozen=True):
    """A module to read.

    Attributes:
        name: Its dotted name, as others import it.
        path: As findings say it.
        text: What is in it.
        is_package: Whether it is the `__init__` of a package.
    """

    name: str
    path: str
    text: str
    is_package: bool = False


class NotPython(Exception):
    """A text that does not parse; says where and why."""


class Imported(Struct, frozen=True):
    """A name that an import binds, to `dotted`."""

    dotted: str


class Assigned(Struct, frozen=True):
    """A name that an assignment binds; of a loop, a `with` and the like there is no value, of a parameter neither."""

    value: ast.expr | None = None
    annotation: ast.expr | None = None
    is_parameter: bool = False


Binding: TypeAlias = "Imported | Assigned | Function | Class"


class Scope:
    """Where names are bound: a module, a class or a function.

    Attributes:
        module: In which module.
        parent: The scope around it.
        bindings: All there are of each name, in the order of the text.
        elsewhere: Names that `global` or `nonlocal` declares.
        globals: Those of them that are the module's.
        owner: The function or class whose scope it is; None for a module.
    """

    def __init__(self, module: "Module", parent: "Scope | None", owner: "Function | Class | None") -> None:
        self.module = module
        self.parent = parent
        self.owner = owner
        self.bindings: dict[str, list[Binding]] = {}
        self.elsewhere: set[str] = set()
        self.globals: set[str] = set()

    def bind(self, name: str, binding: Binding) -> None:
        """Note that `name` is bound here, unless it is said to be bound elsewhere."""
        if name not in self.elsewhere:
            self.bindings.setdefault(name, []).append(binding)

    def find(self, name: str) -> "tuple[Scope, list[Binding]] | None":
        """Where `name` is bound as seen from here, and to what; None if nowhere: a built-in, or an error."""
        scope: Scope | None = self.module.scope if name in self.globals else self
        while scope is not None:
            # A class shows its names to its own body, not to the functions in it.
            if name in scope.bindings and (scope is self or not isinstance(scope.owner, Class)):
                return scope, scope.bindings[name]
            scope = scope.parent
        return None


class Function:
    """A function of a module, wherever in it."""

    def __init__(self, node: FunctionNode, around: Scope) -> None:
        self.node = node
        self.around = around
        self.scope = Scope(around.module, around, self)

    @property
    def name(self) -> str:
        """As it is defined."""
        return self.node.name

    @property
    def module(self) -> "Module":
        """Where it is."""
        return self.scope.module

    @property
    def parameters(self) -> list[ast.arg]:
        """By position and by keyword."""
        arguments = self.node.args
        return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


class Class:
    """A class of a module."""

    def __init__(self, node: ast.ClassDef, around: Scope) -> None:
        self.node = node
        self.scope = Scope(around.module, around, self)

    def method(self, name: str) -> Function | None:
        """The one function of that name in its body."""
        found = self.scope.bindings.get(name, [])
        return found[0] if len(found) == 1 and isinstance(found[0], Function) else None


class Module:
    """A module that was read.

    Attributes:
        functions: All there are, in the order of the text.
        parents: Around each node, the next one.
        scope_of: The scope that the names of each node are looked up in; of functions and classes, the one around.

    Raises:
        NotPython: The text does not parse.
    """

    def __init__(self, source: SourceText) -> None:
        try:
            self.tree = ast.parse(source.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None) or 1
            raise NotPython(f"{source.path}:{line}: {getattr(error, 'msg', None) or error}") from None
        self.source = source
        self.scope = Scope(self, None, None)
        self.functions: list[Function] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        self.scope_of: dict[ast.AST, Scope] = {}
        self.function_of: dict[ast.AST, Function] = {}
        self._read()

    def absolute(self, module: str | None, level: int) -> str:
        """The dotted name that `from ..module import` means here."""
        if level == 0:
            return module or ""
        parts = self.source.name.split(".")
        base = parts[: len(parts) - level + self.source.is_package]
        return ".".join([*base, *([module] if module else [])])

    def _read(self) -> None:
        """Go over all nodes in the order of the text; with a list, because a sum of a thousand parts is deep."""
        waiting: list[tuple[ast.AST, Scope]] = [(self.tree, self.scope)]
        while waiting:
            node, scope = waiting.pop()
            self.scope_of[node] = scope
            inside = self._enter(node, scope)
            children = list(ast.iter_child_nodes(node))
            self.parents.update(dict.fromkeys(children, node))
            waiting += ((child, self._scope_inside(node, child, inside)) for child in reversed(children))

    def _scope_inside(self, node: ast.AST, child: ast.AST, scope: Scope) -> Scope:
        """Decorators, defaults and annotations of a function belong to what is around it; so do bases of a class."""
        if isinstance(node, FUNCTIONS):
            return scope if child in node.body else scope.parent or scope
        if isinstance(node, ast.ClassDef):
            return scope if child in node.body else scope.parent or scope
        return scope

    def _enter(self, node: ast.AST, scope: Scope) -> Scope:
        """Bind what `node` binds, and say in which scope its body is."""
        if isinstance(node, FUNCTIONS):
            function = Function(node, scope)
            scope.bind(node.name, function)
            self.functions.append(function)
            self.function_of[node] = function
            for statement in _declared(node):
                function.scope.elsewhere.update(statement.names)
                if isinstance(statement, ast.Global):
                    function.scope.globals.update(statement.names)
            _bind_parameters(node.args, function.scope)
            return function.scope
        if isinstance(node, ast.ClassDef):
            made = Class(node, scope)
            scope.bind(node.name, made)
            return made.scope
        for name, binding in self._bound(node):
            scope.bind(name, binding)
        return scope

    def _bound(self, node: ast.AST) -> Iterator[tuple[str, Binding]]:
        """What a node other than a definition binds."""
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield (
                        (alias.asname or alias.name.partition(".")[0]),
                        Imported(alias.name if alias.asname else alias.name.partition(".")[0]),
                    )
            case ast.ImportFrom(names=names, module=module, level=level):
                for alias in names:
                    yield alias.asname or alias.name, Imported(f"{self.absolute(module, level)}.{alias.name}")
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name, self._assigned(node)
            case ast.Lambda(args=arguments):
                for argument in _arguments(arguments):
                    yield argument.arg, Assigned(is_parameter=True)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, Assigned()
            case ast.MatchMapping(rest=str(name)):
                yield name, Assigned()
            case _:
                pass

    def _assigned(self, node: ast.Name) -> Assigned:
        match self.parents[node]:
            case ast.Assign(targets=[target], value=value) if target is node:
                return Assigned(value)
            case ast.AnnAssign(value=value, annotation=annotation):
                return Assigned(value, annotation)
            case ast.NamedExpr(value=value, target=target) if target is node:
                return Assigned(value)
            case _:
                return Assigned()


def _declared(function: FunctionNode) -> Iterator[ast.Global | ast.Nonlocal]:
    """The `global` and `nonlocal` of a function, not of those in it: they hold wherever in it they stand."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            yield node
        elif not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (each for each in (arguments.vararg, arguments.kwarg) if each is not None)


def _bind_parameters(arguments: ast.arguments, scope: Scope) -> None:
    for argument in _arguments(arguments):
        starred = argument in {arguments.vararg, arguments.kwarg}
        scope.bind(argument.arg, Assigned(None, None if starred else argument.annotation, is_parameter=True))
