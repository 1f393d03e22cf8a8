"""The import graph: no circles, and no import from further down the flow; those in functions and for types count."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fidokit"
#: Rooms of the package in the order of the flow; those on one line may not import from one another.
FLOW = [
    ("_version", "exceptions"),
    ("_util",),
    ("data",),
    ("models",),
    ("methods",),
    ("samples", "testbed"),
    ("study",),
    ("errors", "enhance"),
    ("figures",),
    ("report", "widgets"),
    ("cli",),
    ("__init__", "__main__"),
]
LEVEL = {room: level for level, rooms in enumerate(FLOW) for room in rooms}
#: Rooms at the top of the package, as a person meets them.
MOST_ROOMS = 15


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a module names in an import statement, wherever it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively; name the module in full"
            module = node.module or ""
            found |= {full if (full := f"{module}.{alias.name}") in known else module for alias in node.names}
    return {module for module in found if module in known} - {name}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


KNOWN = modules()
GRAPH = {name: imports(name, path, KNOWN) for name, path in KNOWN.items()}


def test_every_room_has_its_place_in_the_flow():
    rooms = {room(module) for module in KNOWN}
    assert rooms == set(LEVEL)
    assert len(rooms - {"__init__", "__main__"}) <= MOST_ROOMS


def test_no_arrow_runs_back_up():
    up = {
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if LEVEL[room(other)] > LEVEL[room(module)]
        or (LEVEL[room(other)] == LEVEL[room(module)] and room(other) != room(module))
    }
    assert not up


def test_there_is_no_circle():
    # The package's own module names every room and loads none of them before it is asked for.
    graph = {module: others - {"fidokit"} for module, others in GRAPH.items() if module != "fidokit"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_graph_sees_imports_in_functions_and_for_types(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fidokit.study import study\n"
        "def f():\n    import fidokit.data.images\n",
        encoding="utf-8",
    )
    known = {"fidokit.study": module, "fidokit.study.study": module, "fidokit.data.images": module}
    assert imports("fidokit.some", module, known) == {"fidokit.study.study", "fidokit.data.images"}
