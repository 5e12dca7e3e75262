"""Which tests of upstream is a test of ours the counterpart of? The mark that says so, and the names it takes.

Upstream is Duroxide, whose programming model this engine has. A name is the file below `tests/` or `src/` without its
ending, `::`, and the test: `replay_engine/kv::kv_get_value_same_turn`. `names.tsv` has them all, as they are in 0.1.32.
docs/upstream.md is made of the marks, of the conformance suite, which has upstream's names itself, and of `reasons`.
"""

import csv
import functools
from collections.abc import Iterable
from pathlib import Path

import pytest

NAMES = Path(__file__).with_name("names.tsv")


def short(file: str) -> str:
    """What a file of upstream is called in a name."""
    return file.removeprefix("src/").removeprefix("tests/").removesuffix(".rs")


@functools.cache
def names() -> dict[str, tuple[str, ...]]:
    """Every test of upstream, by the file it is in, in the order of the list."""
    found: dict[str, tuple[str, ...]] = {}
    with NAMES.open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            file = short(row["file"])
            found[file] = (*found.get(file, ()), *named(file, [row["test"]]))
    return found


@functools.cache
def known() -> frozenset[str]:
    """Every name there is."""
    return frozenset(name for of_file in names().values() for name in of_file)


def upstream(file: str, *tests: str, differs: str = "") -> pytest.MarkDecorator:
    """Mark a test as the counterpart of `tests` of upstream's `file`; as literals, for the page imports no test.

    Args:
        file: As in a name.
        tests: Which of it.
        differs: What is otherwise here than there and the test asserts, as a sentence, if anything is.

    Raises:
        ValueError: Upstream has no such test. It is raised where the mark is put, so the file is not collected.
    """
    unknown = [name for name in named(file, tests) if name not in known()]
    if unknown or not tests:
        raise ValueError(
            f"expected tests of upstream, but names.tsv has no {', '.join(unknown) or 'test without a name'}"
        )
    return pytest.mark.upstream(file, *tests, differs=differs)


def named(file: str, tests: Iterable[str]) -> tuple[str, ...]:
    """The names of tests of one file."""
    return tuple(f"{file}::{test}" for test in tests)
