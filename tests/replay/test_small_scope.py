"""Is every short sequence of arrivals given out right, whatever races for it: to the code, in a replay, and in a batch?

All races of two and three kinds of waiting, in two rounds, meet all sequences of three arrivals. What should come of
each is worked out beside the engine, by the rules of `Race`.
"""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from engine.model.messages import AnyMessage, ContinueInstance
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.testing import replay
from tests.replay.given import CONVERTER, Instance
from tests.upstream import upstream

ROUNDS = 2
ARRIVALS = 3
KINDS = ("q", "q2", "signal", "timer", "activity", "child")
RACES = [arms for size in (2, 3) for arms in itertools.combinations(KINDS, size)]

ASKED = {"timer": "TimerCreated", "activity": "ActivityScheduled", "child": "SubOrchestrationScheduled"}


def ask(ctx: OrchestrationContext, kind: str) -> Any:
    match kind:
        case "signal":
            return ctx.wait_event("signal")
        case "timer":
            return ctx.schedule_timer(timedelta(seconds=1))
        case "activity":
            return ctx.schedule_activity("a")
        case "child":
            return ctx.schedule_sub_orchestration("c")
        case queue:
            return ctx.dequeue(queue)


@orchestration
async def races(ctx: OrchestrationContext, arms: list[str]) -> None:
    for _ in range(ROUNDS):
        won = await ctx.select(*(ask(ctx, kind) for kind in arms))
        ctx.set_custom_status(f"{ctx.custom_status or ''} {arms[won.index]}={won.value}")
    await ctx.wait_event("end")
    return ctx.continue_as_new(arms)


class Race:
    """The rules: a message waits in its queue, a signal is for who waits now, an answer for who asked; first come."""

    def __init__(self, arms: Sequence[str]) -> None:
        self.arms = arms
        self.won: list[str] = []
        self.queues: dict[str, list[int]] = {"q": [], "q2": []}
        self.unread: list[tuple[str, int]] = []

    @property
    def is_open(self) -> bool:
        return len(self.won) < ROUNDS

    def arrives(self, kind: str, number: int) -> None:
        if kind in self.queues:
            self.queues[kind].append(number)
            self.unread.append((kind, number))
            self._read()
        elif kind in self.arms and self.is_open:
            self.won.append(f"{kind}={None if kind == 'timer' else number}")
            self._read()

    def _read(self) -> None:
        """Whoever waits for a queue takes from it at once; of two queues, the one that was asked for first."""
        while self.is_open:
            queue = next((kind for kind in self.arms if self.queues.get(kind)), None)
            if queue is None:
                return
            number = self.queues[queue].pop(0)
            self.unread.remove((queue, number))
            self.won.append(f"{queue}={number}")


def message(instance: Instance, kind: str, number: int) -> AnyMessage | None:
    """What arrives; None if nobody has asked for an answer of this kind, or somebody took the question back."""
    if kind == "signal":
        return instance.raised("signal", number)
    if kind not in ASKED:
        return instance.enqueued(kind, number, f"m{number}")
    assert instance.live is not None
    asked = [work.event_id for work in instance.live.ledger.open.values() if type(work).__name__ == ASKED[kind]]
    if not asked:
        return None
    if kind == "timer":
        return instance.fired(asked[0])
    return (instance.completed if kind == "activity" else instance.child_completed)(asked[0], number)


def unread_of(sent: ContinueInstance) -> list[tuple[str, object]]:
    return [(carried.name, CONVERTER.decode(carried.data, object, "carried")) for carried in sent.carried]


@pytest.mark.parametrize("arms", RACES, ids="-".join)
@upstream(
    "cancellation_corner_cases",
    "exhaustive_small_scope_queue_race_orders",
    "exhaustive_signal_slot_family_orders",
    "q2_first_dequeue_wins_dropped_sibling_preserves_second_message",
    "q4_cross_queue_cancellations_are_independent",
    "q7_queue_activity_timer_cancellation",
    "q8_queue_child_completion_same_batch",
    "t1_timer_loser_does_not_consume_queue_arrival",
    "continue_as_new_exact_unread_positions_preserve_cross_name_arrival_order",
    "ms13_held_and_nonprefix_continue_as_new_carry_exact_unread_positions",
)
@upstream(
    "cancellation_corner_cases",
    "positional_s1_same_batch_preserves_bound_slot_signal_contract",
    "positional_s2_two_waits_timer_same_batch_preserves_policy",
    "positional_s3_signal_queue_timer_same_batch_preserves_policy",
    "s4_signal_before_subscription_is_dropped_consistently",
    differs="Messages are looked at one by one: what was asked for in answer to one is open when the next comes.",
)
def test_every_sequence_of_three_arrivals_has_one_outcome(arms: tuple[str, ...]) -> None:
    for sequence in itertools.product(dict.fromkeys((*arms, "q")), repeat=ARRIVALS):
        rules, one_by_one = Race(arms), Instance(races)
        one_by_one.start(list(arms))
        given: list[AnyMessage] = []
        for number, kind in enumerate(sequence):
            arrival = message(one_by_one, kind, number)
            if arrival is not None:
                given.append(arrival)
                one_by_one.give(arrival)
                rules.arrives(kind, number)
        assert one_by_one.live is not None
        shown = one_by_one.live.ledger.custom_status
        assert (shown or "").split() == rules.won, sequence

        together = Instance(races, keep=False)
        together.start(list(arms))
        together.give(*given)
        assert together.history == one_by_one.history, sequence
        replay(races, together.history, instance="i")

        if not rules.is_open:
            (sent,) = one_by_one.give(one_by_one.raised("end")).messages
            assert isinstance(sent, ContinueInstance)
            assert unread_of(sent) == rules.unread, sequence
