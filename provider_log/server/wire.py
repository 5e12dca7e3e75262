"""What does a value look like in the JSON of `/v1` and of `--json`?

A struct is an object with its field names; a field that is None is left out. Enums are their values. A payload of
plain JSON stands where it is, byte for byte, so that people read it and write it with curl; any other payload (encoded,
another content type, not JSON after all) is `{"$payload": {"data": "<base64>", "content_type": …, "codecs": […]}}`, and
so is plain JSON that would be mistaken for that.
"""

import enum
import functools
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from engine.model.payload import NULL, Payload

T = TypeVar("T")

MARK = "$payload"
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for JSON that is broken, too deep, of another shape, or no UTF-8."""


def encode(value: object) -> bytes:
    """`value`, a struct or a tree of dicts and sequences with structs in it, as JSON."""
    return msgspec.json.encode(_tree(value))


def decode(data: bytes | Raw, kind: type[T]) -> T:
    """What `encode` wrote, as a `kind`.

    Raises:
        msgspec.ValidationError: It is JSON of another shape.
        msgspec.DecodeError: It is not JSON.
    """
    return cast("T", _read(kind, data if isinstance(data, Raw) else msgspec.json.decode(data, type=Raw)))


def payload_of(data: bytes) -> Payload:
    """The payload that a request's JSON stands for; that of None if `data` is empty.

    Raises:
        msgspec.DecodeError: It is not JSON.
    """
    if not data.strip():
        return NULL
    value: object = msgspec.json.decode(data)
    if _is_marked(value):
        return msgspec.json.decode(data, type=_Marked).payload
    return Payload(bytes(msgspec.json.decode(data, type=Raw)))


class _Marked(Struct, forbid_unknown_fields=True):
    payload: Payload = msgspec.field(name=MARK)


def _is_marked(value: object) -> bool:
    return isinstance(value, dict) and list(cast("dict[str, object]", value)) == [MARK]


def _payload_tree(payload: Payload) -> Raw | dict[str, dict[str, object]]:
    if payload == Payload(payload.data):
        try:
            value: object = msgspec.json.decode(payload.data)
        except UNREADABLE:
            return _marked(payload)
        if not _is_marked(value):
            return Raw(payload.data)
    return _marked(payload)


def _marked(payload: Payload) -> dict[str, dict[str, object]]:
    plain = Payload(payload.data)
    fields = {name: getattr(payload, name) for name in payload.__struct_fields__}
    return {MARK: {name: value for name, value in fields.items() if name == "data" or value != getattr(plain, name)}}


def _tree(value: object) -> object:
    match value:
        case Payload():
            return _payload_tree(value)
        case Struct():
            tag = value.__struct_config__.tag
            tree: dict[str, object] = {} if tag is None else {"type": tag}
            for name in value.__struct_fields__:
                if (field := getattr(value, name)) is not None:
                    tree[name] = _tree(field)
            return tree
        case enum.Enum():
            return value.value
        case dict():
            return {key: _tree(each) for key, each in cast("dict[str, object]", value).items()}
        case tuple() | list():
            return [_tree(each) for each in cast("Sequence[object]", value)]
        case _:
            return value


def _read(kind: Any, raw: Raw) -> object:
    if kind is Payload:
        return payload_of(bytes(raw))
    members: tuple[Any, ...]
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        return _read_union(members, raw)
    if origin is dict:
        plain = msgspec.json.decode(raw, type=dict[str, Raw])
        return {msgspec.convert(key, members[0], strict=False): _read(members[1], each) for key, each in plain.items()}
    if origin is tuple:
        return tuple(_read(members[0], each) for each in msgspec.json.decode(raw, type=list[Raw]))
    if _is_a(enum.Enum, kind):
        return _read_enum(kind, raw)
    if _is_a(Struct, kind):
        return _read_struct(kind, raw)
    return msgspec.json.decode(raw, type=kind)


def _is_a(base: type, kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _read_union(members: tuple[Any, ...], raw: Raw) -> object:
    """`X | None`, or a union of tagged structs."""
    # None is left out where it is a value of ours; a null that is there is a value of the user's.
    if types.NoneType in members and Payload not in members and bytes(raw) == b"null":
        return None
    kinds = [member for member in members if member is not types.NoneType]
    if len(kinds) == 1:
        return _read(kinds[0], raw)
    tag = msgspec.json.decode(raw, type=_Tagged).type
    for kind in kinds:
        if kind.__struct_config__.tag == tag:
            return _read(kind, raw)
    raise msgspec.ValidationError(f"expected one of {', '.join(kind.__name__ for kind in kinds)}, but it is a {tag!r}")


class _Tagged(Struct):
    type: str


def _read_enum(kind: type[enum.Enum], raw: Raw) -> enum.Enum:
    """A member; the one called UNKNOWN, where there is one, for the value of a newer node."""
    value = msgspec.json.decode(raw, type=str)
    for member in kind:
        if member.value == value or member.name == "UNKNOWN":
            return member
    raise msgspec.ValidationError(f"expected a {kind.__name__}, but it is {value!r}")


def _read_struct(kind: type[Struct], raw: Raw) -> Struct:
    given = msgspec.json.decode(raw, type=dict[str, Raw])
    values: dict[str, object] = {}
    for field in _fields(kind):
        if field.name in given:
            try:
                values[field.name] = _read(field.type, given[field.name])
            except msgspec.ValidationError as error:
                raise msgspec.ValidationError(f"{field.name}: {error}") from None
        elif field.required:
            if types.NoneType not in typing.get_args(field.type):
                raise msgspec.ValidationError(f"expected a {kind.__name__} with {field.name!r}, but it has none")
            values[field.name] = None
    unknown = given.keys() - values.keys() - {"type"}
    if unknown and kind.__struct_config__.forbid_unknown_fields:
        raise msgspec.ValidationError(
            f"expected no field but {', '.join(kind.__struct_fields__)}, but it has {min(unknown)!r}"
        )
    return kind(**values)


_fields = functools.cache(msgspec.structs.fields)
