"""Which rules does `turnlog check` hold an orchestration to? A literal table; docs/determinism.md prints it."""

import ast

from msgspec import Struct


class Rule(Struct, frozen=True):
    """What an orchestration does not do.

    Attributes:
        what: It is against; a noun.
        says: What is said of code that does it; a verb, with the code's own words before it.
        instead: What to use in its place.
    """

    what: str
    says: str
    instead: str


RULES: dict[str, Rule] = {
    # what is outside the history
    "TL101": Rule("a clock", "reads a clock", "ctx.utc_now()"),
    "TL102": Rule(
        "a sleep of the thread", "stops the thread, and is no timer", "asyncio.sleep(), ctx.schedule_timer()"
    ),
    "TL103": Rule("chance", "is chance", "ctx.new_guid(), random.Random(ctx.new_guid().int)"),
    "TL104": Rule("files", "touches files", "an activity"),
    "TL105": Rule("the network, a database", "reaches for the network or a database", "an activity"),
    "TL106": Rule("other processes", "reaches for another process", "an activity"),
    "TL107": Rule("what a process is given", "is what this process was given", "the input, or an activity"),
    "TL108": Rule("threads, executors", "reaches for a thread", "an activity"),
    # what the loop of an orchestration has not, or does not do alike everywhere
    "TL201": Rule("`asyncio.as_completed` over coroutines", "puts coroutines in a set", "ctx.as_completed()"),
    "TL202": Rule("another loop, or its futures", "belongs to another loop, or to the node", "await"),
    "TL203": Rule(
        "`asyncio.wait_for` over a coroutine", "begins a coroutine later on Python 3.11", "asyncio.timeout()"
    ),
    "TL204": Rule("`asyncio.wait` over what `gather` returns", "puts gathers in a set", "asyncio.wait() over tasks"),
    # what differs from one process to the next
    "TL301": Rule("the order of a set", "has another order in every process", "sorted() around it, a list, a dict"),
    "TL302": Rule("`id()`, `hash()`", "is another number in every process", "a value of the object, ctx.new_guid()"),
    "TL303": Rule("a change of a module's global", "is changed here", "a local variable, ctx.set_key_value()"),
    "TL304": Rule("a global that functions change", "is changed by a function", "the input, or an activity"),
    # what asyncio lets one do by mistake
    "TL401": Rule("a cancellation that is swallowed", "swallows a cancellation", "a `raise` at its end"),
    "TL402": Rule("an awaitable that is dropped", "is dropped, and nobody awaits it", "await"),
    "TL403": Rule(
        "an activity that is called as a function",
        "runs in the orchestration, and again at every replay",
        "await ctx.schedule_activity() with it",
    ),
    # of the comments that silence a rule
    "TL901": Rule("an ignore without a reason", "gives no reason", "half a line that says why"),
    "TL902": Rule("an ignore that silences nothing", "silences nothing", "no ignore there"),
    "TL903": Rule("an ignore of no rule", "names no rule", "`# turnlog: ignore[TL101] reason`"),
}
"""By code. A code is never given to another rule."""


class Seen(Struct, frozen=True):
    """What a rule saw.

    Attributes:
        node: Where.
        code: Of the rule.
        subject: What does it, in the words of the code.
        instead: What to use, where that is not what the rule says.
        says: What is said of it, likewise.
    """

    node: ast.AST
    code: str
    subject: str
    instead: str | None = None
    says: str | None = None

    @property
    def message(self) -> str:
        """Subject and verb."""
        return f"{self.subject} {self.says or RULES[self.code].says}"


class Finding(Struct, frozen=True, kw_only=True):
    """One place where a rule is broken.

    Attributes:
        path: Of the file, as the caller gave it.
        line, column: Both from 1.
        code: Of the rule.
        message: What was seen there.
        instead: What to use.
        orchestration: Name of one whose code this is, or that calls it; empty for a comment.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    instead: str
    orchestration: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.message}; use {self.instead}"


SHOWN_CHARS_MAX = 40


def shown(node: ast.AST) -> str:
    """Code as a message shows it: the beginning of it."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"
