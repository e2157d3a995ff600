"""What an archive of places finds where no noise does, without any learner, and the policies that are made of it.

python demos/archive.py                        # about two minutes of one core, and three to five more for each policy
python demos/archive.py --tasks PointMaze      # this task anew; the others of demos/results/archive.json stay

One policy imitates the archive's episodes by GAIL and never sees the task's reward; the other is paid by the task, and makes half of its
steps in episodes that begin along the archive's. Both are judged by the task from 20 starts of its own.
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

TASKS: dict[str, dict[str, Any]] = {
    "SparseHopper": {},
    "SparseWalker2d": {},
    "PointMaze": {},
    "PointMaze, medium": {"maze": "medium"},
    "PointMaze, large": {"maze": "large"},
    "SwimmerGather": {},
    "AntMaze": {},
    "SparseSwimmer": {},
}
"""Keywords of each task that is explored; what stands behind a comma is no part of its name."""
EPISODES = 20
IMITATED = 300_000
STARTS = {"PointMaze": (10, 200_000), "PointMaze, medium": (10, 400_000), "SwimmerGather": (10, 200_000)}
"""Starts of the archive from whose episodes the paid policy begins, and its steps, where one start says little of another: goals or food
lie elsewhere."""
PAID = {"reward": "none", "demonstrated_starts": 0.5}


def policy(name: str, found: Demonstrations | None, **changes: Any) -> dict[str, Any] | None:
    """What a policy gets that is made of the episodes, with the defaults of `genrl imitate` but for ``changes``."""
    if found is None:
        return None
    out = Path("runs/archive") / name
    demos = out.with_suffix(".hdf5")
    demos.parent.mkdir(parents=True, exist_ok=True)
    demos.unlink(missing_ok=True)
    found.save(demos)
    config = ImitateConfig(demos=demos, steps=IMITATED, eval_episodes=EPISODES, seed=1, pictures=False, out=out, **changes)
    result = imitate(config, quiet=True)
    return {"steps": result["steps"], "return": result["evaluation_return"], "episodes": EPISODES, "seconds": result["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="explore these, keep the file's others")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps, those on the way back too (default: 200000)")
    flags = parser.parse_args()
    tasks: dict[str, Any] = read("archive").get("tasks", {})
    for name in flags.tasks:
        env, kwargs = f"genrl/{name.partition(',')[0]}-v0", TASKS[name]
        reach, found = explore_by_archive(env, flags.steps, seed=0, env_kwargs=kwargs)
        lengths = [] if found is None else [len(episode.actions) for episode in found.episodes]
        tasks[name] = asdict(reach) | {"episodes_found": len(lengths), "shortest": min(lengths, default=None)}
        tasks[name]["policy"] = policy(f"{name}-{flags.steps}", found)
        starts, steps = STARTS.get(name, (1, flags.steps))
        if starts > 1:
            _, found = explore_by_archive(env, steps, seed=0, starts=starts, env_kwargs=kwargs)
        tasks[name]["paid"] = (policy(f"{name}-{flags.steps}-paid", found, **PAID) or {}) | {"starts": starts}
        write("archive", {"seed": 0, "tasks": {task: tasks[task] for task in TASKS if task in tasks}})


if __name__ == "__main__":
    main()
