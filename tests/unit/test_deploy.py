"""Does what is in deploy fit the command? The unit's flags and variables, against the command's own."""

import re
import shlex
from pathlib import Path

import msgspec
import typer.main

from provider_log.cli.app import app
from provider_log.cli.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "turnlog.service").read_text(encoding="utf-8")


def test_the_unit_starts_a_node_with_flags_it_has() -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    program, command, *arguments = shlex.split(line)
    node = typer.main.get_group(app).commands[command]
    known = {flag for option in node.params for flag in (*option.opts, *option.secondary_opts)}
    flags = [argument for argument in arguments if argument.startswith("--")]
    assert (Path(program).name, command) == ("turnlog", "node")
    assert flags
    assert set(flags) <= known


def test_every_variable_that_is_named_is_a_setting() -> None:
    text = UNIT + (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", text))
    settings = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert named
    assert named <= settings


def test_every_page_deploy_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DEPLOY / "README.md").read_text(encoding="utf-8")):
        assert (DEPLOY / target).exists(), target
