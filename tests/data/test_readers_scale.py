"""Boxes, points and masks in another scale than the file: scaled to it, turned upright, or refused with a word."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_readers_birds import cub, nabirds
from test_readers_camtrap_dp import medium, package, seen
from test_readers_coco import annotation, image, write

import fidokit as fk
from fidokit.data.geometry import Preprocessing
from fidokit.data.images import ANNOTATED_COLUMNS, LabelledImages
from fidokit.data.photographs import Header, read_header, read_photograph
from fidokit.data.placing import Placing, same_shape
from fidokit.exceptions import ImageError, SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")
BOXED = Preprocessing(size=(8, 8), use_boxes=True, box_padding=0, fit="squash")


def save(path, size, orientation=1, paint=None):
    """A black photograph of so many stored pixels, white in the box `paint` of the stored pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size)
    if paint is not None:
        picture.paste("white", paint)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)


def coco(tmp_path, said, boxes, **stored):
    """One photograph loc_1/a.png, and what the JSON says of it."""
    save(tmp_path / "loc_1" / "a.png", **stored)
    picture = image("a", **dict(zip(("width", "height"), said or (), strict=False))) | {"file_name": "loc_1/a.png"}
    return write(tmp_path, [picture], [annotation(i, "a", 1, **box) for i, box in enumerate(boxes)])


