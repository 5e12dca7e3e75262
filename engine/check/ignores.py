"""Which comments silence a rule where they stand, and is each of them needed? `# turnlog: ignore[TL101] reason`.

A comment holds for the code on its line, one that stands alone for the line of code after it.
"""

import re
import tokenize
from collections.abc import Iterator

from engine.check.rules import RULES

MARK = re.compile(r"#\s*turnlog:\s*ignore\b\s*(?:\[(?P<codes>[^\]]*)\])?[\s:,–-]*(?P<reason>[^#]*)")
LINE = re.compile(r"[^\n]*\n|[^\n]+")
"""What Python calls a line; `splitlines` would end one at a form feed, and within a string."""

OF_COMMENTS = "TL9"


class Ignore:
    """One such comment.

    Attributes:
        line, column: Where it stands, both from 1.
        covers: The line of code it holds for.
        codes: What it silences.
        reason: Why; empty if it does not say.
        used: Codes that it has silenced.
    """

    def __init__(self, line: int, column: int, covers: int, codes: tuple[str, ...], reason: str) -> None:
        self.line = line
        self.column = column
        self.covers = covers
        self.codes = codes
        self.reason = reason
        self.used: set[str] = set()

    @property
    def unknown(self) -> bool:
        """Whether it names no rule, or one there is not or that comments cannot silence."""
        return not self.codes or any(code not in RULES or code.startswith(OF_COMMENTS) for code in self.codes)

    def silences(self, code: str, first: int, last: int) -> bool:
        """Whether it silences a finding of these lines; if so, it has been of use."""
        if code not in self.codes or not first <= self.covers <= last:
            return False
        self.used.add(code)
        return True


def ignores(text: str) -> Iterator[Ignore]:
    """All there are in the text of a module."""
    tokens = list(tokenize.generate_tokens(iter(LINE.findall(text)).__next__))
    code_lines = {
        line for token in tokens if token.type not in BLANK for line in range(token.start[0], token.end[0] + 1)
    }
    for token in tokens:
        found = MARK.search(token.string) if token.type == tokenize.COMMENT else None
        if found is not None:
            line, column = token.start
            covers = line if line in code_lines else min((each for each in code_lines if each > line), default=line)
            codes = tuple(code.strip() for code in (found["codes"] or "").split(",") if code.strip())
            yield Ignore(line, column + found.start() + 1, covers, codes, found["reason"].strip())


BLANK = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)
"""Tokens that are no code."""
