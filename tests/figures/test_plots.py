import base64
import io
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageChops, ImageDraw

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.exceptions import SettingsError
from fidokit.figures.masks import (
    COLOUR_MAPS,
    Panel,
    colour_map,
    contour_path,
    contours,
    cut_out,
    interval_columns,
    overlay_png,
    overlay_size,
    panels_png,
    plotly_text,
    sheet_png,
    sheet_svg,
    shown_part,
    summary_figure,
    value_words,
)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours in 0..255."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_colour_maps_rise_in_lightness(name):
    colours = colour_map(name)
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    # Plotly interpolates between ten colours, so that the rise is even over strides, not from each to the next.
    assert (np.diff(lightness(colours.astype(float))[::16]) > 0).all()


def test_colour_map_has_the_ends_of_the_published_one():
    # Inferno of matplotlib (Smith and van der Walt 2015): #000004 to #fcffa4.
    assert colour_map("inferno")[0].tolist() == [0, 0, 4]
    assert colour_map("inferno")[-1].tolist() == [252, 255, 164]


def test_colour_map_is_shared_and_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        colour_map()[0] = 1


def test_unknown_colour_map_names_the_known_ones():
    with pytest.raises(SettingsError, match="choose one of inferno"):
        colour_map("jet")


def test_overlay_alpha_is_the_mask_and_its_colours_those_of_the_map():
    mask = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    pixels = opened(overlay_png(mask))
    np.testing.assert_allclose(pixels[..., 3] / 255, mask, atol=0.5 / 255 + 1e-6)
    expected = colour_map()[np.round(mask * 255).astype(int)].astype(int)
    assert np.abs(pixels[..., :3] - expected).max() <= 3
    assert pixels[0, 0, 3] == 0
    assert pixels[-1, -1].tolist() == [252, 255, 164, 255]


def test_overlay_alpha_rises_with_the_mask():
    alpha = opened(overlay_png(np.linspace(0, 1, 500, dtype=np.float32)[None]))[0, :, 3].astype(int)
    assert (np.diff(alpha) >= 0).all()
    assert len(np.unique(alpha)) == 64


def test_overlay_takes_any_numbers():
    pixels = opened(overlay_png([[np.nan, -3.0, 7.0, np.inf, -np.inf]]))
    assert pixels[0, :, 3].tolist() == [0, 0, 255, 255, 0]


def test_overlay_is_resized_bilinearly():
    pixels = opened(overlay_png(np.array([[0.0, 1.0]], np.float32), (3, 8)))
    assert pixels.shape == (3, 8, 4)
    # Centres of cells at 2 and 6 of 8: in between the mask rises by an eighth of the way each half pixel.
    expected = np.clip((np.arange(8) + 0.5 - 2) / 4, 0, 1)
    np.testing.assert_allclose(pixels[1, :, 3] / 255, expected, atol=1 / 126 + 1e-3)


@pytest.mark.parametrize("mask", [np.zeros(4), np.zeros((1, 2, 2)), np.zeros((0, 3))])
def test_overlay_needs_one_mask(mask):
    with pytest.raises(SettingsError, match=r"\(h, w\)"):
        overlay_png(mask)


@pytest.mark.parametrize(
    ("shape", "picture", "expected"),
    [
        ((7, 7), (400, 300), (72, 96)),
        ((20, 30), (400, 300), (90, 120)),
        ((224, 224), (300, 400), (256, 192)),
        ((7, 7), (4000, 10), (1, 96)),
    ],
)
def test_overlay_size_shows_what_the_mask_says_and_no_more(shape, picture, expected):
    assert overlay_size(np.zeros(shape), *picture) == expected


def test_panels_show_the_mask_where_the_classifier_looked():
    photograph = Image.new("RGB", (600, 300), (100, 100, 100))
    geometry = Preprocessing(size=(10, 10)).geometry(600, 300)
    mask = np.zeros((2, 2), np.float32)
    mask[:, 0] = 1
    sheet = np.asarray(
        Image.open(
            io.BytesIO(panels_png(photograph, geometry, [("bare", None), ("mask", mask)], height=100, opacity=1))
        )
    ).astype(int)
    # Below: what the hatching means.
    assert sheet.shape == (100 + 30 + 24 + 24, 12 + 2 * 212, 3)
    middle = sheet[42 + 50]
    bare, drawn = middle[12:212], middle[224:424]
    assert (bare == 100).all()
    # The window is the middle square, 50 to 150: dark on both sides, the mask's colour in its left half.
    for unseen in (drawn[:48], drawn[152:]):
        dark, hatched = (unseen == 45).all(1), (unseen == 200).all(1)
        assert (dark | hatched).all()
        assert 0 < hatched.sum() < dark.sum()
    assert np.abs(drawn[56:70] - [252, 255, 164]).max() <= 2
    assert (drawn[130:148] == 100).all()


