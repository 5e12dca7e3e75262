"""Do the timelines that broke a first design end well, and badly without the rule that mends them?"""

from collections.abc import Callable

import pytest

from tests.simulation import broken
from tests.simulation.broken import Break
from tests.simulation.timelines_of_commits import (
    a_batch_that_fails_takes_those_after_it_along,
    a_slot_that_the_new_owner_does_not_use_is_fenced_too,
    a_slot_whose_coordinator_is_away_stops_nobody,
    an_acquire_that_is_overtaken_at_any_step_leaves_one_owner,
    an_end_that_arrives_late_ends_no_other_transaction,
    the_order_of_the_log_is_the_order_of_the_batches,
    three_contenders_write_one_history,
    whichever_batch_is_aborted_history_and_state_are_those_without,
)
from tests.simulation.timelines_of_input import (
    a_lane_that_somebody_holds_stops_no_other,
    a_start_into_a_lane_that_somebody_holds_returns_when_it_is_durable,
    a_turn_larger_than_any_record_ends_its_instance_and_no_other,
    a_turn_that_the_log_never_takes_ends_alone,
    foreign_input_between_an_owners_own_is_consumed_once,
    input_that_was_cut_away_unread_is_named,
    what_another_owner_left_open_holds_its_messages_and_nothing_else,
    what_nobody_consumes_does_not_hold_its_lane,
    what_was_sent_after_a_start_that_took_another_way_waits_for_it,
)

TIMELINES: tuple[Callable[[], None], ...] = (
    an_acquire_that_is_overtaken_at_any_step_leaves_one_owner,
    three_contenders_write_one_history,
    the_order_of_the_log_is_the_order_of_the_batches,
    a_batch_that_fails_takes_those_after_it_along,
    a_slot_that_the_new_owner_does_not_use_is_fenced_too,
    whichever_batch_is_aborted_history_and_state_are_those_without,
    foreign_input_between_an_owners_own_is_consumed_once,
    what_nobody_consumes_does_not_hold_its_lane,
    input_that_was_cut_away_unread_is_named,
    a_turn_that_the_log_never_takes_ends_alone,
    a_turn_larger_than_any_record_ends_its_instance_and_no_other,
    a_lane_that_somebody_holds_stops_no_other,
    a_start_into_a_lane_that_somebody_holds_returns_when_it_is_durable,
    what_another_owner_left_open_holds_its_messages_and_nothing_else,
    an_end_that_arrives_late_ends_no_other_transaction,
    a_slot_whose_coordinator_is_away_stops_nobody,
    what_was_sent_after_a_start_that_took_another_way_waits_for_it,
)

BROKEN: tuple[tuple[Break, Callable[[], None]], ...] = (
    (broken.ownership_is_written_on_the_last_slot, an_acquire_that_is_overtaken_at_any_step_leaves_one_owner),
    (broken.one_slot_is_taken_again_in_doubt, an_acquire_that_is_overtaken_at_any_step_leaves_one_owner),
    (broken.every_node_has_ids_of_its_own, three_contenders_write_one_history),
    (broken.the_next_batch_does_not_wait_for_acknowledgements, the_order_of_the_log_is_the_order_of_the_batches),
    (broken.the_next_end_does_not_wait_for_the_one_before, a_batch_that_fails_takes_those_after_it_along),
    (broken.only_the_used_slots_are_taken, a_slot_that_the_new_owner_does_not_use_is_fenced_too),
    (broken.live_coroutines_are_kept_in_doubt, whichever_batch_is_aborted_history_and_state_are_those_without),
    (broken.input_is_not_read_again_in_doubt, whichever_batch_is_aborted_history_and_state_are_those_without),
    (broken.answers_are_acknowledged_early, whichever_batch_is_aborted_history_and_state_are_those_without),
    (broken.the_position_passes_input_that_was_not_read, foreign_input_between_an_owners_own_is_consumed_once),
    (broken.the_position_forgets_what_is_consumed_above_it, foreign_input_between_an_owners_own_is_consumed_once),
    (broken.nothing_is_parked, what_nobody_consumes_does_not_hold_its_lane),
    (broken.the_window_has_no_bound, what_nobody_consumes_does_not_hold_its_lane),
    (broken.no_batch_is_halved, a_turn_that_the_log_never_takes_ends_alone),
    (broken.a_turn_that_fails_alone_counts_no_attempt, a_turn_that_the_log_never_takes_ends_alone),
    (broken.one_reader_reads_all_lanes, a_lane_that_somebody_holds_stops_no_other),
    (broken.one_reader_reads_all_lanes, what_another_owner_left_open_holds_its_messages_and_nothing_else),
    (broken.senders_wait_without_end, a_start_into_a_lane_that_somebody_holds_returns_when_it_is_durable),
    (broken.the_end_is_asked_for_again, an_end_that_arrives_late_ends_no_other_transaction),
    (broken.slots_take_turns, a_slot_whose_coordinator_is_away_stops_nobody),
    (broken.orphans_are_given_up_at_once, what_was_sent_after_a_start_that_took_another_way_waits_for_it),
    (broken.orphans_are_dropped, what_was_sent_after_a_start_that_took_another_way_waits_for_it),
)


def named(timeline: Callable[[], None]) -> str:
    """Its number, which its docstring begins with, and its name."""
    number = (timeline.__doc__ or "").partition(":")[0].removeprefix("Timeline ")
    return f"timeline-{int(number)}-{timeline.__name__}"


@pytest.mark.parametrize("timeline", TIMELINES, ids=named)
def test_a_timeline_ends_well(timeline: Callable[[], None]) -> None:
    timeline()


@pytest.mark.parametrize(
    ("rule", "timeline"), BROKEN, ids=[f"{named(timeline)}-{rule.__name__}" for rule, timeline in BROKEN]
)
def test_without_its_rule_a_timeline_ends_badly(
    rule: Break, timeline: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(monkeypatch)
    with pytest.raises((Exception, BaseExceptionGroup)):
        timeline()


def test_the_timelines_that_were_found_are_all_here() -> None:
    assert {int(named(timeline).split("-")[1]) for timeline in TIMELINES} == {1, 2, 3, 4, 5, 6, 7, 8, 22, 25, 26}


def test_every_timeline_has_a_rule_that_it_needs() -> None:
    needed = {timeline for _, timeline in BROKEN}
    assert {timeline.__name__ for timeline in TIMELINES if timeline not in needed} == {
        "input_that_was_cut_away_unread_is_named",  # the log itself refuses
        "a_turn_larger_than_any_record_ends_its_instance_and_no_other",  # sizes have tests of their own: test_limits
    }
