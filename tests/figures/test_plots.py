import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.exceptions import SettingsError
from fidokit.figures.masks import (
    COLOUR_MAPS,
    colour_map,
    interval_columns,
    overlay_png,
    overlay_size,
    panels_png,
    plotly_text,
    shown_part,
    summary_figure,
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
    # A line below says what hatching means.
    assert sheet.shape == (100 + 30 + 24 + 24, 12 + 2 * 212, 3)
    middle = sheet[42 + 50]
    bare, drawn = middle[12:212], middle[224:424]
    # The window is the middle square, 50 to 150: hatched on both sides, the mask's colour in its left half.
    for panel in (bare, drawn):
        for side in (panel[:49], panel[151:]):
            assert set(np.unique(side)) == {45, 150}
    assert (bare[52:148] == 100).all()
    assert np.abs(drawn[52:70] - [252, 255, 164]).max() <= 2
    assert (drawn[130:148] == 100).all()


def panel_pixels(sheet: bytes, position: int, width: int = 100, height: int = 100) -> np.ndarray:
    left = 12 + position * (width + 12)
    return np.asarray(Image.open(io.BytesIO(sheet))).astype(int)[42 : 42 + height, left : left + width]


def test_an_outline_and_a_dimmed_surrounding_leave_the_animal_as_it_is():
    photograph, mask = Image.new("RGB", (100, 100), (100, 120, 140)), np.zeros((10, 10), np.float32)
    mask[3:7, 3:7] = 1
    panels, geometry = [("mask", mask)], Geometry.whole(100, 100)
    dimmed = panel_pixels(panels_png(photograph, geometry, panels, height=100, drawn_as="dimmed", opacity=0.5), 0)
    assert (dimmed[50, 50] == [100, 120, 140]).all()
    assert (dimmed[5, 5] == [50, 60, 70]).all()
    line = panel_pixels(panels_png(photograph, geometry, panels, height=100, drawn_as="outline"), 0)
    assert (line[50, 50] == [100, 120, 140]).all()
    assert (line[5, 5] == [100, 120, 140]).all()
    assert (line[50, 25:35] != [100, 120, 140]).any()
    with pytest.raises(SettingsError, match="drawn_as"):
        panels_png(photograph, geometry, panels, drawn_as="glow")


def test_masks_are_shown_on_a_part_which_the_bare_panel_frames():
    photograph = Image.new("RGB", (200, 200), (100, 100, 100))
    photograph.paste((200, 0, 0), (40, 40, 80, 80))
    mask, geometry = np.zeros((10, 10), np.float32), Geometry.whole(200, 200)
    mask[2:4, 2:4] = 1
    part = shown_part(geometry, mask)
    assert part == (20, 20, 100, 100)
    sheet = panels_png(
        photograph, geometry, [("bare", None), ("mask", mask)], height=100, drawn_as="outline", part=part
    )
    near = panel_pixels(sheet, 1)
    # Twice as large as in the bare panel: the red square takes half of each side.
    assert (near[50, 30:70] == [200, 0, 0]).all()
    assert (near[10] == 100).all()
    framed = panel_pixels(sheet, 0)
    assert (framed[10, 15:45] == 0).all()
    assert (framed[60:] == 100).all()
    assert shown_part(geometry, np.ones((10, 10), np.float32)) is None
    assert shown_part(geometry, np.zeros((10, 10), np.float32)) is None


def test_panels_that_step_back_are_pale():
    photograph, geometry = Image.new("RGB", (100, 100), (100, 100, 100)), Geometry.whole(100, 100)
    sheet = panels_png(photograph, geometry, [("a", None), ("b", None)], height=100, faded=[1])
    assert (panel_pixels(sheet, 0) == 100).all()
    assert abs(panel_pixels(sheet, 1) - 177).max() <= 1


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


def test_summary_figure_needs_intervals():
    with pytest.raises(SettingsError, match=r"study\.summary"):
        summary_figure(make_summary()[["method", "kind", "seconds"]])


def test_plotly_text_is_short_and_escaped():
    assert plotly_text("a<b & c") == "a&lt;b &amp; c"
    assert len(plotly_text("x" * 300)) == 48
    assert plotly_text("x" * 300, None) == "x" * 300
