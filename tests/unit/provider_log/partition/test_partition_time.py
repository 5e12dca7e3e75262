"""Does a partition's time never go back, and is it drawn to the wall clock slowly?"""

from hypothesis import given
from hypothesis import strategies as st

from engine.clock import ManualClock
from provider_log.partition.partition_time import SLEW_DIVISOR, PartitionTime

HOUR_MS = 3_600_000
moves = st.lists(st.tuples(st.integers(0, 100_000), st.integers(-HOUR_MS, HOUR_MS)), max_size=20)


@given(moves, st.integers(-HOUR_MS, HOUR_MS))
def test_time_never_goes_back_and_is_never_off_the_elapsed_time_by_more_than_a_tenth(
    moves: list[tuple[int, int]], committed_ahead_ms: int
) -> None:
    clock = ManualClock()
    committed_ms = clock.now_ms() + committed_ahead_ms
    time = PartitionTime(clock, committed_ms)
    start_ms = time.now_ms()
    assert start_ms == max(clock.now_ms(), committed_ms)
    before_ms = start_ms
    for elapsed_ms, step_ms in moves:
        clock.step_wall(step_ms)
        assert time.now_ms() == before_ms, "expected a step of the wall clock to move nothing at once"
        clock.advance(elapsed_ms)
        now_ms = time.now_ms()
        assert now_ms >= before_ms
        before_ms = now_ms
    total_ms = sum(elapsed_ms for elapsed_ms, _ in moves)
    assert abs(before_ms - start_ms - total_ms) <= total_ms // SLEW_DIVISOR


@given(st.integers(-5_000, 5_000), st.integers(1, 50))
def test_five_seconds_of_skew_are_gone_after_fifty(skew_ms: int, looks: int) -> None:
    clock = ManualClock()
    time = PartitionTime(clock, 0)
    clock.step_wall(skew_ms)
    for _ in range(looks):
        clock.advance(1 + 51_000 // looks)
        time.now_ms()
    assert time.now_ms() == clock.now_ms()


def test_a_look_every_millisecond_slews_as_much_as_one_look() -> None:
    clock = ManualClock()
    time = PartitionTime(clock, clock.now_ms() + 100)
    start_ms = time.now_ms()
    for _ in range(1_000):
        clock.advance(1)
        time.now_ms()
    assert time.now_ms() == start_ms + 900


def test_time_stands_where_the_committed_time_is_until_the_wall_has_come_near() -> None:
    clock = ManualClock()
    time = PartitionTime(clock, clock.now_ms() + HOUR_MS)
    clock.advance(10_000)
    assert time.now_ms() == clock.now_ms() + HOUR_MS - 1_000
