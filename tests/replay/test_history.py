"""Is a history that breaks its own rules refused before any code sees it, and is what one leaves open known?"""

import pytest

from engine.errors import HistoryCorrupted
from engine.model.events import (
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    AnyEvent,
    CarriedMessage,
    ExternalEventReceived,
    ExternalSubscribed,
    ExternalSubscriptionCancelled,
    OrchestrationCancelled,
    OrchestrationCancelRequested,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
    OrchestrationStarted,
    QueueMessageReceived,
    QueueSubscribed,
    QueueSubscriptionCancelled,
    SubOrchestrationCancelRequested,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    SubOrchestrationScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from engine.model.failure import Category
from engine.model.payload import NULL
from engine.model.turn import Disposition, TurnResult
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.history import open_work, require_well_formed
from engine.replay.turn import Held, Waiting
from tests.replay.given import LIFE, Instance, StoredHistory, boom, payload
from tests.upstream import upstream

T = 1_700_000_000_000


def started(event_id: int = 1) -> OrchestrationStarted:
    return OrchestrationStarted(
        event_id=event_id, timestamp_ms=T, name="calls", version="1.0.0", input=NULL, incarnation=LIFE
    )


def scheduled(event_id: int, name: str = "a") -> ActivityScheduled:
    return ActivityScheduled(event_id=event_id, timestamp_ms=T, name=name, input=NULL)


def completed(event_id: int, source: int) -> ActivityCompleted:
    return ActivityCompleted(event_id=event_id, timestamp_ms=T, source_event_id=source, result=NULL)


def ended(event_id: int) -> OrchestrationCompleted:
    return OrchestrationCompleted(event_id=event_id, timestamp_ms=T, output=NULL)


def asked_to_end(event_id: int) -> OrchestrationCancelRequested:
    return OrchestrationCancelRequested(event_id=event_id, timestamp_ms=T, reason="r")


def timer(event_id: int) -> TimerCreated:
    return TimerCreated(event_id=event_id, timestamp_ms=T, fire_at_ms=T)


def fired(event_id: int, source: int) -> TimerFired:
    return TimerFired(event_id=event_id, timestamp_ms=T, source_event_id=source)


def child(event_id: int) -> SubOrchestrationScheduled:
    return SubOrchestrationScheduled(event_id=event_id, timestamp_ms=T, name="c", instance="c1", input=NULL)


def child_completed(event_id: int, source: int) -> SubOrchestrationCompleted:
    return SubOrchestrationCompleted(event_id=event_id, timestamp_ms=T, source_event_id=source, result=NULL)


def activity_taken_back(event_id: int, source: int) -> ActivityCancelRequested:
    return ActivityCancelRequested(event_id=event_id, timestamp_ms=T, source_event_id=source, reason="r")


def child_taken_back(event_id: int, source: int) -> SubOrchestrationCancelRequested:
    return SubOrchestrationCancelRequested(event_id=event_id, timestamp_ms=T, source_event_id=source, reason="r")


BROKEN: dict[str, tuple[list[AnyEvent], str]] = {
    "empty": ([], "expected a history to begin with OrchestrationStarted, but it is empty"),
    "start missing": ([scheduled(1)], "but it begins with ActivityScheduled"),
    "start late": ([scheduled(1), started(2)], "but it begins with ActivityScheduled"),
    "start twice": ([started(), started(2)], "expected one OrchestrationStarted, but event 2 is another"),
    "first id is 0": ([started(0)], "expected event 1, but OrchestrationStarted has event id 0"),
    "gap": ([started(), scheduled(3)], "expected event 2, but ActivityScheduled has event id 3"),
    "repetition": ([started(), scheduled(2), completed(2, 2)], "expected event 3, but"),
    "backwards": ([started(), scheduled(2), completed(1, 2)], "expected event 3, but"),
    "answer without ask": ([started(), completed(2, 9)], "no event 9 before it asked for one"),
    "answer before ask": ([started(), completed(2, 3), scheduled(3)], "no event 3 before it"),
    "timer fires before it is made": ([started(), fired(2, 3), timer(3)], "no event 3 before it"),
    "answer to itself": ([started(), completed(2, 2)], "no event 2 before it"),
    "answer of another kind": ([started(), timer(2), completed(3, 2)], "but event 2 is TimerCreated"),
    "timer of an activity": ([started(), scheduled(2), fired(3, 2)], "but event 2 is ActivityScheduled"),
    "child of an activity": (
        [started(), scheduled(2), child_completed(3, 2)],
        "to answer SubOrchestrationScheduled, but event 2 is ActivityScheduled",
    ),
    "two answers": ([started(), scheduled(2), completed(3, 2), completed(4, 2)], "expected one answer to"),
    "answer and failure": (
        [
            started(),
            scheduled(2),
            completed(3, 2),
            ActivityFailed(event_id=4, timestamp_ms=T, source_event_id=2, failure=boom()),
        ],
        "expected one answer to ActivityScheduled (event 2)",
    ),
    "child answers twice": (
        [started(), child(2), child_completed(3, 2), child_completed(4, 2)],
        "expected one answer to SubOrchestrationScheduled (event 2)",
    ),
    "child answers and fails": (
        [
            started(),
            child(2),
            child_completed(3, 2),
            SubOrchestrationFailed(event_id=4, timestamp_ms=T, source_event_id=2, failure=boom()),
        ],
        "expected one answer to SubOrchestrationScheduled (event 2)",
    ),
    "activity taken back twice": (
        [started(), scheduled(2), activity_taken_back(3, 2), activity_taken_back(4, 2)],
        "expected one answer to ActivityScheduled (event 2)",
    ),
    "child taken back twice": (
        [started(), child(2), child_taken_back(3, 2), child_taken_back(4, 2)],
        "expected one answer to SubOrchestrationScheduled (event 2)",
    ),
    "answer after it was taken back": (
        [started(), scheduled(2), activity_taken_back(3, 2), completed(4, 2)],
        "expected one answer to ActivityScheduled (event 2)",
    ),
    "timer fires twice": ([started(), timer(2), fired(3, 2), fired(4, 2)], "expected one answer to TimerCreated"),
    "timer fires after its cancel": (
        [started(), timer(2), TimerCancelled(event_id=3, timestamp_ms=T, source_event_id=2), fired(4, 2)],
        "expected one answer to TimerCreated",
    ),
    "cancel of nothing": (
        [started(), ActivityCancelRequested(event_id=2, timestamp_ms=T, source_event_id=7, reason="r")],
        "no event 7 before it",
    ),
    "goes on after completion": ([started(), ended(2), scheduled(3)], "to be last, but it is followed by 1 more"),
    "goes on after failure": (
        [started(), OrchestrationFailed(event_id=2, timestamp_ms=T, failure=boom()), scheduled(3)],
        "expected OrchestrationFailed (event 2) to be last",
    ),
    "goes on after cancellation": (
        [started(), OrchestrationCancelled(event_id=2, timestamp_ms=T, reason="r"), scheduled(3)],
        "expected OrchestrationCancelled (event 2) to be last",
    ),
    "goes on after continuing as new": (
        [started(), OrchestrationContinuedAsNew(event_id=2, timestamp_ms=T, input=NULL), scheduled(3)],
        "expected OrchestrationContinuedAsNew (event 2) to be last",
    ),
    "ends twice": ([started(), ended(2), ended(3)], "to be last"),
    "cancelled after its end": ([started(), ended(2), asked_to_end(3)], "to be last"),
    "cancelled twice": ([started(), asked_to_end(2), asked_to_end(3)], "expected one OrchestrationCancelRequested"),
}


@orchestration
async def calls(ctx: OrchestrationContext) -> None:
    raise AssertionError("code saw a corrupted history")


@pytest.mark.parametrize("case", BROKEN)
@upstream("replay_engine/history_corruption", "empty_history")
@upstream(
    "replay_engine/history_corruption",
    "event_id_zero",
    differs="Event ids count from 1; a history that begins with another counts as corrupted.",
)
def test_a_broken_history_is_refused_and_the_message_says_where(case: str) -> None:
    history, message = BROKEN[case]
    with pytest.raises(HistoryCorrupted) as refused:
        require_well_formed(history)
    assert message in str(refused.value)


@pytest.mark.parametrize("case", [case for case, (history, _) in BROKEN.items() if history and history[-1].event_id])
@upstream(
    "replay_engine/history_corruption",
    "missing_started_event",
    "started_not_first",
    "timer_fired_before_created",
    "activity_completed_before_scheduled",
    differs="The instance is held, not failed.",
)
@upstream(
    "replay_engine/history_corruption",
    "event_id_gap",
    "non_monotonic_event_ids",
    "multiple_terminal_events",
    "events_after_terminal",
    "cancel_after_completed",
    differs="The history counts as corrupted: the instance is held and no code runs.",
)
@upstream(
    "replay_engine/event_allocation",
    "allocation_with_gaps",
    differs="The history counts as corrupted: the instance is held and no code runs.",
)
@upstream(
    "replay_engine/nondeterminism",
    "activity_completed_for_timer_in_history",
    "timer_completion_for_closed_schedule",
    "sub_orch_completion_for_closed_schedule",
    "activity_completion_for_closed_schedule",
    "activity_failed_for_closed_schedule",
    "sub_orch_failed_for_closed_schedule",
    differs="The history counts as corrupted: the instance is held and no code runs.",
)
@upstream(
    "replay_engine/unobserved_futures",
    "duplicate_activity_cancel_requested_is_benign",
    "duplicate_sub_orch_cancel_requested_is_benign",
    differs="The history counts as corrupted: the instance is held and no code runs.",
)
def test_a_broken_history_holds_the_instance_and_no_code_runs(case: str) -> None:
    outcome = Instance(calls, history=BROKEN[case][0]).turn(Instance.raised("go"))
    assert isinstance(outcome, Held)
    assert outcome.failure.category is Category.INFRASTRUCTURE
    assert outcome.failure.type == "HistoryCorrupted"


def test_a_history_that_cannot_be_decoded_holds_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    def undecodable(self: StoredHistory) -> list[AnyEvent]:
        raise HistoryCorrupted("expected an event, but bytes 3 to 9 are none")

    monkeypatch.setattr(StoredHistory, "load", undecodable)
    outcome = Instance(calls, history=[started()]).turn(Instance.raised("go"))
    assert isinstance(outcome, Held)
    assert outcome.failure.message == "expected an event, but bytes 3 to 9 are none"


@pytest.mark.parametrize("text", ["ünïcode ☃", "", "x" * 10_000, 'quo"te\\', "\u0000"])
def test_odd_texts_are_no_corruption(text: str) -> None:
    require_well_formed([started(), scheduled(2, text), completed(3, 2)])


@pytest.mark.parametrize("text", ["Grüß Gott 🎉 日本語", "x" * 10_000, "tab\tand\r\nnewline", 'quo"te\\', "nul\u0000"])
@upstream("replay_engine/history_corruption", "unicode_in_names", "very_long_strings", "special_characters")
def test_odd_texts_are_names_inputs_and_results_like_others(text: str) -> None:
    @orchestration
    async def echoes(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(text, text, output=str)

    instance = Instance(echoes, keep=False)
    (item,) = instance.start().work_items
    assert (item.name, item.input) == (text, payload(text))
    instance.give(instance.completed(2, text))
    assert instance.output == text


@pytest.mark.parametrize(
    "end",
    [
        ended(2),
        OrchestrationFailed(event_id=2, timestamp_ms=T, failure=boom()),
        OrchestrationCancelled(event_id=2, timestamp_ms=T, reason="r"),
    ],
    ids=["completed", "failed", "cancelled"],
)
@upstream("replay_engine/history_corruption", "terminal_completed", "terminal_failed")
@upstream("errors_tests", "event_after_completion_is_ignored_fs")
def test_behind_the_end_no_code_runs_and_nothing_is_recorded(end: AnyEvent) -> None:
    instance = Instance(calls, history=[started(), end])
    result = instance.give(instance.raised("go"), instance.cancelled("too late"), instance.completed(2))
    assert result == TurnResult(execution_id=1, dispositions=(Disposition.STALE,) * 3)


@upstream("replay_engine/history_corruption", "terminal_continued_as_new")
def test_behind_a_continue_as_new_no_code_runs_before_the_next_start_is_there() -> None:
    end = OrchestrationContinuedAsNew(event_id=2, timestamp_ms=T, input=NULL)
    outcome = Instance(calls, history=[started(), end]).turn(Instance.raised("go"), Instance.cancelled())
    assert isinstance(outcome, Waiting)


def test_two_activities_of_one_name_and_input_are_two() -> None:
    require_well_formed([started(), scheduled(2), scheduled(3), completed(4, 3), completed(5, 2)])


def subscribed(event_id: int, name: str) -> ExternalSubscribed:
    return ExternalSubscribed(event_id=event_id, timestamp_ms=T, name=name)


def received(event_id: int, name: str) -> ExternalEventReceived:
    return ExternalEventReceived(event_id=event_id, timestamp_ms=T, name=name, data=NULL)


def reader(event_id: int, name: str) -> QueueSubscribed:
    return QueueSubscribed(event_id=event_id, timestamp_ms=T, name=name)


def message(event_id: int, name: str) -> QueueMessageReceived:
    return QueueMessageReceived(event_id=event_id, timestamp_ms=T, name=name, data=NULL)


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([scheduled(2), scheduled(3), completed(4, 2)], [3]),
        ([timer(2), timer(3), TimerCancelled(event_id=4, timestamp_ms=T, source_event_id=2)], [3]),
        ([subscribed(2, "a"), subscribed(3, "b"), subscribed(4, "a"), received(5, "a")], [3, 4]),
        ([received(2, "a"), subscribed(3, "a")], [3]),
        (
            [
                subscribed(2, "a"),
                subscribed(3, "a"),
                ExternalSubscriptionCancelled(event_id=4, timestamp_ms=T, source_event_id=2, reason="r"),
                received(5, "a"),
            ],
            [],
        ),
        ([message(2, "q"), reader(3, "q"), reader(4, "q")], [4]),
        (
            [
                message(2, "q"),
                reader(3, "q"),
                reader(4, "q"),
                QueueSubscriptionCancelled(event_id=5, timestamp_ms=T, source_event_id=3, reason="r"),
            ],
            [],
        ),
    ],
    ids=["activity", "timer", "waits", "early event", "cancelled wait", "queue", "message given back"],
)
def test_what_a_history_leaves_open_is_known_from_it_alone(events: list[AnyEvent], left: list[int]) -> None:
    assert [work.event_id for work in open_work([started(), *events])] == left


def test_carried_messages_serve_readers_first() -> None:
    first = OrchestrationStarted(
        event_id=1,
        timestamp_ms=T,
        name="calls",
        version="1.0.0",
        input=NULL,
        incarnation=LIFE,
        carried=(CarriedMessage("q", NULL),),
    )
    assert [work.event_id for work in open_work([first, reader(2, "q"), reader(3, "q")])] == [3]


def test_open_children_are_known() -> None:
    assert open_work([started(), child(2)]) == [child(2)]
