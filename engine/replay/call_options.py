"""How can an activity be called, and a sub-orchestration be started?"""

from datetime import timedelta
from typing import Literal, TypedDict

from engine.replay.raised import Declared
from engine.replay.retry import RetryPolicy


class TrialOptions(TypedDict, total=False):
    """How often something is tried, and for how long.

    Attributes:
        retry: Tried again by this policy; once if absent.
        timeout: For each attempt. One that takes longer is cancelled, and counts as failed.
        deadline: For all attempts and pauses together, from the call on.
        raises: Exceptions that arrive as what they were, beside those that the function declares.
    """

    retry: RetryPolicy
    timeout: timedelta
    deadline: timedelta
    raises: Declared


class ActivityOptions(TrialOptions, total=False):
    """How an activity is called.

    Of what has a time-out below, the worker says that it was passed: the attempt then fails with `TimedOut`, and the
    next one reads the details of its last heartbeat. What passes `timeout` is taken back by the orchestration, which
    knows no details: those of that attempt are lost.

    Attributes:
        session_id: Activities of one session go to one worker.
        tag: Only workers that serve the tag take it.
        queue_timeout: For each attempt, from when it is asked for until a worker begins it. Of an activity that nobody
            serves it is the one that says so.
        run_timeout: For each attempt, from when its code begins until it ends.
        heartbeat_timeout: For each attempt, from when its code begins, or from one `ctx.heartbeat()`, until the next.
    """

    session_id: str
    tag: str
    queue_timeout: timedelta
    run_timeout: timedelta
    heartbeat_timeout: timedelta


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
