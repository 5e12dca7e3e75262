"""Does a dead letter on a broker get another chance while nodes run, with nothing of it lost?"""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from provider_log import LogProvider
from provider_log.cli import app as command
from provider_log.cli.exits import Exit
from provider_log.routing import partition_of
from tests.kafka.stranger import as_json, consuming, producing

WAIT_S = 60


@orchestration
async def collect(ctx: OrchestrationContext) -> list[str]:
    return [await ctx.dequeue("notes", str) for _ in range(2)]


async def test_a_letter_is_sent_again_beside_a_running_node(
    bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = f"a{uuid.uuid4().hex}"
    away = 1 - partition_of("c", 2)

    async def turnlog(*arguments: str) -> Any:
        told = ("--log", "kafka", "--bootstrap", bootstrap, "--app", app, "--json")
        code = await asyncio.to_thread(command.run, ("dead-letter", *arguments, *told))
        out, error = capsys.readouterr()
        assert code == Exit.OK, error
        return json.loads(out)

    async with (
        LogProvider.kafka(bootstrap, tmp_path, app=app, partitions=2) as provider,
        Engine(provider, Registry(orchestrations=[collect])),
        producing(bootstrap) as producer,
    ):
        client = Client(provider)
        await client.start(collect, instance="c")
        await client.changed("c")
        value, headers = as_json("EnqueueMessage", {"instance": "c", "name": "notes", "data": "late"})
        hopped = [*headers, ("turnlog-hop", b"0")]
        await producer.send_and_wait(f"{app}.orchestrator", value, b"c", away, headers=hopped)
        async with consuming(bootstrap, f"{app}.dead-letter") as letters:
            record = await letters.getone()
        place = f"{record.partition}/{record.offset}"

        [listed] = await turnlog("list")
        assert (listed["letter"], listed["key"], listed["size"]) == (place, "c", len(value))
        assert listed["source"] == {"topic": f"{app}.orchestrator", "partition": away, "offset": 0}
        assert "and it hopped" in listed["reason"]
        for _ in range(2):
            [sent] = await turnlog("retry", place)
            assert (sent["letter"], sent["sent_to"]["partition"]) == (place, away)
        await client.enqueue_message("c", "notes", "end")

        assert sorted(await client.wait("c", WAIT_S)) == ["end", "late"]
