from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'fidokit[test]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'fidokit[test]'")


def read(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def troubles(found):
    return [output for output in found if output.output_type == "error" or output.get("name") == "stderr"]


def plots(found):
    return [output for output in found if "application/vnd.plotly.v1+json" in output.get("data", {})]


def static_forms(found):
    """How many pictures each static form of a widget has, in the order in which they are shown."""
    pages = [str(output.get("data", {}).get("text/html", "")) for output in found]
    return [page.count("<img ") for page in pages if "fidokit-static" in page]


def test_there_are_notebooks():
    assert "compare_methods.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_outputs_are_small_whole_and_without_traces(path):
    notebook = read(path)
    assert path.stat().st_size < 1_000_000
    # Run from top to bottom in one go.
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert not troubles(outputs(notebook))
    assert any("text/html" in output.get("data", {}) for output in outputs(notebook))
    # Seen where plotly's script does not run.
    assert all("image/png" in output["data"] for output in plots(outputs(notebook)))
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|home|root|work|Users)/", text)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Path -> future of the notebook as run: those asked for, two at a time, each with one thread."""
    asked = [
        item.callspec.params["path"] for item in request.session.items if "runs" in getattr(item, "fixturenames", ())
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        "OMP_NUM_THREADS": "1",
    }

    def run(path):
        notebook = read(path)
        for cell in code_cells(notebook):
            cell.outputs = []
        place = {"metadata": {"path": str(tmp_path_factory.mktemp(path.stem))}}
        client = nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=place)
        return client.execute(env=environment)

    pool = ThreadPoolExecutor(2, thread_name_prefix="notebooks")
    # The last one takes longest, and begins at once.
    yield {path: pool.submit(run, path) for path in reversed(asked)}
    pool.shutdown(cancel_futures=True)


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_from_top_to_bottom(path, runs):
    run = outputs(runs[path].result())
    assert not troubles(run)
    tables = [output for output in run if "<table" in str(output.get("data", {}).get("text/html", ""))]
    saved = outputs(read(path))
    assert len(plots(run)) == len(plots(saved)) > 0
    assert tables
    # Widgets leave their static form, with the picture of what there is to see.
    assert static_forms(run) == static_forms(saved)
