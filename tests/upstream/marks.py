"""Where is the counterpart of each test of upstream? Read from the text of our tests, without running any."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from engine.testing.conformance import GROUPS
from tests.upstream import known, named

REPOSITORY = Path(__file__).parents[2]
CONFORMANCE = "provider_validation/"


class Counterpart(Struct, frozen=True, order=True):
    """One test of ours.

    Attributes:
        file: Where it is, from the root of the repository.
        test: Its name.
        differs: What it asserts that upstream's does not, as a sentence; empty if nothing.
    """

    file: str
    test: str
    differs: str = ""


def counterparts() -> dict[str, list[Counterpart]]:
    """Of every test of upstream that has any, in the order of their files."""
    found: dict[str, list[Counterpart]] = defaultdict(list)
    for name, counterpart in [*_of_the_conformance_suite(), *_of_the_marks()]:
        found[name].append(counterpart)
    return {name: sorted(of_name) for name, of_name in found.items()}


def _of_the_conformance_suite() -> Iterator[tuple[str, Counterpart]]:
    """Its tests have upstream's names, but that all of them begin with `test_`."""
    for group, tests in GROUPS.items():
        for test in tests:
            for name in (test.__name__, test.__name__.removeprefix("test_")):
                if (full := f"{CONFORMANCE}{group}::{name}") in known():
                    yield full, Counterpart(f"engine/testing/conformance/{group}.py", test.__name__)


def _of_the_marks() -> Iterator[tuple[str, Counterpart]]:
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "upstream(" in text:
            yield from in_text(path.relative_to(REPOSITORY).as_posix(), text)


def in_text(file: str, text: str) -> Iterator[tuple[str, Counterpart]]:
    """The names that the marks in one file give, each with the test that has the mark."""
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in function.decorator_list:
                match decorator:
                    case ast.Call(func=ast.Name(id="upstream"), args=arguments, keywords=keywords):
                        of_file, *tests = map(ast.literal_eval, arguments)
                        differs = "".join(ast.literal_eval(keyword.value) for keyword in keywords)
                        for name in named(of_file, tests):
                            yield name, Counterpart(file, function.name, differs)
                    case _:
                        pass
