"""Does a lane's position say exactly what is consumed, and does a restart from it lose and repeat nothing?"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provider_log.partition.positions import LanePosition
from provider_log.records import Lane, Position


class Lanes(RuleBasedStateMachine):
    """A lane whose topic has gaps, beside the plain set of offsets that were consumed."""

    def __init__(self) -> None:
        super().__init__()
        self.position = LanePosition(Lane.ORCHESTRATOR)
        self.records: list[int] = []  # offsets that hold a record, read or not
        self.read_up_to = 0  # how many of them were read
        self.skipped: set[int] = set()
        self.consumed: set[int] = set()
        self.written = Position(Lane.ORCHESTRATOR, 0)
        self.written_consumed: set[int] = set()

    @rule(gap=st.integers(0, 3))
    def append(self, gap: int) -> None:
        self.records.append((self.records[-1] + 1 if self.records else 0) + gap)

    @property
    def waiting(self) -> list[int]:
        return [
            offset
            for offset in self.records[: self.read_up_to]
            if offset not in self.consumed and offset not in self.skipped
        ]

    @precondition(lambda self: self.read_up_to < len(self.records))
    @rule()
    def read(self) -> None:
        offset = self.records[self.read_up_to]
        self.read_up_to += 1
        assert self.position.read(offset) == (offset not in self.consumed)

    @precondition(lambda self: self.read_up_to < len(self.records))
    @rule()
    def skip(self) -> None:
        offset = self.records[self.read_up_to]
        if offset in self.consumed:
            return  # what was consumed once is no owner's export
        self.read_up_to += 1
        self.skipped.add(offset)
        self.position.pass_over(offset)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def consume(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.waiting))
        self.position.consume(offset)
        self.consumed.add(offset)

    @rule()
    def write(self) -> None:
        moved = self.position.moved()
        if moved is not None:
            assert moved != self.written
            self.written = moved
        self.written_consumed = set(self.consumed)
        done = self.consumed | self.skipped
        for offset in self.records[: self.read_up_to]:
            is_done = offset < self.written.watermark or offset in self.written.above
            assert is_done or offset not in self.consumed, f"expected {offset} to be written as consumed"
            assert not is_done or offset in done, f"expected {offset} to wait, but it is written as consumed"
        assert all(offset >= self.written.watermark for offset in self.written.above)
        assert list(self.written.above) == sorted(self.written.above)

    @rule()
    def restart(self) -> None:
        self.position = LanePosition(Lane.ORCHESTRATOR, self.written.watermark, self.written.above)
        assert self.position.start == self.written.watermark
        self.consumed = set(self.written_consumed)
        self.read_up_to = sum(offset < self.written.watermark for offset in self.records)
        self.skipped = {offset for offset in self.skipped if offset < self.written.watermark}

    @invariant()
    def knows_what_waits(self) -> None:
        assert self.position.waiting == len(self.waiting)
        assert self.position.oldest == (self.waiting[0] if self.waiting else None)


TestLanes = Lanes.TestCase


def test_a_position_that_did_not_move_is_not_written() -> None:
    position = LanePosition(Lane.MESSAGES)
    assert position.moved() is None
    position.read(0)
    assert position.moved() is None
    position.consume(0)
    assert position.moved() == Position(Lane.MESSAGES, 1)
    assert position.moved() is None


def test_an_offset_consumed_above_one_that_waits_is_written_above_the_watermark() -> None:
    position = LanePosition(Lane.MESSAGES)
    for offset in range(3):
        position.read(offset)
    position.consume(1)
    assert position.moved() == Position(Lane.MESSAGES, 0, (1,))
    position.consume(0)
    assert position.moved() == Position(Lane.MESSAGES, 2)
