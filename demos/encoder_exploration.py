"""How soon each method of the study of PixelMountainCar reaches the goal: `python demos/encoder_exploration.py`, after the study has run.

Draws, for each seed, the share of the last twenty episodes that reached the goal, and how far the car has been; a second.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

from genrl.runs.coverage import read_histogram
from genrl.studies.results import read_study

COLOURS = {"none": "#b0b0b0", "vime": "#2c7fb8", "vime-random-encoder": "#d95f0e", "vime-pca": "#31a354", "vime-state": "#222222"}
GOAL, LAST = 0.45, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=Path("runs/pixels_mountain_car"))
    results = read_study(parser.parse_args().study)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    named: set[str] = set()
    for item in results.cells:
        if not item.finished:
            continue
        method, colour = item.cell.method, COLOURS.get(item.cell.method, "#888888")
        steps, returns = item.episodes.T
        share = [float(np.mean(returns[max(0, i - LAST + 1) : i + 1])) for i in range(len(returns))]
        left.plot(steps / 1000, share, color=colour, label=None if method in named else method, linewidth=1.3)
        counts, edges, _ = read_histogram(item.cell.path / "coverage.npz")
        positions = edges[0][1:][counts.sum(axis=1) > 0]
        right.plot(list(results.study.methods).index(method), positions.max(), "o", color=colour)
        named.add(method)
    left.set(xlabel="thousand environment steps", ylabel=f"share of the last {LAST} episodes", title="episodes that reach the goal")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=5, fontsize=8, frameon=False)
    right.axhline(GOAL, color="#999999", linewidth=0.8, linestyle="--")
    right.set(ylabel="position", title="furthest position of a run (dashed: goal)")
    right.set_xticks(range(len(results.study.methods)), list(results.study.methods), fontsize=7, rotation=20, ha="right")
    right.margins(0.2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "results" / "encoders" / "mountain_car.png", dpi=110)


if __name__ == "__main__":
    main()
