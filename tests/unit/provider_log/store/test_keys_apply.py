"""Do the rows of keys say what the changes mean, whatever the changes are?"""

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.model.key_values import Changed, KeyValue, KeyValueChange, changed, merged
from engine.model.payload import Payload
from engine.model.status import EXECUTION_ENDS, Status
from provider_log import records as r
from provider_log.partition import look
from provider_log.store import keys
from provider_log.store.apply import VERSION, apply
from provider_log.store.keys import Table
from provider_log.store.memory import DictStore

ENVELOPE = r.Envelope(
    owner_token=b"o" * 16, batch=1, index=0, count=1, last=True, apply_version=VERSION, chain=r.NO_CHAIN, time_ms=0,
    node="n",
)  # fmt: skip
ENDS = sorted(EXECUTION_ENDS, key=lambda status: status.value)

key_names = st.sampled_from(("", "a", "b", "größe/\x00"))
payloads = st.sampled_from((Payload(b""), Payload(b"1"), Payload(b'"x"', content_type="text/plain")))
changes = st.one_of(
    st.builds(KeyValueChange, key_names, payloads), st.builds(KeyValueChange, key_names), st.just(KeyValueChange())
)
turns = st.tuples(st.lists(changes, max_size=4), st.sampled_from((None, None, Status.RUNNING, *ENDS)))


def turn(instance: str, **fields: Any) -> r.TurnCommitted:
    given: dict[str, Any] = {"envelope": ENVELOPE, "instance": instance, "incarnation": 7, "execution_id": 1}
    return r.TurnCommitted(**(given | fields))


def under(store: DictStore, table: Table) -> list[bytes]:
    return [key for key, _ in store.scan(keys.table_prefix(table))]


@for_all(st.lists(turns, max_size=6))
def test_rows_hold_what_the_layers_mean(history: list[tuple[list[KeyValueChange], Status | None]]) -> None:
    store = DictStore()
    store.write(apply(store, turn("i-2", key_values=(KeyValueChange("a", Payload(b"other")),)), 0))
    began_with: dict[str, KeyValue] = {}
    in_between: Changed = {}
    for at_ms, (changes, status) in enumerate(history):
        record = turn("i", envelope=replace(ENVELOPE, time_ms=at_ms), key_values=tuple(changes), status=status)
        store.write(apply(store, record, 0))
        in_between = changed(began_with, in_between, changes, at_ms)
        if status in ENDS:
            began_with, in_between = merged(began_with, in_between), {}
        assert look.key_values_begun_with(store, "i") == began_with
        assert look.key_values(store, "i") == merged(began_with, in_between)
        assert list(look.key_values(store, "i")) == sorted(look.key_values(store, "i"))
        for key in ("", "a", "b", "größe/\x00"):
            assert look.key_value(store, "i", key) == merged(began_with, in_between).get(key)
        assert len(under(store, Table.KEY_CHANGE)) == len(in_between) + 1, "expected a row for each change"
    assert {key: kept.value for key, kept in look.key_values(store, "i-2").items()} == {"a": Payload(b"other")}


@pytest.mark.parametrize("status", ENDS)
def test_every_end_leaves_no_changes(status: Status) -> None:
    store = DictStore()
    store.write(apply(store, turn("i", key_values=(KeyValueChange("a", Payload(b"1")),), status=status), 0))
    assert (len(under(store, Table.KEY_VALUE)), under(store, Table.KEY_CHANGE)) == (1, [])


def test_a_deletion_takes_the_keys_of_the_tree() -> None:
    store = DictStore()
    for instance in ("i", "i::sub::2", "i2"):
        for status in (Status.CONTINUED_AS_NEW, None):
            change = KeyValueChange(f"{status}", Payload(b"1"))
            store.write(apply(store, turn(instance, key_values=(change,), status=status), 0))
    store.write(apply(store, r.InstanceDeleted(envelope=ENVELOPE, instance="i", incarnation=7), 0))
    left = under(store, Table.KEY_VALUE) + under(store, Table.KEY_CHANGE)
    assert [keys.describe(key) for key in left] == ["KEY_VALUE i2 Status.CONTINUED_AS_NEW", "KEY_CHANGE i2 None"]
