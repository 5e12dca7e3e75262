"""How can an activity be called, and a sub-orchestration be started?"""

from datetime import timedelta
from typing import Literal, TypedDict

from engine.replay.retry import RetryPolicy


class TrialOptions(TypedDict, total=False):
    """How often something is tried, and for how long.

    Attributes:
        retry: Tried again by this policy; once if absent.
        timeout: For each attempt. One that takes longer is cancelled, and counts as failed.
        deadline: For all attempts and pauses together, from the call on.
    """

    retry: RetryPolicy
    timeout: timedelta
    deadline: timedelta


class ActivityOptions(TrialOptions, total=False):
    """How an activity is called.

    Attributes:
        session_id: Activities of one session go to one worker.
        tag: Only workers that serve the tag take it.
    """

    session_id: str
    tag: str


class ChildOptions(TrialOptions, total=False):
    """How a sub-orchestration is started.

    Attributes:
        instance: Its id; made from the parent's and the call's if absent. Not beside `retry`, since each attempt is an
            instance of its own.
        version: Exactly this one; the latest when it starts if absent.
        on_parent_end: What becomes of it if it is open when the parent ends, in whatever way: `cancel` if absent; with
            `abandon` it goes on, and nobody hears its answer.
    """

    instance: str
    version: str
    on_parent_end: Literal["cancel", "abandon"]
