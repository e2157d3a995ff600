"""Docstrings as this project writes them: single backticks are code, and tables are Markdown's."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

from sphinx.application import Sphinx


def with_tables(lines: list[str]) -> list[str]:
    """``lines`` in which each Markdown table is a ``list-table``; a table whose head is empty has no head."""
    result: list[str] = []
    for is_row, group in groupby(lines, lambda line: line.lstrip().startswith("|")):
        rows = list(group)
        if not (is_row and len(rows) > 1 and re.fullmatch(r"[\s|:-]+", rows[1])):
            result += rows
            continue
        margin = " " * (len(rows[0]) - len(rows[0].lstrip()))
        cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))] for row in (rows[0], *rows[2:])]
        head = any(cells[0])
        result += ["", f"{margin}.. list-table::", *([f"{margin}   :header-rows: 1"] if head else []), ""]
        for row in cells if head else cells[1:]:
            result += [f"{margin}   {'  ' if i else '* '}- {cell}" for i, cell in enumerate(row)]
        result.append("")
    return result


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = with_tables(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Read every docstring so."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
