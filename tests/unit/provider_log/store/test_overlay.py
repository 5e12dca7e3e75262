"""Is the state with uncommitted batches what it would be if they were committed, and without them what it was?"""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provider_log.store.memory import DictStore
from provider_log.store.overlay import Overlay

keys = st.binary(min_size=1, max_size=2)
values = st.none() | st.binary(max_size=2)
rows = st.dictionaries(keys, values, max_size=4)


class Batches(RuleBasedStateMachine):
    """An overlay beside plain dicts: what is committed, and every batch that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.store = DictStore()
        self.overlay = Overlay(self.store)
        self.batches: list[dict[bytes, bytes | None]] = []
        self.first = 1

    @rule()
    def begin(self) -> None:
        self.batches.append({})

    @precondition(lambda self: self.batches)
    @rule(changed=rows)
    def put(self, changed: dict[bytes, bytes | None]) -> None:
        self.batches[-1].update(changed)
        self.overlay.put(changed, self.first + len(self.batches) - 1)

    @precondition(lambda self: self.batches)
    @rule()
    def commit_the_oldest(self) -> None:
        batch = self.batches.pop(0)
        self.store.write(batch)
        self.overlay.commit(batch, self.first)
        self.first += 1

    @rule()
    def drop_all(self) -> None:
        self.batches, self.first = [], 1
        self.overlay = Overlay(self.store)

    @invariant()
    def sees_every_batch(self) -> None:
        expected: dict[bytes, bytes | None] = dict(self.store.rows)
        for batch in self.batches:
            expected.update(batch)
        there = sorted((key, value) for key, value in expected.items() if value is not None)
        assert list(self.overlay.scan(b"")) == there
        assert [(key, self.overlay.get(key)) for key, _ in there] == there
        for prefix in (b"\x00", b"\x01", b"\xff"):
            assert list(self.overlay.scan(prefix)) == [row for row in there if row[0].startswith(prefix)]
            assert list(self.overlay.scan(prefix, prefix)) == [
                row for row in there if row[0].startswith(prefix) and row[0] > prefix
            ]

    @invariant()
    def holds_only_what_is_not_committed(self) -> None:
        assert len(self.overlay) == len({key for batch in self.batches for key in batch})


TestBatches = Batches.TestCase


@given(rows, rows)
def test_a_scan_sees_the_rows_of_its_moment(
    before: dict[bytes, bytes | None], after: dict[bytes, bytes | None]
) -> None:
    store = DictStore()
    overlay = Overlay(store)
    overlay.put(before, 1)
    scanning = overlay.scan(b"")
    overlay.put(after, 2)
    assert list(scanning) == sorted((key, value) for key, value in before.items() if value is not None)
