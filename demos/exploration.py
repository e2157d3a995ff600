"""The exploration benchmark: every table of the README, as a list of ordinary `genrl explore` runs.

    python demos/exploration.py mountain_car            # trains what is missing, two runs at a time; stop and start it at will
    python demos/exploration.py mountain_car --report   # only reads what is there

Each run is a directory under runs/benchmark/<table>; the table goes to demos/results/<table>.json and, a row a run, <table>.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from genrl.models.state import write_whole
from genrl.runs import ExploreConfig, explore, resume

RUNS = Path("runs") / "benchmark"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Table:
    """Methods × seeds on one task."""

    base: ExploreConfig
    seeds: int
    methods: dict[str, dict[str, Any]]
    """What each method changes of ``base``."""
    milestones: tuple[int, ...] = ()
    """Environment steps at which the training return is reported beside the end's."""
    notes: str = field(default="")

    def cells(self, name: str) -> Iterator[tuple[str, ExploreConfig]]:
        """Seed by seed, so that an unfinished table has a little of every method."""
        for seed in range(self.seeds):
            for method, changes in self.methods.items():
                yield method, replace(self.base, seed=seed, out=RUNS / name / f"{method}-seed{seed}", **changes)


NONE = {"reward": "none", "weight": 0.0}
PEERS = ("prediction-error", "icm", "rnd", "disagreement", "state-entropy", "counts")
RELEASED = {"reward": "vime", "weight": 1e-3, "reward_kwargs": {"preset": "released"}}
SAC = {"net_arch": (64, 64), "learning_starts": 1000, "ent_coef": "auto_0.1"}
TRPO_SHORT = {"n_steps": 128, "gae_lambda": 0.98}
TRPO_LONG = {"n_steps": 256, "gae_lambda": 0.98, "gamma": 0.995, "target_kl": 0.02}


def task(name: str, steps: int, learner_kwargs: dict[str, Any], **changes: Any) -> ExploreConfig:
    """What all methods of a table share."""
    common: dict[str, Any] = {"learner": "trpo", "n_envs": 8, "normalize_obs": True, "pictures": False, "checkpoint_every": 300.0}
    return ExploreConfig(env=f"genrl/{name}-v0", steps=steps, learner_kwargs=learner_kwargs, **common | changes)


TABLES: dict[str, Table] = {
    "mountain_car": Table(
        task("SparseMountainCar", 50_000, TRPO_SHORT, eval_episodes=20),
        seeds=10,
        methods={
            "none": NONE,
            "gsde": NONE | {"learner_kwargs": TRPO_SHORT | {"use_sde": True, "sde_sample_freq": 8}},
            "held-noise-8": NONE | {"held_noise": 8},
            "vime": {"reward": "vime", "weight": 1e-3},
            "vime-released": {"reward": "vime", "weight": 1e-4, "reward_kwargs": {"preset": "released"}},
            "vime-uncapped": {"reward": "vime", "weight": 1e-3, "reward_kwargs": {"max_bonus": 1e9}},
            **{name: {"reward": name, "weight": 1e-3} for name in PEERS},
        },
        milestones=(10_000, 20_000, 30_000),
        notes="A bonus is in units of its running median (VIME) or root mean square (the others).",
    ),
    "half_cheetah": Table(
        task("SparseHalfCheetah", 500_000, TRPO_LONG),
        seeds=5,
        methods={"none": NONE, "vime-released": RELEASED, "vime": {"reward": "vime", "weight": 1e-3}},
        milestones=(100_000, 250_000, 500_000),
        notes="A public port, mean of the middle 3 of 5 seeds at 100k, 250k, 500k steps: PPO 3.6, 37, 63; VIME with PPO 9.1, 122, 183.",
    ),
    "half_cheetah_fine": Table(
        task("SparseHalfCheetahFine", 500_000, TRPO_LONG),
        seeds=3,
        methods={"vime-released": RELEASED, "none": NONE},
        milestones=(100_000, 250_000, 500_000),
    ),
    "cartpole_swingup": Table(
        task("SparseCartpoleSwingup", 500_000, {"n_steps": 512, "batch_size": 512, "target_kl": 0.02}, learner="ppo"),
        seeds=3,
        methods={"vime": {"reward": "vime", "weight": 1e-3}, "none": NONE},
        milestones=(100_000, 250_000, 500_000),
    ),
    "sac_mountain_car": Table(
        task("SparseMountainCar", 15_000, SAC, learner="sac", n_envs=1, eval_episodes=20),
        seeds=3,
        methods={"none": NONE, "vime": {"reward": "vime", "weight": 1e-3}},
        milestones=(5_000, 10_000, 15_000),
    ),
}


def train(config: ExploreConfig) -> dict[str, Any]:
    """One run to its end, from wherever it is."""
    assert config.out is not None
    if (config.out / "result.json").exists():
        result: dict[str, Any] = json.loads((config.out / "result.json").read_text())
        if result["status"] == "finished":
            return result
    return resume(config.out, quiet=True) if (config.out / "config.json").exists() else explore(config, quiet=True)


