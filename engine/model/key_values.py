"""What does an instance keep under its keys? Values that outlive an execution and that queries can read."""

from msgspec import Struct

from engine.model.payload import Payload


class KeyValue(Struct, frozen=True):
    """What is kept under a key, and when it was put there."""

    value: Payload
    updated_at_ms: int


class KeyValueChange(Struct, frozen=True):
    """`key` has this `value` from now on; None clears it. A `key` of None clears all that there are."""

    key: str | None = None
    value: Payload | None = None
