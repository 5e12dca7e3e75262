"""Does a cluster keep every rule, whatever happens to it? `turnlog simulate`."""

import os
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
import typer
from rich.table import Table

from provider_log.cli.calling import AsJson, note
from provider_log.cli.exits import Exit
from provider_log.cli.show import console, progress

if TYPE_CHECKING:
    from provider_log.simulation.report import Report


def simulate(
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="How many clusters to simulate.")] = 100,
    first: Annotated[int, typer.Option(min=0, metavar="SEED", help="The first seed.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many at a time. [default: one a core]", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run clusters in memory, each drawn from a seed with all that goes wrong, and check each against every rule."""
    from provider_log.simulation.report import simulate as run

    with progress() as bars:
        task = bars.add_task("0 failed", total=seeds)

        def show(ran: int, failed: int) -> None:
            bars.update(task, completed=ran, description=f"{failed} failed")

        report = anyio.run(run, first, seeds, jobs or os.cpu_count() or 1, show)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _print(report)
    if report.failures or report.never_taken:
        raise typer.Exit(Exit.DIFFERS)


def _print(report: "Report") -> None:
    table = Table("", "least", "p10", "median", "p90", "most", title=f"{report.seeds} seeds, {report.steps:,} steps")
    for name, spread in (
        ("provider calls", report.provider_calls),
        ("faults", report.fault_count),
        ("kinds of faults", report.fault_kinds),
        ("nodes", report.nodes),
    ):
        table.add_row(name, *(str(number) for number in msgspec.structs.astuple(spread)))
    out = console()
    out.print(table)
    out.print("faults: " + ", ".join(f"{kind} {number}" for kind, number in report.faults.items()))
    out.print("rare paths: " + (", ".join(f"{mark} {n}" for mark, n in report.marks.items()) or "none taken"))
    for failed in report.failures:
        out.print(f"seed {failed.seed}: {failed.failure}")
        note(f"run it again with: {failed.repeat}")
    if report.never_taken:
        out.print(f"expected every rare path to be taken, but no seed took {', '.join(report.never_taken)}")
    elif not report.failures:
        out.print("every seed ended as it must")
