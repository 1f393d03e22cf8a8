"""The widgets in JupyterLab under chromium without a GPU; JSON lines.

Parts: ``frames``: frames a second while the opacity slider of a 1024 x 1024 photograph is dragged, and how long a frame
takes to draw; ``live``: mask updates a second that reach the browser while a mask is optimised with the quality
settings, and the share of its rate that the optimiser keeps with a display; ``stop``: seconds until Stop takes effect;
``map``: from the end of a drag over a map of 20,000 images until the browser shows the selection.

Run: ``python tests/benchmarks/widgets.py frames live stop map``; ``live`` takes some minutes on two cores. Nothing else
may compute meanwhile: the browser draws on the same cores.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from lab import CHROMIUM, Lab, Tab
from material import report

FRAMES = """
import numpy as np
import torch
from fidokit.methods.base import resize_masks
from fidokit.widgets import MaskOverlay
rng = np.random.default_rng(0)
image = rng.integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
coarse = torch.from_numpy(rng.random((4, 7, 7)))
masks = dict(zip(("SSR", "SDR", "joint", "grad-cam"), resize_masks(coarse, (28, 28))))
MaskOverlay(image, masks, compare="SDR", outline=True)
"""
#: Drags the slider as fast as frames come; frames that drew nothing do not count.
DRAG = """seconds => new Promise((done) => {
    const slider = document.querySelector(".fk-slider input");
    const canvas = document.querySelector(".fk-canvas");
    const context = canvas.getContext("2d");
    let drawn = 0, opacity = null;
    const original = context.drawImage.bind(context);
    context.drawImage = (...given) => {
        drawn += context.globalAlpha !== 1 && context.globalAlpha !== opacity;
        if (context.globalAlpha !== 1) opacity = context.globalAlpha;
        original(...given);
    };
    const start = performance.now();
    const times = [];
    const turn = (now) => {
        times.push(now);
        slider.value = 50 + 49 * Math.sin((now - start) / 300);
        slider.dispatchEvent(new Event("input", {bubbles: true}));
        if (now - start < 1000 * seconds) return requestAnimationFrame(turn);
        delete context.drawImage;
        const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
        done({drawn, seconds: (now - start) / 1000, worst: gaps[Math.floor(0.99 * gaps.length)], size: canvas.width});
    };
    requestAnimationFrame(turn);
})"""


@contextmanager
def opened() -> Iterator[Tab]:
    """A tab with JupyterLab in it."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        lab = Lab(Path(folder))
        try:
            browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            yield Tab(browser, lab)
            browser.close()
        finally:
            lab.stop()


