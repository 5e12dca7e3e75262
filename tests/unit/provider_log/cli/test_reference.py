"""Does docs/cli.md say every command, option, setting and exit code, and docs/http.md only what there is?"""

import re
from pathlib import Path
from typing import Any

from typer.main import get_command

from provider_log.cli.app import app
from provider_log.cli.exits import SAYS
from provider_log.cli.settings import PREFIX, Settings
from provider_log.server.endpoints import ENDPOINTS

CLI = Path("docs/cli.md").read_text()
HTTP = Path("docs/http.md").read_text()


def commands(group: Any = None, prefix: str = "") -> dict[str, set[str]]:
    """The options of every command, read from the command itself; `audit verify` is a name with a space."""
    group = group or get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{name} ")
        else:
            found[prefix + name] = {option for each in command.params for option in each.opts if option[:2] == "--"}
    return found


def test_every_command_is_there() -> None:
    written = set(re.findall(r"`turnlog ([a-z-]+(?: [a-z][a-z-]*\b)?)", CLI))
    assert written == set(commands())


def test_every_option_is_there_and_no_other() -> None:
    written = set(re.findall(r"--[a-z][a-z-]*", CLI))
    assert written == set().union(*commands().values()) | {"--log-text", "--help"}


def test_every_setting_is_there_with_its_default() -> None:
    for name in Settings.__struct_fields__:
        assert f"`{name}`" in CLI
        default = getattr(Settings(), name)
        if default not in {None, False}:
            assert f"`{default}`" in CLI
    assert PREFIX in CLI


def test_every_exit_code_is_there_in_its_own_words() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", CLI, re.MULTILINE))
    assert rows == {str(code.value): words for code, words in SAYS.items()}


def test_the_calls_in_the_http_page_are_endpoints() -> None:
    calls = re.findall(r"^    curl (?:-X (\w+) )? *'?localhost:8620(/[^\s?']+)", HTTP, re.MULTILINE)
    assert len(calls) == 7
    for method, path in calls:
        assert any(
            each.method == (method or "GET") and re.fullmatch(re.sub(r"{\w+}", "[^/]+", each.path), path)
            for each in ENDPOINTS
        ), (method, path)


def test_which_commands_end_well_though_the_instance_has_ended_is_said() -> None:
    """What each does is in test_client_commands: `event`, `enqueue` and `cancel` say so, the others are refused."""
    text = " ".join(CLI.split())
    assert "What `event`, `enqueue` and `cancel` send to an instance that has ended changes nothing" in text
    assert "are refused, with exit code 2" in text
