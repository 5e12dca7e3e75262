"""What do the histories of fixed generated programs hash to, in this process? `python -m tests.replay.generated`.

Each program is run three times: kept between turns, put away every few turns, and replayed at every turn. The three
histories must be one, and replaying it adds nothing. Garbage is collected all the time, so what a turn leaves behind
and what is put away is taken down in the middle of other turns. Whoever runs this under several hash seeds compares.
"""

import gc
import hashlib
import warnings
from random import Random

from engine.testing import replay
from tests.replay.programs import BLOCKS, Program, Step, World, interprets

PROGRAMS = 60
CHOICES = 50
KINDS = (
    *(["call"], ["retried"], ["sleep", 1], ["sleep", 2], ["event"], ["read"], ["child"], ["retried child"], ["status"]),
    *(["guid"], ["spare"], ["keep"], ["forget"]),
)
GUARDED = ("timeout", "finally", "shielded")

WIDE: Program = [
    ["group", [[["call"], ["call"]], [["sleep", 1]], [["event"]], [["child"]]]],
    ["wait", [[["call"]], [["read"]], [["sleep", 2]], [["finally", [["event"]], [["call"]]]]]],
    ["gather", [[["retried"]], [["timeout", [["event"]], [["call"]]]], [["guid"]]]],
    ["completed", [[["call"]], [["call"]], [["call"]]]],
    ["select", [[["finally", [["event"]], [["call"]]]], [["finally", [["read"]], [["call"]]]], [["call"]]]],
]
"""Every block that iterates over what asyncio keeps in a set, one after another."""

CLEANS_UP: Step = ["finally", [["event"]], [["call"], ["sleep", 1], ["call"]]]
CANCELLED: list[Program] = [[[block, [[CLEANS_UP], [CLEANS_UP], [CLEANS_UP], [CLEANS_UP]]]] for block in BLOCKS]
"""The order in which asyncio cancels what it keeps in a set shows in what the code asks for while it cleans up."""

CANCEL = 10
"""The choice by which a world cancels."""


def program(random: Random, depth: int = 2) -> Program:
    """A program of the same grammar as `programs` draws from, from `random` alone."""
    return [_step(random, depth) for _ in range(random.randint(1, 4))]


def _step(random: Random, depth: int) -> Step:
    if depth == 0 or random.random() < 0.4:
        return list(random.choice(KINDS))
    if random.random() < 0.3:
        return [random.choice(GUARDED), program(random, depth - 1), program(random, depth - 1)]
    return [random.choice(BLOCKS), [program(random, depth - 1) for _ in range(random.randint(1, 3))]]


def digest_of(one: Program, choices: list[int], evict_every: int) -> str:
    """What the history of a program hashes to.

    Raises:
        AssertionError: It is another one when the program is put away between turns, or a replay adds to it.
    """
    history = World(one, choices, keep=True).run()
    for keep in (True, False):
        again = World(one, choices, keep=keep, evict_every=evict_every).run()
        assert again == history, f"expected one history of {one}, but keeping it or not makes two"
    replay(interprets, history, instance="i")
    return hashlib.sha256(repr((one, history)).encode()).hexdigest()


def main() -> None:
    """One line a program."""
    # Cleanup code that makes coroutines and hands them to asyncio while it is put away leaves them unawaited.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    gc.freeze()  # what was imported is not looked at again, or nothing else would be done
    gc.set_threshold(1, 1, 1)
    for seed in range(PROGRAMS):
        random = Random(seed)  # the same programs on every run
        choices = [random.randrange(1_000) for _ in range(CHOICES)]
        match seed % 5:
            case 0:
                one = WIDE
            case 1:
                one = CANCELLED[seed // 5 % len(CANCELLED)]
                choices.insert(0, CANCEL)
            case _:
                one = program(random)
        print(seed, digest_of(one, choices, evict_every=1 + seed % 5))


if __name__ == "__main__":
    main()
