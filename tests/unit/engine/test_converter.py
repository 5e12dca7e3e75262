"""Do values come back as they went, with one form each, and do those that cannot say so?"""

import enum
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from engine.converter import JsonConverter
from engine.errors import ConversionError
from engine.model.payload import NULL, Payload

CONVERTER = JsonConverter()


@dataclass
class Service:
    name: str
    port: int = 80


class Fleet(Struct):
    services: list[Service]


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Ranks:
    ranks: dict[int, Service | None]


class Options(TypedDict):
    deep: bool


class Model:
    """As pydantic's models are: two methods are all that is asked of them."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.size == self.size

    def __hash__(self) -> int:
        return self.size

    def model_dump(self, *, mode: str) -> dict[str, int]:
        assert mode == "json"
        return {"size": self.size}

    @classmethod
    def model_validate(cls, value: Any) -> "Model":
        if not isinstance(value["size"], int):
            raise ValueError("size is no number")
        return cls(value["size"])


@pytest.mark.parametrize(
    ("value", "expected", "data"),
    [
        (None, None, b"null"),
        (2**70, int, b"1180591620717411303424"),
        (0.1, float, b"0.1"),
        (Decimal("1.10"), Decimal, b'"1.10"'),
        (b"\x00\xff", bytes, b'"AP8="'),
        (Color.RED, Color, b'"red"'),
        (datetime(2026, 11, 22, 8, 30, tzinfo=UTC), datetime, b'"2026-11-22T08:30:00Z"'),
        (date(2026, 11, 22), date, b'"2026-11-22"'),
        (timedelta(minutes=5), timedelta, b'"PT300S"'),
        (UUID(int=7), UUID, b'"00000000-0000-0000-0000-000000000007"'),
        (Service("a", 1), Service, b'{"name":"a","port":1}'),
        (Fleet([Service("a")]), Fleet, b'{"services":[{"name":"a","port":80}]}'),
        (Point(1, 2), Point, b"[1,2]"),
        (Options(deep=True), Options, b'{"deep":true}'),
        (Model(3), Model, b'{"size":3}'),
        ([Model(3)], list[Model], b'[{"size":3}]'),
        ({"c", "a", "b"}, set[str], b'["a","b","c"]'),
        ({"b": 1, "a": {"d": 1, "c": 2}}, dict[str, Any], b'{"a":{"c":2,"d":1},"b":1}'),
        ({10: "b", 9: "a"}, dict[int, str], b'{"10":"b","9":"a"}'),
        ({0.5: {Color.RED: 1}}, dict[float, dict[Color, int]], b'{"0.5":{"red":1}}'),
        ({date(2026, 11, 22): {"b", "a"}}, dict[date, set[str]], b'{"2026-11-22":["a","b"]}'),
        (Ranks({2: Service("a", 1), 1: None}), Ranks, b'{"ranks":{"1":null,"2":{"name":"a","port":1}}}'),
        ("☃", object, '"☃"'.encode()),
    ],
)
def test_a_value_has_one_form_and_comes_back(value: object, expected: Any, data: bytes) -> None:
    payload = CONVERTER.encode(value, "a value")
    assert payload == Payload(data)
    assert CONVERTER.decode(payload, expected, "a value") == value


def test_none_is_the_payload_of_nothing() -> None:
    assert CONVERTER.encode(None, "nothing") is NULL


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_what_json_can_say_comes_back_equal(value: object) -> None:
    assert CONVERTER.decode(CONVERTER.encode(value, "a value"), object, "a value") == value


@given(st.dictionaries(st.text(), st.integers(), max_size=6), st.randoms(use_true_random=False))
def test_equal_values_have_equal_bytes(value: dict[str, int], chance: Any) -> None:
    keys = list(value)
    chance.shuffle(keys)
    shuffled = OrderedDict((key, value[key]) for key in keys)
    assert CONVERTER.encode(shuffled, "a value") == CONVERTER.encode(value, "a value")


@given(st.dictionaries(st.integers() | st.floats(allow_nan=False), JSON_VALUES, max_size=6))
def test_keys_that_are_no_text_have_one_form_too(value: dict[int | float, object]) -> None:
    payload = CONVERTER.encode(value, "a value")
    assert CONVERTER.encode(dict(reversed(value.items())), "a value") == payload
    assert CONVERTER.canonical(payload) == payload.data


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: "a", "1": "b"}, "to have keys that differ as text, but two are the same, as 1 and '1' are"),
        ({(1, 2): "a"}, "to have a JSON form, but dict has none: Only dicts with str-like or number-like keys"),
        ({1: {2: math.nan}}, "at `$.1.2` is a float that is not finite"),
        ({1: object()}, "to have a JSON form, but dict has none: objects of type object are not supported"),
    ],
    ids=["same", "tuple", "finite", "object"],
)
def test_keys_that_no_text_tells_apart_are_refused(value: object, message: str) -> None:
    with pytest.raises(ConversionError) as refused:
        CONVERTER.encode(value, "input of activity a")
    assert message in str(refused.value)


@given(JSON_VALUES)
def test_the_canonical_form_of_a_payload_is_its_own(value: object) -> None:
    payload = CONVERTER.encode(value, "a value")
    assert CONVERTER.canonical(payload) == payload.data


def test_a_foreign_writing_of_the_same_value_has_the_same_canonical_form() -> None:
    assert CONVERTER.canonical(Payload(b' { "b" : 1.0, "a" : "\\u0041" }')) == b'{"a":"A","b":1.0}'


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (math.nan, "$"),
        ([1.0, math.inf], "$[1]"),
        ({"a": {"b": -math.inf}, "c": None}, "$.a.b"),
        ((None, math.nan), "$[1]"),
    ],
    ids=["alone", "list", "dict", "tuple"],
)
def test_a_float_that_is_not_finite_is_refused_with_its_place(value: object, path: str) -> None:
    with pytest.raises(ConversionError) as refused:
        CONVERTER.encode(value, "input of activity a")
    assert str(refused.value) == (
        f"expected input of activity a to have a JSON form, but at `{path}` is a float that is not finite"
    )


def test_a_value_without_a_form_is_refused_with_its_type() -> None:
    with pytest.raises(ConversionError, match="but object has none: objects of type object are not supported"):
        CONVERTER.encode(object(), "input of activity a")


@pytest.mark.parametrize(
    ("data", "expected", "message"),
    [
        (b'{"services": 1}', Fleet, "of type Fleet, but Expected `array`, got `int` - at `$.services`"),
        (b'{"name": "a", "port": "1"}', Service, "of type Service, but Expected `int`, got `str` - at `$.port`"),
        (b"{}", Service, "but Object missing required field `name`"),
        (b"1", list[int], "of type list[int], but Expected `array`, got `int`"),
        (b"1.5", int | None, "of type int | None, but"),
        (b'{"size": "x"}', Model, "of type Model, but size is no number"),
        (b"[1", list[int], "but Input data was truncated"),
        (b"", int, "but Input data was truncated"),
    ],
)
def test_data_that_is_not_of_the_type_is_refused_with_both_halves(data: bytes, expected: Any, message: str) -> None:
    with pytest.raises(ConversionError) as refused:
        CONVERTER.decode(Payload(data), expected, "input of orchestration ship")
    assert str(refused.value).startswith("expected input of orchestration ship of type ")
    assert message in str(refused.value)


def test_a_type_that_nothing_can_be_read_as_is_refused() -> None:
    class Opaque:
        pass

    with pytest.raises(ConversionError, match=r"objects of type .*Opaque are not supported"):
        CONVERTER.decode(Payload(b"1"), Opaque, "a value")


@pytest.mark.parametrize(
    "payload", [Payload(b"x", content_type="text/plain"), Payload(b"x", codecs=("zstd",))], ids=["type", "codec"]
)
def test_bytes_that_are_not_plain_json_are_refused_not_guessed(payload: Payload) -> None:
    with pytest.raises(ConversionError, match="as application/json, but it is "):
        CONVERTER.decode(payload, int, "a value")
    with pytest.raises(ConversionError, match="as application/json, but it is "):
        CONVERTER.canonical(payload)
