"""Does a whole cluster end as it must whatever a seed brings; is a seed always the same run; is a broken rule found?"""

from collections.abc import Iterator

import pytest

from provider_log.simulation.seed import Ran, run_seed
from tests.simulation import broken
from tests.simulation.broken import Break

SEEDS = 40
FOUND_WITHIN = 500
TAKEN_WITHIN = 100
RARE_PATHS = {
    "activity.given_back",
    "activity.not_begun_in_time",
    "activity.timed_out",
    "delivery.recorded_first",
    "lane.dead_letter",
    "lane.duplicate",
    "lane.forwarded",
    "lane.parked",
    "lane.work_taken_back",
    "lane.work_taken_in",
    "lease.lost",
    "lease.revoked",
    "partition.doubted",
    "partition.fenced",
    "partition.given_up",
    "partition.input_missing",
    "partition.stalled",
    "partition.superseded",
    "pipeline.put_aside",
    "provider.retryable",
    "restore.wiped",
    "sessions.full",
    "sharing.by_force",
    "sharing.taken",
    "turn.lost",
}


def until_it_fails() -> Iterator[Ran]:
    for seed in range(FOUND_WITHIN):
        ran = run_seed(seed)
        yield ran
        if ran.failure is not None:
            return


@pytest.mark.parametrize("seed", range(SEEDS))
def test_everything_ends_as_its_program_says_once_whatever_happens(seed: int) -> None:
    ran = run_seed(seed)
    assert ran.failure is None, f"repeat it with: turnlog simulate --first {seed} --seeds 1"


def test_a_seed_is_always_the_same_run() -> None:
    assert run_seed(1) == run_seed(1)


def test_the_rare_paths_are_taken() -> None:
    left = set(RARE_PATHS)
    for seed in range(TAKEN_WITHIN):
        left -= set(run_seed(seed).marks)
        if not left:
            return
    raise AssertionError(f"expected every rare path to be taken within {TAKEN_WITHIN} seeds, but not {sorted(left)}")


@pytest.mark.parametrize(
    "rule",
    [
        broken.a_batch_is_applied_before_its_commit,
        broken.every_node_has_ids_of_its_own,
        broken.a_failed_send_is_ignored,
        broken.the_end_is_asked_for_again,
        broken.the_next_batch_does_not_wait_for_acknowledgements,
    ],
    ids=lambda rule: rule.__name__,
)
def test_a_broken_rule_is_found(rule: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(monkeypatch)
    *_, last = until_it_fails()
    assert last.failure is not None, f"expected {rule.__name__} to be found within {FOUND_WITHIN} seeds"
