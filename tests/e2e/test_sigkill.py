"""Does everything end once, and nothing happen twice, when a node is killed again and again? The log alone tells."""

import contextlib
import random
import re
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from engine import Client
from engine.clock import SystemClock
from engine.errors import Unreachable
from engine.model.events import ActivityCompleted, ActivityScheduled, AnyEvent
from engine.model.status import TERMINAL, Status
from provider_log import codec
from provider_log import records as r
from provider_log.audit.verify import verify
from provider_log.log.port import StoredRecord
from provider_log.server.remote import RemoteProvider
from provider_log.topics import Topics
from tests.e2e.log_at_rest import open_log, read_all
from tests.e2e.node_process import PATIENCE_S, next_line, running

READY_AT = re.compile(r"ready at (http://\S+:\d+)")
INSTANCES = 200
STEPS = 20
POLL_MS = 2
START_MS = 1_000
"""About what a node takes to be ready."""
KILLED_AT_START = 0.15
"""As many lives end before they, or just when they, are ready."""

CODE = f"""
import os

from engine import ActivityContext, OrchestrationContext, Registry, activity, orchestration

LIFE = os.environ["LIFE"]
JOURNAL = os.open("journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@activity
async def step(ctx: ActivityContext, number: int) -> int:
    os.write(JOURNAL, f"{{LIFE}} {{ctx.instance}} {{ctx.activity_id}} {{ctx.attempt}}\\n".encode())
    return number * number


@orchestration
async def climb(ctx: OrchestrationContext, height: int) -> int:
    name, _, place = ctx.instance.partition("-")
    for number in range({STEPS}):
        height = height * 31 % 1_000_003 + await ctx.schedule_activity(step, number)
        if number == 1 and int(place) % 2 == 0:
            ctx.start_detached(climb, int(place) + 1, instance=f"{{name}}-{{int(place) + 1}}")
    return height


registry = Registry(orchestrations=[climb], activities=[step])
"""


def climbed(height: int) -> int:
    """What `climb` returns: any step left out, repeated or out of its order changes it."""
    for number in range(STEPS):
        height = height * 31 % 1_000_003 + number * number
    return height


class Begun(NamedTuple):
    """A line of the journal: an activity began."""

    life: int
    instance: str
    activity_id: int
    attempt: int


