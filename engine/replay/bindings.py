"""Which waiting code gets which arrival? The rules of external events and of queues, live and from a history alike."""

import bisect


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

    def is_awaited(self, name: str) -> bool:
        """Whether a reader of `name` is open."""
        return bool(self._readers.get(name))

    def pass_by(self, name: str) -> int | None:
        """What is not kept is there, for the oldest open reader of `name` alone: which, if there is one."""
        readers = self._readers.get(name)
        return readers.pop(0) if readers else None

    def _hand_out(self, name: str) -> tuple[int, int] | None:
        messages, readers = self._unread.get(name), self._readers.get(name)
        if not messages or not readers:
            return None
        reader, number = readers.pop(0), messages.pop(0)
        self._held[reader] = number
        return reader, number


class Waits:
    """External events: an arrival goes to the oldest open wait of its name, or to nobody; a kept one stays for it.

    A kept event is known by its number, and held by the wait that got it until it is read, as messages are.
    """

    def __init__(self) -> None:
        self._events = Queues()

    def open(self, name: str, event_id: int) -> int | None:
        """`event_id` waits for the next arrival of `name`: the kept event it gets at once, or None."""
        return self._events.open(name, event_id)

    def close(self, name: str, event_id: int) -> tuple[int, int] | None:
        """`event_id` waits no more: the wait that gets the kept event it held instead, and the event."""
        return self._events.close(name, event_id)

    def is_open(self, name: str) -> bool:
        """Whether an arrival of `name` would be waited for."""
        return self._events.is_awaited(name)

    def arrive(self, name: str) -> int | None:
        """Which wait gets an arrival of `name` that nobody keeps; it is closed thereby."""
        return self._events.pass_by(name)

    def keep(self, name: str, number: int) -> tuple[int, int] | None:
        """Event `number` of `name`, to be kept, is there: the wait and the event it gets, if that changes anything."""
        return self._events.arrive(name, number)

    def read(self, event_id: int) -> int:
        """The kept event that wait `event_id` holds is read for good; its number."""
        return self._events.read(event_id)

    def holders(self) -> set[int]:
        """Waits that got a kept event."""
        return self._events.holders()
