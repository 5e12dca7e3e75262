"""Does the doors contract refuse what it is there to refuse?"""

import pytest
from grimp import ImportGraph

from tests.arch.doors import Door, trespasses_at


def graph_of(*imports: tuple[str, str]) -> ImportGraph:
    graph = ImportGraph()
    for number, (importer, imported) in enumerate(imports, start=1):
        graph.add_import(importer=importer, imported=imported, line_number=number, line_contents=f"import {imported}")
    return graph


def test_an_import_beside_the_door_is_named_with_its_line_and_its_door() -> None:
    graph = graph_of(("engine.clock", "time"), ("engine.replay.turn", "time"))

    assert trespasses_at(Door.parse("time: engine.clock"), graph) == [
        "engine.replay.turn (l.2) imports time; its door is engine.clock"
    ]


def test_a_room_admits_what_it_holds_and_not_what_merely_begins_like_it() -> None:
    graph = graph_of(("provider_log.cli", "rich"), ("provider_log.cli.tables", "rich"), ("provider_log.client", "rich"))

    assert trespasses_at(Door.parse("rich: provider_log.cli"), graph) == [
        "provider_log.client (l.3) imports rich; its door is provider_log.cli"
    ]


def test_a_dependency_nobody_imports_is_no_trespass() -> None:
    assert trespasses_at(Door.parse("random: engine.runtime.doors"), graph_of(("engine.clock", "time"))) == []


def test_a_line_without_rooms_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 'dependency: module, module', but the doors table holds 'random:'"):
        Door.parse("random:")
