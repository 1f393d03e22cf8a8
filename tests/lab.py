"""A real JupyterLab or Notebook 7 in a real browser: notebooks made of given cells, run, and watched.

One server a session of tests, on a free port of the loopback device, with a home folder of its own; it is never asked
for anything outside this machine, and whatever the page asks for elsewhere is noted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOKEN = "fidokit-tests"
#: Seconds until a thing that should happen counts as not happening; a loaded machine of two cores is slow.
PATIENCE = 60
_PANEL = "window.jupyterapp.shell.currentWidget"


class Lab:
    """A running JupyterLab server.

    Attributes:
        program: the module that is run.
        options: what it is told beside what every Jupyter server is.
        folder: where notebooks lie and kernels start.
        address: with the port, without a path.
    """

    program = "jupyterlab"
    options = ("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly")

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir()
        self.log = folder / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", self.program, "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                    *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
                    *(f"--ServerApp.root_dir={self.folder}", "--ServerApp.quit_button=False", *self.options),
                ],
                env=_environment(folder),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError):
                self.ask("GET", "/api/status")
                return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{self.program} did not start:\n{self.log.read_text()[-4000:]}")

    def ask(self, how: str, path: str) -> bytes:
        """An answer of the server's REST API."""
        request = urllib.request.Request(self.address + path, method=how, headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()

    def end_kernels(self) -> None:
        """End all sessions, so that no kernel is left computing."""
        for session in json.loads(self.ask("GET", "/api/sessions")):
            self.ask("DELETE", f"/api/sessions/{session['id']}")

    def stop(self) -> None:
        """End the server and its kernels."""
        with suppress(OSError):
            self.end_kernels()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Notebook7(Lab):
    """A running server of Notebook 7: the same notebooks, one a page, without JupyterLab's windows around them."""

    program = "notebook"
    options = ("--JupyterNotebookApp.expose_app_in_browser=True",)


def _environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "IPYTHON"))}
    places = {
        "HOME": "home",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "XDG_CACHE_HOME": "cache",
    }
    for name in places.values():
        (folder / name).mkdir()
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    # Otherwise JupyterLab asks whether it may look for news.
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet), encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return kept | {key: str(folder / name) for key, name in places.items()} | {"PYTHONPATH": paths}


#: What JupyterLab says of itself where a kernel that is busy does not answer its debugger in time.
DEBUGGER = "Could not restore the debugger state"


