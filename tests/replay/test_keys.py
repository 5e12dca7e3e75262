"""Does an instance keep what its code puts under keys, and does a replay see what the first run saw?"""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.errors import UsageError
from engine.model.events import (
    AnyEvent,
    KeptKey,
    KeysRead,
    KeyValueCleared,
    KeyValueRead,
    KeyValuesCleared,
    KeyValueSet,
)
from engine.model.key_values import KeyValue, KeyValueChange
from engine.model.payload import Payload
from engine.model.status import Status
from engine.registry import activity, orchestration
from engine.replay.bounds import TurnOptions
from engine.replay.context import OrchestrationContext
from engine.replay.turn import Held
from engine.testing import replay
from tests.replay.given import NOW_MS, Instance, StoredHistory, kinds, payload
from tests.upstream import upstream


@activity
async def step(number: int) -> int:
    return number


@orchestration
async def counter(ctx: OrchestrationContext, left: int) -> int:
    count = (ctx.get_key_value("count", int) or 0) + 1
    ctx.set_key_value("count", count)
    await ctx.schedule_activity(step, count)
    assert ctx.get_key_value("count", int) == count
    return ctx.continue_as_new(left - 1) if left else count


@orchestration
async def does(ctx: OrchestrationContext, calls: list[list[Any]]) -> list[Any]:
    """Each call is a method and its arguments; a wait stands between two of them."""
    seen: list[Any] = []
    for number, (method, *arguments) in enumerate(calls):
        seen.append(getattr(ctx, method)(*arguments))
        await ctx.schedule_activity(step, number)
    return seen


@orchestration
async def prunes(ctx: OrchestrationContext, at_ms: int) -> list[Any]:
    ctx.set_key_value("new", 1)
    pruned = ctx.prune_key_values(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms))
    return [pruned, ctx.get_keys()]


@orchestration
async def keeps_many(ctx: OrchestrationContext, count: int) -> str:
    for number in range(count):
        ctx.set_key_value(f"k{number}", "x")
    return "kept"


@orchestration
async def keeps_much(ctx: OrchestrationContext, size: int) -> str:
    ctx.set_key_value("k", "x" * (size - 2))
    return "kept"


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def run(instance: Instance, value: object) -> object:
    """Start it, answer its activities until it has ended, and return its output."""
    instance.start(value)
    while instance.status is Status.RUNNING:
        asked = max(event.event_id for event in instance.history if type(event).__name__ == "ActivityScheduled")
        instance.give(instance.completed(asked, 0))
    return instance.output


def after(began_with: dict[str, object], *, keep: bool = True) -> Instance:
    """An instance whose earlier executions left this."""
    instance = Instance(does, prunes, keep=keep)
    instance.began_with = {key: KeyValue(payload(value), NOW_MS - 1_000) for key, value in began_with.items()}
    return instance


def reads(history: list[AnyEvent]) -> list[AnyEvent]:
    return [event for event in history if isinstance(event, KeyValueRead | KeysRead)]


def test_what_an_execution_keeps_the_next_one_finds(keep: bool) -> None:
    instance = Instance(counter, keep=keep)
    instance.start(1)
    (scheduled,) = (event for event in instance.history if type(event).__name__ == "ActivityScheduled")
    result = instance.give(instance.completed(scheduled.event_id, 0))
    (message,) = result.messages
    assert instance.status is Status.CONTINUED_AS_NEW
    instance.give(message)
    (scheduled,) = (event for event in instance.history if type(event).__name__ == "ActivityScheduled")
    instance.give(instance.completed(scheduled.event_id, 0))
    assert instance.output == 2
    assert {key: kept.value for key, kept in instance.began_with.items()} == {"count": Payload(b"2")}


def test_a_replay_needs_the_history_alone(keep: bool) -> None:
    instance = after({"a": 1, "b": 2}, keep=keep)
    calls = [["get_key_value", "a"], ["get_key_values"], ["clear_key_value", "a"], ["get_keys"], ["get_key_value", "c"]]
    assert run(instance, calls) == [1, {"a": 1, "b": 2}, None, ["b"], None]
    replay(does, instance.history)  # in a world where the store has nothing


def test_what_was_read_is_recorded_once() -> None:
    instance = after({"a": 1, "b": 2})
    calls = [["get_key_value", "a"], ["get_key_value", "a"], ["get_keys"], ["get_key_values"], ["get_keys"]]
    run(instance, calls)
    first, listed, second = reads(instance.history)
    assert isinstance(first, KeyValueRead)
    assert isinstance(listed, KeysRead)
    assert isinstance(second, KeyValueRead)
    assert (first.key, first.value, second.key) == ("a", payload(1), "b")
    assert listed.keys == (KeptKey("a", NOW_MS - 1_000), KeptKey("b", NOW_MS - 1_000))


