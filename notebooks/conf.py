"""How Sphinx makes the documentation from this folder: `sphinx-build -W --keep-going notebooks build/docs`.

The pages are here and in `docs/`, the reference comes from docstrings, and notebooks are shown as they were saved, so
that nothing is run. The site needs no network: neither fonts nor scripts come from elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "docs")]

from fidokit import __version__  # noqa: E402

project = "fidokit"
author = "the fidokit authors"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "site_pages",
]
exclude_patterns = ["**/.ipynb_checkpoints", "**/README.md"]
root_doc = "index"

# What a docstring sets in backquotes is a name; where it names something of fidokit, it is a link.
default_role = "py:obj"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "inherited-members": "AnyWidget, Exception, IterableDataset, Dataset"}
# What overrides a method of a library without a word about it is none of ours.
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
nb_execution_mode = "off"
nb_custom_formats = {".ipynb": "site_pages.read_notebook"}

html_theme = "furo"
html_title = "fidokit"
html_static_path = ["docs/_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
