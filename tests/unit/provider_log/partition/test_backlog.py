"""Is each work item handed to one worker at a time, oldest first and by session, until somebody answers for it?"""

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.work import WorkItem
from provider_log.partition.backlog import Backlog, Lease, Waiting, WorkKey

LEASE_MS = 100
delays = st.sampled_from((0, 30, 70))
tags = st.sampled_from((None, "gpu", "video"))
session_ids = st.sampled_from((None, "s1", "s2"))
claims = st.sampled_from((None, SessionClaim("A", 60), SessionClaim("A", 150), SessionClaim("B", 60)))
filters = st.sampled_from(
    (
        DEFAULT_ONLY,
        TagFilter.only(["gpu"]),
        TagFilter.only(["gpu", "video"]),
        TagFilter.default_and(["video"]),
        TagFilter.nothing(),
        TagFilter.everything(),
    )
)


def item_of(key: WorkKey) -> WorkItem:
    instance, execution_id, activity_id = key
    return WorkItem(
        instance=instance,
        incarnation=1,
        execution_id=execution_id,
        activity_id=activity_id,
        name="act",
        input=Payload(b"null"),
    )


def waiting(
    key: WorkKey, order: int, attempt: int = 0, tag: str | None = None, session_id: str | None = None
) -> Waiting:
    return Waiting(key=key, order=order, tag=tag, load=lambda: item_of(key), attempt=attempt, session_id=session_id)


class Row:
    """What the specification knows of one item."""

    def __init__(self, key: WorkKey, order: int, tag: str | None, session_id: str | None) -> None:
        self.key = key
        self.tag = tag
        self.session_id = session_id
        self.order = order
        self.attempts = 0
        self.visible_at_ms = 0
        self.token: str | None = None
        self.until_ms = 0


class Held:
    """What it knows of one session."""

    def __init__(self, owner: str, until_ms: int, used_ms: int) -> None:
        self.owner = owner
        self.until_ms = until_ms
        self.used_ms = used_ms


