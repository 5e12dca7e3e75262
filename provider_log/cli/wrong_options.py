"""How is an option told that cannot be what was typed? As any other error: with what was expected and what is there."""

import re
from typing import Any, cast

import typer
from typer.core import TyperGroup

EXPECTED = {
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
}
"""What was expected, by the type of the error of pydantic, which reads options for typer; `{…}` is from its context."""

_CHOICE = re.compile(r"(?:Value error, )?(.+) is not one of (.+?)\.?", re.DOTALL)


class Commands(TyperGroup):
    """The commands, and those of their groups, with our words for an option that is wrong."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; what is raised still shows which option it was, and the usage."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = told(error)
            raise


def told(error: typer.BadParameter) -> str:
    """What is wrong with a value, in both halves; as typer has it, if we have no words for it."""
    cause: Any = error.__cause__
    if found := _CHOICE.fullmatch(error.message):
        return f"expected one of {found[2]}, but it is {found[1]}"
    if not hasattr(cause, "errors"):
        return error.message
    first = cast("dict[str, Any]", cause.errors()[0])
    expected = EXPECTED.get(first["type"])
    if expected is None:
        return error.message
    return f"expected {expected.format(**first.get('ctx', {}))}, but it is {first['input']!r}"