class Mountain:
    """A data directory, its journal, and the lives of the nodes that were there, one after another."""

    def __init__(self, directory: Path, partitions: int) -> None:
        self.directory = directory
        self.partitions = partitions
        self.urls: dict[int, str] = {}
        # Each of these starts another one, which lives in another partition as often as not.
        self.missing = {f"climb-{number}": number for number in range(0, INSTANCES, 2)}
        self._read_bytes = 0
        self._begun: list[Begun] = []
        (directory / "mountain.py").write_text(CODE)
        (directory / "journal").touch()

    def journal(self) -> Sequence[Begun]:
        """Every whole line so far. A line is one write, so a kill tears none."""
        with (self.directory / "journal").open("rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.decode().splitlines():
            life, instance, activity_id, attempt = line.split()
            self._begun.append(Begun(int(life), instance, int(activity_id), int(attempt)))
        return self._begun

    def begun(self) -> int:
        """How many of all activities have begun at least once."""
        return len({(line.instance, line.activity_id) for line in self.journal()})

    def node(self, life: int) -> AbstractAsyncContextManager[tuple[Process, BufferedByteReceiveStream]]:
        """A node, for as long as it lives; its life's number goes into the journal."""
        arguments = (
            "--app-module",
            "mountain:registry",
            "--listen",
            "127.0.0.1:0",
            "--partitions",
            f"{self.partitions}",
        )
        return running(("node", *arguments), self.directory, {"LIFE": str(life), "PYTHONHASHSEED": "0"})

    async def ready(self, life: int, lines: BufferedByteReceiveStream) -> str:
        """Where the node answers, as soon as it is ready."""
        return self.has_said(life, await next_line(lines, "ready at "))

    def has_said(self, life: int, text: str) -> str:
        """The address in what a node said; without one it was never ready, and has done nothing."""
        found = READY_AT.search(text)
        if found is None:
            return ""
        self.urls[life] = found[1]
        return found[1]

    async def start_missing(self, url: str) -> None:
        """Start what no node has acknowledged yet, while this one lives."""
        with contextlib.suppress(Unreachable):
            async with RemoteProvider(url) as remote:
                for instance, height in list(self.missing.items()):
                    await Client(remote).start("climb", height, instance=instance)
                    del self.missing[instance]

    async def live_until_killed(self, life: int, chance: random.Random, lives_left: int) -> None:
        """A life that ends where chance wants it, and always amid work."""
        async with self.node(life) as (process, lines), anyio.create_task_group() as group:
            if chance.random() < KILLED_AT_START:
                await SystemClock().sleep_ms(int(chance.uniform(0, START_MS)))
            else:
                group.start_soon(self.start_missing, await self.ready(life, lines))
                begun, lines_before = self.begun(), len(self.journal())
                share = (INSTANCES * STEPS - begun) / (lives_left + 1)
                wanted = begun + int(chance.uniform(0, 2 * share))
                with anyio.fail_after(PATIENCE_S):
                    while self.begun() < wanted or len(self.journal()) == lines_before:
                        assert process.returncode is None, "the node ended by itself"
                        await SystemClock().sleep_ms(POLL_MS)
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            if life not in self.urls:
                self.has_said(life, b"".join([part async for part in lines]).decode())
            group.cancel_scope.cancel()

    async def live_to_the_end(self, life: int) -> dict[str, object]:
        """A life in which all ends; the results."""
        async with self.node(life) as (process, lines):
            url = await self.ready(life, lines)
            await self.start_missing(url)
            async with RemoteProvider(url) as remote:
                client = Client(remote)
                results = {f"climb-{n}": await client.wait(f"climb-{n}", PATIENCE_S) for n in range(INSTANCES)}
            process.terminate()
            with anyio.fail_after(PATIENCE_S):
                assert await process.wait() == 0
        return results


class Owned(NamedTuple):
    """A record of a history, and by which owner of the partition it was written, counted from 1."""

    epoch: int
    record: r.AnyRecord


def checked(history: Sequence[StoredRecord]) -> list[Owned]:
    """The records, after a look at what is to hold of every one: owner, batch, chain, time."""
    owned: list[Owned] = []
    chain, epoch, token, time_ms = r.NO_CHAIN, 0, b"", 0
    expected = (1, 0)
    for offset, stored in enumerate(history):
        data = stored.value or b""
        record = codec.decode_record(data)
        assert stored.offset == offset
        if isinstance(record, r.OwnershipAcquired):
            assert expected[1] == 0, f"offset {offset}: a batch has no end"
            epoch, token, expected = epoch + 1, record.owner_token, (1, 0)
        elif not isinstance(record, r.Genesis):
            envelope = record.envelope
            assert envelope.owner_token == token, f"offset {offset} is void"
            assert (envelope.batch, envelope.index) == expected, f"offset {offset}: a gap"
            assert envelope.chain == chain, f"offset {offset}: the chain is broken"
            assert envelope.time_ms >= time_ms, f"offset {offset}: time goes back"
            assert envelope.last == (envelope.index + 1 == envelope.count)
            time_ms = envelope.time_ms
            expected = (envelope.batch + 1, 0) if envelope.last else (envelope.batch, envelope.index + 1)
        chain = blake2b(chain + data, digest_size=r.CHAIN_BYTES).digest()
        owned.append(Owned(epoch, record))
    assert expected[1] == 0, "the last batch has no end"
    return owned


def lives_of_owners(owned: Sequence[Owned], urls: Mapping[int, str]) -> dict[int, int]:
    """The life in which each epoch was. A life that was killed before it was ready may have an epoch, but no work."""
    waiting = list(urls.items())
    lives: dict[int, int] = {}
    for epoch, record in owned:
        if isinstance(record, r.OwnershipAcquired) and waiting and record.node == waiting[0][1]:
            lives[epoch] = waiting.pop(0)[0]
    assert not waiting, f"expected every life that was ready to have acquired, but {waiting} did not"
    return lives


def check_instances(owned: Sequence[Owned]) -> set[str]:
    """One schedule a step, one completion a schedule, one end an instance; who they are."""
    events: dict[str, list[AnyEvent]] = {}
    ends: Counter[str] = Counter()
    for _, record in owned:
        if isinstance(record, r.TurnCommitted):
            assert record.execution_id == 1
            events.setdefault(record.instance, []).extend(codec.decode_event(blob.data) for blob in record.events)
            ends[record.instance] += record.status in TERMINAL
            assert record.status in {None, Status.RUNNING, Status.COMPLETED}
    for instance, history in events.items():
        scheduled = [event.event_id for event in history if isinstance(event, ActivityScheduled)]
        completed = [event.source_event_id for event in history if isinstance(event, ActivityCompleted)]
        assert (len(scheduled), completed) == (STEPS, scheduled), instance
        assert [event.event_id for event in history] == list(range(1, len(history) + 1)), instance
        assert ends[instance] == 1, instance
    return set(events)


def check_journal(owned: Sequence[Owned], lives: Mapping[int, int], journal: Sequence[Begun]) -> None:
    """An activity begins after its turn is in the log, never again after its answer is, and once in each life."""
    scheduled: dict[tuple[str, int], int] = {}
    acked: dict[tuple[str, int], tuple[int, int]] = {}
    for epoch, record in owned:
        if isinstance(record, r.TurnCommitted):
            scheduled |= {(work.instance, work.activity_id): lives[epoch] for work in record.scheduled}
        elif isinstance(record, r.WorkItemAcked):
            key = (record.instance, record.activity_id)
            assert key not in acked
            acked[key] = (lives[epoch], record.attempt)
    begun: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for line in journal:
        begun.setdefault((line.instance, line.activity_id), []).append((line.life, line.attempt))
    assert len(scheduled) == STEPS * len({instance for instance, _ in scheduled})
    assert scheduled.keys() == acked.keys() == begun.keys()
    for activity, times in begun.items():
        assert times[0][0] >= scheduled[activity], f"{activity} began in {times}, scheduled in {scheduled[activity]}"
        assert times[-1] == acked[activity], f"{activity} began in {times}, answered in {acked[activity]}"
        assert len({life for life, _ in times}) == len(times), f"{activity} began in {times}"


@pytest.mark.parametrize(
    ("partitions", "kills", "seed"),
    [(1, 30, 20), (4, 20, 21)],
    ids=["one partition, 30 kills, seed 20", "four partitions, 20 kills, seed 21"],
)
async def test_what_is_killed_again_and_again_ends_and_nothing_happens_twice(
    tmp_path: Path, partitions: int, kills: int, seed: int
) -> None:
    mountain, chance = Mountain(tmp_path, partitions), random.Random(seed)
    for life in range(1, kills + 1):
        await mountain.live_until_killed(life, chance, kills - life + 1)
    assert mountain.begun() < INSTANCES * STEPS, "expected work to be left at every kill"
    assert await mountain.live_to_the_end(kills + 1) == {f"climb-{n}": climbed(n) for n in range(INSTANCES)}

    log = await open_log(tmp_path)
    topics = Topics.of("turnlog")
    instances: set[str] = set()
    outcomes: list[str] = []
    for partition in range(partitions):
        owned = checked(await read_all(log, topics.history, partition))
        found = check_instances(owned)
        instances |= found
        journal = [line for line in mountain.journal() if line.instance in found]
        check_journal(owned, lives_of_owners(owned, mountain.urls), journal)
        outcomes += [(stored.key or b"").decode() for stored in await read_all(log, topics.outcomes, partition)]
    await log.close()
    assert instances == set(outcomes) == {f"climb-{n}" for n in range(INSTANCES)}
    assert len(outcomes) == INSTANCES

    verdict = await verify(tmp_path / "turnlog-data")
    assert verdict.agrees, [str(finding) for finding in verdict.findings]
    assert (verdict.partitions, verdict.instances) == (partitions, INSTANCES)
    assert (verdict.activities, verdict.void) == (INSTANCES * STEPS, 0)