class TestCoco:
    @pytest.mark.parametrize(
        ("size", "stored", "expected"),
        [
            ((96, 80), (48, 40), (2, 2, 22, 17)),
            ((96, 80), (192, 160), (8, 8, 88, 68)),
            # Another number of pixels a side for each: 1000 / 3 and 667 / 3 were rounded.
            ((96, 80), (33, 27), (4 * 33 / 96, 4 * 27 / 80, 44 * 33 / 96, 34 * 27 / 80)),
        ],
    )
    def test_a_file_in_another_size_than_the_json_says(self, tmp_path, size, stored, expected):
        path = coco(tmp_path, size, [{"bbox": [4, 4, 40, 30]}], size=stored)
        with pytest.warns(RuntimeWarning, match="1 of the 1 photographs looked at have another size .* are scaled"):
            data = LabelledImages.from_coco(path)
        assert data.table[["annotated_width", "annotated_height"]].to_numpy().tolist() == [[96, 80]]
        assert data.box(0) == pytest.approx(expected)
        assert data.box(0, stored) == pytest.approx(expected)
        assert data.load(0, BOXED)[1].window == pytest.approx(expected)

    @NO_WARNING
    def test_a_file_in_the_size_that_the_json_says(self, tmp_path):
        data = LabelledImages.from_coco(coco(tmp_path, (96, 80), [{"bbox": [4, 4, 40, 30]}], size=(96, 80)))
        assert data.box(0) == (4, 4, 44, 34)
        assert data.metadata().columns.tolist() == ["image_id", "n_boxes"]

    @pytest.mark.parametrize("said", [("96", "80"), ("96.0", 80), (" 96 ", "80")])
    def test_a_size_that_was_written_as_text(self, tmp_path, said):
        path = coco(tmp_path, said, [{"bbox": [4, 4, 40, 30]}], size=(48, 40))
        with pytest.warns(RuntimeWarning, match="have another size .* are scaled"):
            data = LabelledImages.from_coco(path)
        assert data.box(0) == (2, 2, 22, 17)

    @pytest.mark.parametrize("box", [[10, 10, 90, 70], [0, 0, 30, 90], [60, 60, 40, 40]])
    @pytest.mark.parametrize("stored", [(48, 40), (96, 80)])
    def test_a_box_beyond_the_picture_that_the_json_speaks_of_is_said(self, tmp_path, box, stored):
        path = coco(tmp_path, (48, 40), [{"bbox": box}], size=stored)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = LabelledImages.from_coco(path)
        with pytest.warns(RuntimeWarning, match="the box .* reaches beyond the picture of 48 x 40 .* per cent"):
            data.box(0)

    @pytest.mark.parametrize(
        ("size", "stored"), [((96, 80), (48, 48)), ((96, 80), (40, 48)), ((2048, 1536), (204, 144))]
    )
    def test_another_shape_is_refused(self, tmp_path, size, stored):
        path = coco(tmp_path, size, [{"bbox": [4, 4, 40, 30]}], size=stored)
        with pytest.warns(RuntimeWarning, match="1 of the 1 .* have another shape than the dataset says"):
            data = LabelledImages.from_coco(path)
        with pytest.warns(RuntimeWarning, match=r"boxes are left out: .*a\.png: it was annotated as a picture of"):
            assert data.box(0) is None
        with pytest.raises(ImageError, match=r"a\.png: it was annotated .* another shape; correct the size"):
            data.load(0, BOXED)
        assert data.load(0, Preprocessing(size=(8, 8)))[0].shape == (3, 8, 8)

    @pytest.mark.parametrize("scale", [1, 2])
    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_boxes_of_the_pixels_as_they_are_stored(self, tmp_path, orientation, scale):
        stored = {"size": (96, 80), "orientation": orientation, "paint": (8, 4, 48, 34)}
        box = [8 * scale, 4 * scale, 40 * scale, 30 * scale]
        path = coco(tmp_path, (96 * scale, 80 * scale), [{"bbox": box}], **stored)
        with pytest.warns(RuntimeWarning, match="annotated without their EXIF orientation"):
            data = LabelledImages.from_coco(path)
        x0, y0, x1, y1 = (round(corner) for corner in data.box(0))
        white = np.asarray(data.open(0))[:, :, 0] > 127
        expected = np.zeros(white.shape, bool)
        expected[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(white, expected)

    @pytest.mark.parametrize("orientation", [6, 8])
    def test_boxes_of_the_upright_photograph_that_exif_turns(self, tmp_path, orientation):
        path = coco(tmp_path, (80, 96), [{"bbox": [4, 4, 40, 30]}], size=(48, 40), orientation=orientation)
        with pytest.warns(RuntimeWarning, match="are scaled to it"):
            data = LabelledImages.from_coco(path)
        assert data.box(0) == (2, 2, 22, 17)

    @pytest.mark.parametrize(("size", "orientation"), [((96, 80), 3), ((96, 80), 2), ((64, 64), 6)])
    def test_an_orientation_that_the_size_does_not_tell_is_said(self, tmp_path, size, orientation):
        path = coco(tmp_path, size, [{"bbox": [4, 4, 40, 30]}], size=size, orientation=orientation)
        data = LabelledImages.from_coco(path)
        with pytest.warns(RuntimeWarning, match=rf"EXIF orientation {orientation}; .* those of the upright"):
            assert data.box(0) == (4, 4, 44, 34)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert data.subset([0]).box(0) == (4, 4, 44, 34)

    @pytest.mark.parametrize(
        ("size", "orientation", "expected"),
        [((200, 100), 1, (12, 20, 36, 30)), ((96, 80), 6, (10, 24, 30, 36)), (None, 1, (12, 20, 36, 30))],
    )
    def test_relative_boxes_go_by_the_header(self, tmp_path, size, orientation, expected):
        path = coco(tmp_path, size, [{"bbox_relative": [0.25, 0.5, 0.5, 0.25]}], size=(48, 40), orientation=orientation)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = LabelledImages.from_coco(path)
        assert data.box(0) == expected
        assert data.box(0, data.open(0).size) == expected

    def test_relative_boxes_beside_pixels(self, tmp_path):
        boxes = [{"bbox": [4, 4, 10, 10]}, {"bbox_relative": [0.5, 0.5, 0.5, 0.5]}]
        with pytest.warns(RuntimeWarning, match="are scaled"):
            data = LabelledImages.from_coco(coco(tmp_path, (96, 80), boxes, size=(48, 40)))
        assert data.box(0) == (24, 20, 48, 40)
        with pytest.warns(RuntimeWarning, match="1 relative boxes stand beside boxes in pixels"):
            data = LabelledImages.from_coco(coco(tmp_path, None, boxes, size=(48, 40)))
        assert data.box(0) == (4, 4, 14, 14)

    def test_pixels_that_are_relative(self, tmp_path):
        path = coco(tmp_path, (96, 80), [{"bbox": [0.25, 0.5, 0.5, 0.25]}], size=(48, 40))
        with pytest.warns(RuntimeWarning, match="1 boxes lie within 0 to 1 and are taken as relative"):
            data = LabelledImages.from_coco(path)
        assert data.box(0) == (12, 20, 36, 30)

    def test_both_boxes_and_no_size(self, tmp_path):
        box = {"bbox": [48, 80, 96, 40], "bbox_relative": [0.25, 0.5, 0.5, 0.25]}
        data = LabelledImages.from_coco(coco(tmp_path, None, [box], size=(48, 40)))
        assert data.box(0) == (12, 20, 36, 30)

    @NO_WARNING
    def test_a_missing_file_keeps_its_box_in_pixels(self, tmp_path):
        data = LabelledImages.from_coco(
            write(tmp_path, [image("a", width=96, height=80)], [annotation(1, "a", 1, bbox=[4, 4, 40, 30])])
        )
        assert data.box(0) == (4, 4, 44, 34)
        with pytest.raises(ImageError, match=r"a\.jpg does not exist"):
            data.load(0, BOXED)

    def test_few_headers_are_read_until_photographs_are_opened(self, tmp_path, monkeypatch):
        read = []
        monkeypatch.setattr(
            "fidokit.data.readers.sizes.read_header", lambda path: read.append(path) or Header((48, 40))
        )
        n = 500
        images = [image(str(i), width=96, height=80) for i in range(n)]
        path = write(tmp_path, images, [annotation(i, str(i), 1, bbox=[1, 2, 30, 40]) for i in range(n)])
        with pytest.warns(RuntimeWarning, match="64 of the 64 photographs looked at"):
            assert len(LabelledImages.from_coco(path)) == n
        assert len(read) == 64
        assert {read[0].stem, read[-1].stem} == {"0", "499"}

    def test_a_study_keeps_the_scale_and_sees_when_it_changes(self, tmp_path):
        path = coco(tmp_path, (96, 80), [{"bbox": [8, 8, 80, 64]}], size=(48, 40), paint=(4, 4, 44, 36))
        with pytest.warns(RuntimeWarning, match="are scaled"):
            data = LabelledImages.from_coco(path)
        again = LabelledImages.from_table(data.table, root=data.root)
        assert again.fingerprint() == data.fingerprint()
        assert again.box(0) == (4, 4, 44, 36)
        plain = LabelledImages.from_table(data.table.drop(columns=ANNOTATED_COLUMNS), root=data.root)
        assert plain.fingerprint() != data.fingerprint()
        assert data.load(0, BOXED)[1].window == (4, 4, 44, 36)
        assert plain.load(0, BOXED)[1].window == (8, 8, 48, 40)


def table(tmp_path, text, size=(48, 40), **stored):
    save(tmp_path / "a.png", size, **stored)
    path = tmp_path / "t.csv"
    path.write_text(text)
    return LabelledImages.from_csv(path)


class TestTables:
    @pytest.mark.parametrize(
        "text",
        [
            "path,x0,y0,x1,y1\na.png,0.25,0.5,0.75,1\n",
            "path,box_x0,box_y0,box_x1,box_y1\nb.png,,,,\na.png,0.25,0.5,0.75,1.0\n",
            'path,box\na.png,"0.25 0.5 0.75 1"\nb.png,0 0 1 1\n',
        ],
    )
    def test_boxes_within_0_and_1_are_relative(self, tmp_path, text):
        with pytest.warns(RuntimeWarning, match=r"t\.csv: . boxes lie within 0 to 1 and are taken as relative"):
            data = table(tmp_path, text)
        i = [str(path).endswith("a.png") for path in data.table["path"]].index(True)
        assert data.box(i) == (12, 20, 36, 40)
        assert data.load(i, BOXED)[1].window == (12, 20, 36, 40)

    def test_from_a_frame_too(self, tmp_path):
        save(tmp_path / "a.png", (48, 40))
        frame = pd.DataFrame({"path": ["a.png"], "box_x0": 0.0, "box_y0": 0.5, "box_x1": 1.0, "box_y1": 1.001})
        with pytest.warns(RuntimeWarning, match="taken as relative") as caught:
            data = LabelledImages.from_table(frame, root=tmp_path)
        assert caught[0].filename == __file__
        assert data.box(0) == pytest.approx((0, 20, 48, 40.04))

    def test_some_boxes_within_0_and_1_among_pixels_are_refused(self, tmp_path):
        with pytest.warns(RuntimeWarning, match=r"1 boxes lie within 0 to 1 among boxes in pixels, .*line 3\)"):
            data = table(tmp_path, "path,box\na.png,1 2 30 20\na.png,0.25 0.5 0.75 1\n")
        assert [data.box(0), data.box(1)] == [(1, 2, 30, 20), None]

    @NO_WARNING
    def test_the_size_of_the_annotated_picture_in_columns(self, tmp_path):
        header = "path,box,part_points,annotated_width,annotated_height\n"
        data = table(tmp_path, header + 'a.png,8 8 80 64,"{""eye"": [16, 8]}",96,80\na.png,1 2 3 4,,,\n')
        assert [data.box(0), data.box(1)] == [(4, 4, 40, 32), (1, 2, 3, 4)]
        assert data.part_points(0) == {"eye": (8, 4)}
        assert data.metadata().columns.tolist() == ["image_id"]

    def test_part_points_are_turned_and_refused_as_boxes_are(self, tmp_path):
        header = "path,part_points,annotated_width,annotated_height\n"
        data = table(
            tmp_path, header + 'a.png,"{""eye"": [16, 8]}",96,80\na.png,"{""eye"": [1, 2]}",50,50\n', orientation=6
        )
        assert data.part_points(0) == {"eye": (36, 8)}
        with pytest.warns(RuntimeWarning, match=r"part points are left out: .*another shape"):
            assert data.part_points(1) == {}

    def test_relative_part_points(self, tmp_path):
        with pytest.warns(RuntimeWarning, match="1 photographs have part points within 0 to 1"):
            data = table(tmp_path, 'path,part_points\na.png,"{""eye"": [0.25, 0.5]}"\n')
        assert data.part_points(0) == {"eye": (12, 20)}
        with pytest.raises(SettingsError, match=r"line 2: the boxes are relative, .* the part points are not"):
            table(tmp_path, 'path,box,part_points\na.png,0 0 0.5 0.5,"{""eye"": [9, 9]}"\n')
        with pytest.raises(SettingsError, match=r"line 2: the part points are relative, .* the boxes are not"):
            table(tmp_path, 'path,box,part_points\na.png,0 0 5 5,"{""eye"": [0.5, 0.5]}"\n')

    @pytest.mark.parametrize("cells", ["96,", "-1,80", "wide,80", "0,0", "inf,80"])
    def test_sizes_that_are_none(self, tmp_path, cells):
        with pytest.raises(SettingsError, match="line 2: annotated_width and annotated_height are"):
            table(tmp_path, f"path,box,annotated_width,annotated_height\na.png,1 2 3 4,{cells}\n")
        with pytest.raises(SettingsError, match="no column annotated_height; the size of the annotated picture needs"):
            table(tmp_path, "path,box,annotated_width\na.png,1 2 3 4,96\n")

    def test_a_box_beyond_its_photograph_is_told_once(self, tmp_path):
        data = table(tmp_path, "path,box\na.png,4 4 90 70\na.png,4 4 91 70\na.png,4 4 48.5 40\n")
        with pytest.warns(RuntimeWarning, match="reaches beyond the photograph of 48 x 40 pixels; if"):
            assert data.box(0, (48, 40)) == (4, 4, 90, 70)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data.load(1, BOXED)
            table(tmp_path, "path,box\na.png,4 4 48.5 40\n").load(0, BOXED)


class TestBirds:
    def test_a_resized_cub_has_no_boxes_and_points(self, tmp_path):
        root = cub(tmp_path)
        for path in LabelledImages.from_cub(root).table["path"]:
            save(type(root)(path), (224, 224))
        with pytest.warns(RuntimeWarning, match="2 of 3 photographs looked at are smaller than their boxes") as caught:
            data = LabelledImages.from_cub(root)
        assert "images.txt, line 1)" in str(caught[0].message)
        assert not data.boxed.any()
        assert data.part_points(0) == {}
        assert data.load(0, BOXED)[1].window == (0, 0, 224, 224)

    @NO_WARNING
    def test_a_cub_as_it_was_published_keeps_them(self, tmp_path):
        root = cub(tmp_path)
        for path in LabelledImages.from_cub(root).table["path"]:
            save(type(root)(path), (500, 400))
        data = LabelledImages.from_cub(root)
        assert data.box(0, (500, 400)) == (60, 27, 385, 331)
        assert data.part_points(0)["beak"] == (312, 182.5)

    def test_nabirds_knows_its_sizes(self, tmp_path):
        files = nabirds(tmp_path)
        ids = LabelledImages.from_nabirds(files).table
        (files / "sizes.txt").write_text("".join(f"{key} 600 400\n" for key in ids["image_id"][:2]) + "x 1 2\n")
        save(type(files)(ids["path"][0]), (300, 200))
        with pytest.warns(RuntimeWarning, match="are scaled to it") as caught:
            data = LabelledImages.from_nabirds(files)
        assert "1 lines name a photograph that is not in images.txt" in str(caught[0].message)
        assert data.box(0) == (83 / 2, 59 / 2, 211 / 2, 287 / 2)
        assert data.part_points(0) == {"bill": (52, 45)}
        (files / "sizes.txt").write_text(f"{ids['image_id'][0]} 600 high\n")
        with pytest.warns(RuntimeWarning, match="1 sizes are not two numbers"):
            LabelledImages.from_nabirds(files)


@NO_WARNING
def test_camtrap_boxes_follow_their_photograph(tmp_path):
    observations = "".join(seen(f"o{i}", f"m{i}", name="a", box="0.25,0.5,0.5,0.25") for i in range(3))
    root = package(tmp_path, medium("m0") + medium("m1") + medium("m2"), observations)
    for i, (size, orientation) in enumerate([((40, 20), 1), ((40, 20), 6), ((80, 40), 3)]):
        save(tmp_path / "media" / f"m{i}.jpg", size, orientation)
    data = LabelledImages.from_camtrap_dp(root)
    assert [data.box(i) for i in range(3)] == [(10, 10, 30, 15), (5, 20, 15, 30), (20, 20, 60, 30)]
    save(tmp_path / "media" / "m0.jpg", (80, 40))
    assert data.box(0) == (20, 20, 60, 30)


class TestMasks:
    @pytest.mark.parametrize(("orientation", "scale"), [(6, 1), (8, 2), (5, 1), (7, 1)])
    def test_masks_of_the_pixels_as_they_are_stored(self, tmp_path, orientation, scale):
        save(tmp_path / "a.png", (60, 40), orientation, (10, 10, 30, 34))
        mask = Image.new("L", (60 * scale, 40 * scale))
        mask.paste(255, tuple(scale * corner for corner in (10, 10, 30, 34)))
        mask.save(tmp_path / "m.png")
        mask.point(lambda value: value and 1).save(tmp_path / "p.png")
        frame = {"path": ["a.png"], "object_mask": ["m.png"], "part_map": ["p.png"], "parts": [["all"]]}
        data = LabelledImages.from_table(pd.DataFrame(frame), root=tmp_path)
        preprocessing = Preprocessing(size=(60, 40))
        white = np.asarray(data.open(0))[:, :, 0] > 127
        with pytest.warns(RuntimeWarning, match=r"the object mask .*m\.png lies on its side"):
            np.testing.assert_array_equal(data.load_object_mask(0, preprocessing), white)
        with pytest.warns(RuntimeWarning, match=r"the part map .*p\.png lies on its side"):
            np.testing.assert_array_equal(data.load_part_masks(0, preprocessing)["all"], white)

    def test_a_lying_mask_of_an_upright_photograph_is_refused(self, tmp_path):
        save(tmp_path / "a.png", (60, 40))
        Image.new("L", (40, 60), 255).save(tmp_path / "m.png")
        data = LabelledImages.from_table(pd.DataFrame({"path": ["a.png"], "object_mask": ["m.png"]}), root=tmp_path)
        with pytest.raises(ImageError, match="40 x 60 pixels, its photograph 60 x 40"):
            data.load_object_mask(0, Preprocessing())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_headers_say_what_the_photograph_is(tmp_path, orientation):
    save(tmp_path / "a.png", (30, 20), orientation, (0, 0, 10, 6))
    header = read_header(tmp_path / "a.png")
    assert header.size == read_photograph(tmp_path / "a.png").size
    assert header.stored == (30, 20)
    assert header.orientation == orientation


@pytest.mark.parametrize(
    ("a", "b", "fits"),
    [
        ((96, 80), (48, 40), True),
        ((4000, 3000), (333, 250), True),
        ((1024, 768), (2048, 1535), True),
        ((2048, 1536), (2048, 1440), False),
        ((640, 480), (640, 478), False),
        ((500, 375), (224, 224), False),
    ],
)
def test_shapes_up_to_rounding(a, b, fits):
    assert same_shape(a, b) is same_shape(b, a) is fits


def test_points_and_boxes_are_placed_alike():
    for orientation in (5, 6, 7, 8):
        placing = Placing.find((60, 40), Header((20, 30), orientation))
        assert placing.turned
        x0, y0, x1, y1 = placing.box((6, 8, 30, 20))
        points = [placing.point(x, y) for x in (6, 30) for y in (8, 20)]
        assert sorted(points) == [(x0, y0), (x0, y1), (x1, y0), (x1, y1)]


def test_the_scale_travels_to_the_workers(tmp_path):
    from fidokit.study.engine.chunk import Task
    from fidokit.study.engine.cluster import _detached

    save(tmp_path / "a.png", (48, 40))
    frame = pd.DataFrame({"path": ["a.png"], "box": ["8 8 80 64"], "annotated_width": 96, "annotated_height": 80})
    data = fk.LabelledImages.from_table(frame, root=tmp_path)
    task = Task(0, data, [0], [0], {}, None, {})
    (sent,) = _detached([task])
    assert sent.data.box(0) == (4, 4, 40, 32)
    assert json.loads(sent.data.table.to_json())["annotated_width"] == {"0": 96.0}
