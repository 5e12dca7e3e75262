"""Can what nodes in bad weather wrote have happened? The audit's checker, which knows nothing of how, reads it all."""

import pytest

from provider_log.audit.checker import Checker
from provider_log.audit.findings import Findings
from provider_log.audit.rebuild import Rebuild
from provider_log.audit.second_opinion import compare_with_checker
from provider_log.topics import Topics
from tests.simulation.test_seeds import Run
from tests.simulation.world import APP

SEEDS = range(40)
"""Of `test_seeds`: some with faults of the log, doubts and crashes, some without."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_written_in_any_weather_can_have_happened(seed: int) -> None:
    run = Run(seed)

    async def written_and_read() -> None:
        await run.main()
        for partition in range(run.partitions):
            await _check(run, partition)

    run.world.run(written_and_read)


async def _check(run: Run, partition: int) -> None:
    topic = Topics.of(APP).history
    findings = Findings()
    checker, rebuild = Checker(topic, partition, findings), Rebuild(partition)
    reader = await run.world.log.open_reader(topic, partition, 0)
    for stored in await reader.read(100_000, 0):
        checker.feed(stored.offset, stored.value, stored.key)
        rebuild.feed(stored.offset, stored.value)
    counts = checker.finish()
    assert counts.owners >= 1
    # A record that is void is what fencing lets through at worst: an alarm, and nothing that happened.
    assert [one for one in findings.kept if one.kind.value != "void"] == []
    if checker.is_sound:
        compare_with_checker(rebuild.state.rows, checker, partition, findings)
        assert findings.kept == []
