"""Ten demonstrations of images, imitated through codes: `python demos/imitate_images.py`; minutes on one core.

The expert pumps energy into PixelPendulum until the pole is nearly upright, and then holds it there; it acts on the true state, the
imitator sees images alone. A score of 0 is what random actions get, 1 is the expert's.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
from encoders import eyes
from measured import write

import genrl
from genrl.cli import main as command
from genrl.data import Demonstrations, Episode
from genrl.reading import read_json

TASK = "genrl/PixelPendulum-v0"
EPISODES, JUDGED = 10, 50
TORQUE = 2.0


def expert(state: np.ndarray) -> float:
    """The torque on a pendulum whose angle θ is 0 upright, θ̈ = 15 sin θ + 3 torque: of the energy far from there, linear near it."""
    cos, sin, speed = (float(value) for value in state)
    angle = math.atan2(sin, cos)
    if cos > 0.9 and abs(speed) < 3.0:
        return max(-TORQUE, min(TORQUE, -6.0 * angle - 1.5 * speed))
    missing = 15.0 - (speed**2 / 2 + 15.0 * cos)
    return max(-TORQUE, min(TORQUE, 0.3 * speed * missing if abs(speed) > 1e-3 else TORQUE))


def played(seed: int, act: Any, size: int = 32) -> Episode:
    """One episode of images."""
    env = gymnasium.make(TASK, size=size)
    env.action_space.seed(seed)
    obs, info = env.reset(seed=seed)
    seen, actions, rewards, terminated, truncated = [obs], [], [], False, False
    while not (terminated or truncated):
        action = np.array([act(info["state"])], np.float32) if act is not None else env.action_space.sample()
        obs, reward, terminated, truncated, info = env.step(action)
        seen.append(obs)
        actions.append(action)
        rewards.append(float(reward))
    last = np.arange(len(actions)) == len(actions) - 1
    return Episode(np.stack(seen), np.stack(actions), np.array(rewards), last & terminated, last & truncated)


def mean_return(act: Any, seed: int) -> float:
    return float(np.mean([played(seed + i, act).rewards.sum() for i in range(JUDGED)]))


def imitated(run: Path, encoder: Path, demos: Path, seed: int, flags: list[str]) -> dict[str, Any]:
    """One run of the command."""
    words = ["imitate", "--env", TASK, "--encoder", str(encoder), "--demos", str(demos), "--seed", str(seed), "--out", str(run)]
    if not (run / "result.json").is_file():
        assert command([*words, *flags, "--eval-episodes", str(JUDGED), "--no-pictures"]) == 0
    return dict(read_json(run / "result.json"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="*", default=["jepa", "pca", "random"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/imitate_images"))
    given = parser.parse_args()
    assert genrl.__version__
    floor, ceiling = mean_return(None, 20_000), mean_return(expert, 20_000)
    rows = []
    for seed in range(given.seeds):
        file = given.out / f"demos-{seed}.hdf5"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            Demonstrations.from_episodes([played(1_000 * seed + i, expert) for i in range(EPISODES)], env_id=TASK).save(file)
        for arm in given.arms:
            encoder = eyes(Path("runs/eyes/pendulum"), arm, {}, TASK, seed)
            result = imitated(given.out / f"{arm}-{seed}", encoder, file, seed, ["--steps", "0"])
            score = (result["evaluation_return"] - floor) / (ceiling - floor)
            rows.append({"arm": arm, "seed": seed, "return": result["evaluation_return"], "score": score, "seconds": result["seconds"]})
            print(rows[-1], flush=True)
    about = {"task": TASK, "episodes": EPISODES, "expert": ceiling, "random_actions": floor, "rows": rows}
    write("encoders/imitate", about)
