"""What may a caller choose of a start? Each choice is recorded, so that a replay and a reader see the same.

In a record, None is what is done if nobody chose: a version that knew no choice wrote the same.
"""

import enum


class OnParentEnd(enum.Enum):
    """What becomes of a child that is open when its parent ends."""

    CANCEL = "cancel"  # never recorded: it is what None stands for
    ABANDON = "abandon"  # it goes on, and its answer is heard by nobody
    UNKNOWN = "unknown"  # written by a newer version than this one


class ReusePolicy(enum.Enum):
    """What a start does whose instance exists already."""

    IGNORE = "ignore"  # nothing, and nobody is told; never recorded: it is what None stands for
    REFUSE = "refuse"  # nothing, and whoever asked is told
    RESTART_ENDED = "restart_ended"  # an instance that has ended begins anew; one that has not is as with REFUSE
    UNKNOWN = "unknown"  # written by a newer version than this one
