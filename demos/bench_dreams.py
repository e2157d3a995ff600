"""Dreams, measured: how fast they are, and how many real steps a policy needs that learns in them. Writes demos/results/dream/NAME.json.

    python demos/bench_dreams.py speed                                     # about three minutes
    python demos/bench_dreams.py inverted_pendulum --seeds 0 1             # PPO inside dreams; about a minute of one core a seed
    python demos/bench_dreams.py half_cheetah half_cheetah_alone           # the same, and the same PPO without a dream
    python demos/bench_dreams.py pendulum_sac_alone pendulum_sac_imagination    # SAC, and SAC with Imagination: as many updates

Names and settings are those of demos/dream_tasks.py. Seconds are those of the processor, of one torch thread, so that other work on the
machine does not count. A seed that was measured before is kept.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
import torch
from dream_tasks import OFF_POLICY_TASKS, PPO_TASKS
from measured import read, write
from sb3_contrib import CrossQ
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from genrl.models.dynamics import FitReport
from genrl.sb3.learner import constructor_kwargs
from genrl.transitions import Transitions
from genrl.worlds import DreamVecEnv, Ensemble, Imagination, Practice, Record, measure_quality

EPISODES, ROWS = 10, 256
LEARNERS = {"SAC": SAC, "CrossQ": CrossQ}


class Untrained(Ensemble):
    """A control: a model that is fitted once, for one step, and so has the units of the task and nothing else."""

    def fit(self, transitions: Transitions, reward: torch.Tensor | None = None, **kwargs: Any) -> FitReport:
        return super().fit(transitions, reward, max_steps=1)


class Shuffled(Ensemble):
    """A control: a model that is told the actions of other rows."""

    def fit(self, transitions: Transitions, reward: torch.Tensor | None = None, **kwargs: Any) -> FitReport:
        order = torch.randperm(transitions.batch_size, generator=self.generator)
        return super().fit(transitions._replace(action=transitions.action[order]), reward, **kwargs)


def _world(task: dict[str, Any], learner: BaseAlgorithm, seed: int) -> Ensemble:
    """The model of a run, or the control that stands in its place."""
    kind = {"shuffled": Shuffled, "untrained": Untrained}.get(task.get("world", ""), Ensemble)
    settings: dict[str, Any] = {"learning_rate": 1e-9} if kind is Untrained else {}
    return kind(learner.observation_space, learner.action_space, seed=seed, **settings)


def ppo_in_dreams(task: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run: the return after every so many real steps, until the target is met twice or the real steps are spent."""
    env = make_vec_env(task["env"], 1, seed=seed)
    env = VecNormalize(env, **task["normalize"]) if task["normalize"] else env
    learner = PPO("MlpPolicy", env, **{"n_steps": 500, "batch_size": 100, **task["ppo"]}, seed=seed, device="cpu")
    if task["practice"] is None:
        look = _Curve(task, 500)
        learner.learn(task["steps"], callback=look)
        return look.result()
    world = _world(task, learner, seed)
    practice = Practice(world, seed=seed, **task["practice"])
    look, clock = _Curve(task, 500, stops=True), _timed(world)
    learner.learn(task["steps"], callback=[practice, look])
    test = _episodes(learner, task["env"], 1000, seed)
    found = measure_quality(world, *test.transitions(), fitted=practice.record.transitions()[0])
    print(found.table(), flush=True)
    return {**look.result(clock), "quality": found.to_dict(), "dream": dict(practice.dream.counters)}


def _timed(world: Ensemble) -> list[float]:
    """Processor seconds of each fit from now on."""
    clock, fit = [], world.fit

    def timed(*args: Any, **kwargs: Any) -> FitReport:
        start = time.process_time()
        report = fit(*args, **kwargs)
        clock.append(time.process_time() - start)
        return report

    world.fit = timed
    return clock


