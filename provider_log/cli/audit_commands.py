"""What does the log say, without a node? `turnlog audit`."""

import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich import box
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from engine.errors import UsageError
from engine.registry import Registry
from engine.replay.nets import install_audit_net
from provider_log.cli import show
from provider_log.cli.calling import AsJson, InstanceId, Url, ask, print_json, resolved
from provider_log.cli.exits import Exit
from provider_log.cli.logs import App, Bootstrap, LogName, open_log, stores_of
from provider_log.cli.settings import Settings
from provider_log.cli.user_code import fix_hash_seed, load_registry

if TYPE_CHECKING:
    from provider_log.answers import PartitionDigest
    from provider_log.audit.code_check import CodeCheck
    from provider_log.audit.replay import Replayed
    from provider_log.audit.verify import Verdict
    from provider_log.cli.calling import Node

Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DIR", help="Stores, and an embedded log. [default: turnlog-data]", show_default=False
    ),
]
audit = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Read the log back, and check it.")


@audit.command("verify")
def verify(
    data: Data = None,
    app: App = None,
    log: LogName = None,
    bootstrap: Bootstrap = None,
    live: Annotated[bool, typer.Option("--live", help="Also ask the owners, through a node, for their state.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Check that the log keeps its rules and that the stores are what it says; changes nothing."""
    from provider_log.audit.verify import verify_log

    if url is not None and not live:
        raise typer.BadParameter("expected --live with --url, but it is not there")
    settings = resolved(data=data, app=app, log=log, bootstrap=bootstrap).for_log()
    stores = stores_of(settings)
    digests = ask(url, partial(_owner_digests, app=settings.app)) if live else None
    opening = partial(open_log, settings)
    with _bar("checking the log") as progress:
        verdict = anyio.run(
            partial(verify_log, opening, stores, app=settings.app, owner_digests=digests, progress=progress)
        )
    if as_json:
        print_json(verdict)
    else:
        _print_verdict(verdict)
    if not verdict.agrees:
        raise typer.Exit(Exit.DIFFERS)


@audit.command("replay")
def replay(
    instance: InstanceId,
    app_module: Annotated[
        str | None,
        typer.Option(
            "--app-module", metavar="MODULE:REGISTRY", help="The code to take through it.", show_default=False
        ),
    ] = None,
    execution: Annotated[
        int | None,
        typer.Option(
            "--execution", min=1, metavar="N", help="Whose events to show; else the last.", show_default=False
        ),
    ] = None,
    until_offset: Annotated[
        int | None,
        typer.Option("--until-offset", min=0, metavar="N", help="Nothing after this offset.", show_default=False),
    ] = None,
    data: Data = None,
    app: App = None,
    log: LogName = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild what happened in an instance from the log alone, and ask the code whether it still does it."""
    settings = resolved(data=data, app=app, app_module=app_module, log=log, bootstrap=bootstrap).for_log()
    registry = None
    if settings.app_module is not None:
        fix_hash_seed()
        registry = load_registry(settings.app_module, Path.cwd())
    with _bar("reading the log") as progress:
        found = anyio.run(_replayed, settings, instance, until_offset, registry, progress)
    if as_json:
        print_json(found)
    else:
        _print_replayed(found, execution)
    if not found.agrees:
        raise typer.Exit(Exit.DIFFERS)


@audit.command("check-code")
def check_code(
    app_module: Annotated[
        str, typer.Argument(metavar="MODULE:REGISTRY", help="The code that is to be deployed.", show_default=False)
    ],
    ended: Annotated[bool, typer.Option("--ended", help="Take it through what has ended, too.")] = False,
    data: Data = None,
    app: App = None,
    log: LogName = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Replay every instance that runs with code that is not deployed yet, and name those that would be held."""
    settings = resolved(data=data, app=app, log=log, bootstrap=bootstrap).for_log()
    fix_hash_seed()
    # What the code prints, while it is imported or replayed, is none of the answer.
    with redirect_stdout(sys.stderr):
        registry = load_registry(app_module, Path.cwd())
        install_audit_net()  # as a node does: what would be refused there is told here
        with show.progress() as bars:
            found = anyio.run(_code_checked, settings, registry, ended, bars)
    if as_json:
        print_json(found)
    else:
        _print_code_check(found, ended)
    if not found.agrees:
        raise typer.Exit(Exit.DIFFERS)


async def _code_checked(settings: Settings, registry: Registry, ended: bool, bars: Progress) -> "CodeCheck":
    from provider_log.audit.code_check import check_code as check

    async with open_log(settings) as log:
        return await check(
            log,
            registry,
            app=settings.app,
            ended=ended,
            reading=_advancing(bars, "reading the log"),
            replaying=_advancing(bars, "replaying"),
        )


async def _replayed(
    settings: Settings,
    instance: str,
    until_offset: int | None,
    registry: Registry | None,
    progress: Callable[[int, int], None],
) -> "Replayed":
    from provider_log.audit.replay import replay_log

    async with open_log(settings) as log:
        return await replay_log(
            log, instance, app=settings.app, until_offset=until_offset, registry=registry, progress=progress
        )


async def _owner_digests(node: "Node", *, app: str) -> "dict[int, PartitionDigest]":
    served = await node.provider.node_info()
    if served.app != app:
        raise UsageError(f"expected a node of application {app!r} at {node.provider.url}, but it is {served.app!r}")
    return {number: await node.provider.digest(number) for number in range(served.partitions)}


def _print_verdict(verdict: "Verdict") -> None:
    console = show.console()
    counts = Table(box=None, show_header=False, pad_edge=False)
    counts.add_column(justify="right")
    counts.add_column(style="dim")
    for name in ("partitions", "owners", "records", "void", "instances", "executions", "activities"):
        counts.add_row(f"{getattr(verdict, name):,}", COUNTED[name])
    console.print(counts)
    for finding in verdict.findings:
        console.print(Text.assemble((f"{finding.kind.value:>14} ", "red"), str(finding)))
    if len(verdict.findings) < verdict.findings_total:
        console.print(f"and {verdict.findings_total - len(verdict.findings):,} more")
    compared = sum(each.store_offset is not None for each in verdict.states)
    asked = sum(each.owner_offset is not None for each in verdict.states)
    what = f"{compared} of {verdict.partitions} stores and {asked} owners compared"
    if verdict.agrees:
        console.print(Text.assemble(("the log keeps its rules", "green"), f"; {what}, all agree"))
    else:
        console.print(Text.assemble((f"{verdict.findings_total:,} findings", "bold red"), f"; {what}"))


COUNTED = {
    "partitions": "partitions",
    "owners": "owners, one after the other",
    "records": "records in the histories",
    "void": "records of owners that had lost their partition, which never happened",
    "instances": "instances",
    "executions": "executions",
    "activities": "activities that were asked for",
}
"""What each number of a verdict counts."""

STYLE_OF_ANSWER = {"agrees": "green", "not_asked": "dim"}


def _print_replayed(found: "Replayed", execution: int | None) -> None:
    chosen = next((each for each in found.executions if each.execution_id == execution), None)
    if execution is not None and chosen is None:
        there = ", ".join(str(each.execution_id) for each in found.executions) or "none"
        raise UsageError(f"expected an execution of {found.instance!r} ({there}), but it is {execution}")
    console = show.console()
    deleted = "; deleted" if found.deleted else ""
    console.print(f"{found.instance}, partition {found.partition}, read up to offset {found.until_offset}{deleted}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("execution", "orchestration", "events", "offsets", "the code"):
        table.add_column(heading, overflow="fold")
    for each in found.executions:
        answer = each.answer.value.replace("_", " ")
        said = f"{answer}: {each.sentence}" if each.sentence else answer
        table.add_row(
            str(each.execution_id),
            f"{each.name} {each.version}",
            str(len(each.events)),
            f"{each.first_offset} to {each.last_offset}",
            Text(said, style=STYLE_OF_ANSWER.get(each.answer.value, "red")),
        )
    console.print(table)
    if found.unreadable:
        console.print(Text(f"unreadable, so nobody knows whose: offsets {list(found.unreadable)}", style="red"))
    shown = chosen or (found.executions[-1] if found.executions else None)
    if shown is not None:
        console.print(f"execution {shown.execution_id}:")
        console.print(show.history(shown.events))


def _print_code_check(found: "CodeCheck", ended: bool) -> None:
    console = show.console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("instance", "execution", "orchestration", "events", "the code"):
        table.add_column(heading, overflow="fold")
    for each in found.departures[:DEPARTURES_SHOWN_MAX]:
        table.add_row(
            each.instance,
            str(each.execution_id),
            f"{each.name} {each.version}",
            str(each.events),
            Text(f"{each.answer.value.replace('_', ' ')}: {each.sentence}", style="red"),
        )
    if found.departures:
        console.print(table)
    if len(found.departures) > DEPARTURES_SHOWN_MAX:
        console.print(f"and {len(found.departures) - DEPARTURES_SHOWN_MAX:,} more; --json has all")
    kinds = Counter((each.name, each.version, each.answer.value) for each in found.departures)
    for (name, version, answer), number in sorted(kinds.items()):
        console.print(f"{name} {version}: {number:,} {answer.replace('_', ' ')}")
    for each in found.unreadable:
        console.print(Text(f"unreadable, so nobody knows whose: {each.partition}/{each.offset}", style="red"))
    what = "" if ended else " that have not ended"
    replayed = f"{found.executions:,} executions{what}, {found.events:,} events, in {found.partitions} partitions"
    if found.agrees:
        console.print(Text.assemble(("the code agrees", "green"), f" with {replayed}"))
    else:
        console.print(Text.assemble((f"{len(found.departures):,} differ", "bold red"), f" of {replayed}"))


DEPARTURES_SHOWN_MAX = 50
"""A change that many instances do not fit shows with the first of them."""


@contextmanager
def _bar(text: str) -> Generator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    with show.progress() as bars:
        yield _advancing(bars, text)


def _advancing(bars: Progress, text: str) -> Callable[[int, int], None]:
    """What advances a new bar."""
    bar = bars.add_task(text, total=None)
    return lambda done, total: bars.update(bar, completed=done, total=total)
