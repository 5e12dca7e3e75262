"""In which phase is a partition, and what may follow? The lifecycle as one table."""

import enum
from collections.abc import Mapping


class Phase(enum.Enum):
    """Where a partition stands on this node."""

    IDLE = "idle"  # nothing is held
    ACQUIRING = "acquiring"  # taking the transactional ids, writing OwnershipAcquired
    RESTORING = "restoring"  # reading the changelog up to the own OwnershipAcquired
    RUNNING = "running"  # the only phase in which anything is fetched, admitted or committed
    DOUBT = "doubt"  # a commit has no answer, or was fenced: everything uncommitted is dropped
    RELEASING = "releasing"  # committing what was admitted, then OwnershipReleased
    FAILED = "failed"  # an operator must look


class Happening(enum.Enum):
    """What moves a partition from phase to phase."""

    ACQUIRE = "acquire"  # it was placed here
    ACQUIRED = "acquired"  # the own OwnershipAcquired is committed
    RESTORED = "restored"  # the own OwnershipAcquired was read
    DOUBTED = "doubted"  # a commit failed, was fenced or got no answer
    FENCED_OFF = "fenced_off"  # somebody else has it and it is no longer placed here
    RELEASE = "release"  # it shall be given up cleanly
    RELEASED = "released"  # OwnershipReleased is committed, or there was nothing to release
    BROKE = "broke"  # log or store contradict what the protocol promises


TRANSITIONS: Mapping[Phase, Mapping[Happening, Phase]] = {
    Phase.IDLE: {Happening.ACQUIRE: Phase.ACQUIRING},
    Phase.ACQUIRING: {
        Happening.ACQUIRED: Phase.RESTORING,
        Happening.DOUBTED: Phase.DOUBT,
        Happening.RELEASE: Phase.IDLE,
        Happening.BROKE: Phase.FAILED,
    },
    Phase.RESTORING: {
        Happening.RESTORED: Phase.RUNNING,
        Happening.DOUBTED: Phase.DOUBT,
        Happening.RELEASE: Phase.IDLE,
        Happening.BROKE: Phase.FAILED,
    },
    Phase.RUNNING: {
        Happening.DOUBTED: Phase.DOUBT,
        Happening.RELEASE: Phase.RELEASING,
        Happening.BROKE: Phase.FAILED,
    },
    Phase.DOUBT: {
        Happening.ACQUIRE: Phase.ACQUIRING,
        Happening.FENCED_OFF: Phase.IDLE,
        Happening.RELEASE: Phase.IDLE,
        Happening.BROKE: Phase.FAILED,
    },
    Phase.RELEASING: {
        Happening.RELEASED: Phase.IDLE,
        Happening.DOUBTED: Phase.IDLE,  # what was admitted and not committed is in the inputs still
        Happening.BROKE: Phase.FAILED,
    },
    Phase.FAILED: {Happening.RELEASE: Phase.IDLE},
}


def after(phase: Phase, happening: Happening) -> Phase:
    """The phase that follows.

    Raises:
        AssertionError: The table has no such move: a bug in the caller.
    """
    following = TRANSITIONS[phase].get(happening)
    assert following is not None, f"expected one of {list(TRANSITIONS[phase])} in phase {phase}, but got {happening}"
    return following
