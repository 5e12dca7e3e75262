"""Is the lifecycle's table whole, and is the page that draws it the table?"""

from pathlib import Path

import pytest

from provider_log.partition.ownership import TRANSITIONS, Happening, Phase, after

PAGE = Path(__file__).parents[4] / "docs" / "ownership.md"


def reachable(start: Phase) -> set[Phase]:
    found, left = {start}, [start]
    while left:
        for phase in TRANSITIONS[left.pop()].values():
            if phase not in found:
                found.add(phase)
                left.append(phase)
    return found


def diagram() -> str:
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.IDLE.name}"]
    lines += [
        f"    {phase.name} --> {following.name}: {happening.value}"
        for phase, moves in TRANSITIONS.items()
        for happening, following in moves.items()
    ]
    return "\n".join(lines)


def test_every_phase_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Phase)


def test_every_phase_can_be_reached_from_idle() -> None:
    assert reachable(Phase.IDLE) == set(Phase)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_leads_back_to_idle(phase: Phase) -> None:
    assert Phase.IDLE in reachable(phase)


def test_every_happening_moves_something() -> None:
    assert {happening for moves in TRANSITIONS.values() for happening in moves} == set(Happening)


def test_running_is_reached_only_by_having_read_the_own_acquire_record() -> None:
    into = [
        (phase, happening) for phase in Phase for happening, to in TRANSITIONS[phase].items() if to is Phase.RUNNING
    ]
    assert into == [(Phase.RESTORING, Happening.RESTORED)]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.IDLE, Phase.FAILED}])
def test_whatever_is_at_work_can_break(phase: Phase) -> None:
    assert after(phase, Happening.BROKE) is Phase.FAILED


def test_a_failed_partition_only_lets_go() -> None:
    assert TRANSITIONS[Phase.FAILED] == {Happening.RELEASE: Phase.IDLE}


def test_a_move_that_the_table_does_not_have_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="expected one of"):
        after(Phase.IDLE, Happening.RESTORED)


def test_the_page_draws_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in PAGE.read_text()


def test_the_page_explains_every_phase() -> None:
    text = PAGE.read_text()
    assert [phase for phase in Phase if f"| {phase.name} |" not in text] == []
