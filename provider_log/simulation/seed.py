"""What does one seed stand for? A cluster, its clients and what happens to them, drawn; and whether all ended well.

Everything drawn comes from the seed, and time is the world's, so a seed is the same run wherever it runs with the same
PYTHONHASHSEED. Nodes share partitions as real ones do, through a group and the owners topic. For a while requests fail,
nodes are killed, stand still and come back, clocks step; then the weather is over, and everything must come to its end.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from msgspec import Struct, structs

from engine import ActivityContext, Engine, EngineOptions
from engine.converter import JsonConverter
from engine.errors import ProviderError
from engine.model.messages import AnyMessage, CancelInstance, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.status import Status
from engine.observe import recorded_marks
from engine.port import Provider
from engine.runtime.doors import Chance, Tasks, future_of, within
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log.cluster.sharing import Sharing, SharingOptions
from provider_log.log.port import LogError, LogRecord
from provider_log.log.simulated import Late
from provider_log.log.simulated.faults import Fault, Operation
from provider_log.partition.backlog import WorkKey
from provider_log.routing import partition_of
from provider_log.simulation.checks import check
from provider_log.simulation.group import SimulatedGroup
from provider_log.simulation.nodes import Line
from provider_log.simulation.programs import Step, below, drawn_whole, registry_with, value_of_event
from provider_log.simulation.weather import Weather
from provider_log.simulation.world import APP, World
from provider_log.topics import Topics

CALM_MS_MAX = 300_000
"""How long the end may take once nothing goes wrong any more: sessions, hand-overs and restores take some seconds."""

SHARING = SharingOptions(session_ms=6_000, drain_ms=200, hand_over_ms=6_000, confirm_ms=2_000, again_ms_max=100)
_SHORT_GRACE_MS = 50
_TOPICS = Topics.of(APP)
_LOOK_MS = 50
_FAR_MS = 10 * CALM_MS_MAX
"""A deadline that nobody passes."""


class Ran(Struct, frozen=True, kw_only=True):
    """What became of a seed.

    Attributes:
        provider_calls: Calls of the provider port, by engines.
        log_requests: Requests that met the simulated log.
        faults: How many of each kind.
        virtual_ms: How long it took by the world's clock.
        marks: Rare paths that were taken.
        failure: What was not as it should be; None if all was.
    """

    seed: int
    nodes: int
    partitions: int
    instances: int
    provider_calls: int
    log_requests: int
    faults: dict[str, int]
    virtual_ms: int
    marks: tuple[str, ...]
    failure: str | None


def run_seed(seed: int) -> Ran:
    """Run it, and check everything."""
    cluster = Cluster(seed)
    failure: str | None = None
    with recorded_marks() as marks:
        try:
            cluster.world.run(cluster.main)
        except Exception as error:  # whatever it is, the seed found it
            failure = f"{type(error).__name__}: {error}"
    return Ran(
        seed=seed,
        nodes=cluster.nodes,
        partitions=cluster.partitions,
        instances=len(cluster.programs),
        provider_calls=cluster.provider_calls,
        log_requests=cluster.weather.requests,
        faults=dict(cluster.weather.happened),
        virtual_ms=cluster.world.clock.boot_ms(),
        marks=tuple(sorted(marks)),
        failure=failure,
    )


class Cluster:
    """One seed's world: what is in it, and its run."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = Chance(2 * seed)
        self.weather = Weather((0.005, 0.01, 0.03)[below(chance, 3)], Chance(2 * seed + 1), self.follow_up)
        self.world = World(seed=seed, faults=self.weather)
        self.nodes = (1, 2, 2, 2, 2, 2, 2, 3)[below(chance, 8)]
        self.partitions = (1, 2, 2, 4)[below(chance, 4)]
        self.rough_ms = int(chance.uniform(1_000, 10_000))
        self.travel_ms = (0, 3, 10)[below(chance, 3)]
        self.patience_ms = (0, 50, 400)[below(chance, 3)]
        self.options = LogProviderOptions(
            slots_used=(1, 2, 2)[below(chance, 3)],
            flush_every_ms=300,
            cut_every_ms=200,
            orphan_grace_ms=(_SHORT_GRACE_MS, 60_000)[below(chance, 2)],
            input_age_max_ms=(100, 5_000)[below(chance, 2)],
            input_window_max=(2, 4_096)[below(chance, 2)],
            start_timeout_ms=2_000,
            retry_ms_min=5,
            retry_ms_max=100,
        )
        self.engine_options = EngineOptions(max_sessions=(1, 10, 10)[below(chance, 3)])
        self.programs = {f"i{number}": drawn_whole(chance) for number in range(6 + below(chance, 6))}
        self.lines: dict[str, Line] = {}
        self.tasks = Tasks("cluster", self._broke)
        self.broken: asyncio.Future[None] | None = None
        self.provider_calls = 0
        self.ends: set[str] = set()
        self.all_ended = asyncio.Event()
        self.begun: set[WorkKey] = set()
        self.registry = registry_with(self._note_begun)

    async def main(self) -> None:
        """Let it all happen, then wait for the end, and check.

        Raises:
            AssertionError: A rule was broken.
        """
        clock, tasks = self.world.clock, self.tasks
        broken = self.broken = asyncio.get_running_loop().create_future()
        group = SimulatedGroup(SHARING.session_ms, clock, self.chance, self._broke)
        for name, steps in self.programs.items():
            tasks.spawn(f"client of {name}", self.send_all(name, steps))
        tasks.spawn("ends", self.watch_ends())
        tasks.spawn("weather", self.change_weather())
        tasks.spawn("squalls", self.squalls())
        tasks.spawn("strangers", self.strangers())
        nodes = [tasks.spawn(f"node{number}", self.node(f"node{number}", group)) for number in range(self.nodes)]
        ended = future_of(self.all_ended.wait())
        try:
            first = asyncio.wait({ended, broken}, return_when=asyncio.FIRST_COMPLETED)
            await within(clock, first, self.rough_ms + CALM_MS_MAX)
            if broken.done():
                broken.result()
            await asyncio.wait(nodes)
        except TimeoutError as error:
            raise AssertionError(
                f"expected all to end within {CALM_MS_MAX} ms of calm, but {sorted(self.programs.keys() - self.ends)} "
                "did not"
            ) from error
        finally:
            ended.cancel()
            await tasks.aclose(clock, patience_ms=60_000)
            await group.aclose()
        await self.strangers_gone()
        await check(self.world, self.partitions, self.programs, self.begun)

    async def change_weather(self) -> None:
        """Bad for a while, then good for ever."""
        clock = self.world.clock
        await clock.sleep_ms(self.rough_ms // 2)
        if below(self.chance, 4) == 0:
            self.weather.note("ClockStep")
            clock.step_wall(int(self.chance.uniform(-30_000, 30_000)))
        await clock.sleep_ms(self.rough_ms // 2)
        self.weather.is_over = True

    async def squalls(self) -> None:
        """Now and then, for a moment."""
        while not self.weather.is_over:
            await self.world.clock.sleep_ms(int(self.chance.uniform(100, 2_000)))
            self.weather.is_squall = True
            await self.world.clock.sleep_ms(int(self.chance.uniform(10, 100)))
            self.weather.is_squall = False

    async def strangers(self) -> None:
        """Now and then somebody else's transaction stands open on a history: nobody reads on until it is timed out."""
        while not self.weather.is_over:
            await self.world.clock.sleep_ms(int(self.chance.uniform(500, 6_000)))
            if self.weather.is_over or below(self.chance, 2):
                continue
            self.weather.note("StuckWriter")
            partition = below(self.chance, self.partitions)
            record = LogRecord(topic=_TOPICS.history, partition=partition, key=None, value=b"never committed")
            with contextlib.suppress(LogError):
                stranger = await self.world.log.open_producer("stranger")
                await stranger.produce([record])

    async def strangers_gone(self) -> None:
        """Return when every history can be read to its end."""
        for partition in range(self.partitions):
            while await self.world.log.open_transaction(_TOPICS.history, partition) is not None:
                await self.world.clock.sleep_ms(_LOOK_MS)

    def follow_up(self, operation: Operation, fault: Fault) -> None:
        """What arrives late does harm if others are lost meanwhile and a node dies then: chance alone seldom has it so.

        An end of a transaction above all, which may end the next but one of its slot (KAFKA-17754).
        """
        if not isinstance(fault, Late) or (operation != "commit" and below(self.chance, 2)):
            return
        if operation == "commit" and self.weather.commits_heard is None:
            self.weather.commits_heard = 1  # a client that asks again is heard
        self.tasks.spawn("follow-up", self.kill_all(fault.delay_ms + int(self.chance.uniform(0, 20))))

    async def kill_all(self, after_ms: int) -> None:
        """A power cut."""
        await self.world.clock.sleep_ms(after_ms)
        self.weather.commits_heard = None
        for _, line in sorted(self.lines.items()):
            if line.is_open and not self.weather.is_over:
                self.weather.note("Kill")
                line.cut()

    async def travel(self) -> None:
        """What a call to the log takes, and an answer."""
        if self.travel_ms:
            await self.world.clock.sleep_ms(int(self.chance.uniform(0, self.travel_ms)))

    async def patience(self) -> None:
        """What a node waits for an answer that does not come."""
        await self.world.clock.sleep_ms(1 + int(self.chance.uniform(0, self.patience_ms)))

    # The outside

    async def send_all(self, instance: str, steps: tuple[Step, ...]) -> None:
        """Start the instance; send its queue messages; raise its events again and again until all is over.

        Where they wait long enough for their instance, the messages are sent first, and some starts are put off; else
        some messages are sent to nobody.
        """
        encode = JsonConverter().encode
        fate = steps[-1] if steps[-1].kind == "never" else None
        start = StartOrchestration(
            instance=instance,
            name="run",
            input=encode({"steps": steps}, "input"),
            message_id="start",
            deadline_ms=fate.number if fate and fate.name == "deadline" else (None, _FAR_MS)[below(self.chance, 2)],
        )
        if fate and fate.name == "cancel":
            self.tasks.spawn(f"cancel of {instance}", self.cancel(instance, fate.number))
        is_patient = self.options.orphan_grace_ms > _SHORT_GRACE_MS
        if is_patient:
            await self.send_messages(instance, steps)
            if below(self.chance, 4) == 0:
                start_at_ms = self.world.clock.now_ms() + int(self.chance.uniform(0, 2_000))
                start = structs.replace(start, start_at_ms=start_at_ms)
            await self.send(start)
        else:
            await self.send(start)
            await self.send_messages(instance, steps)
            await self.send_messages(f"nobody-{instance}", steps)
        names = sorted({step.name for step in steps if step.kind == "event"})
        while names and not self.all_ended.is_set():
            for name in names:
                data, is_kept = encode(value_of_event(name), "event"), below(self.chance, 4) == 0
                await self.send(RaiseEvent(instance=instance, name=name, data=data, keep=is_kept))
            await self.world.clock.sleep_ms(200)

    async def cancel(self, instance: str, after_ms: int) -> None:
        """Ask for its end again and again: what comes before the instance is there is not for it."""
        while instance not in self.ends:
            await self.world.clock.sleep_ms(after_ms)
            await self.send(CancelInstance(instance=instance, reason="no more of it"))

    async def send_messages(self, instance: str, steps: tuple[Step, ...]) -> None:
        """Every queue message that the steps wait for, in order."""
        encode = JsonConverter().encode
        sent = Counter[str]()
        for step in steps:
            if step.kind == "queue":
                sent[step.name] += 1
                number = sent[step.name]
                data, message_id = encode(number, "message"), f"{step.name}-{number}"
                await self.send(EnqueueMessage(instance=instance, name=step.name, data=data, message_id=message_id))

    async def send(self, message: AnyMessage) -> None:
        """Append to the input topic, as often as it takes: only its id says that it is one message."""
        partition = partition_of(message.instance, self.partitions)
        if isinstance(message, RaiseEvent) and below(self.chance, 20) == 0:
            # A producer with another partitioner: what it sends comes late, which is no matter for an event.
            self.weather.note("Misrouted")
            partition = below(self.chance, self.partitions)
        value = codec.encode_message(message)
        if below(self.chance, 50) == 0:
            self.weather.note("Garbage")
            await self.append(partition, b"noise", value[:-1])
        await self.append(partition, message.instance.encode(), value)

    async def append(self, partition: int, key: bytes, value: bytes) -> None:
        record = LogRecord(topic=_TOPICS.orchestrator, partition=partition, key=key, value=value)
        while True:
            try:
                await self.world.log.append(record)
            except LogError:
                await self.world.clock.sleep_ms(5)
                continue
            if self.weather.is_over or self.chance.uniform(0, 1) >= 0.3:
                return
            # It never heard the answer: by the time it asks again the message may have been consumed.
            self.weather.note("SentAgain")
            await self.world.clock.sleep_ms(int(self.chance.uniform(0, 100)))

    async def watch_ends(self) -> None:
        """Consume the outcomes, as any service would, until every program has one."""
        positions = dict.fromkeys(range(self.partitions), 0)
        while not self.programs.keys() <= self.ends:
            for partition, position in positions.items():
                try:
                    reader = await self.world.log.open_reader(_TOPICS.outcomes, partition, position)
                    stored = await reader.read(1_000, 0)
                except LogError:
                    continue
                self.ends |= {codec.decode_outcome(one.value).instance for one in stored if one.value is not None}
                positions[partition] = reader.position
            await self.world.clock.sleep_ms(_LOOK_MS)
        self.all_ended.set()

    # The nodes

    async def node(self, name: str, group: SimulatedGroup) -> None:
        """One node's lives, until all is done."""
        while not self.all_ended.is_set():
            line = self.lines[name] = Line(self.travel, self.patience)
            fate = future_of(self.befall(line))
            try:
                await self.live(name, group, line)
            except (LogError, ProviderError):
                pass  # a node that could not start, or that was cut off and says so to nobody
            finally:
                fate.cancel()
            if line.was_cut.is_set():
                self.crash_stores(name)
            # A process takes a while to come up again; some so long that the group gives their partitions to others.
            longest_ms = 100 if self.weather.is_over or below(self.chance, 3) else 2 * SHARING.session_ms
            await self.world.clock.sleep_ms(int(self.chance.uniform(5, longest_ms)))

    async def live(self, name: str, group: SimulatedGroup, line: Line) -> None:
        """One life, until all is done or it is killed."""
        clock, chance = self.world.clock, self.world.chance
        membership = group.membership(name, line)
        sharing = Sharing(name, membership, clock, chance, SHARING, self._given_up)
        tasks = Tasks(name, self._broke)
        over = [future_of(event.wait()) for event in (self.all_ended, line.was_cut)]
        try:
            async with self.world.provider(
                name, partitions=self.partitions, options=self.options, line=line, shared=sharing
            ) as provider:
                membership.join(self.partitions)
                tasks.spawn("sharing", sharing.run(provider.held))
                tasks.spawn("operator", self.operate(provider))
                counted = cast("Provider", _Counted(provider, self))
                async with Engine(counted, self.registry, self.engine_options, clock=clock, chance=chance):
                    await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
                    sharing.leave(self.partitions)
                await tasks.aclose(clock, patience_ms=60_000)
        finally:
            for waiting in over:
                waiting.cancel()
            await tasks.aclose(clock, patience_ms=60_000)
            await membership.aclose()

    async def operate(self, provider: LogProvider) -> None:
        """Suspend somebody now and then for a while, and resume whoever is suspended, whoever did it."""
        while True:
            await self.world.clock.sleep_ms(int(self.chance.uniform(20, 600)))
            names = sorted(self.programs.keys() - self.ends)
            if names and not self.weather.is_over:
                with contextlib.suppress(ProviderError):
                    await provider.suspend_instance(names[below(self.chance, len(names))], "for a while")
                    self.weather.note("Suspended")
                await self.world.clock.sleep_ms(int(self.chance.uniform(0, 500)))
            for name in names:
                with contextlib.suppress(ProviderError):
                    info = await provider.get_instance_info(name)
                    if info is not None and info.status is Status.SUSPENDED:
                        await provider.resume_instance(name)

    async def befall(self, line: Line) -> None:
        """What happens to a node: it stands still for a moment, or longer than its session; it is killed."""
        while not self.weather.is_over:
            await self.world.clock.sleep_ms(int(self.chance.uniform(200, 4_000)))
            if self.weather.is_over:
                return
            match below(self.chance, 4):
                case 0:
                    self.weather.note("Kill")
                    line.cut()
                    return
                case 1:
                    await self.pause(line, "ShortPause", 10, SHARING.session_ms // 2)
                case 2:
                    await self.pause(line, "LongPause", SHARING.session_ms, 2 * SHARING.session_ms)
                case _:
                    pass

    async def pause(self, line: Line, kind: str, shortest_ms: int, longest_ms: int) -> None:
        self.weather.note(kind)
        line.freeze()
        await self.world.clock.sleep_ms(int(self.chance.uniform(shortest_ms, longest_ms)))
        line.thaw()

    def crash_stores(self, name: str) -> None:
        """Its disk has all, what was flushed, or nothing; or somebody puts another partition's files there."""
        stores = self.world.stores
        for (node, partition), store in stores.items():
            if node == name:
                store.crash(("kept", "flushed", "lost")[below(self.chance, 3)])
                others = [other for (_, number), other in stores.items() if number != partition]
                if others and below(self.chance, 10) == 0:
                    self.weather.note("ForeignStore")
                    store.become(others[below(self.chance, len(others))])

    def _broke(self, error: BaseException) -> None:
        if self.broken is not None and not self.broken.done():
            self.broken.set_exception(error)

    def _given_up(self, partition: int, error: Exception) -> None:
        self._broke(AssertionError(f"expected every node to be able to hold partition {partition}, but {error!r}"))

    def _note_begun(self, ctx: ActivityContext) -> None:
        self.begun.add((ctx.instance, ctx.execution_id, ctx.activity_id))


class _Counted:
    """A provider whose calls are counted."""

    def __init__(self, provider: LogProvider, cluster: Cluster) -> None:
        self._provider = provider
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        found: Any = getattr(self._provider, name)
        if not callable(found):
            return found
        called = cast("Callable[..., Any]", found)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._cluster.provider_calls += 1
            return called(*args, **kwargs)

        return counted
