"""The time that a study takes over that of its bare runs, and what a second worker brings.

    python demos/bench_studies.py    # about ten minutes on two idle cores; writes demos/results/bench_studies.json

The bare runs are the same 20 configurations in one or two Python processes that do nothing but `explore(config)` in a loop. What two such
processes bring over one is what the machine's second core is worth. The sides take turns; every run has one torch thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import spread, write

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
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
    """Commands of Python processes that share the runs among them and do nothing else."""
    out, of = str(folder / f"bare{processes}"), str(processes)
    return [[sys.executable, "-c", BARE, str(folder / "study.toml"), out, str(first), of] for first in range(processes)]


def study(folder: Path, workers: int) -> list[list[str]]:
    """The command of the same runs as a study."""
    out = str(folder / f"study{workers}")
    return [[sys.executable, "-m", "genrl", "study", str(folder / "study.toml"), "--out", out, "--workers", str(workers)]]


def seconds(commands: list[list[str]]) -> float:
    """Wall time of ``commands``, side by side."""
    began = time.perf_counter()
    processes = [subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    if any(process.wait() for process in processes):
        raise SystemExit(f"one of {commands} failed")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="times that each side is measured (default: 3)")
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {"bare_2": [], "study_2": [], "bare_1": [], "study_1": []}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "study.toml").write_text(STUDY)
            for key in times:
                kind, number = key.split("_")
                times[key].append(seconds((bare if kind == "bare" else study)(folder, int(number))))
                print(f"repeat {repeat + 1}, {key}: {times[key][-1]:.1f} s", flush=True)
    ratios = {
        "study_over_bare_2_workers": ("study_2", "bare_2"),
        "throughput_of_2_workers_over_1": ("study_1", "study_2"),
        "throughput_of_2_bare_processes_over_1": ("bare_1", "bare_2"),
    }
    found = {name: spread([a / b for a, b in zip(times[over], times[under], strict=True)]) for name, (over, under) in ratios.items()}
    write("bench_studies", {"cells": 20, "seconds": {key: spread(values) for key, values in times.items()}, **found})


if __name__ == "__main__":
    main()
