"""Readers: what a table, a folder or a CSV turns into, and what is said about those that cannot be used."""

import math
import os
import pickle
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fidokit.data.images import LabelledImages, Preprocessing
from fidokit.exceptions import FidokitError, ImageError, SettingsError


def save(path, colour="red", size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def birds(tmp_path):
    root = tmp_path / "birds"
    save(root / "wren" / "b.png")
    save(root / "wren" / "deep" / "er" / "a.JPG", "blue")
    save(root / "blue tit" / "b.png", "green")
    save(root / "loose.png", "white")
    return root


def csv_of(tmp_path, text, **kwargs):
    path = tmp_path / "birds.csv"
    path.write_text(text, encoding="utf-8")
    return LabelledImages.from_csv(path, **kwargs)


class TestFromFolder:
    def test_labels_ids_and_order(self, birds):
        data = LabelledImages.from_folder(birds)
        assert data.table["image_id"].tolist() == ["blue tit/b.png", "loose.png", "wren/b.png", "wren/deep/er/a.JPG"]
        assert data.table["label"].tolist() == ["blue tit", None, "wren", "wren"]
        assert data.table["path"].tolist() == [str(birds / image_id) for image_id in data.table["image_id"]]
        assert data.classes == ["blue tit", "wren"]
        assert len(data) == 4
        assert data.skipped == 0
        assert "4 photographs, 2 classes, 0 boxes" in repr(data)

    def test_hidden_and_other_files_are_counted_and_hidden_folders_are_not_entered(self, birds):
        for name in ("wren/._b.png", "wren/.hidden.jpg", "wren/Thumbs.db", "notes.txt"):
            (birds / name).write_bytes(b"x")
        save(birds / ".cache" / "thumb.png")
        data = LabelledImages.from_folder(birds)
        assert len(data) == 4
        assert data.skipped == 4

    def test_linked_class_folders_are_followed_and_circles_are_not(self, birds, tmp_path):
        save(tmp_path / "elsewhere" / "c.png")
        try:
            (birds / "robin").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        except OSError:
            pytest.skip("no symbolic links on this system")
        (birds / "wren" / "up").symlink_to(birds, target_is_directory=True)
        (birds / "wren" / "same").symlink_to(birds / "wren", target_is_directory=True)
        data = LabelledImages.from_folder(birds)
        assert len(data) == 5
        assert "robin/c.png" in data.table["image_id"].tolist()

    def test_file_names_with_spaces_quotes_and_bytes_that_are_not_utf8(self, birds):
        names = [" leading space.png", "a'b\"c<script>.png", "münchen ☃.png"]
        for name in names:
            save(birds / " odd " / name)
        raw = os.fsencode(birds / " odd ") + b"/latin\xe9.png"
        try:
            with open(raw, "wb") as file:  # noqa: PTH123
                file.write((birds / "loose.png").read_bytes())
        except OSError:
            raw = b""
        data = LabelledImages.from_folder(birds)
        odd = data.subset(data.table["label"] == " odd ")
        assert len(odd) == 3 + bool(raw)
        for i in range(len(odd)):
            assert odd.open(i).size == (12, 10)
            odd.table["image_id"].iloc[i].encode()
        assert len(odd.fingerprint()) == 64

    def test_no_folder_or_none_with_photographs(self, tmp_path):
        with pytest.raises(SettingsError, match="not a folder"):
            LabelledImages.from_folder(tmp_path / "no")
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(SettingsError, match=r"no images \(1 other files\)"):
            LabelledImages.from_folder(tmp_path)

    def test_a_damaged_photograph_is_met_only_when_opened(self, birds):
        (birds / "wren" / "b.png").write_bytes(b"broken")
        data = LabelledImages.from_folder(birds)
        with pytest.raises(ImageError, match=r"b\.png is not an image"):
            data.open(2)
        assert data.open(0).size == (12, 10)


class TestFromCsv:
    def test_columns_and_types(self, tmp_path, birds):
        data = csv_of(
            tmp_path,
            "path,label,site,temperature,x0,y0,x1,y1,split\n"
            'birds/wren/b.png,007,"Hill, north",3.5,1,2,5,6.5,train\n'
            "\n"
            "birds/loose.png,,B,4,,,,,test\n",
        )
        assert data.table.columns.tolist() == [
            *("image_id", "path", "label", "site", "temperature", "split", "box_x0", "box_y0", "box_x1", "box_y1")
        ]
        assert data.table["image_id"].tolist() == ["birds/wren/b.png", "birds/loose.png"]
        assert data.table["label"].tolist() == ["007", None]
        assert data.table["site"].tolist() == ["Hill, north", "B"]
        assert data.table["temperature"].tolist() == [3.5, 4.0]
        assert data.box(0) == (1, 2, 5, 6.5)
        assert data.box(1) is None
        assert data.open(0).size == (12, 10)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_separators_byte_order_mark_and_line_ends(self, tmp_path, birds, delimiter):
        path = tmp_path / "a.csv"
        rows = [["path", "label"], ["wren/b.png", "Zaunkönig"], ["loose.png", "x"]]
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(delimiter.join(row) for row in rows).encode())
        data = LabelledImages.from_csv(path, root=birds)
        assert data.table["label"].tolist() == ["Zaunkönig", "x"]
        assert data.open(0).size == (12, 10)

    @pytest.mark.parametrize("cell", ["1 2 5 6", "1,2,5,6", " [1, 2, 5, 6] ", "1;2;5;6", "1.0  2.0 5e0 6"])
    def test_boxes_in_one_column(self, tmp_path, cell):
        data = csv_of(tmp_path, f'path,box\na.png,"{cell}"\nb.png,\n')
        assert data.box(0) == (1, 2, 5, 6)
        assert data.box(1) is None
        assert "box" not in data.table.columns

    def test_a_table_without_labels_and_files_that_are_missing_is_still_a_table(self, tmp_path):
        data = csv_of(tmp_path, "path\nno.png\n")
        assert data.classes == []
        with pytest.raises(ImageError, match=r"no\.png does not exist"):
            data.load(0, Preprocessing())

    def test_ids_from_paths_are_numbered_and_given_ones_must_be_unique(self, tmp_path):
        data = csv_of(tmp_path, "path\na.png\na.png\na.png#2\na.png\n")
        assert data.table["image_id"].tolist() == ["a.png", "a.png#3", "a.png#2", "a.png#4"]
        simple = csv_of(tmp_path, "path\na.png\nb.png\na.png\n")
        assert simple.table["image_id"].tolist() == ["a.png", "b.png", "a.png#2"]
        given = csv_of(tmp_path, "path,image_id\na.png,001\na.png,002\n")
        assert given.table["image_id"].tolist() == ["001", "002"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"birds\.csv is empty"),
            ("path,label\n", r"birds\.csv is empty"),
            ("file,label\na.png,x\n", r"birds\.csv, line 1: no column path among file, label"),
            ("path,path\na,b\n", "line 1: the column 'path' stands there twice"),
            ("path,label\na.png,x\nb.png\n", "line 3: 1 cells under 2 columns"),
            ("path,label\na.png,x,y\n", "line 2: 3 cells under 2 columns"),
            ("path,label\n\n,x\n", "line 3: the path is empty"),
            ("path,x0,y0,x1,y1\na.png,1,2,3,4\nb.png,1,2,x,4\n", "line 3: the box '1 2 x 4' is not four numbers"),
            ("path,x0,y0,x1,y1\na.png,1,2,,4\n", "line 2: the box '1 2  4' is not four numbers"),
            ("path,x0,y0,x1,y1\na.png,1,2,inf,4\n", "line 2: .* not four numbers"),
            ("path,x0,y0,x1,y1\na.png,5,2,5,4\n", "line 2: the box '5 2 5 4' has no area"),
            ("path,x0,y0,x1,y1\na.png,1,5,2,4\n", "line 2: the box '1 5 2 4' has no area"),
            ("path,box\na.png,1 2 3\n", "line 2: the box '1 2 3' is not four numbers"),
            ("path,box_x0,box_y0,box_x1\na.png,1,2,3\n", "line 1: no column box_y1"),
            ("path,image_id\na.png,i\nb.png,i\n", r"line 3: the image_id 'i' stands in .*line 2 as well"),
            ("path,image_id\na.png,\n", "line 2: the image_id is empty"),
            ('path,label\n"a\nb.png",x\nc.png\n', "line 4: 1 cells"),
        ],
    )
    def test_bad_tables_name_file_and_line(self, tmp_path, text, message):
        with pytest.raises(SettingsError, match=message) as caught:
            csv_of(tmp_path, text)
        assert "birds.csv" in str(caught.value)

    def test_tables_that_are_no_text_are_named_too(self, tmp_path):
        path = tmp_path / "birds.csv"
        path.write_bytes(b"path,label\na.png,x\nb.png,Zaunk\xf6nig\n")
        with pytest.raises(SettingsError, match=r"birds\.csv, line 3: not UTF-8"):
            LabelledImages.from_csv(path)
        path.write_bytes(b"path,label\na.png,x\nb\0.png,y\n")
        with pytest.raises(FidokitError, match=r"birds\.csv|b.\.png"):
            LabelledImages.from_csv(path).open(1)
        path.write_text("path,label\na.png," + "x" * 200_000 + "\n")
        with pytest.raises(SettingsError, match=r"birds\.csv, line 2"):
            LabelledImages.from_csv(path)
        for missing in (tmp_path / "no.csv", tmp_path):
            with pytest.raises(SettingsError, match="cannot be read"):
                LabelledImages.from_csv(missing)


