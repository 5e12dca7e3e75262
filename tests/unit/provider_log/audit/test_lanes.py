"""Which lanes and spans does a history have?"""

from engine.model.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    AnyEvent,
    CarriedMessage,
    CustomStatusUpdated,
    ExternalEventReceived,
    ExternalSubscribed,
    ExternalSubscriptionCancelled,
    OrchestrationChained,
    OrchestrationCompleted,
    OrchestrationStarted,
    QueueMessageReceived,
    QueueSubscribed,
    QueueSubscriptionCancelled,
    SubOrchestrationCancelRequested,
    SubOrchestrationFailed,
    SubOrchestrationScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from engine.model.failure import Category, Failure
from engine.model.payload import Payload
from provider_log.audit.lanes import Kind, Outcome, lanes_of

ADA = Payload(b'"Ada"')
BROKEN = Failure(category=Category.APPLICATION, type="ValueError", message="no")
STARTED = OrchestrationStarted(event_id=1, timestamp_ms=0, name="hello", version="1.0.0", input=ADA, incarnation=7)


def seen(*events: AnyEvent) -> list[tuple[Kind, str, list[tuple[int, int, Outcome]]]]:
    """Lanes without the first, as kind, name and spans."""
    lanes = lanes_of([STARTED, *events])[1:]
    return [(lane.kind, lane.name, [(s.from_ms, s.until_ms, s.outcome) for s in lane.spans]) for lane in lanes]


def test_no_events_have_no_lanes() -> None:
    assert lanes_of([]) == []


def test_the_first_lane_is_the_orchestration_from_start_to_end() -> None:
    [own] = lanes_of([STARTED, OrchestrationCompleted(event_id=2, timestamp_ms=90, output=ADA)])

    assert own.name == "hello"
    assert own.spans[0][:4] == (1, 0, 90, Outcome.DONE)
    assert own.spans[0].said == (
        'event 1: OrchestrationStarted hello ← "Ada"',
        'event 2: OrchestrationCompleted → "Ada"',
    )


def test_an_orchestration_that_still_runs_is_open() -> None:
    assert lanes_of([STARTED])[0].spans[0].outcome is Outcome.OPEN


def test_an_activity_lasts_from_being_asked_for_to_its_answer() -> None:
    assert seen(
        ActivityScheduled(event_id=2, timestamp_ms=10, name="greet", input=ADA),
        ActivityCompleted(event_id=3, timestamp_ms=40, source_event_id=2, result=ADA),
    ) == [(Kind.ACTIVITY, "greet", [(10, 40, Outcome.DONE)])]


def test_tries_of_one_activity_share_a_lane_and_calls_at_once_do_not() -> None:
    tried = [
        ActivityScheduled(event_id=2, timestamp_ms=10, name="greet", input=ADA),
        ActivityFailed(event_id=3, timestamp_ms=20, source_event_id=2, failure=BROKEN),
        ActivityScheduled(event_id=4, timestamp_ms=20, name="greet", input=ADA),
        ActivityScheduled(event_id=5, timestamp_ms=25, name="greet", input=ADA),
        ActivityCompleted(event_id=6, timestamp_ms=30, source_event_id=4, result=ADA),
    ]

    assert seen(*tried) == [
        (Kind.ACTIVITY, "greet", [(10, 20, Outcome.FAILED), (20, 30, Outcome.DONE)]),
        (Kind.ACTIVITY, "greet", [(25, 30, Outcome.OPEN)]),
    ]


def test_a_lane_of_one_span_says_its_input_and_a_lane_of_many_how_many() -> None:
    one = ActivityScheduled(event_id=2, timestamp_ms=10, name="greet", input=ADA)
    timers = [
        TimerCreated(event_id=3, timestamp_ms=10, fire_at_ms=20),
        TimerFired(event_id=4, timestamp_ms=20, source_event_id=3),
        TimerCreated(event_id=5, timestamp_ms=20, fire_at_ms=30),
    ]

    assert [lane.about for lane in lanes_of([STARTED, one, *timers])] == ["", '"Ada"', "× 2"]


def test_a_cancelled_timer_ends_when_it_was_taken_back() -> None:
    assert seen(
        TimerCreated(event_id=2, timestamp_ms=5, fire_at_ms=9_000),
        TimerCancelled(event_id=3, timestamp_ms=60, source_event_id=2),
    ) == [(Kind.TIMER, "timer", [(5, 60, Outcome.CANCELLED)])]


def test_a_child_that_was_told_to_end_stays_cancelled_whatever_it_answers() -> None:
    assert seen(
        SubOrchestrationScheduled(event_id=2, timestamp_ms=5, name="child", instance="a::sub::2", input=ADA),
        SubOrchestrationCancelRequested(event_id=3, timestamp_ms=50, source_event_id=2, reason="lost"),
        SubOrchestrationFailed(event_id=4, timestamp_ms=70, source_event_id=2, failure=BROKEN),
    ) == [(Kind.CHILD, "a::sub::2", [(5, 50, Outcome.CANCELLED)])]


