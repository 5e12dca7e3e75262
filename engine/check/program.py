"""Which code runs in an orchestration? Its own, that of functions in it, and that of the user's functions it calls."""

import ast
from collections.abc import Callable, Iterator, Sequence

from engine.check.outside import CALLER_METHODS, CALLERS
from engine.check.resolving import Named, Resolver
from engine.check.sources import FUNCTIONS, Class, Function, Module, NotPython, Scope, SourceText

Find = Callable[[str], SourceText | None]
"""The text of a module by its dotted name; None if it is nobody's to read."""

OWN = "engine"
"""What is ours is not read: it runs in every orchestration, and is tested otherwise."""

MADE_BY_A_CALL = ("__init__", "__post_init__")


class Place:
    """A function whose code runs in an orchestration, and where its names are looked up.

    Attributes:
        function: Which one.
        orchestration: Name of one that calls it, or is it.
        resolver: Looks up its names.
    """

    def __init__(self, function: Function, orchestration: str, resolver: Resolver) -> None:
        self.function = function
        self.orchestration = orchestration
        self.resolver = resolver

    @property
    def module(self) -> Module:
        """Where the function is."""
        return self.function.module

    def scope(self, node: ast.AST) -> Scope:
        """Where names of `node` are looked up."""
        return self.module.scope_of[node]

    def parent(self, node: ast.AST) -> ast.AST:
        """What is around `node`."""
        return self.module.parents[node]

    def name(self, node: ast.expr) -> str | None:
        """The full name of what `node` stands for."""
        return self.resolver.name(node, self.scope(node))

    def kind(self, node: ast.expr) -> str | Class | None:
        """What `node` is an instance of."""
        return self.resolver.kind(node, self.scope(node))

    def called(self, node: ast.expr) -> Function | None:
        """The user's function that `node` stands for."""
        found = self.resolver.meaning(node, self.scope(node))
        return found if isinstance(found, Function) else None

    def nodes(self) -> Iterator[ast.AST]:
        """All that runs of the function, and of those in it, in the order of the text: no annotation, no decorator."""
        waiting: list[ast.AST] = list(reversed(self.function.node.body))
        while waiting:
            node = waiting.pop()
            if isinstance(node, FUNCTIONS) and self.resolver.role(self.module.function_of[node]):
                continue
            yield node
            waiting += reversed(list(_running(node)))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of `node` that are code."""
    if isinstance(node, FUNCTIONS):
        yield from (*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None), *node.body)
    elif isinstance(node, ast.AnnAssign):
        yield node.target
        if node.value is not None:
            yield node.value
    else:
        yield from ast.iter_child_nodes(node)


class Program:
    """Modules to check, those they import from, and what runs of them.

    Args:
        targets: Modules whose orchestrations are checked.
        find: Where others of theirs are.

    Raises:
        NotPython: A target does not parse.
    """

    def __init__(self, targets: Sequence[SourceText], find: Find) -> None:
        self._find_source = find
        self._modules: dict[str, Module | None] = {}
        self.targets: list[Module] = []
        for source in targets:
            module = Module(source)
            self._modules[source.name] = module
            self.targets.append(module)
        self.resolver = Resolver(self._find)
        for module in self.targets:
            self._mark(module)

    def orchestrations(self) -> Iterator[tuple[Function, str]]:
        """Those of the targets, and how each is called."""
        for module in self.targets:
            for function in module.functions:
                if self.resolver.role(function) == "orchestration":
                    yield function, _name_of(function)

    def places(self) -> Iterator[Place]:
        """Every function that runs in one of them, once."""
        seen: set[Function] = set()
        waiting = [Place(function, name, self.resolver) for function, name in self.orchestrations()]
        while waiting:
            place = waiting.pop(0)
            if place.function in seen:
                continue
            seen.add(place.function)
            yield place
            for node in place.nodes():
                if isinstance(node, FUNCTIONS):
                    seen.add(place.module.function_of[node])
                elif isinstance(node, ast.Call):
                    waiting += (
                        Place(function, place.orchestration, self.resolver)
                        for function in self._called(node, place)
                        if not self.resolver.role(function)
                    )

    def _called(self, node: ast.Call, place: Place) -> Iterator[Function]:
        """The user's functions that a call runs: itself, what makes an instance, or what it is given to call."""
        found = self.resolver.meaning(node.func, place.scope(node))
        if isinstance(found, Function):
            yield found
        elif isinstance(found, Class):
            yield from (made for name in MADE_BY_A_CALL if (made := found.method(name)) is not None)
        elif calls_what_it_is_given(node, found):
            given = (*node.args, *(each.value for each in node.keywords))
            yield from (function for each in given if (function := place.called(each)) is not None)

    def _find(self, name: str) -> Module | None:
        if name not in self._modules:
            self._modules[name] = None  # also where it does not parse: who runs it will hear of that
            source = None if name.partition(".")[0] == OWN else self._find_source(name)
            if source is not None:
                try:
                    module = self._modules[name] = Module(source)
                except NotPython:
                    return None
                self._mark(module)
        return self._modules[name]

    def _mark(self, module: Module) -> None:
        """Note what `orchestration(f)` and `activity(f)` make of functions."""
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and node.args:
                scope = module.scope_of[node]
                if role := self.resolver.marks(node.func, scope):
                    function = self.resolver.meaning(node.args[0], scope)
                    if isinstance(function, Function):
                        self.resolver.mark(function, role)


def calls_what_it_is_given(node: ast.Call, meaning: object) -> bool:
    """Whether a call runs functions among its arguments."""
    if isinstance(meaning, Named):
        return meaning.dotted in CALLERS
    return isinstance(node.func, ast.Attribute) and node.func.attr in CALLER_METHODS


def _name_of(function: Function) -> str:
    for decorator in function.node.decorator_list:
        if isinstance(decorator, ast.Call):
            for keyword in decorator.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return function.name
