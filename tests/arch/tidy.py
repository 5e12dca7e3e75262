"""What does a file of this repository have to look like? The rules no linter has, each a pure function of the text."""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable, Iterator

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 90

# One word a thing: what these would name has a name of its own in this code base.
BANNED_WORDS = frozenset({"workflow", "workflows", "manager", "helper", "helpers", "util", "utils"})
POSTPONED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
NOT_RUN = frozenset({"skip", "skipif", "xfail", "importorskip", "skipTest", "SkipTest", "expectedFailure", "skipIf"})
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:root|home|Users|work|mnt)/\w|\b[A-Z]:\\Users\\")
WORDS_OF_A_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Findings = Iterator[tuple[int, str]]
"""Line numbers, from 1, and what is wrong there: "expected …, but …"."""


@functools.lru_cache(maxsize=1)
def _nodes(text: str) -> list[ast.AST]:
    """All of a file; each rule asks for it again, one file after the other."""
    return list(ast.walk(ast.parse(text)))


def _module(text: str) -> ast.Module:
    module = _nodes(text)[0]
    assert isinstance(module, ast.Module)
    return module


def long_file(path: str, text: str) -> Findings:
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield lines, f"expected at most {FILE_LINES_MAX} lines in a file, but here are {lines}"


def long_function(path: str, text: str) -> Findings:
    for node in _nodes(text):
        if isinstance(node, FUNCTIONS):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield (
                    node.lineno,
                    f"expected at most {FUNCTION_LINES_MAX} lines in a function, but {node.name} has {lines}",
                )


def postponed_work(path: str, text: str) -> Findings:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (mark := POSTPONED.search(token.string)):
            yield token.start[0], f"expected finished work, but a comment says {mark[0]}"
    for node in _nodes(text):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)):
            mark = POSTPONED.search(ast.get_docstring(node, clean=False) or "")
            if mark:
                yield getattr(node, "lineno", 1), f"expected finished work, but a docstring says {mark[0]}"


def unrun_test(path: str, text: str) -> Findings:
    if not path.startswith("tests/"):
        return
    for node in _nodes(text):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name) if name in NOT_RUN:
                yield node.lineno, f"expected every test to run, but {name} keeps one from it"
            case _:
                pass


def banned_name(path: str, text: str) -> Findings:
    stem = path.rsplit("/", 1)[-1].removesuffix(".py")
    for line, name in [(1, stem), *_names_given(text)]:
        if word := next((word for word in WORDS_OF_A_NAME.findall(name) if word.lower() in BANNED_WORDS), None):
            yield line, f"expected a name that says what the thing is, but {name} calls it {word!r}"


def _names_given(text: str) -> Iterator[tuple[int, str]]:
    """Every name this file gives; names it merely uses, from the standard library say, are not its choice."""
    for node in _nodes(text):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case _:
                pass


def no_docstring(path: str, text: str) -> Findings:
    if not ast.get_docstring(_module(text)):
        yield 1, "expected a docstring that says which question the file answers, but there is none"


def machine_path(path: str, text: str) -> Findings:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            yield number, f"expected no path of one machine, but here is {found[0]}…"


PYTHON_RULES: tuple[Callable[[str, str], Findings], ...] = (
    long_file,
    long_function,
    postponed_work,
    unrun_test,
    banned_name,
    no_docstring,
)
"""Hold for every Python file."""

TEXT_RULES: tuple[Callable[[str, str], Findings], ...] = (machine_path,)
"""Hold for every file that is text."""


def untidy(path: str, text: str) -> list[str]:
    """Every finding in one file, as `path:line: what is wrong`."""
    rules = (*PYTHON_RULES, *TEXT_RULES) if path.endswith(".py") else TEXT_RULES
    return [f"{path}:{line}: {what}" for rule in rules for line, what in rule(path, text)]
