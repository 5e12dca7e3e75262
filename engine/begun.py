"""Did this very start begin the instance? Asked of any transport, without a missed wake-up."""

from engine.errors import InstanceExists
from engine.model.status import Status
from engine.model.views import InstanceInfo
from engine.port import InstanceView


async def begun(view: InstanceView, instance: str, message_id: str) -> InstanceInfo:
    """State of the instance once the start with this id has begun it. Waits for ever; it need not exist yet.

    What a start comes to is committed with the turn that consumes it, and each commit that touches the instance lets
    `changed` return: so a look behind every change sees it.

    Raises:
        InstanceExists: The instance existed, and the start changed nothing; or it is held, and the start waits there.
    """
    seen = 0
    while True:
        # In this order: what was consumed when it was asked shows in a state that is asked for afterwards.
        is_decided = await view.has_consumed(instance, message_id)
        info = await view.get_instance_info(instance)
        if info is not None and info.start_id == message_id:
            return info
        if is_decided:
            state = "is gone again" if info is None else f"exists and is {info.status.value}"
            raise InstanceExists(f"expected this start to begin {instance!r}, but it {state}: begun by another start")
        # One that is held before its first event may be held for this very start: only its end decides.
        if info is not None and info.status is Status.HELD and info.history_events > 0:
            raise InstanceExists(f"expected this start to begin {instance!r}, but it exists and is held")
        # `info` may have in it already what was consumed after the question: so the wait is from the look before.
        await view.changed(instance, seen)
        seen = 0 if info is None else info.revision
