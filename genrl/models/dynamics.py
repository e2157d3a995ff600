"""Dynamics: what a model of an environment is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from genrl.errors import callers_line
from genrl.models.regression import Standardizer, TargetScale, restandardize
from genrl.models.stateful import Stateful
from genrl.spaces import Space, brief, flat_action, flat_size
from genrl.transitions import Transitions, lost_differences

__all__ = [
    "FEWEST_TO_CALIBRATE",
    "INTERVALS",
    "STILL",
    "Dynamics",
    "EndFunction",
    "FitReport",
    "Outcome",
    "Prediction",
    "RewardFunction",
    "check_rows",
    "skill",
]

INTERVALS = {0.5: 0.674490, 0.9: 1.644854}
"""Central probability of a normal distribution, and the standard deviations within which it lies."""
STILL = 1e-6
"""Root mean square change of an entry that only rounding moves: the least standard deviation by which a model divides."""
FEWEST_TO_CALIBRATE = 20
"""Held-out rows without which nothing is calibrated by them."""

RewardFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function of ``obs (batch, obs)``, ``action (batch, …)`` and ``next_obs (batch, obs)`` that gives rewards ``(batch,)``."""
EndFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function of the same arguments that gives booleans ``(batch,)``: whether the episode terminates there."""


class Prediction(NamedTuple):
    """What every member of a model says of every row, in the environment's units."""

    mean: Tensor
    """Mean of the next observation, ``(member, batch, obs)``."""
    std: Tensor
    """Standard deviation of the next observation given the member, ``(member, batch, obs)``."""
    reward: Tensor
    """Mean reward, ``(member, batch)``; zeros where the reward is given as a function."""
    continuation: Tensor
    """Probability that the episode goes on, ``(member, batch)``, in [0, 1]; ones where ends are not learned."""


class Outcome(NamedTuple):
    """One drawn step of every row."""

    next_obs: Tensor
    """``(batch, obs)``."""
    reward: Tensor
    """``(batch,)``."""
    terminated: Tensor
    """Boolean ``(batch,)``."""


@dataclass(frozen=True)
class FitReport:
    """What a fit did."""

    steps: int
    """Gradient steps."""
    loss: float
    """Loss of the fitted rows at the last steps, averaged over members."""
    held_out_loss: float
    """Loss of the held-out rows; NaN where there were none."""
    skill: float
    """What the model says of the held-out rows, see :func:`skill`; NaN where there were none."""
    rows: int
    """Rows that were fitted."""
    held_out_rows: int
    targets: str
    """``"delta"`` or ``"direct"``."""


