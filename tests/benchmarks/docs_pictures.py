"""Makes the pictures of the README and of the documentation: `python tests/benchmarks/docs_pictures.py [NAME ...]`.

Each is a result as it came out, of material that comes with Python packages or with fidokit: scikit-image's
photographs, EfficientNet-Lite0, the testbed. Screenshots need Chromium, those of widgets JupyterLab too (the extra
`test`).
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lab import CHROMIUM, Lab, Tab, serving, watched
from material import report
from PIL import Image

import fidokit as fk
from fidokit import samples, testbed
from fidokit.figures.errors import contact_sheet
from fidokit.figures.masks import masks_png, panels_png

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "notebooks" / "docs" / "pictures"
#: Bytes; they are part of the repository.
MOST = 100_000


def save(picture: Image.Image | bytes, name: str, width: int = 1400) -> None:
    """As WebP, as good as the limit allows."""
    if isinstance(picture, bytes):
        picture = Image.open(io.BytesIO(picture))
    picture = picture.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.webp"
    for quality in (90, 80, 70, 60, 45):
        picture.save(path, quality=quality, method=6)
        if path.stat().st_size < MOST:
            break
    report(picture=path.name, width=picture.width, height=picture.height, bytes=path.stat().st_size, quality=quality)


def photographs(folder: Path) -> None:
    """Photographs: one whose masks pass their own test, one whose do not, and the usual methods beside FIDO."""
    classifier = samples.efficientnet_lite0()
    data = samples.photographs(folder / "photographs")
    for image_id, name in (("tripod/camera.png", "tripod"), ("tabby/chelsea.png", "cat")):
        save(masks_png(fk.explain(classifier, data.subset([image_id])), 0, height=300), name)
    tripod = data.subset(["tripod/camera.png"])
    methods = ("grad-cam", "integrated-gradients", "occlusion")
    panels = [(name, fk.explain(classifier, tripod, name).attribution[0].numpy()) for name in methods]
    fido = fk.explain(classifier, tripod, "fido")
    panels.append(("FIDO's effect", fido.effect[0].numpy()))
    save(panels_png(*fido.photograph(0), panels, height=300), "methods")


def watermark(folder: Path) -> None:
    """A wrong answer and its cause: a bird, for a classifier that learnt from watermarks and for one that did not."""
    bird = testbed.load(2, seed=5, causes={"watermark": 1.0}, folder=folder / "watermark").subset([1])
    sheets = [
        Image.open(io.BytesIO(masks_png(fk.explain(testbed.classifier(biased_by=cause), bird), 0, height=260)))
        for cause in ("watermark", None)
    ]
    both = Image.new("RGB", (sheets[0].width, sum(sheet.height for sheet in sheets)), "white")
    both.paste(sheets[0], (0, 0))
    both.paste(sheets[1], (0, sheets[0].height))
    save(both, "watermark")


def clusters(folder: Path) -> None:
    """What errors have in common: the most typical photographs of a cluster, and the page about it."""
    usual = testbed.load(240, seed=1, causes={"habitat": 0.3}, folder=folder / "habitat")
    study = fk.run_study(
        testbed.classifier(biased_by="habitat"), usual, ["grad-cam"], store=folder / "audit", progress=False
    )
    errors = fk.find_error_clusters(study)
    errors.verify(progress=False)
    first = int(errors.clusters["cluster"].iloc[0])
    save(contact_sheet(errors, first, n=12, columns=6, side=180), "cluster")
    save(screenshot(fk.write_report(study, folder / "report.html", errors=errors), "Systematic errors"), "page")


def tiny(folder: Path) -> None:
    """Small birds that were named right at the second look, and the crops around their masks."""
    from fidokit.enhance import boxes
    from fidokit.enhance.views import View, render

    data = testbed.load(60, seed=2, causes={"tiny": 1.0}, clutter=1.0, folder=folder / "tiny")
    classifier = testbed.classifier()
    study = fk.run_study(classifier, data, ["fido"], store=folder / "looked", progress=False)
    improvement = fk.classify_with_masks(study, progress=False)
    right = improvement.images[improvement.images["turned"] == "right"].head(6)
    masks = study.masks(kinds=["sdr"]).set_index("image_id")["mask"]
    place = {image_id: i for i, image_id in enumerate(data.table["image_id"])}
    sheet = Image.new("RGB", (6 * 208, 2 * 208), "white")
    for column, image_id in enumerate(right["image_id"]):
        whole, geometry = data.load(place[image_id], classifier.preprocessing)
        box = boxes.square(boxes.mask_box(masks[image_id], 0.5), 0.3, 0.1)
        crop = render(data.open(place[image_id]), geometry, [View(box)], classifier.preprocessing)[0]
        for row, pixels in enumerate((whole, crop)):
            picture = Image.fromarray((pixels.permute(1, 2, 0).numpy() * 255).astype("uint8")).resize((200, 200))
            sheet.paste(picture, (column * 208 + 4, row * 208 + 4))
    save(sheet, "tiny")


def widgets(folder: Path) -> None:
    """The widgets in JupyterLab."""
    explaining = f"""
import fidokit as fk
from fidokit import testbed
birds = testbed.load(6, seed=5, causes={{"watermark": 1.0}}, folder={str(folder / "marked")!r})
widget = fk.ExplainWidget(testbed.classifier(biased_by="watermark"), birds)
widget.image_id = birds.table["image_id"].iloc[1]
widget
"""
    comparing = f"""
from fidokit import testbed
birds = testbed.load(8, seed=3, folder={str(folder / "birds")!r})
study = fk.run_study(testbed.classifier(), birds, ["fido", "grad-cam"], store={str(folder / "study")!r})
fk.CompareWidget(study)
"""
    (folder / "lab").mkdir()
    with serving(Lab, folder / "lab") as lab, watched(Tab, lab) as tab:
        tab.page.set_viewport_size({"width": 1280, "height": 1500})
        notebook = tab.open(explaining)
        notebook.kernel("0", setup="widget.start(); widget.wait(300)")
        tab.page.wait_for_timeout(2000)
        save(top(tab.page.locator(".fidokit").first.screenshot(), 1.15), "explain_widget")
        tab.open("import fidokit as fk\n" + comparing, name="second.ipynb")
        tab.page.locator(".fidokit:visible").first.wait_for(timeout=300_000)
        tab.page.wait_for_timeout(5000)
        save(top(tab.page.locator(".fidokit:visible").first.screenshot(), 1.0), "compare_widget")


def top(picture: bytes, height: float) -> Image.Image:
    """The upper part of a picture, at most so high in its widths."""
    opened = Image.open(io.BytesIO(picture))
    return opened.crop((0, 0, opened.width, min(opened.height, round(height * opened.width))))


def screenshot(page: Path, heading: str) -> bytes:
    """An HTML page from a heading on."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(page.as_uri())
        tab.get_by_role("heading", name=heading).first.evaluate("found => found.scrollIntoView()")
        tab.wait_for_timeout(1500)
        return tab.screenshot()


MAKERS: dict[str, Callable[[Path], None]] = {
    function.__name__: function for function in (photographs, watermark, clusters, tiny, widgets)
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or MAKERS:
        with tempfile.TemporaryDirectory() as place:
            MAKERS[chosen](Path(place))
