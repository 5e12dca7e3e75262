"""What can be asked of a node from the command line? A function a command."""

import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from engine.clock import SystemClock
from engine.errors import UsageError
from engine.model.ids import CHILD_MARK
from engine.model.key_values import KeyValue
from engine.model.removal import DeletedCounts, PrunedCounts
from engine.model.status import PAUSED, TERMINAL, Status
from engine.model.views import InstanceInfo, InstanceTree
from provider_log.audit.timeline import timeline
from provider_log.cli import show
from provider_log.cli.calling import (
    AsJson,
    Data,
    Deadline,
    Delay,
    IfExists,
    InstanceId,
    MessageId,
    Node,
    NotBegun,
    Reuse,
    Timeout,
    Url,
    ask,
    note,
    print_json,
    value_of,
)
from provider_log.server import shapes


def start(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the orchestration.", show_default=False)],
    input_json: Data = None,
    instance: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Id of the instance; made up if not given.", show_default=False),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="VERSION", help="Exactly this one, not the latest.", show_default=False),
    ] = None,
    delay: Delay = None,
    deadline: Deadline = None,
    if_exists: IfExists = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, as `wait` does.")] = False,
    timeout: Timeout = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Start an orchestration. Nothing happens if the instance exists."""
    value = value_of(input_json)
    if timeout is not None and not wait:
        raise typer.BadParameter("expected --wait with --timeout, but it is not there")

    async def question(node: Node) -> tuple[str, InstanceInfo | None, InstanceInfo | None]:
        silent = if_exists in {None, Reuse.IGNORE}  # the start itself says nothing where the instance exists
        before = await node.provider.get_instance_info(instance) if instance and silent else None
        handle = await node.client.start(
            name,
            value,
            instance=instance,
            version=version,
            delay=delay,
            deadline=deadline,
            if_exists=None if if_exists is None else if_exists.value,
        )
        if before is not None:
            what = f"exists already and is {before.status.value}"
            note(f"{handle.instance} {what}: nothing was started{_resume_of(before)}")
        elif delay is not None:
            note(f"{handle.instance} begins in {delay}")
        elif wait:
            note(f"started {handle.instance}")
        put_off = None if before else delay
        return handle.instance, before, await _started_ended(node, handle.instance, timeout, put_off) if wait else None

    started, before, info = ask(url, question)
    if info is not None:
        _print_end(info, as_json=as_json)
    elif as_json:
        print_json(shapes.Accepted(started))
    else:
        typer.echo(started)
        if before is None or before.status not in PAUSED:
            note(f"next: turnlog wait {_quoted(started)}{' --not-begun' if delay and not before else ''}")


def event(
    instance: InstanceId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the event.", show_default=False)],
    data: Data = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep it for the next wait, if nobody waits for it.")] = False,
    message_id: MessageId = None,
    not_begun: NotBegun = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Raise an event for an instance. One that nobody waits for is dropped; --keep, or `enqueue`, keeps it."""
    value = value_of(data)

    async def question(node: Node) -> InstanceInfo | None:
        info = await node.addressed(instance, not_begun=not_begun)
        await node.client.raise_event(instance, name, value, keep=keep, message_id=message_id)
        return info

    _print_accepted(instance, ask(url, question), f"event {name} is on its way to {instance}", as_json=as_json)


