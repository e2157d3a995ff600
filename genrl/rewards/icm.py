"""The intrinsic curiosity module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.errors import positive, require
from genrl.models.nn import gradient_step, minibatches, mlp
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.images import observation_network
from genrl.rewards.inverse import inverse_loss
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["ICM"]


class ICM(RewardModel):
    r"""Bonus for transitions that a forward model predicts badly in features that tell which action was taken.

    .. math::
        r = \tfrac{\eta}{2} \lVert f(\phi(s), a) - \phi(s') \rVert^2, \qquad
        L = (1 - \beta) \, L_I\big(g(\phi(s), \phi(s')), a\big) + \beta \, \tfrac{1}{2} \lVert f(\phi(s), a) - \phi(s') \rVert^2

    The inverse model g gives the encoder φ no reason to keep what the agent can't influence, so uncontrollable noise fades from the
    bonus. As in the paper, both losses train φ. The inverse loss :math:`L_I` is the cross-entropy in nats of Discrete and MultiDiscrete
    actions (summed over components) and of MultiBinary ones, and for Box actions the mean squared error in running standard deviations
    (1: predicting the mean).

    With ``normalize`` the half squared error is divided by its running root mean square before η, so η is then the bonus's scale; the
    released code's η = 0.01 is for bonuses that are not normalised.

    Differences from the paper: that division; observations are in running standard deviations; Box actions, of which the paper has none,
    are regressed; the encoder of vectors is of dense layers.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`.
        features: width of φ(s).
        hidden: widths of the hidden layers of encoder, inverse and forward model.
        eta: η, scale of the bonus.
        beta: β in (0, 1), weight of the forward loss against the inverse loss; the paper's 0.2.
        learning_rate: step size of Adam; the paper has 1e-3.
        batch_size: transitions per gradient step.
        epochs: passes over the newest transitions per ``update``.
        clip_obs: observations and actions are clipped to this many standard deviations.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).

    Raises:
        ValueError: a space it can't take, β outside (0, 1), or another keyword value that is not positive.

    References:
        Pathak, Agrawal, Efros, Darrell, "Curiosity-driven Exploration by Self-supervised Prediction", 2017, arXiv:1705.05363.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import ICM, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> icm = ICM(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(icm, weight=1e-3))
    """

    centres_observations = True
    takes_images = True
    latest_only = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        features: int = 32,
        hidden: Sequence[int] = (64,),
        eta: float = 1.0,
        beta: float = 0.2,
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        epochs: int = 1,
        clip_obs: float = 10.0,
        normalize: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        require(
            ICM,
            *positive(features=features, hidden=hidden, eta=eta, learning_rate=learning_rate, batch_size=batch_size, epochs=epochs),
            *positive(clip_obs=clip_obs),
            ("beta", beta, 0 < beta < 1, "in (0, 1)"),
        )
        self.eta, self.beta, self.batch_size, self.epochs = eta, beta, batch_size, epochs
        self.obs_stats = RunningMeanStd((self.obs_dim,), clip=clip_obs)
        self.action_stats = RunningMeanStd((self.action_dim,), clip=clip_obs)
        self.scale = BonusScale(normalize)
        with self.own_randomness():
            self.encoder = observation_network(observation_space, [self.obs_dim, *hidden, features])
            self.inverse_model = mlp([2 * features, *hidden, self.action_dim])
            self.forward_model = mlp([features + self.action_dim, *hidden, features])
        self.optimizer = torch.optim.Adam(self.parameters(), learning_rate, fused=True)

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the normalisers first take in this batch."""
        action = self.flat_action(transitions.action)
        obs, next_obs = self.flat_obs(transitions.obs), self.flat_obs(transitions.next_obs)
        if self.training:
            self.obs_stats.update(next_obs)
            self.action_stats.update(action)
        latent, next_latent = self._encode(self.obs_stats(obs), self.obs_stats(next_obs))
        return self.eta * self.scale(self._forward_error(latent, self.action_stats(action), next_latent))

    @torch.enable_grad()
    def update(self, memory: Memory) -> dict[str, float]:
        """Train all three networks on the newest transitions; returns ``forward_loss`` and ``inverse_loss``."""
        latest = memory.latest
        obs, next_obs = (self.obs_stats(self.flat_obs(part)) for part in (latest.obs, latest.next_obs))
        flat = self.flat_action(latest.action)
        action = self.action_stats(flat)
        target = action if isinstance(self.action_space, spaces.Box) else flat
        losses = []
        for index in minibatches(latest.batch_size, self.batch_size, self.epochs, self.generator):
            latent, next_latent = self._encode(obs[index], next_obs[index])
            forward_loss = self._forward_error(latent, action[index], next_latent).mean()
            inverse = inverse_loss(self.action_space, self.inverse_model(torch.cat([latent, next_latent], dim=1)), target[index])
            gradient_step(self.optimizer, (1 - self.beta) * inverse + self.beta * forward_loss)
            losses.append((forward_loss.item(), inverse.item()))
        forward_mean, inverse_mean = (sum(column) / len(losses) for column in zip(*losses, strict=True))
        return {"forward_loss": forward_mean, "inverse_loss": inverse_mean}

    def _encode(self, obs: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        latent, next_latent = self.encoder(torch.cat([obs, next_obs])).chunk(2)
        return latent, next_latent

    def _forward_error(self, latent: Tensor, action: Tensor, next_latent: Tensor) -> Tensor:
        """Half the squared error of the forward model, ``(batch,)``."""
        return 0.5 * (self.forward_model(torch.cat([latent, action], dim=1)) - next_latent).square().sum(1)

    def extra_repr(self) -> str:
        sizes = f"obs={self.obs_dim}, act={self.action_dim}, batch_size={self.batch_size}, epochs={self.epochs}"
        return f"{sizes}, eta={self.eta}, beta={self.beta}"
