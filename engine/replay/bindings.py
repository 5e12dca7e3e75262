"""Which waiting code gets which arrival? The rules of external events and of queues, live and from a history alike."""

import bisect


class Waits:
    """External events: an arrival goes to the oldest open wait of its name, or to nobody."""

    def __init__(self) -> None:
        self._open: dict[str, dict[int, None]] = {}

    def open(self, name: str, event_id: int) -> None:
        """`event_id` waits for the next arrival of `name`."""
        self._open.setdefault(name, {})[event_id] = None

    def close(self, name: str, event_id: int) -> None:
        """`event_id` waits no more."""
        waiting = self._open.get(name, {})
        waiting.pop(event_id, None)
        if not waiting:
            self._open.pop(name, None)

    def is_open(self, name: str) -> bool:
        """Whether an arrival of `name` would be waited for."""
        return name in self._open

    def arrive(self, name: str) -> int | None:
        """Which wait gets an arrival of `name`; it is closed thereby."""
        waiting = self._open.get(name)
        if not waiting:
            return None
        event_id = next(iter(waiting))
        self.close(name, event_id)
        return event_id


class Queues:
    """Queue messages: kept until read, in order of arrival; the oldest open reader gets the oldest message.

    A message is known by its number, which grows with arrival; a reader by its event id. A message handed to a
    reader is *held* by it until it is read or the reader is closed; then it goes back to its place.
    """

    def __init__(self) -> None:
        self._unread: dict[str, list[int]] = {}
        self._readers: dict[str, list[int]] = {}
        self._held: dict[int, int] = {}

    def arrive(self, name: str, number: int) -> tuple[int, int] | None:
        """Message `number` of `name` is there: the reader and the message it gets, if that changes anything."""
        bisect.insort(self._unread.setdefault(name, []), number)
        return self._hand_out(name)

    def open(self, name: str, event_id: int) -> int | None:
        """`event_id` wants to read `name`: the message it gets at once, or None."""
        bisect.insort(self._readers.setdefault(name, []), event_id)
        handed = self._hand_out(name)
        return handed[1] if handed else None

    def read(self, event_id: int) -> int:
        """The message that `event_id` holds is read for good; its number."""
        return self._held.pop(event_id)

    def close(self, name: str, event_id: int) -> tuple[int, int] | None:
        """`event_id` reads no more: the reader that gets the message it held instead, and the message."""
        if event_id in self._held:
            return self.arrive(name, self._held.pop(event_id))
        self._readers[name].remove(event_id)
        return None

    def holders(self) -> set[int]:
        """Readers that hold a message."""
        return set(self._held)

    def unread(self) -> list[int]:
        """Numbers of all messages that nobody holds, in order of arrival over all queues."""
        return sorted(number for numbers in self._unread.values() for number in numbers)

    def _hand_out(self, name: str) -> tuple[int, int] | None:
        messages, readers = self._unread.get(name), self._readers.get(name)
        if not messages or not readers:
            return None
        reader, number = readers.pop(0), messages.pop(0)
        self._held[reader] = number
        return reader, number
