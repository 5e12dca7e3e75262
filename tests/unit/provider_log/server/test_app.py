"""What does a node answer over HTTP, and what does it refuse?"""

import json
import logging
from collections.abc import AsyncGenerator
from functools import partial

import anyio
import anyio.lowlevel
import httpx
import msgspec
import pytest

from engine.clock import ManualClock
from engine.model.events import OrchestrationCompleted, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.key_values import KeyValueChange
from engine.model.messages import CancelInstance, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import NULL, Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.port import OrchestrationItem
from provider_log.server import openapi, shapes
from provider_log.server.app import create_app
from provider_log.server.endpoints import ENDPOINTS
from tests.unit.provider_log.served import ServedMemory

URL = "http://127.0.0.1:8620"
JSON = {"content-type": "application/json"}


@pytest.fixture
def served() -> ServedMemory:
    return ServedMemory(ManualClock())


@pytest.fixture
async def http(served: ServedMemory) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(served) as client:
        yield client


def client_of(served: ServedMemory, token: str | None = None, closing: anyio.Event | None = None) -> httpx.AsyncClient:
    app = create_app(served, token=token, closing=closing)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL)


async def fetched(served: ServedMemory) -> OrchestrationItem:
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    return item


async def run_to_the_end(served: ServedMemory, instance: str, name: str = "ship") -> None:
    """One turn that starts `instance` and completes it with 5."""
    await served.enqueue_for_orchestrator(StartOrchestration(instance=instance, name=name, input=Payload(b"1")))
    item = await fetched(served)
    started = OrchestrationStarted(
        event_id=1, timestamp_ms=item.now_ms, name=name, version="1.0", input=Payload(b"1"), incarnation=1
    )
    done = OrchestrationCompleted(event_id=2, timestamp_ms=item.now_ms, output=Payload(b"5"))
    metadata = ExecutionMetadata(
        status=Status.COMPLETED,
        output=Payload(b"5"),
        orchestration_name=name,
        orchestration_version="1.0",
        incarnation=1,
    )
    await served.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=(started, done), metadata=metadata)
    )


async def hold(served: ServedMemory, instance: str) -> None:
    await served.enqueue_for_orchestrator(StartOrchestration(instance=instance, name="ship", input=Payload(b"1")))
    item = await fetched(served)
    await served.hold_orchestration_item(item.lock_token, Failure(Category.NONDETERMINISM, "Nondeterminism", "moved"))


# What goes in


async def test_a_start_becomes_the_message_it_says(http: httpx.AsyncClient, served: ServedMemory) -> None:
    answer = await http.put(
        "/v1/instances/order-1",
        json={"name": "ship", "version": "2.0", "input": {"b": 1, "a": [2]}},
        headers={"idempotency-key": "k1", "traceparent": "00-aa-bb-01"},
    )
    assert (answer.status_code, answer.json()) == (202, {"instance": "order-1"})
    assert (await fetched(served)).messages == (
        StartOrchestration(
            instance="order-1",
            name="ship",
            version="2.0",
            input=Payload(b'{"b":1,"a":[2]}'),
            message_id="k1",
            traceparent="00-aa-bb-01",
        ),
    )


