"""Do equal rows have equal bytes, and do bytes come back as the row they were?"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from engine.model.failure import Category, Failure
from engine.model.payload import Payload
from engine.model.status import Status
from provider_log.store.tables import (
    ExecutionRow,
    GenesisRow,
    HeadRow,
    InboxRow,
    InstanceRow,
    PositionRow,
    SeenRow,
    TimerRow,
    WorkRow,
    pack,
    unpack,
    unpack_number,
)

number = st.integers(0, 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
payload = st.builds(Payload, st.binary(max_size=5), text, st.lists(text, max_size=2).map(tuple), st.none() | text)
failure = st.builds(Failure, category=st.sampled_from(Category), type=text, message=text, retryable=st.booleans())
status = st.sampled_from(Status)

ROWS: dict[type[Struct], st.SearchStrategy[Struct]] = {
    InstanceRow: st.builds(
        InstanceRow, text, text, number, number, status, number, number, number, number, number, number,
        st.none() | payload, st.none() | failure, st.none() | text, number, st.none() | text,
    ),
    ExecutionRow: st.builds(
        ExecutionRow, status, number, st.none() | number, number, number, st.none() | payload, st.none() | failure
    ),
    InboxRow: st.builds(InboxRow, st.binary(max_size=9), number, number, st.none() | text),
    TimerRow: st.builds(TimerRow, number, number, number),
    WorkRow: st.builds(
        WorkRow, st.binary(max_size=9), number, number, st.none() | text, st.none() | text, st.binary(max_size=9),
        text, number,
    ),
    SeenRow: st.builds(SeenRow, number, number),
    PositionRow: st.builds(PositionRow, number, st.lists(number, max_size=5).map(tuple)),
    HeadRow: st.builds(
        HeadRow, st.integers(-1, 2**63 - 1), st.binary(max_size=16), st.binary(max_size=16), number, number, number,
        number, number, number,
    ),
    GenesisRow: st.builds(
        GenesisRow, text, st.binary(max_size=16), text, number, number, text, number
    ),
}  # fmt: skip


@given(st.one_of(*ROWS.values()))
def test_a_row_comes_back_as_it_was(row: Struct) -> None:
    assert unpack(type(row), pack(row)) == row


@given(st.one_of(*ROWS.values()))
def test_equal_rows_have_equal_bytes_however_they_were_made(row: Struct) -> None:
    """Defaults that were written out, read back, or left out: a digest over rows must not tell them apart."""
    read = unpack(type(row), pack(row))
    made = type(row)(**{name: getattr(row, name) for name in row.__struct_fields__})
    assert pack(read) == pack(made) == pack(row)


def test_a_default_left_out_and_one_written_out_are_the_same_bytes() -> None:
    assert pack(PositionRow(3)) == pack(PositionRow(3, ()))
    assert pack(InboxRow(b"", 0, 0)) == pack(InboxRow(b"", 0, 0, None))
    assert pack(HeadRow()) == pack(HeadRow(-1, bytes(16), b"", 0, 0, 1, 0, 0, 0))


def test_a_row_of_a_version_without_the_last_fields_is_read_with_their_defaults() -> None:
    older = msgspec.msgpack.encode([b"data", 1, 2])
    assert unpack(InboxRow, older) == InboxRow(b"data", 1, 2, None)


@given(number)
def test_a_counter_comes_back(value: int) -> None:
    assert unpack_number(pack(value)) == value


def test_a_counter_that_is_not_there_is_zero() -> None:
    assert unpack_number(None) == 0


def test_bytes_of_another_table_are_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        unpack(InstanceRow, pack(SeenRow(1, 2)))
