"""If `apply` were wrong, would the checker's own model of what waits say so?"""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.model.status import Status
from provider_log.audit.checker import Checker
from provider_log.audit.findings import Findings
from provider_log.audit.rebuild import Rebuild
from provider_log.audit.second_opinion import compare_with_checker
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import InstanceRow, pack, unpack
from tests.e2e.audited import make_data
from tests.unit.provider_log.audit.recorded import TOPIC, History, read

Rows = dict[bytes, bytes]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    data: Path = tmp_path_factory.mktemp("recorded")
    asyncio.run(make_data(data))
    histories = [read(data, partition) for partition in range(2)]
    return next(one for one in histories if any(written.key == b"waits" for written in one))


def opinion(history: History, rows: Rows | None = None) -> set[tuple[str, str]]:
    """Where the checker and `rows` (else what apply makes) differ: table and key."""
    partition = next(written.record.partition for written in history if hasattr(written.record, "partitions"))
    findings, rebuild = Findings(), Rebuild(partition)
    checker = Checker(TOPIC, partition, findings)
    for written in history:
        checker.feed(written.offset, written.data, written.key)
        rebuild.feed(written.offset, written.data)
    checker.finish()
    assert checker.is_sound
    compare_with_checker(rebuild.state.rows if rows is None else rows, checker, partition, findings)
    return {(one.where, one.key) for one in findings.kept if one.kind.value == "apply"}


def applied(history: History) -> Rows:
    rebuild = Rebuild(next(written.record.partition for written in history if hasattr(written.record, "partitions")))
    for written in history:
        rebuild.feed(written.offset, written.data)
    return rebuild.state.rows


def test_apply_and_the_checker_agree_after_every_batch(history: History) -> None:
    ends = [at for at, one in enumerate(history) if hasattr(one.record, "envelope") and one.record.envelope.last]
    for at in ends:
        assert opinion(history[: at + 1]) == set()


def test_a_row_that_apply_forgets_is_named(history: History) -> None:
    rows = applied(history)
    timer = next(key for key in rows if key.startswith(keys.table_prefix(Table.TIMER)))
    del rows[timer]
    assert opinion(history, rows) == {("TIMER", keys.describe(timer))}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("INBOX", keys.numbered(Table.INBOX, "nobody", 7)),
        ("TIMER", keys.in_execution(Table.TIMER, "nobody", 1, 2)),
        ("WORK", keys.in_execution(Table.WORK, "nobody", 1, 2)),
    ],
)
def test_a_row_that_apply_does_not_remove_is_named(table: str, key: bytes, history: History) -> None:
    assert opinion(history, {**applied(history), key: b""}) == {(table, keys.describe(key))}


@pytest.mark.parametrize("field", ["execution_id", "last_event_id", "incarnation", "status"])
def test_an_instance_that_apply_puts_elsewhere_is_named(field: str, history: History) -> None:
    rows = applied(history)
    key = keys.instance_prefix(Table.INSTANCE, "waits")
    row = unpack(InstanceRow, rows[key])
    rows[key] = pack(replace(row, **{field: Status.COMPLETED if field == "status" else getattr(row, field) + 1}))
    assert opinion(history, rows) == {("INSTANCE", keys.describe(key))}
