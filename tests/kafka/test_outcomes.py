"""Does a plain consumer of the outcomes see each end exactly once, whatever happened to the owners meanwhile?"""

import itertools
import json
import uuid
from collections import Counter
from typing import Any

from aiokafka import AIOKafkaProducer

from engine import Engine, OrchestrationContext, Registry, orchestration
from engine.model.status import TERMINAL
from provider_log import LogProvider, LogProviderOptions
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log
from provider_log.store.memory import DictStore
from tests.kafka.proxy import Api, Lose, proxied
from tests.kafka.stranger import as_json, consuming, decoded, producing

DOUBTS = [
    (Api.END_TXN, Lose.REPLY),
    (Api.END_TXN, Lose.REQUEST),
    (Api.PRODUCE, Lose.REPLY),
    (Api.PRODUCE, Lose.REQUEST),
]
ENDS = {"return": ("COMPLETED", 4), "raise": ("FAILED", "no lamp left"), "cancel": ("CANCELLED", "asked to")}


@orchestration
async def end(ctx: OrchestrationContext) -> int:
    if await ctx.wait_event("end") == "raise":
        raise LookupError("no lamp left")
    return 4


REGISTRY = Registry(orchestrations=[end])


def owner(bootstrap: str, app: str, node: str, *, takes_again: bool = True) -> LogProvider:
    """A node; without `takes_again` it lets go of the partition when another one takes it."""

    async def open_log() -> Log:
        return await KafkaLog.open(bootstrap)

    async def is_placed_here(_partition: int) -> bool:
        return takes_again

    return LogProvider(
        app=app,
        partitions=1,
        open_log=open_log,
        open_store=lambda _partition, _threads: DictStore(),
        options=LogProviderOptions(slots_used=2, retry_ms_min=5, retry_ms_max=200),
        node=node,
        is_placed_here=is_placed_here,
    )


class Stranger:
    """Starts and ends instances with a plain producer, and reads how they ended with a plain consumer."""

    def __init__(self, producer: AIOKafkaProducer, bootstrap: str, app: str) -> None:
        self._producer = producer
        self._bootstrap = bootstrap
        self._app = app

    async def send(self, kind: str, instance: str, **fields: object) -> None:
        value, headers = as_json(kind, {"instance": instance, **fields})
        await self._producer.send_and_wait(f"{self._app}.orchestrator", value, instance.encode(), headers=headers)

    async def end(self, instance: str, how: str) -> None:
        if how == "cancel":
            await self.send("CancelInstance", instance, reason="asked to")
        else:
            await self.send("RaiseEvent", instance, name="end", data=how)

    async def outcomes_until(self, last: str) -> list[dict[str, Any]]:
        """Every outcome up to that of instance `last`."""
        seen: list[dict[str, Any]] = []
        async with consuming(self._bootstrap, f"{self._app}.outcomes") as consumer:
            while not seen or seen[-1]["instance"] != last:
                record = await consumer.getone()
                name, outcome = decoded(record.value)
                assert name == "turnlog.outcomes.Outcome"
                assert record.key == outcome["instance"].encode()
                seen.append(outcome)
        return seen


async def test_each_end_is_seen_once_through_doubts_and_a_change_of_owner(bootstrap: str) -> None:
    app = f"a{uuid.uuid4().hex}"
    doubted = {f"{how}-{number}": how for number in range(len(DOUBTS)) for how in ENDS}
    late, last = {"late": "return"}, {"last": "return"}
    async with proxied(bootstrap) as proxy, producing(bootstrap) as producer:
        stranger = Stranger(producer, bootstrap, app)
        async with owner(proxy.bootstrap, app, "first", takes_again=False) as first, Engine(first, REGISTRY):
            for instance in doubted | late | last:
                await stranger.send("StartOrchestration", instance, name="end")
                await first.changed(instance, 0)
            for (instance, how), (api, what) in zip(doubted.items(), itertools.cycle(DOUBTS), strict=False):
                proxy.lose(api, what)
                await stranger.end(instance, how)
                await ended(first, instance)
            proxy.lose(Api.END_TXN, Lose.LATE)
            sent = proxy.seen[Api.END_TXN]
            await stranger.end("late", "return")
            await proxy.reached(Api.END_TXN, sent + 1)
            async with owner(bootstrap, app, "second") as second, Engine(second, REGISTRY):
                await proxy.deliver()
                await ended(second, "late")
                await stranger.end("last", "return")
                seen = await stranger.outcomes_until("last")
                owned = await owners(bootstrap, app)

    assert owned >= len(doubted) + 2, "expected a doubt at each end, and another owner then"
    assert Counter(outcome["instance"] for outcome in seen) == Counter([*doubted, *late, *last])
    said = {outcome["instance"]: how_it_ended(outcome) for outcome in seen}
    assert said == {instance: ENDS[how] for instance, how in (doubted | late | last).items()}


async def ended(provider: LogProvider, instance: str) -> None:
    info = await provider.changed(instance, 0)
    while info.status not in TERMINAL:
        info = await provider.changed(instance, info.revision)


async def owners(bootstrap: str, app: str) -> int:
    """How many there have been, the last being `second`."""
    count = 0
    async with consuming(bootstrap, f"{app}.owners") as consumer:
        while decoded((await consumer.getone()).value)[1]["node"] != "second":
            count += 1
    return count + 1


def how_it_ended(outcome: dict[str, Any]) -> tuple[str, object]:
    if outcome["output"] is not None:
        return outcome["status"], json.loads(outcome["output"]["data"])
    return outcome["status"], outcome["failure"]["message"]
