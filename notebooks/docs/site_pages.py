"""What the documentation takes from fidokit itself when it is built, and how it shows what notebooks have saved."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import nbformat
import plotly.io
from docutils import nodes
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import fidokit
from fidokit import cli
from fidokit._util.glossary import GLOSSARY, anchor
from fidokit.methods import infill, methods

HERE = Path(__file__).parent
_PLOTLY, _WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"


def read_notebook(text: str) -> nbformat.NotebookNode:
    """A notebook whose outputs need no kernel: plotly's figures as HTML, and of widgets the picture that they leave."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_shown(output) for output in cell.outputs if _WIDGET not in output.get("data", {})]
    return notebook


def _shown(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    figure = output.get("data", {}).get(_PLOTLY)
    if figure is not None:
        html = plotly.io.to_html(figure, include_plotlyjs=False, full_html=False, validate=False)
        output.data = nbformat.NotebookNode({"text/html": html})
    return output


def _add_plotly(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Plotly itself, of the installed package, before the first figure of a page that has one."""
    if "Plotly.newPlot" in context.get("body", ""):
        address = context["pathto"]("_static/plotly.js", resource=True)
        context["body"] = f'<script src="{address}"></script>\n{context["body"]}'


def _write_plotly(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        Path(app.outdir, "_static", "plotly.js").write_text(get_plotlyjs(), encoding="utf-8")


class _Table(SphinxDirective):
    """A table that is written anew from the package whenever the site is built."""

    def run(self) -> list[nodes.Node]:
        head, *rows = getattr(self, self.name.replace("-", "_"))()
        lines = [head, tuple("---" for _ in head), *rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return self.parse_text_to_nodes(text)

    def methods_table(self) -> list[tuple[str, ...]]:
        """Every method, with what its settings are called."""
        rows = [("method", "kinds", "what it does", "settings")]
        for name, method in methods().items():
            settings = method.settings.__name__
            rows.append((f"`{name}`", ", ".join(method.kinds), method.summary, f"{{py:obj}}`~{settings}`"))
        return rows

    def kinds_table(self) -> list[tuple[str, ...]]:
        """Every kind of mask, in the words of the glossary."""
        keys = {"ssr": "ssr", "sdr": "sdr", "joint": "joint", "effect": "effect_map", "attribution": "attribution"}
        return [
            ("kind", "what it is", "how to use it"),
            *((f"`{kind}`", GLOSSARY[key].meaning, GLOSSARY[key].use) for kind, key in keys.items()),
        ]

    def infills_table(self) -> list[tuple[str, ...]]:
        """Every infill, by the first line of its docstring."""
        functions = {**infill.FIXED, **infill.RANDOM, **infill.KEPT}
        described = ((name, (function.__doc__ or "").partition("\n")[0]) for name, function in functions.items())
        return [("name", "what stands in"), *((f"`{name}`", line) for name, line in described)]


class _Glossary(SphinxDirective):
    """The words that the page and the widgets explain, from the same list; `#word-ssr` links to an entry."""

    def run(self) -> list[nodes.Node]:
        entries = nodes.definition_list(classes=["glossary"])
        for key, term in sorted(GLOSSARY.items(), key=lambda entry: entry[1].name.casefold()):
            name = nodes.term("", term.name, ids=[anchor(key)])
            meaning = nodes.definition("", nodes.paragraph("", term.meaning))
            if term.use:
                meaning += nodes.paragraph("", "", nodes.emphasis("", term.use))
            entries += nodes.definition_list_item("", name, meaning)
            self.env.domains.standard_domain.note_hyperlink_target(
                anchor(key), self.env.docname, anchor(key), term.name
            )
        return [entries]


class _Commands(SphinxDirective):
    """Every command of `fidokit`, with what it says of itself when it is asked for help."""

    def run(self) -> list[nodes.Node]:
        os.environ["COLUMNS"] = "100"
        parser = cli._parser()
        (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        sections = []
        for name, command in commands.choices.items():
            section = nodes.section("", nodes.title("", f"fidokit {name}"), ids=[name])
            section += nodes.literal_block("", command.format_help(), language="text")
            sections.append(section)
        return sections


class _OtherNames(SphinxDirective):
    """Every exported name that no page of the reference has yet, so that none is missing."""

    def run(self) -> list[nodes.Node]:
        pages = [path.read_text(encoding="utf-8") for path in (HERE / "reference").glob("*.md")]
        self.env.note_reread()
        found: list[nodes.Node] = []
        for name in [*fidokit.__all__, *fidokit._WIDGETS]:
            if not any(f":: fidokit.{name}\n" in page for page in pages):
                kind = "autoclass" if isinstance(getattr(fidokit, name), type) else "autofunction"
                found += self.parse_text_to_nodes(f"```{{eval-rst}}\n.. {kind}:: fidokit.{name}\n```")
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("commands-of-fidokit", _Commands)
    for name in ("methods-table", "kinds-table", "infills-table"):
        app.add_directive(name, _Table)
    app.add_directive("glossary-of-fidokit", _Glossary)
    app.add_directive("other-names-of-fidokit", _OtherNames)
    app.connect("html-page-context", _add_plotly)
    app.connect("build-finished", _write_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
