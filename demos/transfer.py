"""Does a reward that was recovered from demonstrations train a new policy in a changed task? A half cheetah whose motors are reversed.

An imitation by AIRL, whose reward is of the state alone, and one by GAIL are made in the task as it is. Their rewards are then frozen,
and pay a fresh PPO where every action is negated, so that what the expert did is wrong, and where it went is as good as before. The true
reward is the control; so are the rewards in the task as it is, and the imitator's own policy in the changed one. Writes
demos/results/imitate_transfer.json.

    python demos/transfer.py [--demos DEMOS] [--steps 500000] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TransformAction
from measured import read, write
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from genrl.rewards import AIRL, RewardCallback, RewardModel
from genrl.rewards.adversarial import AdversarialReward
from genrl.runs import ImitateConfig
from genrl.runs.building import build
from genrl.transitions import Transitions

TASK, WEIGHT = "HalfCheetah-v5", 0.05
DEMOS = Path(__file__).parent / "halfcheetah.hdf5"


class Frozen(RewardModel):
    """Pays what a trained reward pays, of AIRL the recovered part alone, in units of its standard deviation over ``seen``."""

    def __init__(self, trained: AdversarialReward, seen: Transitions) -> None:
        super().__init__(trained.observation_space, trained.action_space)
        self.trained = trained.eval()
        self.centres_observations = trained.centres_observations
        scores = self._scores(seen)
        self.mean, self.std = float(scores.mean()), float(scores.std())

    def _scores(self, transitions: Transitions) -> torch.Tensor:
        return self.trained.recovered(transitions) if isinstance(self.trained, AIRL) else self.trained(transitions)

    def train(self, mode: bool = True) -> Frozen:
        """Frozen means the running scale of its parts too, which moves while a model trains."""
        return super().train(False)

    def forward(self, transitions: Transitions) -> torch.Tensor:
        return (self._scores(transitions) - self.mean) / self.std


def reversed_task() -> gymnasium.Env[Any, Any]:
    """The half cheetah whose motors pull the other way."""
    env = gymnasium.make(TASK)
    return TransformAction(env, lambda action: -action, env.action_space)


TASKS = {"same task": TASK, "changed task": reversed_task}


def returns(model: BaseAlgorithm, task: Any) -> list[float]:
    """Ten deterministic episodes."""
    judge = VecNormalize(make_vec_env(task, n_envs=10, seed=10_000), training=False, norm_reward=False)
    judge.obs_rms = model.get_vec_normalize_env().obs_rms  # type: ignore[union-attr]
    found, _ = evaluate_policy(model, judge, n_eval_episodes=10, return_episode_rewards=True)
    judge.close()
    return found  # type: ignore[return-value]


def imitated(demos: Path, reward: str, steps: int, seed: int) -> tuple[Frozen, dict[str, list[float]]]:
    """The reward of an imitation, frozen, and what its policy reaches in both tasks.

    The policy is not cloned, and the discriminator learns from all that it has done: so it has seen, and does not forget, what is wrong
    with the first steps of a fresh policy, which the frozen reward must tell.
    """
    kwargs = {"state_only": True} if reward == "airl" else {}
    config = ImitateConfig(
        demos=demos, env=TASK, reward=reward, reward_kwargs=kwargs, steps=steps, memory_size=steps, clone=0, episodes=4, every=20, seed=seed
    )
    session = build(config)
    session.learner.learn(steps, callback=session.callbacks)
    (callback,) = (part for part in session.callbacks if isinstance(part, RewardCallback))
    trained = callback.reward
    assert isinstance(trained, AdversarialReward)
    found = {where: returns(session.learner, task) for where, task in TASKS.items()}
    session.env.close()
    return Frozen(trained, callback.pool.sample(10_000)), found


def learned(task: Any, reward: Frozen | None, steps: int, seed: int) -> list[float]:
    """Ten returns of a fresh PPO that was paid by ``reward``, or without one by the task; its settings are those of `genrl imitate`."""
    env = VecNormalize(make_vec_env(task, n_envs=16, seed=seed), norm_reward=reward is None)
    model = PPO(
        "MlpPolicy", env, n_steps=128, batch_size=256, learning_rate=LinearSchedule(6e-4, 0.0, 1.0), seed=seed,
        policy_kwargs={"net_arch": [128, 128]},
    )  # fmt: skip
    model.learn(steps, callback=None if reward is None else RewardCallback(reward, WEIGHT, extrinsic_weight=0.0, seed=seed))
    found = returns(model, task)
    env.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", type=Path, default=DEMOS, help="demonstrations of HalfCheetah-v5 (default: demos/halfcheetah.hdf5)")
    parser.add_argument("--steps", type=int, default=500_000, help="environment steps of each imitation and of each new policy")
    parser.add_argument("--seed", type=int, default=0, help="adds the runs of this seed to what the file says of others (default: 0)")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in ("airl", "gail"):
        reward, found[f"policy of the imitation by {name}"] = imitated(flags.demos, name, flags.steps, flags.seed)
        arm = {where: learned(task, reward, flags.steps, flags.seed) for where, task in TASKS.items()}
        found[f"a new policy, reward of {name}"] = arm
        print({key: {task: round(float(np.mean(values))) for task, values in of.items()} for key, of in found.items()}, flush=True)
    found["a new policy, true reward"] = {"changed task": learned(reversed_task, None, flags.steps, flags.seed)}
    before = read("imitate_transfer")
    seeds = (before["seeds"] if before.get("steps") == flags.steps else {}) | {str(flags.seed): found}
    write("imitate_transfer", {"task": TASK, "steps": flags.steps, "seeds": seeds})


if __name__ == "__main__":
    main()
