"""Is every message delivered, in order of arrival, to one holder at a time?"""

import itertools

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.model.messages import AnyMessage, EnqueueMessage, FireTimer, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.version import EngineVersion, VersionRange
from provider_log.partition.inbox import ABSENT, Entry, EntryKey, Inbox, Lock, Standing
from provider_log.records import Lane

NULL = Payload(b"null")
LOCK_MS = 100
GRACE_MS = 40
INSTANCES: tuple[str, ...] = ("a", "b")
delays = st.sampled_from((0, 0, 30, 70))
PRESENT = Standing()
HELD = Standing(is_paused=True)
OLD, NEW = EngineVersion(1, 0, 0), EngineVersion(2, 0, 0)
STANDINGS = (ABSENT, PRESENT, HELD, Standing(pin=OLD), Standing(pin=NEW))
PINS = (None, VersionRange(OLD, OLD), VersionRange(NEW, NEW), VersionRange(OLD, NEW), VersionRange(NEW, OLD))


def message_of(kind: str, instance: str) -> AnyMessage | None:
    match kind:
        case "start":
            return StartOrchestration(instance=instance, name="go", input=NULL)
        case "event":
            return RaiseEvent(instance=instance, name="e", data=NULL)
        case "queue":
            return EnqueueMessage(instance=instance, name="q", data=NULL)
        case "timer":
            return FireTimer(instance=instance, incarnation=1, execution_id=1, timer_id=1, fire_at_ms=1)
        case _:
            return None


class Row:
    """What the specification knows of one message."""

    def __init__(self, key: EntryKey, kind: str, visible_at_ms: int, given_up_at_ms: int) -> None:
        self.key = key
        self.kind = kind
        self.given_up_at_ms = given_up_at_ms
        self.visible_at_ms = visible_at_ms
        self.attempts = 0
        self.order = 0  # place among all messages, given when it is first visible


