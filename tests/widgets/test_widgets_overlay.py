"""MaskOverlay without a browser: what it sends, and what it leaves behind in a saved notebook."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.base import Masks

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'fidokit[widgets]'")

import ipywidgets

from fidokit.widgets import MaskOverlay, MissingExtra
from fidokit.widgets.overlay import layer_values, named_masks
from fidokit.widgets.pixels import LONGEST, mask_layer, opening, photograph_of, sent_photograph
from fidokit.widgets.static_form import BUNDLES

HARM = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def closed():
    """No widget is left for the interpreter's end."""
    yield
    ipywidgets.Widget.close_all()


MASK = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


def picture(width=60, height=40):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def make(**options):
    return MaskOverlay(picture(), {"SSR": MASK, "SDR": 1 - MASK}, **options)


def masks_of(image_ids, method="fido", kinds=("ssr", "sdr"), seed=0):
    n = len(image_ids)
    generator = torch.Generator().manual_seed(seed)
    nothing = torch.zeros(n)
    return Masks(
        method=method,
        image_ids=list(image_ids),
        kinds={kind: torch.rand(n, 5, 5, generator=generator) for kind in kinds},
        size=(20, 20),
        target=["a"] * n,
        against=[None] * n,
        evaluations=torch.ones(n, dtype=torch.int64),
        seconds=nothing,
        converged=nothing.bool(),
        finished=nothing.bool(),
        score_full=nothing,
    )


class Wire:
    """A comm that notes its messages."""

    comm_id = "wire"

    def __init__(self):
        self.messages = []

    def send(self, data=None, metadata=None, buffers=None):
        self.messages.append((data, buffers))

    def on_msg(self, _callback):
        pass

    def close(self, *_arguments, **_options):
        pass


@pytest.fixture
def wire():
    return Wire()


