"""Does `apply` make of a history what the checker read in it? The two share no code, so neither can hide its mistake.

Compared is what decides what happens next: which messages, timers and work items wait, and where every instance stands.
"""

from collections.abc import Mapping

from engine.model.status import PAUSED, TERMINAL, Status
from provider_log.audit.checker import Checker
from provider_log.audit.compare import table_name
from provider_log.audit.executions import Life
from provider_log.audit.findings import Finding, Findings, Kind
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import InstanceRow, unpack

_WAITING = tuple(keys.table_prefix(table) for table in (Table.INBOX, Table.TIMER, Table.WORK))


def compare_with_checker(rows: Mapping[bytes, bytes], checker: Checker, partition: int, findings: Findings) -> None:
    """Report where `rows`, made by `apply` of all that `checker` read without a finding, say otherwise."""

    def found(key: bytes, sentence: str) -> None:
        findings.add(
            Finding(
                kind=Kind.APPLY,
                where=table_name(key),
                partition=partition,
                offset=None,
                key=keys.describe(key),
                sentence=sentence,
            )
        )

    waiting = {key for key in rows if key.startswith(_WAITING)}
    expected = checker.waiting_rows
    for key in sorted(expected - waiting):
        found(key, "expected a row, for it waits by what the records say, but apply makes none")
    for key in sorted(waiting - expected):
        found(key, "expected no row, for nothing waits by what the records say, but apply makes one")
    for instance in sorted(checker.deleted):
        key = keys.instance_prefix(Table.INSTANCE, instance)
        if key in rows:
            found(key, "expected no row, for the instance was deleted, but apply makes one")
    for instance, life in checker.lives.items():
        if life.unjudged:
            continue
        key = keys.instance_prefix(Table.INSTANCE, instance)
        data = rows.get(key)
        row = None if data is None else _standing(unpack(InstanceRow, data))
        wanted = _wanted(life, paused=checker.paused.get(instance))
        if row != wanted:
            found(key, f"expected {wanted} by what the records say, but apply makes {row}")


def _standing(row: InstanceRow) -> tuple[int, int, int, str]:
    """Execution, last event, incarnation, and what can happen next."""
    next_is = "nothing" if row.status in TERMINAL else row.status.value if row.status in PAUSED else "turns"
    return row.execution_id, row.last_event_id, row.incarnation, next_is


def _wanted(life: Life, *, paused: Status | None) -> tuple[int, int, int, str]:
    next_is = paused.value if paused else "nothing" if life.is_over else "turns"
    return life.execution_id, life.last_event_id, life.incarnation, next_is
