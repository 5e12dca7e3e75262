"""Which values can travel? A hypothesis strategy for every kind, made from the types alone."""

import enum
import functools
import types
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

from engine.model.events import AnyEvent
from engine.model.failure import Category, Failure
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.work import WorkItem
from provider_log import codec
from provider_log.records import AnyRecord, DeadLetter, Outcome, Owner, TakenBack

LONGS = (
    st.integers(-(2**63), 2**63 - 1) | st.integers(-130, 130) | st.sampled_from([-(2**63), 2**63 - 1, 63, 64, 2**62])
)

CODECS: dict[Any, tuple[Any, Any]] = {
    **dict.fromkeys(typing.get_args(AnyEvent), (codec.encode_event, codec.decode_event)),
    **dict.fromkeys(typing.get_args(AnyMessage), (codec.encode_message, codec.decode_message)),
    **dict.fromkeys(typing.get_args(AnyRecord), (codec.encode_record, codec.decode_record)),
    WorkItem: (codec.encode_work_item, codec.decode_work_item),
    **dict.fromkeys(typing.get_args(TakenBack), (codec.encode_taken_back, codec.decode_taken_back)),
    Outcome: (codec.encode_outcome, codec.decode_outcome),
    Owner: (codec.encode_owner, codec.decode_owner),
    DeadLetter: (codec.encode_dead_letter, codec.decode_dead_letter),
}
"""Every kind that travels, with what writes and reads it."""


@functools.cache
def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of the type `hint`."""
    if hint is Failure:
        return _failures()
    if hint is int:
        return LONGS
    if hint is str:
        return st.text(max_size=80)
    if hint is bytes:
        return st.binary(max_size=150)
    if hint is bool:
        return st.booleans()
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.builds(hint, **{field.name: values(field.type) for field in msgspec.structs.fields(hint)})
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return st.none() | values(arguments[0])
    return st.lists(values(arguments[0]), max_size=4).map(tuple)


def _failures() -> st.SearchStrategy[Failure]:
    def around(inner: st.SearchStrategy[Failure]) -> st.SearchStrategy[Failure]:
        return _failure(cause=st.none() | inner, others=st.lists(inner, max_size=2).map(tuple))

    return st.recursive(_failure(), around, max_leaves=4)


def _failure(**nested: st.SearchStrategy[Any]) -> st.SearchStrategy[Failure]:
    return st.builds(
        Failure,
        category=st.sampled_from(Category),
        type=st.text(max_size=20),
        message=st.text(max_size=80),
        retryable=st.booleans(),
        details=st.none() | values(Payload),
        stack=st.none() | st.text(max_size=80),
        **nested,
    )
