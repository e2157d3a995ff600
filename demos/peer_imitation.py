"""GAIL with PPO by the `imitation` library (1.0.1), which bench_imitation.py compares with; started by a python that has the library.

    python demos/peer_imitation.py overhead DEMOS ROUNDS
    python demos/peer_imitation.py race DEMOS SEED SECONDS TASK GOAL

Prints JSON objects, one a line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import Transitions
from imitation.policies.base import FeedForward32Policy, NormalizeFeaturesExtractor
from imitation.rewards.reward_nets import BasicRewardNet, NormalizedRewardNet
from imitation.util.logger import configure
from imitation.util.networks import RunningNorm
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

ENV = "HalfCheetah-v5"
WIDE = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.ReLU}
PUBLISHED: dict[str, dict[str, Any]] = {
    "HalfCheetah-v5": {
        "round": 4096, "discriminator": (8192, 8, 512), "policy": FeedForward32Policy, "policy_kwargs": {},
        "learner": {
            "batch_size": 64, "clip_range": 0.1, "ent_coef": 3.992371122209408e-6, "gae_lambda": 0.95, "gamma": 0.95,
            "learning_rate": 0.00026250519057717037, "max_grad_norm": 0.8, "n_epochs": 5, "vf_coef": 0.11483689492120866,
        },
    },
    "Hopper-v5": {
        "round": 4096, "discriminator": (128, 8, 4096), "policy": "MlpPolicy", "policy_kwargs": WIDE,
        "learner": {
            "batch_size": 512, "clip_range": 0.1, "ent_coef": 0.001255299425412744, "gae_lambda": 0.98, "gamma": 0.995,
            "learning_rate": 4.3984856156897565e-5, "max_grad_norm": 0.9, "n_epochs": 20, "vf_coef": 0.20315938606555833,
        },
    },
    "Walker2d-v5": {
        "round": 16384, "discriminator": (512, 16, 16384), "policy": "MlpPolicy", "policy_kwargs": WIDE,
        "learner": {
            "batch_size": 128, "clip_range": 0.4, "ent_coef": 0.0007566389899529574, "gae_lambda": 0.92, "gamma": 0.98,
            "learning_rate": 1.943992487657563e-5, "max_grad_norm": 0.6, "n_epochs": 20, "vf_coef": 0.6167177795726859,
        },
    },
}  # fmt: skip
"""Settings that the library publishes for its own versions of these tasks (benchmarking/gail_seals_…_best_hp_eval.json). Those of a
discriminator are its batch, its updates a round, and the size of its replay."""


def transitions(path: Path) -> Transitions:
    """Transitions of a Minari file."""
    file = path if path.is_file() else path / "data" / "main_data.hdf5"
    with h5py.File(file) as source:
        groups = [source[name] for name in source if name.startswith("episode_")]
        obs = np.concatenate([group["observations"][:-1] for group in groups])
        next_obs = np.concatenate([group["observations"][1:] for group in groups])
        acts = np.concatenate([group["actions"][:] for group in groups])
        dones = np.concatenate([group["terminations"][:] | group["truncations"][:] for group in groups])
    return Transitions(obs=obs, acts=acts, next_obs=next_obs, dones=dones, infos=np.array([{}] * len(obs)))


def trainer(venv: VecEnv, learner: PPO, demonstrations: Transitions, reward_net: Any, batch: int, updates: int, capacity: int) -> GAIL:
    return GAIL(
        demonstrations=demonstrations, demo_batch_size=batch, venv=venv, gen_algo=learner, reward_net=reward_net,
        n_disc_updates_per_round=updates, gen_replay_buffer_capacity=capacity, allow_variable_horizon=True,
        custom_logger=configure(format_strs=[]),
    )  # fmt: skip


def overhead(demos: Path, rounds: int) -> None:
    """Rounds of 2,048 steps with SB3's hyperparameters: PPO alone, then with four discriminator updates of 1,024."""
    times = {}
    for name in ("bare", "gail"):
        venv = make_vec_env(ENV, n_envs=8, seed=0)
        learner = PPO("MlpPolicy", venv, n_steps=256, seed=0)
        if name == "gail":
            net = BasicRewardNet(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm)
            learn = trainer(venv, learner, transitions(demos), net, 1024, 4, 2048).train
        else:
            learn = learner.learn
        learn(2 * 2048)
        start = time.process_time()
        learn(rounds * 2048)
        times[name] = time.process_time() - start
    print(json.dumps(times), flush=True)


def race(demos: Path, seed: int, limit: float, task: str, goal: float) -> None:
    """A curve of processor seconds, steps and returns, until the goal or the limit."""
    torch.manual_seed(seed)
    own = PUBLISHED[task]
    venv = make_vec_env(task, n_envs=8, seed=seed)
    normalized = {"features_extractor_class": NormalizeFeaturesExtractor, "features_extractor_kwargs": {"normalize_class": RunningNorm}}
    learner = PPO(
        own["policy"], venv, n_steps=own["round"] // 8, seed=seed, policy_kwargs=own["policy_kwargs"] | normalized, **own["learner"]
    )
    net = BasicRewardNet(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm)
    gail = trainer(venv, learner, transitions(demos), NormalizedRewardNet(net, RunningNorm), *own["discriminator"])
    evaluation = make_vec_env(task, n_envs=10)
    seconds, steps, reached, every = 0.0, 0, -np.inf, own["round"] * max(1, 40_960 // own["round"])
    while seconds < limit and reached < goal:
        start = time.process_time()
        gail.train(every)
        seconds, steps = seconds + time.process_time() - start, steps + every
        evaluation.seed(10_000)
        reached = float(np.mean(evaluate_policy(learner, evaluation, n_eval_episodes=10, deterministic=True)[0]))
        print(json.dumps({"steps": steps, "seconds": seconds, "return": reached}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, demos, *rest = sys.argv[1:]
    if what == "overhead":
        overhead(Path(demos), int(rest[0]))
    else:
        race(Path(demos), int(rest[0]), float(rest[1]), rest[2], float(rest[3]))
