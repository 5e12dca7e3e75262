"""What does `turnlog node` do before and after the node itself runs?"""

from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich import box
from rich.table import Table

from engine.errors import UsageError
from provider_log.cli import show
from provider_log.cli.calling import print_json, resolved
from provider_log.cli.logs import Bootstrap, LogName
from provider_log.cli.settings import Resolved, Settings
from provider_log.cli.user_code import fix_hash_seed, load_registry

TopicTags = Annotated[
    str | None,
    typer.Option(
        "--topic-tags",
        metavar="TAG,…",
        help="Tags of activities that plain consumers of the worker topic serve.",
        show_default=False,
    ),
]
WorkerTags = Annotated[
    str | None,
    typer.Option(
        "--worker-tags",
        metavar="TAG,…",
        help="Activities to take: tags, `default` for those without; or any, or none. [default: default]",
        show_default=False,
    ),
]
MaxSessions = Annotated[
    int | None,
    typer.Option(
        "--max-sessions",
        min=0,
        metavar="N",
        help="Sessions under way here at once; 0: none. [default: 10]",
        show_default=False,
    ),
]
WorkerNodeId = Annotated[
    str | None,
    typer.Option(
        "--worker-node-id",
        metavar="NAME",
        help="Who holds this node's sessions. [default: made up at each start]",
        show_default=False,
    ),
]


def node(
    app_module: Annotated[
        str | None, typer.Option("--app-module", metavar="MODULE:REGISTRY", help="What to serve.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="Log and stores. [default: turnlog-data]", show_default=False),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="NAME", help="Whose data it is. [default: turnlog]", show_default=False),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where to answer. [default: 127.0.0.1:8620]", show_default=False
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions",
            min=1,
            metavar="N",
            help="Of new data; fixed from then on. [default: what the data has, or 1]",
            show_default=False,
        ),
    ] = None,
    log: LogName = None,
    bootstrap: Bootstrap = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            metavar="HOST:PORT",
            help="Where other nodes reach this one. [default: where it listens]",
            show_default=False,
        ),
    ] = None,
    topic_tags: TopicTags = None,
    worker_tags: WorkerTags = None,
    max_sessions: MaxSessions = None,
    worker_node_id: WorkerNodeId = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level", metavar="LEVEL", help="debug, info, warning or error. [default: warning]", show_default=False
        ),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help="How to log to stderr. [default: text]", show_default=False),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Open a log that is shorter than it was; what was lost is lost.")
    ] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the settings and where each comes from, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --show-config: print JSON.")] = False,
) -> None:
    """Run a node: serve orchestrations and activities, and answer clients."""
    found = resolved(
        app_module=app_module,
        data=data,
        app=app,
        listen=listen,
        partitions=partitions,
        log=log,
        bootstrap=bootstrap,
        advertise=advertise,
        topic_tags=topic_tags,
        worker_tags=worker_tags,
        max_sessions=max_sessions,
        worker_node_id=worker_node_id,
        log_level=log_level,
        log_json=log_json,
    )
    if show_config:
        _print_config(found, as_json=as_json)
        return
    if as_json:
        raise typer.BadParameter("expected --show-config with --json, but it is not there")
    fix_hash_seed()
    _serve(found.for_log(), accept_loss=accept_loss)


def _serve(settings: Settings, *, accept_loss: bool) -> None:
    # Only a node needs the log, the store and the server; the other commands start without them.
    from provider_log.cli import node_run

    if settings.app_module is None:
        raise UsageError(
            "expected --app-module MODULE:REGISTRY, which says what to serve, but there is none; "
            "say fleet:registry for `registry = Registry(orchestrations=[…], activities=[…])` in fleet.py"
        )
    registry = load_registry(settings.app_module, Path.cwd())
    run = partial(node_run.run, settings, registry, accept_loss=accept_loss)
    anyio.run(run, backend_options={"use_uvloop": True})


def _print_config(found: Resolved, *, as_json: bool) -> None:
    rows = found.shown()
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    show.console().print(table)
