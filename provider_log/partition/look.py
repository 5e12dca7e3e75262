"""What do queries see? Rows of the store as the port's values."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from engine.errors import HistoryCorrupted
from engine.model.events import AnyEvent, OrchestrationStarted
from engine.model.ids import FIRST_EVENT
from engine.model.key_values import KeyValue, merged
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats
from provider_log import codec
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.port import ReadView
from provider_log.store.tables import ElsewhereRow, ExecutionRow, InstanceRow, KeyValueRow, unpack


def instance_row(view: ReadView, instance: str) -> InstanceRow | None:
    """The instance's row, or None."""
    data = view.get(keys.instance_prefix(Table.INSTANCE, instance))
    return None if data is None else unpack(InstanceRow, data)


def instance_info(instance: str, row: InstanceRow) -> InstanceInfo:
    """An instance's row for a query."""
    return InstanceInfo(
        instance=instance,
        orchestration_name=row.name,
        orchestration_version=row.version,
        current_execution_id=row.execution_id,
        status=row.status,
        revision=row.revision,
        created_at_ms=row.created_at_ms,
        updated_at_ms=row.updated_at_ms,
        output=row.output,
        failure=row.failure,
        custom_status=row.custom_status,
        custom_status_version=row.custom_status_version,
        pinned_version=row.pinned_version,
        parent_instance=row.parent_instance,
        incarnation=row.incarnation,
        history_events=row.event_count,
        suspend_reason=row.suspend_reason,
        start_id=row.start_id,
    )


def has_consumed(view: ReadView, instance: str, message_id: str) -> bool:
    """Whether a turn of the instance has consumed a message with this id, as far as that is remembered."""
    return view.get(keys.seen(instance, message_id)) is not None


def tree(view: ReadView, root: str) -> Mapping[str, InstanceRow]:
    """Rows of an instance and of its automatic children, of whatever generation, by id, ascending."""
    return {
        keys.instance_of(key): unpack(InstanceRow, data)
        for prefix in keys.tree_prefixes(Table.INSTANCE, root)
        for key, data in view.scan(prefix)
    }


def elsewhere(view: ReadView, root: str) -> Sequence[int]:
    """Other partitions that were ever given work items of an instance or of its automatic children, ascending."""
    found: set[int] = set()
    for prefix in keys.tree_prefixes(Table.ELSEWHERE, root):
        for _, data in view.scan(prefix):
            found.update(unpack(ElsewhereRow, data).partitions)
    return sorted(found)


def executions(view: ReadView, instance: str) -> Iterator[ExecutionInfo]:
    """All executions of an instance, ascending."""
    for key, data in view.scan(keys.instance_prefix(Table.EXECUTION, instance)):
        yield _execution_info(instance, keys.numbers_of(key)[0], unpack(ExecutionRow, data))


def execution(view: ReadView, instance: str, execution_id: int) -> ExecutionInfo | None:
    """One execution of an instance, or None."""
    data = view.get(keys.execution(instance, execution_id))
    return None if data is None else _execution_info(instance, execution_id, unpack(ExecutionRow, data))


def _execution_info(instance: str, execution_id: int, row: ExecutionRow) -> ExecutionInfo:
    return ExecutionInfo(
        instance=instance,
        execution_id=execution_id,
        status=row.status,
        started_at_ms=row.started_at_ms,
        completed_at_ms=row.completed_at_ms,
        output=row.output,
        failure=row.failure,
        event_count=row.event_count,
    )


def history(view: ReadView, instance: str, execution_id: int) -> Sequence[AnyEvent]:
    """The events of one execution, in order.

    Raises:
        HistoryCorrupted: An event cannot be decoded.
    """
    return [
        _decoded(instance, execution_id, keys.numbers_of(key)[1], data)
        for key, data in view.scan(keys.history_prefix(instance, execution_id))
    ]


def _decoded(instance: str, execution_id: int, event_id: int, data: bytes) -> AnyEvent:
    try:
        return codec.decode_event(data)
    except (codec.Malformed, codec.UnknownSchema, msgspec.DecodeError) as error:
        raise HistoryCorrupted(
            f"expected event {event_id} of {instance}, execution {execution_id}, to decode, but {error}"
        ) from error


def stats(view: ReadView, instance: str, execution_id: int) -> InstanceStats:
    """How large an execution of an instance is.

    Raises:
        HistoryCorrupted: Its first event cannot be decoded.
    """
    sizes = [len(data) for _, data in view.scan(keys.history_prefix(instance, execution_id))]
    data = view.get(keys.in_execution(Table.HISTORY, instance, execution_id, FIRST_EVENT))
    first = None if data is None else _decoded(instance, execution_id, FIRST_EVENT, data)
    kept = key_values(view, instance)
    return InstanceStats(
        history_events=len(sizes),
        history_bytes=sum(sizes),
        queue_pending=len(first.carried) if isinstance(first, OrchestrationStarted) else 0,
        keys=len(kept),
        key_value_bytes=sum(len(each.value.data) for each in kept.values()),
    )


def _kept_in(table: Table, view: ReadView, instance: str) -> dict[str, KeyValue | None]:
    found: dict[str, KeyValue | None] = {}
    for key, data in view.scan(keys.instance_prefix(table, instance)):
        row = unpack(KeyValueRow, data)
        found[keys.kept_key(key)] = None if row.value is None else KeyValue(row.value, row.updated_at_ms)
    return found


def key_values_begun_with(view: ReadView, instance: str) -> Mapping[str, KeyValue]:
    """What the instance kept when its current execution began, by key, ascending."""
    return {key: kept for key, kept in _kept_in(Table.KEY_VALUE, view, instance).items() if kept is not None}


def key_values(view: ReadView, instance: str) -> Mapping[str, KeyValue]:
    """What the instance keeps now, by key, ascending."""
    return merged(key_values_begun_with(view, instance), _kept_in(Table.KEY_CHANGE, view, instance))


def key_value(view: ReadView, instance: str, key: str) -> KeyValue | None:
    """What the instance keeps under `key` now, or None."""
    for table in (Table.KEY_CHANGE, Table.KEY_VALUE):
        data = view.get(keys.kept(table, instance, key))
        if data is not None:
            row = unpack(KeyValueRow, data)
            return None if row.value is None else KeyValue(row.value, row.updated_at_ms)
    return None


class StoredHistory:
    """The history of an execution as of the turns admitted so far, read when it is asked for."""

    def __init__(self, view: ReadView, instance: str, execution_id: int, last_event_id: int) -> None:
        self._view = view
        self._instance = instance
        self._execution_id = execution_id
        self._last_event_id = last_event_id

    @property
    def last_event_id(self) -> int:
        """Highest event id, 0 for an empty history."""
        return self._last_event_id

    def load(self) -> Sequence[AnyEvent]:
        """All events in order of event id.

        Raises:
            HistoryCorrupted: An event cannot be decoded.
        """
        return history(self._view, self._instance, self._execution_id) if self._last_event_id else ()

    def key_values(self) -> Mapping[str, KeyValue]:
        """What the instance kept when the execution began."""
        return key_values_begun_with(self._view, self._instance)
