"""What an archive of places finds where no noise does, without any learner, and the policy that GAIL makes of it.

python demos/archive.py                        # about two minutes of one core, and one or two more for each policy
python demos/archive.py --tasks PointMaze      # this task anew; the others of demos/results/archive.json stay

The policy sees the archive's episodes alone, never the task's reward, and is judged by it from 20 starts.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measured import read, write

from genrl.data import Demonstrations
from genrl.runs import ImitateConfig, imitate
from genrl.runs.screening.archive import explore_by_archive

TASKS = ("SparseHopper", "SparseWalker2d", "PointMaze", "SwimmerGather", "AntMaze", "SparseSwimmer")
EPISODES = 20
IMITATED = 300_000


def policy(name: str, steps: int, found: Demonstrations) -> dict[str, Any]:
    """What a policy gets that imitates the episodes, with the defaults of `genrl imitate`."""
    out = Path("runs/archive") / f"{name}-{steps}"
    demos = out.with_suffix(".hdf5")
    demos.parent.mkdir(parents=True, exist_ok=True)
    demos.unlink(missing_ok=True)
    found.save(demos)
    config = ImitateConfig(demos=demos, steps=IMITATED, eval_episodes=EPISODES, seed=1, pictures=False, out=out)
    result = imitate(config, quiet=True)
    return {"steps": result["steps"], "return": result["evaluation_return"], "episodes": EPISODES, "seconds": result["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="explore these, keep the file's others")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps, those on the way back too (default: 200000)")
    flags = parser.parse_args()
    tasks: dict[str, Any] = read("archive").get("tasks", {})
    for name in flags.tasks:
        reach, found = explore_by_archive(f"genrl/{name}-v0", flags.steps, seed=0)
        lengths = [] if found is None else [len(episode.actions) for episode in found.episodes]
        learned = policy(name, flags.steps, found) if found is not None else None
        tasks[name] = asdict(reach) | {"episodes_found": len(lengths), "shortest": min(lengths, default=None), "policy": learned}
        write("archive", {"seed": 0, "tasks": {task: tasks[task] for task in TASKS if task in tasks}})


if __name__ == "__main__":
    main()
