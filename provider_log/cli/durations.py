"""How does a length of time stand on a command line? As a number and a unit, `10s`."""

import re
from datetime import timedelta

import typer

UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: str) -> timedelta:
    """The length of time that `text` says.

    Raises:
        typer.BadParameter: It is none.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"expected a number and one of {', '.join(UNITS)}, like 10s, but it is {text!r}")
    number, unit = found.groups()
    try:
        return timedelta(**{UNITS[unit]: float(number)})
    except OverflowError:
        raise typer.BadParameter(f"expected a length of time that ends before the year 10000, not {text}") from None
