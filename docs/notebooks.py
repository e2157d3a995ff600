"""The two notebooks of the site: `python docs/notebooks.py` executes them again, with one thread, and keeps what they print and draw."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted(Path(__file__).parent.glob("start/*.ipynb"))


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """``notebook`` with the outputs of its code cells, which run one after the other in a folder of their own."""
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, before = [], Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for cell in notebook["cells"]:
                outputs = {"outputs": _outputs("".join(cell["source"]), names)} if cell["cell_type"] == "code" else {}
                cells.append({**cell, **outputs})
        finally:
            os.chdir(before)
    return {**notebook, "cells": cells}


def _outputs(code: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell prints, the value of its last line, and the figures that it leaves open, as Jupyter keeps them."""
    import matplotlib.pyplot as plt

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        value = _run(ast.parse(code), names)
    if code.rstrip().endswith(";"):  # Jupyter's way to show nothing
        value = None
    made = [{"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}] if printed.getvalue() else []
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        made.append({"output_type": "execute_result", "execution_count": None, "data": data, "metadata": {}})
    for number in plt.get_fignums():
        buffer = io.BytesIO()
        plt.figure(number).savefig(buffer, dpi=80, metadata={"Software": None})
        data = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
        made.append({"output_type": "display_data", "data": data, "metadata": {}})
    plt.close("all")
    return made


def _run(tree: ast.Module, names: dict[str, Any]) -> Any:
    """Execute a cell; the value of its last line, if that is an expression."""
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def markdown(notebook: dict[str, Any]) -> str:
    """A notebook as a page of the site."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", [])})
            if "image/png" in data:
                parts.append(f"![What the cell above draws](data:image/png;base64,{data['image/png']})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def write(path: Path, notebook: dict[str, Any]) -> None:
    """As Jupyter writes it."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for file in NOTEBOOKS:
        write(file, executed(json.loads(file.read_text())))
        print(file)
