"""The site: `make docs` builds it into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

import genrl

sys.path += [str(Path(__file__).parent / "_ext"), str(Path(__file__).parent)]

project = "genrl"
author = "the genrl authors"
release = genrl.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",  # of _ext
    "markdown_docstrings",
    "notebook_pages",
]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
templates_path: list[str] = []
default_role = "code"  # what stands between single backticks in a docstring

html_theme = "furo"
html_title = "genrl"
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]
html_show_copyright = False  # the licence is a file of the checkout

autodoc_typehints = "none"  # the docstrings say types, shapes and ranges in words
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of torch and Gymnasium have layouts of their own
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "forward, get_extra_state, set_extra_state, reset, step, render, close",
}
napoleon_numpy_docstring = False
napoleon_custom_sections = [("References", "notes_style")]
nitpicky = False