class TestFromTable:
    def test_completes_and_leaves_the_given_frame_alone(self, birds):
        frame = pd.DataFrame(
            {"label": [1.0, math.nan], "path": ["wren/b.png", "loose.png"], "year": [2020, 2021]}, index=[7, 9]
        )
        before = frame.copy()
        data = LabelledImages.from_table(frame, root=birds)
        pd.testing.assert_frame_equal(frame, before)
        assert data.table["label"].tolist() == ["1", None]
        assert data.table["year"].tolist() == [2020, 2021]
        assert data.table.index.tolist() == [0, 1]
        assert data.open(1).size == (12, 10)

    def test_absolute_paths_need_no_root(self, birds):
        frame = pd.DataFrame({"path": [birds / "wren" / "b.png", birds / "loose.png"]})
        data = LabelledImages.from_table(frame)
        assert data.table["image_id"].tolist() == ["wren/b.png", "loose.png"]

    def test_its_own_table_comes_out_unchanged(self, birds, tmp_path):
        data = csv_of(
            tmp_path, "path,label,x0,y0,x1,y1,object_mask\nwren/b.png,a,1,2,3,4,m.png\nloose.png,,,,,,\n", root=birds
        )
        pd.testing.assert_frame_equal(LabelledImages.from_table(data.table).table, data.table)

    def test_errors_name_the_row(self):
        with pytest.raises(SettingsError, match="no column path among label"):
            LabelledImages.from_table(pd.DataFrame({"label": ["a"]}))
        with pytest.raises(SettingsError, match="row 1: the path is empty"):
            LabelledImages.from_table(pd.DataFrame({"path": ["a", None]}))
        boxes = pd.DataFrame({"path": ["a", "b"], "box_x0": [1.0, 5], "box_y0": 0.0, "box_x1": [2.0, 3], "box_y1": 1.0})
        with pytest.raises(SettingsError, match=r"row 1: the box .* has no area"):
            LabelledImages.from_table(boxes)


