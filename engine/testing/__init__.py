"""How does one test an orchestration, or a provider, without a server?"""

from engine.testing.scenario import (
    InstanceOutcome,
    ScenarioFailed,
    ScenarioOutcome,
    Scripted,
    cancel,
    enqueue,
    raise_event,
    replay,
    run,
    run_async,
)

__all__ = [
    "InstanceOutcome",
    "ScenarioFailed",
    "ScenarioOutcome",
    "Scripted",
    "cancel",
    "enqueue",
    "raise_event",
    "replay",
    "run",
    "run_async",
]
