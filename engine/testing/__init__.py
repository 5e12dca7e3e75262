"""How does one test an orchestration, or a provider, without a server?"""

from engine.testing.scenario import ScenarioOutcome, Scripted, cancel, enqueue, raise_event, run, run_async
from engine.testing.world import InstanceOutcome, ScenarioFailed, replay

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
