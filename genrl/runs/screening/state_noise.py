"""Noise that is a function of the state: that of a policy with gSDE which has learnt nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from genrl.generators import forked_generators
from genrl.models.normalization import RunningMeanStd

__all__ = ["StateNoise"]

CLIP = 10.0
"""Standard deviations at which a normalised observation ends, as in Stable-Baselines3's ``VecNormalize``."""


class StateNoise:
    r"""Actions of a fresh policy of PPO with ``use_sde=True``, on observations that are normalised by what was seen so far.

    The noise is :math:`\theta^\top z(s)`, where z are the 64 outputs of the policy's last layer and θ is drawn anew every ``steps``
    steps from a normal distribution. So it is the same at the same state, and where the state goes back and forth, so may the action.

    Args:
        env: the task, with bounded ``Box`` actions and observations of any kind that Gymnasium flattens.
        steps: for how long a function is kept, whatever episodes do.
        std: standard deviation of each number of θ. As z has 64 of them, most actions are at their limits with 1, the default of PPO.
        seed: of the policy and of θ.

    References:
        Raffin, Kober, Stulp, "Smooth Exploration for Robotic Reinforcement Learning", 2021.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], steps: int, std: float, seed: int) -> None:
        self.space, self.steps, self.age = env.observation_space, steps, 0
        self.rng, size = np.random.default_rng(seed), int(np.prod(env.action_space.shape or ()))
        flat = spaces.flatdim(self.space)
        with self._draws():
            self.policy = ActorCriticPolicy(
                spaces.Box(-CLIP, CLIP, (flat,)), spaces.Box(-1.0, 1.0, (size,)), lambda _: 0.0, use_sde=True, log_std_init=math.log(std)
            )
        self.seen = RunningMeanStd((flat,), clip=CLIP)

    def restart(self) -> None:
        """A function outlives an episode."""

    def __call__(self, obs: Any) -> np.ndarray:
        """What is done at an observation, each number in [-1, 1]."""
        if self.age % self.steps == 0:
            with self._draws():
                self.policy.reset_noise(1)
        self.age += 1
        flat = torch.as_tensor(np.asarray(spaces.flatten(self.space, obs), dtype=np.float64))[None]
        self.seen.update(flat)
        return self.policy.predict(self.seen(flat).numpy()[0])[0]

    @contextmanager
    def _draws(self) -> Iterator[None]:
        """Within it torch draws what comes next of this noise's own."""
        with forked_generators():
            torch.manual_seed(int(self.rng.integers(2**31)))
            yield
