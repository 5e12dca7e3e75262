"""What does `/v1` answer? One table of endpoints, and a function for each that asks the provider."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

import anyio
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from engine.begun import begun
from engine.errors import EngineError, Retryable, UsageError
from engine.model.ids import root_instance_id_problem
from engine.model.messages import CancelInstance, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.removal import DeletedCounts, PrunedCounts
from engine.model.views import InstanceInfo, InstanceStats, InstanceTree, QueueDepths, SystemMetrics
from engine.start_options import reuse_policy
from provider_log.answers import PartitionDigest
from provider_log.server import exposition, shapes
from provider_log.server.asking import Ask, json_response


class Endpoint(NamedTuple):
    """A line of the table: what is asked where, and the shapes of question and answer.

    Attributes:
        answers: Shape of the body by status; None is no body, `str` is plain text.
        query: Fields of the query.
        body: Shape of the body; `Payload` is any JSON, None is no body. An endpoint of `MessageQuery` puts a message
            in a queue, and takes `Idempotency-Key` and `traceparent`.
    """

    method: str
    path: str
    answer: Callable[[Ask], Awaitable[Response]]
    answers: dict[HTTPStatus, type[Struct | str] | None]
    query: type[Struct] = shapes.NoQuery
    body: type[Struct] | None = None


async def list_instances(ask: Ask) -> Response:
    """Instances by id."""
    query = ask.query(shapes.ListQuery)
    found = await ask.served.listed(status=query.status, name=query.name, limit=query.limit + 1, after=query.after)
    page, more = found.instances[: query.limit], len(found.instances) > query.limit
    next_after = page[-1].instance if more else None
    return json_response(shapes.InstancePage(page, next=next_after, partitions=found.partitions))


async def get_instance(ask: Ask) -> Response:
    """State of an instance."""
    return json_response(await ask.existing())


async def start(ask: Ask) -> Response:
    """Start an orchestration; nothing happens if the instance exists, unless `if_exists` says else."""
    if problem := root_instance_id_problem(ask.instance):
        raise UsageError(problem)
    body = await ask.body_as(shapes.Start)
    if not body.name:
        raise UsageError("expected the name of an orchestration, but it is empty")
    message = StartOrchestration(
        instance=ask.instance,
        name=body.name,
        input=body.input,
        version=body.version,
        start_at_ms=body.start_at_ms,
        deadline_ms=body.deadline_ms,
        if_exists=reuse_policy(body.if_exists),
        message_id=ask.message_id,
        traceparent=ask.traceparent,
    )
    if message.if_exists is not None:
        return await _decided(ask, message)
    return await ask.put(message)


async def _decided(ask: Ask, message: StartOrchestration) -> Response:
    """The answer to a start that says whether it began the instance; as to any other, if nobody knows in time."""
    if message.message_id is None:
        raise UsageError("expected an Idempotency-Key beside if_exists, by which the start is known, but there is none")
    if message.start_at_ms is not None or ask.query(shapes.MessageQuery).delay_ms:
        raise UsageError("expected no delay beside if_exists, for who is there by then is not known before")
    accepted = await ask.put(message)
    with anyio.move_on_after(shapes.START_MS / 1000):
        await begun(ask.served, message.instance, message.message_id)
    return accepted


async def has_consumed(ask: Ask) -> Response:
    """Whether a turn of the instance has consumed a message, as far as that is remembered."""
    message_id = ask.query(shapes.ConsumedQuery).message_id
    return json_response(shapes.Consumed(ask.instance, await ask.served.has_consumed(ask.instance, message_id)))


async def raise_event(ask: Ask) -> Response:
    """Raise an event; the body is its data."""
    query = ask.query(shapes.EventQuery)
    return await ask.put(
        RaiseEvent(
            instance=ask.instance,
            name=ask.segment("name"),
            data=await ask.payload(),
            keep=query.keep,
            message_id=ask.message_id,
            traceparent=ask.traceparent,
        ),
        query.delay_ms,
    )


async def enqueue_message(ask: Ask) -> Response:
    """Put a message in a queue of the instance; the body is its data."""
    return await ask.put(
        EnqueueMessage(
            instance=ask.instance,
            name=ask.segment("name"),
            data=await ask.payload(),
            message_id=ask.message_id,
            traceparent=ask.traceparent,
        )
    )


async def cancel(ask: Ask) -> Response:
    """Ask an instance to end."""
    body = await ask.body_as(shapes.Cancel)
    return await ask.put(
        CancelInstance(
            instance=ask.instance,
            reason=body.reason,
            incarnation=body.incarnation,
            message_id=ask.message_id,
            traceparent=ask.traceparent,
        )
    )


async def suspend(ask: Ask) -> Response:
    """Let an instance take no turn until it is resumed."""
    body = await ask.body_as(shapes.Suspend)
    await ask.existing()
    await ask.served.suspend_instance(ask.instance, body.reason)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def resume(ask: Ask) -> Response:
    """Let a held or suspended instance go on."""
    await ask.existing()
    await ask.served.resume_instance(ask.instance)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def wait(ask: Ask) -> Response:
    """State of an instance once its revision is above `seen`, or it has ended; 204 when there is none in time."""
    query = ask.query(shapes.WaitQuery)
    found: InstanceInfo | None = None
    failed: EngineError | None = None
    async with anyio.create_task_group() as group:

        async def give_up_when(over: Callable[[], Awaitable[object]]) -> None:
            await over()
            group.cancel_scope.cancel()

        group.start_soon(give_up_when, partial(_gone, ask.request))
        group.start_soon(give_up_when, ask.closing.wait)
        try:
            with anyio.move_on_after(query.timeout_ms / 1000):
                served, instance = ask.served, ask.instance
                found = await (served.ended(instance) if query.ended else served.changed(instance, query.seen))
        except EngineError as error:
            failed = error
        group.cancel_scope.cancel()
    if failed:
        raise failed
    if ask.closing.is_set() and not found:
        raise Retryable("wait", "expected a node that goes on, but this one is stopping")
    return json_response(found) if found else Response(status_code=HTTPStatus.NO_CONTENT)


async def get_history(ask: Ask) -> Response:
    """Events of an execution, the latest if none is named."""
    query = ask.query(shapes.HistoryQuery)
    await ask.existing()
    if query.execution is None:
        events = await ask.served.read(ask.instance)
    else:
        events = await ask.served.read_with_execution(ask.instance, query.execution)
    return json_response(shapes.History(ask.instance, tuple(events)))


async def get_key_values(ask: Ask) -> Response:
    """What an instance keeps under its keys, or under the one that is named, if there is anything."""
    key = ask.query(shapes.KeysQuery).key
    await ask.existing()
    if key is None:
        return json_response(shapes.KeyValues(ask.instance, dict(await ask.served.get_key_values(ask.instance))))
    kept = await ask.served.get_key_value(ask.instance, key)
    return json_response(shapes.KeyValues(ask.instance, {} if kept is None else {key: kept}))


async def list_executions(ask: Ask) -> Response:
    """Executions of an instance."""
    await ask.existing()
    return json_response(shapes.Executions(tuple(await ask.served.list_executions(ask.instance))))


async def get_stats(ask: Ask) -> Response:
    """How large the current execution of an instance is."""
    await ask.existing()
    return json_response(await ask.served.get_instance_stats(ask.instance))


async def system_metrics(ask: Ask) -> Response:
    """How many instances, executions and events there are; reads every instance."""
    return json_response(await ask.served.get_system_metrics())


async def get_tree(ask: Ask) -> Response:
    """An instance and its automatic children, of whatever generation."""
    await ask.existing()
    return json_response(await ask.served.get_instance_tree(ask.instance))


async def delete(ask: Ask) -> Response:
    """Delete an instance with its automatic children: histories, and everything queued for them."""
    query = ask.query(shapes.DeleteQuery)
    await ask.existing()
    return json_response(await ask.served.delete_instance(ask.instance, query.force))


async def delete_several(ask: Ask) -> Response:
    """Delete exactly these instances, if all of them may be; else nobody."""
    body = await ask.body_as(shapes.Deletion)
    return json_response(await ask.served.delete_instances_atomic(body.instances, body.force))


async def prune(ask: Ask) -> Response:
    """Forget earlier executions of an instance with their histories."""
    body = await ask.body_as(shapes.Prune)
    await ask.existing()
    return json_response(await ask.served.prune_executions(ask.instance, body.as_options()))


async def delete_many(ask: Ask) -> Response:
    """Delete the trees of roots that have ended and fit; who runs is passed over."""
    body = await ask.body_as(shapes.Which)
    return json_response(await ask.served.delete_instance_bulk(body.as_filter()))


async def prune_many(ask: Ask) -> Response:
    """Forget earlier executions of all instances that fit."""
    body = await ask.body_as(shapes.PruneMany)
    return json_response(await ask.served.prune_executions_bulk(body.which.as_filter(), body.options.as_options()))


async def queue_depths(ask: Ask) -> Response:
    """How much waits in the partitions of this node."""
    return json_response(await ask.served.get_queue_depths())


async def node_info(ask: Ask) -> Response:
    """Which application and how many partitions are served here, and which of them this node has."""
    phases = {number: phase.value for number, phase in ask.served.phases().items()}
    return json_response(shapes.NodeInfo(ask.served.app, ask.served.partitions, phases, ask.served.fenced_commits))


async def digest(ask: Ask) -> Response:
    """What the state of a partition hashes to, and at which offset of its changelog."""
    text, partitions = ask.segment("partition"), ask.served.partitions
    if not (text.isascii() and text.isdecimal() and int(text) < partitions):
        raise UsageError(f"expected a partition from 0 to {partitions - 1}, but the path says {text!r}")
    return json_response(await ask.served.digest(int(text)))


async def livez(_: Ask) -> Response:
    """Is the process there?"""
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def readyz(ask: Ask) -> Response:
    """Is every partition owned and restored?"""
    ready = ask.served.ready and not ask.closing.is_set()
    return json_response(shapes.Health(ready), HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


async def metrics(ask: Ask) -> Response:
    """What the engine of this node has done and has in hand, for Prometheus."""
    if ask.measure is None:
        raise UsageError("expected a node with an engine, but this one has none")
    return Response(exposition.page(await ask.measure()), media_type=exposition.CONTENT_TYPE)


OK, ACCEPTED, NO_CONTENT = HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT
INSTANCES = "/v1/instances"
ONE = INSTANCES + "/{instance}"

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint("GET", "/livez", livez, {NO_CONTENT: None}),
    Endpoint("GET", "/readyz", readyz, {OK: shapes.Health, HTTPStatus.SERVICE_UNAVAILABLE: shapes.Health}),
    Endpoint("GET", "/metrics", metrics, {OK: str}),
    Endpoint("GET", INSTANCES, list_instances, {OK: shapes.InstancePage}, query=shapes.ListQuery),
    Endpoint("GET", ONE, get_instance, {OK: InstanceInfo}),
    Endpoint("PUT", ONE, start, {ACCEPTED: shapes.Accepted}, query=shapes.MessageQuery, body=shapes.Start),
    Endpoint("POST", ONE + "/events/{name}", raise_event, {ACCEPTED: shapes.Accepted}, shapes.EventQuery, Payload),
    Endpoint(
        "POST", ONE + "/queues/{name}", enqueue_message, {ACCEPTED: shapes.Accepted}, shapes.MessageQuery, Payload
    ),
    Endpoint("POST", ONE + "/cancel", cancel, {ACCEPTED: shapes.Accepted}, shapes.MessageQuery, shapes.Cancel),
    Endpoint("POST", ONE + "/suspend", suspend, {NO_CONTENT: None}, body=shapes.Suspend),
    Endpoint("POST", ONE + "/resume", resume, {NO_CONTENT: None}),
    Endpoint("GET", ONE + "/wait", wait, {OK: InstanceInfo, NO_CONTENT: None}, query=shapes.WaitQuery),
    Endpoint("GET", ONE + "/consumed", has_consumed, {OK: shapes.Consumed}, query=shapes.ConsumedQuery),
    Endpoint("GET", ONE + "/history", get_history, {OK: shapes.History}, query=shapes.HistoryQuery),
    Endpoint("GET", ONE + "/keys", get_key_values, {OK: shapes.KeyValues}, query=shapes.KeysQuery),
    Endpoint("GET", ONE + "/executions", list_executions, {OK: shapes.Executions}),
    Endpoint("GET", ONE + "/stats", get_stats, {OK: InstanceStats}),
    Endpoint("GET", ONE + "/tree", get_tree, {OK: InstanceTree}),
    Endpoint("DELETE", ONE, delete, {OK: DeletedCounts}, query=shapes.DeleteQuery),
    Endpoint("POST", ONE + "/prune", prune, {OK: PrunedCounts}, body=shapes.Prune),
    Endpoint("POST", "/v1/deletions", delete_several, {OK: DeletedCounts}, body=shapes.Deletion),
    Endpoint("POST", "/v1/deletions/bulk", delete_many, {OK: DeletedCounts}, body=shapes.Which),
    Endpoint("POST", "/v1/prunings/bulk", prune_many, {OK: PrunedCounts}, body=shapes.PruneMany),
    Endpoint("GET", "/v1/system", system_metrics, {OK: SystemMetrics}),
    Endpoint("GET", "/v1/queues", queue_depths, {OK: QueueDepths}),
    Endpoint("GET", "/v1/partitions", node_info, {OK: shapes.NodeInfo}),
    Endpoint("GET", "/v1/partitions/{partition}/digest", digest, {OK: PartitionDigest}),
)


async def _gone(request: Request) -> None:
    """Return when the caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
