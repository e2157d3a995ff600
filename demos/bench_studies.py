"""What a study costs over its bare runs, and what a second worker brings.

    python demos/bench_studies.py       # about ten minutes on two idle cores; writes demos/results/bench_studies.json

The bare runs are the same 20 configurations in one or two Python processes that do nothing else: `explore(config)` in a loop. What two of
them bring over one is what the machine's second core is worth. Repeats alternate; one torch thread a run everywhere.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
REPEATS = 3
STUDY = """
[study]
seeds = 10
score = "training_return"

[run]
learner = "trpo"
learner_kwargs = { n_steps = 128, gae_lambda = 0.98 }
steps = 15_000
n_envs = 8
normalize_obs = true

[tasks.car]
env = "genrl/SparseMountainCar-v0"

[methods.none]
reward = "none"

[methods.rnd]
reward = "rnd"
"""
BARE = """
import sys
from pathlib import Path
from genrl.runs import explore
from genrl.studies import Study
study = Study.load(sys.argv[1], sys.argv[2])
for cell in study.cells[int(sys.argv[3])::int(sys.argv[4])]:
    explore(cell.config, quiet=True)
"""


def bare(folder: Path, processes: int) -> list[list[str]]:
    """Python processes that share the runs out and do nothing else."""
    out, of = str(folder / f"bare{processes}"), str(processes)
    return [[sys.executable, "-c", BARE, str(folder / "study.toml"), out, str(first), of] for first in range(processes)]


def study(folder: Path, workers: int) -> list[list[str]]:
    out = str(folder / f"study{workers}")
    return [[sys.executable, "-m", "genrl", "study", str(folder / "study.toml"), "--out", out, "--workers", str(workers)]]


def seconds(commands: list[list[str]]) -> float:
    """Wall time of ``commands``, side by side."""
    began = time.perf_counter()
    processes = [subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    if any(process.wait() for process in processes):
        raise SystemExit(f"one of {commands} failed")
    return time.perf_counter() - began


def spread(values: list[float]) -> dict[str, object]:
    return {"median": round(statistics.median(values), 3), "min_max": [round(min(values), 3), round(max(values), 3)]}


def main() -> None:
    times: dict[str, list[float]] = {"bare_2": [], "study_2": [], "bare_1": [], "study_1": []}
    for repeat in range(REPEATS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "study.toml").write_text(STUDY)
            for key in times:
                kind, number = key.split("_")
                times[key].append(seconds((bare if kind == "bare" else study)(folder, int(number))))
                print(f"repeat {repeat + 1}, {key}: {times[key][-1]:.1f} s", flush=True)
    document = {
        "command": "python demos/bench_studies.py",
        "cells": 20,
        "seconds": {key: spread(values) for key, values in times.items()},
        "study_over_bare_2_workers": spread([a / b for a, b in zip(times["study_2"], times["bare_2"], strict=True)]),
        "throughput_of_2_workers_over_1": spread([a / b for a, b in zip(times["study_1"], times["study_2"], strict=True)]),
        "throughput_of_2_bare_processes_over_1": spread([a / b for a, b in zip(times["bare_1"], times["bare_2"], strict=True)]),
        "versions": {name: version(name) for name in ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "numpy")},
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "threads_a_run": 1},
    }
    path = Path(__file__).parent / "results" / "bench_studies.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
