"""Which record is this? Avro single-object framing, and the choice of schema by its fingerprint."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from provider_log.codec.body import Read, Unresolved, Write, reader, writer
from schemas import read_lock, released_text

MARK = b"\xc3\x01"
HEADER_BYTES = 10


class Malformed(Exception):
    """The bytes are no record of the expected family; no version of this software can use them."""


class UnknownSchema(Exception):
    """A schema wrote this that was not released when this version was: a newer version can read it.

    Attributes:
        fingerprint: Eight bytes as they travel, in hex.
    """

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"expected a schema of schemas.lock, but {fingerprint} is none; a newer version may know it")
        self.fingerprint = fingerprint


class NotLookedUp(UnknownSchema):
    """A registry knows the schema, or may know it later.

    Attributes:
        number: Its id there.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"registry id {number}")
        self.number = number


T = TypeVar("T")


class Family(Generic[T]):
    """The kinds that travel in one place, their writers and readers, each built when it is first needed."""

    def __init__(self, namespace: str, *kinds: type[T]) -> None:
        self._kinds = {f"turnlog.{namespace}.{kind.__name__}": kind for kind in kinds}
        released = [line for line in read_lock() if line.name in self._kinds]
        self.fingerprints = {line.name: line.fingerprint for line in released}
        """What is written today, by full name: the last line of a name in the lock."""
        self._names = {bytes.fromhex(line.fingerprint): line.name for line in released}
        self._writers: dict[type[T], Write] = {}
        self._readers: dict[bytes, Read] = {}

    def encode(self, value: T) -> bytes:
        """The record of `value`, in the newest released version."""
        write = self._writers.get(type(value)) or self._build_writer(type(value))
        return write(value)

    def decode(self, data: bytes) -> T:
        """The value that `encode` of this or an earlier version got. Raises Malformed or UnknownSchema."""
        read = self._readers.get(data[2:HEADER_BYTES]) or self._build_reader(data)
        value, end = _read(read, data, HEADER_BYTES)
        if end != len(data) or data[:2] != MARK:
            raise Malformed(f"expected {end} bytes that begin with {MARK.hex()}, but there are {len(data)}")
        return value

    def decoder_of(self, written: str, name: str) -> Callable[[bytes, int], T]:
        """What decodes records that a schema of somebody else's wrote, self-contained and of a kind by full name.

        It is given a record and where the body begins, and raises Malformed.
        """
        kind = self._kinds[name]
        read = reader(written, released_text(self.fingerprints[name]), kind)

        def decode(data: bytes, at: int) -> T:
            value, end = _read(read, data, at)
            if end != len(data):
                raise Malformed(f"expected {end} bytes, but there are {len(data)}")
            return value

        return decode

    @property
    def names(self) -> frozenset[str]:
        """Full names of its kinds."""
        return frozenset(self._kinds)

    def _build_writer(self, kind: type[T]) -> Write:
        name = next((name for name, known in self._kinds.items() if known is kind), None)
        if name is None:
            raise TypeError(f"expected one of {', '.join(self._kinds)}, but {kind.__name__} is none")
        fingerprint = self.fingerprints[name]
        built = writer(MARK + bytes.fromhex(fingerprint), released_text(fingerprint), kind)
        self._writers[kind] = built
        return built

    def _build_reader(self, data: bytes) -> Read:
        if len(data) < HEADER_BYTES or data[:2] != MARK:
            raise Malformed(f"expected a record that begins with {MARK.hex()}, but this begins with {data[:2].hex()!r}")
        fingerprint = data[2:HEADER_BYTES]
        if fingerprint not in self._names:
            elsewhere = next((line.name for line in read_lock() if line.fingerprint == fingerprint.hex()), None)
            if elsewhere is None:
                raise UnknownSchema(fingerprint.hex())
            raise Malformed(f"expected one of {', '.join(self._kinds)}, but this is {elsewhere}")
        name = self._names[fingerprint]
        today = released_text(self.fingerprints[name])
        built = reader(released_text(fingerprint.hex()), today, self._kinds[name])
        self._readers[fingerprint] = built
        return built


def _read(read: Read, data: bytes, at: int) -> tuple[Any, int]:
    try:
        return read(data, at)
    except (EOFError, IndexError, ValueError) as why:
        reason = str(why) or "it ends too early"
        raise Malformed(f"expected a record, but it is cut or damaged: {reason}") from why
    except Unresolved as why:
        raise Malformed(f"expected a record of the shape that is read, but its schema differs: {why}") from why