def test_contours_are_circles_where_the_mask_is_round():
    y, x = np.mgrid[:28, :28] + 0.5
    mask = np.exp(-((x - 14) ** 2 + (y - 12) ** 2) / 40).astype(np.float32)
    geometry = Geometry(640, 480, (80, 0, 560, 480), (224, 224))
    (loop,) = contours(mask, geometry)
    points = np.array(loop)
    cell = 480 / 28
    radii = np.hypot(points[:, 0] - (80 + 14 * cell), points[:, 1] - 12 * cell) / cell
    np.testing.assert_allclose(radii, (40 * np.log(2)) ** 0.5, rtol=0.02)
    assert contour_path(mask, geometry).startswith("M")
    assert contour_path(np.zeros((7, 7)), geometry) == ""


@pytest.mark.parametrize("seed", range(3))
def test_contours_part_what_is_above_from_what_is_below(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random((9, 12), np.float32)
    loops = contours(mask, Geometry.whole(24, 18), level=0.6)
    filled = Image.new("1", (240, 180))
    for loop in loops:
        # A hole takes away what is within it.
        one = Image.new("1", filled.size)
        ImageDraw.Draw(one).polygon([(10 * x, 10 * y) for x, y in loop], fill=1)
        filled = ImageChops.logical_xor(filled, one)
    inside = np.asarray(filled)[10::20, 10::20]
    clear = np.abs(mask - 0.6 * mask.max()) > 0.15
    smooth = np.asarray(Image.fromarray(mask).resize((24, 18), Image.Resampling.BILINEAR))
    expected = mask >= 0.6 * smooth.max()
    assert (inside == expected)[clear].mean() > 0.97


@pytest.mark.parametrize("coloured", [True, False])
def test_sheets_are_the_same_as_png_and_as_svg(coloured):
    photograph = Image.new("RGB", (300, 200), (120, 80, 60))
    geometry = Preprocessing(size=(10, 10)).geometry(300, 200)
    mask = np.zeros((4, 4), np.float32)
    mask[1:3, 1:3] = 1
    panels = [Panel("<b> & name", photograph, geometry), Panel("mask", photograph, geometry, mask, coloured=coloured)]
    png, svg = Image.open(io.BytesIO(sheet_png(panels, height=100))), sheet_svg(panels, height=100)
    root = ElementTree.fromstring(svg)
    assert (float(root.get("width")), float(root.get("height"))) == png.size
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["<b> & name", "mask", "Hatched: not seen by the classifier."]
    sources = [element.get("href") for element in root.iter("{http://www.w3.org/2000/svg}image")]
    assert [source[:16] for source in sources] == ["data:image/jpeg;", "data:image/jpeg;", "data:image/png;b"]
    assert sum(bool(p.get("vector-effect")) for p in root.iter("{http://www.w3.org/2000/svg}path")) == 2


def test_panels_of_a_panorama_stay_small():
    geometry = Geometry(5000, 10, (0, 0, 5000, 10), (8, 8))
    sheet = Image.open(io.BytesIO(panels_png(Image.new("RGB", (5000, 10)), geometry, [("x" * 500, None)], height=50)))
    assert sheet.width <= 24 + 500
    assert sheet.height <= 50 + 54


def make_summary() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": ["fido", "<b>$x$</b>"],
            "kind": ["ssr", "attribution"],
            "n": [3, 3],
            "score_kept": [0.8, 0.5],
            "score_kept_low": [0.7, 0.2],
            "score_kept_high": [0.85, 0.6],
            "area": [0.1, 0.3],
            "area_low": [0.05, 0.25],
            "area_high": [0.2, 0.5],
            "seconds": [1.0, 2.0],
        }
    )


def test_only_columns_with_both_ends_have_an_interval():
    assert interval_columns(make_summary()) == ["score_kept", "area"]
    assert interval_columns(make_summary().drop(columns="area_low")) == ["score_kept"]


def test_summary_figure_shows_means_and_intervals():
    figure = summary_figure(make_summary())
    kept, area = figure.data
    assert list(kept.x) == [0.8, 0.5]
    assert list(kept.y) == [0, 1]
    assert list(area.x) == [0.1, 0.3]
    np.testing.assert_allclose(np.asarray(kept.x) + kept.error_x.array, [0.85, 0.6])
    np.testing.assert_allclose(np.asarray(kept.x) - kept.error_x.arrayminus, [0.7, 0.2])
    assert [annotation.text for annotation in figure.layout.annotations] == [
        "score kept<br><sub>higher is better</sub>",
        "area",
    ]
    assert figure.layout.yaxis.ticktext[0] == "fido · SSR"


