"""Does every block of the guide run, section by section, and is every limit and every row of a table what it says?"""

import asyncio
import importlib
import re
import types
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

import engine
import provider_log.options
from engine import Client, ClientOptions, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.clock import SystemClock
from engine.errors import InstanceExists, UsageError, WaitTimedOut
from engine.testing.memory import MemoryProvider

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


def test_what_a_log_bounds_is_on_the_page() -> None:
    bounds = {f"provider_log.partition.plan.{name}" for name in ("BLOB_BYTES_MAX", "ANSWER_BYTES_MAX")}
    assert bounds <= {option for _, option in LIMIT.findall(GUIDE)}


@pytest.mark.parametrize("options", [engine.TurnOptions(), engine.EngineOptions(), engine.ClientOptions()])
def test_every_option_that_is_a_number_is_on_the_page(options: msgspec.Struct) -> None:
    fields = {name: getattr(options, name) for name in options.__struct_fields__}
    numbers = {f"{type(options).__name__}.{name}" for name, value in fields.items() if type(value) is int}
    assert numbers <= {option for _, option in LIMIT.findall(GUIDE)}


# What a start with `if_exists` meets, in the order of the columns.
REUSE = re.compile(r'^\| `"(\w+)"`(?:, the default)? \| (.+) \| (.+) \| (.+) \| (.+) \|$', re.MULTILINE)
MET = ("running", "held", "suspended", "held in its first turn", "ended")
ROWS = {row[0]: (row[1], row[2], row[3], row[3], row[4]) for row in REUSE.findall(GUIDE)}


@orchestration
async def meets(ctx: OrchestrationContext, how: str) -> str:
    if how == "held":
        await ctx.schedule_activity(nothing)
    if how.startswith("held"):
        asyncio.get_running_loop().stop()
    return how if how == "ended" else await ctx.wait_event("never")


@activity
async def nothing() -> None: ...


@pytest.mark.parametrize(("if_exists", "met"), [(each, met) for each in ROWS for met in MET])
async def test_a_start_of_what_exists_does_what_the_table_says(if_exists: str, met: str) -> None:
    says = ROWS[if_exists][MET.index(met)]
    provider = MemoryProvider(SystemClock())
    options = ClientOptions(start_ms_max=100 if says == "waits" else ClientOptions().start_ms_max)
    client = Client(provider, options=options)
    async with Engine(provider, Registry(orchestrations=[meets], activities=[nothing])):
        handle = await client.start(meets, met, instance="a")
        if met == "suspended":
            await handle.changed()
            await client.suspend("a", "to see")
        info = await handle.changed()
        while info.status.value != (stands := {"ended": "completed"}.get(met, met.split(maxsplit=1)[0])):
            info = await handle.changed(info.revision)
        assert info.status.value == stands
        try:
            await client.start(meets, "running", instance="a", if_exists=cast("Any", if_exists))
        except InstanceExists:
            did = "raises `InstanceExists`"
        except WaitTimedOut:
            did = "waits"
        else:
            after = await client.status("a")
            did = "nothing happens" if after.current_execution_id == info.current_execution_id else "begins anew"
    assert did == says


async def test_a_delay_beside_if_exists_is_refused() -> None:
    client = Client(MemoryProvider(SystemClock()))
    with pytest.raises(UsageError, match="expected no delay beside if_exists"):
        await client.start(meets, "ended", instance="a", if_exists="refuse", delay=timedelta(seconds=1))
