"""What a folder holds beside its photographs is left out and counted."""

import pytest
from PIL import Image
from test_readers_camtrap_dp import medium, package, seen

from fidokit.cli import main
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")


def save(path, format=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), "red").save(path, format, **options)


@pytest.fixture
def foxes(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        save(tmp_path / "fox" / name)
    return tmp_path


class TestFolders:
    @pytest.mark.parametrize(
        ("folder", "file"),
        [
            ("fox/@eaDir", "a.jpg/SYNOPHOTO_THUMB_XL.jpg"),
            ("@eaDir", "fox/SYNOPHOTO_THUMB_M.jpg"),
            ("__MACOSX", "fox/a.jpg"),
            ("fox/.picasaoriginals", "a.jpg"),
            ("fox/.thumbnails", "a.jpg"),
            ("fox/.@__thumb", "a.jpg"),
            ("fox/thumbs", "a.jpg"),
            ("Thumbnails", "a.jpg"),
            ("fox/_thumb_200", "a.jpg"),
            ("@Recycle", "a.jpg"),
            ("#recycle", "fox/a.jpg"),
            ("$RECYCLE.BIN", "S-1-5-21/$R1.jpg"),
            ("System Volume Information", "a.jpg"),
            ("lost+found", "a.jpg"),
            ("Catalog Previews.lrdata", "0/a.jpg"),
            ("#snapshot", "daily/fox/a.jpg"),
        ],
    )
    def test_of_thumbnails_and_of_systems(self, foxes, folder, file):
        save(foxes / folder / file)
        name = folder.split("/")[-1]
        with pytest.warns(RuntimeWarning) as caught:
            data = LabelledImages.from_folder(foxes)
        assert f"left out: 1 in {name}" in str(caught[0].message)
        assert caught[0].filename == __file__
        assert data.table["image_id"].tolist() == ["fox/a.jpg", "fox/b.jpg"]
        assert data.classes == ["fox"]
        assert data.left_out == {f"in {name}": 1}
        assert data.subset([0]).left_out == data.left_out

    @NO_WARNING
    def test_classes_that_are_called_alike(self, foxes):
        for name in ("macosx", "recycle", "Recycled paper", "snapshot", "eaDir", "lrdata", "lost and found"):
            save(foxes / name / "c.jpg")
        assert len(LabelledImages.from_folder(foxes).classes) == 8


class TestEndings:
    def test_are_counted(self, foxes, capsys):
        names = ["a.heic", "b.HEIC", "c.cr2", "d.NEF", "e.dng", "f.mp4", "notes.txt", "README", "._a.jpg", "Thumbs.db"]
        for name in names:
            (foxes / "fox" / name).write_bytes(b"x")
        for name in ("x", "y", "z"):
            save(foxes / "fox" / "@eaDir" / name / "a.jpg")
        files = "2 .heic, 1 .cr2, 1 .db, 1 .dng, 1 .mp4, 1 .nef, 1 .txt, 1 hidden, 1 without an ending"
        expected = f"left out: {files}, 3 in @eaDir"
        with pytest.warns(RuntimeWarning) as caught:
            data = LabelledImages.from_folder(foxes)
        assert str(caught[0].message) == f"{foxes}: {expected}"
        assert data.skipped == 10
        assert "10 passed over by the reader (2 .heic, 1 .cr2" in data._repr_html_()
        assert main(["study", str(foxes), "--model", "no", "--methods", "grad-cam"]) != 0
        assert f"fidokit: {foxes}: {expected}" in capsys.readouterr().err

    @NO_WARNING
    @pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", ".DS_Store", "._a.jpg", ".nomedia"])
    def test_what_systems_write_by_themselves_is_counted_and_not_told(self, foxes, name):
        (foxes / "fox" / name).write_bytes(b"x")
        data = LabelledImages.from_folder(foxes)
        assert sum(data.left_out.values()) == data.skipped == 1

    def test_of_a_folder_without_photographs(self, tmp_path):
        (tmp_path / "fox").mkdir()
        for name in ("a.heic", "b.heic", "c.cr3"):
            (tmp_path / "fox" / name).write_bytes(b"x")
        with pytest.raises(SettingsError, match=r"no images \(3 other files\): 2 \.heic, 1 \.cr3; expected"):
            LabelledImages.from_folder(tmp_path)

    @NO_WARNING
    @pytest.mark.parametrize("name", ["c.mpo", "c.MPO", "c.jpg"])
    def test_both_pictures_of_a_stereo_camera_are_one_photograph(self, foxes, name):
        other = Image.new("RGB", (12, 8), "blue")
        save(foxes / "fox" / name, "MPO", save_all=True, append_images=[other])
        data = LabelledImages.from_folder(foxes)
        assert len(data) == 3
        red, _, blue = data.open(2).getpixel((3, 3))
        assert red > 200 > 50 > blue

    def test_of_a_camtrap_dp(self, tmp_path):
        media = medium("m0") + "".join(
            medium(f"v{i}", file=f"media/v{i}{end}", kind=kind)
            for i, (end, kind) in enumerate([(".mp4", "video/mp4"), (".MP4", ""), (".heic", ""), ("", "audio/x")])
        )
        with pytest.warns(RuntimeWarning) as caught:
            data = LabelledImages.from_camtrap_dp(package(tmp_path, media, seen("o1", "m0", name="a")))
        assert "4 media are no photographs and were left out (2 .mp4, 1 .heic, 1 without an ending) (first" in str(
            caught[0].message
        )
        assert data.skipped == 4


class TestUpperFolders:
    @pytest.mark.parametrize(
        ("files", "said"),
        [
            (
                ["train/fox/a.jpg", "train/deer/b.jpg", "val/fox/c.jpg"],
                r"the classes are the folders train, val, which sounds like parts of a dataset; pass train itself if "
                r"the classes are the folders in it \(deer, fox, ...\)",
            ),
            (["Test/fox/a.jpg", "Training/deer/b.jpg"], "the folders Test, Training, which sounds"),
            (["images/fox/a.jpg", "images/deer/b.jpg"], "they lie in one folder, images; pass images itself"),
            (["Aves/Parus/a.jpg", "Aves/Turdus/merula/b.jpg"], r"one folder, Aves; .*\(Parus, Turdus, ...\)"),
        ],
    )
    def test_classes_that_are_none_are_said(self, tmp_path, files, said):
        for file in files:
            save(tmp_path / file)
        with pytest.warns(RuntimeWarning, match=said):
            LabelledImages.from_folder(tmp_path)

    @NO_WARNING
    @pytest.mark.parametrize(
        "files",
        [
            ["fox/a.jpg", "train/b.jpg"],
            ["fox/x/a.jpg", "fox/y/b.jpg", "deer/x/c.jpg"],
            ["fox/a.jpg", "fox/x/b.jpg", "fox/y/b.jpg"],
            ["train/a.jpg", "tram/b.jpg"],
            ["fox/2020/a.jpg", "fox/2020/b.jpg"],
        ],
    )
    def test_classes_stay_classes_without_a_word(self, tmp_path, files):
        for file in files:
            save(tmp_path / file)
        assert len(LabelledImages.from_folder(tmp_path)) == len(files)
