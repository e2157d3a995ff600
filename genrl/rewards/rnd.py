"""Random network distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn

from genrl.errors import positive, require
from genrl.models.nn import gradient_step, minibatches
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.images import observation_network
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["RND"]


class RND(RewardModel):
    r"""Bonus for observations on which a predictor has not yet learned the output of a fixed random network.

    .. math:: r(s') = \tfrac{1}{d} \lVert \hat f(\bar s') - f(\bar s') \rVert^2

    with :math:`\bar s'` in running standard deviations, clipped to ±5, the batch being scored included; f is random and never moves. The
    target is a function of the observation alone, so noise in the dynamics is no attraction by itself. Mean over the d features.

    Differences from the paper: the predictor has one hidden layer more than the target (two there); Adam's step is 1e-3 instead of 1e-4,
    for one pass instead of four; the bonus is divided by its own root mean square, not by the standard deviation of its discounted sum; an
    observation that is an image is seen through a few small convolutions, one frame at a time. Episodic and non-episodic value heads are
    the learner's affair.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`; actions are not used.
        features: d, outputs of both networks.
        hidden: widths of the target's hidden layers; the predictor repeats the last one.
        learning_rate: step size of Adam.
        batch_size: transitions per gradient step.
        epochs: passes over the newest transitions per ``update``.
        predictor_proportion: share of the transitions that each pass uses, in (0, 1]; below 1 the bonus lasts longer (the paper: 1 at 32
            environments, 0.25 at 128).
        clip_obs: clip of the normalised observations, in standard deviations.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).

    Raises:
        ValueError: a space it can't take, a proportion outside (0, 1], or another keyword value that is not positive.

    References:
        Burda, Edwards, Storkey, Klimov, "Exploration by Random Network Distillation", 2018, arXiv:1810.12894.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import RND, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> rnd = RND(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(rnd, weight=1e-3))
    """

    centres_observations = True
    takes_images = True
    latest_only = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        features: int = 64,
        hidden: Sequence[int] = (64, 64),
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        epochs: int = 1,
        predictor_proportion: float = 1.0,
        clip_obs: float = 5.0,
        normalize: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        require(
            RND,
            *positive(features=features, hidden=hidden, learning_rate=learning_rate, batch_size=batch_size, epochs=epochs),
            *positive(clip_obs=clip_obs),
            ("predictor_proportion", predictor_proportion, 0 < predictor_proportion <= 1, "in (0, 1]"),
        )
        self.batch_size, self.epochs, self.predictor_proportion = batch_size, epochs, predictor_proportion
        self.obs_stats = RunningMeanStd((self.obs_dim,), clip=clip_obs)
        self.scale = BonusScale(normalize)
        with self.own_randomness():
            self.target = _orthogonal(observation_network(observation_space, [self.obs_dim, *hidden, features])).requires_grad_(False)
            self.predictor = _orthogonal(observation_network(observation_space, [self.obs_dim, *hidden, *hidden[-1:], features]))
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), learning_rate, fused=True)

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the normaliser first takes in this batch."""
        obs = self.flat_obs(transitions.next_obs)
        if self.training:
            self.obs_stats.update(obs)
        obs = self.obs_stats(obs)
        return self.scale((self.predictor(obs) - self.target(obs)).square().mean(1))

    @torch.enable_grad()
    def update(self, memory: Memory) -> dict[str, float]:
        """Distil the target into the predictor on the newest transitions; returns ``loss``, the mean squared error per feature."""
        obs = self.obs_stats(self.flat_obs(memory.latest.next_obs))
        target = self.target(obs)
        losses = []
        for index in minibatches(obs.shape[0], self.batch_size, self.epochs, self.generator):
            used = index[: math.ceil(self.predictor_proportion * len(index))]
            loss = (self.predictor(obs[used]) - target[used]).square().mean()
            gradient_step(self.optimizer, loss)
            losses.append(loss.item())
        return {"loss": sum(losses) / len(losses)}

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, batch_size={self.batch_size}, epochs={self.epochs}, predictor_proportion={self.predictor_proportion}"


def _orthogonal(network: nn.Sequential) -> nn.Sequential:
    """Weights orthogonal with gain √2, biases zero, as in the released code."""
    for layer in network:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, math.sqrt(2))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
