"""GAIL against the learner alone, PPO or SAC, and against the `imitation` library: ratios in one run, and races to a return.

The library runs in an environment of its own, named by its python, because it needs other versions. The sides take turns, each with one
torch thread; all times are of the processor. Writes demos/results/bench_imitation.json.

    python demos/bench_imitation.py [--peer PYTHON]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measured import read, spread, write
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from genrl.data import Demonstrations
from genrl.policies import Mixing
from genrl.rewards import GAIL, RewardCallback
from genrl.runs import ImitateConfig
from genrl.runs.building import build

DEMOS = Path(__file__).parent / "halfcheetah.hdf5"
PEER = Path(__file__).parent / "peer_imitation.py"
ENV, ROUND = "HalfCheetah-v5", {"n_envs": 8, "n_steps": 256}
GOALS = {"HalfCheetah-v5": 4000.0, "Hopper-v5": 3000.0, "Walker2d-v5": 5400.0}
"""About nine tenths of the experts' returns."""
STEPS = {"HalfCheetah-v5": 3_000_000, "Hopper-v5": 300_000, "Walker2d-v5": 1_000_000}
"""Steps over which our learning rate falls."""
DISCRIMINATOR = {"updates": 4, "batch_size": 1024}
OF_PEER = {"hidden": (32, 32), "gradient_penalty": 0.0}
"""The discriminator of the other library."""


def seconds_of_rounds(demonstrations: Demonstrations | None, rounds: int, **options: Any) -> float:
    """Processor seconds that PPO with GAIL, or without demonstrations PPO alone, learns for ``rounds``, after two that warm up."""
    env = make_vec_env(ENV, n_envs=ROUND["n_envs"], seed=0)
    model = PPO("MlpPolicy", env, n_steps=ROUND["n_steps"], seed=0)
    callback = None
    if demonstrations is not None:
        gail = GAIL(demonstrations, model.observation_space, model.action_space, **DISCRIMINATOR, **options)
        callback = RewardCallback(gail, extrinsic_weight=0.0)
    a_round = ROUND["n_envs"] * ROUND["n_steps"]
    model.learn(2 * a_round, callback=callback)
    start = time.process_time()
    model.learn(rounds * a_round, callback=callback)
    env.close()
    return time.process_time() - start


def seconds_of_updates(demonstrations: Demonstrations | None, updates: int = 300) -> float:
    """Processor seconds that SAC, with GAIL as `genrl imitate` sets it or alone, learns for ``updates``, after a hundred that warm up."""
    env = make_vec_env(ENV, n_envs=1, seed=0)
    model = SAC("MlpPolicy", env, learning_starts=400, seed=0)
    callback: list[BaseCallback] | None = None
    if demonstrations is not None:
        gail = GAIL(demonstrations, model.observation_space, model.action_space, form="logit", absorbing=True, normalize=False)
        callback = [RewardCallback(gail, extrinsic_weight=0.0, update_every=250), Mixing(demonstrations, share=0.5)]
    model.learn(500, callback=callback)
    start = time.process_time()
    model.learn(updates, callback=callback, reset_num_timesteps=False)
    env.close()
    return time.process_time() - start


def overhead(demos: Path, peer: str | None, repeats: int, rounds: int = 10) -> dict[str, dict[str, Any]]:
    """Processor time over that of the learner alone. PPO's round is 2,048 steps and four discriminator updates of 1,024 pairs each."""
    demonstrations = Demonstrations.load(demos)
    ratios: dict[str, list[float]] = {}
    for _ in range(repeats):
        ratios.setdefault("GAIL with SAC", []).append(seconds_of_updates(demonstrations) / seconds_of_updates(None))
        bare = seconds_of_rounds(None, rounds)
        ratios.setdefault("GAIL", []).append(seconds_of_rounds(demonstrations, rounds) / bare)
        ratios.setdefault("GAIL, the peer's discriminator", []).append(seconds_of_rounds(demonstrations, rounds, **OF_PEER) / bare)
        if peer:
            (line,) = run_peer(peer, "overhead", str(demos), str(rounds))
            ratios.setdefault("imitation", []).append(line["gail"] / line["bare"])
        print({name: round(values[-1], 3) for name, values in ratios.items()}, flush=True)
    return {name: spread(values) for name, values in ratios.items()}


