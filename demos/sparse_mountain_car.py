"""A sparse task that TRPO alone does not solve and TRPO with VIME does: about a minute on two cores.

python demos/sparse_mountain_car.py [--steps 30000] [--seed 0] [--out runs/demo]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.console import Console
from rich.live import Live
from rich.table import Table

from genrl.files import write_whole
from genrl.runs import ExploreConfig, explore

METHODS = {"none": "TRPO alone", "vime": "TRPO + VIME"}


def configuration(reward: str, steps: int, seed: int, out: Path) -> ExploreConfig:
    """The two runs differ in nothing but the reward."""
    return ExploreConfig(
        env="genrl/SparseMountainCar-v0", learner="trpo", reward=reward, steps=steps, seed=seed, weight=1e-3, n_envs=8, normalize_obs=True,
        learner_kwargs={"n_steps": 128, "gae_lambda": 0.98}, out=out / f"{reward}-seed{seed}",
    )  # fmt: skip


def episodes(config: ExploreConfig) -> list[tuple[int, float]]:
    """``(step, return)`` of the episodes so far."""
    path = config.directory / "episodes.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return [(int(row["step"]), float(row["return"])) for row in csv.DictReader(file) if row["seconds"]]


def standings(runs: dict[str, tuple[ExploreConfig, Future[dict[str, Any]]]]) -> Table:
    table = Table("", "steps", "episodes", "goal first reached at step", "of the last 20 episodes reached it")
    for reward, (config, future) in runs.items():
        played = episodes(config)
        first = next((f"{step:,}" for step, value in played if value > 0), "never")
        last = [value for _, value in played[-20:]]
        steps = config.steps if future.done() else (played[-1][0] if played else 0)
        table.add_row(METHODS[reward], f"{steps:,}", str(len(played)), first, f"{np.mean(last):.0%}" if last else "")
    return table


def picture(runs: dict[str, ExploreConfig], path: Path) -> None:
    """Share of episodes that reach the goal, and where each agent has been."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    curve, *maps = figure.subplots(1, 3)
    for (reward, config), color, axes in zip(runs.items(), ("#8a8f98", "#1f5fa8"), maps, strict=True):
        played = np.array(episodes(config))
        success = [played[max(0, i - 19) : i + 1, 1].mean() for i in range(len(played))]
        curve.plot(played[:, 0], success, color=color, linewidth=2, label=METHODS[reward])
        with np.load(config.directory / "coverage.npz", allow_pickle=False) as file:
            visits, x, y = file["counts"], file["edges_x"], file["edges_y"]
        axes.pcolormesh(x, y, np.ma.masked_equal(visits.T, 0), norm=LogNorm(1, visits.max()), cmap="viridis", rasterized=True)
        axes.axvline(0.45, color="#d9722e", linestyle="--", linewidth=1.2)
        axes.set(
            title=f"{METHODS[reward]}: where it has been",
            xlabel="position (goal: dashed)",
            ylabel="velocity",
            xlim=(-1.2, 0.6),
            ylim=(-0.07, 0.07),
        )
    curve.set(title="SparseMountainCar", xlabel="environment steps", ylabel="episodes that reach the goal", ylim=(-0.04, 1.04))
    curve.legend(frameon=False, loc="center right")
    for axes in (curve, *maps):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_whole(path, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="default: a new folder runs/demo-<time>")
    arguments = parser.parse_args()
    out = arguments.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    configs = {reward: configuration(reward, arguments.steps, arguments.seed, out) for reward in METHODS}

    console = Console()
    console.print(
        "SparseMountainCar: a car too weak for its hill, and a reward only at the goal. Two runs that differ in nothing but the bonus:"
    )
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = {reward: (config, pool.submit(explore, config, quiet=True)) for reward, config in configs.items()}
        with Live(standings(runs), console=console, refresh_per_second=4) as live:
            while not all(future.done() for _, future in runs.values()):
                time.sleep(0.5)
                live.update(standings(runs))
        results = {reward: future.result() for reward, (_, future) in runs.items()}
    for reward, result in results.items():
        if result["status"] != "finished":
            console.print(f"{METHODS[reward]}: {result['status']} ({result['error']}); type: genrl resume {configs[reward].directory}")
            raise SystemExit(1)
    picture(configs, out / "demo.png")
    write_whole(out / "demo.json", json.dumps(results, indent=1).encode())
    console.print(f"\nPicture: {out / 'demo.png'}\nSee it drive: genrl watch {configs['vime'].directory}")


if __name__ == "__main__":
    main()