class Messages(RuleBasedStateMachine):
    """An inbox beside plain dicts that are searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.standings = dict.fromkeys(INSTANCES, ABSENT)
        self.inbox = Inbox(self.standings.__getitem__, GRACE_MS)
        self.rows: dict[EntryKey, Row] = {}
        self.locks: dict[str, tuple[str, int, list[EntryKey]]] = {}
        self.tokens: list[str] = []
        self.now_ms = 1_000
        self.made = self.orders = 0

    def settle(self) -> None:
        """What time does by itself: locks end, and hidden messages are seen in order of their instant."""
        self.locks = {token: lock for token, lock in self.locks.items() if lock[1] > self.now_ms}
        due = [row for row in self.rows.values() if row.order == 0 and row.visible_at_ms <= self.now_ms]
        for row in sorted(due, key=lambda row: (row.visible_at_ms, row.key[2])):
            self.orders += 1
            row.order = self.orders

    def visible(self, instance: str) -> list[Row]:
        rows = [row for row in self.rows.values() if row.key[0] == instance and row.visible_at_ms <= self.now_ms]
        return sorted(rows, key=lambda row: row.order)

    @rule(
        instance=st.sampled_from(INSTANCES),
        kind=st.sampled_from(("start", "event", "queue", "timer", "unknown")),
        lane=st.sampled_from((Lane.ORCHESTRATOR, Lane.MESSAGES, Lane.INBOX)),
        delay_ms=delays,
    )
    def add(self, instance: str, kind: str, lane: Lane, delay_ms: int) -> None:
        self.inbox.tick(self.now_ms)
        self.settle()
        self.made += 1
        visible_at_ms = self.now_ms + delay_ms
        entry = Entry(
            instance=instance,
            lane=lane,
            place=self.made,
            message=message_of(kind, instance),
            raw=b"12345",
            arrived_at_ms=self.now_ms,
            visible_at_ms=visible_at_ms,
        )
        self.rows[entry.key] = Row(entry.key, kind, visible_at_ms, visible_at_ms + GRACE_MS)
        self.inbox.add(entry, self.now_ms)
        self.settle()

    def deliverable(self, instance: str, pins: VersionRange | None) -> list[Row] | None:
        """What a fetch gets of the instance, or None."""
        pin = self.standings[instance].pin
        if pins is not None and (pins.first > pins.last or (pin is not None and not pins.first <= pin <= pins.last)):
            return None
        rows = self.visible(instance)
        known = [row for row in rows if row.kind != "unknown"]
        is_locked = any(locked == instance for locked, _, _ in self.locks.values())
        if is_locked or not known or self.standings[instance] == HELD:
            return None
        if self.standings[instance] == ABSENT and not any(row.kind == "start" for row in known):
            waits = any(row.kind == "start" for row in self.rows.values() if row.key[0] == instance)
            if waits or len(known) < len(rows) or any(row.kind != "queue" for row in known):
                return None
            return [row for row in known if row.given_up_at_ms <= self.now_ms] or None
        return known

    @rule(pins=st.sampled_from(PINS))
    def take(self, pins: VersionRange | None) -> None:
        self.settle()
        token = f"t{len(self.tokens)}"
        taken = self.inbox.take(token, self.now_ms, LOCK_MS, pins)
        candidates = {it: rows for it in INSTANCES if (rows := self.deliverable(it, pins)) is not None}
        if taken is None:
            assert candidates == {}
            return
        entries = taken.entries if isinstance(taken, Lock) else taken
        instance = entries[0].instance
        expected = candidates[instance]
        assert [entry.key for entry in entries] == [row.key for row in expected]
        if not isinstance(taken, Lock):
            assert self.standings[instance] == ABSENT
            for entry in entries:
                self.inbox.remove(entry.key)
                del self.rows[entry.key]
            return
        for entry, row in zip(entries, expected, strict=True):
            row.attempts += 1
            assert entry.attempt == row.attempts
        self.tokens.append(token)
        self.locks[token] = (instance, self.now_ms + LOCK_MS, [entry.key for entry in entries])

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), becomes=st.sampled_from((*STANDINGS, None)))
    def consume(self, data: st.DataObject, becomes: Standing | None) -> None:
        """A turn is admitted: its messages go, and its instance may be there, or pinned, from now on."""
        token = data.draw(st.sampled_from(self.tokens))
        self.settle()
        lock = self.inbox.lock(token, self.now_ms)
        assert (lock is not None) == (token in self.locks)
        if lock is not None:
            instance, _, keys = self.locks.pop(token)
            if becomes is not None and becomes.exists:
                self.standings[instance] = becomes
            for key in keys:
                assert self.inbox.remove(key) is not None
                del self.rows[key]
            self.inbox.unlock(token)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), delay_ms=delays, ignore=st.booleans())
    def abandon(self, data: st.DataObject, delay_ms: int, *, ignore: bool) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        self.inbox.tick(self.now_ms)
        self.settle()
        is_live = token in self.locks
        assert self.inbox.abandon(token, self.now_ms + delay_ms, self.now_ms, ignore_attempt=ignore) == is_live
        if is_live:
            for key in self.locks.pop(token)[2]:
                row = self.rows[key]
                row.attempts -= ignore
                if delay_ms:
                    row.visible_at_ms = self.now_ms + delay_ms
                    row.given_up_at_ms = row.visible_at_ms + GRACE_MS

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        self.settle()
        assert self.inbox.renew(token, self.now_ms, LOCK_MS) == (token in self.locks)
        if token in self.locks:
            instance, _, keys = self.locks[token]
            self.locks[token] = (instance, self.now_ms + LOCK_MS, keys)

    @rule(instance=st.sampled_from(INSTANCES), standing=st.sampled_from(STANDINGS))
    def stand(self, instance: str, standing: Standing) -> None:
        self.standings[instance] = standing
        self.inbox.wake(instance)

    @rule(duration_ms=st.sampled_from((1, 30, 100)))
    def pass_time(self, duration_ms: int) -> None:
        self.now_ms += duration_ms
        self.settle()

    @invariant()
    def counts_are_right(self) -> None:
        self.inbox.tick(self.now_ms)
        self.settle()
        assert self.inbox.held_bytes == 5 * len(self.rows)
        locked = {key for _, _, keys in self.locks.values() for key in keys}
        visible = {row.key for instance in INSTANCES for row in self.visible(instance)}
        hidden = [row for row in self.rows.values() if row.visible_at_ms > self.now_ms]
        put_off = {row.key for row in hidden if row.kind != "timer"}
        assert self.inbox.unlocked == len((visible | put_off) - locked)
        assert self.inbox.timers == sum(row.kind == "timer" for row in hidden)
        for instance in INSTANCES:
            attempts = [row.attempts for row in self.rows.values() if row.key[0] == instance]
            assert self.inbox.max_attempt_count(instance) == max(attempts, default=0)
            assert self.inbox.is_locked(instance) == any(lock[0] == instance for lock in self.locks.values())
        due = [row.visible_at_ms for row in hidden] + [until_ms for _, until_ms, _ in self.locks.values()]
        if due:
            next_ms = self.inbox.next_due_ms()
            assert next_ms is not None
            assert next_ms <= min(due), "expected nothing to be due before the inbox says so"


TestMessages = Messages.TestCase


def test_the_instance_whose_message_is_oldest_is_first() -> None:
    inbox = Inbox(lambda _instance: PRESENT, GRACE_MS)
    for place, instance in enumerate("bab"):
        event = RaiseEvent(instance=instance, name="e", data=NULL)
        inbox.add(Entry(instance=instance, lane=Lane.INBOX, place=place, message=event, arrived_at_ms=0), 0)
    taken = [inbox.take(token, 0, LOCK_MS) for token in ("t0", "t1", "t2")]
    assert [lock.instance if isinstance(lock, Lock) else None for lock in taken] == ["b", "a", None]


def test_who_was_passed_over_keeps_its_place() -> None:
    pins = {"a": NEW, "b": OLD, "c": NEW, "d": None}
    inbox = Inbox(lambda instance: Standing(pin=pins[instance]), GRACE_MS)
    for place, instance in enumerate("abcd"):
        event = RaiseEvent(instance=instance, name="e", data=NULL)
        inbox.add(Entry(instance=instance, lane=Lane.INBOX, place=place, message=event, arrived_at_ms=0), 0)

    def taken(pins: VersionRange | None) -> str | None:
        lock = inbox.take(f"t{next(tokens)}", 0, LOCK_MS, pins)
        return lock.instance if isinstance(lock, Lock) else None

    tokens = itertools.count()
    assert [taken(VersionRange(OLD, OLD)), taken(VersionRange(OLD, OLD))] == ["b", "d"]
    assert [taken(None), taken(VersionRange(NEW, NEW)), taken(None)] == ["a", "c", None]


def test_an_orphan_is_looked_at_again_when_the_unreadable_message_beside_it_goes() -> None:
    inbox = Inbox(lambda _instance: ABSENT, GRACE_MS)
    unreadable = Entry(instance="a", lane=Lane.INBOX, place=1, message=None, arrived_at_ms=0)
    orphan = Entry(instance="a", lane=Lane.INBOX, place=2, message=message_of("queue", "a"), arrived_at_ms=0)
    for entry in (unreadable, orphan):
        inbox.add(entry, 0)
    assert inbox.take("t0", GRACE_MS, LOCK_MS) is None, "expected it to wait: the other may be its start"
    inbox.remove(unreadable.key)
    assert inbox.take("t1", GRACE_MS, LOCK_MS) == (orphan,)
