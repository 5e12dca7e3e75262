"""What can an operator's program ask and order? The part of a client that needs a provider's administration."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from engine.clock import Clock
from engine.errors import InDoubt, InstanceNotFound, Retryable, UsageError
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats, InstanceTree, QueueDepths, SystemMetrics
from engine.port import ProviderAdmin
from engine.runtime.options import back_off_ms

T = TypeVar("T")

SUSPENDED = "suspended by a client"


class Patience(Protocol):
    """How often a call is repeated, and after which pauses; see `ClientOptions`."""

    @property
    def tries_max(self) -> int: ...
    @property
    def delay_ms(self) -> int: ...
    @property
    def delay_max_ms(self) -> int: ...


class AdminCalls:
    """What operators ask and order. Every call raises UsageError if the client has no `admin`.

    A call that is repeated after `Retryable` or `InDoubt` may meet what its first attempt did: it is refused then.
    """

    def __init__(self, admin: ProviderAdmin | None, patience: Patience, clock: Clock) -> None:
        self._admin = admin
        self._patience = patience
        self._clock = clock

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        """Instances by id, ascending, at most `limit`: of `status` and orchestration `name` if given, ids > `after`.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        return await self._repeated(lambda: admin.list_instances(status=status, name=name, limit=limit, after=after))

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        """All executions of the instance, ascending; empty if there is none.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        return await self._repeated(lambda: admin.list_executions(instance))

    async def suspend(self, instance: str, reason: str = SUSPENDED) -> None:
        """Let the instance take no turn until `resume`. What arrives meanwhile waits, a cancel too.

        Its activities that run go on; its children go on. `wait` goes on waiting. Suspending twice is suspending once.

        Args:
            instance: Its id.
            reason: What queries and the log show.

        Raises:
            UsageError: The client has no `admin`.
            Refused: There is no such instance, it has ended, or it is held.
        """
        admin = self._administration
        await self._repeated(lambda: admin.suspend_instance(instance, reason))

    async def resume(self, instance: str) -> None:
        """Let a suspended instance go on; or a held one, with whatever code the engine has now.

        Raises:
            UsageError: The client has no `admin`.
            Refused: There is no such instance, or it is neither held nor suspended.
        """
        admin = self._administration
        await self._repeated(lambda: admin.resume_instance(instance))

    async def tree(self, instance: str) -> InstanceTree:
        """The instance and its automatic children, of whatever generation.

        Raises:
            UsageError: The client has no `admin`.
            Refused: There is no such instance.
        """
        admin = self._administration
        return await self._repeated(lambda: admin.get_instance_tree(instance))

    async def delete(self, instance: str, *, force: bool = False) -> DeletedCounts:
        """Delete the instance with its automatic children: histories, and everything queued for them.

        After `Retryable` or `InDoubt` the call is repeated; if the first one did it, the second is refused.

        Args:
            instance: The root of its tree.
            force: Whether to delete what has not ended, too. It gets no chance to clean up; `cancel` gives it one.

        Raises:
            UsageError: The client has no `admin`.
            Refused: There is no such instance, it is a child, or, without `force`, somebody in its tree has not ended.
        """
        admin = self._administration
        return await self._repeated(lambda: admin.delete_instance(instance, force))

    async def prune(
        self, instance: str, *, keep_last: int | None = None, completed_before_ms: int | None = None
    ) -> PrunedCounts:
        """Forget earlier executions of the instance with their histories; the current one stays.

        Args:
            instance: Its id.
            keep_last: So many of the latest stay, the current one among them.
            completed_before_ms: Only those that ended before this instant, in milliseconds since 1970.

        Raises:
            UsageError: The client has no `admin`.
            Refused: There is no such instance.
        """
        admin = self._administration
        options = PruneOptions(keep_last=keep_last, completed_before_ms=completed_before_ms)
        return await self._repeated(lambda: admin.prune_executions(instance, options))

    async def execution(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        """That execution, or None if there is none.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        return await self._repeated(lambda: admin.get_execution_info(instance, execution_id))

    async def stats(self, instance: str) -> InstanceStats:
        """How large the instance is: its history, what it keeps, and what was handed on to it.

        Raises:
            UsageError: The client has no `admin`.
            InstanceNotFound: There is no such instance.
        """
        admin = self._administration
        found = await self._repeated(lambda: admin.get_instance_stats(instance))
        if found is None:
            raise InstanceNotFound(f"expected an instance {instance!r}, but there is none")
        return found

    async def system_metrics(self) -> SystemMetrics:
        """How many instances, executions and events there are. Reads every instance: not for every second.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        return await self._repeated(admin.get_system_metrics)

    async def queue_depths(self) -> QueueDepths:
        """How much waits.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        return await self._repeated(admin.get_queue_depths)

    async def delete_many(self, which: InstanceFilter) -> DeletedCounts:
        """Delete the trees of roots that have ended, each as `delete` does; the rest is passed over.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        return await self._repeated(lambda: admin.delete_instance_bulk(which))

    async def prune_many(
        self, which: InstanceFilter, *, keep_last: int | None = None, completed_before_ms: int | None = None
    ) -> PrunedCounts:
        """Prune instances of any status, each as `prune` does.

        Raises:
            UsageError: The client has no `admin`.
        """
        admin = self._administration
        options = PruneOptions(keep_last=keep_last, completed_before_ms=completed_before_ms)
        return await self._repeated(lambda: admin.prune_executions_bulk(which, options))

    @property
    def _administration(self) -> ProviderAdmin:
        if self._admin is None:
            raise UsageError(
                "expected a provider that can be administered, but this one cannot: Client(provider, admin=…)"
            )
        return self._admin

    async def _repeated(self, call: Callable[[], Awaitable[T]]) -> T:
        options = self._patience
        for attempt in range(1, options.tries_max):
            try:
                return await call()
            except (Retryable, InDoubt):
                await self._clock.sleep_ms(back_off_ms(options.delay_ms, options.delay_max_ms, attempt))
        return await call()
