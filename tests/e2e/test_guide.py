"""Does every block of the guide run, section by section, and is every limit what it says?"""

import importlib
import re
import types
from pathlib import Path

import msgspec
import pytest

import engine
import provider_log.options

PATH = Path(__file__).parents[2] / "docs" / "guide.md"
GUIDE = PATH.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LIMIT = re.compile(r"^\| [^|]+ \| ([^|]+) \| `([\w.]+)` \|$", re.MULTILINE)
UNITS = {"KiB": 1024, "MiB": 1024 * 1024, "ms": 1, "bytes": 1, "characters": 1, "": 1}

IMPORTS, *SECTIONS = re.split(r"^(?=## )", GUIDE, flags=re.MULTILINE)
WITH_CODE = [section for section in SECTIONS if BLOCK.search(section)]


def execute(text: str, names: dict[str, object]) -> None:
    """Run the blocks of `text`; a traceback has the lines of the page."""
    for block in BLOCK.finditer(text):
        line = GUIDE[: GUIDE.index(text) + block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(PATH), "exec"), names)


def title(section: str) -> str:
    return section.splitlines()[0].removeprefix("## ")


@pytest.mark.parametrize("section", WITH_CODE, ids=map(title, WITH_CODE))
def test_the_blocks_of_a_section_run(section: str) -> None:
    module = types.ModuleType("guide")  # what a user's own module would be
    execute(IMPORTS, module.__dict__)
    execute(section, module.__dict__)


def test_only_the_limits_have_no_code() -> None:
    assert [title(section) for section in SECTIONS if section not in WITH_CODE] == ["Limits"]


def default(option: str) -> object:
    """What the code says: of an options class, or a constant of a module."""
    owner, _, name = option.rpartition(".")
    for place in (engine, provider_log.options):
        if hasattr(place, owner):
            return getattr(getattr(place, owner)(), name)
    return getattr(importlib.import_module(owner), name)


@pytest.mark.parametrize(("says", "option"), LIMIT.findall(GUIDE))
def test_a_limit_is_what_the_page_says(says: str, option: str) -> None:
    number, _, unit = says.partition(" ")
    assert int(number.replace(",", "")) * UNITS[unit] == default(option)


@pytest.mark.parametrize("options", [engine.TurnOptions(), engine.EngineOptions(), engine.ClientOptions()])
def test_every_option_that_is_a_number_is_on_the_page(options: msgspec.Struct) -> None:
    fields = {name: getattr(options, name) for name in options.__struct_fields__}
    numbers = {f"{type(options).__name__}.{name}" for name, value in fields.items() if type(value) is int}
    assert numbers <= {option for _, option in LIMIT.findall(GUIDE)}
