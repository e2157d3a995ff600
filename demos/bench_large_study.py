"""Processor time of the commands that look at a study of 2,000 runs.

    python demos/bench_large_study.py    # about two minutes; writes demos/results/bench_large_study.json

The runs are made up (tests/studies/synthetic.py): each has a configuration, a result, 250 episodes and a histogram of where it has been.
The report and `genrl study`, which finds nothing left to train, are whole commands, imports included, over two finished studies: 4 tasks
with 50 seeds, and 20 tasks with 10. The board is drawn every second while a study trains, so its time is given as a share of a core, for a
study of which half is finished, two runs are at work and the rest waits.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import spread, write
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))
from genrl.cli._board import SECONDS, Board
from genrl.studies.matrix import Study
from tests.studies.synthetic import make_study

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
REPEATS = 3
METHODS = [f"m{i}" for i in range(10)]
ENVS = ("genrl/SparseMountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0", "genrl/CartpoleSwingup-v0")


def made(folder: Path, tasks: int, seeds: int) -> Study:
    """A finished study of 2,000 runs; of four tasks they are real ones, so that `genrl study` accepts them."""
    names = [f"t{i}" for i in range(tasks)]
    return make_study(folder / f"tasks{tasks}", names, METHODS, seeds, envs=ENVS if tasks == len(ENVS) else (), episodes=250)


def seconds(*words: str) -> float:
    """Processor time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "genrl", *words], env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def share_of_a_core(folder: Path) -> float:
    """Processor time of a second of the board."""
    place = {"at work": 0}

    def status(cell: object) -> str:
        place["at work"] += 1
        return "finished" if place["at work"] <= 1000 else "running" if place["at work"] <= 1002 else "waiting"

    study = make_study(folder / "board", [f"t{i}" for i in range(4)], METHODS, 50, episodes=250, status=status)
    board, console = Board(study), Console(file=open(os.devnull, "w"), force_terminal=True, width=120, height=50)  # noqa: SIM115, PTH123
    begun, draws = time.process_time(), 20
    for _ in range(draws):
        console.print(board.render(console.height))
        time.sleep(SECONDS)
    return (time.process_time() - begun) / (draws * SECONDS)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = made(folder, 4, 50), made(folder, 20, 10)
        found = {
            "report_of_4_tasks": [seconds("report", str(few.directory)) for _ in range(REPEATS)],
            "report_of_20_tasks": [seconds("report", str(many.directory)) for _ in range(REPEATS)],
            "study_of_4_tasks": [seconds("study", str(few.directory)) for _ in range(REPEATS)],
        }
        board = share_of_a_core(folder)
    times = {name: spread(values) for name, values in found.items()}
    write("bench_large_study", {"cells": len(few.cells), "cpu_seconds": times, "board_share_of_a_core": board})


if __name__ == "__main__":
    main()
