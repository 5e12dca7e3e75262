"""Which properties has the history of every orchestration that calls activities one after another?"""

from hypothesis import given
from hypothesis import strategies as st

from engine import OrchestrationContext, orchestration
from engine.model.events import ActivityCompleted, ActivityScheduled, ExecutionEnd, OrchestrationStarted
from engine.testing import ScenarioOutcome, run
from tests.upstream import upstream

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,20}", fullmatch=True)
INPUTS = st.from_regex(r"[a-z0-9]{0,10}", fullmatch=True)
COUNTS = st.integers(0, 4)


def done(text: str) -> str:
    """Any of the activities."""
    return f"done {text}"


def outcome_of(name: str, given_input: str, count: int) -> ScenarioOutcome[str]:
    """What comes of an orchestration of that name that calls so many activities."""

    @orchestration(name=name)
    async def calls(ctx: OrchestrationContext, text: str) -> str:
        for number in range(count):
            await ctx.schedule_activity(f"activity {number}", text)
        return text

    stand_ins = {f"activity {number}": done for number in range(count)}
    return run(calls, given_input, activities=stand_ins)


@given(NAMES, INPUTS, COUNTS)
@upstream("property_tests", "prop_event_ids_monotonic", "prop_history_event_count_bounds", "prop_single_terminal_state")
def test_events_are_numbered_in_order_and_there_is_one_end(name: str, given_input: str, count: int) -> None:
    outcome = outcome_of(name, given_input, count)
    assert outcome.output == given_input
    assert [event.event_id for event in outcome.history] == list(range(1, 2 * count + 3))
    assert isinstance(outcome.history[0], OrchestrationStarted)
    ends = [event for event in outcome.history if isinstance(event, ExecutionEnd)]
    assert ends == [outcome.history[-1]]


@given(NAMES, INPUTS, COUNTS)
@upstream("property_tests", "prop_activity_lifecycle")
def test_each_activity_that_was_asked_for_has_one_answer(name: str, given_input: str, count: int) -> None:
    history = outcome_of(name, given_input, count).history
    asked = [event.event_id for event in history if isinstance(event, ActivityScheduled)]
    answered = [event.source_event_id for event in history if isinstance(event, ActivityCompleted)]
    assert len(asked) == count
    assert answered == asked