class TestSubset:
    def test_masks_positions_slices_and_ids(self, birds):
        data = LabelledImages.from_folder(birds)
        ids = data.table["image_id"].tolist()

        def chosen(selector):
            return data.subset(selector).table["image_id"].tolist()

        assert chosen(data.table["label"] == "wren") == ids[2:]
        assert chosen([True, False, False, True]) == [ids[0], ids[3]]
        assert chosen(pd.array([True, False, False, True], dtype="boolean")) == [ids[0], ids[3]]
        assert chosen([3, 0]) == [ids[3], ids[0]]
        assert chosen(np.array([-1])) == [ids[3]]
        assert chosen(torch.tensor([1]).numpy()) == [ids[1]]
        assert chosen(slice(None, None, 2)) == ids[::2]
        assert chosen(range(2)) == ids[:2]
        assert chosen(["wren/b.png"]) == ["wren/b.png"]
        assert chosen("wren/b.png") == ["wren/b.png"]
        assert chosen(pd.Series(ids[::-1])) == ids[::-1]
        assert chosen([]) == []
        assert data.subset([0]).classes == ["blue tit"]
        assert data.subset([3]).open(0).getpixel((0, 0))[2] > 200

    @pytest.mark.parametrize(
        ("selector", "message"),
        [
            ([True], "1 entries for 4"),
            ([4], "no photograph 4"),
            ([-5], "no photograph -5"),
            (["nobody"], "no photograph 'nobody'"),
            ([1.5], "no photograph 1.5"),
            ([0, 0], "twice"),
            ([0, -4], "twice"),
        ],
    )
    def test_selections_that_cannot_be(self, birds, selector, message):
        with pytest.raises(SettingsError, match=message):
            LabelledImages.from_folder(birds).subset(selector)


