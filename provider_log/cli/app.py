"""What are the commands, and how does one end? Every error of ours is a line on stderr and an exit code."""

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, cast

import typer

from engine.errors import EngineError, ProviderError
from provider_log.cli.audit_commands import audit
from provider_log.cli.bench_command import bench
from provider_log.cli.check_command import check
from provider_log.cli.client_commands import COMMANDS
from provider_log.cli.dead_letter_commands import dead_letter
from provider_log.cli.dev_commands import dev
from provider_log.cli.exits import Exit, exit_of
from provider_log.cli.node_command import node
from provider_log.cli.simulate_command import simulate
from provider_log.cli.topics_commands import topics
from provider_log.cli.wrong_options import Commands
from provider_log.log.port import LogError

OURS = (EngineError, LogError)
"""What is told in a sentence; anything else is a defect, and shows its traceback."""

app = typer.Typer(
    name="turnlog",
    cls=Commands,
    help="Durable orchestrations: run a node, start orchestrations, see what happened.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("node")(node)
app.command("bench")(bench)
app.command("simulate")(simulate)
app.command("check")(check)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


app.add_typer(audit, name="audit")
app.add_typer(topics, name="topics")
app.add_typer(dead_letter, name="dead-letter")
app.add_typer(dev, name="dev")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(version("turnlog"))
        raise typer.Exit


@app.callback()
def turnlog(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Durable orchestrations: run a node, start orchestrations, see what happened."""


def main() -> None:
    """The `turnlog` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        app(list(arguments), prog_name="turnlog")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except (*OURS, BaseExceptionGroup) as error:
        ours = next(_ours_in(error), None)
        if ours is None:
            raise
        # The port's method is for logs: who typed a command knows none of them.
        text = str(ours).removeprefix(f"{ours.operation}: ") if isinstance(ours, ProviderError) else str(ours)
        typer.echo(f"turnlog: {' '.join(text.split())}", err=True)
        return exit_of(ours)
    return Exit.OK


def _ours_in(error: BaseException) -> Iterator[EngineError | LogError]:
    """Errors of ours in `error`, which may be a group that a nursery of tasks made of them."""
    if isinstance(error, OURS):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _ours_in(inner)
