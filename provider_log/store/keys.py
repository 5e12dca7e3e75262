"""How is a row's key made? One byte for the table, the instance id with a terminator, then fixed-width numbers.

Numbers are big-endian, so that the order of keys is the order of numbers; ids end with a NUL byte, so that the order of
keys is the order of ids and the rows of one instance are one prefix. A table's byte, once given, is never given to
another table: old stores and snapshots are read by it.
"""

import enum
import hashlib
import struct

from engine.model.ids import CHILD_MARK

_U64 = struct.Struct(">Q")
_U64_U64 = struct.Struct(">QQ")
TERMINATOR = b"\x00"


class Table(enum.IntEnum):
    """The tables of a partition's store."""

    META = 0x01  # name -> facts about the whole partition
    INSTANCE = 0x10  # instance
    EXECUTION = 0x11  # instance, execution id
    HISTORY = 0x12  # instance, execution id, event id
    INBOX = 0x20  # instance, sequence number
    TIMER = 0x21  # instance, execution id, timer id
    WORK = 0x30  # instance, execution id, activity id
    ELSEWHERE = 0x31  # instance
    SEEN = 0x40  # instance, message id
    SEEN_ORDER = 0x41  # instance, running number
    POSITION = 0x50  # lane
    SCHEMA = 0x60  # digest of the text
    KEY_VALUE = 0x70  # instance, key: as it was when the current execution began
    KEY_CHANGE = 0x71  # instance, key: what the current execution did to it


_BYTE = {table: bytes([table]) for table in Table}


def table_prefix(table: Table) -> bytes:
    """Prefix of all rows of a table."""
    return _BYTE[table]


def instance_prefix(table: Table, instance: str) -> bytes:
    """Prefix of all rows of one instance in a table; for INSTANCE the key itself."""
    return _BYTE[table] + instance.encode() + TERMINATOR


def tree_prefixes(table: Table, root: str) -> tuple[bytes, bytes]:
    """Prefixes of all rows in a table of an instance, and of its automatic children of whatever generation."""
    return instance_prefix(table, root), _BYTE[table] + (root + CHILD_MARK).encode()


def numbered(table: Table, instance: str, number: int) -> bytes:
    """Key of INBOX and SEEN_ORDER."""
    return _BYTE[table] + instance.encode() + TERMINATOR + _U64.pack(number)


def in_execution(table: Table, instance: str, execution_id: int, number: int) -> bytes:
    """Key of HISTORY, TIMER and WORK."""
    return _BYTE[table] + instance.encode() + TERMINATOR + _U64_U64.pack(execution_id, number)


def execution(instance: str, execution_id: int) -> bytes:
    """Key of EXECUTION; with HISTORY's byte instead, the prefix of that execution's events."""
    return numbered(Table.EXECUTION, instance, execution_id)


def history_prefix(instance: str, execution_id: int) -> bytes:
    """Prefix of one execution's events."""
    return numbered(Table.HISTORY, instance, execution_id)


def seen(instance: str, message_id: str) -> bytes:
    """Key of SEEN."""
    return _BYTE[Table.SEEN] + instance.encode() + TERMINATOR + message_id.encode()


def kept(table: Table, instance: str, key: str) -> bytes:
    """Key of KEY_VALUE and KEY_CHANGE."""
    return _BYTE[table] + instance.encode() + TERMINATOR + key.encode()


def kept_key(key: bytes) -> str:
    """Under which of the instance's keys something is kept, by a key of KEY_VALUE or KEY_CHANGE."""
    return key[key.index(TERMINATOR, 1) + 1 :].decode()


def named(table: Table, name: str) -> bytes:
    """Key of META, POSITION and SCHEMA."""
    return _BYTE[table] + name.encode()


def schema(text: str) -> bytes:
    """Key of SCHEMA: the text's own digest, so that applying it asks nothing of Avro."""
    return named(Table.SCHEMA, hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


def instance_of(key: bytes) -> str:
    """The instance id in a key of any table that has one."""
    return key[1 : key.index(TERMINATOR, 1)].decode()


def numbers_of(key: bytes) -> tuple[int, ...]:
    """The fixed-width numbers after the instance id."""
    tail = key[key.index(TERMINATOR, 1) + 1 :]
    return tuple(_U64.unpack_from(tail, at)[0] for at in range(0, len(tail), 8))


def describe(key: bytes) -> str:
    """A key for people: table name and its parts."""
    try:
        table = Table(key[0])
    except (ValueError, IndexError):
        return f"unknown table, key {key.hex()}"
    if table in (Table.META, Table.POSITION, Table.SCHEMA):
        return f"{table.name} {key[1:].decode(errors='replace')}"
    if TERMINATOR not in key[1:]:
        return f"{table.name} {key[1:].hex()}"
    end = key.index(TERMINATOR, 1)
    instance, tail = key[1:end].decode(errors="replace"), key[end + 1 :]
    if table in (Table.SEEN, Table.KEY_VALUE, Table.KEY_CHANGE):
        return f"{table.name} {instance} {tail.decode(errors='replace')}"
    numbers = numbers_of(key) if len(tail) % 8 == 0 else (tail.hex(),)
    return " ".join([table.name, instance, *map(str, numbers)])
