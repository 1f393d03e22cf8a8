"""The README's commands and its Python are what is tested, and they run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from docs_cases import SITE
from docs_cases import blocks as blocks_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_it_fits_on_three_screens_and_its_links_lead_to_files():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1100
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    inside = [link for link in links if not link.startswith(("http", "../../actions/"))]
    assert len(inside) > 15
    assert [link for link in inside if not (ROOT / link).exists()] == []
    workflows = {link.split("/")[4] for link in links if link.startswith("../../actions/workflows/")}
    assert workflows <= {path.name for path in (ROOT / ".github" / "workflows").iterdir()}


def test_the_second_command_is_what_ci_runs():
    second = blocks("sh")[1].strip()
    assert second == "pip install -c tests/constraints.txt '.[test]' && pytest -n logical"
    pattern = re.search(r"grep -m 1 '(.*?)' README.md", (ROOT / ".ci/run").read_text(encoding="utf-8"))
    assert pattern is not None
    matching = [line for line in README.splitlines() if re.search(pattern[1], line)]
    assert matching[0] == second


@pytest.mark.long
def test_the_first_command_runs_after_its_install(tmp_path, monkeypatch, capsys):
    from fidokit.cli import main

    monkeypatch.chdir(tmp_path)
    install, command = blocks("sh")[0].strip().split(" && ")
    assert install == "pip install -c tests/constraints.txt ."
    program, *arguments = command.split()
    assert program == "fidokit"
    assert main([*arguments, "--n", "12"]) == 0
    printed = capsys.readouterr().out
    for word in ("fido", "grad-cam", "integrated-gradients", "part correlation", "better than"):
        assert word in printed
    assert list(Path("runs").glob("**/*.parquet"))
    assert list(Path("runs").glob("**/*.html"))


@pytest.mark.long
def test_the_command_on_real_photographs_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `samples`")
    from fidokit.cli import main

    monkeypatch.chdir(tmp_path)
    commands = blocks("sh")[2].strip().split(" && ")
    assert commands[0].startswith("pip install -c tests/constraints.txt '.[samples]'")
    for command in commands[1:]:
        program, *arguments = command.split()
        assert program == "fidokit"
        assert main(arguments) == 0
    printed = capsys.readouterr().out
    for method in ("fido", "grad-cam", "integrated-gradients"):
        assert method in printed
    assert list(Path("runs/photos").glob("**/*.parquet"))


@pytest.mark.long
def test_the_python_runs_and_gives_what_its_comments_say(tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `samples`")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    masks, study = names["masks"], names["study"]
    assert masks.joint.shape[1:] == (20, 20)
    assert int(masks.evaluations.max()) <= 60
    assert isinstance(study.summary(), pd.DataFrame)
    assert len(study.summary()) == 5
    assert Path("photos.html").stat().st_size > 10_000


@pytest.mark.long
def test_the_python_for_a_cluster_runs_as_a_script(tmp_path):
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    page = blocks_of(SITE / "docs" / "howto" / "cluster.md")
    (example,) = [block.code for block in page if block.code.startswith("# script")]
    assert "LocalCluster" in example
    (tmp_path / "study.py").write_text(example, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "study.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines() if "fido" in line or "grad-cam" in line]
    assert [row[1:] for row in rows] == [["fido", "24", "0", "0"], ["grad-cam", "24", "0", "0"]]
