"""Upstream's custom_status: does an instance show what its orchestration said of itself, and how often that changed?

Upstream has a method for it, `get_custom_status`. Here it is part of what a query knows of an instance, and waiting for
the next one is waiting for any change (`changed`). A turn says in its metadata whether it means the status; its events
a provider need not understand.
"""

import anyio

from engine.model.turn import ExecutionMetadata, TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    REAL_SECONDS_MAX,
    begun,
    create_instance,
    raise_event,
    take,
    text_event,
    turn,
)


async def _say(provider: FullProvider, text: str | None) -> None:
    """One more turn of `instance-A`, which sets its status to `text`; None clears it."""
    metadata = ExecutionMetadata(set_custom_status=True, custom_status=text)
    await _turn_of_a(provider, TurnResult(execution_id=1, metadata=metadata))


async def _turn_of_a(provider: FullProvider, result: TurnResult) -> None:
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    await provider.ack_orchestration_item((await take(provider)).lock_token, result)


async def _said(provider: FullProvider) -> tuple[str | None, int]:
    """The status of `instance-A` and its version."""
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    return info.custom_status, info.custom_status_version


async def test_custom_status_set(factory: ProviderFactory) -> None:
    """What was set is shown, as the first version."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _say(provider, "progress")
    assert await _said(provider) == ("progress", 1)


async def test_custom_status_clear(factory: ProviderFactory) -> None:
    """To clear it is a change like another."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _say(provider, "progress")
    await _say(provider, None)
    assert await _said(provider) == (None, 2)


async def test_custom_status_none_preserves(factory: ProviderFactory) -> None:
    """A turn that does not mean the status leaves it and its version."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _say(provider, "progress")
    await _turn_of_a(provider, turn(text_event(2, "an event that no provider understands")))
    await _turn_of_a(provider, turn())
    assert await _said(provider) == ("progress", 1)


async def test_custom_status_version_increments(factory: ProviderFactory) -> None:
    """One, two, three over set, set and clear; to say the same again counts too."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    seen: list[tuple[str | None, int]] = []
    for text in ("one", "two", None, None):
        await _say(provider, text)
        seen.append(await _said(provider))
    assert seen == [("one", 1), ("two", 2), (None, 3), (None, 4)]


async def test_custom_status_polling_no_change(factory: ProviderFactory) -> None:
    """Who has seen the latest waits, until there is news; who has seen less is answered at once."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    before = await provider.get_instance_info("instance-A")
    assert before is not None
    await _say(provider, "progress")
    with anyio.fail_after(REAL_SECONDS_MAX):
        latest = await provider.changed("instance-A", before.revision)
    assert (latest.custom_status, latest.custom_status_version) == ("progress", 1)

    async with begun(lambda: provider.changed("instance-A", latest.revision)) as poll:
        await factory.advance(60_000)
        assert not poll.has_returned, "expected who has seen the latest to wait, but there was an answer"
        await _say(provider, "more progress")
        news = await poll.result()
    assert (news.custom_status, news.custom_status_version) == ("more progress", 2)


async def test_custom_status_nonexistent_instance(factory: ProviderFactory) -> None:
    """Nobody has no status, and who waits for one goes on waiting."""
    provider = await factory.create_provider()
    assert await provider.get_instance_info("nobody") is None
    async with begun(lambda: provider.changed("nobody", 0)) as poll:
        await factory.advance(60_000)
        await create_instance(provider, "instance-A")
        await _say(provider, "progress")
        await factory.advance(0)
        assert not poll.has_returned, "expected who waits for nobody to wait, but there was an answer"


async def test_custom_status_default_on_new_instance(factory: ProviderFactory) -> None:
    """None, in version 0: who polls with 0 has nothing new to see."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    assert await _said(provider) == (None, 0)
