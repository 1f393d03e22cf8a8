"""The command line with models of images and texts: `--names` and `--template`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import two_tower_models as towers
from cli_cases import run
from nets import photographs
from PIL import Image

import fidokit as fk

pytest.importorskip("transformers")
pytest.importorskip("open_clip")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working folder with four labelled photographs and two models."""
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(photographs(4, (towers.SIDE, towers.SIDE))):
        path = tmp_path / "photos" / ("jay", "tit")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    towers.clip(tmp_path / "clip")
    towers.open_clip_folder(tmp_path / "open", "vit")
    (tmp_path / "names.txt").write_text("jay\tgarrulus glandarius\ntit\tparus major\nowl\n")
    return tmp_path


@pytest.mark.parametrize("model", ["hf:clip", "openclip:open", "openclip:local-dir:open"])
def test_a_study_of_prompts_is_begun_and_goes_on(capsys, model):
    one = ["study", "photos", "--model", model, "--names", "names.txt", "--template", "a photo of {}."]
    one += ["--methods", "grad-cam", "--no-metrics", "--device", "cpu", "--store", "run"]
    line = [*one, "--template", "this is {}."]
    code, out, err = run(capsys, *line)
    assert code == 0, err
    assert "4 photographs" in out
    recorded = json.loads(Path("run/study.json").read_text())["classifier"]
    assert recorded["name"] == model
    assert recorded["prompts"]["templates"] == ["a photo of {}.", "this is {}."]
    assert recorded["prompts"]["names"] == {"jay": ["garrulus glandarius"], "tit": ["parus major"], "owl": ["owl"]}
    assert run(capsys, *line)[0] == 0
    assert run(capsys, "report", "run")[0] == 0
    assert fk.open_study("run").classifier.prompts.templates == ("a photo of {}.", "this is {}.")
    code, _, err = run(capsys, *one)
    assert code != 0
    assert "the first template that differs is number 2: it was 'this is {}.' and is missing" in err


def test_names_that_are_missing_or_wrong(capsys):
    explain = ["explain", "photos/jay/0.png", "--device", "cpu"]
    for model in ("hf:clip", "openclip:open"):
        code, _, err = run(capsys, *explain, "--model", model)
        assert code != 0
        assert f"{model} compares images with texts and has no classes of its own" in err
        assert "--names FILE" in err
    code, _, err = run(capsys, *explain, "--model", "hf:clip", "--names", "gone.txt")
    assert code != 0
    assert "gone.txt cannot be read" in err
    code, _, err = run(capsys, *explain, "--model", "hf:clip", "--names", "names.txt", "--template", "bird")
    assert code != 0
    assert "the template 'bird' has no {}" in err


def test_names_of_an_ordinary_classifier(capsys, place):
    (place / "twelve.txt").write_text("\n".join(f"bird {i}" for i in range(12)))
    line = ["explain", "photos/jay/0.png", "--method", "grad-cam", "--device", "cpu"]
    line += ["--model", "python:fidokit.testbed:classifier"]
    code, out, err = run(capsys, *line, "--names", "twelve.txt", "--against", "bird 3")
    assert code == 0, err
    assert "bird " in out
    code, _, err = run(capsys, *line, "--names", "names.txt", "--template", "a {}")
    assert code != 0
    assert "takes no texts; leave out templates" in err