class Tab:
    """A tab with JupyterLab in it.

    Attributes:
        page: playwright's page.
        errors: what went wrong in the browser: errors on the console and uncaught exceptions.
        own: errors of the application itself, which it has with any notebook.
        strangers: requests that left this machine.
    """

    own: tuple[str, ...] = ()

    def __init__(self, browser, lab: Lab, **options) -> None:
        self.lab = lab
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page = browser.new_page(**({"viewport": {"width": 1280, "height": 1000}} | options))
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self._fail(str(error)))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.on("websocket", lambda connection: self._check(connection.url))
        self._enter()

    def _enter(self) -> None:
        self._go("/lab?reset")

    def _go(self, path: str) -> None:
        """Load a page of the server and wait for its application."""
        self.page.goto(f"{self.lab.address}{path}{'&' if '?' in path else '?'}token={TOKEN}")
        self.page.wait_for_function("window.jupyterapp")
        self.page.evaluate("() => window.jupyterapp.started")

    def _note(self, message) -> None:
        if message.type == "error":
            self._fail(f"{message.text} ({message.location.get('url', '')})")

    def _fail(self, text: str) -> None:
        if text not in self.own and not text.startswith(DEBUGGER):
            self.errors.append(text)

    def _check(self, url: str) -> None:
        address = urlparse(url)
        if address.scheme not in ("data", "blob", "about") and address.hostname != "127.0.0.1":
            self.strangers.append(url)

    def open(self, *cells: str, name: str = "test.ipynb", run: bool = True) -> Notebook:
        """A notebook of these cells, run from top to bottom."""
        source = {
            "cells": [_cell(cell, f"cell-{i}") for i, cell in enumerate(cells)],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.lab.folder / name).write_text(json.dumps(source), encoding="utf-8")
        notebook = self.reopen(name)
        if run:
            notebook.run()
        return notebook

    def reopen(self, name: str = "test.ipynb", *, kernel: bool = True) -> Notebook:
        """A notebook that lies there already."""
        self.page.evaluate(
            """async ([path, kernel]) => {
                const shell = window.jupyterapp;
                const panel = await shell.commands.execute("docmanager:open", kernel ? {path} : {
                    path,
                    kernelPreference: {shouldStart: false, canStart: false, autoStartDefault: false},
                });
                await panel.context.ready;
                shell.shell.activateById(panel.id);
                if (!kernel) return;
                await panel.sessionContext.ready;
                await panel.sessionContext.session.kernel.info;
            }""",
            [name, kernel],
        )
        return Notebook(self, name)

    def theme(self, name: str) -> None:
        """Change to ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self.page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        light = "true" if name.endswith("Light") else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    def close(self) -> None:
        """Close the tab and end the kernels it started."""
        self.page.close()
        self.lab.end_kernels()


class NotebookTab(Tab):
    """A tab with Notebook 7 in it."""

    # Version 7.6 while it loads its settings.
    own = ("Cannot read properties of undefined (reading 'schema')",)

    def _enter(self) -> None:
        """There is nothing to be loaded before a notebook is opened."""

    def reopen(self, name: str = "test.ipynb", *, kernel: bool = True) -> Notebook:
        """A notebook that lies there already; Notebook 7 always starts its kernel."""
        assert kernel
        self._go(f"/notebooks/{name}")
        self.page.wait_for_function(f"{_PANEL}?.context?.isReady")
        self.page.evaluate(
            f"""async () => {{
                const session = {_PANEL}.sessionContext;
                await session.ready;
                await session.session.kernel.info;
            }}"""
        )
        return Notebook(self, name)


def _cell(source: str, name: str) -> dict[str, object]:
    return {"cell_type": "code", "id": name, "source": source, "metadata": {}, "outputs": [], "execution_count": None}


class Notebook:
    """The notebook that is open in a tab."""

    def __init__(self, tab: Tab, name: str) -> None:
        self.tab, self.page, self.name = tab, tab.page, name

    def run(self) -> None:
        """Run all cells; an error of one is an error here."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        for output in self.outputs():
            assert output["output_type"] != "error", "\n".join(output["traceback"])

    def outputs(self) -> list[dict]:
        """The outputs of all cells, as they would be saved."""
        return self.page.evaluate(f"() => {_PANEL}.content.model.toJSON().cells.flatMap(c => c.outputs)")

    def kernel(self, expression: str, *, setup: str = ""):
        """The JSON-ready value of an expression in the kernel, after some statements."""
        code = f"{setup}\nimport json as _json; print(_json.dumps({expression}))"
        answer = self.page.evaluate(
            f"""async code => {{
                const kernel = {_PANEL}.sessionContext.session.kernel;
                const future = kernel.requestExecute({{code, store_history: false, stop_on_error: false}});
                const out = {{text: "", error: null}};
                future.onIOPub = message => {{
                    if (message.header.msg_type === "stream") out.text += message.content.text;
                    if (message.header.msg_type === "error") out.error = message.content.traceback.join("\\n");
                }};
                await future.done;
                return out;
            }}""",
            code,
        )
        assert answer["error"] is None, answer["error"]
        return json.loads(answer["text"].splitlines()[-1])

    def until(self, expression: str, value, seconds: float = PATIENCE):
        """Wait until an expression in the kernel has a value: what the browser said may be on its way."""
        end = time.monotonic() + seconds
        while (found := self.kernel(expression)) != value:
            assert time.monotonic() < end, f"{expression} is {found!r}, not {value!r}"
            self.page.wait_for_timeout(50)

    def save(self) -> Path:
        """Save the notebook; its file."""
        self.page.evaluate(f"() => {_PANEL}.context.save()")
        return self.tab.lab.folder / self.name

    def close(self) -> None:
        """Close the notebook and end its kernel."""
        self.page.evaluate(f"() => {{ {_PANEL}.dispose(); }}")
        self.tab.lab.end_kernels()

    @contextmanager
    def sent(self):
        """The messages of widgets that reach the kernel while the context is open."""
        self.page.evaluate(
            f"""() => {{
                const kernel = {_PANEL}.sessionContext.session.kernel;
                window.fidokitSent = [];
                window.fidokitListener = (_, message) => {{
                    if (message.direction === "send" && message.msg.header.msg_type.startsWith("comm"))
                        window.fidokitSent.push(message.msg.content);
                }};
                kernel.anyMessage.connect(window.fidokitListener);
            }}"""
        )
        messages: list[dict] = []
        yield messages
        messages += self.page.evaluate(
            f"""() => {{
                {_PANEL}.sessionContext.session.kernel.anyMessage.disconnect(window.fidokitListener);
                return window.fidokitSent;
            }}"""
        )


