"""Does `turnlog simulate` run what it was asked for, say what happened, and name the seeds that failed?"""

import msgspec
import pytest

from provider_log.cli import app as command
from provider_log.cli.exits import Exit
from provider_log.simulation import report as reporting
from provider_log.simulation.report import Failed, Report, Spread


def report_of(*, failures: tuple[Failed, ...], never_taken: tuple[str, ...]) -> Report:
    one = Spread(1, 1, 1, 1, 1)
    return Report(
        first=16,
        seeds=2,
        steps=10,
        faults={"Kill": 1},
        marks=dict.fromkeys(never_taken, 0),
        provider_calls=one,
        fault_count=one,
        fault_kinds=one,
        nodes=one,
        failures=failures,
        never_taken=never_taken,
    )


def test_seeds_are_run_in_processes_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    assert command.run(["simulate", "--seeds", "3", "--first", "4", "--jobs", "2", "--json"]) == Exit.OK
    report = msgspec.json.decode(capfd.readouterr().out, type=Report)
    assert (report.first, report.seeds, report.failures) == (4, 3, ())
    assert report.steps > 3 * report.provider_calls.least > 0
    assert sum(report.faults.values()) > 0


def test_a_seed_that_fails_is_named_with_the_command_that_repeats_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Failed(17, "AssertionError: expected [one]", "turnlog simulate --first 17 --seeds 1")
    found = report_of(failures=(failed,), never_taken=())

    async def simulate(*_: object) -> Report:
        return found

    monkeypatch.setattr(reporting, "simulate", simulate)
    assert command.run(["simulate", "--seeds", "2", "--first", "16"]) == Exit.DIFFERS
    said = capfd.readouterr()
    assert "every seed ended as it must" not in said.out
    assert "seed 17: AssertionError: expected [one]" in said.out
    assert "run it again with: turnlog simulate --first 17 --seeds 1" in said.err


def test_a_rare_path_that_no_seed_takes_is_a_failure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def simulate(*_: object) -> Report:
        return report_of(failures=(), never_taken=("restore.wiped",))

    monkeypatch.setattr(reporting, "simulate", simulate)
    assert command.run(["simulate", "--seeds", "2"]) == Exit.DIFFERS
    assert "expected every rare path to be taken, but no seed took restore.wiped" in capfd.readouterr().out


def test_few_seeds_need_not_take_every_path(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.run(["simulate", "--seeds", "1", "--json"]) == Exit.OK
    assert msgspec.json.decode(capfd.readouterr().out, type=Report).never_taken == ()
    monkeypatch.setattr(reporting, "SEEDS_OF_ALL_PATHS", 1)
    assert command.run(["simulate", "--seeds", "1", "--json"]) == Exit.DIFFERS
    report = msgspec.json.decode(capfd.readouterr().out, type=Report)
    assert report.never_taken == tuple(name for name, seeds in report.marks.items() if not seeds) != ()
