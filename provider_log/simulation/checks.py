"""What must be true of a cluster when all is over, by its log alone, whatever happened on the way?"""

from collections import Counter
from collections.abc import Mapping

from engine.converter import JsonConverter
from engine.model.status import TERMINAL, Status
from provider_log import codec
from provider_log import records as r
from provider_log.partition.backlog import WorkKey
from provider_log.partition.head import follow
from provider_log.partition.restore import head_of
from provider_log.simulation.programs import UNSERVED, Step, outcome
from provider_log.simulation.world import APP, World
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics


async def check(world: World, partitions: int, programs: Mapping[str, tuple[Step, ...]], begun: set[WorkKey]) -> None:
    """Hold a log that nothing writes to any more against every rule.

    Raises:
        AssertionError: One is broken; the text says which.
    """
    seen = Counter[tuple[object, ...]]()
    asked, answered, unserved = set[WorkKey](), set[WorkKey](), set[WorkKey]()
    for partition in range(partitions):
        head = HeadRow()
        for offset, data in await world.history(partition):
            record = codec.decode_record(data)
            followed = follow(head, offset, record, data)  # raises for a broken chain, and a batch with a hole
            head = followed.head
            assert not followed.void, f"expected no record of a former owner, but offset {offset} of {partition} is one"
            _count(record, seen, asked, answered, unserved)
    twice = {what: count for what, count in seen.items() if count > 1}
    assert not twice, f"expected everything once, but {twice}"
    assert answered <= asked, f"expected answers to what was asked, but {answered - asked}"
    for (node, partition), store in world.stores.items():
        if not store.rows or store.is_foreign:
            continue  # its last crash took everything or brought another's, and the node had no use for it since
        rebuilt = await world.rebuilt(partition, until=head_of(store).offset)
        assert store.rows == rebuilt, f"expected the store of {partition} on {node} to be the fold of its log"
    outcomes = await _outcomes(world, partitions)
    once = Counter(instance for instance, _, _ in outcomes)
    assert set(once.values()) <= {1}, f"expected one outcome each, but {once}"
    results = {instance: (status, output) for instance, status, output in outcomes}
    right = {instance: outcome(steps) for instance, steps in programs.items()}
    wrong = {instance: results.get(instance) for instance in programs if results.get(instance) != right[instance]}
    assert not wrong, f"expected { ({instance: right[instance] for instance in wrong}) }, but got {wrong}"
    ran = answered - unserved  # nobody begins what nobody serves
    assert begun >= ran, f"expected every answer to come of code that ran, but {ran - begun}"
    assert not begun & unserved, f"expected no code to run for what nobody serves, but {begun & unserved}"


def _count(
    record: r.AnyRecord,
    seen: Counter[tuple[object, ...]],
    asked: set[WorkKey],
    answered: set[WorkKey],
    unserved: set[WorkKey],
) -> None:
    match record:
        case r.WorkItemAcked(sent=sent) if sent is not None:  # without one it was taken back
            place = (record.instance, record.execution_id, record.activity_id)
            seen["answer", *place] += 1
            answered.add(place)
        case r.TurnCommitted():
            seen.update(
                ("event", record.instance, record.incarnation, record.execution_id, event.event_id)
                for event in record.events
            )
            seen.update(("consumed", record.instance, one.lane, one.place, one.execution_id) for one in record.consumed)
            for one in record.scheduled:
                place = (record.instance, record.execution_id, one.activity_id)
                asked.add(place)
                if one.tag == UNSERVED:
                    unserved.add(place)
            seen["ended", record.instance, record.execution_id] += record.status in TERMINAL
        case _:
            pass


async def _outcomes(world: World, partitions: int) -> list[tuple[str, Status, object]]:
    """What a plain consumer of the outcomes topic sees."""
    found = list[tuple[str, Status, object]]()
    for partition in range(partitions):
        for _, data in await world.committed(Topics.of(APP).outcomes, partition):
            outcome = codec.decode_outcome(data)
            output = outcome.output and JsonConverter().decode(outcome.output, int, "output")
            found.append((outcome.instance, outcome.status, output))
    return found
