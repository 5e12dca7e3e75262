"""Which laws hold for every orchestration? Generated programs, answered in generated orders."""

import gc
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.messages import RaiseEvent
from engine.model.turn import TurnResult
from engine.testing import replay
from tests.replay.generated import PROGRAMS
from tests.replay.given import Instance
from tests.replay.programs import Program, World, begun, interprets, programs

# Cleanup code that makes coroutines and hands them to asyncio while it is put away leaves them unawaited.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture(autouse=True)
def garbage_is_collected_here() -> Generator[None]:
    """Under the filter above, and not while some later test runs."""
    yield
    for instance in Instance.made:
        instance.forget()
    gc.collect()


REPOSITORY = Path(__file__).parents[2]
CHOICES = st.lists(st.integers(0, 999), max_size=40)


@given(programs(), CHOICES)
def test_replaying_a_history_adds_nothing(program: Program, choices: list[int]) -> None:
    history = World(program, choices, keep=True).run()
    replay(interprets, history, instance="i")
    result = Instance(interprets, history=history).give()
    assert result == TurnResult(execution_id=1)


@given(programs(), CHOICES)
def test_an_echo_adds_nothing(program: Program, choices: list[int]) -> None:
    world = World(program, choices, keep=True)
    world.run()
    # Of external events without an id the provider knows which are repetitions; the history does not.
    echo = [message for message in world.given if not isinstance(message, RaiseEvent)]
    result = world.instance.give(*echo)
    assert (result.history_delta, result.work_items, result.messages) == ((), (), ())


@given(programs(), CHOICES)
def test_a_kept_execution_and_a_full_replay_do_the_same(program: Program, choices: list[int]) -> None:
    kept, replayed = World(program, choices, keep=True), World(program, choices, keep=False)
    assert kept.run() == replayed.run()
    assert kept.results == replayed.results


@given(programs(), CHOICES)
def test_every_beginning_of_a_history_that_ends_at_a_turn_replays(program: Program, choices: list[int]) -> None:
    world = World(program, choices, keep=True)
    world.run()
    length = 0
    for result in world.results:
        length += len(result.history_delta)
        replay(interprets, world.instance.history[:length], instance="i")


@settings(max_examples=50)
@given(programs(), CHOICES, st.integers(2, 7))
def test_the_order_of_arrivals_alone_decides_not_their_batches(
    program: Program, choices: list[int], batch: int
) -> None:
    one = World(program, choices, keep=True)
    history = one.run()
    again = begun()
    for start in range(0, len(one.given), batch):
        again.give(*one.given[start : start + batch])
    assert again.history == history


@settings(max_examples=50)
@given(programs(), CHOICES, st.integers(1, 5))
def test_being_put_away_between_turns_changes_nothing(program: Program, choices: list[int], evict_every: int) -> None:
    kept, put_away = World(program, choices, keep=True), World(program, choices, keep=True, evict_every=evict_every)
    assert kept.run() == put_away.run()
    assert kept.results == put_away.results


def test_the_laws_hold_and_histories_are_the_same_under_two_hash_seeds_while_garbage_is_collected() -> None:
    under = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.replay.generated"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1")
    ]
    said = [process.communicate(timeout=300) for process in under]
    assert [process.returncode for process in under] == [0, 0], said
    (one, other) = [out.splitlines() for out, _ in said]
    assert len(one) == PROGRAMS
    assert one == other
