"""CUB-200-2011 and NABirds, from small trees in their published layouts."""

import warnings

import numpy as np
import pytest
from PIL import Image

from fidokit.data.detect import read_dataset
from fidokit.data.geometry import Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")

CUB = {
    "images.txt": "1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg\n"
    "2 001.Black_footed_Albatross/with a space.jpg\n"
    "3 112.Great_Grey_Shrike/c.jpg\n",
    "image_class_labels.txt": "1 1\n2 1\n3 112\n",
    "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n112 112.Great_Grey_Shrike\n",
    "bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 139.0 30.0 153.0 264.5\n3 1.0 2.0 3.0 4.0\n",
    "train_test_split.txt": "1 0\n2 1\n3 1\n",
    "parts/parts.txt": "1 back\n2 beak\n7 left eye\n",
    "parts/part_locs.txt": "1 1 0.0 0.0 0\n1 2 312.0 182.5 1\n1 7 20.0 30.0 1\n2 1 1.0 1.0 1\n3 1 0.0 0.0 0\n",
    "attributes/attributes.txt": "1 has_bill_shape::curved\n",
    "README": "The Caltech-UCSD Birds-200-2011 Dataset\n",
}
A, B, C = (
    "0000139e-21dc-4d0c-bfe1-4cae3c85c829",
    "0000d9fc-4e02-4c06-a0af-a55cfb16b12b",
    "00019306-9d83-4334-b255-a447742edce3",
)
NABIRDS = {
    "images.txt": f"{A} 0817/{A}.jpg\n{B} 0860/{B}.jpg\n{C} 0900/{C}.jpg\n",
    "image_class_labels.txt": f"{A} 817\n{B} 860\n{C} 900\n",
    "classes.txt": "0 Birds\n1 Ducks, Geese, and Swans\n17 Perching Birds\n295 Oak Titmouse\n817 Oak Titmouse\n"
    "860 Common Eider (Female/juvenile)\n900 Oak Titmouse\n300 Common Eider\n",
    "hierarchy.txt": "817 295\n295 17\n17 0\n860 300\n300 1\n1 0\n",
    "bounding_boxes.txt": f"{A} 83 59 128 228\n{B} 328 88 163 298\n",
    "train_test_split.txt": f"{A} 0\n{B} 1\n{C} 1\n",
    "photographers.txt": f"{A} Ruth Cantwell\n{B} Steve  Kelling\n{C}\n",
    "parts/parts.txt": "0 bill\n1 crown\n2 nape\n",
    "parts/part_locs.txt": f"{A} 0 104 90 1\n{A} 1 -1 -1 0\n{B} 2 5 6 1\n",
}


