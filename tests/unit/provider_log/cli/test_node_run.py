"""Does a node suggest a command that works?"""

import pytest

from engine import OrchestrationContext, Registry, orchestration
from provider_log.cli.node_run import say_ready
from provider_log.cli.settings import Settings


@orchestration
async def plain(ctx: OrchestrationContext) -> None:
    pass


@orchestration
async def greedy(ctx: OrchestrationContext, name: str) -> None:
    pass


@pytest.mark.parametrize(
    ("registry", "suggested"),
    [
        (Registry(orchestrations=[plain]), "turnlog start plain "),
        (Registry(orchestrations=[plain, greedy]), "turnlog start greedy '<JSON>' "),
        (Registry(), "turnlog start NAME "),
    ],
)
def test_the_next_command_has_a_place_for_an_input_if_there_is_one(
    registry: Registry, suggested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_ready(registry, Settings(), Settings().url, "1 partition")
    assert f"next: {suggested}" in capsys.readouterr().err
