"""Wrong labels, wrong reasons and blank frames among photographs of coloured squares, whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from study_cases import CLASSES, register_counting, run
from torch import nn

import fidokit as fk
from fidokit.errors.labels import evidence as evidence_module
from fidokit.exceptions import SettingsError

pytestmark = pytest.mark.usefixtures("quick")
SIDE, PATCH = 64, 16
PLACES = [(8, 8), (40, 8), (8, 40), (40, 40), (24, 8)]


class Patches(nn.Module):
    """Logits from the most colourful place, wherever it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        cells = nn.functional.avg_pool2d(x, 8)
        colour = cells - (cells.sum(1, keepdim=True) - cells) / 2
        return self.gain * colour.amax((2, 3))


def classifier(**options):
    options = {"precision": "float32", "micro_batch": 8, "device": "cpu"} | options
    return fk.Classifier(Patches(), CLASSES, mean=(0.4, 0.4, 0.4), std=(1, 1, 1), size=(SIDE, SIDE), **options)


def square(pixels, place, colour, strength=120):
    x, y = place
    pixels[y : y + PATCH, x : x + PATCH] = 60
    if colour is not None:
        pixels[y : y + PATCH, x : x + PATCH, colour] += strength


def drawn(folder, *, boxes=True, cameras=True):
    """Two cameras with six bursts of three frames, and the row of each fault: label, reason, elsewhere, blank."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows, faults = [], {3: "label", 10: "reason", 16: "elsewhere", 23: "blank"}
    for camera in range(2):
        ground = generator.integers(70, 130, (SIDE // 4, SIDE // 4, 1)).repeat(3, 2).repeat(4, 0).repeat(4, 1)
        for burst in range(6):
            colour, place = (camera + burst) % 3, PLACES[burst % 5]
            for _ in range(3):
                i, pixels = len(rows), ground + generator.integers(-2, 3, ground.shape)
                fault = faults.get(i)
                if fault in (None, "label", "elsewhere"):
                    square(pixels, place, colour)
                label = colour
                if fault in ("label", "elsewhere"):
                    label = (colour + 1) % 3
                if fault == "reason":
                    square(pixels, place, None)
                if fault in ("reason", "elsewhere"):
                    corner = (44, 44) if place != (40, 40) else (2, 2)
                    square(pixels, corner, label, 120 if fault == "reason" else 70)
                path = folder / f"{i:02d}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
                x, y = place
                box = {"x0": x, "y0": y, "x1": x + PATCH, "y1": y + PATCH}
                row = {"path": str(path), "image_id": f"{i:02d}", "label": CLASSES[label], "planted": fault or "none"}
                row |= {f"box_{end}": float(value) for end, value in box.items()} if boxes else {}
                row |= {"site": f"camera {camera}", "sequence": f"{camera}-{burst}"} if cameras else {}
                rows.append(row)
    table = pd.DataFrame(rows)
    return table.drop(columns="planted"), {v: f"{k:02d}" for k, v in faults.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    register_counting("counting")
    table, faults = drawn(folder / "data")
    study = run(classifier(), fk.LabelledImages.from_table(table), folder / "run")
    return study, faults


@pytest.fixture(scope="module")
def check(made):
    return fk.check_labels(made[0], progress=False)


def test_each_fault_is_told_from_the_others(check, made):
    faults = made[1]
    verdicts = check.table.set_index("image_id")["verdict"]
    assert verdicts[faults["label"]] == "label suspect"
    assert verdicts[faults["reason"]] == "reason suspect"
    assert verdicts[faults["elsewhere"]] == "reason suspect"
    assert verdicts[faults["blank"]] in ("label suspect", "both")
    assert verdicts.drop(list(faults.values())).eq("neither").all()


def test_what_it_says_of_them(check, made):
    faults = made[1]
    rows = check.table.set_index("image_id")
    label, reason, elsewhere, blank = (rows.loc[faults[name]] for name in ("label", "reason", "elsewhere", "blank"))
    assert (label["suggested"], label["label"]) == (
        label["predicted"],
        CLASSES[(CLASSES.index(label["predicted"]) + 1) % 3],
    )
    assert label["label_evidence"] < 0.5 <= label["label_score"]
    assert "whatever is kept" in label["why"]
    assert pd.isna(reason["suggested"])
    assert f"{reason['predicted']} falls from" in reason["why"]
    assert elsewhere["label_evidence"] >= 0.5
    assert "evidence elsewhere" in elsewhere["why"]
    assert blank["suggested"] == "blank"
    assert "usually sees" in blank["why"]
    assert rows["blank_score"].drop(faults["blank"]).lt(0.5).all()


def test_the_suspect_ones_come_first_and_are_shown(check, made):
    assert set(check.table["image_id"].head(4)) == set(made[1].values())
    assert check.table["verdict"].iloc[:2].isin(["label suspect", "both"]).all()
    assert set(check.examples["image_id"]) == set(made[1].values())
    boxed = check.examples.set_index("image_id")[["x0", "y0", "x1", "y1"]]
    # That of the label's own evidence, in another corner than the animal.
    place = boxed.loc[made[1]["elsewhere"]]
    assert place["x1"] > 0.7
    assert place["y1"] > 0.7
    assert boxed.loc[made[1]["blank"]].isna().all()
    assert check.headline.startswith("2 of 36 labels are suspect, 1 of them of frames that look empty; 2 answers")


def test_rows_with_a_verdict(check):
    assert check.of("label suspect")["verdict"].isin(["label suspect", "both"]).all()
    assert len(check.of("label suspect")) == 2
    assert len(check.of("neither")) == 32
    with pytest.raises(SettingsError, match="no verdict 'wrong'"):
        check.of("wrong")


def test_the_same_again(check, made):
    pd.testing.assert_frame_equal(fk.check_labels(made[0], progress=False).table, check.table)


def test_without_boxes_and_cameras_it_is_said(made, tmp_path):
    table, faults = drawn(tmp_path / "data", boxes=False, cameras=False)
    table.loc[0, "label"] = None
    study = run(classifier(), fk.LabelledImages.from_table(table), tmp_path / "run")
    check = fk.check_labels(study, progress=False)
    assert len(check.table) == 35
    assert check.table["blank_score"].isna().all()
    assert check.table.set_index("image_id")["verdict"][faults["label"]] in ("label suspect", "both")
    notes = " ".join(check.notes)
    for words in ("Blank frames were not looked for", "35 photographs have no box", "1 photographs were passed over"):
        assert words in notes
    with pytest.raises(SettingsError, match="no column 'place'"):
        fk.check_labels(study, site="place", progress=False)


def test_a_camera_with_few_frames_is_not_known(made, tmp_path):
    study = made[0]
    table = study.data.table.copy()
    table["site"] = [f"camera {i // 6}" for i in range(len(table))]
    again = run(classifier(), fk.LabelledImages.from_table(table), tmp_path / "run")
    check = fk.check_labels(again, progress=False)
    assert check.table["blank_score"].isna().all()
    assert any("36 photographs are of cameras with fewer" in note for note in check.notes)


def test_a_photograph_that_is_gone_is_counted(made, tmp_path):
    table, _ = drawn(tmp_path / "data")
    study = run(classifier(), fk.LabelledImages.from_table(table), tmp_path / "run")
    (tmp_path / "data" / "05.png").unlink()
    check = fk.check_labels(study, progress=False)
    assert len(check.table) == 35
    assert "1 photographs cannot be read any more." in check.notes


def test_what_was_done_before_it_was_stopped_stays(made, monkeypatch):
    done = []
    whole = evidence_module._Measuring.chunk

    def stop_in_the_second(self, chunk, session):
        if done:
            raise KeyboardInterrupt
        done.append(chunk.number)
        yield from whole(self, chunk, session)

    monkeypatch.setattr(evidence_module, "_CHUNK", 16)
    monkeypatch.setattr(evidence_module._Measuring, "chunk", stop_in_the_second)
    check = fk.check_labels(made[0], progress=False)
    assert len(check.table) == 16
    assert "It was stopped when 16 of 36 labels were checked." in check.notes


def test_it_says_first_what_it_costs(made, capsys):
    fk.check_labels(made[0])
    assert "Checking 36 labels: 144 evaluations, and at most 33 more for each in doubt." in capsys.readouterr().err


def test_no_label_to_check(made, tmp_path):
    table = made[0].data.table.assign(label=None)
    study = run(classifier(), fk.LabelledImages.from_table(table), tmp_path / "run")
    check = fk.check_labels(study, progress=False)
    assert len(check.table) == 0
    assert "none could be checked" in check.headline
    assert "36 photographs were passed over" in check.notes[0]


def test_no_planted_column_is_read(made, tmp_path):
    table = made[0].data.table.assign(planted_site="x", planted_label="red")
    study = run(classifier(), fk.LabelledImages.from_table(table), tmp_path / "run")
    pd.testing.assert_frame_equal(
        fk.check_labels(study, progress=False).table.drop(columns="path"),
        fk.check_labels(made[0], progress=False).table.drop(columns="path"),
    )
