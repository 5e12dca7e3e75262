"""How does a test have a text checked?"""

import re
from collections.abc import Mapping

from engine.check.checking import Report, check
from engine.check.sources import SourceText

MARK = re.compile(r"#: ((?:TL\d+ ?)+)$")


def report(text: str, others: Mapping[str, str] | None = None, *, name: str = "shop") -> Report:
    """What is said of one module; `others` are those it may import from, by name."""

    def find(module: str) -> SourceText | None:
        found = (others or {}).get(module)
        return None if found is None else SourceText(module, f"{module.replace('.', '/')}.py", found)

    return check([SourceText(name, f"{name.replace('.', '/')}.py", text)], find)


def said(text: str, others: Mapping[str, str] | None = None) -> list[tuple[int, str]]:
    """Line and code of every finding in the module."""
    return [(each.line, each.code) for each in report(text, others).findings if each.path == "shop.py"]


def marked(text: str) -> list[tuple[int, str]]:
    """Line and code of every mark in a text."""
    return [
        (number, code)
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := MARK.search(line)) is not None
        for code in sorted(found[1].split())
    ]
