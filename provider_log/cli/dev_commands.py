"""What does one need at one's desk? `turnlog dev`: a Kafka broker to try things on."""

import contextlib
import signal
from typing import NoReturn

import typer

dev = typer.Typer(name="dev", help="For one's own desk, not for production.", no_args_is_help=True)


@dev.callback()
def group() -> None:
    """For one's own desk, not for production."""


@dev.command("kafka")
def kafka() -> None:
    """Run Apache Kafka on this machine until Ctrl-C: prints its address first; its data is thrown away at the end."""
    from provider_log.dev.broker import running_broker

    # Before there is a broker: whatever ends this command, the broker is ended too.
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), running_broker() as broker:
        typer.echo(broker.bootstrap)
        broker.wait()


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
