"""How does a failure cross a queue or a history? As a value that keeps what the exception said."""

import enum

from msgspec import Struct

from engine.model.payload import Payload


class Category(enum.Enum):
    """Who has to act on a failure.

    Code ends an execution with `APPLICATION` or `CANCELLED` alone; with any other the engine ended it. Code that
    awaits an activity or a child may see a failure of any category: it has to compensate for a poisonous one too.
    """

    APPLICATION = "application"  # user code raised: the author of that code
    CANCELLED = "cancelled"  # somebody asked for the end: nobody
    NONDETERMINISM = "nondeterminism"  # code left its path or reached outside: the author, by deploying code that fits
    LIMIT = "limit"  # a documented bound was passed: the author
    POISON = "poison"  # delivered too often without an answer: the operator
    INFRASTRUCTURE = "infrastructure"  # the engine or its provider failed: the operator
    UNKNOWN = "unknown"  # written by a newer version than this one


class Failure(Struct, frozen=True):
    """An exception as data. Every delivery builds a fresh exception from it.

    Attributes:
        category: Who has to act.
        type: Qualified name of the exception class, as the user knows it (`ValueError`, `shop.OutOfStock`).
        message: Its text.
        retryable: False when the raiser said that trying again cannot help.
        details: What the raiser attached, if anything.
        stack: Traceback in the user's own frames, most recent last.
        cause: The failure it was raised from.
        others: The further members of an exception group.
    """

    category: Category
    type: str
    message: str
    retryable: bool = True
    details: Payload | None = None
    stack: str | None = None
    cause: "Failure | None" = None
    others: tuple["Failure", ...] = ()
