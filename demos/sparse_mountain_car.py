"""A car so weak that no noise of `genrl screen` reaches the goal: TRPO alone, with three other noises, and with VIME; about two minutes.

python demos/sparse_mountain_car.py --seed 3
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from rich.console import Console
from rich.live import Live

from genrl.runs import ExploreConfig, RunDirectory, explore
from genrl.runs.averages import trailing_mean
from genrl.runs.pictures import BLUE, GREY, ORANGE, STYLE, save_figure
from genrl.studies.tables import Table, rich_table

POWER = 0.0003
"""A fifth of the usual motor; a study of the same runs over twenty seeds is studies/weak_mountain_car.toml."""


class Method(NamedTuple):
    name: str
    reward: str
    noise: str
    color: str
    learner_kwargs: dict[str, Any] = {}  # noqa: RUF012


METHODS = {
    "alone": Method("TRPO alone", "none", "own", GREY),
    "held": Method("TRPO, noise held for 16 steps", "none", "held-16", ORANGE),
    "pink": Method("TRPO, pink noise", "none", "pink", "#d48bb0"),
    "gsde": Method("TRPO, gSDE", "none", "own", "#8a6fae", {"use_sde": True, "sde_sample_freq": 16}),
    "vime": Method("TRPO + VIME", "vime", "own", BLUE),
}
LABELS = {"alone": "alone", "held": "held noise", "pink": "pink noise", "gsde": "gSDE", "vime": "VIME"}
"""What stands beside the curves, left of where they rise."""


def configuration(method: str, steps: int, seed: int, out: Path) -> ExploreConfig:
    """The runs differ in nothing but the reward and the noise (gSDE's is a random function of the state)."""
    return ExploreConfig(
        env="genrl/SparseMountainCar-v0", env_kwargs={"power": POWER}, learner="trpo", reward=METHODS[method].reward,
        noise=METHODS[method].noise, steps=steps, seed=seed, weight=1e-3, n_envs=8, normalize_obs=True,
        learner_kwargs={"n_steps": 128, "gae_lambda": 0.98, **METHODS[method].learner_kwargs}, out=out / f"{method}-seed{seed}",
    )  # fmt: skip


def episodes(config: ExploreConfig) -> np.ndarray:
    """Step and return of every episode so far; the return is 1 at the goal and 0 elsewhere."""
    rows = RunDirectory(config.directory).read_episodes()
    return np.array([(int(row["step"]), float(row["return"])) for row in rows]).reshape(-1, 2)


def standings(configs: dict[str, ExploreConfig], done: dict[str, bool]) -> Table:
    header = ["", "steps", "episodes", "goal first reached at step", "of the last 20 episodes reached it"]
    rows = []
    for method, config in configs.items():
        played = episodes(config)
        reached = played[played[:, 1] > 0]
        steps = config.steps if done[method] else max(played[:, 0], default=0)
        first = f"{reached[0, 0]:,.0f}" if len(reached) else "never"
        last = f"{played[-20:, 1].mean():.0%}" if len(played) else ""
        rows.append([METHODS[method].name, f"{steps:,.0f}", str(len(played)), first, last])
    return Table(header, rows)


def picture(configs: dict[str, ExploreConfig], out: Path) -> None:
    """Draw the share of episodes that reach the goal, and where each agent has been."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 3.4), layout="constrained")
        curve, *maps = figure.subplots(1, 4)
        for method, config in configs.items():
            steps, returns = episodes(config).T
            width = 5 if method == "alone" else 2  # it lies below another line, at 0
            curve.plot(steps, trailing_mean(returns, 20), color=METHODS[method].color, linewidth=width, label=LABELS[method])
        for method, axes in zip(("alone", "pink", "vime"), maps, strict=True):
            with np.load(configs[method].directory / "coverage.npz", allow_pickle=False) as file:
                visits, x, y = file["counts"], file["edges_x"], file["edges_y"]
            axes.pcolormesh(x, y, np.ma.masked_equal(visits.T, 0), norm=LogNorm(1, visits.max()), cmap="viridis", rasterized=True)
            axes.axvline(0.45, color=ORANGE, linestyle="--", linewidth=1.2)
            axes.set(title=METHODS[method].name, xlabel="position (goal: dashed)", ylabel="velocity")
            axes.set(xlim=(-1.2, 0.6), ylim=(-0.07, 0.07))
        curve.xaxis.set_major_formatter(EngFormatter(sep=""))
        curve.set(title="a fifth of the usual motor", xlabel="environment steps", ylabel="episodes that reach the goal")
        curve.set_ylim(-0.04, 1.04)
        curve.legend(loc="center left", fontsize=7, handlelength=1)
        save_figure(RunDirectory(out), "demo", figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps of each run (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all runs (default: 0)")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: a new one, runs/demo-TIME)")
    flags = parser.parse_args()
    out = flags.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    configs = {method: configuration(method, flags.steps, flags.seed, out) for method in METHODS}

    console = Console()
    console.print(
        "SparseMountainCar: a car far too weak for its hill, and a reward only at the goal. The runs differ in nothing but noise and bonus:"
    )
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs: dict[str, Future[dict[str, Any]]] = {name: pool.submit(explore, config, quiet=True) for name, config in configs.items()}
        with Live(console=console, refresh_per_second=4) as live:
            while True:
                done = {name: run.done() for name, run in runs.items()}
                live.update(rich_table(standings(configs, done)))
                if all(done.values()):
                    break
                time.sleep(0.5)
    for name, run in runs.items():
        if (result := run.result())["status"] != "finished":
            raise SystemExit(f"{METHODS[name].name}: {result['status']} ({result['error']}); type: genrl resume {configs[name].directory}")
    picture(configs, out)
    console.print(f"\nPicture: {out / 'demo.png'}\nSee it drive: genrl watch {configs['vime'].directory}")


if __name__ == "__main__":
    main()
