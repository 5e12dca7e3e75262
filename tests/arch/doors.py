"""Which modules may import a dependency? The import-linter contract kind behind "one door a dependency"."""

from typing import Any, NamedTuple, cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Door(NamedTuple):
    """One line of the table: a dependency, and the modules (with all they hold) that may import it."""

    dependency: str
    rooms: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> "Door":
        dependency, colon, rooms = line.partition(":")
        door = cls(dependency.strip(), tuple(room.strip() for room in rooms.split(",") if room.strip()))
        if not (colon and door.dependency and door.rooms):
            raise ValueError(f"expected 'dependency: module, module', but the doors table holds {line!r}")
        return door

    def admits(self, importer: str) -> bool:
        return any(importer == room or importer.startswith(room + ".") for room in self.rooms)


class Doors(Contract):
    """Only the modules named for a dependency import it directly.

    import-linter's own `protected` kind asks for a contract a dependency, and fails on one that nobody imports
    (say `random`), which is the state most of these lines describe.
    """

    type_name = "doors"

    doors = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        trespasses: list[str] = []
        for door in map(Door.parse, cast("list[str]", self.doors)):
            output.verbose_print(verbose, f"Looking at the door of {door.dependency}...")
            trespasses += trespasses_at(door, graph)
        return ContractCheck(kept=not trespasses, metadata={"trespasses": trespasses})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in cast("list[str]", check.metadata["trespasses"]):
            output.print_error(line)


def trespasses_at(door: Door, graph: ImportGraph) -> list[str]:
    """One line an import that passes beside the door: where it is and where it would belong."""
    if door.dependency not in graph.modules:
        return []
    lines: list[str] = []
    for importer in sorted(graph.find_modules_that_directly_import(door.dependency)):
        if not door.admits(importer):
            details = cast(
                "list[dict[str, Any]]", graph.get_import_details(importer=importer, imported=door.dependency)
            )
            numbers = ", ".join(f"l.{detail['line_number']}" for detail in details) or "?"
            lines.append(f"{importer} ({numbers}) imports {door.dependency}; its door is {' or '.join(door.rooms)}")
    return lines