def run_peer(python: str, *words: str) -> list[dict[str, Any]]:
    """Ask the other library, which prints a JSON object a line."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, str(PEER), *words], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Race(BaseCallback):
    """Evaluates while the clock stands still, and ends the training at the goal.

    Args:
        env: environment of the evaluations.
        every: environment steps from one evaluation to the next.
        began: seconds that were spent before ``learn``.
        goal: return at which it ends.
    """

    def __init__(self, env: VecEnv, every: int, began: float, goal: float) -> None:
        super().__init__()
        self.env, self.every, self.seconds, self.next, self.goal = env, every, began, every, goal
        self.started = time.process_time()
        self.curve: list[dict[str, float]] = []

    def _on_rollout_start(self) -> None:
        now = time.process_time()
        if self.num_timesteps:
            self.seconds += now - self.started
        if self.num_timesteps >= self.next or not self.num_timesteps:
            self.next = self.num_timesteps + self.every
            self.curve.append({"steps": self.num_timesteps, "seconds": self.seconds, "return": self.evaluate()})
            print(self.curve[-1], flush=True)
        self.started = time.process_time()

    def evaluate(self) -> float:
        normalize = self.model.get_vec_normalize_env()
        if isinstance(self.env, VecNormalize) and normalize is not None:
            self.env.obs_rms = normalize.obs_rms
        self.env.seed(10_000)
        returns, _ = evaluate_policy(self.model, self.env, n_eval_episodes=10, deterministic=True)
        return float(returns)  # type: ignore[arg-type]

    def _on_step(self) -> bool:
        return not (self.curve and self.curve[-1]["return"] >= self.goal)


def ours(demos: Path, task: str, cloned: bool, seed: int) -> list[dict[str, float]]:
    """The learning curve of `genrl imitate --demos DEMOS`, with or without its warm start."""
    config = ImitateConfig(demos=demos, env=task, seed=seed, **({} if cloned else {"clone": 0}))
    session = build(config)
    evaluation = make_vec_env(task, n_envs=10)
    evaluation = VecNormalize(evaluation, training=False, norm_reward=False) if session.normalize is not None else evaluation
    start = time.process_time()
    session.clone()
    race = Race(evaluation, 10_000, time.process_time() - start, GOALS[task])
    session.learner.learn(STEPS[task], callback=[*session.callbacks, race])
    session.env.close()
    evaluation.close()
    return race.curve


def race(demos: Path, task: str, peer: str | None, seeds: Sequence[int], minutes: float, known: dict[str, Any]) -> dict[str, Any]:
    """Learning curves until the mean of ten deterministic episodes reaches the goal, added to those that are ``known``; all sides have the
    same demonstrations.
    """
    demonstrations = Demonstrations.load(demos)
    results = known | {
        "goal": GOALS[task],
        "demonstrations": f"{demonstrations.n_episodes} trajectories, {demonstrations.n_steps} pairs",
    }
    for seed in seeds:
        for name, cloned in {"genrl": True, "genrl, not cloned": False}.items():
            results.setdefault(name, []).append(ours(demos, task, cloned, seed))
        if peer:
            results.setdefault("imitation", []).append(
                run_peer(peer, "race", str(demos), str(seed), str(60 * minutes), task, str(GOALS[task]))
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--demos", type=Path, default=DEMOS, help="demonstrations of the task, whole trajectories (default: demos/halfcheetah.hdf5)"
    )
    parser.add_argument("--task", choices=list(GOALS), default=ENV, help=f"task of the race (default: {ENV})")
    parser.add_argument("--peer", help="a python that can import imitation; without one the library is not measured")
    parser.add_argument("--only", choices=["overhead", "race"], help="measure one of the two, and keep what the file says of the other")
    parser.add_argument("--repeats", type=int, default=5, help="times that the overhead is measured (default: 5)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a race of each side for each of them (default: 0)")
    parser.add_argument("--add", action="store_true", help="add these races to those of the task that the file has")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes after which the peer's race ends (default: 60)")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    found = read("bench_imitation") | {"env": ENV, "peer": "imitation 1.0.1"}
    if flags.only != "race":
        found.setdefault("time_over_the_learner_alone", {}).update(overhead(flags.demos, flags.peer, flags.repeats))
    if flags.only != "overhead":
        races = found.setdefault("races", {})
        known = races.get(flags.task, {}) if flags.add else {}
        races[flags.task] = race(flags.demos, flags.task, flags.peer, flags.seeds, flags.minutes, known)
    write("bench_imitation", found)


if __name__ == "__main__":
    main()