#: Contrast and text of every piece of text that is seen within the page's widgets.
_CONTRASTS = """() => {
    const parse = (text) => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 1;
        const context = canvas.getContext("2d", {willReadFrequently: true});
        context.fillStyle = text;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (colour) => {
        const [r, g, b] = colour.map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const chain = [];
        for (let e = element; e; e = e.parentElement) chain.unshift(parse(getComputedStyle(e).backgroundColor));
        return chain.reduce((under, colour) => over(colour, under), [255, 255, 255]);
    };
    const found = [];
    const judge = (element, style, text) => {
        const under = ground(element);
        const colour = parse(style.color);
        colour[3] *= Number(style.opacity);
        const [a, b] = [light(over(colour, under)), light(under)];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
    };
    for (const root of document.querySelectorAll(".fidokit")) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            const text = walker.currentNode.textContent.trim();
            if (text && element.checkVisibility() && !element.matches("style, :disabled"))
                judge(element, getComputedStyle(element), text);
        }
        for (const input of root.querySelectorAll("input[placeholder]"))
            if (!input.disabled && input.placeholder)
                judge(input, getComputedStyle(input, "::placeholder"), input.placeholder);
    }
    return found;
}"""


def contrasts(page) -> list[tuple[float, str]]:
    """Contrast to its ground, and text, of all text in the page's widgets; what is switched off does not count."""
    return [(ratio, text) for ratio, text in page.evaluate(_CONTRASTS)]


def _missing(program: str) -> str | None:
    for package in (program, "anywidget", "playwright"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install 'fidokit[test]'"
    return None if CHROMIUM else "there is no chromium: apt-get install chromium"


@contextmanager
def serving(kind: type[Lab], folder: Path):
    """A running server; tests that need one are skipped where it is not installed."""
    if reason := _missing(kind.program):
        pytest.skip(reason)
    running = kind(folder)
    yield running
    running.stop()


@contextmanager
def watched(kind: type[Tab], lab: Lab):
    """A tab. Nothing may go wrong in it, and nothing may leave the machine."""
    from playwright.sync_api import sync_playwright

    # One a file: playwright's loop must be closed before another file opens its own.
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = kind(browser, lab)
        yield opened
        opened.close()
        browser.close()
    assert not opened.errors, opened.errors
    assert not opened.strangers, opened.strangers


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """One JupyterLab for all tests."""
    with serving(Lab, tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def tab(lab):
    """A tab for the tests of a file."""
    with watched(Tab, lab) as opened:
        yield opened


def tabbed(page, steps: int) -> list[str]:
    """Names of the controls that the Tab key goes to, so many times from the one that has the focus."""
    names = []
    for _ in range(steps):
        inside, name = page.evaluate(
            """() => {
                const e = document.activeElement;
                return [e.closest(".fidokit") !== null, (e.getAttribute("aria-label") || e.labels?.[0]?.textContent
                    || e.textContent).trim()];
            }"""
        )
        names += [name] if inside else []
        page.keyboard.press("Tab")
    return names


def unnamed(page) -> int:
    """How many controls of the page's widgets have no name for a screen reader."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".fidokit :is(input, select, button)")].filter((element) =>
            !element.getAttribute("aria-label") && !element.labels?.length && !element.textContent.trim()).length"""
    )
