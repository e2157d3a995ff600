"""Curiosity as the error of a forward model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.errors import positive, require
from genrl.models.nn import minibatches, mlp
from genrl.models.regression import Standardizer, regress
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["PredictionError"]


class PredictionError(RewardModel):
    r"""Bonus for transitions that a forward model predicts badly.

    .. math:: r(s, a, s') = \tfrac{1}{n} \lVert \bar s + f(\bar s, a) - \bar s' \rVert^2

    with :math:`\bar s` the n observation components in running standard deviations: 1 is the error of predicting the mean. The network
    predicts the change, which spares it from learning to copy; the error is that of the next observation all the same. It is attracted by
    noise, which no model ever predicts; that is why it is the baseline of VIME and :class:`Disagreement`. The model learns from the whole
    memory, as VIME does.

    Differences from Stadie et al.: there errors are of an autoencoder's code, relative to the largest one so far, and their weight falls
    with 1 / t; here they are of the observation, relative to their running root mean square, and ``half_life`` of
    :class:`~genrl.rewards.RewardCallback` lets the weight fall.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`.
        hidden: widths of the forward model's hidden layers.
        learning_rate: learning rate of Adam.
        batch_size: transitions per gradient step.
        gradient_steps: gradient steps per ``update``.
        clip_obs: standard deviations to which observations and actions are clipped.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).

    Raises:
        ValueError: a space it can't take, or a keyword value that is not positive.

    References:
        Stadie, Levine, Abbeel, "Incentivizing Exploration In Reinforcement Learning With Deep Predictive Models", 2015, arXiv:1507.00814.
        Houthooft et al., "VIME: Variational Information Maximizing Exploration", 2016, arXiv:1605.09674 (the L2 baseline).

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import PredictionError, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> error = PredictionError(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(error, weight=1e-3))
    """

    centres_observations = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        hidden: Sequence[int] = (64, 64),
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        gradient_steps: int = 32,
        clip_obs: float = 10.0,
        normalize: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        sizes = positive(hidden=hidden, batch_size=batch_size, gradient_steps=gradient_steps)
        require(PredictionError, *sizes, *positive(learning_rate=learning_rate, clip_obs=clip_obs))
        self.batch_size, self.gradient_steps = batch_size, gradient_steps
        self.standardizer = Standardizer(self.obs_dim, self.action_dim, clip_obs)
        self.scale = BonusScale(normalize)
        with self.own_randomness():
            self.model = mlp([self.obs_dim + self.action_dim, *hidden, self.obs_dim])
        self.optimizer = torch.optim.Adam(self.model.parameters(), learning_rate, fused=True)

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the normalisers first take in this batch."""
        if self.training:
            self.standardizer.update(self.flat_obs(transitions.next_obs), self.flat_action(transitions.action))
        inputs, change = self._regression(transitions)
        return self.scale((self.model(inputs) - change).square().mean(1))

    def update(self, memory: Memory) -> dict[str, float]:
        """Fit the model to a sample of the memory; returns ``loss``, the mean squared error per component."""
        n = self.gradient_steps * self.batch_size
        inputs, change = self._regression(memory.sample(n))
        batches = minibatches(n, self.batch_size, 1, self.generator)
        return {"loss": regress(self.model, self.optimizer, inputs, change, batches)}

    def _regression(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """The network's inputs and targets, ``(batch, obs + act)`` and ``(batch, obs)``."""
        inputs = self.standardizer.inputs(self.flat_obs(transitions.obs), self.flat_action(transitions.action))
        return inputs, self.standardizer.change(self.flat_obs(transitions.obs), self.flat_obs(transitions.next_obs))

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, act={self.action_dim}, batch_size={self.batch_size}, gradient_steps={self.gradient_steps}"
