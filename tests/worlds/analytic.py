"""Dynamics whose every number is known, and real steps of tasks that have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genrl.models.dynamics import Dynamics, Prediction
from genrl.transitions import Transitions

OBS = spaces.Box(-np.inf, np.inf, (2,), np.float32)
BOX = spaces.Box(-1.0, 1.0, (1,), np.float32)


class LinearGaussian(Dynamics):
    """s′ = A s + B a + N(0, std²), A = [[1, 0.1], [0, 0.9]], B = [0, 0.1]; reward −s₀²; member m adds m · ``apart`` to the mean."""

    def __init__(self, std: float = 0.0, members: int = 1, apart: float = 0.0, **kwargs: Any) -> None:
        super().__init__(OBS, kwargs.pop("action_space", BOX), **kwargs)
        self.members, self.std, self.apart = members, std, apart

    def predict(self, obs: Tensor, action: Tensor) -> Prediction:
        push = self.flat_action(action)[:, 0]
        mean = torch.stack([obs[:, 0] + 0.1 * obs[:, 1], 0.9 * obs[:, 1] + 0.1 * push], 1)
        mean = mean + self.apart * torch.arange(self.members)[:, None, None]
        return Prediction(mean, torch.full_like(mean, self.std), -mean[..., 0].square(), torch.ones(mean.shape[:2]))

    def rows(self, n: int, seed: int = 0) -> tuple[Transitions, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        obs, action = torch.randn(n, 2, generator=generator), torch.rand(n, 1, generator=generator) * 2 - 1
        outcome = self.step(obs, action, generator)
        return Transitions(obs, action, outcome.next_obs, outcome.terminated), outcome.reward


class ClockDynamics(Dynamics):
    """Observes (time, episode of the start); time goes on by one, the reward is the time, and the task ends at ``end``."""

    def __init__(self, end: int = 1000, action_space: Any = BOX) -> None:
        super().__init__(OBS, action_space, termination=lambda obs, action, next_obs: next_obs[:, 0] >= end)

    def predict(self, obs: Tensor, action: Tensor) -> Prediction:
        mean = obs + torch.tensor([1.0, 0.0])
        return Prediction(mean[None], torch.zeros_like(mean)[None], mean[None, :, 0], torch.ones(1, len(obs)))


class Broken(LinearGaussian):
    """Gives NaN, infinity and far too large numbers to the first three rows."""

    def predict(self, obs: Tensor, action: Tensor) -> Prediction:
        right = super().predict(obs, action)
        mean, reward = right.mean.clone(), right.reward.clone()
        mean[:, 0], mean[:, 1, 0], mean[:, 2] = torch.nan, torch.inf, 1e6
        reward[:, 0], reward[:, 1] = torch.nan, -torch.inf
        return right._replace(mean=mean, reward=reward)
