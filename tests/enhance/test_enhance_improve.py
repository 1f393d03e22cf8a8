"""`classify_with_masks` with tiny classifiers, from files to the verdict."""

from __future__ import annotations

import pytest
import torch
from study_cases import CLASSES, SIZE, make_data, register_counting, run

from fidokit.data.images import LabelledImages
from fidokit.enhance import GuidedGrid, GuidedSettings, MaskGuidedClassifier, classify_with_masks, measure
from fidokit.exceptions import SettingsError
from fidokit.models.classifier import Classifier

pytestmark = pytest.mark.usefixtures("quick")
GRID = GuidedGrid(shares=(0.5,), paddings=((0.0, 0.3),), weights=(1.0,), gates=(1.0,))


def study_of(classifier, data, folder, methods=("spots",), **options):
    return run(classifier, data, folder / "study", methods, **options)


def improve(study, **options):
    defaults = {"how": "crop", "grid": GRID, "progress": False, "folds": 4}
    return classify_with_masks(study, **(defaults | options))


def test_a_study_end_to_end(classifier, spotted, spots, tmp_path):
    made = improve(study_of(classifier, spotted, tmp_path))
    names = list(made.summary["method"])
    assert names[:2] == ["classifier alone", "masks"]
    assert "random crop" in names
    assert "multi-crop" in names
    # There are no boxes: no ceiling, and the result says so.
    assert "annotated box" not in names
    assert any("annotated box" in note for note in made.notes)
    assert made.images["correct"].mean() > made.images["correct_before"].mean()
    assert made.images["crop_width"].dropna().between(8, 60).all()
    guided = MaskGuidedClassifier(classifier, made.settings)
    assert guided.predict(spotted)["correct"].mean() == 1.0


def test_masks_of_the_study_are_not_computed_again(classifier, spotted, tmp_path):
    calls = register_counting("counting")
    study = study_of(classifier, spotted, tmp_path, ["counting"])
    calls.clear()
    improve(study, controls=())
    assert calls == []
    improve(study, controls=(), candidates=2)
    assert len(calls) == 12
    assert all(name.endswith("candidate 2") for name in calls)


def test_masks_that_know_the_label_are_not_used(classifier, spotted, tmp_path):
    calls = register_counting("counting")
    study = study_of(classifier, spotted, tmp_path, ["counting"], targets="label")
    calls.clear()
    improve(study, controls=())
    assert sorted(calls) == sorted(spotted.table["image_id"])


def test_the_annotated_box_is_the_ceiling(classifier, spotted, spots, tmp_path):
    table = spotted.table.assign(box_x0=0.0, box_y0=0.0, box_x1=96.0, box_y1=96.0)
    made = improve(study_of(classifier, LabelledImages.from_table(table), tmp_path))
    row = made.summary.set_index("method").loc["annotated box"]
    # A box around everything is the whole image.
    assert row["accuracy"] == made.images["correct_before"].mean()
    assert not row["equal_cost"]


def test_controls_spend_as_much(classifier, spotted, spots, tmp_path):
    made = improve(
        study_of(classifier, spotted, tmp_path),
        how=GuidedSettings(method=spots, paddings=(0.0, 0.3), weight=1.0),
        grid=None,
    )
    spent = made.summary.set_index("method")["evaluations"]
    assert spent["random crop"] == spent["multi-crop"] == spent["masks"] == 3


def test_units_are_a_column(classifier, spotted, spots, tmp_path):
    table = spotted.table.assign(burst=[f"burst {i // 2}" for i in range(12)])
    study = study_of(classifier, LabelledImages.from_table(table), tmp_path)
    made = improve(study, unit="burst")
    assert made.images.groupby("unit")["fold"].nunique().max() == 1
    with pytest.raises(SettingsError, match="no column 'place'"):
        improve(study, unit="place")
    one = LabelledImages.from_table(spotted.table.assign(site="here"))
    with pytest.raises(SettingsError, match="two"):
        improve(study_of(classifier, one, tmp_path / "one"), unit="site")


def test_an_unreadable_photograph_is_a_failure(classifier, spotted, spots, tmp_path):
    study = study_of(classifier, spotted, tmp_path)
    path = spotted.root / CLASSES[1] / "01.png"
    path.write_bytes(path.read_bytes()[:60].ljust(path.stat().st_size, b"\0"))
    made = improve(study)
    assert list(made.failures["image_id"]) == ["green/01.png"]
    assert len(made.images) == 11


def test_photographs_without_a_label_are_left_out(classifier, spotted, spots, tmp_path):
    table = spotted.table.copy()
    table.loc[0, "label"] = None
    table.loc[1, "label"] = "ultraviolet"
    with pytest.warns(RuntimeWarning):
        study = study_of(classifier, LabelledImages.from_table(table), tmp_path)
    with pytest.warns(RuntimeWarning, match="2 of 12"):
        assert len(improve(study).images) == 10


def test_ctrl_c_keeps_what_is_measured(classifier, tmp_path, monkeypatch, capsys, spots):
    data = make_data(tmp_path / "many", n=40)
    study = study_of(classifier, data, tmp_path)
    read, count = measure.read_together, []

    def interrupted(*args):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return read(*args)

    monkeypatch.setattr(measure, "read_together", interrupted)
    made = improve(study)
    assert len(made.images) == 32
    assert "stopped: 32 images were measured" in made.notes
    assert "32 of 40" in capsys.readouterr().err


def test_progress_has_a_bar(classifier, spotted, spots, tmp_path, capsys):
    improve(study_of(classifier, spotted, tmp_path), progress=True)
    assert "12/12" in capsys.readouterr().err


def test_a_classifier_without_a_map_goes_without_grad_cam(spotted, spots, tmp_path):
    torch.manual_seed(0)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 3))
    classifier = Classifier(flat, CLASSES, size=SIZE, precision="float32", micro_batch=8, device="cpu")
    made = improve(study_of(classifier, spotted, tmp_path))
    assert "Grad-CAM crop" not in set(made.summary["method"])
    assert any("no Grad-CAM crop" in note for note in made.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "zoom"}, "zoom"),
        ({"how": ()}, "how"),
        ({"controls": ("luck",)}, "luck"),
        ({"method": "nothing"}, "nothing"),
        ({"top": 0}, "top"),
        ({"folds": 1}, "folds"),
        ({"how": GuidedSettings(), "grid": GRID}, "one of the two"),
    ],
)
def test_options_are_checked_before_anything_is_computed(classifier, spotted, spots, tmp_path, options, message):
    study = study_of(classifier, spotted, tmp_path)
    spent = classifier.counter.evaluations
    with pytest.raises(SettingsError, match=message):
        improve(study, **options)
    assert classifier.counter.evaluations == spent
