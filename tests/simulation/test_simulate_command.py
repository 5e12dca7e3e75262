"""Does `turnlog simulate` run what it was asked for, say what happened, and name the seeds that failed?"""

import msgspec
import pytest

from provider_log.cli import app as command
from provider_log.cli.exits import Exit
from provider_log.simulation import report as reporting
from provider_log.simulation.report import Failed, Report, Spread


def test_seeds_are_run_in_processes_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    assert command.run(["simulate", "--seeds", "3", "--first", "4", "--jobs", "2", "--json"]) == Exit.OK
    report = msgspec.json.decode(capfd.readouterr().out, type=Report)
    assert (report.first, report.seeds, report.failures) == (4, 3, ())
    assert report.steps > 3 * report.provider_calls.least > 0
    assert sum(report.faults.values()) > 0


def test_a_seed_that_fails_is_named_with_the_command_that_repeats_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Spread(1, 1, 1, 1, 1)
    found = Report(
        first=16,
        seeds=2,
        steps=10,
        faults={"Kill": 1},
        marks={},
        provider_calls=one,
        fault_count=one,
        fault_kinds=one,
        nodes=one,
        failures=(Failed(17, "AssertionError: expected [one]", "turnlog simulate --first 17 --seeds 1"),),
    )

    async def simulate(*_: object) -> Report:
        return found

    monkeypatch.setattr(reporting, "simulate", simulate)
    assert command.run(["simulate", "--seeds", "2", "--first", "16"]) == Exit.DIFFERS
    said = capfd.readouterr()
    assert "seed 17: AssertionError: expected [one]" in said.out
    assert "run it again with: turnlog simulate --first 17 --seeds 1" in said.err
