"""What does the suite need from somebody who writes a provider?"""

from typing import Protocol

from engine.port import Provider, ProviderAdmin


class FullProvider(Provider, ProviderAdmin, Protocol):
    """The whole port: what a test of the suite is given."""


class ProviderFactory(Protocol):
    """Makes providers for one test and moves their time.

    The suite makes more than a hundred providers in a run, so one should cost milliseconds. What a factory opened it
    closes itself, after the test: the suite knows no close.
    """

    @property
    def lock_timeout_ms(self) -> int:
        """How long the locks live whose expiry a test waits for; it calls `advance` with a little more."""
        ...

    @property
    def short_poll_threshold_ms(self) -> int:
        """How much real time an empty fetch may take that was told not to wait."""
        ...

    async def create_provider(self) -> FullProvider:
        """A fresh provider that shares nothing with those made before."""
        ...

    async def advance(self, duration_ms: int) -> None:
        """Move the time of all providers made so far, and let whoever that woke run before returning."""
        ...

    async def corrupt_instance_history(self, provider: FullProvider, instance: str) -> None:
        """Make the events stored for `instance` undecodable."""
        ...

    async def max_attempt_count(self, provider: FullProvider, instance: str) -> int:
        """The largest number of fetches among the messages queued for `instance`."""
        ...
