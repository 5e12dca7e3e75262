"""How can a client start an orchestration? The options of `Client.start`."""

from datetime import timedelta
from typing import TypedDict


class StartOptions(TypedDict, total=False):
    """How an orchestration is started.

    Attributes:
        instance: The id of the new instance; made up if absent.
        version: Exactly this one; the latest that the engine has if absent.
        message_id: For a caller that itself repeats its calls: a second start with the same id is dropped.
        delay: It begins so much later; until then there is no such instance.
        deadline: So long after its first turn it has to have ended, over all continue-as-new; else it is asked to end,
            as by `cancel`, and has failed if it does.
    """

    instance: str | None
    version: str | None
    message_id: str | None
    delay: timedelta | None
    deadline: timedelta | None
