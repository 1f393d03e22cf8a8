"""SpeciesNet's classifier, on stand-ins in its format."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from nets import conv_net
from onnx_cases import NAMES, TAXA, release
from PIL import Image
from study_cases import register_counting

import fidokit as fk
from fidokit import cli
from fidokit.data.geometry import to_input
from fidokit.exceptions import ClassifierError, MissingExtra, StoreError
from fidokit.methods import _REGISTRY
from fidokit.models.classifier import Classifier
from fidokit.models.speciesnet import class_names, read_taxa

FAST = {"device": "cpu", "precision": "float32", "micro_batch": 2}
BOX = (100.0, 150.0, 420.0, 330.0)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return release(tmp_path_factory.mktemp("crops"), conv_net())


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    return release(tmp_path_factory.mktemp("wholes"), conv_net(), kind="full_image")


@pytest.fixture
def photograph(tmp_path):
    """A photograph of 900 x 1500 pixels (height x width), with detail finer than the input's pixels."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)).resize((1500, 900))
    pixels = np.asarray(coarse).astype(int) + generator.integers(-40, 40, (900, 1500, 1))
    path = tmp_path / "photograph.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def load(folder, **options):
    return Classifier.load(f"speciesnet:{folder}", trust=True, **(FAST | options))


def images_of(path, box=None):
    row = {"image_id": "a", "path": str(path), "label": NAMES[2]}
    return fk.LabelledImages(
        pd.DataFrame([row | dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), box or [np.nan] * 4, strict=True))]),
        Path(path).parent,
    )


def theirs(path, kind, box=None):
    """(3, 480, 480) as SpeciesNet 5 does: crop in whole pixels, bilinear without anti-aliasing, in 256 steps."""
    pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255
    height = pixels.shape[1]
    if kind == "always_crop":
        x0, y0, x1, y1 = (int(side) for side in box)
        pixels = pixels[:, y0:y1, x0:x1]
    else:
        kept = max(int(height * 0.7), height - 400)
        top = round((height - kept) / 2)
        pixels = pixels[:, top : top + kept]
    scaled = torch.nn.functional.interpolate(pixels[None], (480, 480), mode="bilinear", antialias=False)[0]
    return (scaled * 255.999).floor() / 255


# A pickle


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture
def harmful(tmp_path):
    """A release whose pickle writes a file, and that file."""
    folder, written = tmp_path / "harmful", tmp_path / "written"
    folder.mkdir()
    torch.save(Harmful(str(written)), folder / "net.pt")
    (folder / "labels.txt").write_text("\n".join(TAXA))
    info = {"version": "4", "type": "always_crop", "classifier": "net.pt", "classifier_labels": "labels.txt"}
    (folder / "info.json").write_text(json.dumps(info))
    return folder, written


def test_nothing_of_a_pickle_is_run_unless_it_is_trusted(harmful):
    folder, written = harmful
    for trust in ({}, {"trust": False}):
        with pytest.raises(ClassifierError, match=r"net.pt is a pickle: .* run whatever code .*trust=True"):
            Classifier.load(f"speciesnet:{folder}", **trust)
    assert not written.exists()
    with pytest.raises(ClassifierError, match=r"holds a NoneType, not a module"):
        Classifier.load(f"speciesnet:{folder}", trust=True)
    assert written.exists()


