"""How can a client start an orchestration? The options of `Client.start`."""

from datetime import timedelta
from typing import Literal, TypedDict

from engine.errors import UsageError
from engine.model.policies import ReusePolicy


class StartOptions(TypedDict, total=False):
    """How an orchestration is started.

    Attributes:
        instance: The id of the new instance; made up if absent.
        version: Exactly this one; the latest that the engine has if absent.
        message_id: For a caller that itself repeats its calls: a second start with the same id is dropped.
        delay: It begins so much later; until then there is no such instance.
        deadline: So long after its first turn it has to have ended, over all continue-as-new; else it is asked to end,
            as by `cancel`, and has failed if it does.
        if_exists: What to do if the instance exists. `ignore`, if absent: nothing, and the caller is not told.
            `refuse`: nothing, and the call raises InstanceExists. `restart_ended`: one that has ended begins anew, as
            another life under the same id; one that has not is as with `refuse`. But for `ignore` the call waits for
            the turn that decides. Not beside `delay`.
    """

    instance: str | None
    version: str | None
    message_id: str | None
    delay: timedelta | None
    deadline: timedelta | None
    if_exists: Literal["ignore", "refuse", "restart_ended"] | None


def reuse_policy(value: str | None) -> ReusePolicy | None:
    """What a start does if its instance exists, as it is recorded: None is nothing.

    Raises:
        UsageError: It is none of the choices.
    """
    chosen = {policy.value: policy for policy in ReusePolicy if policy is not ReusePolicy.UNKNOWN}
    if value is not None and value not in chosen:
        raise UsageError(f"expected if_exists to be one of {', '.join(chosen)}, but it is {value!r}")
    return None if value in (None, ReusePolicy.IGNORE.value) else chosen[value]
