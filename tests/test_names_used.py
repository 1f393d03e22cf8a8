"""What notebooks and benchmark scripts take from fidokit is there; running them all would take hours."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "tests" / "benchmarks").glob("*.py"))


def source(path: Path) -> str:
    """Python of a script or of a notebook's cells, without the lines of magics."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in [*"".join(cell["source"]).splitlines(), ""]]
    return "\n".join(line for line in lines if not line.startswith("%"))


def has(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{module}.{name}":
            raise
        return False
    return True


def missing(text: str) -> list[str]:
    """Names that the text imports from fidokit, or takes from a module of it, and that are not there."""
    tree = ast.parse(text)
    modules: dict[str, str] = {}
    used: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fidokit":
            for name in node.names:
                used.add((node.module, name.name))
                modules[name.asname or name.name] = f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "fidokit":
                    modules[name.asname or "fidokit"] = name.name if name.asname else "fidokit"
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in bound:
            used.add((modules.get(node.value.id, ""), node.attr))
    return sorted(f"{module}.{name}" for module, name in used if is_module(module) and not has(module, name))


def is_module(name: str) -> bool:
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a class or a function of a module
        return False


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SCRIPTS], ids=lambda path: path.name)
def test_what_is_taken_from_fidokit_is_there(path):
    assert missing(source(path)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from fidokit import plots", ["fidokit.plots"]),
        ("from fidokit.study.compare import compare, gone", ["fidokit.study.compare.gone"]),
        ("import fidokit as fk\nfk.explain, fk.gone", ["fidokit.gone"]),
        (
            "from fidokit.figures import errors as pictures\npictures.cluster_map, pictures.gone",
            ["fidokit.figures.errors.gone"],
        ),
        ("from fidokit import testbed\ntestbed.load", []),
    ],
)
def test_a_name_that_is_gone_is_found(text, names):
    assert missing(text) == names


def lost_modules(path: Path, text: str) -> list[str]:
    """Modules of the tests that a script imports, and that lie in none of the folders in which it looks for them."""
    folders = [path.parent]
    imported: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.path.insert":
            folder = eval(ast.unparse(node.args[1]), {"__file__": str(path), "Path": Path})
            folders.append(Path(folder))
    ours = {module.stem for module in (ROOT / "tests").rglob("*.py")}
    return sorted(name for name in imported & ours if not any((folder / f"{name}.py").exists() for folder in folders))


@pytest.mark.parametrize("path", [p for p in SCRIPTS if not p.name.startswith("test_")], ids=lambda path: path.name)
def test_modules_of_the_tests_are_found_by_a_script_on_its_own(path):
    assert lost_modules(path, source(path)) == []


def test_a_module_that_is_not_found_is_named():
    text = "import sys\nfrom test_readers_coco import image\nfrom material import report\nfrom nets import conv_net\n"
    path = ROOT / "tests" / "benchmarks" / "any.py"
    assert lost_modules(path, text) == ["nets", "test_readers_coco"]
    assert lost_modules(path, text + "sys.path.insert(0, str(Path(__file__).parents[1]))") == ["test_readers_coco"]
