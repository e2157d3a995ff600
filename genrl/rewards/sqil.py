"""Imitation without a discriminator: demonstrated transitions are worth one, others nothing."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.rewards.base import RewardModel
from genrl.transitions import Transitions

__all__ = ["SQIL", "Constant"]


class SQIL(RewardModel):
    """Soft Q imitation learning: reward 1 for the demonstrated transitions of a batch, 0 for the learner's own.

    It needs demonstrations in the batches of an off-policy learner, half of each: ``callback=[RewardCallback(SQIL(…),
    extrinsic_weight=0.0), Mixing(demos, share=0.5)]``.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`.

    References:
        Reddy, Dragan, Levine, "SQIL: Imitation Learning via Reinforcement Learning with Sparse Rewards", 2020, arXiv:1905.11108.

    Example:
        >>> import numpy as np
        >>> from stable_baselines3 import SAC
        >>> from genrl.data import Demonstrations, Episode
        >>> from genrl.policies import Mixing
        >>> from genrl.rewards import SQIL, RewardCallback
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=8, batch_size=4)
        >>> sqil = SQIL(model.observation_space, model.action_space)
        >>> _ = model.learn(9, callback=[RewardCallback(sqil, extrinsic_weight=0.0), Mixing(demos, share=0.5)])
    """

    needs_expert_batches = True
    pays_for_going_on = True
    latest_only = True

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], *, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)

    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Zeros, ``(batch,)``."""
        return torch.zeros(transitions.batch_size, device=transitions.obs.device)

    def of_expert(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Ones, ``(batch,)``."""
        return torch.ones(transitions.batch_size, device=transitions.obs.device)


class Constant(RewardModel):
    """Pays the same for every step: the control of every imitation. What a learner reaches with it, it owes to no demonstration.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`.
        value: the reward of each step; a positive one pays for staying alive, a negative one for an early end.
    """

    latest_only = True

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], *, value: float = 1.0, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.value = value

    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """``value`` for each, ``(batch,)``."""
        return torch.full((transitions.batch_size,), self.value, device=transitions.obs.device)