def enqueue(
    instance: InstanceId,
    queue: Annotated[str, typer.Argument(metavar="NAME", help="Name of the queue.", show_default=False)],
    data: Data = None,
    message_id: MessageId = None,
    not_begun: NotBegun = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Put a message in a queue of an instance; it is kept until it is read."""
    value = value_of(data)

    async def question(node: Node) -> InstanceInfo | None:
        info = await node.addressed(instance, not_begun=not_begun)
        await node.client.enqueue_message(instance, queue, value, message_id=message_id)
        return info

    _print_accepted(
        instance, ask(url, question), f"a message for queue {queue} is on its way to {instance}", as_json=as_json
    )


def cancel(
    instance: InstanceId,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What its history says.")
    ] = "cancelled from the command line",
    not_begun: NotBegun = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask an instance to end; its code may clean up first."""

    async def question(node: Node) -> InstanceInfo | None:
        info = await node.addressed(instance, not_begun=not_begun)
        await node.client.cancel(instance, reason)
        return info

    _print_accepted(instance, ask(url, question), f"{instance} is asked to end", as_json=as_json)


def suspend(
    instance: InstanceId,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What queries and the log show.")
    ] = "suspended from the command line",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let an instance take no turn until it is resumed; what arrives for it waits."""

    async def question(node: Node) -> InstanceInfo:
        info = await node.existing(instance)
        await node.client.suspend(instance, reason)
        return info

    before = ask(url, question)
    if as_json:
        print_json(shapes.Accepted(instance))
    elif before.status is Status.SUSPENDED:
        kept = f"its reason stays: {before.suspend_reason}"
        typer.echo(f"{instance} was suspended already, and {kept}; next: turnlog resume {_quoted(instance)}")
    else:
        typer.echo(f"{instance} is suspended; next: turnlog resume {_quoted(instance)}")


def resume(instance: InstanceId, url: Url = None, as_json: AsJson = False) -> None:
    """Let a held or suspended instance go on, with the code its node has now."""

    async def question(node: Node) -> None:
        await node.existing(instance)
        await node.client.resume(instance)

    ask(url, question)
    if as_json:
        print_json(shapes.Accepted(instance))
    else:
        typer.echo(f"{instance} goes on")


def tree(instance: InstanceId, url: Url = None, as_json: AsJson = False) -> None:
    """List an instance and its automatic children, of whatever generation."""

    async def question(node: Node) -> InstanceTree:
        await node.existing(instance)
        return await node.client.tree(instance)

    found = ask(url, question)
    if as_json:
        print_json(found)
    else:
        depth_of_root = found.root.count(CHILD_MARK)
        for member in found.instances:
            typer.echo("  " * (member.count(CHILD_MARK) - depth_of_root) + member)


def keys(instance: InstanceId, url: Url = None, as_json: AsJson = False) -> None:
    """Show what an instance keeps under its keys."""

    async def question(node: Node) -> Mapping[str, KeyValue]:
        await node.existing(instance)
        return await node.provider.get_key_values(instance)

    found = ask(url, question)
    if as_json:
        print_json({key: kept.value for key, kept in found.items()})
    elif found:
        show.console().print(show.key_values(found, SystemClock().now_ms()))
    else:
        note(f"{instance} keeps nothing")


def delete(
    instance: InstanceId,
    force: Annotated[bool, typer.Option("--force", help="Also what has not ended; it cannot clean up.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete an instance with its automatic children: histories, and everything queued for them."""

    async def question(node: Node) -> DeletedCounts:
        await node.existing(instance)
        return await node.client.delete(instance, force=force)

    deleted = ask(url, question)
    if as_json:
        print_json(deleted)
    else:
        others = f" and {deleted.instances - 1} of its children" if deleted.instances > 1 else ""
        typer.echo(f"deleted {instance}{others}: {deleted.executions} executions with {deleted.events} events")


def prune(
    instance: InstanceId,
    keep: Annotated[
        int, typer.Option("--keep", min=1, metavar="N", help="So many of the latest stay, the current one among them.")
    ],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Forget earlier executions of an instance with their histories."""

    async def question(node: Node) -> PrunedCounts:
        await node.existing(instance)
        return await node.client.prune(instance, keep_last=keep)

    pruned = ask(url, question)
    if as_json:
        print_json(pruned)
    else:
        typer.echo(f"{instance}: forgot {pruned.executions} executions with {pruned.events} events")


def status(instance: InstanceId, url: Url = None, as_json: AsJson = False) -> None:
    """Show the state of an instance."""
    info = ask(url, lambda node: node.existing(instance))
    if as_json:
        print_json(info)
    else:
        show.console().print(show.instance(info, SystemClock().now_ms()))


def wait(
    instance: InstanceId,
    timeout: Timeout = None,
    not_begun: NotBegun = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Wait for an instance to end, and print what it returned."""

    async def question(node: Node) -> InstanceInfo:
        await node.addressed(instance, not_begun=not_begun)
        absent = "is its start put off for longer, or its orchestration not registered?"
        return await node.ended(instance, timeout, absent=absent)

    _print_end(ask(url, question), as_json=as_json)


def list_instances(
    status_is: Annotated[
        Status | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only those in it: running, completed, failed, cancelled, held, suspended.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Only those of this orchestration.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")] = 100,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Only ids after this one.", show_default=False)
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List instances by id."""
    found = ask(url, lambda node: node.client.list_instances(status=status_is, name=name, limit=limit + 1, after=after))
    page, more = tuple(found[:limit]), len(found) > limit
    if as_json:
        print_json(shapes.InstancePage(page, page[-1].instance if more else None))
        return
    if page:
        show.console().print(show.instances(page, SystemClock().now_ms()))
    else:
        note("no such instance" if status_is or name or after else "no instance yet; `turnlog start NAME` makes one")
    if more:
        note(f"there are more: turnlog list --after {_quoted(page[-1].instance)}")


def history(
    instance: InstanceId,
    execution: Annotated[
        int | None,
        typer.Option("--execution", min=1, metavar="N", help="Which one; else the latest.", show_default=False),
    ] = None,
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Draw it as a picture instead.", show_default=False)
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what happened in an instance, event by event."""
    if svg is not None and as_json:
        raise typer.BadParameter("expected --svg or --json, but both are there")

    async def question(node: Node) -> tuple[InstanceInfo, shapes.History]:
        info = await node.existing(instance)
        if execution is not None:
            there = [each.execution_id for each in await node.client.list_executions(instance)]
            if execution not in there:
                listed = ", ".join(map(str, there)) or "none"
                raise UsageError(f"expected an execution of {instance!r} ({listed}), but it is {execution}")
        return info, shapes.History(instance, tuple(await node.client.history(instance, execution)))

    info, found = ask(url, question)
    if as_json:
        print_json(found)
        return
    shown = execution or info.current_execution_id
    title = f"{instance}, execution {shown} of {info.current_execution_id}"
    if svg is None:
        typer.echo(f"{title}: {info.status.value}")
    if not found.events:
        note(f"no events yet; `turnlog status {_quoted(instance)}` says how it stands")
    elif svg is None:
        show.console().print(show.history(found.events))
    else:
        _write(Path(svg), timeline(instance if info.current_execution_id == 1 else title, found.events))
        note(f"drawn in {svg}")


COMMANDS = {
    "start": start,
    "event": event,
    "enqueue": enqueue,
    "cancel": cancel,
    "suspend": suspend,
    "resume": resume,
    "tree": tree,
    "keys": keys,
    "delete": delete,
    "prune": prune,
    "status": status,
    "wait": wait,
    "list": list_instances,
    "history": history,
}


async def _started_ended(node: Node, instance: str, timeout_s: float | None, delay: timedelta | None) -> InstanceInfo:
    """The state of an instance that was started this moment, once it has completed."""
    if delay is None or timeout_s is None or delay.total_seconds() < timeout_s:
        return await node.ended(instance, timeout_s)
    next_is = f"turnlog wait {_quoted(instance)} --not-begun"
    return await node.ended(instance, timeout_s, absent=f"its start is put off by {delay}; next: {next_is}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"expected to write {file}, but {(error.strerror or str(error)).lower()}") from None


def _print_end(info: InstanceInfo, *, as_json: bool) -> None:
    if as_json:
        print_json(info)
    elif info.output is not None:
        typer.echo(show.payload(info.output, indent=True))


def _print_accepted(instance: str, seen: InstanceInfo | None, text: str, *, as_json: bool) -> None:
    """What was sent, or, for an instance that has ended, that nothing comes of it; on stderr what else is to know."""
    if as_json:
        print_json(shapes.Accepted(instance))
    elif seen is not None and seen.status in TERMINAL:
        typer.echo(f"{instance} has ended ({seen.status.value}): nothing will happen")
    else:
        typer.echo(text)
    if seen is None:
        note(f"nobody was asked whether {instance} exists: this waits for its start if that is put off")
    elif seen.status in PAUSED:
        note(f"{instance} is {seen.status.value}: it takes this once it goes on{_resume_of(seen)}")


def _resume_of(seen: InstanceInfo) -> str:
    """What to do next with one that is held or suspended; nothing is said of another."""
    return f"; next: turnlog resume {_quoted(seen.instance)}" if seen.status in PAUSED else ""


def _quoted(instance: str) -> str:
    return shlex.quote(instance)
