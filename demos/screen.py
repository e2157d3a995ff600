"""How far action noise alone gets on every task with a far reward that ships: which of them need curiosity.

python demos/screen.py    # about ten minutes of one core; writes demos/results/screen.json
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measured import read, write

from genrl.runs.screening.noise import NOISES, screen

STEPS, STD, SEED = 20_000, 1.0, 0
GYMNASIUMS: dict[str, tuple[str, dict[str, Any]]] = {"MountainCarContinuous": ("MountainCarContinuous-v0", {})}
OURS = ("SparseMountainCar", "NoisyTVMountainCar", "SparseCartpoleSwingup", "CartpoleSwingupSparse", "AcrobotSwingupSparse")
ROBOTS = ("HalfCheetah", "HalfCheetahFine", "Walker2d", "Hopper", "Swimmer", "Ant", "Humanoid")
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (f"genrl/{name}-v0", {}) for name in OURS},
    "SparseMountainCar, power 0.0003": ("genrl/SparseMountainCar-v0", {"power": 0.0003}),
    **{f"CartpoleSwingupSparse, cost {cost}": ("genrl/CartpoleSwingupSparse-v0", {"action_cost": cost}) for cost in (0.1, 0.25)},
    **{f"Sparse{name}": (f"genrl/Sparse{name}-v0", {}) for name in ROBOTS},
    **{name: (f"genrl/{name}-v0", {}) for name in ("SwimmerGather", "PointMaze")},
    **{f"PointMaze, {maze}": ("genrl/PointMaze-v0", {"maze": maze}) for maze in ("medium", "large")},
    "AntMaze": ("genrl/AntMaze-v0", {}),
    **GYMNASIUMS,
}
"""Pixel tasks have the states of others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="screen these, keep the file's others")
    chosen = parser.parse_args().tasks
    tasks: dict[str, Any] = read("screen").get("tasks", {})
    for name in chosen:
        env_id, keywords = TASKS[name]
        reached = screen(env_id, STEPS, NOISES, std=STD, seed=SEED, env_kwargs=keywords)
        tasks[name] = {"env": env_id, "env_kwargs": keywords, "noises": {noise: asdict(reach) for noise, reach in reached.items()}}
        print(name, {noise: f"{reach.rewarded_episodes} of {reach.episodes}" for noise, reach in reached.items()}, flush=True)
    write("screen", {"steps": STEPS, "std": STD, "seed": SEED, "tasks": {name: tasks[name] for name in TASKS if name in tasks}})


if __name__ == "__main__":
    main()
