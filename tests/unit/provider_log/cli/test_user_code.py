"""Is the code to serve found, and is every way it cannot be found told in a sentence?"""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from engine import Registry
from engine.errors import UsageError
from provider_log.cli.user_code import load_registry

FLEET = "from engine import Registry\nregistry = Registry()\nother = 5\n"


@pytest.fixture(autouse=True)
def as_it_was() -> Generator[None]:
    """What a test imports is gone after it."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_registry_of_the_working_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "fleet.py").write_text(FLEET)
    assert isinstance(load_registry("fleet:registry", tmp_path), Registry)


def test_a_registry_in_a_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text(FLEET)
    assert isinstance(load_registry("shop.orders:registry", tmp_path), Registry)


def test_a_folder_of_the_user_does_not_stand_before_ours(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "__init__.py").write_text("raise RuntimeError('not ours')")
    (tmp_path / "fleet.py").write_text(FLEET)
    load_registry("fleet:registry", tmp_path)
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "source", "says"),
    [
        ("fleet", FLEET, "expected module:registry, say fleet:registry"),
        ("fleet.py:registry", FLEET, "expected module:registry"),
        ("fleet:", FLEET, "expected module:registry"),
        ("a-b:registry", FLEET, "expected module:registry"),
        ("flotte:registry", FLEET, "expected a module 'flotte' in {directory}, but there is none"),
        ("fleet.ships:registry", FLEET, "expected a module 'fleet.ships' in {directory}, but there is none"),
        ("fleet:registery", FLEET, "but there is no such name; did you mean fleet:registry?"),
        ("fleet:other", FLEET, "expected a Registry called 'other' in module fleet, but it is a int; did you mean"),
        ("fleet:registry", "x = 1", "but there is no such name; make one with engine.Registry(…)"),
        ("fleet:registry", "import shipyard", "but at fleet.py:1: No module named 'shipyard'"),
        ("fleet:registry", "x = 1\nfrom engine import Nothing", "but at fleet.py:2: ImportError: cannot import name"),
        ("fleet:registry", "def f():\n  1/0\nf()", "but at fleet.py:2: ZeroDivisionError: division by zero"),
        ("fleet:registry", "import json\njson.loads('{')", "but at fleet.py:2: JSONDecodeError: Expecting"),
        ("fleet:registry", "def f(:", "but SyntaxError: invalid syntax (fleet.py, line 1)"),
        ("fleet:registry", "raise SystemExit(3)", "but it ended the process instead"),
        (
            "fleet:registry",
            "from engine import Registry\nregistry = Registry(activities=[len])",
            "at fleet.py:2: UsageError: expected a function decorated with @activity",
        ),
    ],
)
def test_what_cannot_be_found_is_told_in_a_sentence(tmp_path: Path, text: str, source: str, says: str) -> None:
    (tmp_path / "fleet.py").write_text(source)
    with pytest.raises(UsageError) as caught:
        load_registry(text, tmp_path)
    assert says.format(directory=tmp_path) in str(caught.value)