class Workers(RuleBasedStateMachine):
    """A backlog beside a plain list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.rows: dict[WorkKey, Row] = {}
        self.answered: dict[str, Row] = {}
        self.tokens: dict[str, anyio.Event] = {}
        self.sessions: dict[str, Held] = {}
        self.now_ms = 1_000
        self.made = 0

    def lease_of(self, token: str) -> Row | None:
        """The item of a lease that is live."""
        return next((row for row in self.rows.values() if row.token == token and row.until_ms > self.now_ms), None)

    def expire(self) -> None:
        for row in self.rows.values():
            if row.token is not None and row.until_ms <= self.now_ms:
                row.token, row.visible_at_ms = None, 0

    def may_have(self, row: Row, claim: SessionClaim | None) -> bool:
        if claim is None or row.session_id is None:
            return row.session_id is None
        held = self.sessions.get(row.session_id)
        return held is None or held.until_ms <= self.now_ms or held.owner == claim.owner

    def use(self, row: Row) -> None:
        held = self.sessions.get(row.session_id or "")
        if held is not None and held.until_ms > self.now_ms:
            held.used_ms = self.now_ms

    @rule(tag=tags, session_id=session_ids, activity_id=st.integers(1, 8))
    def add(self, tag: str | None, session_id: str | None, activity_id: int) -> None:
        """Also under the key of an item that was taken back or answered: one of a later life of the instance."""
        key = ("i", 1, activity_id)
        if key in self.rows or any(row.key == key for row in self.answered.values()):
            return
        self.made += 1
        self.rows[key] = Row(key, self.made, tag, session_id)
        self.backlog.add(waiting(key, self.made, tag=tag, session_id=session_id))

    @rule(taken=filters, claim=claims)
    def take(self, taken: TagFilter, claim: SessionClaim | None) -> None:
        self.expire()
        visible = [
            row
            for row in self.rows.values()
            if row.token is None
            and row.visible_at_ms <= self.now_ms
            and taken.takes(row.tag)
            and self.may_have(row, claim)
        ]
        expected = min(visible, key=lambda row: row.order, default=None)
        token = f"t{len(self.tokens)}"
        leased = self.backlog.take(taken, token, b"n", self.now_ms, LEASE_MS, "w", claim)
        assert (leased and leased.lease.key) == (expected and expected.key)
        if leased is not None and expected is not None:
            expected.token, expected.until_ms = token, self.now_ms + LEASE_MS
            expected.attempts += 1
            if claim is not None and expected.session_id is not None:
                held = Held(claim.owner, self.now_ms + claim.lock_timeout_ms, self.now_ms)
                self.sessions[expected.session_id] = held
            assert leased.item == item_of(expected.key)
            assert leased.lease.attempt == expected.attempts
            self.tokens[token] = leased.lease.revoked

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.tokens)))
        row = self.lease_of(token)
        assert self.backlog.renew(token, self.now_ms, LEASE_MS, "w") == (row is not None)
        if row is not None:
            row.until_ms = self.now_ms + LEASE_MS
            self.use(row)

    @rule(owners=st.sampled_from((("A",), ("B",), ("B", "A"))), extend_ms=delays, idle_ms=st.sampled_from((0, 50, 500)))
    def renew_sessions(self, owners: tuple[str, ...], extend_ms: int, idle_ms: int) -> None:
        renewed = [
            held
            for held in self.sessions.values()
            if held.owner in owners and held.until_ms > self.now_ms and held.used_ms > self.now_ms - idle_ms
        ]
        assert self.backlog.renew_sessions(owners, self.now_ms, 1 + extend_ms, idle_ms) == len(renewed)
        for held in renewed:
            held.until_ms = self.now_ms + 1 + extend_ms

    @rule()
    def forget_sessions(self) -> None:
        there = {row.session_id for row in self.rows.values()}
        gone = [name for name, held in self.sessions.items() if held.until_ms <= self.now_ms and name not in there]
        assert self.backlog.forget_sessions(self.now_ms) == len(gone)
        for name in gone:
            del self.sessions[name]

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), delay_ms=delays, ignore=st.booleans())
    def abandon(self, data: st.DataObject, delay_ms: int, *, ignore: bool) -> None:
        token = data.draw(st.sampled_from(sorted(self.tokens)))
        self.backlog.tick(self.now_ms)
        self.expire()
        row = self.lease_of(token)
        visible_at_ms = self.now_ms + delay_ms if delay_ms else 0
        assert self.backlog.abandon(token, visible_at_ms, ignore_attempt=ignore) == (row is not None)
        if row is not None:
            row.token, row.visible_at_ms = None, visible_at_ms
            row.attempts -= ignore

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), commits=st.booleans())
    def answer(self, data: st.DataObject, *, commits: bool) -> None:
        token = data.draw(st.sampled_from(sorted(self.tokens)))
        row = self.lease_of(token)
        lease: Lease | None = self.backlog.lease(token, self.now_ms)
        assert (lease and lease.key) == (row and row.key)
        if row is not None:
            self.backlog.settle(token, self.now_ms)
            del self.rows[row.key]
            self.use(row)
            if commits:
                self.backlog.forget(token)
            else:
                self.answered[token] = row

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        row = self.rows.pop(data.draw(st.sampled_from(sorted(self.rows))))
        assert self.backlog.remove(row.key)
        assert not self.backlog.remove(row.key)

    @rule()
    def doubt(self) -> None:
        """The item of every answer that is not committed is there again, and its lease with it."""
        self.expire()
        for row in self.answered.values():
            self.rows[row.key] = row
        self.answered = {}
        for row in self.rows.values():
            row.visible_at_ms = 0
        self.backlog.tick(self.now_ms)
        self.backlog.rebuild(
            waiting(row.key, row.order, row.attempts, row.tag, row.session_id) for row in self.rows.values()
        )

    @rule(duration_ms=st.sampled_from((1, 30, 100)))
    def pass_time(self, duration_ms: int) -> None:
        self.now_ms += duration_ms

    @invariant()
    def who_has_what_is_known(self) -> None:
        self.backlog.tick(self.now_ms)
        self.expire()
        assert self.backlog.unleased == sum(row.token is None for row in self.rows.values())
        live = {row.token for row in self.rows.values() if row.token is not None}
        answered = set(self.answered)
        for token, revoked in self.tokens.items():
            if token in live or token in answered:
                assert not revoked.is_set()


TestWorkers = Workers.TestCase

ONE, TWO = ("i", 1, 1), ("i", 1, 2)


def leased(backlog: Backlog, token: str, now_ms: int = 0, tags: TagFilter = DEFAULT_ONLY) -> Lease:
    taken = backlog.take(tags, token, b"nonce", now_ms, LEASE_MS, "w")
    assert taken is not None
    return taken.lease


def test_deliveries_are_told_once_the_last_of_each_item() -> None:
    backlog = Backlog()
    for number, key in enumerate((ONE, TWO)):
        backlog.add(waiting(key, number))
        leased(backlog, f"t{number}")
    backlog.renew("t0", 50, LEASE_MS, "w")
    told = backlog.drain_deliveries()
    assert [(one.activity_id, one.attempt, one.lease_end_ms) for one in told] == [(1, 1, 150), (2, 1, 100)]
    assert backlog.drain_deliveries() == []


def test_a_release_tells_every_lease_that_is_out() -> None:
    backlog = Backlog()
    for number, key in enumerate((ONE, TWO)):
        backlog.add(waiting(key, number))
        leased(backlog, f"t{number}")
    backlog.settle("t0", 1_000)
    assert [one.activity_id for one in backlog.leases("w")] == [2]


def test_a_lease_that_expires_or_whose_item_is_taken_back_is_revoked() -> None:
    backlog = Backlog()
    for number, key in enumerate((ONE, TWO)):
        backlog.add(waiting(key, number))
    first, second = leased(backlog, "t0"), leased(backlog, "t1")
    backlog.remove(TWO)
    assert second.revoked.is_set()
    assert not first.revoked.is_set()
    backlog.tick(LEASE_MS)
    assert first.revoked.is_set()


def test_a_doubt_revokes_a_lease_whose_item_is_gone_and_keeps_the_others() -> None:
    backlog = Backlog()
    for number, key in enumerate((ONE, TWO)):
        backlog.add(waiting(key, number))
    first, second = leased(backlog, "t0"), leased(backlog, "t1")
    backlog.rebuild([waiting(ONE, 0)])
    assert second.revoked.is_set()
    assert not first.revoked.is_set()
    assert backlog.lease("t0", 0) == first


def test_an_answer_that_is_in_the_log_after_all_revokes_nothing() -> None:
    backlog = Backlog()
    backlog.add(waiting(ONE, 0))
    lease = leased(backlog, "t0")
    backlog.settle("t0", 1_000)
    backlog.rebuild([])
    assert not lease.revoked.is_set()
    assert backlog.lease("t0", 0) is None


def test_a_lease_that_ran_out_while_its_answer_was_in_doubt_is_over() -> None:
    backlog = Backlog()
    backlog.add(waiting(ONE, 0))
    leased(backlog, "t0")
    backlog.settle("t0", 1_000)
    backlog.tick(2 * LEASE_MS)
    backlog.rebuild([waiting(ONE, 0, attempt=1)])
    assert leased(backlog, "t1", 2 * LEASE_MS).attempt == 2


def test_an_item_under_the_key_of_one_that_is_gone_is_for_those_who_serve_its_own_tag() -> None:
    backlog = Backlog()
    backlog.add(waiting(ONE, 0, tag="gpu"))
    backlog.remove(ONE)
    backlog.add(waiting(ONE, 1))
    assert backlog.take(TagFilter.only(["gpu"]), "t0", b"n", 0, LEASE_MS, "w") is None
    assert leased(backlog, "t1").attempt == 1


class CountedOrder(int):
    """A place in the queue; counts how often one is compared with another, which is the work of a heap."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        CountedOrder.compared += 1
        return int.__lt__(self, other)

    def __eq__(self, other: object) -> bool:
        CountedOrder.compared += 1
        return int.__eq__(self, other)

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "served", [DEFAULT_ONLY, TagFilter.only(["video"]), TagFilter.default_and(["video"]), TagFilter.nothing()]
)
def test_what_nobody_serves_costs_the_others_nothing(served: TagFilter) -> None:
    """50,000 items wait for a tag that no worker has; a fetch looks at the head of its own queues."""
    backlog = Backlog()
    for number in range(50_000):
        backlog.add(waiting(("old", 1, number), CountedOrder(number), tag="nobody"))
    for number in range(200):
        tag = None if number % 2 else "video"
        backlog.add(waiting(("new", 1, number), CountedOrder(50_000 + number), tag=tag))
    CountedOrder.compared = 0
    taken = [backlog.take(served, f"t{number}", b"n", 0, LEASE_MS, "w") for number in range(50)]
    assert all((one is not None) == (served != TagFilter.nothing()) for one in taken)
    assert CountedOrder.compared < 50 * 60
    assert backlog.unleased == 50_200 - sum(one is not None for one in taken)


