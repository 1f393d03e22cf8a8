"""What results show at the end of a cell: complete, escaped, small, and whatever has become of the photographs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_cases
import torch
from enhance_cases import make_spotted, register_spots
from errors_cases import drawn_errors
from PIL import Image
from report_cases import HARM, NAMES, SCRIPT_FILE, parse
from study_cases import make_classifier

import fidokit as fk
from fidokit.widgets.display import MOST_MASKS, MOST_ROWS, picture_tag

MOST_BYTES = 200_000


def shown(result):
    """The parsed display of a result, small and harmless."""
    page = result._repr_html_()
    assert len(page.encode()) < MOST_BYTES
    tree = parse(page)
    assert not tree.find("script")
    assert all(image.attributes["src"].startswith("data:image/jpeg;base64,") for image in tree.find("img"))
    return tree


def pictures(tree):
    encoded = [image.attributes["src"].partition(",")[2] for image in tree.find("img")]
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in encoded]


@pytest.fixture
def table(tmp_path):
    report_cases.register()
    return report_cases.make_table(tmp_path)


@pytest.fixture
def data(table):
    return fk.LabelledImages.from_table(table)


def test_masks_of_photographs(data):
    masks = fk.explain(report_cases.classifier(), data, "counting", against=NAMES[2], targets=NAMES[0])
    tree = shown(masks)
    assert len(tree.find("img")) == MOST_MASKS
    assert f"and {len(data) - MOST_MASKS} more" in tree.text
    first = tree.find("figcaption")[0].text
    assert f"Photograph: {SCRIPT_FILE}" in first
    assert f"Explained: {HARM} rather than {NAMES[2]}" in first
    assert f"Whole photograph: score {float(masks.score_full[0]):.2f}" in first
    for kind, name in {"ssr": "SSR", "sdr": "SDR"}.items():
        kept, dropped = float(masks.score_kept[kind][0]), float(masks.score_dropped[kind][0])
        assert f"Mask {name}: score {kept:.2f} with its region kept, {dropped:.2f} with it dropped" in first
    assert f"Cost: {int(masks.evaluations[0])} evaluations" in first
    # The photograph, and each of two masks over it.
    width, height = pictures(tree)[0].size
    assert width == 12 + 3 * (round(48 * 150 / 32) + 12)
    # Captions above, and below a line on what the hatching means.
    assert height == 150 + 54 + 24


def test_masks_lie_where_the_classifier_looked(data):
    masks = fk.explain(report_cases.classifier(), data.subset([1]), "left-half")
    sheet = np.asarray(pictures(shown(masks))[0]).astype(int)[47:187]
    bare, drawn = (sheet[:, left : left + 225] for left in (12, 12 + 225 + 12))
    # 48 x 32 pixels, of which the middle square is the input: its left half is drawn over, its sides are darkened.
    assert drawn[:, 45:100, 0].mean() > bare[:, 45:100, 0].mean() + 80
    assert np.abs(drawn[:, 125:180] - bare[:, 125:180]).mean() < 8
    for side in (slice(4, 32), slice(194, 221)):
        # Dark between the lines of the hatching.
        assert np.median(np.abs(drawn[:, side] - 0.45 * bare[:, side])) < 8


def test_masks_of_a_tensor_are_shown_on_its_images():
    images = torch.zeros(2, 3, 16, 16)
    images[0, 0], images[1, 1] = 0.8, 0.8
    report_cases.register()
    masks = fk.explain(make_classifier(), images, "left-half")
    for position, channel in enumerate((0, 1)):
        photograph, geometry = masks.photograph(position)
        assert photograph.getpixel((3, 3))[channel] == 204
        assert geometry.window == (0, 0, 16, 16)
    chosen = masks.select(torch.tensor([1]))
    assert chosen.photograph(0)[0].getpixel((3, 3)) == (0, 204, 0)
    assert len(shown(masks).find("img")) == 2


def test_masks_whose_photographs_are_gone_are_shown_without(data, table):
    masks = fk.explain(report_cases.classifier(), data.subset([3]), "left-half")
    Path(table["path"].iloc[3]).unlink()
    tree = shown(masks)
    assert "Shown without the photograph" in tree.text
    assert "does not exist" in tree.text
    bare = pictures(tree)[0]
    assert bare.size == (12 + 150 + 12, 150 + 54)
    pixels = np.asarray(bare).astype(int)[60:170]
    assert pixels[:, 130:150].min() > 240
    assert pixels[:, 30:70].mean() < 240
    masks.images = None
    assert "Shown without" not in shown(masks).text
    with pytest.raises(fk.FidokitError, match="do not know their photographs"):
        masks.photograph(0)


def test_failures_and_notes_are_said(data):
    masks = fk.explain(report_cases.classifier(), data, "fails-once")
    masks.notes = {SCRIPT_FILE: f"a note {HARM}", "b1.png": "of another photograph"}
    tree = shown(masks)
    assert "1 photograph without a mask" in tree.text
    assert "b5.png: no mask of this one, because 1 < 2 & 2 > 1" in tree.text
    assert f"Note: a note {HARM}" in tree.find("figcaption")[0].text
    assert "another" not in tree.find("figcaption")[0].text
    masks.finished[:] = False
    assert shown(masks).text.count("the mask is what there was when it was stopped") == MOST_MASKS
    empty = masks.select(slice(0, 0))
    assert "masks of 0 photographs" in shown(empty).text


def test_photographs(data):
    tree = shown(data)
    assert "6 photographs, 3 classes, 1 without a label" in tree.text
    rows = {row.find("td")[0].text: row.find("td")[1].text for row in tree.find("tbody")[0].find("tr")}
    assert rows == {HARM: "3", NAMES[1]: "1", NAMES[2]: "1"}
    assert len(tree.find("img")) == 6
    assert all(max(picture.size) <= 220 for picture in pictures(tree))


def test_many_classes_and_a_photograph_that_cannot_be_read(tmp_path, table):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    many = pd.DataFrame({"path": [str(tmp_path / "torn.png"), *table["path"]] * 10})
    many["label"] = [f"species {i % 33}" for i in range(len(many))]
    many["box_x0"], many["box_y0"], many["box_x1"], many["box_y1"] = 1, 1, 5, 5
    tree = shown(fk.LabelledImages.from_table(many))
    assert "70 photographs, 33 classes, 70 with a box" in tree.text
    assert len(tree.find("tbody")[0].find("tr")) == MOST_ROWS
    assert f"and {33 - MOST_ROWS} more classes" in tree.text
    assert "torn.png is" in tree.text
    assert "0 photographs" in shown(fk.LabelledImages.from_table(many[:0])).text


def test_a_classifier():
    classifier = report_cases.classifier(name=f"python:{HARM}", use_boxes=True)
    told = {row.find("td")[0].text: row.find("td")[1].text for row in shown(classifier).find("tr")}
    assert told["model"] == f"python:{HARM}"
    assert told["classes"] == f"3: {HARM}, {NAMES[1]}, {NAMES[2]}"
    assert told["head"] == "one class an image (softmax)"
    assert told["input"].startswith("16 x 16 pixels (height x width) of the annotated box where there is one")
    assert told["device"] == "cpu"
    assert told["precision"] == "float32: asked for"
    assert told["evaluations at once"] == "8"
    many = fk.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 40)), size=2)
    assert "40: 0, 1, 2, 3, 4 and 35 more" in shown(many).text
    assert "found at the first use" in shown(many).text


def test_error_clusters(tmp_path):
    errors = drawn_errors(tmp_path)
    tree = shown(errors)
    systematic = errors.clusters[errors.clusters["systematic"]]
    assert len(systematic)
    rows = tree.find("tbody")[0].find("tr")
    assert [row.find("td")[0].text for row in rows] == [str(cluster) for cluster in systematic["cluster"]]
    assert [row.find("td")[-1].text for row in rows] == systematic["sentence"].tolist()
    assert "not verified" in tree.text
    assert errors.summary().splitlines()[0] in tree.text
    assert pictures(tree)[0].width > 6 * 110
    errors.verify(progress=False)
    assert "not verified" not in shown(errors).text
    errors.study._data = None
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    assert "cannot be shown" in shown(errors).text


def test_an_improvement_and_a_study(tmp_path):
    data = make_spotted(tmp_path / "data")
    study = fk.run_study(make_classifier(), data, [register_spots()], store=tmp_path / "run", progress=False)
    told = shown(study)
    assert [cell.text for cell in told.find("tbody")[0].find("td")] == ["spots", "12", "0", "0"]
    improvement = fk.classify_with_masks(study, folds=2, controls=("random crop",), progress=False)
    tree = shown(improvement)
    assert improvement.verdict in tree.text
    rows = [[cell.text for cell in row.find("td")] for row in tree.find("tbody")[0].find("tr")]
    assert [row[0] for row in rows] == improvement.summary["method"].tolist()
    masks = improvement.summary.iloc[1]
    assert rows[0][2:4] == ["", ""]
    assert rows[1][2] == f"{100 * masks['difference']:+.1f} [{100 * masks['low']:+.1f}, {100 * masks['high']:+.1f}]"
    assert all(f"Note: {note}" in tree.text for note in improvement.notes)


def test_a_picture_is_no_larger_than_it_may_be():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 900, 3)).astype(np.uint8))
    large, small = (len(picture_tag(noise, "noise", most)) for most in (1_000_000, 60_000))
    assert large > 100_000
    assert small < 4 / 3 * 60_000 + 200


@pytest.mark.parametrize("with_boxes", [True, False])
def test_the_display_of_many_photographs_looks_at_few_of_them(tmp_path, monkeypatch, with_boxes):
    n = 100_000
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    frame = pd.DataFrame({"path": "a.png", "image_id": [str(i) for i in range(n)], "label": "bird"})
    if with_boxes:
        frame[["box_x0", "box_y0", "box_x1", "box_y1"]] = [1.0, 1.0, 3.0, 3.0]
        frame.loc[frame.index % 4 == 0, ["box_x0", "box_y0", "box_x1", "box_y1"]] = np.nan
    many = fk.LabelledImages(frame, tmp_path)
    opened, asked = [], []
    open_one, box = fk.LabelledImages.open, fk.LabelledImages.box
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fk.LabelledImages, "open", lambda self, i: opened.append(i) or open_one(self, i))
    monkeypatch.setattr(fk.LabelledImages, "box", lambda self, i: asked.append(i) or box(self, i))
    text = shown(many).text
    assert "100,000 photographs" in text
    assert ("75,000 with a box" in text) == with_boxes
    assert "boxes" in repr(many)
    assert (len(opened) <= 6, len(asked) <= 6) == (True, True)


# pictures as files


def test_pictures_are_kept_as_png_and_svg(data, tmp_path):
    masks = fk.explain(report_cases.classifier(), data, "counting")
    png = masks.save(tmp_path / "new" / "mask.png", 1)
    with Image.open(png) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height
    svg = masks.save(str(tmp_path / "mask.SVG")).read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert HARM not in svg
    with pytest.raises(fk.FidokitError, match=r"must end in \.png or \.svg"):
        masks.save(tmp_path / "mask.jpg")
    with pytest.raises(fk.FidokitError, match="there are 6 photographs"):
        masks.save(tmp_path / "mask.png", 6)
    with pytest.raises(fk.FidokitError, match="cannot be written"):
        masks.save(png / "mask.png")


def test_regions_show_their_outlines_and_say_what_is_the_whole_picture(data, tmp_path):
    classifier = report_cases.classifier()
    masks = fk.explain(classifier, data, "left-half")
    regions = fk.find_regions(classifier, masks)
    tree = shown(regions)
    assert len(tree.find("img")) == MOST_MASKS
    captions = [caption.text for caption in tree.find("figcaption")]
    for one in regions[:2]:
        assert one.verdict in captions[0]
    assert f"and {len(data) - MOST_MASKS} more" in tree.text
    assert regions.save(tmp_path / "regions.svg", len(data) - 1).exists()
    bare = type(regions)(list(regions))
    assert "do not know their photographs" in shown(bare).text


def test_pairs_show_both_sides(tmp_path):
    references = fk.testbed.individuals(12, folder=tmp_path / "references")
    gallery = fk.Gallery(fk.testbed.embedder(), references, **fk.testbed.EMBEDDER_INPUT)
    pairs = fk.explain_pair(gallery, fk.testbed.individuals(2, seed=1, folder=tmp_path / "two"), "grad-cam")
    tree = shown(pairs)
    first = pairs.table.iloc[0]
    caption = tree.find("figcaption")[0].text
    assert f"Query {first['image_id']} is most similar to {first['reference_id']} of {first['individual']}" in caption
    # Query and reference, each beside its mask.
    assert pictures(tree)[0].width > 3 * 150
    assert pairs.save(tmp_path / "match.png").exists()
