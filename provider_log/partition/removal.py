"""What goes when an instance is deleted or its executions are pruned? Decided over the rows, then admitted."""

from collections.abc import Collection, Mapping

from engine.errors import Refused
from engine.model.ids import automatic_parent
from engine.model.removal import DeletedCounts, PrunedCounts, PruneOptions
from engine.model.status import TERMINAL, Status
from provider_log import records as r
from provider_log.partition.ledger import Ledger
from provider_log.partition.look import elsewhere, executions, instance_row, tree
from provider_log.partition.orchestrator_queue import OrchestratorQueue
from provider_log.partition.plan import no_outcome_record, tree_taken_back_record
from provider_log.partition.worker_queue import WorkerQueue
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.port import ReadView
from provider_log.store.tables import InstanceRow


def check_deletion(
    operation: str, view: ReadView, root: str, *, force: bool, named: Collection[str] | None = None
) -> None:
    """Whether the tree of `root` may be deleted.

    Args:
        operation: Of the port, for the error.
        view: The state to go by.
        root: Whose tree it is.
        force: Whether what has not ended may be deleted too.
        named: If given, everybody in the tree must be among these.

    Raises:
        Refused: It may not.
    """
    statuses = {name: row.status for name, row in existing_tree(operation, view, root).items()}
    check_tree(operation, root, statuses, force=force, named=named)


def check_tree(
    operation: str,
    root: str,
    statuses: Mapping[str, Status | None],
    *,
    force: bool,
    named: Collection[str] | None = None,
) -> None:
    """As `check_deletion`, for whoever knows the tree already: everybody's status, None for who is gone or not asked.

    Raises:
        Refused: It may not be deleted.
    """
    if (parent := automatic_parent(root)) is not None:
        raise Refused(operation, f"expected the root of a tree, but {root} is a child of {parent}")
    unnamed = [] if named is None else sorted(set(statuses) - set(named))
    if unnamed:
        raise Refused(operation, f"expected everybody in the tree of {root}, but {', '.join(unnamed)} are not named")
    for name, status in () if force else statuses.items():
        if status is not None and status not in TERMINAL:
            raise Refused(operation, f"expected an instance that has ended, or force, but {name} is {status.value}")


def existing_tree(operation: str, view: ReadView, root: str) -> Mapping[str, InstanceRow]:
    """Rows of `root` and of all that came of it, by id.

    Raises:
        Refused: There is no such instance.
    """
    members = tree(view, root)
    if root not in members:
        raise Refused(operation, f"expected an instance {root}, but there is none")
    return members


class Removal:
    """Deletes trees and prunes executions of one partition.

    Args:
        ledger: Where that is admitted.
        messages, work: The queues, out of which goes what is deleted.
    """

    def __init__(self, ledger: Ledger, messages: OrchestratorQueue, work: WorkerQueue) -> None:
        self._ledger = ledger
        self._messages = messages
        self._work = work

    def check(self, operation: str, root: str, *, force: bool, named: Collection[str] | None = None) -> None:
        """As `check_deletion`, over what is admitted."""
        check_deletion(operation, self._ledger.overlay, root, force=force, named=named)

    def delete(self, root: str) -> DeletedCounts:
        """Admit the deletion of a tree that was checked. Its locks are lost at once, its leases with the commit.

        Work items that wait with a session in another partition are taken back there, and not counted.
        """
        overlay = self._ledger.overlay
        members = tree(overlay, root)
        of_executions, of_events = (
            sum(1 for prefix in keys.tree_prefixes(table, root) for _ in overlay.scan(prefix))
            for table in (Table.EXECUTION, Table.HISTORY)
        )
        queue_messages = self._messages.drop_tree(root) + self._work.drop_tree(root)
        self._ledger.send(
            *(tree_taken_back_record(root, away, self._ledger.place) for away in elsewhere(overlay, root))
        )
        deleted = r.InstanceDeleted(
            envelope=self._ledger.envelope(), instance=root, incarnation=members[root].incarnation
        )
        self._ledger.admit(deleted, about=root)
        ended = [name for name, row in members.items() if row.status in TERMINAL]
        self._ledger.send(*(no_outcome_record(name, self._ledger.place) for name in ended))
        return DeletedCounts(
            instances=len(members), executions=of_executions, events=of_events, queue_messages=queue_messages
        )

    def prune(self, instance: str, options: PruneOptions) -> PrunedCounts:
        """Admit that the executions which `options` choose are forgotten.

        Raises:
            Refused: There is no such instance.
        """
        overlay = self._ledger.overlay
        if instance_row(overlay, instance) is None:
            raise Refused("prune_executions", f"expected an instance {instance}, but there is none")
        known = {execution.execution_id: execution for execution in executions(overlay, instance)}
        chosen = options.chosen(list(known.values()))
        if chosen:
            pruned = r.ExecutionsPruned(envelope=self._ledger.envelope(), instance=instance, execution_ids=chosen)
            self._ledger.admit(pruned, about=None)
        events = sum(known[execution_id].event_count for execution_id in chosen)
        return PrunedCounts(instances=1 if chosen else 0, executions=len(chosen), events=events)
