"""Is the turn that the log never takes found, and nobody else blamed?"""

import pytest

from provider_log.log.port import Doubtful, Fenced, LogError, LogUnavailable, RecordTooLarge
from provider_log.partition.suspicion import Suspicion

DOUBT = Doubtful("no answer")


def test_one_failure_is_no_reason_and_the_second_one_halves() -> None:
    suspicion = Suspicion()
    suspicion.failed(["a", "b", "c", "d"], DOUBT)
    assert suspicion.turns_max is None
    suspicion.failed(["e", "d"], DOUBT)
    assert suspicion.turns_max == 1
    assert [suspicion.attempts(instance) for instance in "abcde"] == [0] * 5


def test_failures_with_others_of_what_was_committed_since_do_not_count() -> None:
    suspicion = Suspicion()
    suspicion.failed(["a", "b"], DOUBT)
    suspicion.committed(["a"])
    suspicion.failed(["a", "c"], DOUBT)
    assert suspicion.turns_max is None


@pytest.mark.parametrize("error", [Fenced("taken"), LogUnavailable("away")], ids=lambda error: type(error).__name__)
def test_what_says_nothing_about_a_batch_counts_for_nothing(error: LogError) -> None:
    suspicion = Suspicion()
    for _ in range(5):
        suspicion.failed(["a"], error)
        suspicion.failed([], DOUBT)
    assert suspicion.turns_max is None
    assert suspicion.attempts("a") == 0


def test_a_turn_that_failed_alone_counts_from_the_second_time_on_until_it_is_committed() -> None:
    suspicion = Suspicion()
    for _ in range(4):
        suspicion.failed(["a"], RecordTooLarge("too large"))
    assert (suspicion.attempts("a"), suspicion.turns_max) == (3, 1)
    suspicion.committed(["a"])
    assert suspicion.attempts("a") == 0


def test_the_bound_grows_with_each_batch_of_turns_until_nobody_is_suspected() -> None:
    suspicion = Suspicion()
    for _ in range(3):
        suspicion.failed(["a", "b"], DOUBT)
    bounds = list[int | None]()
    for number in range(10):
        suspicion.committed([])  # answers alone say nothing of turns
        suspicion.committed([f"i{number}"])
        bounds.append(suspicion.turns_max)
    assert bounds == [2, 4, 8, 16, 32, 64, 128, 256, 512, None]
    suspicion.failed(["a", "b"], DOUBT)
    assert suspicion.turns_max is None, "expected what is long past to be forgotten"
