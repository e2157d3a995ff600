"""What an archive of places finds where no noise does, without any learner: the step of the first reward on each task.

python demos/archive.py    # about two minutes of one core; writes demos/results/archive.json
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measured import read, write

from genrl.runs.archive import explore_by_archive

TASKS = ("SparseHopper", "SparseWalker2d", "PointMaze", "SwimmerGather", "SparseSwimmer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="explore these, keep the file's others")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps, those on the way back too (default: 200000)")
    flags = parser.parse_args()
    tasks: dict[str, Any] = read("archive").get("tasks", {})
    for name in flags.tasks:
        reach, found = explore_by_archive(f"genrl/{name}-v0", flags.steps, seed=0)
        lengths = [] if found is None else [len(episode.actions) for episode in found.episodes]
        tasks[name] = asdict(reach) | {"episodes_found": len(lengths), "shortest": min(lengths, default=None)}
        write("archive", {"seed": 0, "tasks": {task: tasks[task] for task in TASKS if task in tasks}})


if __name__ == "__main__":
    main()
