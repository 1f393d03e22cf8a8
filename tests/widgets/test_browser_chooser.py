"""Choosing among hundreds of species in a real browser: by keyboard, by mouse, and what a screen reader is told."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
from pathlib import Path

import pytest
from torch import nn

from fidokit.models.classifier import Classifier

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'fidokit[widgets]'")

from fidokit.widgets import ExplainWidget
from fidokit.widgets.static_form import BUNDLES

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIELD = Path(__file__).parents[3] / "shared/field/inat_bird_labels.txt"
HARM = "<img src=x onerror=window.harmed=1>"
#: Key strokes, the arrows among them, until the species is the one that Enter takes.
MOST_KEYS = 5
#: Stands for the kernel: traits that the test sets, and messages that it reads.
PAGE = """<body><div id="place"></div><script type="module">
const traits = %(traits)s, listeners = {}, tables = {};
for (const [name, text] of Object.entries(traits._tables))
    tables[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
traits._tables = tables;
window.sent = [];
const model = {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; for (const act of listeners["change:" + name] ?? []) act(); },
    on: (event, act) => (listeners[event] ??= []).push(act),
    off: () => {},
    send: (message) => window.sent.push(message),
    save_changes: () => {},
};
window.hear = (content, buffers) => { for (const act of listeners['msg:custom'] ?? []) act(content, buffers); };
const code = new Blob([atob("%(code)s").replace(/[\\x80-\\xff]+/g, (s) => decodeURIComponent(escape(s)))],
    {type: "text/javascript"});