class TestLoad:
    def test_values_range_and_geometry(self, tmp_path):
        save(tmp_path / "a" / "x.png", (255, 0, 51), size=(60, 40))
        content, geometry = LabelledImages.from_folder(tmp_path).load(0, Preprocessing(size=(8, 16)))
        assert content.shape == (3, 8, 16)
        assert content.dtype == torch.float32
        for channel, value in zip(content, (1.0, 0.0, 0.2), strict=True):
            torch.testing.assert_close(channel, torch.full((8, 16), value))
        assert geometry == Preprocessing(size=(8, 16)).geometry(60, 40)

    def test_boxes_count_only_when_asked_for(self, tmp_path):
        save(tmp_path / "a.png", size=(60, 40))
        data = csv_of(tmp_path, "path,box\na.png,10 10 20 20\n")
        assert data.load(0, Preprocessing())[1].window == (10, 0, 50, 40)
        assert data.load(0, Preprocessing(use_boxes=True, box_padding=0))[1].window == (10, 10, 20, 20)

    def test_a_box_beyond_the_edge_is_clipped_and_one_outside_is_an_error(self, tmp_path):
        save(tmp_path / "a.png", size=(60, 40))
        data = csv_of(tmp_path, "path,box\na.png,50 30 999 999\na.png,60 0 70 10\n")
        boxed = Preprocessing(use_boxes=True, box_padding=0)
        assert data.load(0, boxed)[1].window == (50, 30, 60, 40)
        with pytest.raises(ImageError, match=r"a\.png: the box .* outside the photograph of 60 x 40"):
            data.load(1, boxed)
        assert data.load(1, Preprocessing())[0].shape == (3, 224, 224)

    def test_boxes_are_in_the_upright_photograph(self, tmp_path):
        upright = Image.new("RGB", (48, 32))
        upright.paste("white", (32, 0, 48, 16))
        exif = Image.Exif()
        exif[0x0112] = 6
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
        data = csv_of(tmp_path, "path,box\na.png,32 0 48 16\n")
        content, _ = data.load(0, Preprocessing(size=(16, 16), use_boxes=True, box_padding=0))
        assert (content == 1).all()

    def test_object_masks(self, tmp_path):
        save(tmp_path / "a.png", size=(60, 40))
        mask = Image.new("L", (60, 40))
        mask.paste(255, (10, 10, 30, 30))
        mask.save(tmp_path / "m.png")
        mask.resize((30, 20), Image.Resampling.NEAREST).save(tmp_path / "half.png")
        mask.resize((40, 40)).save(tmp_path / "other.png")
        data = csv_of(
            tmp_path, "path,object_mask\na.png,m.png\na.png,half.png\na.png,\na.png,other.png\na.png,no.png\n"
        )
        preprocessing = Preprocessing(size=(40, 40))
        expected = np.zeros((40, 40), bool)
        expected[10:30, :20] = True
        np.testing.assert_array_equal(data.load_object_mask(0, preprocessing), expected)
        np.testing.assert_array_equal(data.load_object_mask(1, preprocessing), expected)
        assert data.load_object_mask(2, preprocessing) is None
        with pytest.raises(ImageError, match=r"other\.png has 40 x 40 pixels, its photograph 60 x 40"):
            data.load_object_mask(3, preprocessing)
        with pytest.raises(ImageError, match=r"no\.png does not exist"):
            data.load_object_mask(4, preprocessing)
        assert data.subset([2]).load_object_mask(0, preprocessing) is None


