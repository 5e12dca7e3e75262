"""Does the live cache keep what was used last, within its bounds?"""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from engine.observe import Counters
from engine.runtime.cache import LiveCache


@dataclass(eq=False)
class Suspended:
    bytes_estimate: int
    log: list[int] = field(default_factory=list[int])

    def put_away(self) -> None:
        self.log.append(id(self))

    @property
    def times_put_away(self) -> int:
        return len(self.log)


def test_what_was_kept_is_taken_once() -> None:
    counters = Counters()
    cache: LiveCache[Suspended] = LiveCache(100, 9, counters)
    live = Suspended(10)
    cache.keep("a", live)
    assert cache.take("a") is live
    assert cache.take("a") is None
    assert (live.times_put_away, cache.bytes_estimate) == (0, 0)
    assert (counters.live_hits, counters.live_misses) == (1, 1)


def test_the_least_recently_used_is_put_away_first() -> None:
    cache: LiveCache[Suspended] = LiveCache(30, 9, Counters())
    first, second, third, fourth = (Suspended(10) for _ in range(4))
    for name, live in zip("abc", (first, second, third), strict=True):
        cache.keep(name, live)
    used = cache.take("a")
    assert used is not None
    cache.keep("a", used)
    cache.keep("d", fourth)
    assert [live.times_put_away for live in (first, second, third, fourth)] == [0, 1, 0, 0]


def test_one_that_is_too_big_alone_is_put_away_and_the_bound_holds() -> None:
    cache: LiveCache[Suspended] = LiveCache(30, 9, Counters())
    big = Suspended(31)
    cache.keep("a", big)
    assert (big.times_put_away, len(cache), cache.bytes_estimate) == (1, 0, 0)


def test_keeping_a_second_for_an_instance_puts_the_first_away() -> None:
    cache: LiveCache[Suspended] = LiveCache(30, 9, Counters())
    first, second = Suspended(10), Suspended(10)
    cache.keep("a", first)
    cache.keep("a", second)
    assert (first.times_put_away, second.times_put_away, cache.bytes_estimate) == (1, 0, 10)


def test_an_estimate_that_grew_while_kept_does_not_skew_the_sum() -> None:
    cache: LiveCache[Suspended] = LiveCache(30, 9, Counters())
    live = Suspended(10)
    cache.keep("a", live)
    live.bytes_estimate = 25
    cache.drop("a")
    assert cache.bytes_estimate == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["keep", "take", "drop"]), st.integers(0, 40))),
    st.integers(0, 100),
    st.integers(0, 6),
)
def test_the_bounds_always_hold_and_every_live_is_kept_taken_or_put_away_once(
    steps: list[tuple[str, str, int]], bytes_max: int, executions_max: int
) -> None:
    cache: LiveCache[Suspended] = LiveCache(bytes_max, executions_max, Counters())
    made: list[Suspended] = []
    taken: list[Suspended] = []
    for instance, what, bytes_estimate in steps:
        if what == "keep":
            made.append(Suspended(bytes_estimate))
            cache.keep(instance, made[-1])
        elif what == "drop":
            cache.drop(instance)
        elif (live := cache.take(instance)) is not None:
            taken.append(live)
        assert cache.bytes_estimate <= bytes_max
        assert len(cache) <= executions_max
    cache.clear()
    assert (len(cache), cache.bytes_estimate) == (0, 0)
    assert all(live.times_put_away == 1 for live in made if live not in taken)
    assert all(live.times_put_away == 0 for live in taken)
