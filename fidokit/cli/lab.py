"""`fidokit lab`: JupyterLab with the project's notebooks in it."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fidokit._util.atomic_write import writing
from fidokit.cli.options import command
from fidokit.cli.text import plain, tell
from fidokit.exceptions import MissingExtra, StoreError

#: Seconds that JupyterLab gets to end its kernels and itself: by itself, and when it is told to.
PATIENCE = (2.0, 20.0)
#: Of this package.
PACKAGE = Path(__file__).parents[1]
_NEEDED = ("jupyterlab", "anywidget", "ipywidgets", "ipykernel")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    lab = command(commands, "lab", _lab, "start JupyterLab with the notebooks that come with fidokit")
    lab.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("fidokit-notebooks"),
        metavar="FOLDER",
        help="where the notebooks go; files that are there are left as they are; default fidokit-notebooks",
    )
    lab.add_argument("--no-browser", action="store_true", help="only start the server, and print its address")
    lab.add_argument("--port", type=int, metavar="N", help="of the server; default JupyterLab's own, or the next free")
    lab.set_defaults(kept=lambda arguments: f"the notebooks are in {arguments.folder}")


def _lab(arguments: argparse.Namespace) -> int:
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "lab")
    for path, what in _copy_notebooks(arguments.folder):
        print(plain(f"{what}: {path}"))
    sys.stdout.flush()
    options = ["--no-browser"] if arguments.no_browser else []
    if arguments.port is not None:
        options.append(f"--port={arguments.port}")
    return _serve([sys.executable, "-m", "jupyterlab", *options], arguments.folder)


def packaged_notebooks() -> list[Path]:
    """The notebooks that come with fidokit: in the installed package, or beside it in a clone of the repository.

    Raises:
        StoreError: they are in neither place.
    """
    for folder in (PACKAGE / "notebooks", PACKAGE.parent / "notebooks"):
        if found := sorted(folder.glob("*.ipynb")):
            return found
    raise StoreError(f"{PACKAGE} comes without its notebooks; install fidokit again")


def _copy_notebooks(folder: Path) -> list[tuple[Path, str]]:
    """Copy the notebooks into a folder, over none that is there.

    Args:
        folder: made if it is not there.

    Returns:
        The path of each notebook and what became of it: ``new``, ``there already``, or ``kept, with changes``, the last
        where a file of that name differs from what would have been copied.

    Raises:
        StoreError: the folder cannot be written.
    """
    told = []
    for source in packaged_notebooks():
        target, content = folder / source.name, source.read_bytes()
        with writing(target):
            folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target):
                same = target.is_file() and target.read_bytes() == content
                told.append((target, "there already" if same else "kept, with changes"))
                continue
            # Exclusively: not over a file that came in the meantime either.
            with target.open("xb") as file:
                file.write(content)
            told.append((target, "new"))
    return told


def _serve(line: list[str], folder: Path) -> int:
    """Run a server until it ends or Ctrl-C is pressed; its exit code."""
    # Without an input it does not ask whether Ctrl-C was meant.
    with subprocess.Popen(line, cwd=folder, stdin=subprocess.DEVNULL) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            _end(server)
            tell(f"fidokit: JupyterLab has ended; the notebooks are in {folder}")
            return 0


def _end(server: subprocess.Popen[bytes]) -> None:
    """Wait for a server to end after Ctrl-C: in a terminal that reaches it too, a signal to this process does not."""
    for patience, next_step in zip(PATIENCE, (server.terminate, server.kill), strict=True):
        try:
            server.wait(patience)
            return
        except subprocess.TimeoutExpired:
            next_step()