async def test_a_message_with_a_known_idempotency_key_is_dropped(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await run_to_the_end(served, "a")
    for _ in range(2):
        answer = await http.post("/v1/instances/a/events/paid", content=b"true", headers={"idempotency-key": "k"})
        assert answer.status_code == 202
    assert (await fetched(served)).messages == (
        RaiseEvent(instance="a", name="paid", data=Payload(b"true"), message_id="k"),
    )


async def test_events_queue_messages_and_cancels_reach_the_instance(
    http: httpx.AsyncClient, served: ServedMemory
) -> None:
    await run_to_the_end(served, "a")
    await http.post("/v1/instances/a/events/paid", content=b'{"by": "card"}')
    await http.post("/v1/instances/a/queues/lines")
    await http.post("/v1/instances/a/cancel", json={"reason": "too late", "incarnation": 3})
    await http.post("/v1/instances/a/cancel")
    assert (await fetched(served)).messages == (
        RaiseEvent(instance="a", name="paid", data=Payload(b'{"by": "card"}')),
        EnqueueMessage(instance="a", name="lines", data=Payload(b"null")),
        CancelInstance(instance="a", reason="too late", incarnation=3),
        CancelInstance(instance="a", reason=shapes.Cancel().reason),
    )


async def test_a_delayed_message_is_visible_after_its_delay() -> None:
    clock = ManualClock()
    served = ServedMemory(clock)
    async with client_of(served) as http:
        await http.put("/v1/instances/a?delay_ms=500", json={"name": "ship"})
    clock.advance(499)
    assert await served.fetch_orchestration_item(1_000, 0) is None
    clock.advance(1)
    assert (await fetched(served)).instance == "a"


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("orders%2F2026%2F1", "orders/2026/1"),
        ("a%3A%3Asub%3A%3A4", "a::sub::4"),
        ("a::sub::4", "a::sub::4"),
        ("100%25%20sure%3F%23", "100% sure?#"),
        ("%E2%82%AC", "€"),
        ("a%2Fevents%2Fb", "a/events/b"),
    ],
)
async def test_an_instance_id_in_a_path_may_hold_anything(
    http: httpx.AsyncClient, served: ServedMemory, path: str, instance: str
) -> None:
    await run_to_the_end(served, instance)
    answer = await http.get(f"/v1/instances/{path}")
    assert answer.json()["instance"] == instance
    assert (await http.post(f"/v1/instances/{path}/events/x%2Fy")).status_code == 202
    assert (await fetched(served)).messages == (RaiseEvent(instance=instance, name="x/y", data=Payload(b"null")),)


# What comes out


async def test_an_instance_shows_its_state_with_the_output_inlined(
    http: httpx.AsyncClient, served: ServedMemory
) -> None:
    await run_to_the_end(served, "a")
    answer = await http.get("/v1/instances/a")
    assert answer.headers["content-type"] == "application/json"
    shown = answer.json()
    assert (shown["status"], shown["output"], shown["orchestration_name"]) == ("completed", 5, "ship")


