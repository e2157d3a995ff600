"""Offline: what a policy learns from recorded steps alone, of three stages of a training, cautious and not, beside cloning them.

SAC is trained for three numbers of steps, and `genrl record` makes about 5,000 steps of each policy; the fourth data set, replay, mixes the
three. On each of them PPO learns in a dream, with the model's uncertainty as a penalty and without, and behaviour cloning imitates it.

    python demos/offline_dreams.py data                    # four minutes of one core; runs/offline/pendulum/*.npz
    python demos/offline_dreams.py learn --seeds 0 1 2     # about a minute a run; writes demos/results/dream/offline_pendulum.json
    python demos/offline_dreams.py learn --task inverted_pendulum   # another task, after `data --task inverted_pendulum`
    python demos/offline_dreams.py gap                     # returns of eleven policies on Pendulum-v1; writes demos/results/dream/gap.json

The optimum in the last is that of value iteration on the true equations.

Seconds are those of the processor, one torch thread. What was measured before is kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from measured import read, write

from genrl.data import Demonstrations
from genrl.reading import read_json
from genrl.runs import DreamConfig, ExploreConfig, ImitateConfig, RunDirectory, dream, explore, imitate, record
from genrl.runs.config.commands import config_from
from genrl.runs.dreams.comparison import SEED, SHARES, Acting
from genrl.runs.dreams.world import kept_model
from genrl.runs.environments.make import make_env
from genrl.runs.opening import trained
from genrl.worlds import blurred, measure_agreement

OUT, DREAMED = Path("runs/offline"), 250_000
TASKS: dict[str, dict[str, Any]] = {
    "pendulum": {
        "env": "Pendulum-v1",
        "stages": {"untrained": (100, 25), "medium": (2500, 25), "trained": (5000, 25)},
    },
    "inverted_pendulum": {
        "env": "InvertedPendulum-v5",
        "stages": {"untrained": (100, 600), "medium": (1500, 60), "trained": (5000, 5)},
        "dream": {"margin": 1.0},
    },
}
"""For each task the steps of SAC after which its policy is recorded, the episodes that are, and what its dreams are given."""
SETS = ("untrained", "medium", "trained", "replay")
METHODS: dict[str, dict[str, Any] | None] = {
    "not cautious": {"eta": 0.0},
    "cautious": {},
    "very cautious": {"eta": -100.0},
    "stops": {"eta": 0.0, "stop_quantile": 0.95},
    "cloned": None,
}
"""What is given beside the defaults of an offline dream; ``None`` is no dream."""


def make_data(name: str) -> None:
    """Train, and record each stage; then mix them."""
    task, out = TASKS[name], OUT / name
    for stage, (steps, episodes) in task["stages"].items():
        sac: dict[str, Any] = {"learner": "sac", "learner_kwargs": {"learning_rate": 1e-3}, "reward": "none", "n_envs": 1}
        explore(ExploreConfig(env=task["env"], steps=steps, pictures=False, out=out / f"sac-{stage}", **sac), quiet=True)
        print(record(out / f"sac-{stage}", out / f"{stage}.npz", episodes=episodes, stochastic=True))
    parts = [Demonstrations.load(out / f"{stage}.npz") for stage in task["stages"]]
    thirds = [part.episodes[: len(part.episodes[index :: len(parts)])] for index, part in enumerate(parts)]
    mixed = [episode for third in zip_longest(*thirds) for episode in third if episode is not None]
    replay = Demonstrations.from_episodes(mixed, metadata=parts[0].metadata)
    replay.save(out / "replay.npz")
    print(replay)


def learn(name: str, data: str, method: str, seed: int) -> dict[str, Any]:
    """One run, evaluated in the task with ten episodes of the same starts for all."""
    task, keywords = TASKS[name], METHODS[method]
    demos, out = OUT / name / f"{data}.npz", OUT / name / f"{data}-{method.replace(' ', '-')}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    start, common = time.process_time(), {"demos": demos, "env": task["env"], "pictures": False, "seed": seed, "out": out}
    if keywords is None:
        result = imitate(ImitateConfig(steps=0, **common), quiet=True)
    else:
        result = dream(DreamConfig(steps=DREAMED, **common, **task.get("dream", {}), **keywords), quiet=True)
    if result["status"] != "finished" or result["evaluation_error"]:
        raise SystemExit(f"{data}, {method}: {result['status']}, {result['error'] or result['evaluation_error']}")
    found = {"return": result["evaluation_return"], "returns": result["evaluation_returns"], "cpu_seconds": time.process_time() - start}
    if keywords is None:
        return found
    compared = read_json(out / "dream.json")
    kept = {name: compared[name] for name in ("real_return", "dream_return", "policies")}
    return found | kept | {"quality": {name: compared["quality"][name] for name in ("horizons", "error", "coverage", "reward_r2")}}


def learn_all(name: str, seeds: list[int], sets: list[str], methods: list[str]) -> None:
    """Every method on every data set that has no number yet."""
    found = read(f"dream/offline_{name}") or {"env": TASKS[name]["env"], "sets": {}, "runs": {}}
    for data in sets:
        demos = Demonstrations.load(OUT / name / f"{data}.npz")
        found["sets"][data] = {"steps": int(demos.lengths.sum()), "returns": [round(float(each), 1) for each in demos.returns]}
    for seed in seeds:
        for data in sets:
            for method in methods:
                runs = found["runs"].setdefault(data, {}).setdefault(method, {})
                if str(seed) not in runs:
                    runs[str(seed)] = learn(name, data, method, seed)
                    write(f"dream/offline_{name}", found)


def measure_gap(data: str, seed: int, episodes: int) -> None:
    """Eleven policies between the trained one and chance, each from the same starts in the dream and in reality."""
    out = OUT / "pendulum"
    run = RunDirectory.open(out / f"{data}-not-cautious-{seed}")
    content = read_json(run.config)
    content.pop("about", None)
    config = config_from(content)
    assert isinstance(config, DreamConfig)
    with trained(run, config) as session:
        env, policy = make_env(config.env, config.env_kwargs), Acting(session)
        policies = {f"{share:.0%} random": blurred(policy, env.action_space, share) for share in SHARES}
        agreement = measure_agreement(kept_model(run, config, session), policies, env, episodes=episodes, seed=SEED, longest=200)
    starts = [env.reset(seed=SEED + index)[0] for index in range(episodes)]
    real_steps = int(Demonstrations.load(out / f"{data}.npz").lengths.sum())
    env.close()
    about = {"env": config.env, "data": data, "real_steps": real_steps, "episodes": episodes, "optimum": optimum(starts)}
    write("dream/gap", about | agreement.to_dict())


def optimum(starts: list[np.ndarray], angles: int = 201, speeds: int = 161, torques: int = 17, steps: int = 200) -> float:
    """Mean return of Pendulum-v1 by value iteration over 200 steps on a grid, from these starts, played on the true equations."""
    angle = torch.linspace(-torch.pi, torch.pi, angles, dtype=torch.float64)
    speed = torch.linspace(-8, 8, speeds, dtype=torch.float64)
    torque = torch.linspace(-2, 2, torques, dtype=torch.float64)

    def step(th: torch.Tensor, w: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        reward = -(th.square() + 0.1 * w.square() + 0.001 * u.square())
        w = (w + (15 * th.sin() + 3 * u) * 0.05).clamp(-8, 8)
        return torch.remainder(th + 0.05 * w + torch.pi, 2 * torch.pi) - torch.pi, w, reward

    def look(value: torch.Tensor, th: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x, y = (th + torch.pi) / (2 * torch.pi) * (angles - 1), (w + 8) / 16 * (speeds - 1)
        i, j = x.long().clamp(0, angles - 2), y.long().clamp(0, speeds - 2)
        a, b = x - i, y - j
        flat = lambda i, j: value.view(-1)[i * speeds + j]  # noqa: E731
        return (1 - a) * ((1 - b) * flat(i, j) + b * flat(i, j + 1)) + a * ((1 - b) * flat(i + 1, j) + b * flat(i + 1, j + 1))

    next_th, next_w, reward = step(angle[:, None, None], speed[None, :, None], torque[None, None, :])
    values = [torch.zeros(angles, speeds, dtype=torch.float64)]
    for _ in range(steps):
        values.append((reward + look(values[-1], next_th, next_w)).amax(2))
    obs = torch.as_tensor(np.array(starts), dtype=torch.float64)
    th, w, total = torch.atan2(obs[:, 1], obs[:, 0]), obs[:, 2], torch.zeros(len(obs), dtype=torch.float64)
    for left in reversed(range(steps)):
        next_th, next_w, reward = step(th[:, None], w[:, None], torque)
        best = (reward + look(values[left], next_th, next_w)).argmax(1, keepdim=True)
        th, w, reward = (each.gather(1, best)[:, 0] for each in (next_th, next_w, reward))
        total += reward
    return float(total.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["data", "learn", "gap"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of the runs (default: 0 1 2)")
    parser.add_argument("--task", choices=TASKS, default="pendulum", help="task of data and learn (default: pendulum)")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="data sets (default: all four)")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS, help="ways to learn (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")  # oneDNN's products, twice as fast on this processor
    if args.part == "data":
        make_data(args.task)
    elif args.part == "learn":
        learn_all(args.task, args.seeds, args.sets, args.methods)
    else:
        measure_gap("replay", args.seeds[0], 10)


if __name__ == "__main__":
    main()