class Dynamics(Stateful):
    r"""Base of every model of an environment, :math:`p_m(s', r, \text{end} \mid s, a)` for members m.

    A subclass needs :meth:`predict`, and ``members``; one that learns has :meth:`fit`.

    Args:
        observation_space: the task's; a flat ``Box`` of shape ``(obs,)``.
        action_space: the task's.
        reward: the reward as a function of ``(obs, action, next_obs)``; ``"learned"`` from transitions by default.
        termination: whether an episode terminates as a function of ``(obs, action, next_obs)``; ``"learned"`` by default; ``"none"`` for a
            task without terminations.
        seed: of every random draw of the model.

    Raises:
        ValueError: a space that it can't take.
    """

    members: int = 1
    low: Tensor
    high: Tensor
    spread_scale: Tensor
    standardizer: Standardizer
    target_scale: TargetScale
    ends_seen: Tensor

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        *,
        reward: RewardFunction | Literal["learned"] = "learned",
        termination: EndFunction | Literal["learned", "none"] = "learned",
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        _refuse(type(self).__name__, observation_space)
        self.observation_space: Any = observation_space
        self.action_space = action_space
        self.reward, self.termination = reward, termination
        self.learns_reward, self.learns_ends = not callable(reward), termination == "learned"
        self.obs_dim, self.action_dim = flat_size(observation_space), flat_size(action_space)
        self.register_buffer("low", torch.full((self.obs_dim,), -torch.inf))
        """Least values of the observations that the model was fitted to, ``(obs,)``."""
        self.register_buffer("high", torch.full((self.obs_dim,), torch.inf))
        self.register_buffer("spread_scale", torch.ones(self.obs_dim))

    def predict(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Prediction:
        """What every member says of ``obs (batch, obs)`` and of actions in the environment's units ``(batch, …)``."""
        raise NotImplementedError

    def predict_own(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Prediction:
        """What member ``i mod members`` says of row i, with a member axis of size 1."""
        whole = self.predict(obs, action)
        rows = torch.arange(len(obs), device=obs.device)
        return Prediction(*(field[rows % self.members, rows][None] for field in whole))

    def predict_together(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Prediction:
        """What all members say of every row together, with a member axis of size 1: the means, and the root mean square of their noise."""
        mean, std, *others = self.predict(obs, action)
        return Prediction(mean.mean(0)[None], std.square().mean(0).sqrt()[None], *(field.mean(0)[None] for field in others))

    def uncertainty(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> Float[Tensor, "batch"]:
        """u(s, a): what the model does not know about the outcome, ``(batch,)``, at least 0; 0 with one member.

        Here the variance over members of the mean next observation, averaged over components, in the observations' own units, squared;
        subclasses have better units.
        """
        mean = self.predict(obs, action).mean
        return (mean - mean.mean(0)).square().mean((0, 2))

    def interval(self, obs: Float[Tensor, "batch obs"], action: Shaped[Tensor, "batch *act"]) -> tuple[Tensor, Tensor]:
        r"""Mean and standard deviation of the next observation by all members together, ``(batch, obs)`` each.

        .. math:: \mu = \tfrac1M \sum_m \mu_m, \qquad \sigma^2 = \kappa^2\, \tfrac1M \sum_m \big(\sigma_m^2 + (\mu_m - \mu)^2\big)

        κ, per entry, is 1 before a fit, and then what makes the 50 and 90 % intervals cover as much of the held-out rows: the mean of the
        members is nearer to the truth than they are to each other.
        """
        said = self.predict(obs, action)
        mean = said.mean.mean(0)
        return mean, self.spread_scale * (said.std.square().mean(0) + (said.mean - mean).square().mean(0)).sqrt()

    @torch.no_grad()
    def calibrate_intervals(self, held: Transitions) -> None:
        """Set κ of :meth:`interval` by rows that the model was not fitted to."""
        self.spread_scale.fill_(1.0)
        if held.batch_size < FEWEST_TO_CALIBRATE:
            return
        mean, std = self.interval(held.obs, held.action)
        scores = ((held.next_obs - mean).abs() / std.clamp_min(1e-12)).double()
        found = [scores.quantile(share, dim=0) / normal for share, normal in INTERVALS.items()]
        self.spread_scale.copy_(torch.stack(found).mean(0))

    @torch.no_grad()
    def step(
        self,
        obs: Float[Tensor, "batch obs"],
        action: Shaped[Tensor, "batch *act"],
        generator: torch.Generator | None = None,
        *,
        together: bool = False,
    ) -> Outcome:
        """One drawn step of every row, each by its own member or by all ``together``; without a generator its mean.

        Where the task observes whole numbers, the next ones of the drawn step are the nearest.
        """
        own = (self.predict_together if together else self.predict_own)(obs, action)
        next_obs = own.mean[0]
        if generator is not None:
            next_obs = torch.addcmul(next_obs, own.std[0], torch.randn(next_obs.shape, generator=generator).to(next_obs))
        if self.observation_space.dtype.kind != "f":  # what is one-hot or bytes: 0.97 would be seen as 0
            next_obs = next_obs.round()
        reward = self._said("reward", self.reward, obs, action, next_obs) if callable(self.reward) else own.reward[0]
        if callable(self.termination):
            return Outcome(next_obs, reward, self._said("termination", self.termination, obs, action, next_obs).bool())
        return Outcome(next_obs, reward, own.continuation[0] < 0.5)

    def _said(self, name: str, function: RewardFunction | EndFunction, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """What a function of the user's gives, one value each row."""
        found: Any = function(obs, action, next_obs)
        if not (isinstance(found, Tensor) and found.shape == (len(obs),)):
            given = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(
                f"the {name} function of {type(self).__name__} gave {given} for {len(obs)} rows; it needs a tensor of shape ({len(obs)},)"
            )
        return found

    def fit(self, transitions: Transitions, reward: Tensor | None = None) -> FitReport:
        """Learn from all transitions so far, in the order of time; ``reward`` is ``(batch,)``, and only needed where it is learned."""
        raise NotImplementedError(f"{type(self).__name__} does not learn")

    @torch.no_grad()
    def remember_range(self, transitions: Transitions) -> None:
        """Set ``low`` and ``high`` to the range of these observations."""
        both = torch.cat([transitions.obs, transitions.next_obs])
        self.low.copy_(both.min(0).values)
        self.high.copy_(both.max(0).values)

    def flat_action(self, action: Tensor) -> Tensor:
        """Actions as ``(batch, action_dim)`` floats."""
        return flat_action(self.action_space, action)

    # --- of a model that learns: it has a standardizer, a target_scale and ends_seen ---

    def _taken(self, transitions: Transitions, reward: Tensor | np.ndarray | None) -> tuple[Transitions, Tensor | None]:
        """Rows that can be fitted, on the model's device and in its dtype.

        Raises:
            ValueError: they can't be fitted.
        """
        like = next(self.parameters())
        reward = None if reward is None else torch.as_tensor(reward, device=like.device)
        check_rows(self, transitions, reward)
        first = bool(self.low.isinf().any())
        if first and torch.float32 in (transitions.obs.dtype, like.dtype) and (lost := lost_differences(transitions.obs.cpu().numpy())):
            warnings.warn(
                f"{type(self).__name__} can't tell observations apart: {lost}; subtract an offset in a wrapper", stacklevel=callers_line()
            )
        obs, action, next_obs, terminated = transitions
        action = action.to(like) if action.is_floating_point() else action.to(like.device)
        rows = Transitions(obs.to(like), action, next_obs.to(like), terminated.to(like.device, torch.bool))
        return rows, None if reward is None else reward.to(like)

    def _inputs(self, obs: Tensor, action: Tensor) -> Tensor:
        """Standardised inputs of the network, ``(batch, input)``."""
        return self.standardizer.inputs(obs, self.flat_action(action))

    @torch.no_grad()
    def _restandardize(self, transitions: Transitions, others: Sequence[Tensor], fitted: Tensor) -> tuple[Tensor, Tensor]:
        """Take the statistics of the rows ``fitted``; the standardised inputs and targets of all, ``others`` behind the observations."""
        obs, action, next_obs, terminated = transitions
        flat, target = self.flat_action(action), self.target_scale.raw(obs, next_obs, *others)
        for stats, rows in ((self.standardizer.obs, obs), (self.standardizer.action, flat), (self.target_scale.stats, target)):
            restandardize(stats, rows[fitted])
        self.ends_seen.fill_(bool(terminated.any()))
        self.remember_range(transitions)
        # What was not seen to vary has no unit: the one held-out row in which it does would be a million standard deviations away.
        varies = self.target_scale.stats.var > STILL**2
        return self.standardizer.inputs(obs, flat), torch.where(varies, self.target_scale.stats(target), 0.0)


@torch.no_grad()
def skill(model: Dynamics, rows: Transitions, reward: Tensor | None = None) -> float:
    r"""What a model says beyond "all stays as it is": the lower of two shares, at most 1; NaN without rows.

    .. math:: \operatorname{mean}_j \Big(1 - \frac{\sum_i (\hat s'_{ij} - s'_{ij})^2}{\sum_i (s'_{ij} - s_{ij})^2}\Big),
        \qquad 1 - \frac{\sum_i (\hat r_i - r_i)^2}{\sum_i (r_i - \bar r)^2}

    over the entries j that move, by more than a millionth; the second only where the model learns the reward and the rows' rewards differ
    by as much.
    """
    if rows.batch_size == 0:
        return float("nan")
    said = model.predict(rows.obs, rows.action)
    moved = (rows.next_obs - rows.obs).square().sum(0)
    wrong = (said.mean.mean(0) - rows.next_obs).square().sum(0)
    found = float((1 - wrong / moved)[moved > rows.batch_size * STILL**2].mean())
    if reward is None or not model.learns_reward or (variance := float(reward.var(unbiased=False))) <= STILL**2:
        return found
    return min(found, 1 - float((said.reward.mean(0) - reward).square().mean()) / variance)


def _refuse(name: str, space: Any) -> None:
    """Refuse observations that no dynamics model takes, with the way out."""
    shape = getattr(space, "shape", None) or ()
    if len(shape) == 3:
        raise ValueError(
            f"{name} takes observations of a flat Box, shape (n,), but was given images, {brief(space)}; "
            "put an encoder before it: genrl.encoders.EncodedVecEnv(env, encoder), or --encoder RUN without --finetune"
        )
    if len(shape) != 1 or not hasattr(space, "low"):
        raise ValueError(
            f"{name} takes observations of a flat Box, shape (n,), but was given {brief(space)}; "
            "wrap the environment in gymnasium.wrappers.FlattenObservation"
        )


def check_rows(model: Dynamics, transitions: Transitions, reward: Tensor | None) -> None:
    """Refuse rows that can't be fitted, with the way out."""
    name, n = type(model).__name__, transitions.batch_size
    if transitions.obs.shape[1:] != (model.obs_dim,) or model.flat_action(transitions.action).shape[1] != model.action_dim:
        raise ValueError(
            f"{name} was made for observations of {model.obs_dim} and actions of {model.action_dim} numbers, but was given rows of "
            f"{tuple(transitions.obs.shape[1:])} and {tuple(transitions.action.shape[1:])}; make it with the spaces of this task"
        )
    if n < 50:
        raise ValueError(f"{name} needs at least 50 transitions to fit, but was given {n}; collect more real steps first")
    if model.learns_reward and reward is None:
        raise ValueError(
            f"{name} learns the reward, but was given none; give the rewards of the transitions to fit, or a function: "
            f"{name}(…, reward=lambda obs, action, next_obs: …)"
        )
    if reward is not None and reward.shape != (n,):
        raise ValueError(f"{name} needs one reward for each of {n} transitions, shape ({n},), but was given {tuple(reward.shape)}")
    parts = (transitions.obs, transitions.action, transitions.next_obs, reward)
    for what, values in zip(("observations", "actions", "next observations", "rewards"), parts, strict=True):
        if values is not None and not values.isfinite().all():
            raise ValueError(f"{name} was given {what} that are NaN or infinite; remove those rows before the fit")