def write(root, files, **changes):
    for name, text in (files | {name.replace("__", "/") + ".txt": text for name, text in changes.items()}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def cub(tmp_path, **changes):
    return write(tmp_path / "CUB_200_2011", CUB, **changes)


def nabirds(tmp_path, **changes):
    return write(tmp_path / "nabirds", NABIRDS, **changes)


class TestCub:
    @NO_WARNING
    def test_the_published_layout(self, tmp_path):
        root = cub(tmp_path)
        data = LabelledImages.from_cub(root)
        assert data.table["image_id"].tolist() == ["1", "2", "3"]
        assert data.table["path"].tolist()[1] == str(root / "images/001.Black_footed_Albatross/with a space.jpg")
        assert data.table["label"].tolist() == ["Black footed Albatross", "Black footed Albatross", "Great Grey Shrike"]
        assert data.box(0) == (60, 27, 385, 331)
        assert data.box(1) == (139, 30, 292, 294.5)
        assert data.table["split"].tolist() == ["test", "train", "train"]
        assert data.part_points(0) == {"beak": (312, 182.5), "left eye": (20, 30)}
        assert data.part_points(1) == {"back": (1, 1)}
        assert data.part_points(2) == {}
        assert "object_mask" not in data.table.columns
        assert data.metadata().columns.tolist() == ["image_id"]
        assert data.skipped == 0

    def test_published_names_and_the_folder_above(self, tmp_path):
        cub(tmp_path)
        data = LabelledImages.from_cub(tmp_path, readable=False)
        assert data.classes == ["001.Black_footed_Albatross", "112.Great_Grey_Shrike"]
        assert read_dataset(tmp_path).classes == ["Black footed Albatross", "Great Grey Shrike"]

    @pytest.mark.parametrize("place", ["CUB_200_2011/segmentations", "segmentations"])
    def test_segmentations_in_the_folder_or_beside_it(self, tmp_path, place, monkeypatch):
        root = cub(tmp_path)
        name = "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18"
        mask = np.zeros((20, 20), np.uint8)
        mask[:10] = 204
        for path, image in (
            (root / "images" / f"{name}.jpg", Image.new("RGB", (20, 20))),
            (tmp_path / place / f"{name}.png", Image.fromarray(mask)),
        ):
            path.parent.mkdir(parents=True)
            image.save(path)
        monkeypatch.chdir(root)
        for given in (root, tmp_path, "."):
            data = LabelledImages.from_cub(given)
            assert [value is None for value in data.table["object_mask"]] == [False, True, True]
            expected = np.repeat([True, False], 10)[:, None].repeat(20, axis=1)
            np.testing.assert_array_equal(data.load_object_mask(0, Preprocessing(size=(20, 20))), expected)

    @NO_WARNING
    def test_byte_order_mark_line_ends_blanks_and_spaces_change_nothing(self, tmp_path):
        changed = {
            name: b"\xef\xbb\xbf" + text.replace(" ", " \t ", 1).replace("\n", "  \r\n\r\n").encode()
            for name, text in CUB.items()
        }
        odd = LabelledImages.from_cub(write(tmp_path / "odd", changed)).table.drop(columns="path")
        assert odd.equals(LabelledImages.from_cub(cub(tmp_path)).table.drop(columns="path"))

    def test_files_that_need_not_be_there(self, tmp_path):
        needed = ("images.txt", "image_class_labels.txt", "classes.txt")
        data = LabelledImages.from_cub(write(tmp_path, {name: CUB[name] for name in needed}))
        assert data.table.columns.tolist() == ["image_id", "path", "label"]

    @pytest.mark.parametrize("name", ["images", "image_class_labels", "classes"])
    def test_files_that_must_be_there(self, tmp_path, name):
        root = cub(tmp_path)
        (root / f"{name}.txt").unlink()
        with pytest.raises(SettingsError, match=f"has no {name}.txt"):
            LabelledImages.from_cub(root)
        with pytest.raises(SettingsError, match="not a folder"):
            LabelledImages.from_cub(root / "no")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"images": "1 a.jpg\n\n1 b.jpg\n"}, r"images\.txt, line 3: the id '1' stands in line 1 as well"),
            ({"images": "1 a.jpg\n2\n"}, r"images\.txt, line 2: 1 of 2 values"),
            ({"images": "\n"}, r"images\.txt is empty"),
            ({"images": "1 ../../etc/passwd\n"}, r"images\.txt, line 1: the path '\.\./\.\./etc/passwd' leads out"),
            ({"images": "1 /etc/passwd\n"}, "line 1: the path '/etc/passwd' leads out"),
            ({"images": "1 a\\..\\..\\b.jpg\n"}, "leads out"),
            ({"images": "1 C:\\b.jpg\n"}, "leads out"),
            ({"images": b"1 a.jpg\n2 Zaunk\xf6nig.jpg\n"}, r"images\.txt, line 2: not UTF-8"),
            ({"image_class_labels": "1 1\n2 9\n"}, r"image_class_labels\.txt, line 2: there is no class '9'"),
            ({"image_class_labels": "1 1\n1 2\n"}, "line 2: the photograph has the class '1' as well"),
            ({"classes": "1 a\n1 b\n"}, r"classes\.txt, line 2: the class '1' stands there twice"),
            ({"parts__part_locs": "1 99 1 1 1\n"}, r"part_locs\.txt, line 1: there is no part '99'"),
        ],
    )
    def test_what_makes_the_table_ambiguous_is_an_error(self, tmp_path, changes, message):
        with pytest.raises(SettingsError, match=message):
            LabelledImages.from_cub(cub(tmp_path, **changes))

    def test_part_points_without_names(self, tmp_path):
        root = cub(tmp_path)
        (root / "parts" / "parts.txt").unlink()
        with pytest.raises(SettingsError, match=r"no parts\.txt beside it"):
            LabelledImages.from_cub(root)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"bounding_boxes": "1 60 27 x 304\n2 1 1 nan 5\n3 1 2 3 4\n"}, r"2 boxes are not four .*\.txt, line 1"),
            ({"bounding_boxes": "1 60 27 0 304\n2 1 2 3 4\n3 1 2 -3 4\n"}, r"2 boxes have no area .*line 1\)"),
            ({"bounding_boxes": "1 1 2 3 4\n9 1 2 3 4\n"}, r"1 lines name a photograph that is not .*line 2"),
            ({"bounding_boxes": "1 1 2 3 4\n1 1 2 9 9\n"}, "1 photographs have a second box"),
            ({"bounding_boxes": "1 1 2 3 4\n2 1 2\n"}, "1 lines are cut off"),
            ({"image_class_labels": "1 1\n"}, "2 photographs have no label"),
            ({"train_test_split": "1 0\n2 yes\n3 1\n"}, r"1 lines of the split .*train_test_split\.txt, line 2"),
            ({"parts__part_locs": "1 1 x 1 1\n1 2 1 1 maybe\n1 7 5 6 1\n"}, "2 part points are not"),
        ],
    )
    def test_what_costs_an_annotation_is_counted(self, tmp_path, changes, message):
        root = cub(tmp_path, **changes)
        with pytest.warns(RuntimeWarning, match=message) as caught:
            data = LabelledImages.from_cub(root)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert len(data) == 3

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_what_is_left_of_odd_lines(self, tmp_path):
        boxes = "1 60 27 x 304\n2 1 2 3 4\n2 1 2 9 9\n3 1 2 3 0\n"
        data = LabelledImages.from_cub(
            cub(
                tmp_path,
                bounding_boxes=boxes,
                image_class_labels="2 1\n",
                train_test_split="1 0\n2 yes\n",
                parts__part_locs="1 1 x 1 1\n1 7 5 6 1\n",
            )
        )
        assert [data.box(i) for i in range(3)] == [None, (1, 2, 4, 6), None]
        assert data.table["label"].tolist() == [None, "Black footed Albatross", None]
        assert data.table["split"].tolist() == ["test", None, None]
        assert data.part_points(0) == {"left eye": (5, 6)}

    @NO_WARNING
    def test_boxes_beyond_the_photograph_are_kept(self, tmp_path):
        data = LabelledImages.from_cub(cub(tmp_path, bounding_boxes="1 -5 -5 99999 99999\n"))
        assert data.box(0) == (-5, -5, 99994, 99994)


