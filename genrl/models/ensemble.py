"""An ensemble of probabilistic networks as a model of an environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import at_least, positive, require
from genrl.models.dynamics import (
    FEWEST_TO_CALIBRATE,
    STILL,
    Dynamics,
    EndFunction,
    FitReport,
    Prediction,
    RewardFunction,
    skill,
)
from genrl.models.nn import ensemble_mlp, gradient_step
from genrl.models.regression import Standardizer, TargetScale
from genrl.models.resampling import BootstrapRows, bootstrap, held_out, row_hash, windows
from genrl.spaces import Space
from genrl.transitions import Transitions

__all__ = ["Ensemble"]

PROBE_STEPS = 300
LEAST_NINE_TENTHS = 0.62302
"""Mean square of a standard normal variable within its central 90 %."""
CHECK_EVERY = 50
"""Gradient steps between two looks for NaN."""


class Ensemble(Dynamics):
    r"""An ensemble of probabilistic neural networks.

    .. math:: p_m(s', r \mid s, a) = \mathcal{N}\big((s', r);\ \mu_m(\bar s, \bar a),\ \operatorname{diag} \sigma_m^2(\bar s, \bar a)\big),
        \qquad p_m(\text{end} \mid s, a) = \operatorname{sigmoid} e_m(\bar s, \bar a)

    All members are one batched product. Each has a bootstrap of its own, which is fixed for good by the content of the rows. Observations,
    actions, rewards and targets are standardised separately. The target is the change of the observation ("delta") or the next observation
    itself ("direct"); a first fit of more than 600 steps tries both and keeps the one whose mean is nearer on held-out stretches of ten
    steps, a shorter one takes the change.

    Networks fitted to exact dynamics see their own errors as noise, and differ by the same errors. So after each fit, by the held-out rows,
    the noise :math:`\sigma_m` is scaled to what the disagreement leaves of the squared error, and the intervals to what they cover
    (:meth:`~genrl.models.dynamics.Dynamics.interval`).

    Differences from Chua et al.: that scaling; the weighted likelihood of Seitzer et al.; fixed bounds of the variance in place of learned
    ones; the reward and the end may be learned too; and policies train in it, where theirs plans with it.

    Args:
        observation_space, action_space, reward, seed: see :class:`~genrl.models.dynamics.Dynamics`.
        termination: whether ends of episodes are ``"learned"``, or there are ``"none"``; or a function of ``(obs, action, next_obs)``.
        members: number of networks.
        hidden: widths of the hidden layers of each network.
        learning_rate: learning rate of AdamW in the first half of a fit; in the second half it falls to 0.
        weight_decay: weight decay of AdamW.
        targets: ``"delta"``, ``"direct"``, or ``"auto"``, which chooses at a first fit that is long enough.

    Raises:
        ValueError: a space it can't take, or a keyword value out of its range.

    References:
        Chua, Calandra, McAllister, Levine, "Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models", 2018,
        arXiv:1805.12114. Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks",
        2022, arXiv:2203.09168 (the weighting of the likelihood, β = ½).

    Example:
        >>> from gymnasium import spaces
        >>> world = Ensemble(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), members=5)
        >>> world.predict(torch.zeros(4, 3), torch.zeros(4, 2)).mean.shape
        torch.Size([5, 4, 3])
    """

    fits: Tensor
    noise_scale: Tensor

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        *,
        members: int = 7,
        hidden: Sequence[int] = (200, 200),
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-5,
        targets: Literal["auto", "delta", "direct"] = "auto",
        reward: RewardFunction | Literal["learned"] = "learned",
        termination: EndFunction | Literal["learned", "none"] = "learned",
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, reward=reward, termination=termination, seed=seed)
        require(
            Ensemble,
            *positive(members=members, hidden=hidden, learning_rate=learning_rate),
            *at_least(0, weight_decay=weight_decay),
            ("targets", targets, targets in ("auto", "delta", "direct"), "'auto', 'delta' or 'direct'"),
        )
        self.members, self.targets = members, targets
        self.outputs = self.obs_dim + self.learns_reward
        """Gaussian outputs: the observation, and the reward where it is learned."""
        self.standardizer = Standardizer(self.obs_dim, self.action_dim, clip=10.0)
        self.target_scale = TargetScale(self.obs_dim, self.outputs, delta=targets != "direct")
        self.register_buffer("ends_seen", torch.tensor(False))
        self.register_buffer("fits", torch.zeros((), dtype=torch.long))
        self.register_buffer("noise_scale", torch.ones(self.outputs))
        self.learning_rate = learning_rate
        sizes = [self.obs_dim + self.action_dim, *hidden, 2 * self.outputs + self.learns_ends]
        with self.own_randomness():
            self.network = ensemble_mlp(members, sizes, nn.SiLU)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), learning_rate, weight_decay=weight_decay, fused=True)

    def predict(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Prediction:
        """The prediction of every member for every row, ``(member, batch, …)``."""
        inputs = self._inputs(obs, action)
        return self._in_units(self.network(inputs.expand(self.members, *inputs.shape)), obs)

    def predict_own(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Prediction:
        """The prediction of one member for each row, ``(1, batch, …)``: row i asks member i modulo their number."""
        inputs, n, members = self._inputs(obs, action), len(obs), self.members
        per_member = math.ceil(n / members)
        padded = F.pad(inputs, (0, 0, 0, per_member * members - n)) if n % members else inputs
        raw = self.network(padded.view(per_member, members, -1).transpose(0, 1))
        return self._in_units(raw.transpose(0, 1).reshape(1, per_member * members, -1)[:, :n], obs)

    def uncertainty(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Float[Tensor, "batch"]:
        """Variance over members of the mean target, averaged over components, ``(batch,)``, in variances of the target.

        1 is what is left of a model that knows nothing; it is :class:`~genrl.rewards.Disagreement`'s formula.
        """
        inputs = self._inputs(obs, action)
        mean = self.network(inputs.expand(self.members, *inputs.shape))[..., : self.obs_dim]
        return (mean - mean.mean(0)).square().mean((0, 2))

    def fit(
        self,
        transitions: Transitions,
        reward: Tensor | np.ndarray | None = None,
        *,
        max_steps: int = 2000,
        batch_size: int = 128,
        share_held_out: float = 0.1,
    ) -> FitReport:
        """Learn from all transitions so far, starting from what is known already.

        Args:
            transitions: rows in the order of time, one environment after the other.
            reward: ``(batch,)``, in the environment's units; needed where the reward is learned.
            max_steps: gradient steps of the first fit; a later one starts from what is known and takes half as many.
            batch_size: rows per member and gradient step.
            share_held_out: share of the rows that no member is fitted to.

        Raises:
            ValueError: too few rows, rows of other sizes, numbers that are not finite, or no rewards where they are learned.
            FloatingPointError: a member became NaN or infinite; names the member and the step.
        """
        transitions, reward = self._taken(transitions, reward)
        held = held_out(transitions, share_held_out)
        inputs, targets = self._rows_anew(transitions, reward, ~held)
        rows = BootstrapRows(inputs, targets, transitions.terminated, held, bootstrap(row_hash(transitions), self.members), self.generator)
        steps, spent = max_steps if self.fits == 0 else math.ceil(max_steps / 2), 0
        if self.targets == "auto" and self.fits == 0 and max_steps > 2 * PROBE_STEPS:
            rows, spent = self._choose_targets(rows, transitions, reward, held, batch_size)
        loss = self._descend(rows, steps - spent, batch_size)
        self.fits += 1
        self._calibrate(rows)
        tested = transitions.rows(held)
        self.calibrate_intervals(tested)
        return FitReport(
            steps,
            loss,
            self._held_out_loss(rows),
            skill(self, tested, None if reward is None else reward[held]),
            int((~held).sum()),
            int(held.sum()),
            "delta" if self.target_scale.delta else "direct",
        )

    def _choose_targets(
        self, rows: BootstrapRows, transitions: Transitions, reward: Tensor | None, held: Tensor, batch_size: int
    ) -> tuple[BootstrapRows, int]:
        """Try both kinds of target from the same start and keep the better one; its rows, and the steps that it took."""
        stretches = windows(transitions, 10, held)
        if len(stretches) == 0:
            return rows, 0
        start, results = deepcopy(self.state_dict()), {}
        for delta in (True, False):
            self.load_state_dict(start)
            self.target_scale.delta.fill_(delta)
            inputs, targets = self._rows_anew(transitions, reward, ~held)
            tried = rows.like(inputs, targets)
            self._descend(tried, PROBE_STEPS, batch_size)
            results[delta] = self._open_loop_error(transitions, stretches), tried, deepcopy(self.state_dict())
        better = min(results, key=lambda delta: results[delta][0])
        self.load_state_dict(results[better][2])
        return results[better][1], PROBE_STEPS

    @torch.no_grad()
    def _open_loop_error(self, transitions: Transitions, stretches: Tensor) -> float:
        """Squared error of the mean of all members along held-out stretches, in variances of the observations that change."""
        obs, error, moves = transitions.obs[stretches[:, 0]], 0.0, self.standardizer.obs.var > STILL**2
        for rows in stretches.unbind(1):
            obs = self.predict(obs, transitions.action[rows]).mean.mean(0)
            wrong = (self.standardizer.obs(obs) - self.standardizer.obs(transitions.next_obs[rows]))[:, moves].square().mean()
            error += float(wrong.nan_to_num(torch.inf))
        return error

    def _descend(self, rows: BootstrapRows, steps: int, batch_size: int) -> float:
        """Gradient steps, at a rate that falls to 0 in their second half; the loss of the last one."""
        losses = self.noise_scale.new_zeros(self.members)
        for step, batch in enumerate(rows.batches(steps, batch_size), 1):
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * min(1.0, 2 * (1 - (step - 1) / steps))
            losses = self._losses(*batch)
            gradient_step(self.optimizer, losses.sum())
            if step % CHECK_EVERY == 0 or step == steps:
                self._check_finite(losses, step)
        return float(losses.detach().mean())

    @torch.no_grad()
    def _calibrate(self, rows: BootstrapRows) -> None:
        """Scale the noise to what the members' disagreement leaves of the squared error of their mean, by the held-out rows.

        Of each target, the tenth with the largest errors is left out: where a few rows were new, all others are not noise.
        """
        self.noise_scale.fill_(1.0)
        if len(rows.held) < FEWEST_TO_CALIBRATE:
            return
        inputs, targets = rows.inputs[rows.held], rows.targets[rows.held]
        means, log_std, _ = self._split(self.network(inputs.expand(self.members, *inputs.shape)))
        mean = means.mean(0)
        error = (mean - targets).square()
        kept = (error <= error.quantile(0.9, dim=0)).to(error)
        error, apart, noise = ((each * kept).sum(0) for each in (error, (means - mean).square().mean(0), log_std.exp().square().mean(0)))
        self.noise_scale.copy_(((error / LEAST_NINE_TENTHS - apart).clamp_min(0) / noise).sqrt())

    @torch.no_grad()
    def _held_out_loss(self, rows: BootstrapRows) -> float:
        """Mean over members, on rows that none of them is fitted to; NaN where there are none."""
        if len(rows.held) == 0:
            return math.nan
        inputs, targets, ends = rows.inputs[rows.held], rows.targets[rows.held], rows.ends[rows.held]
        expand = (self.members, *inputs.shape)
        return float(self._losses(inputs.expand(expand), targets, ends.expand(self.members, -1), beta=0).mean())

    def _losses(self, inputs: Tensor, targets: Tensor, ends: Tensor, beta: float = 0.5) -> Tensor:
        r"""Negative log-likelihood per component, weighted by :math:`\sigma^{2\beta}`, plus that of the ends, ``(member,)``."""
        mean, log_std, end = self._split(self.network(inputs))
        std = log_std.exp()
        nll = log_std + 0.5 * ((targets - mean) / std).square()
        loss = (nll * std.detach() ** (2 * beta)).mean((1, 2))
        if end is not None:
            loss = loss + F.binary_cross_entropy_with_logits(end, ends, reduction="none").mean(1)
        return loss

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The network's outputs: means and log standard deviations ``(member, batch, output)``, and end logits ``(member, batch)``."""
        mean, log_std = raw[..., : self.outputs], raw[..., self.outputs : 2 * self.outputs]
        log_std = -6 + F.softplus(log_std + 6) - F.softplus(log_std - 1)  # in about [-6, 1]
        return mean, log_std, raw[..., -1] if self.learns_ends else None

    def _in_units(self, raw: Tensor, obs: Tensor) -> Prediction:
        mean = raw[..., : self.outputs]
        # The exponential of _split's log standard deviation, with one transcendental function in place of five.
        power = raw[..., self.outputs : 2 * self.outputs].clamp_max(30.0).exp()
        std = (power + math.exp(-6)).div_((power / math.e).add_(1)).mul_(self.noise_scale)
        mean, std = self.target_scale.in_units(mean, std, obs)
        reward = mean[..., -1] if self.learns_reward else torch.zeros_like(mean[..., 0])
        goes_on = torch.sigmoid(-raw[..., -1]) if self.learns_ends and self.ends_seen else torch.ones_like(reward)
        return Prediction(mean[..., : self.obs_dim], std[..., : self.obs_dim], reward, goes_on)

    def _rows_anew(self, transitions: Transitions, reward: Tensor | None, fitted: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised inputs and targets by the statistics of these rows; the reward is a target where it is learned."""
        return self._restandardize(transitions, [reward] if reward is not None and self.learns_reward else [], fitted)

    def _check_finite(self, losses: Tensor, step: int) -> None:
        if not losses.isfinite().all():
            member = int((~losses.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"member {member} of {type(self).__name__} has a loss of {losses[member].item()} at step {step} of its fit; "
                "lower learning_rate, or look for outliers in the transitions"
            )

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, act={self.action_dim}, members={self.members}, targets={self.targets}"
