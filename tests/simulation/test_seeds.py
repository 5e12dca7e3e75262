"""Does whatever a seed brings end as it must? Random programs, random faults of the log, nodes that crash.

A failing seed says how to repeat it alone: TURNLOG_SEED=17 pytest tests/simulation/test_seeds.py
"""

import asyncio
import os
from collections import Counter

import pytest

from engine import Engine
from engine.converter import JsonConverter
from engine.errors import ProviderError
from engine.model.messages import AnyMessage, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.status import Status
from engine.port import InstanceInfo
from engine.runtime.doors import Chance
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import LogError, LogRecord
from provider_log.log.simulated import Delay, Faults, Late, LoseReply, LoseRequest, Resend, TimeOut, Unavailable
from provider_log.log.simulated.faults import Fault, Operation
from provider_log.partition.restore import head_of
from provider_log.routing import partition_of
from provider_log.topics import Topics
from tests.simulation.nodes import Line
from tests.simulation.programs import REGISTRY, Step, below, drawn, expected, value_of_event
from tests.simulation.world import APP, World

SEEDS = 100
INSTANCES = 4
VIRTUAL_MS_MAX = 3_600_000
STARTS_MAX = 20

WRITES: tuple[Fault, ...] = (LoseReply(), LoseRequest(), Late(50), Delay(300), Unavailable())
ODDS: dict[Operation, tuple[Fault, ...]] = {
    "commit": (*WRITES, Resend(5), TimeOut()),
    "produce": (*WRITES, TimeOut()),
    "begin": WRITES,
    "append": WRITES,
    "open_producer": (LoseReply(), LoseRequest(), Late(50), Unavailable()),
    "delete_records": (LoseReply(), Unavailable()),
    "bounds": (Unavailable(),),
    "read": (LoseReply(), Unavailable()),
}


class Weather(Faults):
    """Faults by odds, until it is over."""

    is_over = False

    def draw(self, operation: Operation) -> Fault | None:
        fault = super().draw(operation)
        return None if self.is_over else fault