const widget = (await import(URL.createObjectURL(code))).default;
widget.initialize({model});
widget.render({model, el: document.getElementById("place")});
window.ready = true;
</script><style>:root { color-scheme: light dark; } %(css)s</style>"""


def invented(n: int) -> list[str]:
    """Names like those of birds, of which many begin alike."""
    generator = random.Random(1)
    syllables = ["ar", "bel", "cor", "dan", "el", "fis", "gor", "hal", "is", "kon", "lum", "mar", "nor", "pel", "ris"]
    adjectives = (
        "Alpine Barred Black Blue Brown Common Dusky Eastern Forest Great Grey Hooded Indian Little Marsh Olive"
    )
    adjectives += " Northern Pale Pied Red Rock Sandy Snow Spotted Stone Tawny Upland Velvet Western White Yellow"
    parts = ["-backed", "-billed", "-throated", "-winged", "", "", ""]
    kinds = "Avocet Babbler Crane Duck Eagle Finch Gull Heron Ibis Jay Kite Lark Magpie Nightjar Owl Pipit Quail Robin"
    kinds += " Shrike Tern Vulture Wren"
    common = sorted({f"{a}{p} {k}" for a in adjectives.split() for p in parts for k in kinds.split()})

    def latin():
        return "".join(generator.choice(syllables) for _ in range(3))

    return [f"{latin().capitalize()} {latin()}us ({name})" for name in generator.sample(common, n)]


def names_of(which: str) -> list[str]:
    if which == "invented":
        return [*invented(964), "background"]
    if not FIELD.is_file():
        pytest.skip(f"{FIELD} is not there")
    return [re.sub(r"^\d+ ", "", line) for line in FIELD.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser, names, *, dark=False, width=1200, **traits):
    """The widget of a classifier with these names in a page of its own."""
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(names)))
    classifier = Classifier(module, names, size=8, device="cpu", precision="float32", micro_batch=1)
    widget = ExplainWidget(classifier, None, baselines=())
    state = {name: value for name, value in widget.get_state().items() if name.startswith("_") or name in KNOWN}
    widget.close()
    state["_tables"] = {name: base64.b64encode(table).decode() for name, table in state["_tables"].items()}
    state |= traits
    for name in ("_esm", "_css", "_anywidget_id"):
        state.pop(name, None)
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    code, css = ((BUNDLES / f"explain.{end}").read_bytes() for end in ("js", "css"))
    told = json.dumps(state, default=str).replace("<", "\\u003c")
    page.set_content(PAGE % {"traits": told, "code": base64.b64encode(code).decode(), "css": css.decode()})
    page.wait_for_function("window.ready")
    return page


KNOWN = ("image_id", "target", "against", "rank", "method", "state")


def words_of(name: str) -> list[str]:
    """The words of a common name, as they are typed."""
    common = re.search(r"\((.*)\)$", name)
    text = (common[1] if common else name).lower().replace("'", "")
    return re.findall(r"\w+", text)


def attempts(name: str) -> list[str]:
    """What one would type for a species: the beginnings of the words of its common name, as ringers do, or of one."""
    words = words_of(name)
    by_count = {1: (4,), 2: (2, 2), 3: (1, 1, 2)}.get(len(words), (1, 1, 1, 1))
    code = "".join(word[:length] for word, length in zip(words, by_count, strict=False))
    first_and_last = words[0][:2] + words[-1][:2]
    return list(dict.fromkeys([code, first_and_last, words[0][0] + words[-1][:3], *(word[:4] for word in words)]))


def reach(page, field, name: str) -> int | None:
    """Choose a species with the keyboard, looking at the list after each letter; how many keys it took before Enter."""
    for typed in attempts(name):
        field.fill("")
        for n, letter in enumerate(typed, 1):
            page.keyboard.type(letter)
            shown = page.locator("[role=option]").evaluate_all(
                "rows => rows.slice(0, 6).map((row) => row.dataset.name)"
            )
            if name in shown and n + shown.index(name) <= MOST_KEYS:
                for _ in range(shown.index(name)):
                    page.keyboard.press("ArrowDown")
                page.keyboard.press("Enter")
                assert field.input_value() == name
                return n + shown.index(name)
    return None


@pytest.mark.parametrize("which", ["field", "invented"])
def test_any_species_is_reached_with_five_keys(browser, which):
    names = names_of(which)
    assert len(names) == 965
    page = opened(browser, names)
    field = page.get_by_label("Class to explain")
    field.focus()
    chosen = random.Random(0).sample([name for name in names if name != "background"], 20)
    keys = {name: reach(page, field, name) for name in chosen}
    assert all(keys.values()), {name: attempts(name) for name, n in keys.items() if n is None}
    assert page.evaluate("window.sent.filter((message) => message.do !== 'likely').length") == 0
    page.close()


def test_any_part_of_a_name_finds_it_and_a_screen_reader_is_told(browser):
    names = [*names_of("invented"), "Athene cunicularia (Burrowing Owl)", "Athene noctua (Little Dusk Owl)", HARM]
    likely = [[names[3], 0.61], [names[965], 0.0042]]
    looked = {"": {"predicted": names[3], "state": "wrong", "likely": likely}}
    page = opened(browser, names, _looked=looked)
    field = page.get_by_role("combobox", name="Class to explain")
    field.click()
    options = page.locator("[role=option]")
    assert options.nth(0).inner_text().split("\n") == [names[3], "0.61"]
    assert options.nth(1).inner_text().split("\n") == [names[965], "0.0042"]
    assert page.get_by_role("status").filter(has_text="968 classes; the first 100 are listed").count() == 1
    field.fill("")
    page.keyboard.type("burrowing")
    # As a screen reader has it: the role, the choice that Enter takes, and the number of matches.
    tree = page.locator(".fk-order").aria_snapshot()
    assert re.search(r'combobox "Class to explain".*burrowing', tree)
    assert "- status: 1 match" in tree
    assert re.search(r'option "Athene cunicularia \(Burrowing Owl\) 0\.0042" \[selected\]', tree)
    page.keyboard.press("Enter")
    assert field.input_value() == names[965]
    assert field.get_attribute("aria-expanded") == "false"
    assert "is chosen" in page.locator(".fk-order").aria_snapshot()
    # The name of several is taken by mouse; a stranger's name is text.
    against = page.get_by_role("combobox", name="Rather than")
    against.fill("athene")
    assert options.count() == 2
    options.nth(1).click()
    assert against.input_value() == names[966]
    against.fill("onerror")
    assert options.inner_text() == HARM
    assert page.evaluate("window.harmed") is None
    # Enter in a closed list starts.
    page.keyboard.press("Escape")
    against.fill("")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    assert page.evaluate("window.sent.at(-1)")["target"] == names[965]
    page.close()


def test_long_names_are_seen_whole(browser):
    long = "Longa " * 50
    names = [f"{long.strip()} (Long Bird)", "short"]
    page = opened(browser, names, width=700)
    field = page.get_by_role("combobox", name="Class to explain")
    field.fill("long bird")
    row = page.locator("[role=option]").first
    box = row.bounding_box()
    assert row.evaluate("row => row.scrollWidth <= row.clientWidth")
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 700
    page.close()
