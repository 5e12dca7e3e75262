"""Ours: when was a key put, when does a change not count, and do many keys come out whole?"""

from engine.errors import LeaseLost, Refused
from engine.model.key_values import KeyValueChange
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    FAILURE,
    create_instance,
    end_instance,
    raise_event,
    raises,
    started_event,
    take,
    text_event,
    turn,
)
from engine.testing.conformance.given_keys import (
    CLEAR_ALL,
    A,
    act,
    begin_next,
    clear,
    data_of,
    go_on,
    put,
    shown,
    snapshot_of,
)


async def _time_of_a_turn(provider: FullProvider, *changes: KeyValueChange) -> int:
    """One more turn, which makes `changes`; the provider's time of its fetch, which is that of its ack here."""
    await provider.enqueue_for_orchestrator(raise_event(A, "go"))
    item = await take(provider)
    result = TurnResult(execution_id=item.execution_id, key_values=changes)
    await provider.ack_orchestration_item(item.lock_token, result)
    return item.now_ms


async def _times(provider: FullProvider) -> dict[str, int]:
    """When each key was put, as all queries say."""
    kept = await provider.get_key_values(A)
    for key, each in kept.items():
        assert await provider.get_key_value(A, key) == each
    return {key: each.updated_at_ms for key, each in kept.items()}


async def test_a_key_says_when_it_was_put(factory: ProviderFactory) -> None:
    """The provider's time of the turn that put it last; no other turn, end or pruning moves it."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await factory.advance(1_000)
    first = await _time_of_a_turn(provider, put("a", b"1"), put("b", b"1"))
    await factory.advance(1_000)
    second = await _time_of_a_turn(provider, put("b", b"1"))
    assert second == first + 1_000
    assert await _times(provider) == {"a": first, "b": second}
    await factory.advance(1_000)
    await end_instance(provider, A, Status.CONTINUED_AS_NEW)
    assert await _times(provider) == {"a": first, "b": second}
    await factory.advance(1_000)
    await begin_next(provider)
    third = await _time_of_a_turn(provider, clear("a"), put("a", b"1"))
    assert await _times(provider) == {"a": third, "b": second}
    await factory.advance(1_000)
    await act(provider, status=Status.COMPLETED)
    assert await _times(provider) == {"a": third, "b": second}


async def test_the_snapshot_says_when_a_key_was_put(factory: ProviderFactory) -> None:
    """The same value and the same time as queries did before the execution ended."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, KeyValueChange("a", Payload(b"\x00", content_type="application/x-own", codecs=("zstd",))))
    kept = dict(await provider.get_key_values(A))
    await factory.advance(1_000)
    await go_on(provider, put("b", b"2"))
    await factory.advance(1_000)
    await provider.enqueue_for_orchestrator(raise_event(A, "go"))
    assert dict((await take(provider)).history.key_values()) == kept


async def test_a_turn_without_changes_changes_no_key(factory: ProviderFactory) -> None:
    """Keys, values and times are as before, whatever else the turn does."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1"), put("b", b"1"))
    await go_on(provider, put("b", b"2"), put("c", b"2"))
    before = dict(await provider.get_key_values(A))
    assert data_of(before) == {"a": b"1", "b": b"2", "c": b"2"}
    for event_id in (3, 4):
        await factory.advance(1_000)
        await provider.enqueue_for_orchestrator(raise_event(A, "go"))
        more = TurnResult(execution_id=2, history_delta=(text_event(event_id, "more"),))
        await provider.ack_orchestration_item((await take(provider)).lock_token, more)
        assert dict(await provider.get_key_values(A)) == before


async def test_the_snapshot_stays_through_all_turns_of_an_execution(factory: ProviderFactory) -> None:
    """However often the keys are put and cleared meanwhile, and if a turn is given back."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1"), put("b", b"1"))
    began_with = {"a": b"1", "b": b"1"}
    assert await go_on(provider, put("a", b"2")) == began_with
    for change in (put("c", b"3"), clear("a"), CLEAR_ALL, put("b", b"4"), clear("b"), clear("nothing")):
        assert await act(provider, change) == began_with
    await provider.enqueue_for_orchestrator(raise_event(A, "go"))
    for _ in range(2):
        item = await take(provider)
        assert data_of(item.history.key_values()) == began_with
        await provider.abandon_orchestration_item(item.lock_token)


async def test_every_end_is_what_comes_next_begins_with(factory: ProviderFactory) -> None:
    """FAILED and CANCELLED as well: put, overwritten and cleared keys, of turns before and of the last one."""
    for status in (Status.FAILED, Status.CANCELLED, Status.COMPLETED, Status.CONTINUED_AS_NEW):
        provider = await factory.create_provider()
        await create_instance(provider, A)
        await act(provider, put("a", b"1"), put("b", b"1"), put("c", b"1"))
        await go_on(provider, put("a", b"2"), clear("b"))
        assert await act(provider, put("d", b"2"), clear("c"), status=status) == {"a": b"1", "b": b"1", "c": b"1"}
        assert await shown(provider) == {"a": b"2", "d": b"2"}
        assert await snapshot_of(provider) == {"a": b"2", "d": b"2"}