class TestUnseen:
    """What the classifier does not see is said, once, and outright where a box says that the animal lies there."""

    def test_the_first_photograph_is_warned_of_with_the_remedy(self, tmp_path):
        save(tmp_path / "a.png", size=(40, 20))
        data = LabelledImages.from_table(pd.DataFrame({"path": ["a.png"], "label": ["x"]}), root=tmp_path)
        with pytest.warns(RuntimeWarning, match=r"50 % of this photograph is not seen .* fit=\"squash\""):
            data.load(0, Preprocessing(size=(8, 8)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data.load(0, Preprocessing(size=(8, 8)))
            data.load(0, Preprocessing(size=(8, 8), fit="squash"))

    def test_a_box_says_whether_the_animal_is_seen(self, tmp_path):
        save(tmp_path / "a.png", size=(40, 20))
        corners = {"box_x0": [0, 12], "box_y0": [0, 0], "box_x1": [8, 20], "box_y1": [8, 8]}
        table = pd.DataFrame({"path": ["a.png"] * 2, "label": ["x"] * 2, "image_id": ["lost", "seen"], **corners})
        data = LabelledImages.from_table(table, root=tmp_path)
        geometry = Preprocessing(size=(8, 8)).geometry(40, 20)
        lost = data.unseen_words(0, geometry)
        assert lost.startswith("The classifier does not see the animal")
        assert "use_boxes=True (--boxes)" in lost
        assert data.unseen_words(1, geometry) == ""


class TestParts:
    @pytest.fixture
    def parts(self, tmp_path):
        """A photograph of 40 x 20 pixels: a 10 x 10 bill, a tail right of it, a ring one pixel thin, nothing else."""
        save(tmp_path / "a.png", size=(40, 20))
        indices = np.zeros((20, 40), np.uint8)
        indices[5:15, 5:15] = 1
        indices[5:15, 15:25] = 2
        indices[2, 28:38] = indices[17, 28:38] = 4
        indices[2:18, 28] = indices[2:18, 37] = 4
        Image.fromarray(indices).save(tmp_path / "grey.png")
        palette = Image.fromarray(indices)
        palette.putpalette([0, 0, 0] * 256)
        palette.save(tmp_path / "palette.png")
        Image.fromarray(indices).resize((80, 40), Image.Resampling.NEAREST).save(tmp_path / "double.png")
        Image.fromarray(indices).resize((30, 30)).save(tmp_path / "other.png")
        Image.fromarray(indices).convert("RGB").save(tmp_path / "rgb.png")
        names = '"[""bill"", ""tail"", ""crest"", ""ring"", ""<b>""]"'
        maps = ["grey.png", "palette.png", "double.png", "", "other.png", "rgb.png", "no.png"]
        rows = [f"a.png,{name},{names if name else ''}\n" for name in maps]
        return csv_of(tmp_path, "path,part_map,parts\n" + "".join(rows) + 'a.png,grey.png,"[""bill""]"\n')

    @pytest.mark.parametrize("row", [0, 1, 2])
    def test_masks_lie_in_the_geometry_of_the_input(self, parts, row):
        masks = parts.load_part_masks(row, Preprocessing(size=(20, 40)))
        assert list(masks) == ["bill", "tail", "crest", "ring", "<b>"]
        bill = np.zeros((20, 40), bool)
        bill[5:15, 5:15] = True
        np.testing.assert_array_equal(masks["bill"], bill)
        np.testing.assert_array_equal(masks["tail"], np.roll(bill, 10, axis=1))
        assert masks["ring"].sum() == 2 * 10 + 2 * 14
        for name in ("crest", "<b>"):
            assert masks[name].shape == (20, 40)
            assert masks[name].dtype == bool
            assert not masks[name].any()

    def test_what_is_thinner_than_an_input_pixel_is_seen_and_what_is_outside_is_not(self, parts):
        small = parts.load_part_masks(0, Preprocessing(size=(5, 10)))
        assert small["ring"].sum() >= 8
        assert not small["ring"][:, :6].any()
        # The window is the middle 10 x 20 pixels: the tail, and right beside them the bill.
        middle = parts.load_part_masks(0, Preprocessing(size=(20, 10)))
        assert middle["tail"].sum() == 10 * 10
        assert not middle["bill"].any()
        assert not middle["ring"].any()

    def test_no_map_no_masks(self, parts, birds):
        assert parts.load_part_masks(3, Preprocessing()) == {}
        assert LabelledImages.from_folder(birds).load_part_masks(0, Preprocessing()) == {}

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (4, r"part map .*other\.png has 30 x 30 pixels, its photograph 40 x 20"),
            (5, r"rgb\.png has the mode RGB; save a part map as an indexed or grey image"),
            (6, r"no\.png does not exist"),
            (7, r"part map .*grey\.png holds the index 4, but its row names 1 parts"),
        ],
    )
    def test_maps_that_cannot_be_used(self, parts, row, message):
        with pytest.raises(ImageError, match=message):
            parts.load_part_masks(row, Preprocessing())

    def test_points(self, tmp_path):
        data = csv_of(
            tmp_path, 'path,part_points\na.png,"{""bill"": [1, 2.5], ""left eye"": [3, 4]}"\nb.png,\nc.png,{}\n'
        )
        assert data.part_points(0) == {"bill": (1.0, 2.5), "left eye": (3.0, 4.0)}
        assert data.part_points(1) == data.part_points(2) == {}
        given = pd.DataFrame({"path": ["a", "b"], "part_points": [{"bill": [1, 2]}, None]})
        assert LabelledImages.from_table(given).part_points(0) == {"bill": (1.0, 2.0)}

    def test_paths_and_names_come_out_as_they_went_in(self, parts, tmp_path):
        assert parts.table["part_map"].tolist()[0] == str(tmp_path / "grey.png")
        assert parts.table["part_map"].tolist()[3] is None
        pd.testing.assert_frame_equal(LabelledImages.from_table(parts.table).table, parts.table)
        given = pd.DataFrame(
            {"path": ["a.png"], "part_map": ["grey.png"], "parts": [["bill", "tail", "crest", "ring"]]}
        )
        data = LabelledImages.from_table(given, root=tmp_path)
        assert list(data.load_part_masks(0, Preprocessing())) == ["bill", "tail", "crest", "ring"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("path,part_map\na.png,m.png\n", "line 1: part_map and parts belong together"),
            ("path,parts\na.png,[]\n", "line 1: part_map and parts belong together"),
            ("path,part_map,parts\na.png,m.png,bill\n", "line 2: parts cannot be used"),
            ('path,part_map,parts\na.png,m.png,"{""a"": 1}"\n', "line 2: parts cannot be used: it must be a JSON list"),
            ('path,part_map,parts\na.png,m.png,"[""a"", ""a""]"\n', "line 2: .* a name stands there twice"),
            ("path,part_map,parts\na.png,m.png,[1]\n", "line 2: .* must be a JSON list of names"),
            ("path,part_points\na.png,{}\nb.png,[]\n", "line 3: part_points cannot be used: it must be a JSON object"),
            ('path,part_points\na.png,"{""a"": [1]}"\n', "line 2: .* JSON object of name"),
            ('path,part_points\na.png,"{""a"": [1, true]}"\n', "line 2: .* JSON object of name"),
            ('path,part_points\na.png,"{""a"": [1, NaN]}"\n', "line 2: .* JSON object of name"),
        ],
    )
    def test_bad_cells_name_file_and_line(self, tmp_path, text, message):
        with pytest.raises(SettingsError, match=message) as caught:
            csv_of(tmp_path, text)
        assert "birds.csv" in str(caught.value)

    def test_more_names_than_a_map_holds(self):
        names = [str(number) for number in range(256)]
        frame = pd.DataFrame({"path": ["a"], "part_map": ["m"], "parts": [names]})
        with pytest.raises(SettingsError, match=r"row 0: .* 256 names; a part map of 8 bits holds 255"):
            LabelledImages.from_table(frame)
        assert len(LabelledImages.from_table(frame.assign(parts=[names[1:]]))) == 1


