"""The import contract between the rooms of the house, for import-linter.

import-linter's own contracts name modules, but the room `engine` is the package `sord` itself: whatever in it
belongs to no other room. This one says which room may import which, and needs no list of modules.
"""

from __future__ import annotations

from typing import Final

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

ENGINE: Final = "engine"


class RoomsContract(Contract):
    """Each line of `may_import` is `room: other rooms that it may import`; any room may import itself."""

    may_import = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Looks at every import between two rooms."""
        allowed = dict(self._rule(line) for line in self.may_import)  # type: ignore[attr-defined]
        broken = sorted(
            (importer, imported)
            for importer in graph.modules
            for imported in graph.find_modules_directly_imported_by(importer)
            if self._room(imported, allowed)
            not in {self._room(importer, allowed), *allowed[self._room(importer, allowed)]}
        )
        return ContractCheck(
            kept=not broken,
            metadata={
                "broken": [
                    (importer, imported, detail["line_number"], detail["line_contents"])
                    for importer, imported in broken
                    for detail in graph.get_import_details(importer=importer, imported=imported)
                ]
            },
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line per forbidden import."""
        for importer, imported, line, contents in check.metadata["broken"]:
            output.print_error(f"{importer} (line {line}) may not import {imported}: {contents}", bold=False)

    @staticmethod
    def _rule(line: str) -> tuple[str, list[str]]:
        room, _, others = line.partition(":")
        return room.strip(), others.split()

    @staticmethod
    def _room(module: str, rooms: dict[str, list[str]]) -> str:
        name = module.split(".")[1] if "." in module else ENGINE
        return name if name in rooms else ENGINE