def test_nothing_of_a_pickle_is_run_by_a_command_unless_it_is_trusted(
    harmful, photograph, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    folder, written = harmful
    assert cli.main(["explain", str(photograph), "--model", f"speciesnet:{folder}"]) == 2
    assert "--trust-model" in capsys.readouterr().err
    assert not written.exists()


def test_other_models_are_loaded_with_and_without(monkeypatch, tmp_path):
    (tmp_path / "nets_of_mine.py").write_text("from nets import conv_net\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(Classifier.load("python:nets_of_mine:conv_net", trust=True, size=32).class_names) == 4


# What it is


@pytest.mark.parametrize("kind", ["always_crop", "full_image"])
def test_the_logits_are_those_of_the_module(crops, wholes, photograph, kind):
    loaded = load({"always_crop": crops, "full_image": wholes}[kind])
    assert loaded.size == (480, 480)
    assert loaded.class_names == NAMES
    assert f"SpeciesNet 4.0.1a, {kind}: " in repr(loaded)
    assert loaded.preprocessing.use_boxes == (kind == "always_crop")
    given = theirs(photograph, kind, BOX)[None]
    with torch.no_grad():
        expected = conv_net()(given)
    torch.testing.assert_close(loaded.logits(given), expected, rtol=0, atol=1e-4)
    own = loaded.logits(images_of(photograph, BOX))
    assert (own - expected).abs().max() < 0.02 * expected.std()
    predicted = loaded.predict(images_of(photograph, BOX))
    assert predicted["label"].tolist() == [NAMES[2]]
    assert predicted["predicted"].tolist() == [NAMES[int(expected.argmax())]]


@pytest.mark.parametrize(("kind", "box"), [("always_crop", BOX), ("full_image", None)])
def test_photographs_become_the_input_as_theirs_do(crops, wholes, photograph, kind, box):
    preprocessing = load({"always_crop": crops, "full_image": wholes}[kind]).preprocessing
    image = Image.open(photograph)
    geometry = preprocessing.geometry(*image.size, box)
    made = to_input(image, geometry, preprocessing.interpolation)
    # To one step of 255, since they round otherwise; at the edge of a crop ours sees the pixels beyond it.
    gap = (made - theirs(photograph, kind, box)).abs()
    assert gap[:, 2:-2, 2:-2].max() <= 1.01 / 255
    assert gap.mean() < 0.5 / 255
    smooth = to_input(image, geometry, "bilinear")
    if kind == "full_image":
        assert (smooth - theirs(photograph, kind, box)).abs().max() > 10 / 255


@pytest.mark.parametrize(("height", "top", "kept"), [(1000, 150, 700), (2000, 200, 1600), (100, 15, 70)])
def test_strips_at_top_and_bottom_are_left_out(height, top, kept):
    window = fk.Preprocessing(fit="trim").geometry(640, height).window
    assert window == (0, top, 640, top + kept)


def test_a_photograph_without_a_box_goes_in_whole(crops, photograph):
    loaded = load(crops)
    assert "a photograph without one goes in whole" in repr(loaded)
    assert loaded.preprocessing.geometry(1500, 900, None).window == (0, 0, 1500, 900)
    assert torch.isfinite(loaded.logits(images_of(photograph))).all()


def test_it_is_explained(crops, photograph):
    loaded = load(crops)
    masks = fk.explain(loaded, images_of(photograph, BOX), "grad-cam", targets=NAMES[2], against="blank")
    assert not masks.failures
    assert masks.attribution.shape == (1, 120, 120)
    assert not fk.explain(loaded, images_of(photograph, BOX), "fido", steps=1).failures


def test_its_taxa_can_be_asked_for(crops, photograph):
    loaded = load(crops)
    assert loaded.taxonomy is not None
    logits = loaded.logits(images_of(photograph, BOX)).double()
    inside = [loaded.class_names.index(name) for name in loaded.taxonomy.members("animal")]
    outside = [i for i in range(len(loaded.class_names)) if i not in inside]
    assert outside
    expected = logits[0, inside].logsumexp(0) - logits[0, outside].logsumexp(0)
    masks = fk.explain(loaded, images_of(photograph, BOX), "grad-cam", targets="animal")
    assert float(masks.score_full[0]) == pytest.approx(float(torch.sigmoid(expected)), abs=1e-5)
    assert load(crops, class_names=list("abcd")).taxonomy is None


def test_options_given_go_before(crops):
    loaded = load(crops, box_padding=0.2, class_names=list("abcd"), interpolation="bicubic")
    assert loaded.class_names == list("abcd")
    assert loaded.preprocessing.box_padding == 0.2
    assert loaded.preprocessing.interpolation == "bicubic"


# Taxa


def test_names_are_readable_and_different(tmp_path):
    lines = [
        "a1;mammalia;carnivora;canidae;canis;familiaris;domestic dog",
        "a2;mammalia;carnivora;canidae;canis;;canis species",
        "a3;mammalia;carnivora;canidae;canis;lupus dingo;dingo",
        "a4;mammalia;;;;;mammal",
        "a5;aves;passeriformes;muscicapidae;copsychus;malabaricus;",
        "11111111-x;aves;;;;;bird",
        "22222222-x;aves;;;;;bird",
        "f2;no cv result;no cv result;no cv result;no cv result;no cv result;no cv result",
        "1f;;;;;;animal",
    ]
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(lines) + "\n")
    assert class_names(read_taxa(path)) == [
        "Canis familiaris (domestic dog)",
        "Canis species",
        "Canis lupus dingo (dingo)",
        "Mammalia (mammal)",
        "Copsychus malabaricus",
        "Aves (bird) [11111111]",
        "Aves (bird) [22222222]",
        "no cv result",
        "animal",
    ]


@pytest.mark.parametrize("line", ["", "a;b;c", "u;;;;;;", "u;mammalia;a;b;c;d;e;f"])
def test_a_line_that_is_no_taxon_is_named(tmp_path, line):
    path = tmp_path / "labels.txt"
    path.write_text(f"{TAXA[0]}\n{line}\n{TAXA[1]}\n")
    with pytest.raises(ClassifierError, match=r"labels.txt, line 2, is no taxon: .*uuid;class;order"):
        read_taxa(path)


# Folders that are none


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"type": "night"}, r"type 'night'; always_crop and full_image are known"),
        ({"classifier": "gone.pt"}, r"names gone.pt, which is not there"),
        ({"classifier": "../always_crop_22x8.pt"}, r"which is no file beside it"),
        ({"classifier_labels": 7}, r"names 7, which is no file beside it|no description"),
    ],
)
def test_a_folder_that_is_no_release(crops, tmp_path, info, message):
    for file in crops.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    described = json.loads((tmp_path / "info.json").read_text())
    (tmp_path / "info.json").write_text(json.dumps(described | info))
    with pytest.raises(ClassifierError, match=message):
        load(tmp_path)