class TestBytes:
    def test_a_mask_is_its_bytes(self):
        layer = mask_layer("m", np.array([[0, 0.5, 1], [0.25, np.nan, 1.0004]]))
        assert {key: layer[key] for key in ("name", "height", "width")} == {"name": "m", "height": 2, "width": 3}
        assert list(layer["data"]) == [0, 128, 255, 64, 0, 255]
        np.testing.assert_allclose(layer_values(layer), [[0, 0.5, 1], [0.25, 0, 1]], atol=0.5 / 255 + 1e-6)

    def test_a_tensor_too(self):
        assert mask_layer("m", torch.ones(1, 2, dtype=torch.float16, requires_grad=True))["data"] == b"\xff\xff"

    @pytest.mark.parametrize("mask", [np.zeros(3), np.zeros((1, 3, 3)), np.zeros((0, 3)), np.full((2, 2), 1.5)])
    def test_what_is_no_mask(self, mask):
        with pytest.raises(SettingsError, match=r"a mask (has the shape|is in \[0, 1\])"):
            mask_layer("m", mask)

    def test_a_small_photograph_is_sent_without_loss_and_a_large_one_small(self):
        sent = sent_photograph(picture())
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent["data"]))), np.asarray(picture()))
        assert (sent["width"], sent["height"], sent["type"]) == (60, 40, "image/png")
        assert sent["window"] == [0, 0, 1, 1]
        large = sent_photograph(picture(3000, 1500))
        assert Image.open(io.BytesIO(large["data"])).size == (LONGEST, LONGEST // 2)
        assert (large["width"], large["height"], large["type"]) == (3000, 1500, "image/jpeg")

    def test_the_window_in_shares(self):
        geometry = Preprocessing(size=(20, 20)).geometry(60, 40)
        assert sent_photograph(picture(), geometry)["window"] == pytest.approx([1 / 6, 0, 5 / 6, 1])

    def test_images_of_all_kinds_are_one_photograph(self, tmp_path):
        whole = np.asarray(picture())
        picture().save(tmp_path / "p.png")
        tensor = torch.from_numpy(whole.copy()).permute(2, 0, 1)
        for image in (picture(), tmp_path / "p.png", str(tmp_path / "p.png"), whole, whole / 255, tensor, tensor / 255):
            assert np.array_equal(np.asarray(photograph_of(image)), whole)
        assert photograph_of(whole[..., 0]).mode == "RGB"

    @pytest.mark.parametrize(
        "image", [np.zeros((4, 4, 2)), np.zeros(4), np.full((4, 4), -1.0), torch.zeros(1, 3, 4, 4)]
    )
    def test_what_is_no_image(self, image):
        with pytest.raises(ImageError):
            photograph_of(image)


class TestTraits:
    def test_what_the_browser_gets(self):
        overlay = make(opacity=0.5, compare="SDR", colours="cividis")
        state = overlay.get_state()
        assert [layer["name"] for layer in state["_layers"]] == ["SSR", "SDR"] == overlay.names
        assert (state["layer"], state["compare"], state["opacity"]) == ("SSR", "SDR", 0.5)
        assert all(len(table) == 768 for table in state["_tables"].values())
        assert {"viridis", "cividis", "magma"} <= set(state["_tables"])

    def test_options_that_cannot_be_used(self):
        wrong = [
            ({"opacity": 2}, "opacity"),
            ({"colours": "jet"}, "colours"),
            ({"layer": "X"}, "no mask 'X'"),
            ({"compare": "X"}, "no mask 'X'"),
            ({"colour": 1}, "no option 'colour'"),
        ]
        for options, words in wrong:
            with pytest.raises(SettingsError, match=words):
                make(**options)
        overlay = make()
        with pytest.raises(SettingsError, match="there are SSR, SDR"):
            overlay.layer = "X"

    def test_a_geometry_of_another_photograph(self):
        with pytest.raises(SettingsError, match="100 x 80"):
            make(geometry=Preprocessing().geometry(100, 80))

    def test_an_update_sends_only_its_bytes(self, wire):
        overlay = make()
        overlay.comm = wire
        overlay.update("SDR", np.full((5, 2), 0.2))
        [(data, buffers)] = wire.messages
        assert data == {
            "method": "custom",
            "content": {"kind": "mask", "layer": 1, "about": {"height": 5, "width": 2, "view": [0.5, 0.5, 1]}},
        }
        assert buffers == [bytes([51] * 10)]
        # A view that opens later starts with the new values.
        assert overlay.get_state()["_layers"][1]["data"] == buffers[0]
        assert layer_values(overlay.get_state()["_layers"][0]) == pytest.approx(MASK, abs=1 / 255)

    def test_an_update_can_bring_a_further_mask(self):
        overlay = MaskOverlay(picture(), {})
        overlay.update("new", MASK)
        assert (overlay.names, overlay.layer) == (["new"], "new")
        with pytest.raises(SettingsError):
            overlay.update("new", np.zeros(3))


class TestFromMasks:
    def test_kinds_of_one_method_and_of_several(self):
        fido, cam = masks_of(["x", "y"]), masks_of(["y", "x"], "grad-cam", ("attribution",), seed=1)
        alone = MaskOverlay.from_masks(fido, 1, picture())
        assert alone.names == ["SSR", "SDR"]
        assert layer_values(alone._layers[0]) == pytest.approx(fido.ssr[1].numpy(), abs=1 / 255)
        both = MaskOverlay.from_masks([fido, cam], "y", picture(), opacity=0.2)
        assert both.names == ["fido SSR", "fido SDR", "grad-cam"]
        assert layer_values(both._layers[2]) == pytest.approx(cam.attribution[0].numpy(), abs=1 / 255)
        assert both.opacity == 0.2
        assert list(named_masks([fido], [0], ["sdr"])) == ["SDR"]

    def test_over_the_photograph_they_were_computed_on(self, tmp_path):
        (tmp_path / "a").mkdir()
        picture().save(tmp_path / "a" / "1.png")
        data = LabelledImages.from_folder(tmp_path)
        preprocessing = Preprocessing(size=(20, 20))
        overlay = MaskOverlay.from_masks(masks_of(["a/1.png"]), 0, data, preprocessing=preprocessing)
        assert overlay._photograph["window"] == pytest.approx([1 / 6, 0, 5 / 6, 1])
        with pytest.raises(SettingsError, match="preprocessing"):
            MaskOverlay.from_masks(masks_of(["a/1.png"]), 0, data)
        with pytest.raises(SettingsError, match="not among these photographs"):
            MaskOverlay.from_masks(masks_of(["b"]), 0, data, preprocessing=preprocessing)
        known = masks_of(["a/1.png"])
        known.images, known.preprocessing = data, preprocessing
        assert MaskOverlay.from_masks(known)._photograph == overlay._photograph
        with pytest.raises(SettingsError, match="do not know their photographs"):
            MaskOverlay.from_masks(masks_of(["a/1.png"]))

    def test_what_is_not_there(self):
        with pytest.raises(SettingsError, match="there is no image 'z'"):
            MaskOverlay.from_masks(masks_of(["x"]), "z", picture())
        with pytest.raises(SettingsError, match="there is no image 3"):
            MaskOverlay.from_masks(masks_of(["x"]), 3, picture())
        with pytest.raises(SettingsError, match="kinds joint; there are ssr, sdr"):
            MaskOverlay.from_masks(masks_of(["x"]), 0, picture(), kinds=["joint"])
        with pytest.raises(SettingsError, match="of one image"):
            MaskOverlay.from_masks([masks_of(["x", "y"]), masks_of(["y", "x"])], 0, picture())


class TestStaticForm:
    def test_the_bundle_has_a_view_a_picture_and_words(self):
        overlay = MaskOverlay(picture(600, 400), {HARM: MASK, "SDR": 1 - MASK})
        bundle, _ = overlay._repr_mimebundle_()
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == overlay.model_id
        shown = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        assert shown.width > 3 * 180
        assert len(bundle["image/png"]) + len(bundle["text/html"]) < 400_000
        assert HARM not in bundle["text/html"]
        assert "&lt;img src=x" in bundle["text/html"]
        assert overlay._static_class in bundle["text/html"]

    def test_the_masks_are_in_the_picture(self):
        grey = Image.new("RGB", (60, 40), (128, 128, 128))
        empty, full = (
            np.asarray(MaskOverlay(grey, {"m": np.full((2, 2), value)})._static_picture(), np.float32)
            for value in (0, 1)
        )
        width = empty.shape[1] // 2
        np.testing.assert_array_equal(empty[:, :width], full[:, :width])
        assert np.abs(empty[40:-20, width + 20 : -20] - full[40:-20, width + 20 : -20]).mean() > 30

    def test_shown_and_refreshed(self, monkeypatch):
        from IPython import display

        shown, updated = [], []
        monkeypatch.setattr(display, "display", lambda bundle, **options: shown.append((bundle, options)))
        monkeypatch.setattr(display, "update_display", lambda bundle, **options: updated.append((bundle, options)))
        overlay = make()
        overlay._refresh_static()
        assert updated == []
        overlay._ipython_display_()
        (static, named), (view, _) = shown
        assert {"text/html", "image/png"} < set(static)
        assert view == {
            "text/plain": "",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": overlay.model_id,
            },
        }  # fmt: skip
        overlay.update("SSR", 1 - MASK)
        overlay._refresh_static()
        [(again, options)] = updated
        assert options["display_id"] == named["display_id"]
        assert again["image/png"] != static["image/png"]


