"""The contract between the rooms notices every import that goes upwards or sideways."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from grimp import ImportGraph
from rooms import RoomsContract


def _contract() -> RoomsContract:
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    (options,) = pyproject["tool"]["importlinter"]["contracts"]
    return RoomsContract("rooms", session_options={}, contract_options=options)


def _kept(importer: str, imported: str) -> bool:
    graph = ImportGraph()
    graph.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")
    return _contract().check(graph, verbose=False).kept


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("sord.tpch.runner", "sord"),
        ("sord.connection", "sord.exec.coordinator"),
        ("sord.cli", "sord.shell"),
        ("sord.exec.worker", "sord.transport.base"),
        ("sord.exec.worker", "sord.planner.fragment"),
        ("sord.planner.bind", "sord.planner.logical"),
    ],
)
def test_imports_within_a_room_and_downwards_are_kept(importer: str, imported: str) -> None:
    assert _kept(importer, imported)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("sord.planner.bind", "sord"),
        ("sord.planner.bind", "sord.catalog"),
        ("sord.planner.bind", "sord.transport.base"),
        ("sord.planner.bind", "sord.exec"),
        ("sord.transport.base", "sord.planner.fragment"),
        ("sord.exec.worker", "sord.connection"),
        ("sord.exec.worker", "sord.tpch.spec"),
        ("sord.cli", "sord.tpch.cli"),
        ("sord.tpch.runner", "sord.exec.coordinator"),
    ],
)
def test_other_imports_break_it(importer: str, imported: str) -> None:
    assert not _kept(importer, imported)
