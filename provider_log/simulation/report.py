"""What became of many seeds? They run in some processes side by side; their figures come together here."""

import asyncio
import os
import statistics
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec
from msgspec import Struct

from engine.errors import EngineError
from engine.observe import declared_marks
from engine.runtime.doors import Tasks
from provider_log.simulation.seed import Ran

_LINE_BYTES_MAX = 1024 * 1024
SEEDS_OF_ALL_PATHS = 1_000
"""So many seeds take every rare path of the provider: the rarest ones are taken by about one in a hundred."""

_HARMLESS = {"SentAgain", "Suspended"}
_FAMILIES = frozenset({"delivery", "lane", "partition", "pipeline", "restore", "sharing"})

Progress = Callable[[int, int], None]
"""Called with how many have run and how many failed."""


class WorkerEnded(EngineError):
    """A process that ran seeds ended before it had run them all; the text is what it said last."""


class Spread(Struct, frozen=True):
    """How a number lies over the seeds."""

    least: int
    p10: int
    median: int
    p90: int
    most: int


class Failed(Struct, frozen=True):
    """A seed that found something, and the command that runs it again."""

    seed: int
    failure: str
    repeat: str


class Report(Struct, frozen=True, kw_only=True):
    """Many seeds.

    Attributes:
        steps: Calls of the provider and requests of the log, of all seeds together.
        faults: How many of each kind.
        marks: In how many seeds each rare path was taken; those of the provider also if it was in none.
        provider_calls, fault_count, fault_kinds, nodes: How they lie over the seeds. That a client sends twice, or an
            operator suspends, counts as no fault there, for there is much of it.
        failures: Seeds that ended otherwise than they must.
        never_taken: Rare paths of the provider that none of them took, of `SEEDS_OF_ALL_PATHS` or more.
    """

    first: int
    seeds: int
    steps: int
    faults: dict[str, int]
    marks: dict[str, int]
    provider_calls: Spread
    fault_count: Spread
    fault_kinds: Spread
    nodes: Spread
    failures: tuple[Failed, ...]
    never_taken: tuple[str, ...]


async def simulate(first: int, count: int, jobs: int, progress: Progress) -> Report:
    """Run `count` seeds from `first` on, `jobs` at a time.

    Raises:
        WorkerEnded: A process that ran some of them died.
    """
    ran: list[Ran] = []
    errors: list[BaseException] = []
    tasks = Tasks("simulate", errors.append)

    async def work(job: int) -> None:
        async for one in _worker(first + job, first + count, jobs):
            ran.append(one)
            progress(len(ran), sum(each.failure is not None for each in ran))

    for job in range(min(jobs, count)):
        tasks.spawn(f"worker {job}", work(job))
    await tasks.settle()
    if errors:
        raise errors[0]
    return _report(first, sorted(ran, key=lambda one: one.seed))


async def _worker(first: int, end: int, step: int) -> AsyncGenerator[Ran]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "provider_log.simulation.worker", str(first), str(end), str(step)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # the order of sets is part of what a seed stands for
    )
    assert process.stdout is not None
    assert process.stderr is not None
    decode = msgspec.json.Decoder(Ran).decode
    try:
        async for line in process.stdout:
            yield decode(line)
        said = (await process.stderr.read()).decode(errors="replace").strip()
        if await process.wait() != 0:
            raise WorkerEnded(f"expected every seed from {first} on to run, but the process ended: {said[-2_000:]}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _report(first: int, ran: Sequence[Ran]) -> Report:
    faults, marks = Counter[str](), Counter[str]()
    for one in ran:
        faults.update(one.faults)
        marks.update(one.marks)
    taken = {name: marks[name] for name in sorted({*marks, *filter(_is_ours, declared_marks())})}
    meant = [{kind: number for kind, number in one.faults.items() if kind not in _HARMLESS} for one in ran]
    return Report(
        first=first,
        seeds=len(ran),
        steps=sum(one.provider_calls + one.log_requests for one in ran),
        faults=dict(sorted(faults.items())),
        marks=taken,
        provider_calls=_spread([one.provider_calls for one in ran]),
        fault_count=_spread([sum(kinds.values()) for kinds in meant]),
        fault_kinds=_spread([len(kinds) for kinds in meant]),
        nodes=_spread([one.nodes for one in ran]),
        failures=tuple(
            Failed(one.seed, one.failure, f"turnlog simulate --first {one.seed} --seeds 1")
            for one in ran
            if one.failure is not None
        ),
        never_taken=tuple(name for name, seeds in taken.items() if not seeds and len(ran) >= SEEDS_OF_ALL_PATHS),
    )


def _is_ours(mark: str) -> bool:
    return mark.partition(".")[0] in _FAMILIES


def _spread(values: Sequence[int]) -> Spread:
    if len(values) == 1:
        (only,) = values
        return Spread(only, only, only, only, only)
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Spread(min(values), round(tenths[0]), round(tenths[4]), round(tenths[8]), max(values))