def test_scripts_fetch_nothing_and_write_no_html():
    text = "".join((BUNDLES / name).read_text(encoding="utf-8") for name in ("mask_overlay.js", "mask_overlay.css"))
    html = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    network = ("http:", "https:", "import ", "import(", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket")
    for forbidden in (*html, *network):
        assert forbidden not in text


def test_without_anywidget_the_error_names_the_extra(monkeypatch):
    import sys

    import fidokit.widgets as widgets

    monkeypatch.delitem(vars(widgets), "MaskOverlay", raising=False)
    for name in ("fidokit.widgets.overlay", "fidokit.widgets.static_form"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtra, match=r"fidokit\[widgets\]"):
        _ = widgets.MaskOverlay
    with pytest.raises(AttributeError):
        _ = widgets.Nothing


class TestOpening:
    @pytest.mark.parametrize("box", [(8, 8, 10, 10), (0, 0, 1, 1), (3, 14, 13, 17), (19, 2, 20, 12)])
    def test_the_mask_is_seen_at_a_quarter_of_the_height_or_more(self, box):
        geometry = Geometry(2048, 1536, (256.0, 0.0, 1792.0, 1536.0), (224, 224))
        mask = np.zeros((20, 20), np.float32)
        mask[box[1] : box[3], box[0] : box[2]] = 1
        x, y, zoom = opening(geometry, mask)
        x0, y0, x1, y1 = geometry.mask_box(mask)
        assert (y1 - y0) / 1536 * zoom >= 0.25
        # All of it is in sight: the view is moved into the picture where it would leave it.
        share = 1 / zoom
        left, top = min(max(x - share / 2, 0), 1 - share), min(max(y - share / 2, 0), 1 - share)
        assert left - 1e-6 <= x0 / 2048
        assert x1 / 2048 <= left + share + 1e-6
        assert top - 1e-6 <= y0 / 1536
        assert y1 / 1536 <= top + share + 1e-6

    def test_a_mask_that_is_everywhere_or_nowhere_opens_on_the_whole_picture(self):
        geometry = Geometry.whole(200, 100)
        for mask in (np.ones((5, 5), np.float32), np.zeros((5, 5), np.float32)):
            assert opening(geometry, mask) == [0.5, 0.5, 1.0]
