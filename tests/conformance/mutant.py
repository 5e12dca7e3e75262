"""How is a memory provider broken in one way? Subclasses replace one method, or one of the four parts."""

from abc import ABC

from engine.clock import Clock
from engine.testing.memory import MemoryProvider
from engine.testing.memory_queues import InstanceLocks, OrchestratorQueue, WorkerQueue
from engine.testing.memory_sessions import Sessions


class Mutant(MemoryProvider, ABC):
    """A provider with one fault; the docstring of each subclass says which."""

    locks_type: type[InstanceLocks] = InstanceLocks
    messages_type: type[OrchestratorQueue] = OrchestratorQueue
    work_type: type[WorkerQueue] = WorkerQueue
    sessions_type: type[Sessions] = Sessions

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._locks = self.locks_type(self._now_ms)
        self._messages = self.messages_type(self._now_ms)
        self._sessions = self.sessions_type(self._now_ms)
        self._work = self.work_type(self._now_ms, self._sessions)