async def test_the_history_is_a_list_of_typed_events(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await run_to_the_end(served, "a")
    for query in ("", "?execution=1"):
        history = (await http.get("/v1/instances/a/history" + query)).json()
        assert [event["type"] for event in history["events"]] == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert (await http.get("/v1/instances/a/history?execution=2")).json()["events"] == []


async def test_executions_queues_and_partitions_are_shown(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await run_to_the_end(served, "a")
    await http.put("/v1/instances/b", json={"name": "ship"})
    (execution,) = (await http.get("/v1/instances/a/executions")).json()["executions"]
    assert (execution["execution_id"], execution["status"], execution["event_count"]) == (1, "completed", 2)
    assert (await http.get("/v1/queues")).json() == {"orchestrator_queue": 1, "worker_queue": 0, "timer_queue": 0}
    assert (await http.get("/v1/partitions")).json() == {
        "app": "shop",
        "partitions": 2,
        "phases": {"0": "running", "1": "restoring"},
        "fenced_commits": 3,
    }
    assert (await http.get("/v1/partitions/1/digest")).json()["partition"] == 1


async def test_a_list_is_paged_by_instance_id(http: httpx.AsyncClient, served: ServedMemory) -> None:
    for instance in ("a", "b/2", "c"):
        await run_to_the_end(served, instance)
    pages: list[list[str]] = []
    query: dict[str, str | int] = {"limit": 1, "status": "completed", "name": "ship"}
    while True:
        page = (await http.get("/v1/instances", params=query)).json()
        pages.append([info["instance"] for info in page["instances"]])
        if "next" not in page:
            break
        query["after"] = page["next"]
    assert pages == [["a"], ["b/2"], ["c"]]
    assert (await http.get("/v1/instances?name=other")).json() == {"instances": [], "partitions": [0, 1]}
    assert (await http.get("/v1/instances?status=held")).json() == {"instances": [], "partitions": [0, 1]}


async def test_a_held_instance_is_resumed(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await hold(served, "a")
    assert (await http.post("/v1/instances/a/resume")).status_code == 204
    assert (await fetched(served)).instance == "a"


async def test_a_tree_is_shown_pruned_and_deleted(http: httpx.AsyncClient, served: ServedMemory) -> None:
    for instance in ("a", "a::sub::2", "b", "c"):
        await run_to_the_end(served, instance)
    assert (await http.get("/v1/instances/a/tree")).json() == {"root": "a", "instances": ["a", "a::sub::2"]}
    pruned = await http.post("/v1/instances/a/prune", json={"keep_last": 2})
    assert (pruned.status_code, pruned.json()) == (200, {"instances": 0, "executions": 0, "events": 0})
    deleted = await http.delete("/v1/instances/a")
    assert deleted.json() == {"instances": 2, "executions": 2, "events": 4, "queue_messages": 0}
    assert (await http.get("/v1/instances/a")).status_code == 404
    several = await http.post("/v1/deletions", json={"instances": ["b", "c"]})
    assert several.json()["instances"] == 2


async def test_keys_are_shown(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await served.enqueue_for_orchestrator(StartOrchestration(instance="a", name="ship", input=Payload(b"1")))
    item = await fetched(served)
    changes = (KeyValueChange("b c", Payload(b"[1]")), KeyValueChange("a", Payload(b"null")))
    await served.ack_orchestration_item(item.lock_token, TurnResult(execution_id=1, key_values=changes))
    at_ms = item.now_ms
    one, other = {"value": [1], "updated_at_ms": at_ms}, {"value": None, "updated_at_ms": at_ms}
    found = await http.get("/v1/instances/a/keys")
    assert (found.status_code, found.json()) == (200, {"instance": "a", "values": {"a": other, "b c": one}})
    assert (await http.get("/v1/instances/a/keys?key=b%20c")).json()["values"] == {"b c": one}
    assert (await http.get("/v1/instances/a/keys?key=d")).json()["values"] == {}


async def test_sizes_are_shown(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await run_to_the_end(served, "a")
    stats = (await http.get("/v1/instances/a/stats")).json()
    assert (stats["history_events"], stats["queue_pending"]) == (2, 0)
    assert (await http.get("/v1/system")).json() == {
        "instances": 1,
        "executions": 1,
        "events": 2,
        "by_status": {"completed": 1},
    }


async def test_many_are_deleted_and_pruned_by_a_filter(http: httpx.AsyncClient, served: ServedMemory) -> None:
    for instance in ("a", "b", "c", "d"):
        await run_to_the_end(served, instance)
    await hold(served, "held")
    pruned = await http.post("/v1/prunings/bulk", json={"which": {"instances": ["a"]}, "options": {"keep_last": 1}})
    assert (pruned.status_code, pruned.json()["instances"]) == (200, 0)
    for body, left in (
        ({"completed_before_ms": 0}, ["a", "b", "c", "d", "held"]),
        ({"instances": ["b", "nobody"]}, ["a", "c", "d", "held"]),
        ({"limit": 1}, ["c", "d", "held"]),
        ({}, ["held"]),
    ):
        assert (await http.post("/v1/deletions/bulk", json=body)).status_code == 200
        assert [info.instance for info in await served.list_instances()] == left


async def test_what_runs_is_deleted_by_force_alone(http: httpx.AsyncClient, served: ServedMemory) -> None:
    for instance in ("a", "b"):
        await hold(served, instance)
    for answer in (await http.delete("/v1/instances/a"), await http.post("/v1/deletions", json={"instances": ["b"]})):
        assert (answer.status_code, answer.json()["type"]) == (409, "Refused")
        assert "expected what has ended, or force, but" in answer.json()["detail"]
    assert (await http.delete("/v1/instances/a?force=true")).status_code == 200
    assert (await http.post("/v1/deletions", json={"instances": ["b"], "force": True})).status_code == 200


# Waiting


async def test_a_wait_answers_when_the_instance_moves_on(http: httpx.AsyncClient, served: ServedMemory) -> None:
    answers: list[httpx.Response] = []
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            answers.append(await http.get("/v1/instances/a/wait?seen=0&timeout_ms=60000"))

        group.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        assert not answers
        await run_to_the_end(served, "a")
    assert answers[0].json()["status"] == "completed"
    seen = answers[0].json()["revision"]
    assert (await http.get(f"/v1/instances/a/wait?seen={seen - 1}")).json()["revision"] == seen


async def test_a_wait_for_the_end_is_answered_by_nothing_else(http: httpx.AsyncClient, served: ServedMemory) -> None:
    await served.enqueue_for_orchestrator(StartOrchestration(instance="a", name="ship", input=NULL))
    await served.ack_orchestration_item((await fetched(served)).lock_token, TurnResult(execution_id=1))
    assert (await http.get("/v1/instances/a/wait?seen=0")).json()["status"] == "running"
    assert (await http.get("/v1/instances/a/wait?ended=true&timeout_ms=1")).status_code == 204
    await run_to_the_end(served, "a")
    assert (await http.get("/v1/instances/a/wait?ended=true")).json()["status"] == "completed"


async def test_a_wait_in_vain_says_so_with_no_content(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/instances/nobody/wait?timeout_ms=1")
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_node_that_stops_ends_its_waits_and_is_ready_no_more(served: ServedMemory) -> None:
    closing = anyio.Event()
    answers: list[httpx.Response] = []
    async with client_of(served, closing=closing) as http, anyio.create_task_group() as group:

        async def wait() -> None:
            answers.append(await http.get("/v1/instances/a/wait?timeout_ms=60000"))

        group.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        closing.set()
        assert (await http.get("/readyz")).status_code == 503
    assert (answers[0].status_code, answers[0].json()["type"]) == (503, "Retryable")


async def test_a_wait_of_a_caller_who_hung_up_is_given_up(served: ServedMemory) -> None:
    app = create_app(served)
    sent: list[object] = []
    hung_up = anyio.Event()

    async def receive() -> dict[str, object]:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/instances/a/wait",
        "raw_path": b"/v1/instances/a/wait",
        "query_string": b"timeout_ms=60000",
        "headers": [(b"host", b"localhost")],
    }
    async with anyio.create_task_group() as group:
        group.start_soon(partial(app, scope, receive, send))  # pyright: ignore[reportArgumentType] - the messages are as loose as ASGI
        await anyio.lowlevel.checkpoint()
        hung_up.set()
    assert sent


# Health


async def test_a_node_that_restores_is_alive_but_not_ready(http: httpx.AsyncClient, served: ServedMemory) -> None:
    served.ready = False
    assert (await http.get("/livez")).status_code == 204
    readyz = await http.get("/readyz")
    assert (readyz.status_code, readyz.json()) == (503, {"ready": False})
    answer = await http.get("/v1/instances")
    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (503, "Retryable", "1")
    served.ready = True
    assert (await http.get("/readyz")).json() == {"ready": True}


# What is refused

TOO_DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind", "says"),
    [
        (
            "GET",
            "/v1/instances/nobody",
            b"",
            404,
            "InstanceNotFound",
            "expected an instance 'nobody', but there is none",
        ),
        ("GET", "/v1/instances/nobody/history", b"", 404, "InstanceNotFound", "but there is none"),
        ("GET", "/v1/instances/nobody/executions", b"", 404, "InstanceNotFound", "but there is none"),
        ("POST", "/v1/instances/nobody/resume", b"", 404, "InstanceNotFound", "but there is none"),
        ("POST", "/v1/instances/done/resume", b"", 409, "Refused", "held"),
        ("POST", "/v1/instances/nobody/suspend", b"{}", 404, "InstanceNotFound", "but there is none"),
        ("POST", "/v1/instances/done/suspend", b"{}", 409, "Refused", "to be running, but it is completed"),
        ("GET", "/v1/instances/nobody/stats", b"", 404, "InstanceNotFound", "but there is none"),
        ("GET", "/v1/instances/nobody/tree", b"", 404, "InstanceNotFound", "but there is none"),
        ("GET", "/v1/instances/nobody/keys", b"", 404, "InstanceNotFound", "but there is none"),
        ("DELETE", "/v1/instances/nobody", b"", 404, "InstanceNotFound", "but there is none"),
        ("DELETE", "/v1/instances/done?forse=true", b"", 400, "UsageError", "expected a query of force"),
        ("POST", "/v1/instances/nobody/prune", b"", 404, "InstanceNotFound", "but there is none"),
        ("POST", "/v1/instances/done/prune", b'{"keep": 1}', 400, "UsageError", "but it has 'keep'"),
        ("POST", "/v1/instances/done/prune", b'{"keep_last": -1}', 400, "UsageError", "keep_last"),
        ("POST", "/v1/deletions/bulk", b'{"limit": 0}', 400, "UsageError", "limit"),
        ("POST", "/v1/deletions/bulk", b'{"force": true}', 400, "UsageError", "but it has 'force'"),
        ("POST", "/v1/prunings/bulk", b"", 400, "UsageError", "expected a PruneMany with 'which', but it has none"),
        ("POST", "/v1/deletions", b'{"instances": ["nobody"]}', 409, "Refused", "but there is none"),
        ("PUT", "/v1/instances/a", b'{"name"', 400, "UsageError", "expected a JSON object of name, input, version"),
        ("PUT", "/v1/instances/a", b'{"name": 5}', 400, "UsageError", "name: Expected `str`, got `int`"),
        ("PUT", "/v1/instances/a", b'{"name": ""}', 400, "UsageError", "expected the name of an orchestration"),
        ("PUT", "/v1/instances/a", b'{"name": "f", "id": 1}', 400, "UsageError", "but it has 'id'"),
        ("PUT", "/v1/instances/a", b"", 400, "UsageError", "expected a Start with 'name', but it has none"),
        ("PUT", "/v1/instances/a", b'{"name": "\xff"}', 400, "UsageError", "expected a JSON object"),
        ("PUT", "/v1/instances/a", TOO_DEEP, 400, "UsageError", "expected a JSON object"),
        ("PUT", "/v1/instances/a%3A%3Asub%3A%3A1", b'{"name": "f"}', 400, "UsageError", "it marks automatic children"),
        ("PUT", "/v1/instances/" + "a" * 513, b'{"name": "f"}', 400, "UsageError", "at most 512 bytes"),
        ("PUT", "/v1/instances/%FF", b'{"name": "f"}', 400, "UsageError", "expected percent-encoded UTF-8"),
        ("PUT", "/v1/instances/a?delay_ms=-1", b'{"name": "f"}', 400, "UsageError", "$.delay_ms"),
        ("POST", "/v1/instances/a/events/x", b"{", 400, "UsageError", "expected a body of JSON, but"),
        ("POST", "/v1/instances/a/queues/x", TOO_DEEP, 400, "UsageError", "expected a body of JSON, but"),
        ("POST", "/v1/instances/a/cancel", b'{"reason": []}', 400, "UsageError", "reason: Expected `str`"),
        ("GET", "/v1/instances?limit=many", b"", 400, "UsageError", "expected a query of status, name, limit, after"),
        ("GET", "/v1/instances?limit=0", b"", 400, "UsageError", "$.limit"),
        ("GET", "/v1/instances?status=tired", b"", 400, "UsageError", "$.status"),
        ("GET", "/v1/instances?page=2", b"", 400, "UsageError", "`page`"),
        ("GET", "/v1/instances?limit=1&limit=2", b"", 400, "UsageError", "each field of the query once"),
        ("GET", "/v1/instances/done?verbose=1", b"", 400, "UsageError", "expected a query of no fields"),
        ("GET", "/v1/instances/done/history?execution=0", b"", 400, "UsageError", "$.execution"),
        ("GET", "/v1/instances/done/wait?timeout_ms=9999999", b"", 400, "UsageError", "$.timeout_ms"),
        ("GET", "/v1/partitions/2/digest", b"", 400, "UsageError", "expected a partition from 0 to 1, but"),
        ("GET", "/v1/partitions/-1/digest", b"", 400, "UsageError", "expected a partition from 0 to 1, but"),
        ("GET", "/v2/instances", b"", 404, "UsageError", "there is none at GET /v2/instances"),
        ("GET", "/v1/instances/", b"", 404, "UsageError", "there is none at GET /v1/instances/"),
        ("PATCH", "/v1/instances/done", b"", 405, "UsageError", "there is none at PATCH /v1/instances/done"),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_with_both_halves(
    http: httpx.AsyncClient,
    served: ServedMemory,
    method: str,
    path: str,
    body: bytes,
    status: int,
    kind: str,
    says: str,
) -> None:
    await run_to_the_end(served, "done")
    answer = await http.request(method, path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["type"], problem["status"]) == (kind, status)
    assert says in problem["detail"]
    assert "Traceback" not in answer.text


async def test_a_body_beyond_the_bound_is_refused_before_it_is_held(http: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while sent < 10 * shapes.BODY_BYTES_MAX:
            sent += 1024 * 1024
            yield b" " * 1024 * 1024

    answer = await http.post("/v1/instances/a/events/x", content=endless())
    assert (answer.status_code, answer.json()["type"]) == (413, "UsageError")
    assert sent <= 2 * shapes.BODY_BYTES_MAX


async def test_an_idempotency_key_has_a_length(http: httpx.AsyncClient) -> None:
    for key in ("", "k" * 201):
        answer = await http.post("/v1/instances/a/events/x", headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["type"]) == (400, "UsageError")


async def test_an_error_nobody_foresaw_is_logged_and_told_without_its_traceback(
    served: ServedMemory, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ServedMemory):
        async def get_instance_info(self, instance: str):
            raise ZeroDivisionError(f"secret of {instance}")

    async with client_of(Broken(ManualClock())) as http:
        with caplog.at_level(logging.ERROR):
            answer = await http.get("/v1/instances/a")
    assert (answer.status_code, answer.json()["type"]) == (500, "EngineError")
    assert "secret" not in answer.text
    assert "ZeroDivisionError: secret of a" in caplog.text


# Who may ask


async def test_a_node_with_a_token_answers_its_holder_alone(served: ServedMemory) -> None:
    async with client_of(served, token="geheim") as http:
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "geheim"}):
            answer = await http.get("/v1/queues", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json()["type"] == "UsageError"
        good = {"authorization": "Bearer geheim", "host": "node-3.example"}
        assert (await http.get("/v1/queues", headers=good)).status_code == 200
        assert (await http.get("/livez")).status_code == 204
        assert (await http.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8620"}, 200),
        ({"host": "[::1]:8620"}, 200),
        ({"host": "127.9.9.9"}, 200),
        ({"host": "127.0.0.1:8620", "origin": "http://127.0.0.1:8620"}, 200),
        ({"host": "rebound.example:8620"}, 403),
        ({"host": "10.0.0.7"}, 403),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_a_node_without_a_token_answers_programs_of_this_machine_alone(
    http: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await http.get("/v1/queues", headers=headers)).status_code == status


# The document


def test_the_openapi_document_is_the_one_in_docs() -> None:
    with open("docs/openapi.json", "rb") as file:
        assert file.read() == openapi.text(), "make it anew: python -m provider_log.server.openapi > docs/openapi.json"


def test_the_openapi_document_names_every_endpoint_and_every_shape_it_uses() -> None:
    document = openapi.document()
    operations = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert operations == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    text = msgspec.json.encode(document).decode()
    used = {part.split('"', 1)[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used == set(document["components"]["schemas"])
    assert json.loads(text)["components"]["schemas"]["Payload"] == openapi.ANY_PAYLOAD