async def test_to_be_held_is_no_end(factory: ProviderFactory) -> None:
    """Keys of a held instance can be read, and its execution goes on with the snapshot it had."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1"))
    await go_on(provider, put("a", b"2"), put("b", b"2"))
    await provider.enqueue_for_orchestrator(raise_event(A, "go"))
    await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
    assert await shown(provider) == {"a": b"2", "b": b"2"}
    await provider.resume_instance(A)
    assert data_of((await take(provider)).history.key_values()) == {"a": b"1"}
    assert await shown(provider) == {"a": b"2", "b": b"2"}


async def test_the_order_of_changes_inside_a_turn_counts(factory: ProviderFactory) -> None:
    """A key put and cleared in one turn is not there; nor is one put before all are cleared, but one put after is."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1"), put("b", b"1"))
    await go_on(provider, put("a", b"2"), clear("a"), put("new", b"2"), clear("new"))
    assert await shown(provider) == {"b": b"1"}
    await act(provider, put("c", b"3"), CLEAR_ALL, put("d", b"3"), put("b", b"3"), clear("d"), put("b", b"4"))
    assert await shown(provider) == {"b": b"4"}
    assert await snapshot_of(provider) == {"a": b"1", "b": b"1"}
    assert await go_on(provider) == {"b": b"4"}


async def test_a_turn_that_is_not_taken_changes_no_key(factory: ProviderFactory) -> None:
    """Refused for an event that exists, late, or given back: nothing is put and nothing is cleared."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1"))
    changes = (put("b", b"2"), clear("a"))
    await provider.enqueue_for_orchestrator(raise_event(A, "go"))
    item = await take(provider, factory.lock_timeout_ms)
    with raises(Refused):
        again = TurnResult(execution_id=1, history_delta=(started_event(),), key_values=changes)
        await provider.ack_orchestration_item(item.lock_token, again)
    assert await shown(provider) == {"a": b"1"}
    await factory.advance(factory.lock_timeout_ms + 100)
    with raises(LeaseLost):
        late = TurnResult(execution_id=1, key_values=changes)
        await provider.ack_orchestration_item(item.lock_token, late)
    assert await shown(provider) == {"a": b"1"}
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, turn())
    assert await shown(provider) == {"a": b"1"}


KEYS_IN_ORDER = ("", "\x00", "-1", "10", "9", "A", "Z", "a", "a\x00", "aa", "b", "é", "鍵", "\uffff", "🔑")
"""As Python and UTF-8 order them; UTF-16 has the last two the other way round."""


async def test_keys_are_listed_in_order(factory: ProviderFactory) -> None:
    """Ascending by their characters, whenever and in whatever order they were put, in both layers."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, *(put(key, b"1") for key in KEYS_IN_ORDER[::-2]))
    await go_on(provider, *(put(key, b"2") for key in KEYS_IN_ORDER[-2::-2]))
    await act(provider, put("aa", b"3"), put("A", b"3"))
    assert list(await provider.get_key_values(A)) == list(KEYS_IN_ORDER)
    await go_on(provider)
    assert list(await provider.get_key_values(A)) == list(KEYS_IN_ORDER)


async def test_the_next_life_begins_without_keys(factory: ProviderFactory) -> None:
    """After a deletion, for its first fetch, for queries and statistics, and when it puts one of the same keys."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1"), put("b", b"1"))
    await go_on(provider, put("b", b"2"), put("c", b"2"))
    await provider.delete_instance(A, force=True)
    item = await create_instance(provider, A)
    assert dict(item.history.key_values()) == {}
    assert await snapshot_of(provider) == {}
    assert await shown(provider) == {}
    stats = await provider.get_instance_stats(A)
    assert stats is not None
    assert (stats.keys, stats.key_value_bytes) == (0, 0)
    assert await go_on(provider, put("a", b"3")) == {}
    assert await shown(provider) == {"a": b"3"}


KEYS = 150
VALUE_BYTES = 65_536


async def test_many_large_keys_of_one_turn_come_out_whole(factory: ProviderFactory) -> None:
    """Nearly ten megabytes: they are put, shown, counted and handed on, and all are gone when they are cleared."""
    large = {f"key {number:03}": b"%03d" % number + bytes(VALUE_BYTES - 3) for number in range(KEYS)}
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, *(put(key, data) for key, data in large.items()))
    assert data_of(await provider.get_key_values(A)) == large
    stats = await provider.get_instance_stats(A)
    assert stats is not None
    assert (stats.keys, stats.key_value_bytes) == (KEYS, KEYS * VALUE_BYTES)
    assert await go_on(provider) == large
    assert data_of(await provider.get_key_values(A)) == large
    await act(provider, CLEAR_ALL, put("one", b"1"))
    assert await shown(provider) == {"one": b"1"}
    assert await go_on(provider) == {"one": b"1"}