class TestNabirds:
    @NO_WARNING
    def test_the_published_layout(self, tmp_path):
        root = nabirds(tmp_path)
        data = LabelledImages.from_nabirds(root)
        assert data.table["image_id"].tolist() == [A, B, C]
        assert data.table["path"].iloc[0] == str(root / "images" / "0817" / f"{A}.jpg")
        labels = ["Oak Titmouse (817)", "Common Eider (Female/juvenile)", "Oak Titmouse (900)"]
        assert data.table["label"].tolist() == labels
        assert data.box(0) == (83, 59, 211, 287)
        assert data.box(2) is None
        assert data.table["split"].tolist() == ["test", "train", "train"]
        assert data.part_points(0) == {"bill": (104, 90)}
        assert data.part_points(2) == {}
        metadata = data.metadata()
        assert metadata.columns.tolist() == ["image_id", "parent", "group", "photographer"]
        assert metadata["parent"].tolist() == ["Oak Titmouse", "Common Eider", None]
        assert metadata["group"].tolist() == ["Perching Birds", "Ducks, Geese, and Swans", None]
        assert metadata["photographer"].tolist() == ["Ruth Cantwell", "Steve  Kelling", None]

    def test_names_of_photographers_in_another_encoding_cost_nothing(self, tmp_path):
        root = nabirds(tmp_path, photographers=f"{A} Ren\xe9\n".encode("latin-1"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = LabelledImages.from_nabirds(root)
        assert data.table["photographer"].tolist() == ["Ren�", None, None]

    def test_a_hierarchy_in_a_circle(self, tmp_path):
        with pytest.raises(SettingsError, match=r"hierarchy\.txt: the class '295' stands above itself"):
            LabelledImages.from_nabirds(nabirds(tmp_path, hierarchy="817 295\n295 17\n17 295\n"))

    def test_it_is_told_from_cub_by_its_files(self, tmp_path):
        assert "photographer" in read_dataset(nabirds(tmp_path)).table.columns
        assert "parent" not in read_dataset(cub(tmp_path)).table.columns
