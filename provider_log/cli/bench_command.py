"""How fast is it here? `turnlog bench`."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import TaskID
from rich.table import Table

from provider_log.cli.calling import note, resolved
from provider_log.cli.collector import tune_collector
from provider_log.cli.settings import KAFKA
from provider_log.cli.show import console, progress

if TYPE_CHECKING:
    from provider_log.bench.logs import MeasuredLog
    from provider_log.bench.measure import Figures


class Log(StrEnum):
    """Logs that can be measured."""

    EMBEDDED = "embedded"
    KAFKA = KAFKA


class WorkloadName(StrEnum):
    """Workloads that can be run."""

    HELLO3 = "hello3"


_MEANING = {
    "orchestrations_per_s": "orchestrations a second, {in_flight} in flight, {instances} in all",
    "p50_ms": "milliseconds from start to answer, one in flight: median",
    "p99_ms": "  99th percentile",
    "transactions_per_orchestration": "transactions of the log for each, one in flight",
    "bare_commit_p50_ms": "milliseconds of a bare transaction on the same log: median",
    "bare_commit_p99_ms": "  99th percentile",
    "p50_in_bare_commits": "median latency in bare transactions",
}


def bench(
    workload: Annotated[WorkloadName, typer.Argument(help="What to run.")],
    log: Annotated[Log, typer.Option(help="The log to run on.")] = Log.EMBEDDED,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT,…",
            help="Brokers to measure, which are loaded. [default: one of its own]",
            show_default=False,
        ),
    ] = None,
    instances: Annotated[int, typer.Option(min=100, help="Orchestrations of the throughput phase.")] = 5_000,
    in_flight: Annotated[int, typer.Option(min=1, help="How many of them at a time.")] = 1_000,
    alone: Annotated[int, typer.Option(min=10, help="Orchestrations of the latency phase.")] = 200,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Node processes that share the work, on Kafka; 0: a node in this process. [default: one a core]",
            show_default=False,
        ),
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Where to put the data: the disk to measure.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Measure a workload, beside the bare log on the same disk or brokers in the same run."""
    # Only this command needs a node's parts in its own process; the others start without them.
    import uvloop

    from provider_log.bench.measure import Plan, measure
    from provider_log.bench.workloads import WORKLOADS

    if bootstrap is not None and log is not Log.KAFKA:
        raise typer.BadParameter("expected --log kafka with --bootstrap, but it is not there")
    if nodes and log is not Log.KAFKA:
        raise typer.BadParameter(
            "expected --log kafka with --nodes, but it is not there: the embedded log is one node's"
        )
    plan = Plan(instances=instances, in_flight=in_flight, alone=alone)
    with (
        tempfile.TemporaryDirectory(dir=directory) as data,
        _measured(log, bootstrap, Path(data), (os.cpu_count() or 1) if nodes is None else nodes) as measured,
        progress() as bars,
    ):
        rows: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in rows:
                rows[phase] = bars.add_task(phase, total=total)
            bars.update(rows[phase], completed=done)

        tune_collector()
        figures = uvloop.run(measure(WORKLOADS[workload.value], measured, plan, show))
    if as_json:
        typer.echo(msgspec.json.encode(figures).decode())
    else:
        console().print(_table(figures))


@contextmanager
def _measured(log: Log, bootstrap: str | None, directory: Path, nodes: int) -> "Generator[MeasuredLog]":
    """The log to measure. No brokers but those named on the command line, or one that is started for it, are loaded."""
    from provider_log.bench import logs
    from provider_log.dev.broker import running_broker

    if log is Log.EMBEDDED:
        yield logs.embedded(directory)
    elif bootstrap is None:
        note("starting a broker")
        with running_broker() as broker:
            yield logs.kafka(broker.bootstrap, directory, nodes=nodes)
    else:
        settings = resolved(log=KAFKA, bootstrap=bootstrap).for_log()
        measured = logs.kafka(bootstrap, directory, settings.client(), nodes=nodes)
        yield measured
        note(f"the topics {measured.app}.* stay on {bootstrap}")


def _table(figures: "Figures") -> Table:
    values = msgspec.structs.asdict(figures)
    where = f", {figures.nodes} nodes, {figures.partitions} partitions" if figures.nodes else ""
    title = f"{figures.workload} on the {figures.log} log{where}"
    table = Table(box=None, show_header=False, pad_edge=False, title=title)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for name, meaning in _MEANING.items():
        table.add_row(f"{values[name]:,}", meaning.format(**values))
    return table