class TestMetadata:
    def test_only_what_an_analysis_may_read(self, tmp_path):
        data = csv_of(
            tmp_path,
            "path,image_id,label,split,box,object_mask,part_map,parts,part_points,planted_cause,planted_,genus,site\n"
            "a.png,i,wren,train,1 2 3 4,m.png,p.png,[],{},habitat,x,Parus,7\n",
        )
        assert data.metadata().to_dict("records") == [{"image_id": "i", "genus": "Parus", "site": 7}]
        assert "planted_cause" in data.table.columns

    def test_it_is_a_copy_in_the_order_of_the_table(self, birds):
        data = LabelledImages.from_folder(birds)
        metadata = data.metadata()
        assert metadata.columns.tolist() == ["image_id"]
        assert metadata["image_id"].tolist() == data.table["image_id"].tolist()
        metadata.loc[0, "image_id"] = "other"
        assert data.table["image_id"].iloc[0] == "blue tit/b.png"


class TestFingerprint:
    def test_a_moved_folder_is_the_same_dataset(self, birds, tmp_path, monkeypatch):
        before = LabelledImages.from_folder(birds).fingerprint()
        assert len(before) == 64
        shutil.move(birds, tmp_path / "moved")
        assert LabelledImages.from_folder(tmp_path / "moved").fingerprint() == before
        monkeypatch.chdir(tmp_path)
        assert LabelledImages.from_folder("moved").fingerprint() == before

    def test_whole_paths_under_a_root_given_in_short_are_the_same_dataset(self, birds, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        data = csv_of(tmp_path, f"path,label\n{birds / 'loose.png'},b\n", root=birds.relative_to(tmp_path))
        assert not data.root.is_absolute()
        # A study keeps the table and the absolute root.
        assert LabelledImages(data.table.copy(), data.root.absolute()).fingerprint() == data.fingerprint()

    def test_everything_it_stands_for_changes_it(self, birds, tmp_path):
        text = "path,label,x0,y0,x1,y1\nwren/b.png,a,1,2,3,4\nloose.png,b,,,,\n"
        same = csv_of(tmp_path, text, root=birds).fingerprint()
        assert csv_of(tmp_path, text, root=birds).fingerprint() == same
        changed = [
            text.replace("wren/b", "blue tit/b"),
            text.replace(",a,", ",b,"),
            text.replace("1,2,3,4", "1,2,3,5"),
            text.replace("loose.png,b,,,,\n", ""),
            text.replace("loose.png", "no.png"),
        ]
        others = [csv_of(tmp_path, other, root=birds).fingerprint() for other in changed]
        save(birds / "loose.png", size=(99, 99))
        others.append(csv_of(tmp_path, text, root=birds).fingerprint())
        assert len({same, *others}) == 1 + len(others)

    def test_a_subset_is_another_dataset(self, birds):
        data = LabelledImages.from_folder(birds)
        assert data.subset(range(4)).fingerprint() == data.fingerprint()
        assert data.subset(range(3)).fingerprint() != data.fingerprint()


def test_it_can_be_sent_to_another_process(birds):
    data = LabelledImages.from_folder(birds)
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint() == data.fingerprint()
    assert copy.classes == data.classes
