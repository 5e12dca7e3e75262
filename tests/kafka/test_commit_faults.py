"""What becomes of a commit when any one of its requests fails? The log tells: nothing is lost, nothing is there twice.

Each kind of request is hit by each fault, at its first, second, third … occurrence after the start of some work, until
the work gets through without it. All on one node, which comes out of every doubt.
"""

import asyncio
from collections.abc import Awaitable

import pytest

from engine.model.events import OrchestrationCompleted, OrchestrationStarted
from engine.model.messages import StartOrchestration
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from tests.kafka.nodes import ANSWERS, App, run_all, working
from tests.kafka.proxy import Api, Lose, Proxy, proxied

INSTANCES = 2
K_MAX = 60
STEP = {Lose.SILENT: 3}
"""Each silence lasts as long as a commit may: only some of the requests are met with it."""

CALLS_MAX = 5
COMMIT = (Api.ADD_PARTITIONS, Api.PRODUCE, Api.END_TXN)

NULL = Payload(b"null")
COMPLETED = TurnResult(
    execution_id=1,
    history_delta=(
        OrchestrationStarted(event_id=1, timestamp_ms=1, name="go", version="1", input=NULL, incarnation=7),
        OrchestrationCompleted(event_id=2, timestamp_ms=1, output=NULL),
    ),
    metadata=ExecutionMetadata(status=Status.COMPLETED, output=NULL),
)


@pytest.mark.parametrize("fault", list(Lose), ids=lambda fault: fault.name)
@pytest.mark.parametrize("api", [*COMMIT, Api.INIT_PRODUCER_ID], ids=lambda api: api.name)
async def test_one_fault_at_every_request_of_a_commit_changes_nothing(bootstrap: str, api: Api, fault: Lose) -> None:
    app, names, met = App(bootstrap), list[str](), 0
    async with (
        proxied(bootstrap) as proxy,
        app.node(proxy.bootstrap, transaction_timeout_ms=1_500) as provider,
        working(provider) as client,
    ):
        for k in range(0, K_MAX, STEP.get(fault, 1)):
            proxy.lose(api, *[None] * k, fault)
            if api is Api.INIT_PRODUCER_ID:
                proxy.lose(Api.END_TXN, Lose.REPLY)  # a doubt: every slot is taken anew
            names += (some := [f"i-{k}-{number}" for number in range(INSTANCES)])
            await run_all(client, some)
            await proxy.deliver()
            if proxy.spare(api):
                break
            met += 1
        else:
            raise AssertionError(f"expected the work to get through with less than {K_MAX} of {api.name}")
    assert met > 0
    history = await app.written()
    assert (history.ended, history.answered.total()) == (len(names), ANSWERS * len(names))
    if api is Api.END_TXN:
        assert history.owners == met + 1, "expected a doubt for each missing answer, and nobody who believes anything"


@pytest.mark.parametrize("api", COMMIT, ids=lambda api: api.name)
async def test_who_gives_up_at_any_request_leaves_the_commit_to_its_partition(bootstrap: str, api: Api) -> None:
    """A sender, and who waits for a turn, is cancelled at the first, second, third … request after the call."""
    app, names = App(bootstrap), list[str]()
    async with proxied(bootstrap) as proxy, app.node(proxy.bootstrap) as provider:
        for k in range(1, CALLS_MAX):
            name = f"i-{k}"
            names.append(name)
            start = StartOrchestration(instance=name, name="go", input=NULL, message_id="start")
            await given_up(proxy, api, k, provider.enqueue_for_orchestrator(start))
            await provider.enqueue_for_orchestrator(start)  # by its id the same, and so what every caller may do
            item = await provider.fetch_orchestration_item(60_000, 10_000)
            assert item is not None
            assert item.instance == name
            await given_up(proxy, api, k, provider.ack_orchestration_item(item.lock_token, COMPLETED))
            while (info := await provider.changed(name, 0)).status is not Status.COMPLETED:
                await provider.changed(name, info.revision)
    history = await app.written()
    assert (history.ended, history.owners) == (len(names), 1), "expected commits that nobody disturbed"


async def given_up(proxy: Proxy, api: Api, k: int, call: Awaitable[None]) -> None:
    """Make the call, and cancel it at the k-th request of a kind from now on, if it still waits then."""
    reaching = asyncio.ensure_future(proxy.reached(api, proxy.seen[api] + k))
    calling = asyncio.ensure_future(call)
    await asyncio.wait({calling, reaching}, return_when=asyncio.FIRST_COMPLETED)
    for one in (calling, reaching):
        one.cancel()
    await asyncio.wait({calling, reaching})