def test_an_external_event_ends_the_oldest_open_wait_of_its_name() -> None:
    assert seen(
        ExternalSubscribed(event_id=2, timestamp_ms=5, name="go"),
        ExternalSubscribed(event_id=3, timestamp_ms=5, name="go"),
        ExternalSubscriptionCancelled(event_id=4, timestamp_ms=10, source_event_id=2, reason="lost"),
        ExternalEventReceived(event_id=5, timestamp_ms=30, name="go", data=ADA),
    ) == [
        (Kind.EVENT, "go", [(5, 10, Outcome.CANCELLED)]),
        (Kind.EVENT, "go", [(5, 30, Outcome.DONE)]),
    ]


def test_an_external_event_that_nobody_waited_for_is_a_moment_and_says_so() -> None:
    [_, unheard] = lanes_of([STARTED, ExternalEventReceived(event_id=2, timestamp_ms=30, name="go", data=ADA)])

    assert unheard.spans[0][:4] == (2, 30, 30, Outcome.CANCELLED)
    assert unheard.spans[0].said[-1] == "nobody waited for it"


def test_a_queue_message_waits_until_it_is_asked_for() -> None:
    assert seen(
        QueueMessageReceived(event_id=2, timestamp_ms=5, name="orders", data=ADA),
        QueueSubscribed(event_id=3, timestamp_ms=40, name="orders"),
        QueueSubscribed(event_id=4, timestamp_ms=45, name="orders"),
        OrchestrationCompleted(event_id=5, timestamp_ms=90, output=ADA),
    ) == [(Kind.QUEUE, "orders", [(40, 40, Outcome.DONE), (45, 90, Outcome.OPEN)])]


def test_a_queue_message_that_came_too_late_to_be_read_goes_to_the_next_who_asks() -> None:
    assert seen(
        QueueSubscribed(event_id=2, timestamp_ms=5, name="orders"),
        QueueMessageReceived(event_id=3, timestamp_ms=20, name="orders", data=ADA),
        QueueSubscriptionCancelled(event_id=4, timestamp_ms=20, source_event_id=2, reason="lost"),
        QueueSubscribed(event_id=5, timestamp_ms=30, name="orders"),
        OrchestrationCompleted(event_id=6, timestamp_ms=50, output=ADA),
    ) == [(Kind.QUEUE, "orders", [(5, 20, Outcome.CANCELLED), (30, 30, Outcome.DONE)])]


def test_a_message_carried_over_from_the_execution_before_is_there_at_once() -> None:
    started = OrchestrationStarted(
        event_id=1,
        timestamp_ms=0,
        name="hello",
        version="1.0.0",
        input=ADA,
        incarnation=7,
        carried=(CarriedMessage("orders", ADA),),
    )
    asked = QueueSubscribed(event_id=2, timestamp_ms=3, name="orders")

    assert lanes_of([started, asked])[1].spans[0][:4] == (2, 3, 3, Outcome.DONE)


def test_a_status_is_shown_until_the_next_one() -> None:
    events = [
        STARTED,
        CustomStatusUpdated(event_id=2, timestamp_ms=10, status="packing"),
        CustomStatusUpdated(event_id=3, timestamp_ms=30, status=None),
        CustomStatusUpdated(event_id=4, timestamp_ms=50, status="sent"),
        OrchestrationCompleted(event_id=5, timestamp_ms=90, output=ADA),
    ]

    assert [(span.from_ms, span.until_ms, span.said) for span in lanes_of(events)[1].spans] == [
        (10, 30, ("packing",)),
        (50, 90, ("sent",)),
    ]


def test_a_detached_start_is_a_moment() -> None:
    chained = OrchestrationChained(event_id=2, timestamp_ms=8, name="watch", instance="watch-1", input=ADA)

    assert seen(chained, OrchestrationCompleted(event_id=3, timestamp_ms=90, output=ADA)) == [
        (Kind.DETACHED, "watch", [(8, 8, Outcome.DONE)])
    ]


def test_payloads_that_are_not_plain_json_are_not_shown() -> None:
    secret = Payload(b"\x00\x01", content_type="application/octet-stream", codecs=("aes",))
    call = ActivityScheduled(event_id=2, timestamp_ms=10, name="greet", input=secret)

    assert lanes_of([STARTED, call])[1].about == "(2 bytes of application/octet-stream)"


def test_a_long_payload_is_cut() -> None:
    call = ActivityScheduled(event_id=2, timestamp_ms=10, name="greet", input=Payload(b'"' + b"x" * 5_000 + b'"'))

    assert len(lanes_of([STARTED, call])[1].about) == 160
