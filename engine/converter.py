"""How does a value of the user become bytes and come back? The converter protocol and its JSON form.

Payloads are canonical: equal values have equal bytes, so that replay can compare what code asks for with what is
recorded. What is compared is the plaintext, never the bytes after codecs.

| Python | JSON | note |
|---|---|---|
| dataclass, `msgspec.Struct`, `TypedDict`, `NamedTuple` | object (array for `NamedTuple`) | keys sorted |
| pydantic model, or anything with `model_dump` and `model_validate` | object | what `model_dump(mode="json")` says |
| `int` | number | of any size; above 2**53 other readers of JSON may round |
| `float` | number | NaN and infinities are refused: JSON has none |
| `Decimal` | string | `"1.10"` keeps its zero |
| `datetime`, `date`, `time`, `timedelta` | string | ISO 8601 |
| `bytes` | string | base64 |
| `Enum` | its value | |
| `UUID` | string | |
| `set`, `frozenset` | array | sorted |
| key of a `dict`: `int`, `float`, `date`, `UUID`, `Enum` … | string | sorted as text; read back by the annotation |
| `None` | null | |
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, cast, get_args, get_origin

import msgspec

from engine.errors import ConversionError
from engine.model.payload import JSON, NULL, Payload

T = TypeVar("T")


class Converter(Protocol):
    """Values to payloads and back. Pure: the same value always gives the same bytes."""

    def encode(self, value: object, what: str) -> Payload:
        """The payload of `value`; `what` names it in errors ("input of activity greet").

        Raises:
            ConversionError: `value` has no canonical form.
        """
        ...

    def decode(self, payload: Payload, expected: type[T], what: str) -> T:
        """The value in `payload`, checked to be of `expected`, which may be any annotation.

        Raises:
            ConversionError: It is not.
        """
        ...

    def canonical(self, payload: Payload) -> bytes:
        """The canonical plaintext of `payload`: equal for two payloads exactly if their values are equal.

        Raises:
            ConversionError: The payload cannot be read.
        """
        ...


class JsonConverter:
    """Canonical JSON, as the table above has it."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder(enc_hook=_to_builtin, order="deterministic")
        # Decoders cost about 10 µs to build; the types of a program are few and live as long as it does.
        self._decoders: dict[object, msgspec.json.Decoder[Any]] = {}

    def encode(self, value: object, what: str) -> Payload:
        if value is None:
            return NULL
        try:
            try:
                data = self._encoder.encode(value)
            except TypeError:
                data = self._with_keys_as_text(value, what)
            # msgspec writes NaN and infinities as null; only then is the value worth a walk.
            if b"null" in data and (path := _non_finite(msgspec.to_builtins(value, enc_hook=_to_builtin), "$")):
                raise ConversionError(
                    f"expected {what} to have a JSON form, but at `{path}` is a float that is not finite"
                )
        except ConversionError:
            raise
        except Exception as error:  # enc_hook runs the user's model_dump, which may raise anything
            if isinstance(value, Awaitable):
                kind = type(cast("object", value)).__qualname__
                raise ConversionError(f"expected {what} to be a value, but it is {kind}: await it first") from error
            raise ConversionError(
                f"expected {what} to have a JSON form, but {type(value).__qualname__} has none: {error}"
            ) from error
        return Payload(data)

    def decode(self, payload: Payload, expected: type[T], what: str) -> T:
        self._require_plain_json(payload, what)
        try:
            decoder = self._decoders.get(expected)
            if decoder is None:
                decoder = msgspec.json.Decoder(expected, dec_hook=_from_builtin)
                self._decoders[expected] = decoder
            return cast("T", decoder.decode(payload.data))
        except Exception as error:  # dec_hook runs the user's model_validate, which may raise anything
            raise ConversionError(f"expected {what} of type {type_name(expected)}, but {error}") from error

    def canonical(self, payload: Payload) -> bytes:
        self._require_plain_json(payload, "a payload")
        try:
            return self._encoder.encode(msgspec.json.decode(payload.data))
        except msgspec.DecodeError as error:
            raise ConversionError(f"expected JSON, but {error}") from error

    def _with_keys_as_text(self, value: object, what: str) -> bytes:
        """The form of a value that has a dict with other keys than strings: msgspec sorts those alone."""
        builtins = msgspec.to_builtins(value, enc_hook=_to_builtin, str_keys=True, order="deterministic")
        data = self._encoder.encode(builtins)
        # Each member has a mark behind its key, and what strings hold is the same in both.
        if data.count(b'":') != msgspec.json.encode(value, enc_hook=_to_builtin).count(b'":'):
            raise ConversionError(
                f"expected {what} to have keys that differ as text, but two are the same, as 1 and '1' are"
            )
        return data

    @staticmethod
    def _require_plain_json(payload: Payload, what: str) -> None:
        if payload.content_type != JSON or payload.codecs:
            found = "+".join((payload.content_type, *payload.codecs))
            raise ConversionError(f"expected {what} as {JSON}, but it is {found}")


def type_name(expected: object) -> str:
    """An annotation as its author wrote it: `Fleet`, `list[Fleet]`, `int | None`."""
    if get_origin(expected) is None and isinstance(expected, type):
        return expected.__qualname__
    if get_args(expected):
        return str(expected).replace("typing.", "")
    return str(expected)


def _to_builtin(value: object) -> object:
    dump = cast("Callable[..., object] | None", getattr(value, "model_dump", None))
    if dump is None:
        raise NotImplementedError(f"objects of type {type(value).__qualname__} are not supported")
    return dump(mode="json")


def _from_builtin(expected: type[Any], value: object) -> object:
    if expected is object:
        return value
    validate = cast("Callable[[object], object] | None", getattr(expected, "model_validate", None))
    if validate is None:
        raise NotImplementedError(f"objects of type {expected.__qualname__} are not supported")
    return validate(value)


def _non_finite(value: object, path: str) -> str | None:
    """Where in a value of builtins is a float that JSON cannot say?"""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, Mapping):
        members = ((f"{path}.{key}", member) for key, member in cast("Mapping[object, object]", value).items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        sequence = cast("tuple[object, ...]", value)
        members = ((f"{path}[{index}]", member) for index, member in enumerate(sequence))
    else:
        return None
    return next((found for place, member in members if (found := _non_finite(member, place))), None)
