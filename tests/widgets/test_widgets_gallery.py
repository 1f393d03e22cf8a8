"""The photographs to choose from, and uploads from strangers."""

import io

import pytest
from PIL import Image
from study_cases import make_data

from fidokit.data.geometry import Preprocessing
from fidokit.exceptions import ImageError, SettingsError
from fidokit.widgets.gallery import THUMBNAIL, Gallery


def content(kind="PNG", size=(300, 200)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def test_listing_and_one_of_it(data):
    gallery = Gallery(data)
    assert gallery.listing()[0] == ["blue/002.png", "blue"]
    assert len(gallery.listing()) == len(data)
    assert gallery.one("red/000.png").table["image_id"].tolist() == ["red/000.png"]
    photograph, geometry = gallery.open("red/000.png", Preprocessing(size=(8, 8)))
    assert photograph.size == (16, 16) == (geometry.width, geometry.height)
    with pytest.raises(SettingsError, match="no photograph 'x'"):
        gallery.one("x")


def test_thumbnails(data):
    gallery = Gallery(data)
    name = gallery.add("large.jpg", content("JPEG"))
    assert Image.open(io.BytesIO(gallery.thumbnail(name))).size == (THUMBNAIL, THUMBNAIL * 2 // 3)
    assert gallery.thumbnail("nothing") == b""


def test_uploads_have_their_names_and_files_of_their_own(tmp_path):
    gallery = Gallery(None)
    names = [
        gallery.add(name, content()) for name in ("a.png", "a.png", "../../b.png", "C:\\c.png", "<img src=x>.png", "")
    ]
    assert names == ["a.png", "a.png (2)", "b.png", "c.png", "<img src=x>.png", "upload"]
    assert [row[0] for row in gallery.listing()] == names
    places = [one.table["path"].iloc[0] for one in gallery.uploads.values()]
    assert len(set(places)) == len(names)
    assert all(place.startswith(gallery._folder.name) and ".." not in place for place in places)
    for name in names:
        assert gallery.open(name, Preprocessing())[0].size == (300, 200)
        assert gallery.one(name).table["image_id"].tolist() == [name]


@pytest.mark.parametrize("spoilt", [b"", b"no image at all", content()[:60]])
def test_what_is_no_photograph_is_refused_by_its_own_name(spoilt, data):
    gallery = Gallery(data)
    with pytest.raises(ImageError, match=r"^bad\.png") as caught:
        gallery.add("bad.png", spoilt)
    assert gallery._folder.name not in str(caught.value)
    assert "bad.png" not in gallery
    assert len(gallery.listing()) == len(data)


def test_a_file_that_is_too_large(monkeypatch):
    monkeypatch.setattr("fidokit.widgets.gallery.MOST_BYTES", 100)
    with pytest.raises(ImageError, match="at most"):
        Gallery(None).add("film.mov", bytes(101))


def test_the_same_name_as_a_photograph_of_the_dataset(tmp_path):
    data = make_data(tmp_path, 3)
    gallery = Gallery(data)
    name = data.table["image_id"].iloc[0]
    gallery._positions["x.png"] = gallery._positions.pop(name)
    assert gallery.add("x.png", content()) == "x.png (2)"