def test_what_an_execution_puts_there_itself_it_does_not_read() -> None:
    instance = after({"a": 1, "z": 1})
    calls = [
        ["set_key_value", "a", 2],
        ["get_key_value", "a"],
        ["clear_key_value", "a"],
        ["get_key_value", "a"],
        ["clear_key_values"],
        ["get_key_value", "z"],
        ["set_key_value", "c", 3],
        ["get_key_values"],
    ]
    assert run(instance, calls) == [None, 2, None, None, None, None, None, {"c": 3}]
    assert reads(instance.history) == []
    assert {key: kept.value for key, kept in instance.began_with.items()} == {"c": payload(3)}


@upstream("replay_engine/kv", "action_to_event_kv_variants", "new_kv_events_after_replay", "replay_kv_no_token_binding")
def test_each_call_is_an_event_and_none_makes_the_code_wait() -> None:
    @orchestration
    async def all_kinds(ctx: OrchestrationContext) -> int | None:
        ctx.set_key_value("x", "y")
        ctx.clear_key_value("z")
        ctx.clear_key_values()
        ctx.set_key_value("a", 1)
        return ctx.get_key_value("a", int)

    instance = Instance(all_kinds)
    placed = {"timestamp_ms": NOW_MS}
    assert instance.start().history_delta[1:-1] == (
        KeyValueSet(event_id=2, **placed, key="x", value=payload("y")),
        KeyValueCleared(event_id=3, **placed, key="z"),
        KeyValuesCleared(event_id=4, **placed),
        KeyValueSet(event_id=5, **placed, key="a", value=payload(1)),
    )
    assert (instance.status, instance.output) == (Status.COMPLETED, 1)


