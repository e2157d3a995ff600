"""Curiosity as the disagreement of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.errors import at_least, positive, require
from genrl.models.nn import ensemble_mlp, minibatches
from genrl.models.regression import Standardizer, regress
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["Disagreement"]


class Disagreement(RewardModel):
    r"""Bonus where the members of an ensemble of forward models predict differently.

    .. math:: r(s, a) = \tfrac{1}{n} \, \mathbb{E}_m \lVert f_m(\bar s, a) - \mathbb{E}_m f_m(\bar s, a) \rVert^2

    the variance over members, mean over the n observation components (in running standard deviations, so the unit is their variance).
    Where the outcome is noise, all members learn the same mean and the bonus goes; where there is no data, they differ. Members predict
    the change of the observation. They start from different weights and each learns from its own resample, with replacement, of the
    newest transitions. A transition is resampled once, when it is new, so a member never meets what its bootstrap left out. All members
    are one batched product.

    Differences from the paper: there members predict features of an image, and a policy may also follow the bonus's own gradient, which a
    learner that takes it for a reward can't; here the bonus is divided by its running root mean square.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`.
        members: number of forward models in the ensemble; the paper has 5.
        hidden: widths of the hidden layers of each member.
        learning_rate: learning rate of Adam; the paper has 1e-4, for millions of frames.
        batch_size: transitions per member and gradient step.
        epochs: passes over the newest transitions per ``update``; the paper has 3.
        clip_obs: standard deviations to which observations and actions are clipped.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).

    Raises:
        ValueError: a space it can't take, fewer than two members, or another keyword value that is not positive.

    References:
        Pathak, Gandhi, Gupta, "Self-Supervised Exploration via Disagreement", 2019, arXiv:1906.04161.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import Disagreement, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> disagreement = Disagreement(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(disagreement, weight=1e-3))
    """

    centres_observations = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        members: int = 5,
        hidden: Sequence[int] = (64, 64),
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        epochs: int = 1,
        clip_obs: float = 10.0,
        normalize: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        sizes = positive(hidden=hidden, learning_rate=learning_rate, batch_size=batch_size, epochs=epochs, clip_obs=clip_obs)
        require(Disagreement, *at_least(2, members=members), *sizes)
        self.members, self.batch_size, self.epochs = members, batch_size, epochs
        self.standardizer = Standardizer(self.obs_dim, self.action_dim, clip_obs)
        self.scale = BonusScale(normalize)
        with self.own_randomness():
            self.ensemble = ensemble_mlp(members, [self.obs_dim + self.action_dim, *hidden, self.obs_dim])
        self.optimizer = torch.optim.Adam(self.ensemble.parameters(), learning_rate, fused=True)

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the normalisers first take in this batch."""
        if self.training:
            self.standardizer.update(self.flat_obs(transitions.next_obs), self.flat_action(transitions.action))
        inputs = self._inputs(transitions)
        prediction = self.ensemble(inputs.expand(self.members, *inputs.shape))
        # Tensor.var over the first axis takes fifty times as long (torch 2.13, CPU).
        return self.scale((prediction - prediction.mean(0)).square().mean((0, 2)))

    def update(self, memory: Memory) -> dict[str, float]:
        """Fit every member to its bootstrap of the newest transitions; returns ``loss``, the mean squared error per component."""
        latest = memory.latest
        n = latest.batch_size
        inputs, change = self._inputs(latest), self.standardizer.change(self.flat_obs(latest.obs), self.flat_obs(latest.next_obs))
        bootstrap = torch.randint(n, (self.members, n), generator=self.generator, device="cpu")  # of its generator
        batches = (bootstrap[:, index] for index in minibatches(n, self.batch_size, self.epochs, self.generator))
        return {"loss": regress(self.ensemble, self.optimizer, inputs, change, batches, self.members)}

    def _inputs(self, transitions: Transitions) -> Tensor:
        return self.standardizer.inputs(self.flat_obs(transitions.obs), self.flat_action(transitions.action))

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, act={self.action_dim}, members={self.members}, batch_size={self.batch_size}, epochs={self.epochs}"
