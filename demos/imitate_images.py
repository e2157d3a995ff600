"""Ten demonstrations of images, imitated through codes: `python demos/imitate_images.py`; an hour and a half on one core, most of it GAIL.

The expert pumps energy into PixelPendulum until the pole is nearly upright, and then holds it there; it acts on the true state, the
imitator sees images alone (but for the arm `state`, which is told the state: what is lost there, no eyes can bring back). A score of 0 is
what random actions get, 1 is the expert's.

Demonstrations are `clean`, or `disturbed`: noise is added to the torque that the pendulum feels, and the torque that the expert meant is
recorded, so that the episodes show what to do off the expert's path (Laskey et al., "DART", 2017, arXiv:1703.09327).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
from encoders import eyes
from measured import read, write

import genrl
from genrl.cli import main as command
from genrl.data import Demonstrations, Episode
from genrl.reading import read_json

TASK = "genrl/PixelPendulum-v0"
EPISODES, JUDGED = 10, 50
TORQUE = 2.0
NOISE = 2.0
"""Standard deviation of the noise on the torque, in its units."""
CLONED = ["--learner", "sac", "--steps", "0"]
GAIL = ["--learner", "sac", "--steps", "8000", "--learner.learning-rate", "1e-3", "--learner.net-arch", "128", "128"]
LIKELIHOOD = ["--learner", "ppo", "--steps", "0"]
WAYS = {
    "disturbed": ("cloned", NOISE, CLONED, ("jepa", "pca", "random", "state")),
    "gail": ("GAIL", 0.0, GAIL, ("pca",)),
    "clean": ("cloned", 0.0, CLONED, ("jepa", "pca", "random", "state")),
    "likelihood": ("cloned by likelihood", 0.0, LIKELIHOOD, ("state", "pca", "random")),
}
"""What is done, to what demonstrations (the noise), by which flags, and through which eyes."""


def expert(state: np.ndarray) -> float:
    """The torque on a pendulum whose angle θ is 0 upright, θ̈ = 15 sin θ + 3 torque: of the energy far from there, linear near it."""
    cos, sin, speed = (float(value) for value in state)
    angle = math.atan2(sin, cos)
    if cos > 0.9 and abs(speed) < 3.0:
        return max(-TORQUE, min(TORQUE, -6.0 * angle - 1.5 * speed))
    missing = 15.0 - (speed**2 / 2 + 15.0 * cos)
    return max(-TORQUE, min(TORQUE, 0.3 * speed * missing if abs(speed) > 1e-3 else TORQUE))


def played(seed: int, act: Any, noise: float = 0.0, **env_kwargs: Any) -> Episode:
    """One episode; its actions are those that ``act`` meant, which the pendulum feels with noise."""
    env, rng = gymnasium.make(TASK, **env_kwargs), np.random.default_rng(seed)
    env.action_space.seed(seed)
    obs, info = env.reset(seed=seed)
    seen, actions, rewards, terminated, truncated = [obs], [], [], False, False
    while not (terminated or truncated):
        action = np.array([act(info["state"])], np.float32) if act is not None else env.action_space.sample()
        felt = np.clip(action + noise * rng.standard_normal(1), -TORQUE, TORQUE).astype(np.float32)
        obs, reward, terminated, truncated, info = env.step(felt)
        seen.append(obs)
        actions.append(action)
        rewards.append(float(reward))
    last = np.arange(len(actions)) == len(actions) - 1
    return Episode(np.stack(seen), np.stack(actions), np.array(rewards), last & terminated, last & truncated)


def mean_return(act: Any, seed: int) -> float:
    return float(np.mean([played(seed + i, act).rewards.sum() for i in range(JUDGED)]))


def demonstrations(folder: Path, seed: int, noise: float, observe: str) -> Path:
    """The file of ten episodes, recorded if it is not there."""
    file = folder / f"{observe}-{noise:g}-{seed}.hdf5"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        episodes = [played(1_000 * seed + i, expert, noise, observe=observe) for i in range(EPISODES)]
        Demonstrations.from_episodes(episodes, env_id=TASK).save(file)
    return file


def imitated(folder: Path, way: str, arm: str, seed: int) -> dict[str, Any]:
    """One run of the command: its return, and its minutes of processor time."""
    _, noise, flags, _ = WAYS[way]
    run, known = folder / f"{way}-{arm}-{seed}", folder / f"{way}-{arm}-{seed}.json"
    if not known.is_file():
        state = arm == "state"
        sees = ["--env.observe", "state"] if state else ["--encoder", str(eyes(Path("runs/eyes/pendulum"), arm, TASK, seed))]
        file = demonstrations(folder, seed, noise, "state" if state else "pixels")
        words = ["imitate", "--env", TASK, *sees, "--demos", str(file), "--seed", str(seed), "--out", str(run), *flags]
        start = time.process_time()
        if not (run / "result.json").is_file():
            assert command([*words, "--eval-episodes", str(JUDGED), "--no-pictures"]) == 0
        minutes = (time.process_time() - start) / 60
        known.write_text(json.dumps({"return": read_json(run / "result.json")["evaluation_return"], "cpu_minutes": minutes}))
    return dict(read_json(known))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="leave some out; the file keeps those that are done")
    parser.add_argument("--arms", nargs="*", default=["jepa", "pca", "random", "state"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/imitate_images"))
    given = parser.parse_args()
    assert genrl.__version__
    floor, ceiling = mean_return(None, 20_000), mean_return(expert, 20_000)
    known = {(row["way"], row["arm"], row["seed"]): row for row in read("encoders/imitate").get("rows", []) if "way" in row}
    todo = [(name, eye, i) for name in given.ways for eye in WAYS[name][3] if eye in given.arms for i in range(given.seeds)]
    for way, arm, seed in todo:
        found = imitated(given.out, way, arm, seed)
        score = (found["return"] - floor) / (ceiling - floor)
        about = {"done": WAYS[way][0], "noise": WAYS[way][1], "flags": " ".join(WAYS[way][2])}
        known[way, arm, seed] = {"way": way, "arm": arm, "seed": seed, **about, "score": score, **found}
        print(known[way, arm, seed], flush=True)
        rows = {"task": TASK, "episodes": EPISODES, "expert": ceiling, "random_actions": floor, "rows": list(known.values())}
        write("encoders/imitate", rows)