# What earlier executions left, what the code does one after the other, and what each call returns.
SCENARIOS: dict[str, tuple[dict[str, object], list[list[Any]], list[Any]]] = {
    "set and read": ({}, [["set_key_value", "a", "1"], ["get_key_value", "a"]], [None, "1"]),
    "the last set wins": (
        {},
        [["set_key_value", "a", 1], ["set_key_value", "a", 2], ["get_key_value", "a"]],
        [None, None, 2],
    ),
    "all cleared, then one set": (
        {"old": "stale"},
        [
            ["set_key_value", "a", 1],
            ["clear_key_values"],
            ["set_key_value", "b", 2],
            ["get_key_value", "a"],
            ["get_key_value", "b"],
            ["get_key_value", "old"],
        ],
        [None, None, None, None, 2, None],
    ),
    "one cleared, the other stays": (
        {},
        [
            ["set_key_value", "a", 1],
            ["set_key_value", "b", 2],
            ["clear_key_value", "a"],
            ["get_key_value", "a"],
            ["get_key_value", "b"],
        ],
        [None, None, None, None, 2],
    ),
    "left by an earlier execution": (
        {"status": "old", "config": 4},
        [["get_key_value", "status"], ["get_key_value", "config"], ["get_key_value", "absent"]],
        ["old", 4, None],
    ),
    "left by an earlier execution and set anew": (
        {"x": "old"},
        [["set_key_value", "x", "new"], ["get_key_value", "x"]],
        [None, "new"],
    ),
    "left by an earlier execution, cleared, beside one that changes": (
        {"session": "abc", "counter": 3},
        [
            ["clear_key_value", "session"],
            ["get_key_value", "counter"],
            ["set_key_value", "counter", 4],
            ["get_key_value", "session"],
            ["get_key_value", "counter"],
        ],
        [None, 3, None, None, 4],
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@upstream(
    "replay_engine/kv",
    "replay_set_value_reconstructs_state",
    "replay_multiple_sets_last_wins",
    "replay_clear_then_set",
    "replay_clear_single_key",
    "replay_set_value_matches_action",
    "replay_clear_all_values_matches_action",
    "replay_clear_value_matches_action",
    "replay_kv_interleaved_with_activities",
    "kv_get_value_same_turn",
    "kv_get_value_previous_turn",
    "kv_get_value_previous_execution",
    "kv_state_seeded_from_snapshot",
    "kv_state_snapshot_overridden_by_code",
    "kv_clear_all_then_set_replay",
    "kv_clear_single_snapshot_key_then_rmw",
)
def test_the_code_sees_what_it_did_whether_it_was_just_now_or_is_replayed(scenario: str, keep: bool) -> None:
    began_with, calls, returned = SCENARIOS[scenario]
    instance = after(began_with, keep=keep)
    assert run(instance, calls) == returned
    replay(does, instance.history)


@upstream(
    "replay_engine/kv",
    "kv_read_modify_write_across_turns_replay",
    "kv_read_modify_write_every_turn_snapshot_poisons_replay",
    "kv_read_modify_write_with_can_snapshot",
)
@pytest.mark.parametrize("before", [None, 5])
def test_a_counter_that_is_read_and_set_in_every_turn_counts_on(before: int | None, keep: bool) -> None:
    @orchestration
    async def counts(ctx: OrchestrationContext) -> int | None:
        for number in range(4):
            ctx.set_key_value("counter", (ctx.get_key_value("counter", int) or 0) + 1)
            await ctx.schedule_activity(step, number)
        return ctx.get_key_value("counter", int)

    instance = Instance(counts, keep=keep)
    if before is not None:
        instance.began_with = {"counter": KeyValue(payload(before), 5)}
    assert run(instance, None) == (before or 0) + 4
    assert len(reads(instance.history)) == 1


@upstream(
    "replay_engine/kv",
    "kv_set_timestamp_mismatch_ok",
    differs="The event holds no time of its own; a value was put there when its turn was taken.",
)
def test_a_replay_at_another_time_is_no_difference_and_the_value_keeps_its_time(keep: bool) -> None:
    @orchestration
    async def keeps(ctx: OrchestrationContext) -> None:
        ctx.set_key_value("a", 1)
        await ctx.wait_event("go")
        ctx.set_key_value("b", 2)
        await ctx.wait_event("go")

    instance = Instance(keeps, keep=keep)
    instance.start()
    instance.now_ms += 60_000
    instance.give(instance.raised("go"))
    assert instance.changed == {"a": KeyValue(payload(1), NOW_MS), "b": KeyValue(payload(2), NOW_MS + 60_000)}


def test_a_turn_says_its_changes_in_order() -> None:
    instance = Instance(keeps_many)
    result = instance.start(2)
    assert result.key_values == (KeyValueChange("k0", payload("x")), KeyValueChange("k1", payload("x")))
    instance = after({})
    assert instance.start([["clear_key_values"], ["clear_key_value", ""]]).key_values == (KeyValueChange(),)


@upstream("replay_engine/kv", "prune_and_key_listing_use_key_order_and_accept_recorded_clear_order")
def test_old_keys_are_pruned_in_order() -> None:
    instance = Instance(prunes)
    instance.began_with = {key: KeyValue(payload(1), at_ms) for key, at_ms in (("b", 5), ("a", 6), ("c", 7))}
    instance.start(7)
    assert instance.output == [2, ["c", "new"]]
    assert [event.key for event in instance.history if isinstance(event, KeyValueCleared)] == ["a", "b"]


@pytest.mark.parametrize(
    ("count", "size", "sentence"), [(3, 10, "at most 2 keys, but it has 3"), (1, 11, "at most 10 bytes")]
)
def test_a_key_or_a_byte_too_many_fails_the_instance(count: int, size: int, sentence: str) -> None:
    options = TurnOptions(keys_max=2, key_value_bytes_max=10)
    for code, value, is_in_bounds in ((keeps_many, count, count <= 2), (keeps_much, size, size <= 10)):
        instance = Instance(code, options=options)
        result = instance.start(value)
        if is_in_bounds:
            assert instance.output == "kept"
            continue
        assert (instance.status, result.key_values) == (Status.FAILED, ())
        failure = result.metadata.failure
        assert failure is not None
        assert sentence in failure.message


def test_keys_of_earlier_executions_count() -> None:
    instance = Instance(keeps_many, options=TurnOptions(keys_max=2))
    instance.began_with = {key: KeyValue(payload(1), 5) for key in ("k0", "other")}
    assert instance.start(1).metadata.status is Status.COMPLETED
    instance = Instance(keeps_many, options=TurnOptions(keys_max=2))
    instance.began_with = {key: KeyValue(payload(1), 5) for key in ("one", "other")}
    assert instance.start(1).metadata.status is Status.FAILED


@pytest.mark.parametrize("key", ["x" * 1_025, "\ud800", 5])
def test_what_is_no_key_is_refused_where_it_is_given(key: Any) -> None:
    @orchestration
    async def gives(ctx: OrchestrationContext) -> str:
        with pytest.raises(UsageError, match="expected a key"):
            ctx.get_key_value(key)
        with pytest.raises(UsageError, match="expected a key"):
            ctx.clear_key_value(key)
        with pytest.raises(UsageError, match="expected a key"):
            ctx.set_key_value(key, 1)
        return "refused"

    instance = Instance(gives)
    assert kinds(instance.start().history_delta) == ["OrchestrationStarted", "OrchestrationCompleted"]


def test_an_instant_without_a_zone_is_refused() -> None:
    @orchestration
    async def gives(ctx: OrchestrationContext) -> str:
        with pytest.raises(UsageError, match="with its time zone"):
            ctx.prune_key_values(datetime(2026, 1, 1))  # noqa: DTZ001  # which is the point
        return "refused"

    assert Instance(gives).start().metadata.status is Status.COMPLETED


@pytest.mark.parametrize(
    ("recorded", "asked", "expected", "found"),
    [
        (["set_key_value", "a", 1], ["set_key_value", "a", 2], "KeyValueSet(key='a', value=1)", "value=2"),
        (["set_key_value", "a", 1], ["set_key_value", "b", 1], "KeyValueSet(key='a', value=1)", "key='b'"),
        (["clear_key_value", "a"], ["clear_key_value", "b"], "KeyValueCleared(key='a')", "KeyValueCleared(key='b')"),
        (["clear_key_value", "a"], ["utc_now"], "KeyValueCleared(key='a')", "ActivityScheduled"),
        (["set_key_value", "a", 1], ["clear_key_value", "a"], "KeyValueSet", "KeyValueCleared(key='a')"),
        (["get_key_value", "a"], ["get_key_value", "b"], "KeyValueRead(key='a')", "KeyValueRead(key='b')"),
        (["clear_key_values"], ["get_keys"], "KeyValuesCleared()", "KeysRead()"),
        (["set_key_value", "a", 1], ["utc_now"], "KeyValueSet", "ActivityScheduled"),
    ],
)
@upstream(
    "replay_engine/kv",
    "replay_set_value_mismatch_nondeterminism",
    "replay_clear_value_mismatch_nondeterminism",
    "kv_set_key_mismatch_nondeterminism",
    "kv_set_value_mismatch_nondeterminism",
    "kv_clear_key_mismatch_nondeterminism",
    differs="The instance is held, not failed.",
)
def test_code_that_does_something_else_with_its_keys_is_held(
    recorded: list[Any], asked: list[Any], expected: str, found: str
) -> None:
    @orchestration(name="changing")
    async def before(ctx: OrchestrationContext) -> None:
        getattr(ctx, recorded[0])(*recorded[1:])
        await ctx.schedule_activity(step, 1)

    @orchestration(name="changing")
    async def now(ctx: OrchestrationContext) -> None:
        getattr(ctx, asked[0])(*asked[1:])
        await ctx.schedule_activity(step, 1)

    first = Instance(before)
    first.start()
    second = Instance(now, history=first.history)
    outcome = second.turn(second.completed(3, 1))
    assert isinstance(outcome, Held)
    assert f"event 2: expected {expected}" in outcome.failure.message
    assert found in outcome.failure.message.partition("but")[2]


def test_a_value_is_given_as_the_type_that_is_asked_for() -> None:
    @orchestration
    async def typed(ctx: OrchestrationContext) -> str:
        ctx.set_key_value("k", {"a": 1})
        assert ctx.get_key_value("k", dict[str, int]) == {"a": 1}
        with pytest.raises(UsageError, match="what is kept under 'k'"):
            ctx.get_key_value("k", int)
        return "typed"

    instance = Instance(typed)
    instance.start()
    assert instance.output == "typed"


class _Broken(Exception):
    pass


def test_a_store_that_cannot_be_read_is_no_error_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code may catch anything; that its turn cannot be taken now is not for it to see."""

    def broken(_: StoredHistory) -> None:
        raise _Broken

    @orchestration
    async def catches(ctx: OrchestrationContext) -> str:
        with contextlib.suppress(Exception):
            ctx.get_key_value("k")
        with contextlib.suppress(Exception):
            ctx.get_keys()
        return "as if nothing had happened"

    instance = Instance(catches)
    with monkeypatch.context() as patch:
        patch.setattr(StoredHistory, "key_values", broken)
        with pytest.raises(_Broken):
            instance.start()
    assert instance.history == []
    assert instance.start().metadata.status is Status.COMPLETED


def test_what_was_read_counts_towards_the_memory_of_a_kept_execution() -> None:
    instance = after({"large": "x" * 50_000})
    instance.start([["get_key_value", "large"], ["set_key_value", "larger", "x" * 60_000]])
    assert instance.live is not None
    before = instance.live.bytes_estimate
    assert before > 50_000
    instance.give(instance.completed(3, 0))
    assert instance.live.bytes_estimate > before + 60_000
