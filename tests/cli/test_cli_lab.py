"""`fidokit lab`: the notebooks are copied for real; JupyterLab is another program of the tests'."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

import fidokit
from fidokit import cli
from fidokit.cli import lab

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BUNDLES = ROOT / "fidokit" / "widgets" / "static"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for package in ("jupyterlab", "anywidget", "ipywidgets", "ipykernel"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'fidokit[test]'")
    return tmp_path


@pytest.fixture
def served(monkeypatch):
    """What would have been started, and where."""
    lines: list[tuple[list[str], Path]] = []
    monkeypatch.setattr(lab, "_serve", lambda line, folder: lines.append((line, folder)) or 0)
    return lines


def test_the_notebooks_are_copied_and_the_server_is_started_there(served, capsys, place):
    assert cli.main(["lab"]) == 0
    folder = Path("fidokit-notebooks")
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in NOTEBOOKS]
    assert len(NOTEBOOKS) > 2
    for path in NOTEBOOKS:
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert capsys.readouterr().out.splitlines() == [f"new: {folder / path.name}" for path in NOTEBOOKS]
    assert served == [([sys.executable, "-m", "jupyterlab"], folder)]


def test_the_options_are_passed_on(served):
    assert cli.main(["lab", "deep/er", "--no-browser", "--port", "9999"]) == 0
    assert served == [([sys.executable, "-m", "jupyterlab", "--no-browser", "--port=9999"], Path("deep/er"))]
    assert len(list(Path("deep/er").iterdir())) == len(NOTEBOOKS)


def test_nothing_that_is_there_is_written_over(served, capsys, place):
    folder = place / "mine"
    cli.main(["lab", "mine"])
    changed, same, lost, linked = (folder / path.name for path in (*NOTEBOOKS, *NOTEBOOKS)[:4])
    changed.write_text("my own work")
    (place / "elsewhere").mkdir()
    if len(NOTEBOOKS) > 3:
        linked.unlink()
        linked.symlink_to(place / "elsewhere" / "gone.ipynb")
    lost.unlink()
    (folder / "own.ipynb").write_text("{}")
    times = {path: path.stat().st_mtime_ns for path in (changed, same)}
    capsys.readouterr()
    assert cli.main(["lab", "mine"]) == 0
    told = capsys.readouterr().out
    assert f"kept, with changes: {Path('mine') / changed.name}" in told
    assert f"there already: {Path('mine') / same.name}" in told
    assert f"new: {Path('mine') / lost.name}" in told
    assert changed.read_text() == "my own work"
    assert lost.is_file()
    assert {path: path.stat().st_mtime_ns for path in (changed, same)} == times
    if len(NOTEBOOKS) > 3:
        assert linked.is_symlink()
        assert f"kept, with changes: {Path('mine') / linked.name}" in told
    assert not list((place / "elsewhere").iterdir())


def test_a_folder_that_cannot_be_written(served, capsys, place):
    (place / "file").write_text("")
    assert cli.main(["lab", "file/notebooks"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert served == []


def test_without_jupyterlab_the_extra_is_named_and_nothing_is_copied(served, capsys, place, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jupyterlab" else find(name))
    assert cli.main(["lab"]) == 2
    assert "pip install 'fidokit[lab]'" in capsys.readouterr().err
    assert served == []
    assert not (place / "fidokit-notebooks").exists()


def test_a_package_without_notebooks_says_so(monkeypatch, place):
    (place / "fidokit").mkdir()
    monkeypatch.setattr(lab, "PACKAGE", place / "fidokit")
    with pytest.raises(fidokit.FidokitError, match="install fidokit again"):
        lab.packaged_notebooks()
    (place / "fidokit" / "notebooks").mkdir()
    (place / "fidokit" / "notebooks" / "one.ipynb").write_text("{}")
    assert [path.name for path in lab.packaged_notebooks()] == ["one.ipynb"]


def test_the_exit_code_is_the_servers(place):
    assert lab._serve([sys.executable, "-c", "raise SystemExit(3)"], place) == 3
    assert lab._serve([sys.executable, "-c", "import sys; sys.exit(sys.stdin.read() != '')"], place) == 0


#: A stand-in for the server, which ends in its own time when it is asked to, and notes that it did.
SERVER = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.3)
    pathlib.Path("ended").write_text("")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path("started").write_text("")
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_waits_for_the_server_to_end(place):
    program = (
        "import sys, pathlib\nfrom fidokit.cli import lab\nlab.PATIENCE = (0.2, 20.0)\n"
        f"sys.exit(lab._serve([sys.executable, '-c', {SERVER!r}], pathlib.Path('.')))"
    )
    running = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while not Path("started").exists() and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 0
    assert Path("ended").exists()
    assert told == "fidokit: JupyterLab has ended; the notebooks are in .\n"


def test_the_wheel_and_the_source_distribution_carry_the_notebooks_and_the_bundles(place):
    sources = place / "sources"
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (sources / name).write_bytes((ROOT / name).read_bytes())
    for name in ("fidokit", "notebooks"):
        (sources / name).symlink_to(ROOT / name)
    build = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1])); "
    run(build, place / "dist", sources)
    (archive,) = (place / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    # A wheel is built from the source distribution, as whoever downloads that would do.
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w"]
    subprocess.run([*wheel, str(place / "dist"), str(unpacked)], check=True, cwd=place, capture_output=True)
    (built,) = (place / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        found = {name: opened.read(name) for name in opened.namelist() if name.endswith(".ipynb")}
        of_widgets = {name: opened.read(name) for name in opened.namelist() if name.startswith("fidokit/widgets/")}
        opened.extractall(place / "installed")
    assert found == {f"fidokit/notebooks/{path.name}": path.read_bytes() for path in NOTEBOOKS}
    # Of the widgets the bundles, not the sources that they are made from and the tools.
    bundles = {f"fidokit/widgets/static/{path.name}": path.read_bytes() for path in BUNDLES.iterdir()}
    assert {name: content for name, content in of_widgets.items() if not name.endswith(".py")} == bundles
    program = "from fidokit.cli import lab; print(*lab.packaged_notebooks(), sep='\\n')"
    told = run(program, place, place / "installed")
    assert told.split() == [str(place / "installed" / "fidokit" / "notebooks" / path.name) for path in NOTEBOOKS]


def run(program: str, argument: Path, folder: Path) -> str:
    """The output of a Python program that runs in a folder, and imports from there."""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(argument)],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