def test_summary_figure_shows_names_literally():
    text = summary_figure(make_summary()).to_json()
    assert "<b>" not in text.replace("\\u003c", "<")
    assert "$x$" not in text
    figure = summary_figure(make_summary())
    assert figure.layout.yaxis.ticktext[1] == "&lt;b&gt;&#36;x&#36;&lt;/b&gt; · attribution"
    assert figure.data[0].customdata[1][0] == "&lt;b&gt;&#36;x&#36;&lt;/b&gt; · attribution"


def test_summary_figure_survives_missing_figures():
    summary = make_summary()
    summary.loc[0, ["score_kept", "score_kept_low", "score_kept_high"]] = np.nan
    assert np.isnan(summary_figure(summary).data[0].x[0])


def test_figures_leave_a_picture_in_a_notebook(monkeypatch):
    from plotly import io

    shown, drawn = [], []
    notebook = SimpleNamespace(display=lambda bundle, raw: shown.append(bundle))
    monkeypatch.setattr("plotly.io._renderers.ipython_display", notebook)
    monkeypatch.setattr("plotly.io._renderers.display_jupyter_version_warnings", lambda: None)
    monkeypatch.setattr("fidokit.figures.notebook_form.find_spec", lambda name: name == "kaleido")
    monkeypatch.setattr(io.renderers, "default", "plotly_mimetype")

    def to_image(figure, format, **options):
        drawn.append((figure["layout"]["height"], format))
        return b"a picture"

    # Without kaleido's browser, which tests of the notebooks start.
    monkeypatch.setattr("plotly.io._base_renderers.to_image", to_image)
    figure = summary_figure(make_summary())
    figure._ipython_display_()
    assert drawn == [(figure.layout.height, "png")]
    assert set(shown[0]) == {"application/vnd.plotly.v1+json", "image/png"}
    assert base64.b64decode(shown[0]["image/png"]) == b"a picture"

    def no_browser(figure, **options):
        raise RuntimeError("Kaleido requires Google Chrome to be installed.")

    monkeypatch.setattr("plotly.io._base_renderers.to_image", no_browser)
    figure._ipython_display_()
    assert [set(bundle) for bundle in shown[1:]] == [{"application/vnd.plotly.v1+json"}]


def test_summary_figure_needs_intervals():
    with pytest.raises(SettingsError, match=r"study\.summary"):
        summary_figure(make_summary()[["method", "kind", "seconds"]])


def test_plotly_text_is_short_and_escaped():
    assert plotly_text("a<b & c") == "a&lt;b &amp; c"
    assert len(plotly_text("x" * 300)) == 48
    assert plotly_text("x" * 300, None) == "x" * 300


def test_the_part_that_a_mask_is_shown_on():
    photograph, geometry = Image.new("RGB", (100, 100), (100, 100, 100)), Geometry.whole(200, 200)
    mask = np.zeros((10, 10), np.float32)
    mask[2:4, 2:4] = 1
    part = shown_part(geometry, mask)
    assert part == (20, 20, 100, 100)
    # The picture may be of another scale than the photograph.
    near, its_geometry = cut_out(photograph, geometry, part)
    assert near.size == (40, 40)
    assert (its_geometry.width, its_geometry.window) == (80, (-20, -20, 180, 180))
    # Of several masks no region is cut off.
    other = np.zeros((10, 10), np.float32)
    other[5, 5] = 1
    x0, y0, x1, y1 = shown_part(geometry, mask, other)
    a0, b0, a1, b1 = geometry.mask_box(other)
    assert max(x0, y0) <= 20
    assert x0 <= a0 < a1 <= x1
    assert y0 <= b0 < b1 <= y1
    assert shown_part(geometry, np.ones((10, 10), np.float32)) is None
    assert shown_part(geometry, np.zeros((10, 10), np.float32)) is None


@pytest.mark.parametrize(
    ("explained", "against", "words"),
    [
        ("logit", None, None),
        ("log-odds", "jay", None),
        ("log-odds", None, "log-odds"),
        ("contrast", None, "contrast"),
        (None, None, None),
    ],
)
def test_the_explained_value_is_said_where_it_is_an_unusual_one(explained, against, words):
    assert value_words(explained, against) == words
