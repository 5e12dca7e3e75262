"""Is each work item handed to one worker at a time, oldest first, until somebody answers for it?"""

import anyio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.model.payload import Payload
from engine.model.work import WorkItem
from provider_log.partition.backlog import Backlog, Lease, Waiting, WorkKey

LEASE_MS = 100
delays = st.sampled_from((0, 30, 70))


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


def waiting(key: WorkKey, order: int, attempt: int = 0) -> Waiting:
    return Waiting(key=key, order=order, load=lambda: item_of(key), attempt=attempt)


class Row:
    """What the specification knows of one item."""

    def __init__(self, key: WorkKey, order: int) -> None:
        self.key = key
        self.order = order
        self.attempts = 0
        self.visible_at_ms = 0
        self.token: str | None = None
        self.until_ms = 0


class Workers(RuleBasedStateMachine):
    """A backlog beside a plain list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.rows: dict[WorkKey, Row] = {}
        self.answered: dict[str, Row] = {}
        self.tokens: dict[str, anyio.Event] = {}
        self.now_ms = 1_000
        self.made = 0

    def lease_of(self, token: str) -> Row | None:
        """The item of a lease that is live."""
        return next((row for row in self.rows.values() if row.token == token and row.until_ms > self.now_ms), None)

    def expire(self) -> None:
        for row in self.rows.values():
            if row.token is not None and row.until_ms <= self.now_ms:
                row.token, row.visible_at_ms = None, 0

    @rule()
    def add(self) -> None:
        self.made += 1
        key = ("i", 1, self.made)
        self.rows[key] = Row(key, self.made)
        self.backlog.add(waiting(key, self.made))

    @rule()
    def take(self) -> None:
        self.expire()
        visible = [row for row in self.rows.values() if row.token is None and row.visible_at_ms <= self.now_ms]
        expected = min(visible, key=lambda row: row.order, default=None)
        token = f"t{len(self.tokens)}"
        leased = self.backlog.take(token, b"n", self.now_ms, LEASE_MS, "w")
        assert (leased and leased.lease.key) == (expected and expected.key)
        if leased is not None and expected is not None:
            expected.token, expected.until_ms = token, self.now_ms + LEASE_MS
            expected.attempts += 1
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
            self.backlog.settle(token)
            del self.rows[row.key]
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
        self.backlog.rebuild(waiting(row.key, row.order, row.attempts) for row in self.rows.values())

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


def leased(backlog: Backlog, token: str, now_ms: int = 0) -> Lease:
    taken = backlog.take(token, b"nonce", now_ms, LEASE_MS, "w")
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
    backlog.settle("t0")
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
    backlog.settle("t0")
    backlog.rebuild([])
    assert not lease.revoked.is_set()
    assert backlog.lease("t0", 0) is None


def test_a_lease_that_ran_out_while_its_answer_was_in_doubt_is_over() -> None:
    backlog = Backlog()
    backlog.add(waiting(ONE, 0))
    leased(backlog, "t0")
    backlog.settle("t0")
    backlog.tick(2 * LEASE_MS)
    backlog.rebuild([waiting(ONE, 0, attempt=1)])
    assert leased(backlog, "t1", 2 * LEASE_MS).attempt == 2
