"""Does `make demo-kafka` do what it promises? What a killed node had others have, and nothing is lost or done twice."""

import re
from itertools import chain
from pathlib import Path

from tests.e2e.demos import told

ENDS_WITHIN_S = 230
PARTITIONS = [*range(8)]


def places(said: str, after: str) -> dict[str, list[int]]:
    """Which node has which partitions, as the one line says in which `after` comes before that."""
    (line,) = re.findall(rf"{after}(.*)$", said, re.MULTILINE)
    return {name: [*map(int, numbers.split())] for name, numbers in re.findall(r"(node-\d) has ([\d ]+)", line)}


def test_the_partitions_of_the_node_that_is_killed_run_on_the_others(bootstrap: str, tmp_path: Path) -> None:
    said, killed = told("demo_kafka.py", tmp_path, ENDS_WITHIN_S, KAFKA_BOOTSTRAP=bootstrap)
    before = places(said, "three nodes share 8 partitions: ")
    after = places(said, f"of {killed} run elsewhere after .* ms: ")
    in_the_end = places(said, "it has handed over what it had: ")

    for now, nodes in ((before, 3), (after, 2), (in_the_end, 1)):
        assert len(now) == nodes
        assert sorted(chain(*now.values())) == PARTITIONS
    assert set(after) == set(before) - {killed}
    assert all(set(before[name]) <= set(after[name]) for name in after), "only what had to move has moved"
    assert "the log keeps its rules; 8 of 8 stores and 0 owners compared, all agree" in said
