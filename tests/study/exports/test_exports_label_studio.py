"""Label tasks: choices, boxes and regions where they belong, and brushes that Label Studio's own format decodes."""

import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from study_cases import make_classifier, register_counting

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.study.exports.brush import packed

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def unpacked(numbers):
    """The values of a packed stream, by the format's description: bit by bit."""
    bits = "".join(f"{number:08b}" for number in numbers)
    place = 0

    def take(n):
        nonlocal place
        place += n
        return int(bits[place - n : place], 2)

    count, value_bits, widths = take(32), take(5) + 1, [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        is_run = take(1)
        length = take(widths[take(2)]) + 1
        values += [take(value_bits)] * length if is_run else [take(value_bits) for _ in range(length)]
    assert len(values) == count
    assert len(bits) - place < 8
    return np.array(values)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (300, 301)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_brushes_are_what_was_painted(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    if shape == (300, 301):
        mask[:] = False
        mask[100:200, 50:280] = share > 0
    values = unpacked(packed(mask)).reshape(*shape, 4)
    assert np.array_equal(values, np.repeat(mask[..., None], 4, axis=2) * 255)


def test_long_runs_take_few_bytes():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[1000:1500, 1000:2000] = True
    numbers = packed(mask)
    assert len(numbers) < 10_000
    assert max(numbers) <= 255


@pytest.fixture
def counting():
    register_counting("counting")


@pytest.fixture
def study(tmp_path, counting):
    """Two animals in one photograph, one photograph without boxes, one that is broken."""
    for i, name in enumerate(["a & b/1 #.png", "2.png", "3.png"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 60, (40, 80, 3))
        pixels[10:20, 10:20, 0] = 250
        pixels[20:30, 50:60, 2] = 250
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (tmp_path / "photos" / "3.png").write_bytes(b"broken")
    table = pd.DataFrame(
        {
            "image_id": ["one", "two", "whole", "broken"],
            "path": ["a & b/1 #.png", "a & b/1 #.png", "2.png", "3.png"],
            "label": ['red "<&>', "blue", "red", "red"],
            "box_x0": [0, 40, None, None],
            "box_y0": [0, 0, None, None],
            "box_x1": [40, 80, None, None],
            "box_y1": [40, 40, None, None],
        }
    )
    data = fk.LabelledImages.from_table(table, root=tmp_path / "photos")
    classifier = make_classifier(names=['red "<&>', "green", "blue"], use_boxes=True, box_padding=0.0)
    return fk.run_study(classifier, data, ["counting"], store=tmp_path / "study", progress=False)


def tasks(paths):
    return json.loads(paths[0].read_text())


def test_one_task_a_photograph_with_its_animals(study, tmp_path):
    made = tasks(study.to_label_studio(tmp_path / "tasks.json"))
    assert [unquote(task["data"]["image"]) for task in made] == [
        "/data/local-files/?d=a & b/1 #.png",
        "/data/local-files/?d=2.png",
        "/data/local-files/?d=3.png",
    ]
    assert "#" not in made[0]["data"]["image"]
    first, _, broken = made
    (prediction,) = first["predictions"]
    choice, *regions = prediction["result"]
    predictions = study.predictions().set_index("image_id")
    assert choice["value"]["choices"] == list(dict.fromkeys(predictions["predicted"].iloc[:2]))
    assert prediction["score"] == pytest.approx(predictions["score"].iloc[:2].min(), abs=1e-5)
    boxes = [region for region in regions if region["type"] == "rectanglelabels"]
    assert [[region["value"][key] for key in ("x", "y", "width", "height")] for region in boxes] == [
        [0, 0, 50, 100],
        [50, 0, 50, 100],
    ]
    assert [region["value"]["rectanglelabels"][0] for region in boxes] == predictions["predicted"].iloc[:2].tolist()
    assert {(region["original_width"], region["original_height"]) for region in regions} == {(80, 40)}
    assert broken["predictions"] == []
    assert "Pillow" in broken["data"]["note"]
    assert len({region["id"] for region in regions}) == len(regions) == 4


def test_the_brush_lies_where_the_mask_is_strongest(study, tmp_path):
    made = tasks(study.to_label_studio(tmp_path / "tasks.json", share=0.0625))
    brushes = [region for region in made[0]["predictions"][0]["result"] if region["type"] == "brushlabels"]
    for brush, (x0, x1, spot) in zip(brushes, [(0, 40, (10, 20)), (40, 80, (50, 60))], strict=True):
        painted = unpacked(brush["value"]["rle"]).reshape(40, 80, 4)[..., 0] > 0
        across = np.flatnonzero(painted.any(0))
        assert x0 <= across[0] <= across[-1] < x1
        assert painted.sum() == pytest.approx(0.0625 * 40 * 40, rel=0.35)
        assert across[0] <= spot[1]
        assert across[-1] >= spot[0]


def test_rectangles_and_nothing(study, tmp_path):
    brushed = tasks(study.to_label_studio(tmp_path / "brush.json"))[0]["predictions"][0]["result"]
    boxed = tasks(study.to_label_studio(tmp_path / "box.json", shape="rectangle"))[0]["predictions"][0]["result"]
    for brush, box in zip(
        [one for one in brushed if one["type"] == "brushlabels"],
        [one for one in boxed if one["value"].get("rectanglelabels") == ["evidence"]],
        strict=True,
    ):
        painted = unpacked(brush["value"]["rle"]).reshape(40, 80, 4)[..., 0] > 0
        down, across = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
        assert box["value"]["x"] == pytest.approx(100 * across[0] / 80)
        assert box["value"]["y"] == pytest.approx(100 * down[0] / 40)
        assert box["value"]["width"] == pytest.approx(100 * len(range(across[0], across[-1] + 1)) / 80)
        assert box["value"]["height"] == pytest.approx(100 * len(range(down[0], down[-1] + 1)) / 40)
    bare = tasks(study.to_label_studio(tmp_path / "none.json", shape="none"))[0]["predictions"][0]["result"]
    assert [one["type"] for one in bare] == ["choices", "rectanglelabels", "rectanglelabels"]


def test_the_configuration_has_every_tag_and_label_that_tasks_name(study, tmp_path):
    paths = study.to_label_studio(tmp_path / "tasks.json")
    assert paths == [tmp_path / "tasks.json", tmp_path / "tasks.xml"]
    root = ElementTree.fromstring(paths[1].read_text(encoding="utf-8"))
    tags = {tag.get("name"): tag for tag in root.iter() if tag.get("name")}
    labels = {name: {one.get("value") for one in tag} for name, tag in tags.items()}
    kinds = {"choices": "Choices", "rectanglelabels": "RectangleLabels", "brushlabels": "BrushLabels"}
    for task in tasks(paths):
        assert tags[next(iter(task["data"]))].tag == "Image"
        for prediction in task["predictions"]:
            for region in prediction["result"]:
                assert tags[region["from_name"]].tag == kinds[region["type"]]
                assert tags[region["from_name"]].get("toName") == region["to_name"]
                assert set(region["value"][region["type"]]) <= labels[region["from_name"]]
    assert 'red "<&>' in labels["species"]


def test_some_in_their_order_from_another_place(study, tmp_path):
    made = tasks(
        study.to_label_studio(
            tmp_path / "tasks.json", only=["whole", "two"], url="https://x.org/{path}?a=1", root=tmp_path
        )
    )
    assert [task["data"]["image_id"] for task in made] == ["whole", "two"]
    assert made[0]["data"]["image"] == "https://x.org/photos/2.png?a=1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "https://x.org/"}, r"must hold \{path\} once"),
        ({"shape": "circle"}, "shape must be one of brush, rectangle, none"),
        ({"share": 0}, "share is 0"),
        ({"only": ["nobody"]}, "only: there is no photograph 'nobody'"),
        ({"only": []}, "nothing to label"),
    ],
)
def test_what_cannot_be_used(study, tmp_path, options, message):
    with pytest.raises(SettingsError, match=message):
        study.to_label_studio(tmp_path / "tasks.json", **options)
    assert not (tmp_path / "tasks.json").exists()


def test_nothing_is_written_over(study, tmp_path):
    (tmp_path / "tasks.xml").write_text("mine")
    with pytest.raises(SettingsError, match=r"tasks\.xml is there already"):
        study.to_label_studio(tmp_path / "tasks.json")
    assert not (tmp_path / "tasks.json").exists()
    with pytest.raises(SettingsError, match="tasks are JSON"):
        study.to_label_studio(tmp_path / "tasks.xml", overwrite=True)
    study.to_label_studio(tmp_path / "tasks.json", overwrite=True)
    assert "<View>" in (tmp_path / "tasks.xml").read_text()