def _episodes(learner: PPO, env_id: str, steps: int, seed: int) -> Record:
    """Steps of the trained policy, with its noise, in a task that the model has not seen."""
    env, record, normalize = gymnasium.make(env_id), Record(), learner.get_vec_normalize_env()
    obs, _ = env.reset(seed=10_000 + seed)
    for _ in range(steps):
        action = learner.predict(normalize.normalize_obs(obs) if normalize else obs)[0]  # clipped to the task's bounds already
        next_obs, reward, terminated, truncated, _ = env.step(action)
        record.add(obs[None], action[None], next_obs[None], np.array([terminated]), np.array([reward]))
        obs = env.reset()[0] if terminated or truncated else next_obs
    return record


def off_policy(task: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run: the return every so many real steps."""
    env = make_vec_env(task["env"], 1, seed=seed)
    settings = {"learning_starts": 250, "learning_rate": 1e-3, "net_arch": [64, 64], **task.get("settings", {})}
    kwargs = constructor_kwargs({**settings, "gradient_steps": task["updates"]}, env.action_space)
    learner = LEARNERS[task.get("learner", "SAC")]("MlpPolicy", env, **kwargs, seed=seed, device="cpu")
    look, callbacks, clock = _Curve(task, 250, task.get("stops", False)), [], [0.0]
    if task["imagination"]:
        world = _world(task, learner, seed)
        callbacks.append(Imagination(world, seed=seed, **task["imagination"]))
        clock = _timed(world)
    learner.learn(task["steps"], callback=[*callbacks, look])
    return look.result(clock)


class _Curve(BaseCallback):
    """Evaluates every so many real steps, after the practice there; where it ``stops``, once the target was met twice running."""

    def __init__(self, task: dict[str, Any], every: int, stops: bool = False) -> None:
        super().__init__()
        self.env, self.every, self.target, self.stops = task["env"], task.get("look", every), task["target"], stops
        self.curve: list[dict[str, float]] = []
        self.start = time.process_time()

    def result(self, fits: list[float] | None = None) -> dict[str, Any]:
        """The curve, what the target took, and the share of the processor's seconds that fits took; those of evaluations are left out."""
        reached = next((point for point in self.curve if point["return"] >= self.target), None)
        first = {f"{name}_to_target": None if reached is None else reached[name] for name in ("real_steps", "cpu_seconds")}
        return {"curve": self.curve, **first, "fit_share": sum(fits or []) / self.curve[-1]["cpu_seconds"]}

    def _on_step(self) -> bool:
        return not self.stops or sum(point["return"] >= self.target for point in self.curve[-2:]) < 2

    def _on_rollout_start(self) -> None:
        done = self.num_timesteps - (self.curve[-1]["real_steps"] if self.curve else 0)
        if done >= self.every:
            self._evaluate()

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def _evaluate(self) -> None:
        spent = time.process_time() - self.start
        began = time.process_time()
        env, own = make_vec_env(self.env, EPISODES, seed=30_000), self.model.get_vec_normalize_env()  # the same starts for every policy
        if own is not None and own.norm_obs:
            env = VecNormalize(env, training=False, norm_reward=False, clip_obs=own.clip_obs)
            env.obs_rms = own.obs_rms
        score, _ = evaluate_policy(self.model, env, EPISODES, warn=False)
        assert isinstance(score, float)
        self.curve.append({"real_steps": self.num_timesteps, "return": score, "cpu_seconds": spent})
        print(self.env, self.curve[-1], flush=True)
        self.start += time.process_time() - began


NETWORKS: dict[str, dict[str, Any]] = {
    "": {},
    ", oneDNN": {"precision": "medium"},
    ", 5 members of 2 × 128": {"members": 5, "hidden": (128, 128)},
    ", 5 members of 2 × 128, oneDNN": {"members": 5, "hidden": (128, 128), "precision": "medium"},
}
"""Networks of the dream, and torch's precision of matrix products. By "medium" oneDNN computes them, in float32 where the processor has no
faster products of bfloat16 (AMX); MKL, which does otherwise, leaves half of an AMD processor unused."""


def speed(seconds: float = 1.0) -> dict[str, Any]:
    """Steps a second of processor time: a 256-row dream without a policy, against the task itself on one core, in turns."""
    found: dict[str, Any] = {}
    for name in ("HalfCheetah-v5", "Ant-v5", "Humanoid-v5"):
        env = gymnasium.make(name)
        env.reset(seed=0)
        for label, network in NETWORKS.items():
            turns = [_turn(env, seconds, **network) for _ in range(3)]
            real, dreamed, limit = (statistics.median(each) for each in zip(*turns, strict=True))
            found[name + label] = {
                "real_steps_a_second": real,
                "dreamed_steps_a_second": dreamed,
                "times_faster": statistics.median(turn[1] / turn[0] for turn in turns),
                "matrix_products_alone_a_second": limit,
                "share_of_that_limit": statistics.median(turn[1] / turn[2] for turn in turns),
            }
            print(name + label, {key: round(value, 2) for key, value in found[name + label].items()}, flush=True)
    return {"rows": ROWS, "members": 7, "hidden": [200, 200], "torch_threads": 1, "tasks": found}


def _turn(env: gymnasium.Env, seconds: float, precision: str = "highest", **network: Any) -> tuple[float, float, float]:
    """Real steps, dreamed steps, and the dreamed steps if there were only matrix products, a second of processor time each."""
    torch.set_float32_matmul_precision(precision)
    world = Ensemble(env.observation_space, env.action_space, **network)
    starts = np.random.default_rng(0).normal(size=(1000, world.obs_dim)).astype(np.float32)
    world.standardizer.obs.update(torch.as_tensor(starts))
    with warnings.catch_warnings():  # of a model that was never fitted: its speed is all that is asked
        warnings.simplefilter("ignore")
        dream = DreamVecEnv(world, starts, ROWS, 20)
    dream.reset()
    action = np.zeros((ROWS, *(env.action_space.shape or ())), dtype=np.float32)
    real = _rate(partial(_real_step, env), seconds)
    return real, ROWS * _rate(partial(dream.step, action), seconds), ROWS * _rate(_products(world), seconds)


def _real_step(env: gymnasium.Env) -> None:
    if any(env.step(env.action_space.sample())[2:4]):
        env.reset()


def _products(world: Ensemble) -> Callable[[], None]:
    """The batched matrix products of one dreamed step, and nothing else."""
    layers = [module for module in world.network if hasattr(module, "weight")]
    per_member = -(-ROWS // world.members)
    inputs = [torch.randn(world.members, per_member, layer.weight.shape[1]) for layer in layers]

    def run() -> None:
        with torch.no_grad():
            for layer, x in zip(layers, inputs, strict=True):
                torch.baddbmm(layer.bias, x, layer.weight)

    return run


def _rate(function: Callable[[], object], seconds: float) -> float:
    """Calls a second of processor time."""
    for _ in range(10):
        function()
    start, calls = time.process_time(), 0
    while time.process_time() - start < seconds:
        function()
        calls += 1
    return calls / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=["speed", *PPO_TASKS, *OFF_POLICY_TASKS], metavar="NAME", help="what to measure")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of the runs (default: 0 1 2)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names:
        if name == "speed":
            write("dream/speed", speed())
            continue
        task = PPO_TASKS.get(name) or OFF_POLICY_TASKS[name]
        runs = (read(f"dream/{name}") or {}).get("runs", {})
        for seed in args.seeds:
            runs[str(seed)] = ppo_in_dreams(task, seed) if name in PPO_TASKS else off_policy(task, seed)
            write(f"dream/{name}", {"task": task, "episodes": EPISODES, "runs": runs})


if __name__ == "__main__":
    main()
