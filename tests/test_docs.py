"""The code of the documentation's pages: every block is compiled, its names and options are there, and it runs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from docs_cases import PAGES, ROOT, SITE, Block, blocks, commands, lay_out, lay_out_speciesnet
from test_names_used import missing

import fidokit
from fidokit import cli

BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language == "sh"]
#: Languages of what is shown and not run.
SHOWN = {"text"}
#: First line of what is run as a script by itself, in `test_readme`.
SCRIPT = "# script"
#: Where a block may say that it is not run, and how often in all: whatever can be run is.
REASONS = ("downloads ", "needs a ")
MOST_NOT_RUN = 8


def name(block: Block) -> str:
    return block.name


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_pages_are_found_and_fences_are_closed():
    assert len(PAGES) > 25
    assert len(PYTHON) > 30
    assert len(SHELL) > 15
    for page in PAGES:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.M)
        assert len(fences) == 2 * len(blocks(page)), page


def test_every_block_says_what_it_is():
    odd = [
        block.name for block in BLOCKS if block.language not in {"python", "sh", *SHOWN} and block.language[:1] != "{"
    ]
    assert not odd


def test_one_block_is_a_script():
    assert [block.page.name for block in PYTHON if block.code.startswith(SCRIPT)] == ["cluster.md"]


def test_few_blocks_are_not_run_and_each_says_why():
    left_out = [block for block in BLOCKS if block.reason]
    assert all(block.reason.startswith(REASONS) for block in left_out)
    assert len(left_out) <= MOST_NOT_RUN
    notes = sum(page.read_text(encoding="utf-8").count("<!-- not run") for page in PAGES)
    assert notes == len(left_out)


def test_the_citation_is_of_this_version():
    assert f"\nversion: {fidokit.__version__}\n" in (ROOT / ".github" / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", PYTHON, ids=name)
def test_python_compiles_and_its_names_are_there(block):
    compile(block.code, block.name, "exec")
    assert not missing(block.code)


@pytest.mark.parametrize("block", SHELL, ids=name)
def test_commands_and_their_options_are_there(block):
    parser = cli._parser()
    for command in commands(block):
        program, *arguments = shlex.split(command)
        assert program in ("fidokit", "pip", "pytest"), command
        if program == "fidokit":
            parser.parse_args(arguments)


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(SITE) and blocks(page)], ids=page_name)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("timm", "onnx", "distributed"):
        pytest.importorskip(module, reason=f"needs {module}, of the extra `test`")
    lay_out(tmp_path)
    if "speciesnet:" in page.read_text(encoding="utf-8"):
        lay_out_speciesnet(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.reason is None and block.language == "python":
            run_python(block, names)
        elif block.reason is None and block.language == "sh":
            run_shell(block, capsys)


def run_python(block: Block, names: dict[str, object]) -> None:
    first, _, rest = block.code.partition("\n")
    if first.startswith("# file: "):
        Path(first.removeprefix("# file: ")).write_text(rest, encoding="utf-8")
    elif first != SCRIPT:
        exec(compile(block.code, block.name, "exec", dont_inherit=True), names)


def run_shell(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(block):
        program, *arguments = shlex.split(command)
        # Packages are installed by whoever runs the tests.
        if program == "fidokit" and arguments[0] != "lab":
            with contextlib.suppress(SystemExit):
                assert cli.main(arguments) == 0, f"{command}\n{capsys.readouterr().err}"


@pytest.mark.long
def test_python_of_the_pages_is_rightly_typed(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install 'fidokit[test]'")
    for page in PAGES:
        parts = [block for block in blocks(page) if block.language == "python"]
        for k, together in enumerate([[b for b in parts if not alone(b)], *([b] for b in parts if alone(b))]):
            stem = re.sub(r"\W", "_", page.relative_to(ROOT).with_suffix("").as_posix())
            if together:
                (tmp_path / f"{stem}_{k}.py").write_text("\n".join(b.code for b in together), encoding="utf-8")
    # Without the project's own configuration, which is strict: the functions of pages need no types.
    options = [
        "--config-file=",
        "--ignore-missing-imports",
        "--follow-imports=silent",
        "--cache-dir",
        str(tmp_path / "c"),
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(tmp_path)],
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def alone(block: Block) -> bool:
    """Whether a block is a file by itself, or, not run, independent of those before it."""
    return block.reason is not None or block.code.startswith(("# file: ", SCRIPT))
