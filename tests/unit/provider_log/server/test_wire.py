"""Does every value come back from the JSON of `/v1` as it was?"""

import enum
import functools
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.events import ActivityCompleted, AnyEvent, CustomStatusUpdated, OrchestrationCompleted
from engine.model.failure import Category, Failure
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo
from provider_log.server import shapes, wire


@functools.cache
def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a model type, read from its fields, so that a new field is covered on the day it comes."""
    if kind is Payload:
        return st.one_of(PLAIN_PAYLOADS, OTHER_PAYLOADS)
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return st.one_of([values_of(member) for member in typing.get_args(kind)])
    if typing.get_origin(kind) is tuple:
        return st.lists(values_of(typing.get_args(kind)[0]), max_size=2).map(tuple)
    if kind is types.NoneType:
        return st.none()
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return st.builds(kind, **{field.name: st.deferred(lambda f=field: values_of(f.type)) for field in fields})
    return SCALARS[kind]


SCALARS: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(),
    bool: st.booleans(),
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("$payload"), inner, max_size=2),
    max_leaves=5,
)
PLAIN_PAYLOADS = JSON_VALUES.map(lambda value: Payload(msgspec.json.encode(value)))
OTHER_PAYLOADS = st.builds(
    Payload,
    st.binary(max_size=20),
    st.sampled_from(["application/json", "application/x-protobuf"]),
    st.lists(st.sampled_from(["zstd", "aes-gcm"]), max_size=2).map(tuple),
    st.none() | st.just("tenant-7"),
)


@given(values_of(AnyEvent))
def test_every_event_comes_back_as_it_was(event: AnyEvent) -> None:
    assert wire.decode(wire.encode(shapes.History("a", (event,))), shapes.History) == shapes.History("a", (event,))


@given(values_of(InstanceInfo))
def test_every_state_of_an_instance_comes_back_as_it_was(info: InstanceInfo) -> None:
    assert wire.decode(wire.encode(info), InstanceInfo) == info


@given(values_of(ExecutionInfo))
def test_every_state_of_an_execution_comes_back_as_it_was(info: ExecutionInfo) -> None:
    assert wire.decode(wire.encode(info), ExecutionInfo) == info


@given(OTHER_PAYLOADS | PLAIN_PAYLOADS)
def test_what_is_written_for_a_payload_is_read_as_the_same_payload(payload: Payload) -> None:
    assert wire.payload_of(wire.encode(payload)) == payload


def test_a_payload_of_plain_json_stands_where_it_is_byte_for_byte() -> None:
    event = ActivityCompleted(event_id=3, timestamp_ms=9, source_event_id=2, result=Payload(b'{"b":1.0, "a":[]}'))
    assert wire.encode(event) == (
        b'{"type":"ActivityCompleted","event_id":3,"timestamp_ms":9,"source_event_id":2,"result":{"b":1.0, "a":[]}}'
    )


def test_an_encoded_payload_says_how_to_read_it() -> None:
    assert wire.encode(Payload(b"\x00\x01", codecs=("zstd",))) == b'{"$payload":{"data":"AAE=","codecs":["zstd"]}}'


def test_no_output_and_an_output_of_none_are_told_apart() -> None:
    info = InstanceInfo(
        instance="a",
        orchestration_name="f",
        orchestration_version="1",
        current_execution_id=1,
        status=Status.COMPLETED,
        revision=1,
        created_at_ms=1,
        updated_at_ms=1,
    )
    none = msgspec.structs.replace(info, output=Payload(b"null"))
    assert b'"output"' not in wire.encode(info)
    assert b'"output":null' in wire.encode(none)


def test_a_required_field_may_be_none() -> None:
    event = CustomStatusUpdated(event_id=1, timestamp_ms=1, status=None)
    assert wire.decode(wire.encode(event), CustomStatusUpdated) == event


def test_a_category_of_a_newer_node_is_unknown_not_an_error() -> None:
    assert wire.decode(b'{"category":"tired","type":"E","message":""}', Failure).category is Category.UNKNOWN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"name":5}', "name: Expected `str`, got `int`"),
        (b"{}", "expected a Start with 'name', but it has none"),
        (b'{"name":"f","inputs":1}', "expected no field but name, input, .*, but it has 'inputs'"),
        (b'{"name":"f"', "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"name":"f","input":{"$payload":{"dat":"x"}}}', "missing required field `data`"),
    ],
)
def test_json_of_another_shape_is_refused_with_the_field_and_both_halves(text: bytes, says: str) -> None:
    with pytest.raises(msgspec.MsgspecError, match=says):
        wire.decode(text, shapes.Start)


def test_an_event_of_a_kind_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="'OrchestrationExploded'"):
        wire.decode(b'{"instance":"a","events":[{"type":"OrchestrationExploded"}]}', shapes.History)


def test_an_empty_body_is_the_payload_of_none() -> None:
    assert wire.payload_of(b" ") == Payload(b"null")


def test_what_is_json_by_name_only_is_kept_as_bytes() -> None:
    event = OrchestrationCompleted(event_id=1, timestamp_ms=1, output=Payload(b'"\xff"'))
    assert wire.decode(wire.encode(event), OrchestrationCompleted) == event
