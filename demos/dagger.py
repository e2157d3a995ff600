"""DAgger: a policy that may ask the expert, here that of a run, about the states that it comes to itself. Minutes on one idle core.

Each run is a finished one of `genrl imitate` or `genrl explore`. Writes demos/results/imitate_dagger.json.

    python demos/dagger.py RUN [RUN …]
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from measured import write
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import genrl
from genrl.policies import dagger

ROUNDS, EPOCHS, SEED = 5, 50, 0


def asked(path: str) -> dict[str, Any]:
    """The expert's return, and that of a policy that asked it in five rounds of one episode each, of which it acts in the first."""
    run = genrl.load(path)
    task = run.config.env
    learner = PPO(
        "MlpPolicy", VecNormalize(make_vec_env(task, seed=SEED), norm_reward=False), seed=SEED, policy_kwargs={"net_arch": [128, 128]}
    )
    with run.make_env() as env:
        known = dagger(learner, lambda obs: run.predict(obs)[0], env, rounds=ROUNDS, episodes=1, epochs=EPOCHS, seed=SEED)
    judge = VecNormalize(make_vec_env(task, seed=10_000), training=False, norm_reward=False)
    judge.obs_rms = learner.get_vec_normalize_env().obs_rms  # type: ignore[union-attr]
    returns, _ = evaluate_policy(learner, judge, n_eval_episodes=20, return_episode_rewards=True)
    expert = run.result["evaluation_return"]
    return {"expert_return": expert, "pairs": known.n_steps, "evaluation_return": float(np.mean(returns)), "evaluation_returns": returns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a run whose policy is the expert")
    torch.set_num_threads(1)
    found = {genrl.load(path).config.env: asked(path) for path in parser.parse_args().runs}
    write("imitate_dagger", {"rounds": ROUNDS, "epochs": EPOCHS, "tasks": found})


if __name__ == "__main__":
    main()
