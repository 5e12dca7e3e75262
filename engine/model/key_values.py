"""What does an instance keep under its keys? Values that outlive an execution and that queries can read.

A provider holds two layers: what stood when the current execution began, and what that execution changed. An engine
that replays the execution starts from the first; a query sees the second over it. The end of an execution makes one
of the two.
"""

from collections.abc import Iterable, Mapping

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


Changed = Mapping[str, KeyValue | None]
"""What an execution changed, by key; None is a key that it cleared."""


def changed(
    began_with: Iterable[str], before: Changed, changes: Iterable[KeyValueChange], now_ms: int
) -> dict[str, KeyValue | None]:
    """What an execution has changed after `changes`, given what it had changed `before`.

    Args:
        began_with: Keys that stood when it began. Only these need a mark when they are cleared.
        before: Of the same execution.
        changes: In order.
        now_ms: When they are made.
    """
    after = dict(before)
    standing = frozenset(began_with)
    for change in changes:
        for key in [change.key] if change.key is not None else {*standing, *after}:
            if change.key is not None and change.value is not None:
                after[key] = KeyValue(change.value, now_ms)
            elif key in standing:
                after[key] = None
            else:
                after.pop(key, None)
    return after


def merged(began_with: Mapping[str, KeyValue], changes: Changed) -> dict[str, KeyValue]:
    """What there is with `changes` made, by key, ascending."""
    both = {**began_with, **changes}
    return {key: value for key, value in sorted(both.items()) if value is not None}
