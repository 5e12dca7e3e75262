"""How is a workload measured? Throughput with many in flight, latency with one, transactions counted from the log."""

import statistics
from collections.abc import Callable
from contextlib import aclosing

from msgspec import Struct

from engine.clock import SystemClock
from engine.runtime.doors import Tasks
from provider_log import codec
from provider_log import records as r
from provider_log.audit.reading import read_all
from provider_log.bench.load import Load
from provider_log.bench.logs import MeasuredLog
from provider_log.bench.workloads import Workload
from provider_log.log.port import LogCorrupted, LogRecord, TopicSpec
from provider_log.topics import Topics

_ALONE = "alone-"
_WARM = "warm-"
_MANY = "many-"
_WARM_UP = 50
_COMMITS = 200

Progress = Callable[[str, int, int], None]
"""Called with the phase, how many are done, and how many there are."""


class Plan(Struct, frozen=True, kw_only=True):
    """How much to measure.

    Attributes:
        instances: Orchestrations of the throughput phase.
        in_flight: How many of them at a time.
        alone: Orchestrations of the latency phase, one at a time.
    """

    instances: int = 5_000
    in_flight: int = 1_000
    alone: int = 200


class Figures(Struct, frozen=True, kw_only=True):
    """What came out.

    Attributes:
        nodes: Processes of nodes that shared the partitions, with work put in and ends seen by the topics; 0 is a node
            and its client in the process that measured.
        orchestrations_per_s: From the first start to the last end, ramps included, with `in_flight` in flight.
        p50_ms, p99_ms: From the call of start to the answer, one orchestration in flight.
        transactions_per_orchestration: Transactions of the history in the latency phase, counted from the log.
        bare_commit_p50_ms, bare_commit_p99_ms: One transaction of one 500-byte record on the bare log, same disk or
            brokers, same run, before the phases; one after another over as many transactional ids as a partition uses.
        p50_in_bare_commits: `p50_ms` in units of the bare log's commit: what is left when the log is divided out.
    """

    workload: str
    log: str
    nodes: int
    partitions: int
    instances: int
    in_flight: int
    orchestrations_per_s: float
    p50_ms: float
    p99_ms: float
    transactions_per_orchestration: float
    bare_commit_p50_ms: float
    bare_commit_p99_ms: float
    p50_in_bare_commits: float


async def measure(workload: Workload, log: MeasuredLog, plan: Plan, progress: Progress) -> Figures:
    """Run all phases on `log`.

    Raises:
        AssertionError: An orchestration returned something else than it must.
        UsageError: A node ended before it was ready.
    """
    commits = await _bare_commits(log, progress)
    async with log.load(workload) as load:
        run = _Run(load, workload, progress)
        await run.one_by_one(_WARM, _WARM_UP)
        latencies = await run.one_by_one(_ALONE, plan.alone)
        per_s = await run.many(plan.instances, plan.in_flight)
    transactions = await _transactions(log)
    p50, bare_p50 = _percentile(latencies, 50), _percentile(commits, 50)
    return Figures(
        workload=workload.name,
        log=log.name,
        nodes=log.nodes,
        partitions=log.partitions,
        instances=plan.instances,
        in_flight=plan.in_flight,
        orchestrations_per_s=round(per_s, 1),
        p50_ms=round(p50, 2),
        p99_ms=round(_percentile(latencies, 99), 2),
        transactions_per_orchestration=round(transactions / plan.alone, 2),
        bare_commit_p50_ms=round(bare_p50, 2),
        bare_commit_p99_ms=round(_percentile(commits, 99), 2),
        p50_in_bare_commits=round(p50 / bare_p50, 1),
    )


class _Run:
    """What is measured, under load."""

    def __init__(self, load: Load, workload: Workload, progress: Progress) -> None:
        self._load = load
        self._workload = workload
        self._progress = progress
        self._clock = SystemClock()

    async def _one(self, instance: str) -> float:
        """Milliseconds from start to answer."""
        begun_us = self._clock.boot_us()
        output = await self._load.output_of(instance)
        assert output == self._workload.output, (
            f"expected {self._workload.output!r}, but {instance} returned {output!r}"
        )
        return (self._clock.boot_us() - begun_us) / 1000

    async def one_by_one(self, prefix: str, count: int) -> list[float]:
        """The latency of each, in milliseconds."""
        latencies: list[float] = []
        for number in range(count):
            latencies.append(await self._one(f"{prefix}{number}"))
            self._progress(prefix.rstrip("-"), number + 1, count)
        return latencies

    async def many(self, count: int, in_flight: int) -> float:
        """Orchestrations per second, with at most `in_flight` of `count` in flight."""
        numbers = iter(range(count))
        done = 0
        failed: list[BaseException] = []
        tasks = Tasks("bench", failed.append)

        async def one_after_another() -> None:
            nonlocal done
            for number in numbers:
                await self._one(f"{_MANY}{number}")
                done += 1
                self._progress("many", done, count)

        begun_us = self._clock.boot_us()
        for number in range(in_flight):
            tasks.spawn(f"client-{number}", one_after_another())
        await tasks.settle()
        if failed:
            raise failed[0]
        return count / ((self._clock.boot_us() - begun_us) / 1_000_000)


async def _bare_commits(measured: MeasuredLog, progress: Progress) -> list[float]:
    """Milliseconds of each of some transactions of one record, one after another, in a topic of their own."""
    clock = SystemClock()
    log = await measured.open_bare()
    topic = f"{measured.app}.bare"
    try:
        await log.create_topics([TopicSpec(name=topic, partitions=1, record_bytes_max=1024)])
        producers = [await log.open_producer(f"{topic}.{slot}") for slot in range(measured.slots)]
        record = LogRecord(topic=topic, partition=0, key=b"k", value=bytes(500))
        latencies: list[float] = []
        for number in range(_COMMITS):
            producer = producers[number % len(producers)]
            begun_us = clock.boot_us()
            await producer.produce([record])
            await producer.commit()
            latencies.append((clock.boot_us() - begun_us) / 1000)
            progress("bare log", number + 1, _COMMITS)
        return latencies
    finally:
        await log.close()


async def _transactions(measured: MeasuredLog) -> int:
    """Transactions that carried anything of the latency phase's instances."""
    log = await measured.open_log()
    topic = Topics.of(measured.app).history
    batches: set[tuple[bytes, int]] = set()
    try:
        for partition in range(measured.partitions):
            async with aclosing(read_all(log, topic, partition, await log.bounds(topic, partition))) as history:
                async for one in history:
                    assert not isinstance(one, LogCorrupted), one
                    record = codec.decode_record(one.value or b"")
                    if isinstance(record, r.TurnCommitted | r.WorkItemAcked) and record.instance.startswith(_ALONE):
                        batches.add((record.envelope.owner_token, record.envelope.batch))
        return len(batches)
    finally:
        await log.close()


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
