"""Are the topics of an application there, and set so that nothing is lost? `turnlog topics`."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from msgspec import Struct
from rich import box
from rich.table import Table
from rich.text import Text

from engine.errors import UsageError
from provider_log.cli import show
from provider_log.cli.calling import AsJson, print_json, resolved
from provider_log.cli.exits import Exit
from provider_log.cli.logs import App, Bootstrap, LogName, open_kafka
from provider_log.cli.settings import KAFKA, Settings
from provider_log.log.port import TopicSpec
from provider_log.topics import Topics

if TYPE_CHECKING:
    from provider_log.log.kafka import TopicState, Unfit

topics = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The topics of an application on Kafka.")


class Created(Struct, frozen=True, kw_only=True):
    """What `create` answers: the topics it made, and how all of them are."""

    application: str
    created: tuple[str, ...]
    topics: "Mapping[str, TopicState]"


class Checked(Struct, frozen=True, kw_only=True):
    """What `check` answers: how the topics are, and what must be mended."""

    application: str
    fits: bool
    topics: "Mapping[str, TopicState]"
    missing: tuple[str, ...]
    counts: tuple[str, ...]
    unfit: "tuple[Unfit, ...]"


@topics.command("create")
def create(
    app: App = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions",
            min=1,
            max=1024,
            metavar="N",
            help="Of each topic; fixed from then on. [default: what there is, or 1]",
            show_default=False,
        ),
    ] = None,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            "--replication-factor",
            min=1,
            metavar="N",
            help="Copies of each partition. [default: 3, or as many as there are brokers]",
            show_default=False,
        ),
    ] = None,
    log: LogName = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Make the topics that are not there, and check those that are."""
    settings = _on_kafka(resolved(app=app, partitions=partitions, log=log, bootstrap=bootstrap).for_log())
    made = anyio.run(_created, settings, replication_factor)
    if as_json:
        print_json(made)
        return
    _print(made.topics, {name: "created" if name in made.created else "was there" for name in made.topics})
    show.console().print(f"next: turnlog node {_told(settings)} --app-module MODULE:REGISTRY", soft_wrap=True)


@topics.command("check")
def check(app: App = None, log: LogName = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Compare the topics with the rules; says which command mends what does not fit."""
    settings = _on_kafka(resolved(app=app, log=log, bootstrap=bootstrap).for_log())
    found = anyio.run(_checked, settings)
    if as_json:
        print_json(found)
    else:
        unfit = {one.topic for one in found.unfit}
        _print(found.topics, {name: "does not fit" if name in unfit else "fits" for name in found.topics})
        _print_problems(found, settings)
    if not found.fits:
        raise typer.Exit(Exit.USAGE)


def _told(settings: Settings) -> str:
    """The options that say which topics."""
    return f"--log kafka --bootstrap {shlex.quote(settings.bootstrap or '')} --app {settings.app}"


async def _created(settings: Settings, replication_factor: int | None) -> Created:
    from provider_log.log_provider import APP_FORM  # with it comes what only a node needs

    if not APP_FORM.fullmatch(settings.app):
        raise UsageError(f"expected an application of small letters, digits and dashes, but it is {settings.app!r}")
    names = _specs(settings.app, 1)
    async with open_kafka(settings, replication_factor) as kafka:
        before = await kafka.topic_states([spec.name for spec in names])
        count = settings.partitions or _count(settings.app, before) or 1
        for name, state in before.items():
            if state.partitions != count:
                raise UsageError(
                    f"expected {count} partitions of application {settings.app!r}, but {name} has {state.partitions}; "
                    "their number is fixed"
                )
        specs = _specs(settings.app, count)
        await kafka.create_topics(specs)
        after = await kafka.topic_states([spec.name for spec in specs])
    return Created(application=settings.app, created=tuple(name for name in after if name not in before), topics=after)


async def _checked(settings: Settings) -> Checked:
    from provider_log.log.kafka import unfit

    async with open_kafka(settings) as kafka:
        found = await kafka.topic_states([spec.name for spec in _specs(settings.app, 1)])
    specs = _specs(settings.app, 1)
    count = _count(settings.app, found)
    missing = tuple(spec.name for spec in specs if spec.name not in found)
    counts = tuple(
        f"expected {count} partitions of every topic, but {name} has {state.partitions}; their number is fixed"
        for name, state in found.items()
        if state.partitions != count
    )
    problems = tuple(one for spec in specs if spec.name in found for one in unfit(spec, found[spec.name]))
    return Checked(
        application=settings.app,
        fits=not (missing or counts or problems),
        topics=found,
        missing=missing,
        counts=counts,
        unfit=problems,
    )


def _count(app: str, states: "Mapping[str, TopicState]") -> int:
    """How many partitions there are: those of the history, which is the truth, else of any topic; 0 without one."""
    known = [states[name] for name in (Topics.of(app).history, *states) if name in states]
    return known[0].partitions if known else 0


def _specs(app: str, partitions: int) -> Sequence[TopicSpec]:
    return Topics.of(app).specs(partitions)


def _on_kafka(settings: Settings) -> Settings:
    if settings.log != KAFKA:
        raise UsageError(
            "expected --log kafka --bootstrap HOST:PORT, but the log is embedded: its topics are made by "
            "`turnlog node`, and there is nothing to set"
        )
    return settings


def _print(states: "Mapping[str, TopicState]", said: Mapping[str, str]) -> None:
    """A row a topic; what all of them have in common stands once."""
    common = set[tuple[str, str]]().union(*(state.settings.items() for state in states.values()))
    for state in states.values():
        common &= state.settings.items()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("topic", "", "partitions", "replicas", "settings"):
        table.add_column(heading, overflow="fold")
    for name, state in states.items():
        own = " ".join(f"{key}={value}" for key, value in state.settings.items() if (key, value) not in common)
        row = name, said[name], str(state.partitions), str(state.replicas), own
        table.add_row(*row, style="red" if said[name] == "does not fit" else None)
    console = show.console()
    console.print(table)
    if common:
        console.print(f"each: {' '.join(f'{key}={value}' for key, value in sorted(common))}", soft_wrap=True)


def _print_problems(found: Checked, settings: Settings) -> None:
    console = show.console()
    for problem in (*found.counts, *map(str, found.unfit)):
        console.print(Text(problem, style="red"), soft_wrap=True)
    if found.missing:
        sentence = f"expected {', '.join(found.missing)}, but there is none; make them with"
        console.print(Text(f"{sentence} turnlog topics create {_told(settings)}", style="red"), soft_wrap=True)
    if found.fits:
        console.print(Text("every topic keeps what it is given", style="green"))
