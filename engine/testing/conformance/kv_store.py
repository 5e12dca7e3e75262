"""Upstream's kv_store: does an instance keep what its code puts under keys, over executions, and nobody else's?

Upstream acks events that the provider has to understand; here a turn says in `TurnResult.key_values` what it changed.
There are two layers: what stood when the execution began, which a fetch shows (the snapshot), and what the execution
changed since. Queries show the second over the first. The end of an execution makes one of the two.
"""

from msgspec import structs

from engine.errors import Refused
from engine.model.ids import ParentLink
from engine.model.key_values import KeyValueChange
from engine.model.payload import Payload
from engine.model.removal import PruneOptions
from engine.model.status import Status
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    INCARNATION,
    create_instance,
    create_instance_with_parent,
    first_turn,
    raises,
    start_item,
    take,
)
from engine.testing.conformance.given_keys import CLEAR_ALL, A, act, begin_next, clear, go_on, put, shown, snapshot_of

CHILD = "instance-A::sub::2"

OTHERS = ("instance", "instance-A2", "instance-A/a", CHILD, "instance-B")
"""Ids that a provider may take for that of `instance-A`: a beginning of it, longer ones, and its child."""

PRUNE_ALL = PruneOptions(keep_last=1)


async def _instance(factory: ProviderFactory, *changes: KeyValueChange) -> FullProvider:
    """A provider with `instance-A`, whose second turn made `changes`."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    if changes:
        await act(provider, *changes)
    return provider


async def _create_others(provider: FullProvider) -> None:
    """Everybody in `OTHERS`, each with two keys of its own value: `a` in both layers, `b` in the second alone."""
    for instance in OTHERS:
        if instance == CHILD:
            await create_instance_with_parent(provider, instance, ParentLink(A, INCARNATION, 1, 2))
        else:
            await create_instance(provider, instance)
        value = instance.encode()
        await act(provider, put("a", value), instance=instance)
        await go_on(provider, put("b", value), instance=instance)


async def _assert_others_have_theirs(provider: FullProvider) -> None:
    for instance in OTHERS:
        value = instance.encode()
        assert await shown(provider, instance) == {"a": value, "b": value}
        assert await snapshot_of(provider, instance) == {"a": value}


async def test_kv_set_and_get(factory: ProviderFactory) -> None:
    """What a turn puts under a key is there, the first turn's too, with all that its payload says."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item(A))
    payload = Payload(b"\x00\xff", content_type="application/x-own", codecs=("zstd", "aes"), key_id="key-1")
    first = structs.replace(first_turn(), key_values=(KeyValueChange("first", payload),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, first)
    await act(provider, put("second", b"2"), put("third", b"3"))
    found = await provider.get_key_value(A, "first")
    assert found is not None
    assert found.value == payload
    assert await shown(provider) == {"first": b"\x00\xff", "second": b"2", "third": b"3"}


async def test_kv_overwrite(factory: ProviderFactory) -> None:
    """The latest value counts, over turns and inside of one."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"1"))
    await act(provider, put("a", b"2"))
    assert await shown(provider) == {"a": b"2", "b": b"1"}
    await act(provider, put("a", b"3"), put("b", b"2"), put("a", b"4"))
    assert await shown(provider) == {"a": b"4", "b": b"2"}


async def test_kv_clear_single(factory: ProviderFactory) -> None:
    """The key that is cleared is gone, and no other."""
    provider = await _instance(factory, put("a", b"1"), put("ab", b"2"), put("b", b"3"))
    await act(provider, clear("a"))
    assert await provider.get_key_value(A, "a") is None
    assert await shown(provider) == {"ab": b"2", "b": b"3"}


async def test_kv_clear_all(factory: ProviderFactory) -> None:
    """All keys are gone, those of the same turn and those of turns before."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"2"))
    await act(provider, put("c", b"3"), CLEAR_ALL)
    for key in ("a", "b", "c"):
        assert await provider.get_key_value(A, key) is None
    assert await shown(provider) == {}


async def test_kv_get_nonexistent(factory: ProviderFactory) -> None:
    """There is nothing under a key that was never put, whether or not there are others."""
    provider = await _instance(factory)
    assert await provider.get_key_value(A, "a") is None
    assert await shown(provider) == {}
    await act(provider, put("a", b"1"))
    for key in ("", "A", "a ", "aa", "b"):
        assert await provider.get_key_value(A, key) is None


async def test_kv_get_unknown_instance(factory: ProviderFactory) -> None:
    """Nobody keeps nothing; nor does who only waits to be started."""
    provider = await _instance(factory, put("a", b"1"))
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    for instance in ("nobody", "instance-B"):
        assert await provider.get_key_value(instance, "a") is None
        assert await shown(provider, instance) == {}


async def test_kv_snapshot_in_fetch(factory: ProviderFactory) -> None:
    """After the end of an execution a fetch shows its keys, both of them."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"2"))
    await act(provider, status=Status.COMPLETED)
    assert await snapshot_of(provider) == {"a": b"1", "b": b"2"}


async def test_kv_snapshot_after_clear_single(factory: ProviderFactory) -> None:
    """A key that was cleared is not among those the next execution begins with, however old it was."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"2"), put("c", b"3"))
    await act(provider, clear("a"))
    assert await go_on(provider, clear("b")) == {"b": b"2", "c": b"3"}
    assert await go_on(provider) == {"c": b"3"}


async def test_kv_snapshot_after_clear_all(factory: ProviderFactory) -> None:
    """After all were cleared the next execution begins with none."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"2"))
    await go_on(provider, put("c", b"3"))
    await act(provider, CLEAR_ALL)
    assert await go_on(provider) == {}
    assert await shown(provider) == {}


async def test_kv_snapshot_empty(factory: ProviderFactory) -> None:
    """Who never put anything begins with none, in the first turn and the next execution, whatever others do."""
    provider = await _instance(factory, put("a", b"1"))
    await go_on(provider)
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    item = await take(provider)
    assert dict(item.history.key_values()) == {}
    await provider.ack_orchestration_item(item.lock_token, first_turn())
    assert await snapshot_of(provider, "instance-B") == {}
    assert await go_on(provider, instance="instance-B") == {}


async def test_kv_snapshot_cross_execution(factory: ProviderFactory) -> None:
    """The second execution is shown the first one's key, and not its own."""
    provider = await _instance(factory, put("first", b"1"))
    assert await go_on(provider, put("second", b"2")) == {"first": b"1"}
    assert await snapshot_of(provider) == {"first": b"1"}


async def test_kv_execution_id_tracking(factory: ProviderFactory) -> None:
    """A key that the second execution overwrote outlives the first one's history."""
    provider = await _instance(factory, put("a", b"1"))
    await go_on(provider, put("a", b"2"))
    assert (await provider.prune_executions(A, PRUNE_ALL)).executions == 1
    assert await shown(provider) == {"a": b"2"}


async def test_kv_cross_execution_overwrite(factory: ProviderFactory) -> None:
    """Queries show the second execution's value at once, fetches when it has ended."""
    provider = await _instance(factory, put("a", b"1"))
    await go_on(provider, put("a", b"2"))
    assert (await shown(provider), await snapshot_of(provider)) == ({"a": b"2"}, {"a": b"1"})
    assert await go_on(provider) == {"a": b"2"}
    assert await shown(provider) == {"a": b"2"}


async def test_kv_cross_execution_remove_readd(factory: ProviderFactory) -> None:
    """Put, cleared and put again by three executions: each end is what the next one begins with."""
    provider = await _instance(factory, put("a", b"1"))
    assert await go_on(provider, clear("a")) == {"a": b"1"}
    assert await shown(provider) == {}
    assert await go_on(provider, put("a", b"3")) == {}
    assert await shown(provider) == {"a": b"3"}
    assert await go_on(provider) == {"a": b"3"}


async def test_kv_prune_preserves_overwritten(factory: ProviderFactory) -> None:
    """After pruning, a key that each execution overwrote has the last value, in both layers."""
    provider = await _instance(factory, put("a", b"1"))
    await go_on(provider, put("a", b"2"))
    await go_on(provider, put("a", b"3"))
    assert (await provider.prune_executions(A, PRUNE_ALL)).executions == 2
    assert (await shown(provider), await snapshot_of(provider)) == ({"a": b"3"}, {"a": b"2"})


async def test_kv_prune_preserves_all_keys(factory: ProviderFactory) -> None:
    """Keys of executions that were pruned stay: they are the instance's."""
    provider = await _instance(factory, put("first", b"1"))
    await go_on(provider, put("second", b"2"))
    await go_on(provider, put("third", b"3"))
    assert (await provider.prune_executions(A, PRUNE_ALL)).executions == 2
    assert await shown(provider) == {"first": b"1", "second": b"2", "third": b"3"}
    assert await go_on(provider) == {"first": b"1", "second": b"2", "third": b"3"}


async def test_kv_prune_current_execution_protected(factory: ProviderFactory) -> None:
    """Nothing is pruned of an instance with one execution, its keys neither, whether it runs or has ended."""
    provider = await _instance(factory, put("a", b"1"))
    assert (await provider.prune_executions(A, PRUNE_ALL)).executions == 0
    assert await shown(provider) == {"a": b"1"}
    await act(provider, put("b", b"2"), status=Status.COMPLETED)
    assert (await provider.prune_executions(A, PruneOptions())).executions == 0
    assert await shown(provider) == {"a": b"1", "b": b"2"}


async def test_kv_instance_isolation(factory: ProviderFactory) -> None:
    """The same key of several instances is several keys, however alike their ids and if one is the other's child."""
    provider = await _instance(factory, put("a", b"mine"))
    await _create_others(provider)
    await act(provider, put("a", b"mine still"), put("c", b"mine alone"))
    assert await shown(provider) == {"a": b"mine still", "c": b"mine alone"}
    assert await go_on(provider) == {"a": b"mine still", "c": b"mine alone"}
    await _assert_others_have_theirs(provider)


async def test_kv_clear_isolation(factory: ProviderFactory) -> None:
    """To clear one key, and all, takes nothing from others, however alike their ids."""
    provider = await _instance(factory, put("a", b"mine"))
    await _create_others(provider)
    await go_on(provider, put("b", b"mine"))
    await act(provider, clear("a"))
    await _assert_others_have_theirs(provider)
    await act(provider, CLEAR_ALL)
    assert await shown(provider) == {}
    await _assert_others_have_theirs(provider)


async def test_kv_delete_instance_cascades(factory: ProviderFactory) -> None:
    """The keys of ended executions go with their instance, and nobody else's."""
    provider = await _instance(factory, put("a", b"1"))
    for instance in ("instance-A2", "instance"):
        await create_instance(provider, instance)
        await act(provider, put("a", b"2"), instance=instance, status=Status.COMPLETED)
    await act(provider, status=Status.COMPLETED)
    await provider.delete_instance(A)
    assert await provider.get_key_value(A, "a") is None
    assert await shown(provider) == {}
    for instance in ("instance-A2", "instance"):
        assert await shown(provider, instance) == {"a": b"2"}


async def test_kv_delete_instance_with_children(factory: ProviderFactory) -> None:
    """The keys of a child go with its root; a child that cannot be deleted alone keeps them."""
    provider = await _instance(factory, put("a", b"1"))
    await create_instance_with_parent(provider, CHILD, ParentLink(A, INCARNATION, 1, 2))
    await act(provider, put("a", b"2"), instance=CHILD)
    await go_on(provider, put("b", b"3"), instance=CHILD)
    with raises(Refused):
        await provider.delete_instance(CHILD, force=True)
    assert await shown(provider, CHILD) == {"a": b"2", "b": b"3"}
    await provider.delete_instance(A, force=True)
    for instance in (A, CHILD):
        assert await provider.get_key_value(instance, "a") is None
        assert await shown(provider, instance) == {}


async def test_kv_clear_nonexistent_key(factory: ProviderFactory) -> None:
    """To clear what is not there is no error, and the rest of the turn happens; so with all of nothing."""
    provider = await _instance(factory, CLEAR_ALL, clear("a"))
    assert await shown(provider) == {}
    await act(provider, clear("a"), put("b", b"2"), clear("c"))
    assert await provider.get_key_value(A, "a") is None
    assert await shown(provider) == {"b": b"2"}
    assert await go_on(provider) == {"b": b"2"}


async def test_kv_set_after_clear(factory: ProviderFactory) -> None:
    """All cleared and one put in one turn: there is that one alone; so with a single key that is put anew."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"1"))
    await act(provider, CLEAR_ALL, put("a", b"2"), put("c", b"2"))
    assert await shown(provider) == {"a": b"2", "c": b"2"}
    await act(provider, clear("a"), put("a", b"3"))
    assert await shown(provider) == {"a": b"3", "c": b"2"}
    assert await go_on(provider) == {"a": b"3", "c": b"2"}


async def test_kv_empty_value(factory: ProviderFactory) -> None:
    """No bytes are a value, in both layers: not a key that was cleared."""
    provider = await _instance(factory, put("a", b""), put("b", b"2"))
    assert await provider.get_key_value(A, "a") is not None
    assert await shown(provider) == {"a": b"", "b": b"2"}
    assert await go_on(provider, put("b", b"")) == {"a": b"", "b": b"2"}
    assert await shown(provider) == {"a": b"", "b": b""}
    assert await go_on(provider) == {"a": b"", "b": b""}


async def test_kv_large_value(factory: ProviderFactory) -> None:
    """64 KiB come out as they went in, in both layers."""
    large = bytes(range(256)) * 256
    provider = await _instance(factory, put("a", large))
    assert await shown(provider) == {"a": large}
    assert await go_on(provider) == {"a": large}


SPECIAL_KEYS = (
    *("", " ", "a", "A", " a", "a ", "a b", "a\tb", "a\nb", "a\r\nb", "\x00", "a\x00", "a\x00b", "\x7f", "\x01"),
    *("/", "a/b", "a//b", "/a", "a/", "..", "a.b", "a\\b", "it's", 'say "hi"', "`a`", "a;b", "a--b", "a%b", "a_b", "*"),
    *("a:b", "a::sub::2", "instance-A", "%2F", "a=b&c", "{a}", "null", "None", "0", "-1", "\\x00", "\\u0000"),
    *("ä", "a\u0308", "ß", "İ", "ключ", "鍵", "مفتاح", "🔑", "\u200b", "\ufeff", "\uffff", "\U0010ffff", "k" * 500),
)
"""Keys that are easily taken for one another, or for the end of something."""


async def test_kv_special_chars_in_key(factory: ProviderFactory) -> None:
    """A key is any text, told from every other: the empty one, one with a NUL, and two that look the same."""
    expected = {key: b"%d" % number for number, key in enumerate(SPECIAL_KEYS)}
    provider = await _instance(factory, *(put(key, data) for key, data in expected.items()))
    assert await shown(provider) == expected
    assert await go_on(provider) == expected
    await act(provider, *(clear(key) for key in SPECIAL_KEYS[::2]))
    for key in SPECIAL_KEYS[::2]:
        del expected[key]
        assert await provider.get_key_value(A, key) is None
    assert await shown(provider) == expected


async def test_kv_delta_snapshot_excludes_current_execution(factory: ProviderFactory) -> None:
    """A query shows what the current execution has put; the fetches of that execution do not."""
    provider = await _instance(factory, put("a", b"1"))
    for data in (b"2", b"3"):
        assert await snapshot_of(provider) == {}
        await act(provider, put("a", data))
        assert await shown(provider) == {"a": data}


async def test_kv_delta_snapshot_includes_completed_execution(factory: ProviderFactory) -> None:
    """What an execution put in its last turn is there when it has ended, and not before."""
    provider = await _instance(factory, put("a", b"1"))
    assert await act(provider, put("a", b"2"), put("b", b"2"), status=Status.COMPLETED) == {}
    assert await snapshot_of(provider) == {"a": b"2", "b": b"2"}


async def test_kv_delta_client_reads_merged(factory: ProviderFactory) -> None:
    """A query shows keys of both layers, and of those that are in both the newer value."""
    provider = await _instance(factory, put("a", b"1"), put("c", b"1"))
    await go_on(provider, put("b", b"2"), put("c", b"2"))
    assert await shown(provider) == {"a": b"1", "b": b"2", "c": b"2"}


async def test_kv_delta_tombstone_overrides_store(factory: ProviderFactory) -> None:
    """A key of an execution before is gone for queries once cleared, though the execution began with it."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"1"))
    await go_on(provider, put("a", b"2"))
    await act(provider, clear("a"))
    assert await provider.get_key_value(A, "a") is None
    assert await shown(provider) == {"b": b"1"}
    assert await snapshot_of(provider) == {"a": b"1", "b": b"1"}


async def test_kv_delta_clear_all_tombstones_store(factory: ProviderFactory) -> None:
    """All keys of executions before are gone for queries; the next one put is alone, and the snapshot stays."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"1"))
    await go_on(provider, put("a", b"2"), put("c", b"2"))
    await act(provider, CLEAR_ALL)
    for key in ("a", "b", "c"):
        assert await provider.get_key_value(A, key) is None
    assert await shown(provider) == {}
    await act(provider, put("b", b"3"))
    assert await shown(provider) == {"b": b"3"}
    assert await snapshot_of(provider) == {"a": b"1", "b": b"1"}
    assert await go_on(provider) == {"b": b"3"}


async def test_kv_delta_merged_on_completion(factory: ProviderFactory) -> None:
    """COMPLETED makes one of the two layers: put, overwritten, cleared and untouched keys."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"1"), put("c", b"1"))
    await go_on(provider, put("b", b"2"), clear("c"), put("d", b"2"))
    await act(provider, status=Status.COMPLETED)
    assert await snapshot_of(provider) == {"a": b"1", "b": b"2", "d": b"2"}
    assert await shown(provider) == {"a": b"1", "b": b"2", "d": b"2"}


async def test_kv_delta_merged_on_can(factory: ProviderFactory) -> None:
    """CONTINUED_AS_NEW does so too, the last turn's changes included: the latest value is carried on."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"1"), put("c", b"1"))
    await act(provider, put("a", b"2"), clear("c"), status=Status.CONTINUED_AS_NEW)
    assert await begin_next(provider, put("a", b"3"), clear("b")) == {"a": b"2", "b": b"1"}
    assert await go_on(provider) == {"a": b"3"}


async def test_kv_delta_delete_instance_cascades(factory: ProviderFactory) -> None:
    """What an execution that runs has put and cleared goes with its instance."""
    provider = await _instance(factory, put("a", b"1"), put("b", b"2"))
    await provider.delete_instance(A, force=True)
    assert await provider.get_key_value(A, "a") is None
    assert await shown(provider) == {}
    await create_instance(provider, A)
    assert await shown(provider) == {}


async def test_kv_delta_prune_untouched_key_survives(factory: ProviderFactory) -> None:
    """A key of the first execution that two more did not touch outlives its pruning, for queries and for fetches."""
    provider = await _instance(factory, put("a", b"1"))
    await go_on(provider, put("b", b"2"))
    await go_on(provider, put("b", b"3"))
    assert (await provider.prune_executions(A, PRUNE_ALL)).executions == 2
    assert await provider.get_key_value(A, "a") is not None
    assert await shown(provider) == {"a": b"1", "b": b"3"}
    assert await snapshot_of(provider) == {"a": b"1", "b": b"2"}