def read(method: str, config: ExploreConfig, milestones: tuple[int, ...]) -> dict[str, Any] | None:
    """A row of the table, from a finished run's files."""
    assert config.out is not None
    path = config.out / "result.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    if result["status"] != "finished":
        return None
    with (config.out / "episodes.csv").open() as file:
        episodes = [(int(row["step"]), float(row["return"])) for row in csv.DictReader(file)]
    steps, returns = np.array([step for step, _ in episodes]), np.array([value for _, value in episodes])
    row = {
        "method": method,
        "seed": config.seed,
        "first_reward_step": result["first_reward_step"],
        "training_return": result["training_return"],
        "evaluation_return": result["evaluation_return"],
    }
    for step in milestones:
        seen = returns[steps <= step][-20:]
        row[f"return_at_{step}"] = float(seen.mean()) if len(seen) else None
    smooth = np.convolve(returns, np.ones(20) / 20, "valid") if len(returns) >= 20 else np.array([])
    solved = np.flatnonzero(smooth >= 0.9)
    row["first_step_of_0.9"] = int(steps[solved[0] + 19]) if len(solved) else None
    return row | {key: result[key] for key in ("coverage", "steps", "seconds", "steps_per_second", "peak_rss_mb")}


def summary(rows: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Median, interquartile mean with its 95 % bootstrap interval, and the mean of the middle ones."""
    values = np.array([row[key] for row in rows if row[key] is not None], dtype=float)
    if not len(values):
        return {"n": 0}
    report = {"n": len(values), "median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}
    report["iqm"] = float(stats.trim_mean(values, 0.25))
    if len(values) > 2:
        report["mean_without_extremes"] = float(np.sort(values)[1:-1].mean())
        interval = stats.bootstrap(
            (values,),
            lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        report["iqm_95"] = [float(interval.low), float(interval.high)]
    return report


def report(name: str, table: Table) -> None:
    """Write the table's JSON and CSV, and print it."""
    rows = [row for method, config in table.cells(name) if (row := read(method, config, table.milestones)) is not None]
    keys = ["training_return", "evaluation_return", *(f"return_at_{step}" for step in table.milestones)]
    methods: dict[str, Any] = {}
    for method in table.methods:
        mine = [row for row in rows if row["method"] == method]
        if not mine:
            continue
        methods[method] = {
            "seeds": len(mine),
            "changes": {key: value for key, value in table.methods[method].items() if value != {}},
            "found_a_reward": sum(row["first_reward_step"] is not None for row in mine),
            "success_of_0.9_at_the_end": sum(row["training_return"] is not None and row["training_return"] >= 0.9 for row in mine),
            "success_of_0.9_deterministic": sum(row["evaluation_return"] is not None and row["evaluation_return"] >= 0.9 for row in mine),
            "median_steps_per_second": float(np.median([row["steps_per_second"] for row in mine])),
            "peak_rss_mb": max(row["peak_rss_mb"] for row in mine),
            **{key: summary(mine, key) for key in keys},
        }
    packages = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "numpy")
    document = {
        "command": f"python demos/exploration.py {name}",
        "base": table.base.to_dict() | {"out": None},
        "notes": table.notes,
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "machine": {"processors": os.cpu_count(), "runs_at_once": 2, "threads_a_run": table.base.threads},
        "methods": methods,
    }
    RESULTS.mkdir(exist_ok=True)
    write_whole(RESULTS / f"{name}.json", (json.dumps(document, indent=1) + "\n").encode())
    if rows:
        text = StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(RESULTS / f"{name}.csv", text.getvalue().encode())
    for method, entry in methods.items():
        print(f"{method:24} {entry['seeds']:2} seeds, reward found by {entry['found_a_reward']:2}, return {entry['training_return']}")


def run_all(cells: list[tuple[str, str, ExploreConfig]], workers: int) -> None:
    """Train every cell; one bad run does not stop the others, Ctrl-C stops them all and loses nothing."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    futures = {pool.submit(train, config): (name, method, config) for name, method, config in cells}
    try:
        for done, future in enumerate(as_completed(futures), 1):
            name, method, config = futures[future]
            try:
                result = future.result()
                line = f"return {result['training_return']}, {result['steps_per_second']} steps/s, {result['status']}"
            except Exception as error:
                line = f"failed: {error}"
            print(f"[{done}/{len(futures)}] {name} {method} seed {config.seed}: {line}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C the two runs under way save themselves, and no other begins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=list(TABLES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--report", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if not arguments.report:
        wanted = [(name, *cell) for name in arguments.tables for cell in TABLES[name].cells(name)]
        cells = [cell for cell in wanted if not arguments.methods or cell[1] in arguments.methods]
        run_all(cells, arguments.workers)
    for name in arguments.tables:
        report(name, TABLES[name])


if __name__ == "__main__":
    main()
