"""What the command line says is in its own words: options and commands, never a call in Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from cli_cases import run, working_folder
from report_cases import classifier

import fidokit as fk
from fidokit.cli import _parser
from fidokit.models.weights_file import how_to_load

MODEL = "python:report_cases:classifier"
#: A call, an argument with its value, or a name in Python's quotation.
PYTHON = re.compile(r"fidokit\.\w+\(|\b[a-z_]+=(?:\.\.\.|True|False|None|')|`[a-z_]+`|\w+Settings\b|\(\.\.\.")


@pytest.fixture
def place(tmp_path, monkeypatch):
    return working_folder(tmp_path, monkeypatch)


@pytest.fixture
def nameless(place):
    """A study whose classifier cannot be loaded by a name."""
    data = fk.LabelledImages.from_csv("birds.csv")
    fk.run_study(classifier(), data, ["counting"], store="nameless", progress=False)
    return place


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["regions", "nameless"], "give it: --model MODEL"),
        (["errors", "nameless"], "--model MODEL"),
        (["export", "nameless", "--to", "camtrap-dp", "--out", "x"], "give --descriptor FILE, JSON such as {"),
        (["report", "nowhere"], "there is no study in nowhere; fidokit study makes one"),
        (["study", "birds.csv", "--model", MODEL, "--ranks", "genus"], "give one: --taxonomy FILE"),
        (
            ["explain", "photographs/0.png", "--model", MODEL, "--rank", "genus"],
            "`--rank` needs a classifier with a tax",
        ),
        (["explain", "photographs/0.png", "--model", MODEL, "--set", "steps=0"], "--set steps is 0; it must be"),
        (["explain", "photographs/0.png", "--model", MODEL, "--micro-batch", "0"], "--micro-batch is 0; it must be"),
        (["explain", "photographs/0.png", "--model", MODEL, "--device", "cuda:9"], "--device auto"),
        (["plan", "birds.csv", "--model", MODEL, "--sample", "0"], "--sample is 0; it must be"),
        (["study", "birds.csv", "--model", MODEL, "--methods", "countin"], "did you mean 'counting'"),
        (["study", "birds.csv", "--model", "best.pth"], "there is no such file; the forms are timm:NAME"),
    ],
)
def test_errors_name_the_options_of_their_command(arguments, words, capsys, nameless):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert words in err
    assert not PYTHON.findall(err), err


def test_a_strangers_study_is_trusted_by_an_option(capsys, nameless):
    shutil.copytree("nameless", "copied")
    manifest = json.loads((nameless / "copied" / "study.json").read_text())
    manifest["classifier"]["name"] = "python:os:abort"
    (nameless / "copied" / "study.json").write_text(json.dumps(manifest))
    code, _, err = run(capsys, "regions", "copied")
    assert code == 2
    assert "--data" in err or "--trust" in err or "--model" in err
    assert not PYTHON.findall(err), err


def test_python_has_its_own_words(nameless):
    with pytest.raises(fk.FidokitError, match=r"fidokit\.open_study\('nameless', classifier=\.\.\.\)"):
        fk.open_study("nameless").regions(progress=False)


def test_a_part_of_a_name_is_enough_and_the_runner_up_can_be_asked_for(capsys, place):
    names = classifier().class_names
    code, out, err = run(
        capsys,
        *("explain", "photographs/1.png", "--model", MODEL, "--method", "counting"),
        *("--target", names[2][:-1].upper(), "--against", "runner-up"),
    )
    assert code == 0
    assert f"is taken to mean {names[2]!r}" in err
    assert f"{names[2]} rather than " in out


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_five_lines_for_a_file_of_weights_work(wrapped, capsys, place):
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'fidokit[timm]'")
    weights = timm.create_model("resnet18", num_classes=4).state_dict()
    held = (
        {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}} if wrapped else weights
    )
    torch.save(held, "best.pth")
    code, _, err = run(capsys, "explain", "photographs/1.png", "--model", "best.pth")
    assert code == 2
    assert "best.pth holds the weights of a network of 4 classes" in err
    assert "--model python:my_model:load" in err
    lines = err.split("\n\n", 1)[1].strip().splitlines()
    assert len(lines) == 5
    (place / "my_model.py").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "fidokit", "explain", "photographs/1.png", "--method", "grad-cam", "--precision"]
    options = ["float32", "--micro-batch", "1", "--model", "python:my_model:load"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "1.grad-cam.png" in done.stdout


def test_weights_of_ones_own_network_and_files_that_hold_none(place):
    torch.save({"body.weight": torch.zeros(3, 2), "head.weight": torch.zeros(5, 3)}, "own.pth")
    told = how_to_load(place / "own.pth")
    assert "a network of 5 classes" in told
    assert "net = YourNetwork(...)" in told
    (place / "broken.pt").write_bytes(b"no weights")
    assert "weights_only=False)  # runs code that is in the file" in how_to_load(place / "broken.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "script.pt")
    assert "torch.jit.load(" in how_to_load(place / "script.pt")


def test_it_says_when_it_tries_out_what_is_fastest(capsys, place):
    (place / "fresh.py").write_text(
        "import report_cases, fidokit\n"
        "def load(**options):\n"
        "    made = report_cases.classifier()\n"
        "    p = made.preprocessing\n"
        "    names = made.class_names\n"
        "    return fidokit.Classifier(made.module, names, mean=p.mean, std=p.std, size=p.size, device='cpu')\n"
    )
    command = ("explain", "photographs/1.png", "--model", "python:fresh:load", "--method", "counting")
    assert "fidokit: trying out how the classifier computes fastest here" in run(capsys, *command)[2]


def test_every_command_has_its_options_in_words():
    commands = _parser()._subparsers._group_actions[0].choices
    assert {"explain", "study", "errors", "export"} <= set(commands)
    assert all(command.get_default("parser") is command for command in commands.values())
