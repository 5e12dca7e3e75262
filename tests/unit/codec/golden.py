"""What did every released version write? `python -m tests.unit.codec.golden` keeps bytes of each, once and for ever.

Two records a kind: one with every field set, one with nothing but what must be. An entry that is there is never
changed; a kind gets new ones when a new version of its schema is released.
"""

import enum
import itertools
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

import schemas
from engine.model.failure import Category, Failure
from engine.model.payload import Payload
from tests.unit.codec.values import CODECS

FOLDER = Path(schemas.__file__).parent / "golden"
LONGS = (1, 63, 64, -1, 300, 1_767_225_600_000, 2**62 + 5, 2**63 - 1)
TEXTS = ("order-7", "größe", "", "夜 🌒", "a" * 70)


class Golden(msgspec.Struct, frozen=True):
    """One record as it was written.

    Attributes:
        hex: Its bytes; the schema's fingerprint is the third to tenth.
        value: What it says, as JSON; bytes in base64, enums by value.
    """

    hex: str
    value: Any

    @property
    def fingerprint(self) -> str:
        return self.hex[4:20]


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.json"


def read(name: str) -> list[Golden]:
    """The entries of a kind by full name; none if it has no file."""
    file = file_of(name)
    return msgspec.json.decode(file.read_bytes(), type=list[Golden]) if file.exists() else []


class _Samples:
    """Values made from types alone, the same on every run."""

    def __init__(self) -> None:
        self._longs = itertools.cycle(LONGS)
        self._texts = itertools.cycle(TEXTS)

    def full(self, hint: Any) -> Any:
        """A value with every field set."""
        if hint is int:
            return next(self._longs)
        if hint is str:
            return next(self._texts)
        if hint is bytes:
            return bytes(range(next(self._longs) % 20))
        if hint is bool:
            return True
        if hint is Failure:
            cause = Failure(
                Category.CANCELLED, "CancelledError", "asked to", others=(Failure(Category.LIMIT, "L", ""),)
            )
            return Failure(Category.UNKNOWN, "shop.OutOfStock", "no lamp", False, Payload(b"{}"), "line 1", cause)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return list(hint)[next(self._longs) % len(hint)]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return hint(**{field.name: self.full(field.type) for field in msgspec.structs.fields(hint)})
        inner = typing.get_args(hint)[0]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            return self.full(inner)
        return (self.full(inner), self.full(inner))

    def least(self, hint: Any) -> Any:
        """A value with nothing but what must be."""
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return hint(**{it.name: self.least(it.type) for it in msgspec.structs.fields(hint) if it.required})
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return next(iter(hint))
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            return None
        return () if typing.get_origin(hint) is tuple else hint()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    newest = {line.name.rpartition(".")[2]: line for line in schemas.read_lock()}
    for kind, (encode, _) in CODECS.items():
        line = newest[kind.__name__]
        kept = read(line.name)
        if line.fingerprint in {golden.fingerprint for golden in kept}:
            continue
        samples = _Samples()
        for value in (samples.full(kind), samples.least(kind)):
            kept.append(Golden(encode(value).hex(), msgspec.to_builtins(value)))
        file_of(line.name).write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


if __name__ == "__main__":
    main()