def processor_seconds(tab: Tab) -> float:
    """Processor time that chromium has taken so far, in all its processes: it does not depend on what else runs."""
    own = [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    return sum(sum(child.cpu_times()[:2]) for child in own)


def frames() -> None:
    with opened() as tab:
        tab.open(FRAMES)
        tab.page.wait_for_selector(".fk-layer canvas")
        tab.page.wait_for_timeout(2000)
        tab.page.locator(".fk-canvas").scroll_into_view_if_needed()
        for _ in range(3):
            before = processor_seconds(tab)
            seen = tab.page.evaluate(DRAG, 4)
            spent = processor_seconds(tab) - before
            report(
                benchmark="widgets",
                part="frames",
                frames_per_second=seen["drawn"] / seen["seconds"],
                gap_ms_99_percent=seen["worst"],
                processor_ms_per_frame=1000 * spent / seen["drawn"],
                canvas=seen["size"],
                processor=platform.processor() or platform.machine(),
            )


LIVE = """
import tempfile
import fidokit as fk
from fidokit import samples
from fidokit.widgets import ExplainWidget
data = samples.photographs(tempfile.mkdtemp())
classifier = samples.efficientnet_lite0()
settings = fk.FidoSettings.quality(tolerance=0.0)
def rate(masks):
    return float(masks.evaluations[0]) / float(masks.seconds[0])
def without():
    with classifier.session():
        return rate(fk.explain(classifier, data.subset([2]), settings=settings))
widget = ExplainWidget(classifier, data, settings=settings)
widget.image_id = data.table["image_id"][2]
widget
"""
WATCH = """() => {
    window.updates = [];
    window.watching?.disconnect();
    window.watching = new MutationObserver(() => window.updates.push(performance.now()));
    window.watching.observe(document.querySelector(".fk-figures dd"), {childList: true});
}"""
STATE = "state => document.querySelector('.fk-state').textContent.startsWith(state)"


def live(runs: int = 4) -> None:
    with opened() as tab:
        notebook = tab.open(LIVE)
        page = tab.page
        page.wait_for_selector(".fk-canvas")
        notebook.kernel("without()")
        for _ in range(runs):
            alone = notebook.kernel("without()")
            notebook.kernel("0", setup="widget.state = 'ready'")
            page.evaluate(WATCH)
            page.get_by_role("button", name="Start", exact=True).click()
            page.wait_for_function(STATE, arg="Done", timeout=600_000)
            times = page.evaluate("window.updates")
            shown = notebook.kernel("rate(widget.result)")
            report(
                benchmark="widgets",
                part="live",
                updates_per_second=1000 * (len(times) - 1) / (times[-1] - times[0]),
                evaluations_per_second=shown,
                evaluations_per_second_without=alone,
                share=shown / alone,
                processor=platform.processor() or platform.machine(),
            )


def stop(runs: int = 8) -> None:
    with opened() as tab:
        notebook = tab.open(LIVE)
        page = tab.page
        page.wait_for_selector(".fk-canvas")
        notebook.kernel("0", setup="widget.settings = fk.FidoSettings.quality(steps=10_000)")
        for number in range(runs):
            busy = number % 2 == 1
            notebook.kernel("0", setup="widget.state = 'ready'; widget.start()")
            page.wait_for_function("document.querySelectorAll('.fk-layer').length === 5", timeout=600_000)
            if busy:
                run = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute"
                page.evaluate(f"() => {{ {run}({{code: 'import time; time.sleep(5)'}}); }}")
            page.wait_for_timeout(1000 + 100 * number)
            began = time.monotonic()
            page.get_by_role("button", name="Stop").click()
            page.wait_for_function(STATE, arg="Stopped", timeout=60_000)
            seconds = time.monotonic() - began
            kept = notebook.kernel("not bool(widget.result.finished[0])")
            report(benchmark="widgets", part="stop", seconds=seconds, mask_kept=kept, another_cell_ran=busy)


MAP = """
import tempfile
from pathlib import Path
from errors_cases import ManyErrors, drawn_errors
from fidokit.widgets import ErrorWidget
errors = ManyErrors(drawn_errors(Path(tempfile.mkdtemp())), 112)
widget = ErrorWidget(errors)
widget
"""
#: Milliseconds from the release of the pointer until the frame after the map was drawn anew has been made.
SHOWN = """() => {
    const map = document.querySelector(".fk-map");
    window.shown = new Promise((done) => map.addEventListener("pointerup", (event) => {
        const start = event.timeStamp;
        requestAnimationFrame(() => { const channel = new MessageChannel();
            channel.port1.onmessage = () => done(performance.now() - start);
            channel.port2.postMessage(0); });
    }, {once: true}));
}"""


def map_(runs: int = 20) -> None:
    with opened() as tab:
        notebook = tab.open(MAP)
        page = tab.page
        page.wait_for_selector(".fk-map")
        page.wait_for_timeout(2000)
        page.locator(".fk-map").scroll_into_view_if_needed()
        box = page.locator(".fk-map").bounding_box()
        for tool in ("Box", "Lasso"):
            page.get_by_role("radio", name=tool).check()
            times = []
            for k in range(runs):
                page.evaluate(SHOWN)
                x, y = box["x"] + box["width"] * (0.5 + 0.02 * k), box["y"] + box["height"] - 3
                page.mouse.move(box["x"] + 3, box["y"] + 3)
                page.mouse.down()
                page.mouse.move(x, box["y"] + 3, steps=10)
                page.mouse.move(x, y, steps=10)
                page.mouse.up()
                times.append(page.evaluate("window.shown"))
            report(
                benchmark="widgets",
                part="map",
                tool=tool,
                points=notebook.kernel("len(errors.map)"),
                selected=notebook.kernel("len(widget.selected)"),
                shown_ms_median=sorted(times)[runs // 2],
                shown_ms_worst=max(times),
                processor=platform.processor() or platform.machine(),
            )


PARTS = {"frames": frames, "live": live, "stop": stop, "map": map_}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS])
    for part in parser.parse_args().parts:
        PARTS[part]()
