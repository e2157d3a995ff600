"""VIME's Bayesian network as a model of an environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from genrl.errors import at_least, positive, require
from genrl.models.bayesian import BayesianNetwork
from genrl.models.dynamics import (
    Dynamics,
    EndFunction,
    FitReport,
    Prediction,
    RewardFunction,
    skill,
)
from genrl.models.information_gain import expected_information_gain
from genrl.models.regression import Standardizer, TargetScale
from genrl.models.resampling import held_out
from genrl.spaces import Space
from genrl.transitions import Transitions

__all__ = ["BayesianDynamics"]


class BayesianDynamics(Dynamics):
    r"""A Bayesian network whose members are networks drawn from its posterior.

    .. math:: \theta_m \sim q(\theta), \qquad p_m(s', r \mid s, a) = \mathcal{N}\big((s', r);\ f_{\theta_m}(\bar s, \bar a),\ \sigma^2\big)

    The draws are fixed in units of the posterior's standard deviations, so that a member moves with the posterior and is never another one.
    Its uncertainty is the expected information gain, as VIME's bonus. An end is regressed as a number, 1 where the episode terminated.

    Args:
        observation_space, action_space, reward, seed: see :class:`~genrl.models.dynamics.Dynamics`.
        termination: whether ends of episodes are ``"learned"``, or there are ``"none"``; or a function of ``(obs, action, next_obs)``.
        members: number of networks drawn from the posterior; with 1, it is the network of mean weights.
        hidden: widths of the hidden layers.
        learning_rate: learning rate of Adam.
        kl_weight: weight of KL(posterior ‖ prior) beside the mean negative log-likelihood of a row.
        prior_std: standard deviation of the prior over every weight.
        initial_std: standard deviation of every weight's posterior at the start.
        likelihood_std: least standard deviation of the likelihood, in standard deviations of a target.
        targets: ``"delta"``, the change of the observation, or ``"direct"``, the next observation.
        n_draws: noise draws over which the information gain averages, at least 2.

    Raises:
        ValueError: a space it can't take, or a keyword value out of its range.

    References:
        Houthooft et al., "VIME: Variational Information Maximizing Exploration", 2016, arXiv:1605.09674.

    Example:
        >>> from gymnasium import spaces
        >>> world = BayesianDynamics(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), members=5)
        >>> world.predict(torch.zeros(4, 3), torch.zeros(4, 2)).mean.shape
        torch.Size([5, 4, 3])
    """

    draws: Tensor

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        *,
        members: int = 7,
        hidden: Sequence[int] = (64, 64),
        learning_rate: float = 3e-3,
        kl_weight: float = 2e-4,
        prior_std: float = 0.5,
        initial_std: float = 0.05,
        likelihood_std: float = 0.01,
        targets: Literal["delta", "direct"] = "delta",
        n_draws: int = 10,
        reward: RewardFunction | Literal["learned"] = "learned",
        termination: EndFunction | Literal["learned", "none"] = "learned",
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, reward=reward, termination=termination, seed=seed)
        numbers = {"kl_weight": kl_weight, "prior_std": prior_std, "initial_std": initial_std, "likelihood_std": likelihood_std}
        require(
            BayesianDynamics,
            *positive(members=members, hidden=hidden, learning_rate=learning_rate),
            *at_least(0, **numbers),
            *at_least(2, n_draws=n_draws),
            ("targets", targets, targets in ("delta", "direct"), "'delta' or 'direct'"),
        )
        self.members, self.kl_weight, self.least_std = members, kl_weight, likelihood_std
        outputs = self.obs_dim + self.learns_reward + self.learns_ends
        self.standardizer = Standardizer(self.obs_dim, self.action_dim, clip=10.0)
        self.target_scale = TargetScale(self.obs_dim, outputs, targets == "delta")
        with self.own_randomness():
            self.network = BayesianNetwork(self.obs_dim + self.action_dim, outputs, hidden, 1.0, prior_std, initial_std)
            size = len(self.network.mean)
            self.register_buffer("draws", torch.randn(members, size) if members > 1 else torch.zeros(1, size))
            noise = self.network.noise(n_draws, 1)
        for layer, part in enumerate(noise):
            self.register_buffer(f"noise_{layer}", part)
        self.register_buffer("ends_seen", torch.tensor(False))
        self.optimizer = torch.optim.Adam(self.network.parameters(), learning_rate, fused=True)

    def predict(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Prediction:
        """The prediction of every network drawn from the posterior, for every row, ``(member, batch, …)``."""
        mean, std = self.target_scale.in_units(self._means(self._inputs(obs, action)), self.network.likelihood_std, obs)
        reward = mean[..., self.obs_dim] if self.learns_reward else torch.zeros_like(mean[..., 0])
        goes_on = (1 - mean[..., -1]).clamp(0, 1) if self.learns_ends and self.ends_seen else torch.ones_like(reward)
        return Prediction(mean[..., : self.obs_dim], std[: self.obs_dim].expand(mean[..., : self.obs_dim].shape), reward, goes_on)

    @torch.no_grad()
    def uncertainty(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Float[Tensor, "batch"]:
        """Expected information gain about the weights, ``(batch,)``, nats: VIME's bonus before it is normalised.

        All rows share their noise, so that it depends on (s, a) alone; rewards and ends tell nothing about the dynamics.
        """
        if self.members == 1:
            return torch.zeros_like(obs[:, 0])
        only_obs = self.network.likelihood_std.clone()
        only_obs[self.obs_dim :] = torch.inf
        noise = [self.get_buffer(f"noise_{layer}").expand(-1, len(obs), -1) for layer in range(len(self.network.sizes) - 1)]
        return expected_information_gain(self.network.layers, self._inputs(obs, action), noise, only_obs)

    def _means(self, inputs: Tensor) -> Tensor:
        """Every member's standardised outputs, ``(member, batch, output)``."""
        weights = self.network.mean + F.softplus(self.network.rho) * self.draws
        sizes = list(pairwise(self.network.sizes))
        parts = weights.split([size for n_in, n_out in sizes for size in (n_in * n_out, n_out)], dim=1)
        x = inputs.expand(self.members, *inputs.shape)
        for layer, (n_in, n_out) in enumerate(sizes):
            weight, bias = parts[2 * layer].view(-1, n_in, n_out), parts[2 * layer + 1].view(-1, 1, n_out)
            x = torch.baddbmm(bias, x, weight)
            x = x.relu() if layer + 1 < len(sizes) else x
        return x

    def fit(
        self,
        transitions: Transitions,
        reward: Tensor | np.ndarray | None = None,
        *,
        max_steps: int = 2000,
        batch_size: int = 256,
        patience: int = 6,
        check_every: int = 100,
        share_held_out: float = 0.1,
    ) -> FitReport:
        """Learn from all transitions so far, starting from what is known already.

        Arguments and errors are those of :meth:`Ensemble.fit <genrl.models.ensemble.Ensemble.fit>`, but that a fit may end before
        ``max_steps``: after ``patience`` looks at the held-out rows, one every ``check_every`` steps, that found no improvement.
        """
        transitions, reward = self._taken(transitions, reward)
        held = held_out(transitions, share_held_out)
        others = [reward] * self.learns_reward + [transitions.terminated] * self.learns_ends
        inputs, targets = self._restandardize(transitions, [other for other in others if other is not None], ~held)
        best, since, steps, loss = torch.inf, 0, 0, torch.nan
        while steps < max_steps and since < patience:
            n = min(check_every, max_steps - steps)
            loss = self.network.fit(
                self.optimizer, self._batches(inputs[~held], targets[~held], n, batch_size), 1, self.kl_weight, self.generator
            )
            steps += n
            if not torch.isfinite(self.network.mean).all():
                raise FloatingPointError(f"the posterior of BayesianDynamics became NaN by step {steps} of its fit; lower learning_rate")
            self.network.narrow_likelihood(self.network.squared_error(inputs[~held][:2048], targets[~held][:2048]), self.least_std)
            error = float(self.network.squared_error(inputs[held], targets[held]).mean()) if held.any() else torch.nan
            best, since = (error, 0) if error < 0.97 * best else (best, since + bool(held.any()))
        kind, tested = "delta" if self.target_scale.delta else "direct", transitions.rows(held)
        self.calibrate_intervals(tested)
        said = skill(self, tested, None if reward is None else reward[held])
        return FitReport(steps, loss, best if held.any() else torch.nan, said, int((~held).sum()), int(held.sum()), kind)

    def _batches(self, inputs: Tensor, targets: Tensor, n: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(n):
            rows = torch.randint(len(inputs), (batch_size,), generator=self.generator).to(inputs.device)
            yield inputs[rows], targets[rows]

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, act={self.action_dim}, members={self.members}"
