"""What does the code see under the instance's keys? What it put there itself, and what it has read of before.

What an execution did not put there itself it reads once, and the history records what it read: so a replay needs no
store, and sees on the thousandth run what it saw on the first. What other executions of the instance do later is not
seen; there are none while this one runs.
"""

from collections.abc import Callable, Mapping

from engine.model.events import AnyEvent, KeptKey, KeysRead, KeyValueRead
from engine.model.key_values import KeyValue
from engine.model.payload import Payload


def nothing() -> Mapping[str, KeyValue]:
    """What stood before an instance's first execution, and what may be asked between two turns."""
    return {}


class Keys:
    """The keys as one execution sees them.

    Attributes:
        begun_with: What stood when the execution began; asked only for what the history does not say, during a turn.
    """

    def __init__(self) -> None:
        self.begun_with: Callable[[], Mapping[str, KeyValue]] = nothing
        self._own: dict[str, KeyValue | None] = {}
        self._read: dict[str, Payload | None] = {}
        self._listed: dict[str, int] | None = None
        self._all_cleared = False
        self._recorded: Mapping[int, AnyEvent] | None = None
        self._trouble: Exception | None = None

    @property
    def bytes_held(self) -> int:
        """Size of the values that are known."""
        read = sum(len(value.data) for value in self._read.values() if value is not None)
        return read + sum(len(own.value.data) for own in self._own.values() if own is not None)

    def raise_trouble(self) -> None:
        """Raise what kept the store from being read, if anything did."""
        if self._trouble is not None:
            raise self._trouble

    def _standing(self) -> Mapping[str, KeyValue]:
        # The code may catch anything, and is not told: its turn ends with this, whatever it does.
        try:
            return self.begun_with()
        except Exception as error:
            self._trouble = error
            return {}

    def replays(self, recorded: Mapping[int, AnyEvent] | None) -> None:
        """From here on reads are answered by these events, by event id; by `begun_with` if there are none."""
        self._recorded = recorded

    # What the code asks

    def is_known(self, key: str) -> bool:
        """Whether `value` needs no event."""
        return key in self._own or key in self._read or self._all_cleared

    def value(self, key: str) -> Payload | None:
        """What stands under a key that is known, or None."""
        if key in self._own:
            own = self._own[key]
            return None if own is None else own.value
        return None if self._all_cleared else self._read.get(key)

    @property
    def are_listed(self) -> bool:
        """Whether `all` needs no event."""
        return self._listed is not None or self._all_cleared

    def all(self) -> dict[str, int]:
        """Keys under which something stands, ascending, with the time it was put there; needs `are_listed`."""
        standing = {} if self._all_cleared else dict(self._listed or {})
        for key, own in self._own.items():
            if own is None:
                standing.pop(key, None)
            else:
                standing[key] = own.updated_at_ms
        return dict(sorted(standing.items()))

    def count(self) -> int:
        """How many keys something stands under. Not recorded: for a bound, which replay does not check."""
        standing = set[str]() if self._all_cleared else set(self.begun_with())
        own = {key for key, value in self._own.items() if value is not None}
        return len(standing - set(self._own) | own)

    # What happens

    def set(self, key: str, value: Payload, now_ms: int) -> None:
        """The code puts `value` under `key`."""
        self._own[key] = KeyValue(value, now_ms)

    def clear(self, key: str) -> None:
        """The code clears `key`."""
        self._own[key] = None

    def clear_all(self) -> None:
        """The code clears every key."""
        self._own, self._all_cleared = {}, True

    def read(self, event_id: int, key: str) -> Payload | None:
        """Event `event_id` reads `key`: what it finds."""
        if self._recorded is None:
            kept = self._standing().get(key)
            found = None if kept is None else kept.value
        else:
            event = self._recorded.get(event_id)
            found = event.value if isinstance(event, KeyValueRead) else None
        self._read[key] = found
        return found

    def list(self, event_id: int) -> tuple[KeptKey, ...]:
        """Event `event_id` reads which keys there are."""
        if self._recorded is None:
            found = tuple(KeptKey(key, kept.updated_at_ms) for key, kept in sorted(self._standing().items()))
        else:
            event = self._recorded.get(event_id)
            found = event.keys if isinstance(event, KeysRead) else ()
        self._listed = {kept.key: kept.updated_at_ms for kept in found}
        return found
