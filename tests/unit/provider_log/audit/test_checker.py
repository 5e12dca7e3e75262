"""Does the checker let what can have happened pass, and call what cannot by its name?"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.audited import PARTITIONS, make_data
from tests.unit.provider_log.audit.changes import Change
from tests.unit.provider_log.audit.mutations import BROKEN, FORGED, INVISIBLE
from tests.unit.provider_log.audit.recorded import Checked, History, check, forged, read

PLACES_MAX = 12
"""Of the places where a change can be made, so many are tried, spread over the log."""


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[History]:
    data: Path = tmp_path_factory.mktemp("recorded")
    asyncio.run(make_data(data))
    return [read(data, partition) for partition in range(PARTITIONS)]


def spread(change: Change, histories: list[History]) -> Iterator[tuple[int, Checked]]:
    """The change made at places spread over every history, checked."""
    for partition, history in enumerate(histories):
        made = list(change(history))
        for at, mutant in made[:: max(1, len(made) // (PLACES_MAX // PARTITIONS))]:
            yield at, check(mutant, partition)


def test_what_happened_can_have_happened(histories: list[History]) -> None:
    for partition, history in enumerate(histories):
        assert check(history, partition).findings == []
        assert check(forged(history), partition).findings == [], "the tests' own chain must be the log's"


@pytest.mark.parametrize("name", BROKEN)
def test_a_change_of_bytes_or_order_is_found(name: str, histories: list[History]) -> None:
    change, found_as = BROKEN[name]
    checked = list(spread(change, histories))
    assert checked, "the recorded history must have a place for it"
    for at, found in checked:
        assert found.kinds & found_as, f"{name} at {at}: {found.findings}"


@pytest.mark.parametrize("name", FORGED)
def test_a_change_is_found_though_the_chain_was_made_to_fit(name: str, histories: list[History]) -> None:
    change, found_as = FORGED[name]
    checked = list(spread(change, histories))
    assert checked, "the recorded history must have a place for it"
    for at, found in checked:
        assert found.kinds & found_as, f"{name} at {at}: {found.findings}"
        assert "chain" not in found.kinds


@pytest.mark.parametrize("name", INVISIBLE)
def test_what_nobody_can_see_is_not_claimed_to_be_seen(name: str, histories: list[History]) -> None:
    change, reason = INVISIBLE[name]
    checked = list(spread(change, histories))
    assert checked
    assert all(not found.findings for _, found in checked), reason


def test_behind_a_record_that_only_a_newer_version_knows_nothing_is_judged(histories: list[History]) -> None:
    history = histories[0]
    middle = len(history) // 2
    newer = history[middle]._replace(data=b"\xc3\x01newer sc" + history[middle].data[10:])
    (finding,) = check([*history[:middle], newer, *history[middle + 1 :]], 0).findings
    assert (finding.kind.value, finding.offset) == ("newer", history[middle].offset)
