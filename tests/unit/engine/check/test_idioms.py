"""Does the check keep quiet about code that is as it should be? The examples, the guide, what asyncio is for."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.check.checking import check
from engine.check.sources import SourceText
from tests.unit.engine.check.reading import report

REPOSITORY = Path(__file__).parents[4]
EXAMPLES = sorted((REPOSITORY / "docs/examples").rglob("*.py"))
GUIDE = (REPOSITORY / "docs/guide.md").read_text(encoding="utf-8")
WORKS = (REPOSITORY / "tests/replay/test_loop_works.py").read_text(encoding="utf-8")
PROGRAMS = (REPOSITORY / "tests/replay/programs.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=[str(path.relative_to(REPOSITORY)) for path in EXAMPLES])
def test_the_examples_have_no_finding(path: Path) -> None:
    def find(name: str) -> SourceText | None:
        beside = path.with_name(f"{name}.py")
        return SourceText(name, str(beside), beside.read_text()) if beside.is_file() else None

    assert check([SourceText(path.stem, str(path), path.read_text())], find).findings == ()


def test_there_are_orchestrations_in_the_examples() -> None:
    sources = [SourceText(path.stem, str(path), path.read_text()) for path in EXAMPLES]
    assert check(sources, lambda _: None).orchestrations > 10


def test_the_guide_has_no_finding() -> None:
    text = "".join(re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE))
    found = report(text)
    assert (found.findings, found.orchestrations > 15) == ((), True)


def test_of_what_works_only_wait_for_over_a_coroutine_is_named() -> None:
    text = WORKS.replace("\nasync def ", "\n@orchestration\nasync def ") + "\nfrom engine import orchestration\n"
    found = report(text)
    assert found.orchestrations > 20
    assert {(each.code, each.orchestration) for each in found.findings} == {("TL203", "wait_for")}


def test_the_programs_that_replay_in_every_law_have_no_finding() -> None:
    found = report(PROGRAMS)
    assert (found.findings, found.orchestrations) == ((), 1)


HARMLESS = [
    "a = await ctx.schedule_activity('a', a)",
    "await asyncio.sleep(1)",
    "b = await asyncio.gather(ctx.activity('a'), asyncio.sleep(1))",
    "a = ctx.new_guid()",
    "for b in sorted({a, b}): ctx.logger.info('%s', b)",
    "c.append(a)",
    "async with asyncio.timeout(1): await ctx.wait_event('e')",
    "ctx.set_custom_status(str(len({a})))",
    "a = {**a, 'b': b}",
    "task = asyncio.create_task(ctx.activity('a')); await task",
    "def inner(a): return a",
    "a = [b for b in c if b in {'x', 'y'}]",
]
AROUND = ["{}", "if a:\n{}", "try:\n{}\nfinally:\n  await ctx.activity('undo')", "while b:\n{}", "for a in b:\n{}"]


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


BLOCKS = st.recursive(
    st.sampled_from(HARMLESS),
    lambda inner: st.tuples(st.sampled_from(AROUND), st.lists(inner, min_size=1, max_size=4)).map(
        lambda drawn: drawn[0].format(indented("\n".join(drawn[1])) if drawn[0] != "{}" else "\n".join(drawn[1]))
    ),
    max_leaves=12,
)


@given(BLOCKS)
def test_harmless_statements_stay_harmless_in_any_order_and_depth(block: str) -> None:
    text = "import asyncio\nfrom engine import orchestration\n@orchestration\nasync def o(ctx, a, b):\n  c = []\n"
    found = report(text + indented(block) + "  return c\n")
    assert (found.findings, found.orchestrations) == ((), 1)


@given(BLOCKS, BLOCKS)
def test_a_clock_between_them_is_found_wherever_it_stands(before: str, after: str) -> None:
    text = "import asyncio, time\nfrom engine import orchestration\n@orchestration\nasync def o(ctx, a, b):\n  c = []\n"
    text += indented(before) + "  a = time.time()\n" + indented(after)
    assert [each.code for each in report(text).findings] == ["TL101"]