def test_what_others_hold_costs_the_others_nothing() -> None:
    """50,000 items wait for who holds their sessions; a fetch of another, and a claim, look at no more than heads."""
    backlog = Backlog()
    a, b = SessionClaim("A", 1_000), SessionClaim("B", 1_000)
    for number in range(50_000):
        session_id = f"held-{number % 20}"
        backlog.add(waiting(("old", 1, number), CountedOrder(number), session_id=session_id))
    for number in range(20):
        backlog.take(DEFAULT_ONLY, f"a{number}", b"n", 0, LEASE_MS, "w", a)
    for number in range(50):
        session_id = f"free-{number % 5}" if number % 2 else None
        backlog.add(waiting(("new", 1, number), CountedOrder(50_000 + number), session_id=session_id))
    CountedOrder.compared = 0
    taken = [backlog.take(DEFAULT_ONLY, f"b{number}", b"n", 0, LEASE_MS, "w", b) for number in range(60)]
    assert [one.lease.key[2] for one in taken if one is not None] == list(range(50))
    assert CountedOrder.compared < 60 * 120
    CountedOrder.compared = 0
    backlog.tick(1_000)
    assert backlog.take(DEFAULT_ONLY, "c", b"n", 1_000, LEASE_MS, "w", b) is not None
    assert CountedOrder.compared < 4_000


