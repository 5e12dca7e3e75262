"""What does one need at one's desk? `turnlog dev`: a Kafka broker to try things on."""

import contextlib
import signal
from typing import Annotated, NoReturn

import typer

dev = typer.Typer(name="dev", help="For one's own desk, not for production.", no_args_is_help=True)


@dev.callback()
def group() -> None:
    """For one's own desk, not for production."""


@dev.command("kafka")
def kafka(
    brokers: Annotated[int, typer.Option("--brokers", min=1, max=9, help="How many; of three, one may be lost.")] = 1,
) -> None:
    """Run Apache Kafka on this machine until Ctrl-C: prints its address first; its data is thrown away at the end."""
    from provider_log.dev.broker import running_brokers, wait_until_ctrl_c

    # Before there is a broker: whatever ends this command, the brokers are ended too.
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), running_brokers(brokers) as nodes:
        typer.echo(",".join(node.bootstrap for node in nodes))
        wait_until_ctrl_c(nodes)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
