"""Notebooks as pages, with the outputs that they keep."""

from __future__ import annotations

import json
from typing import Any

from docutils import nodes
from myst_parser.sphinx_ import Parser
from notebooks import markdown
from sphinx.application import Sphinx


class NotebookParser(Parser):
    """Markdown and code cells of an .ipynb file."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse(markdown(json.loads(inputstring)), document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Take .ipynb files for pages."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
