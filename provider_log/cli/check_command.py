"""What in an orchestration would not replay? `turnlog check` says so before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engine.errors import UsageError
from provider_log.cli import show
from provider_log.cli.calling import AsJson, note, print_json
from provider_log.cli.exits import Exit

if TYPE_CHECKING:
    from engine.check.checking import Report


def check(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="MODULE_OR_PATH…", help="Modules, files, directories.", show_default=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Find in the text of orchestrations, and of what they call, what they must not do; nothing is imported or run."""
    report = _checked(targets)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.findings:
        raise typer.Exit(Exit.DIFFERS)


def _checked(targets: list[str]) -> "Report":
    # Commands that talk to a node are started often, and need none of this.
    from engine.check.checking import check as check_sources
    from engine.check.checking import together
    from engine.check.sources import NotPython
    from provider_log.cli.user_sources import roots

    try:
        return together(check_sources([*root.targets.values()], root.find) for root in roots(targets, Path.cwd()))
    except NotPython as error:
        raise UsageError(f"expected Python, but {error}") from None


def _print(report: "Report") -> None:
    console = show.console()
    for finding in report.findings:
        where = f"{finding.path}:{finding.line}:{finding.column}: "
        line = Text.assemble(where, (finding.code, "red"), f" {finding.message}; use {finding.instead}")
        console.print(line, soft_wrap=True)  # a line a finding, for editors
    checked = (
        f"{report.orchestrations} orchestrations and {report.functions - report.orchestrations} functions they call"
    )
    if report.findings:
        console.print(Text.assemble((f"{len(report.findings)} findings", "bold red"), f"; {checked}"))
    else:
        console.print(Text.assemble(("no findings", "green"), f"; {checked}"))
    if not report.orchestrations:
        note("no orchestration is there: name the modules that have functions decorated with @orchestration")
