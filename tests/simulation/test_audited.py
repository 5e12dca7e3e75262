"""Can what nodes in bad weather wrote have happened? The audit's checker, which knows nothing of how, reads it all."""

import pytest

from provider_log.audit.checker import Checker
from provider_log.audit.findings import Findings
from provider_log.audit.rebuild import Rebuild
from provider_log.audit.second_opinion import compare_with_checker
from provider_log.simulation.seed import Cluster
from provider_log.simulation.world import APP
from provider_log.topics import Topics

SEEDS = range(1_000, 1_020)
"""Others than those of `test_seeds`."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_written_in_any_weather_can_have_happened(seed: int) -> None:
    cluster = Cluster(seed)

    async def written_and_read() -> None:
        await cluster.main()
        cluster.weather.is_over = True  # everybody may have ended before it was
        for partition in range(cluster.partitions):
            await _check(cluster, partition)

    cluster.world.run(written_and_read)


async def _check(cluster: Cluster, partition: int) -> None:
    topic = Topics.of(APP).history
    findings = Findings()
    checker, rebuild = Checker(topic, partition, findings), Rebuild(partition)
    reader = await cluster.world.log.open_reader(topic, partition, 0)
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
