"""Does a provider keep the contract of the port? The suite that every provider passes, ours and others'.

A test is an async function of a `ProviderFactory` that returns when the provider did right and raises
`AssertionError`, or what the provider raised, when it did not. The groups under upstream names hold upstream's tests
(Duroxide's provider validation) under upstream's names; those called `port_…` hold what this port promises besides.
docs/conformance.md shows how to run them.
"""

import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType

from engine.testing.conformance import (
    atomicity,
    bulk_deletion,
    cancellation,
    capability_filtering,
    custom_status,
    deletion,
    error_handling,
    instance_creation,
    instance_locking,
    kv_store,
    lock_expiration,
    long_polling,
    management,
    multi_execution,
    poison_message,
    port_admission,
    port_batch_fetch,
    port_cancellation,
    port_delays,
    port_deletion,
    port_heartbeats,
    port_holding,
    port_keys,
    port_late_items,
    port_lives,
    port_polling,
    port_queries,
    port_sessions,
    port_suspending,
    prune,
    queue_semantics,
    race_replay,
    sessions,
    tag_filtering,
)
from engine.testing.conformance.factory import FullProvider, ProviderFactory

ConformanceTest = Callable[[ProviderFactory], Awaitable[None]]

_MODULES = (
    instance_creation,
    atomicity,
    error_handling,
    instance_locking,
    lock_expiration,
    multi_execution,
    queue_semantics,
    long_polling,
    poison_message,
    cancellation,
    custom_status,
    management,
    deletion,
    bulk_deletion,
    prune,
    tag_filtering,
    capability_filtering,
    sessions,
    kv_store,
    race_replay,
    port_admission,
    port_batch_fetch,
    port_cancellation,
    port_delays,
    port_deletion,
    port_heartbeats,
    port_holding,
    port_keys,
    port_late_items,
    port_lives,
    port_polling,
    port_queries,
    port_sessions,
    port_suspending,
)


def _tests_of(module: ModuleType) -> tuple[ConformanceTest, ...]:
    """Its test functions in the order they stand in the file."""
    return tuple(
        function for name, function in vars(module).items() if name.startswith("test_") and inspect.isfunction(function)
    )


GROUPS: dict[str, tuple[ConformanceTest, ...]] = {
    module.__name__.rpartition(".")[2]: _tests_of(module) for module in _MODULES
}
"""Every test of the suite by group."""

__all__ = ["GROUPS", "ConformanceTest", "FullProvider", "ProviderFactory"]