# What nobody is given in its time


def late(number: int, start_by_ms: int, tag: str | None = "gpu", session_id: str | None = None) -> Waiting:
    item = waiting(("i", 1, number), number, tag=tag, session_id=session_id)
    item.start_by_ms = start_by_ms
    return item


def taken(backlog: Backlog, now_ms: int, session: SessionClaim | None = None) -> int | None:
    leased = backlog.take(DEFAULT_ONLY, f"t{now_ms}", b"", now_ms, LEASE_MS, "w", session)
    return None if leased is None else leased.lease.key[2]


def test_items_that_are_late_come_in_their_order_among_all() -> None:
    backlog = Backlog()
    for item in (late(1, 50), waiting(("i", 1, 2), 2), late(3, 40), late(4, 99)):
        backlog.add(item)
    assert backlog.next_due_ms() == 40
    assert [taken(backlog, now_ms) for now_ms in (60, 61, 62, 63)] == [1, 2, 3, None]
    assert backlog.next_due_ms() == 99


def test_items_are_late_after_a_rebuild_unless_they_were_delivered() -> None:
    backlog = Backlog()
    delivered = late(2, 50)
    delivered.attempt = 1
    backlog.rebuild([late(1, 50), delivered])
    assert [taken(backlog, now_ms) for now_ms in (49, 50, 51)] == [None, 1, None]


def test_a_late_delivery_does_not_count() -> None:
    """Neither here nor in the log, whatever becomes of its lease: it ends, it is renewed, it outlives a rebuild."""
    backlog = Backlog()
    backlog.add(late(1, 50))
    assert taken(backlog, 50) == 1
    assert taken(backlog, 50 + LEASE_MS) == 1
    token = f"t{50 + LEASE_MS}"
    assert backlog.renew(token, 51 + LEASE_MS, LEASE_MS, "w")
    assert backlog.drain_deliveries() == backlog.leases("w") == []
    backlog.rebuild([late(1, 50)])
    assert taken(backlog, 52 + LEASE_MS) is None
    assert backlog.abandon(token, 0, ignore_attempt=False)
    leased = backlog.take(DEFAULT_ONLY, "again", b"", 53 + LEASE_MS, LEASE_MS, "w")
    assert leased is not None
    assert leased.lease.attempt == 1


def test_a_late_item_leaves_its_session_where_it_is() -> None:
    backlog = Backlog()
    a, b = SessionClaim("A", 1_000), SessionClaim("B", 1_000)
    backlog.add(waiting(("i", 1, 1), 1, session_id="s"))
    assert taken(backlog, 1, a) == 1
    backlog.add(late(2, 50, None, "s"))
    backlog.add(waiting(("i", 1, 3), 3, session_id="s"))
    assert [taken(backlog, now_ms, b) for now_ms in (49, 50, 51)] == [None, 2, None]
    assert taken(backlog, 52, a) == 3


def test_items_that_are_long_done_take_no_room() -> None:
    backlog = Backlog()
    for number in range(5_000):
        backlog.add(late(number, 10**9))
        assert backlog.remove(("i", 1, number))
    assert len(backlog._start_bys) < 2_000  # pyright: ignore[reportPrivateUsage]  # nothing else shows it
    backlog.add(late(6_000, 50))
    assert taken(backlog, 50) == 6_000


def test_a_heartbeat_of_an_earlier_item_of_the_same_name_is_nobodys() -> None:
    backlog = Backlog()
    key = ("i", 1, 1)
    backlog.add(waiting(key, 7))
    backlog.keep(key, 6, Payload(b"1"))
    backlog.keep(("i", 1, 2), 7, Payload(b"1"))
    leased = backlog.take(DEFAULT_ONLY, "t", b"", 1, LEASE_MS, "w")
    assert leased is not None
    assert leased.heartbeat is None
    assert backlog.place_of("t") == 7
    backlog.keep(key, 7, Payload(b"2"))
    backlog.abandon("t", 0, ignore_attempt=False)
    leased = backlog.take(DEFAULT_ONLY, "t2", b"", 2, LEASE_MS, "w")
    assert leased is not None
    assert leased.heartbeat == Payload(b"2")
