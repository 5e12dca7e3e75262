"""How much may one turn do? Bounds and choices, and the check of what the code asked for in one step.

Bounds are checked when a step is about to be recorded, never on replay: what is in a history is within the bounds of
its time.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from engine.model.events import AnyEvent, CustomStatusUpdated, KeyValueSet
from engine.model.payload import Payload
from engine.replay.live import BoundPassed


class TurnOptions(Struct, frozen=True, kw_only=True):
    """Bounds and choices of a turn.

    Attributes:
        callbacks_max: Callbacks the code may take to come to rest after one event; passing it fails the instance.
        custom_status_bytes_max: Size of a custom status, UTF-8.
        keys_max: Keys that an instance keeps something under.
        key_value_bytes_max: Size of what is kept under a key, encoded.
        turn_events_max: New events of one turn.
        payload_bytes_max: Size of each input, output and carried message the code gives away.
        on_nondeterminism: What becomes of an instance whose code leaves the recorded path or reaches outside: `hold`
            sets it aside until code that fits is there; `fail` ends it.
        replay_always: No execution is kept between turns: every turn replays its history.
    """

    callbacks_max: int = 100_000
    custom_status_bytes_max: int = 256 * 1024
    keys_max: int = 150
    key_value_bytes_max: int = 64 * 1024
    turn_events_max: int = 50_000
    payload_bytes_max: int = 8 * 1024 * 1024
    on_nondeterminism: Literal["hold", "fail"] = "hold"
    replay_always: bool = False


def require_within_bounds(
    outcome: Sequence[AnyEvent], events_before: int, options: TurnOptions, keys: Callable[[], int]
) -> None:
    """Check one step, whose arrival comes behind `events_before` others in this turn.

    `keys` tells how many keys something stands under after it; asked only if the step put something under one.

    Raises:
        BoundPassed: Names the bound and what passed it.
    """
    if events_before + 1 + len(outcome) > options.turn_events_max:
        raise BoundPassed(f"expected a turn of at most {options.turn_events_max} events, but the code asked for more")
    for event in outcome:
        if isinstance(event, CustomStatusUpdated) and event.status is not None:
            size = len(event.status.encode("utf-8", "surrogatepass"))
            if size > options.custom_status_bytes_max:
                raise BoundPassed(
                    f"expected a custom status of at most {options.custom_status_bytes_max} bytes, but it has {size}"
                )
        if isinstance(event, KeyValueSet) and len(event.value.data) > options.key_value_bytes_max:
            raise BoundPassed(
                f"expected values under keys of at most {options.key_value_bytes_max} bytes, "
                f"but that of {event.key!r} has {len(event.value.data)}"
            )
        payload: Payload | None = getattr(event, "input", None) or getattr(event, "output", None)
        if payload is not None and len(payload.data) > options.payload_bytes_max:
            raise BoundPassed(
                f"expected payloads of at most {options.payload_bytes_max} bytes, but that of "
                f"{type(event).__name__} (event {event.event_id}) has {len(payload.data)}"
            )
    if any(isinstance(event, KeyValueSet) for event in outcome) and (count := keys()) > options.keys_max:
        raise BoundPassed(f"expected an instance to keep at most {options.keys_max} keys, but it has {count}")
