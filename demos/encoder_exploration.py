"""How soon each method of the study of PixelMountainCar reaches the goal: `python demos/encoder_exploration.py`, after the study has run.

Draws, for each seed, the share of the last twenty episodes that reached the goal, how far the car has been, and which places an encoder
tells apart; ten seconds.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import matplotlib as mpl
import numpy as np
import torch

mpl.use("Agg")
from encoders import eyes
from matplotlib import pyplot

from genrl.encoders import load_encoder
from genrl.runs.coverage import read_histogram
from genrl.studies.results import read_study

COLOURS = {"none": "#b0b0b0", "vime-vae2": "#2c7fb8", "vime-random-encoder": "#d95f0e", "vime-state": "#222222"}
GOAL, LAST = 0.45, 20
TASK, APART, SEED = "genrl/PixelMountainCar-v0", 0.15, 1
EYES = {
    "pca, beginnings of episodes": ("mountain_car_beginnings", "pca", None, "#bbbbbb"),
    "pca": ("mountain_car", "pca", 4, "#31a354"),
    "vae, 2 numbers": ("mountain_car", "vae2", 4, "#2c7fb8"),
    "random": ("mountain_car", "random", 4, "#d95f0e"),
}
"""Folder, arm, and which frame of an episode an encoder was fitted to, and its colour."""


def told_apart(encoder: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Places, and how far the code of each is from the nearest code of a place that is not near; root mean square over its numbers."""
    task = gymnasium.make(TASK).unwrapped
    task.reset(seed=0)
    places, frames = np.linspace(-1.2, GOAL, 67), []
    for place in places:
        task.task.state = np.array([place, 0.0])  # type: ignore[attr-defined]
        frames.append(task._observed(task.task.state))  # type: ignore[attr-defined]
    codes = encoder(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)).numpy()
    distance = np.sqrt(np.square(codes[:, None] - codes[None]).mean(-1))
    near = np.abs(places[:, None] - places[None]) < APART
    return places, np.where(near, np.inf, distance).min(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=Path("runs/pixels_mountain_car"))
    results = read_study(parser.parse_args().study)
    figure, (left, right, far) = pyplot.subplots(1, 3, figsize=(12.5, 3.6), layout="constrained")
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
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=6, fontsize=8, frameon=False)
    right.axhline(GOAL, color="#999999", linewidth=0.8, linestyle="--")
    right.set(ylabel="position", title="furthest position (dashed: goal)")
    right.set_xticks(range(len(results.study.methods)), list(results.study.methods), fontsize=7, rotation=20, ha="right")
    right.margins(0.2)
    for name, (folder, arm, every, colour) in EYES.items():
        far.plot(*told_apart(load_encoder(eyes(Path("runs/eyes") / folder, arm, TASK, SEED, every=every))), color=colour, label=name)
    far.axvline(GOAL, color="#999999", linewidth=0.8, linestyle="--")
    far.set(
        xlabel="position (dashed: goal)",
        ylabel="distance, in standard deviations",
        title=f"least distance of codes of places {APART} apart",
        ylim=0,
    )
    far.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (left, right, far):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "results" / "encoders" / "mountain_car.png", dpi=110)


if __name__ == "__main__":
    main()
