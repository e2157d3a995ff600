"""Draws return against real steps of every learner in demos/results/dream, into demos/results/dream_curves.png.

python -m demos.dream_curves
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demos.dream_tables import TASKS, is_control, learner, runs_of
from demos.measured import RESULTS
from genrl.files import write_whole
from genrl.runs.pictures import BLUE, GREY, ORANGE, drawing


def colour(task: dict[str, Any]) -> str:
    """Blue in dreams, grey alone; SAC and CrossQ are orange, and dark where they have Imagination."""
    if "updates" in task:
        return "#8a3b12" if task["imagination"] else ORANGE
    return BLUE if task["practice"] else GREY


def dashes(task: dict[str, Any]) -> str:
    """SAC with several updates a step is a whole line, with one it is dashed, and CrossQ is dotted."""
    if task.get("learner") == "CrossQ":
        return ":"
    return "--" if task.get("updates") == 1 else "-"


def panel(axes: Any, documents: list[dict[str, Any]]) -> None:
    """One task: a line for each seed."""
    for document in documents:
        task = document["task"]
        if is_control(task):
            continue
        for index, run in enumerate(document["runs"].values()):
            steps, returns = ([point[key] for point in run["curve"]] for key in ("real_steps", "return"))
            style = {"color": colour(task), "linestyle": dashes(task), "linewidth": 1.2, "alpha": 0.8}
            axes.plot(steps, returns, label=None if index else learner(task), **style)
    axes.axhline(documents[0]["task"]["target"], color="black", linewidth=0.8, linestyle=":")
    axes.set(title=task["env"].removeprefix("genrl/"), xlabel="real steps", ylabel="return")
    axes.xaxis.set_major_locator(MaxNLocator(5))


def main() -> None:
    found = [documents for name in TASKS if (documents := runs_of(name))]
    with drawing():
        columns = min(3, len(found))
        rows = -(-len(found) // columns)
        figure = Figure(figsize=(3.6 * columns, 2.9 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, documents in zip(panels, found, strict=False):
            panel(axes, documents)
        for axes in panels[len(found) :]:
            axes.set_axis_off()
        lines = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, fontsize=9)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    write_whole(RESULTS / "dream_curves.png", buffer.getvalue())


if __name__ == "__main__":
    main()