class Run:
    """One seed: its world, its programs, and what becomes of them."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = Chance(1_000 + seed)
        share = (0.0, 0.01, 0.05)[below(chance, 3)]
        odds: dict[Operation, list[tuple[float, Fault]]] = {
            operation: [(share / len(faults), fault) for fault in faults]
            for operation, faults in ODDS.items()
            if share > 0
        }
        self.weather = Weather(odds=odds, chance=Chance(2_000 + seed))
        self.world = World(seed=seed, faults=self.weather)
        self.partitions = (1, 4)[below(chance, 2)]
        self.options = LogProviderOptions(
            slots_used=1 + below(chance, 2),
            flush_every_ms=300,
            cut_every_ms=200,
            input_age_max_ms=(100, 5_000)[below(chance, 2)],
            input_window_max=(2, 4_096)[below(chance, 2)],
            start_timeout_ms=2_000,
            retry_ms_min=5,
            retry_ms_max=100,
        )
        self.crashes = below(chance, 4)
        self.programs = {f"i{number}": drawn(chance, steps=1 + below(chance, 5)) for number in range(INSTANCES)}
        self.all_ended = asyncio.Event()

    async def main(self) -> None:
        """Send everything, run through all crashes to the end, and check."""
        senders = [asyncio.ensure_future(self.send_all(name, steps)) for name, steps in self.programs.items()]
        for _ in range(self.crashes):
            await self.live(int(self.chance.uniform(1, 1_500)))
        for _ in range(STARTS_MAX):  # a node that could not start is started again
            if not self.all_ended.is_set():
                await self.live(VIRTUAL_MS_MAX)
        assert self.all_ended.is_set(), f"expected all to end within {VIRTUAL_MS_MAX} ms, but {self.programs}"
        await asyncio.gather(*senders)
        self.weather.is_over = True
        await self.check()

    # The outside

    async def send_all(self, instance: str, steps: tuple[Step, ...]) -> None:
        """Start the instance; send its queue messages; raise its events again and again until all is over."""
        await self.send(
            StartOrchestration(
                instance=instance,
                name="run",
                input=JsonConverter().encode({"steps": steps}, "input"),
                message_id="start",
            )
        )
        sent = Counter[str]()
        for step in steps:
            if step.kind == "queue":
                sent[step.name] += 1
                number = sent[step.name]
                await self.send(
                    EnqueueMessage(
                        instance=instance,
                        name=step.name,
                        data=JsonConverter().encode(number, "message"),
                        message_id=f"{step.name}-{number}",
                    )
                )
        names = sorted({step.name for step in steps if step.kind == "event"})
        while names and not self.all_ended.is_set():
            for name in names:
                await self.send(
                    RaiseEvent(instance=instance, name=name, data=JsonConverter().encode(value_of_event(name), "event"))
                )
            await self.world.clock.sleep_ms(200)

    async def send(self, message: AnyMessage) -> None:
        """Append to the input topic, as often as it takes: only its id says that it is one message."""
        record = LogRecord(
            topic=Topics.of(APP).orchestrator,
            partition=partition_of(message.instance, self.partitions),
            key=message.instance.encode(),
            value=codec.encode_message(message),
        )
        while True:
            try:
                await self.world.log.append(record)
            except LogError:
                await self.world.clock.sleep_ms(5)
            else:
                if self.chance.uniform(0, 1) >= 0.3:
                    return
                # It never heard the answer: by the time it asks again the message may have been consumed.
                await self.world.clock.sleep_ms(int(self.chance.uniform(0, 100)))

    # The node

    async def live(self, duration_ms: int) -> None:
        """One life of the node: until all is done, or until it is cut off and killed."""
        line = Line()
        try:
            async with (
                self.world.provider("node", partitions=self.partitions, options=self.options, line=line) as provider,
                Engine(provider, REGISTRY, clock=self.world.clock, chance=self.world.chance),
            ):
                until_ms = self.world.clock.boot_ms() + duration_ms
                while self.world.clock.boot_ms() < until_ms:
                    if await self.have_ended(provider):
                        self.all_ended.set()
                        return
                    await self.world.clock.sleep_ms(20)
                line.cut()
        except (LogError, ProviderError):
            pass  # whatever a node that was cut off says is not heard
        for store in self.world.stores.values():
            store.crash(("kept", "flushed", "lost")[below(self.chance, 3)])

    async def have_ended(self, provider: LogProvider) -> bool:
        infos = [await provider.get_instance_info(instance) for instance in self.programs]
        return all(info is not None and info.status is not Status.RUNNING for info in infos)

    # What must be true

    async def check(self) -> None:
        """Every instance ended as its oracle says, once; and each store is the fold of its log."""
        outputs: dict[str, object] = {}
        seen = Counter[tuple[object, ...]]()
        for partition in range(self.partitions):
            for record in await self.world.records(partition):
                self.count(record, seen)
            store = self.world.stores["node", partition]
            assert store.rows == await self.world.rebuilt(partition, until=head_of(store).offset)
        async with self.world.provider("reader", partitions=self.partitions) as provider:
            for instance in self.programs:
                info = await provider.get_instance_info(instance)
                outputs[instance] = _output(info)
        assert outputs == {instance: expected(steps) for instance, steps in self.programs.items()}
        assert {what: count for what, count in seen.items() if count > 1} == {}

    def count(self, record: r.AnyRecord, seen: Counter[tuple[object, ...]]) -> None:
        match record:
            case r.WorkItemAcked():
                seen["answer", record.instance, record.execution_id, record.activity_id] += 1
            case r.TurnCommitted():
                events = [(record.instance, record.execution_id, event.event_id) for event in record.events]
                seen.update(("event", *event) for event in events)
                ended = record.status is not None and record.status is not Status.RUNNING
                seen["ended", record.instance, record.execution_id] += ended
            case _:
                pass


def _output(info: InstanceInfo | None) -> object:
    if info is None or info.output is None:
        return info and info.failure
    return JsonConverter().decode(info.output, int, "output")


def _seeds() -> list[int]:
    only = os.environ.get("TURNLOG_SEED")
    return list(range(SEEDS)) if only is None else [int(only)]


@pytest.mark.parametrize("seed", _seeds())
def test_every_instance_ends_as_its_program_says(seed: int) -> None:
    run = Run(seed)
    try:
        run.world.run(run.main)
    except BaseException as error:
        error.add_note(f"repeat it with: TURNLOG_SEED={seed} pytest tests/simulation/test_seeds.py")
        raise
