"""How does a client in another process reach a node? The port's views over HTTP."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from engine.clock import Clock, SystemClock
from engine.errors import EngineError, InstanceNotFound, OwnershipLost, Refused, Retryable, Unreachable, UsageError
from engine.model.events import AnyEvent
from engine.model.ids import automatic_parent
from engine.model.key_values import KeyValue
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    EnqueueMessage,
    External,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.policies import ReusePolicy
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats, InstanceTree, QueueDepths, SystemMetrics
from engine.model.work import WorkItem
from provider_log.answers import Listed, PartitionDigest
from provider_log.server import shapes, wire
from provider_log.server.address import HOP_HEADER, is_loopback
from provider_log.server.problems import CONTENT_TYPE, Problem, error_of

T = TypeVar("T")

_CHOICES: Mapping[ReusePolicy | None, Literal["refuse", "restart_ended"]] = {
    ReusePolicy.REFUSE: "refuse",
    ReusePolicy.RESTART_ENDED: "restart_ended",
}

DEFAULT_URL = "http://127.0.0.1:8620"
ANSWER_S = 30.0
MANY_S = 600.0  # what is asked of many instances is done one by one
CONNECT_S = 5.0
IDLE_S = 10.0  # less than the node keeps an idle connection, else a request may meet it closing
PATIENCE_MS = 30_000
BACK_OFF_MS = 200


class RemoteProvider:
    """`Mailbox`, `InstanceView` and `ProviderAdmin` of the node at `url`.

    Every call raises `Unreachable` if no node answers there, besides what the port says.

    Args:
        url: Of the node, without a path.
        token: What the node asks for, if it listens beyond loopback.
        transport: In place of a network, to reach an application in this process.
        clock: Paces the calls of `changed` while the node is away.
        is_hop: Whether a node asks on behalf of its caller: what is asked then asks no further.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        is_hop: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"expected a URL like {DEFAULT_URL}, but it is {url!r}")
        self.url = url.rstrip("/")
        self._clock = clock or SystemClock()
        self._was_reached = False
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(
            headers={**headers, HOP_HEADER: "1"} if is_hop else headers,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
            transport=transport,
            trust_env=not is_loopback(parts.hostname),  # a proxy of the environment has no way to this machine's nodes
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    # Mailbox

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        method, path, body = _request_of(message)
        headers = {"content-type": "application/json"}
        if isinstance(message, External):
            if message.message_id is not None:
                headers["idempotency-key"] = message.message_id
            if message.traceparent is not None:
                headers["traceparent"] = message.traceparent
        keep = "true" if isinstance(message, RaiseEvent) and message.keep else None
        query = {"delay_ms": delay_ms, "keep": keep}
        await self._ask(method, path, query=query, body=wire.encode(body), headers=headers)

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        raise Refused(
            "enqueue_for_worker", f"expected a turn to schedule {item.name!r}, but a client did; only the owner may"
        )

    # InstanceView

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        try:
            return self._read(await self._ask("GET", _path(instance)), InstanceInfo)
        except InstanceNotFound:
            return None

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        """As the port has it; a node that answered before and is away now has half a minute to come back."""
        return await self._awaited(instance, {"seen": seen})

    async def ended(self, instance: str) -> InstanceInfo:
        """As the port has it; a node that answered before and is away now has half a minute to come back."""
        return await self._awaited(instance, {"ended": "true"})

    async def _awaited(self, instance: str, what: Mapping[str, str | int]) -> InstanceInfo:
        query = {**what, "timeout_ms": shapes.WAIT_MS_DEFAULT}
        lost_ms: int | None = None
        while True:
            wait_s = ANSWER_S + shapes.WAIT_MS_DEFAULT / 1000
            try:
                response = await self._ask("GET", _path(instance, "wait"), query=query, answer_s=wait_s)
            except (OwnershipLost, Unreachable, Retryable):  # a node that stops gives its partitions up first
                now_ms = self._clock.boot_ms()
                lost_ms = now_ms if lost_ms is None else lost_ms
                if not self._was_reached or now_ms - lost_ms >= PATIENCE_MS:
                    raise
                await self._clock.sleep_ms(BACK_OFF_MS)
                continue
            lost_ms = None
            if response.status_code != HTTPStatus.NO_CONTENT:
                return self._read(response, InstanceInfo)

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        return await self._history(instance, {})

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        return await self._history(instance, {"execution": execution_id}) if execution_id >= 1 else ()

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        return (await self._key_values(instance, {"key": key})).get(key)

    async def get_key_values(self, instance: str) -> Mapping[str, KeyValue]:
        return await self._key_values(instance, {})

    async def _key_values(self, instance: str, query: Mapping[str, str]) -> Mapping[str, KeyValue]:
        try:
            response = await self._ask("GET", _path(instance, "keys"), query=query)
        except InstanceNotFound:
            return {}
        return self._read(response, shapes.KeyValues).values

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        response = await self._ask("GET", _path(instance, "consumed"), query={"message_id": message_id})
        return self._read(response, shapes.Consumed).consumed

    # ProviderAdmin

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        return (await self.listed(status=status, name=name, limit=limit, after=after)).instances

    async def listed(self, *, status: Status | None, name: str | None, limit: int, after: str | None) -> Listed:
        """The same, with the partitions that were looked at for every page of it."""
        found: list[InstanceInfo] = []
        covered: set[int] | None = None
        while len(found) < limit:
            query: dict[str, str | int | None] = {
                "status": status.value if status else None,
                "name": name,
                "limit": min(limit - len(found), shapes.LIST_MAX),
                "after": after,
            }
            page = await self._page(query)
            found += page.instances
            covered = set(page.partitions) if covered is None else covered & set(page.partitions)
            after = page.next
            if after is None:
                break
        return Listed(tuple(found), tuple(sorted(covered or ())))

    async def _page(self, query: Mapping[str, str | int | None]) -> shapes.InstancePage:
        return self._read(await self._ask("GET", "/v1/instances", query=query), shapes.InstancePage)

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        try:
            return self._read(await self._ask("GET", _path(instance, "executions")), shapes.Executions).executions
        except InstanceNotFound:
            return ()

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        found = await self.list_executions(instance)
        return next((each for each in found if each.execution_id == execution_id), None)

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        try:
            return self._read(await self._ask("GET", _path(instance, "stats")), InstanceStats)
        except InstanceNotFound:
            return None

    async def get_system_metrics(self) -> SystemMetrics:
        return self._read(await self._ask("GET", "/v1/system"), SystemMetrics)

    async def get_queue_depths(self) -> QueueDepths:
        return self._read(await self._ask("GET", "/v1/queues"), QueueDepths)

    async def suspend_instance(self, instance: str, reason: str) -> None:
        try:
            await self._ask("POST", _path(instance, "suspend"), body=wire.encode(shapes.Suspend(reason)))
        except InstanceNotFound as error:
            raise Refused("suspend_instance", str(error)) from None

    async def resume_instance(self, instance: str) -> None:
        try:
            await self._ask("POST", _path(instance, "resume"))
        except InstanceNotFound as error:
            raise Refused("resume_instance", str(error)) from None

    async def list_children(self, instance: str) -> Sequence[str]:
        try:
            tree = await self.get_instance_tree(instance)
        except Refused:
            return ()
        return [member for member in tree.instances if automatic_parent(member) == instance]

    async def get_parent_id(self, instance: str) -> str | None:
        info = await self.get_instance_info(instance)
        if info is None:
            raise Refused("get_parent_id", f"expected an instance {instance}, but there is none")
        return info.parent_instance

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        return await self._of_existing("get_instance_tree", "GET", _path(instance, "tree"), InstanceTree)

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        query = {"force": "true"} if force else None
        return await self._of_existing("delete_instance", "DELETE", _path(instance), DeletedCounts, query=query)

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        body = wire.encode(shapes.Deletion(tuple(instances), force))
        return self._read(await self._ask("POST", "/v1/deletions", body=body), DeletedCounts)

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        body = wire.encode(_prune_of(options))
        return await self._of_existing("prune_executions", "POST", _path(instance, "prune"), PrunedCounts, body=body)

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        body = wire.encode(_which_of(which))
        return self._read(await self._ask("POST", "/v1/deletions/bulk", body=body, answer_s=MANY_S), DeletedCounts)

    async def prune_executions_bulk(self, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
        body = wire.encode(shapes.PruneMany(_which_of(which), _prune_of(options)))
        return self._read(await self._ask("POST", "/v1/prunings/bulk", body=body, answer_s=MANY_S), PrunedCounts)

    async def _of_existing(
        self,
        operation: str,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: bytes | None = None,
    ) -> T:
        """What is answered about an instance. Raises `Refused` if there is none, as the port has it."""
        try:
            return self._read(await self._ask(method, path, query=query, body=body), kind)
        except InstanceNotFound as error:
            raise Refused(operation, str(error)) from None

    # The node

    async def node_info(self) -> shapes.NodeInfo:
        """Which application and how many partitions the node serves."""
        return self._read(await self._ask("GET", "/v1/partitions"), shapes.NodeInfo)

    async def digest(self, partition: int) -> PartitionDigest:
        """What the owner of `partition` says its committed state is.

        Raises:
            UsageError: There is no such partition.
        """
        return self._read(await self._ask("GET", f"/v1/partitions/{partition}/digest"), PartitionDigest)

    async def _history(self, instance: str, query: Mapping[str, str | int | None]) -> Sequence[AnyEvent]:
        try:
            return self._read(await self._ask("GET", _path(instance, "history"), query=query), shapes.History).events
        except InstanceNotFound:
            return ()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        answer_s: float = ANSWER_S,
    ) -> httpx.Response:
        fields = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = await self._http.request(
                method,
                self.url + path,
                params=fields,
                content=body,
                headers=headers,
                timeout=httpx.Timeout(answer_s, connect=CONNECT_S),
            )
        except httpx.TransportError as error:
            raise Unreachable(
                f"expected a node at {self.url}, but {_why(error)}; start one with `turnlog node`, "
                "or say where it is with --url or TURNLOG_URL"
            ) from error
        if not response.is_success:
            raise self._error(response)
        self._was_reached = True
        return response

    def _error(self, response: httpx.Response) -> EngineError:
        if response.headers.get("content-type") != CONTENT_TYPE:
            return self._other_service(f"HTTP {response.status_code}")
        return error_of(self._read(response, Problem))

    def _read(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return wire.decode(response.content, kind)
        except wire.UNREADABLE as error:
            raise self._other_service(str(error)) from error

    def _other_service(self, what: str) -> Unreachable:
        return Unreachable(f"expected a node of this version at {self.url}, but what answers there is not one ({what})")


def _request_of(message: AnyMessage) -> tuple[str, str, Any]:
    """Method, path and body that stand for `message`."""
    match message:
        case StartOrchestration(parent=None):
            start = shapes.Start(
                message.name,
                message.input,
                message.version,
                message.start_at_ms,
                message.deadline_ms,
                _CHOICES.get(message.if_exists),
            )
            return "PUT", _path(message.instance), start
        case RaiseEvent():
            return "POST", _path(message.instance, "events", message.name), message.data
        case EnqueueMessage():
            return "POST", _path(message.instance, "queues", message.name), message.data
        case CancelInstance():
            return "POST", _path(message.instance, "cancel"), shapes.Cancel(message.reason, message.incarnation)
        case _:
            raise Refused(
                "enqueue_for_orchestrator",
                f"expected a start, event, queue message or cancel, but a client sent a {type(message).__name__}",
            )


def _which_of(which: InstanceFilter) -> shapes.Which:
    return shapes.Which(which.instances, which.completed_before_ms, which.limit)


def _prune_of(options: PruneOptions) -> shapes.Prune:
    return shapes.Prune(options.keep_last, options.completed_before_ms)


def _path(instance: str, *further: str) -> str:
    if not all((instance, *further)):
        raise UsageError("expected an instance id and a name, but one of them is empty")
    return "/".join(("/v1/instances", *map(_segment, (instance, *further))))


def _segment(text: str) -> str:
    # Dots alone would be taken for "here" and "up" on the way, however they are written, unless both are encoded.
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _why(error: httpx.TransportError) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return "nothing listens there"
        case httpx.TimeoutException():
            return "it did not answer in time"
        case _:
            return f"the connection broke ({error or type(error).__name__})"
