"""How does docs/upstream.md read? One table for every file of upstream, made of the marks and the reasons."""

from collections.abc import Iterable

from tests.upstream import names
from tests.upstream.marks import Counterpart, counterparts
from tests.upstream.reasons import REASONS

HEAD = """\
# Upstream's tests, and ours

Duroxide, whose programming model this engine has, comes with {all} tests: those of its `tests/`, and those with which
it validates a provider. Of these

- {here} have a counterpart here,
- {reasons} do not apply, each for the reason that stands beside it,
- {open} are not here yet.

A counterpart asks the same question of this engine. Where the answer is another one on purpose, the table says which.

The page is made: `python -m tests.upstream > docs/upstream.md`. It says what the marks `upstream` on our tests say, the
conformance suite, whose tests have upstream's names, and `tests/upstream/reasons.py`.

| file of upstream | tests | here | does not apply | not yet |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole text."""
    here = counterparts()
    reasons = {name: reason for reason, of_reason in REASONS.items() for name in of_reason}
    rows: list[str] = []
    sections: list[str] = []
    for file, of_file in names().items():
        left = [name for name in of_file if name not in here and name not in reasons]
        has = sum(name in here for name in of_file)
        rows.append(f"| `{file}` | {len(of_file)} | {has} | {len(of_file) - has - len(left)} | {len(left)} |\n")
        sections.append(_section(file, of_file, here, reasons, left))
    every = [name for of_file in names().values() for name in of_file]
    head = HEAD.format(all=len(every), here=len(here), reasons=len(reasons), open=len(every) - len(here) - len(reasons))
    return head + "".join(rows) + "".join(sections)


def _section(
    file: str, of_file: Iterable[str], here: dict[str, list[Counterpart]], reasons: dict[str, str], left: list[str]
) -> str:
    lines = [f"\n## {file}\n"]
    told = [name for name in of_file if name in here or name in reasons]
    if told:
        lines += ["", "| upstream | here |", "|---|---|"]
        for name in told:
            cell = "<br>".join(map(_link, here[name])) if name in here else f"Does not apply: {reasons[name]}"
            lines.append(f"| `{_test(name)}` | {cell} |")
        lines.append("")
    if left:
        lines += ["", "Not yet:", "", *(f"- `{_test(name)}`" for name in left), ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def _test(name: str) -> str:
    return name.partition("::")[2]


def _link(counterpart: Counterpart) -> str:
    place = f"[{counterpart.file}](../{counterpart.file}) `{counterpart.test}`"
    return f"{place}: {counterpart.differs}" if counterpart.differs else place
