"""Is every tracked file tidy, and does each rule fire on a file that is not?"""

import subprocess
from pathlib import Path

import pytest

from tests.arch.tidy import FILE_LINES_MAX, FUNCTION_LINES_MAX, PYTHON_RULES, TEXT_RULES, untidy

REPOSITORY = Path(__file__).parents[2]

DOC = '"""Which file is this?"""\n'
HOME = "/" + "home"

# The sweep only reads: git may list a clone that another user owns, as the checkouts of build machines are.
GIT_LS_FILES = ["git", "-c", "safe.directory=*", "ls-files", "-z"]

# A file that breaks one rule, and the whole of what is said about it.
UNTIDY = {
    "long_file": (
        "engine/a.py",
        DOC + "\n" * FILE_LINES_MAX,
        [f"engine/a.py:{FILE_LINES_MAX + 1}: expected at most 600 lines in a file, but here are 601"],
    ),
    "long_function": (
        "engine/a.py",
        DOC + "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX,
        ["engine/a.py:2: expected at most 90 lines in a function, but f has 91"],
    ),
    "postponed_work": (
        "engine/a.py",
        DOC + 'x = 1  # TODO: more\ndef f():\n    """FIXME."""\n',
        [
            "engine/a.py:2: expected finished work, but a comment says TODO",
            "engine/a.py:3: expected finished work, but a docstring says FIXME",
        ],
    ),
    "unrun_test": (
        "tests/a.py",
        DOC + "@pytest.mark.xfail\ndef test_a():\n    skip('no')\n",
        [
            "tests/a.py:2: expected every test to run, but xfail keeps one from it",
            "tests/a.py:4: expected every test to run, but skip keeps one from it",
        ],
    ),
    "banned_name": (
        "engine/string_utils.py",
        DOC + "class TurnManager:\n    def run(self, workflow): self.helper = 1\n",
        [
            "engine/string_utils.py:1: expected a name that says what the thing is, but string_utils calls it 'utils'",
            "engine/string_utils.py:2: expected a name that says what the thing is, but TurnManager calls it 'Manager'",
            "engine/string_utils.py:3: expected a name that says what the thing is, but workflow calls it 'workflow'",
            "engine/string_utils.py:3: expected a name that says what the thing is, but helper calls it 'helper'",
        ],
    ),
    "no_docstring": (
        "engine/a.py",
        "x = 1\n",
        ["engine/a.py:1: expected a docstring that says which question the file answers, but there is none"],
    ),
    "machine_path": (
        "docs/a.md",
        f"see {HOME}/somebody/notes\n",
        [f"docs/a.md:1: expected no path of one machine, but here is {HOME}/s…"],
    ),
}


@pytest.mark.parametrize("rule", UNTIDY)
def test_a_rule_fires_on_the_file_that_breaks_it(rule: str) -> None:
    path, text, said = UNTIDY[rule]

    assert sorted(untidy(path, text)) == sorted(said)


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert {rule.__name__ for rule in (*PYTHON_RULES, *TEXT_RULES)} == set(UNTIDY)


def test_names_of_the_standard_library_are_not_ours_to_choose() -> None:
    text = DOC + "from contextlib import AbstractAsyncContextManager, contextmanager\nx = logging.Manager\n"

    assert untidy("engine/a.py", text) == []


def test_words_that_merely_look_like_a_banned_one_pass() -> None:
    assert untidy("engine/a.py", DOC + "futile = reutilised = 'a workflow, TODO'\nurl = 'http://a/home/b'\n") == []


def test_every_tracked_file_is_tidy() -> None:
    listed = subprocess.run(GIT_LS_FILES, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    tracked = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    findings = [
        finding
        for path in tracked
        if path.is_file() and (text := _text_of(path)) is not None
        for finding in untidy(path.relative_to(REPOSITORY).as_posix(), text)
    ]

    assert len(tracked) > 10, "the list of files came back short; the sweep saw nothing"
    assert findings == []


def _text_of(path: Path) -> str | None:
    """The text, or None for a file that holds bytes (golden records, pictures)."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