def test_a_folder_without_a_description(tmp_path):
    for folder in ("", tmp_path, tmp_path / "gone"):
        with pytest.raises(ClassifierError, match=r"is no folder with SpeciesNet's info.json; download"):
            load(folder)
    for text in ("[]", "{}", "{"):
        (tmp_path / "info.json").write_text(text)
        with pytest.raises(ClassifierError, match=r"info.json is no description of a SpeciesNet release"):
            load(tmp_path)


def test_a_release_for_keras(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"")
    (tmp_path / "labels.txt").write_text("\n".join(TAXA))
    info = {"version": "4", "type": "always_crop", "classifier": "net.keras", "classifier_labels": "labels.txt"}
    (tmp_path / "info.json").write_text(json.dumps(info))
    with pytest.raises(ClassifierError, match=r"for Keras; download the one for PyTorch"):
        load(tmp_path)


def test_as_many_taxa_as_logits(tmp_path):
    folder = release(tmp_path, conv_net(), taxa=TAXA[:3])
    with pytest.raises(ClassifierError, match=r"4 logits, but there are 3 class names"):
        load(folder)


def test_what_the_pickle_needs_is_named(crops, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fidokit\[onnx\]'"):
        load(crops)


# Studies and the command line


def test_a_study_goes_on_and_never_loads_the_pickle_by_itself(crops, photograph, tmp_path):
    calls = register_counting("counting-speciesnet")
    try:
        data, store = images_of(photograph, BOX), tmp_path / "store"
        loaded = load(crops)
        fk.run_study(loaded, data, ["counting-speciesnet"], store=store, progress=False)
        assert calls == ["a"]
        for trust in (False, True):
            with pytest.raises(
                StoreError,
                match=r"the pickle 'speciesnet:.*only run if you say so: .*load\('speciesnet:.*', trust=True\)",
            ):
                _ = fk.open_study(store, trust=trust).classifier
        again = load(crops)
        assert fk.open_study(store, classifier=again).classifier.class_names == NAMES
        study = fk.run_study(again, data, ["counting-speciesnet"], store=store, progress=False)
        assert calls == ["a"]
        assert study.predictions()["label"].tolist() == [NAMES[2]]
    finally:
        del _REGISTRY["counting-speciesnet"]


def test_the_command_line_loads_it(crops, photograph, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("0 leer\n1 Fahrzeug\n2 Hirsch\n3 Katzen\n")
    command = ["explain", photograph, "--model", f"speciesnet:{crops}", "--trust-model", "--method", "saliency"]
    command += ["--device", "cpu", "--precision", "float32", "--micro-batch", "1"]
    assert cli.main([str(word) for word in command]) == 0
    out = capsys.readouterr().out
    assert any(name.split()[0] in out for name in NAMES)
    assert cli.main([str(word) for word in [*command, "--names", names, "--target", "Hirsch"]]) == 0
    assert "Hirsch" in capsys.readouterr().out
    assert cli.main([str(word) for word in [*command, "--names", tmp_path / "gone.txt"]]) == 2
    assert "gone.txt cannot be read" in capsys.readouterr().err
