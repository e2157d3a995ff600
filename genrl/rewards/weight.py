"""The weight of a bonus: an attribute that takes finite numbers only, and a dual variable that holds the bonus's share of the return."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from genrl.errors import positive, require

__all__ = ["AutoWeight", "FiniteWeight"]

LEAST, MOST = 1e-6, 1e3
"""Bounds of the weight, for a bonus that fades or a task that pays next to nothing."""


class FiniteWeight:
    """An attribute of a callback, checked whenever it is set.

    Args:
        tunable: whether the callback may tune it by its ``auto``, an :class:`AutoWeight`; it is at least 0 then.

    Raises:
        ValueError: when it is set to what is no finite number, or to a negative one that is tuned.
    """

    def __init__(self, tunable: bool = False) -> None:
        self.tunable = tunable

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, callback: Any, owner: type | None = None) -> float:
        return float(vars(callback)[self.name])

    def __set__(self, callback: Any, value: float) -> None:
        number, tuned = hasattr(value, "__float__"), self.tunable and callback.auto is not None
        require(
            self.owner,
            (self.name, value, number, "a number" + (", or 'auto' where the callback is made" if self.tunable else "")),
            (self.name, value, number and math.isfinite(value), "finite"),
            (self.name, value, number and (value >= 0 or not tuned), "at least 0, as one that tunes itself"),
        )
        vars(callback)[self.name] = value


class AutoWeight:
    r"""Holds the bonus's share of what the learner is paid.

    .. math::

        \text{share} = \frac{w \sum |b|}{\sum |r_{\text{env}}| + w \sum |b|}, \qquad
        \log w \leftarrow \log w + \alpha\,(\text{target} - \text{share}),

    b the bonus and :math:`r_{\text{env}}` the environment's part of the reward, as the learner gets it, both since the last update. The
    step is that of a dual variable: w rises while the share is below its target and falls while it is above; by its form it is never
    negative.
    As long as either sum is zero there is no share to hold, and w stays: before the first reward of a sparse task it is ``start``.

    The idea, a weight that tunes itself by a constraint on exploration, is MaxInfoRL's; there the constraint is on the information gain of
    a slower copy of the policy, which lives inside the learner.

    Args:
        target: share to hold, in (0, 1).
        start: weight at the beginning, within [1e-6, 1000], where it stays.
        step_size: α; at 1 the weight can change by a factor of e in one update.

    Raises:
        ValueError: a target outside (0, 1), a start out of its bounds, or a step size that is not positive.

    References:
        Sukhija, Coros, Krause, Abbeel, Sferrazza, "MaxInfoRL: Boosting Exploration in Reinforcement Learning through Information Gain
        Maximization", 2024, arXiv:2412.12098.

    Example:
        >>> weight = AutoWeight(target=0.5, start=1.0)
        >>> weight.paid(np.array([0.0, -1.0]))
        >>> weight.update(np.array([3.0, 0.0]))  # the bonus is 3/4 of what was paid
        0.75
        >>> weight.value < 1.0
        True
    """

    def __init__(self, target: float = 0.5, start: float = 0.1, step_size: float = 0.5) -> None:
        require(
            AutoWeight,
            ("target", target, 0 < target < 1, "in (0, 1)"),
            ("start", start, LEAST <= start <= MOST, f"in [{LEAST:g}, {MOST:g}]"),
            *positive(step_size=step_size),
        )
        self.target, self.start, self.step_size = target, start, step_size
        self.value = start
        """The weight now."""
        self._extrinsic = 0.0

    def paid(self, rewards: np.ndarray) -> None:
        """Add the environment's part of what the learner was paid in one step, an array of any shape.

        Raises:
            FloatingPointError: it is not finite.
        """
        total = float(np.abs(rewards, dtype=np.float64).sum())
        if not math.isfinite(total):
            raise FloatingPointError(f"AutoWeight was given the rewards {rewards}; they must be finite")
        self._extrinsic += total

    def update(self, bonus: np.ndarray, decay: float = 1.0) -> float:
        """Move the weight by the unweighted bonuses of the same steps, any shape, and begin the sums anew; returns the share.

        Args:
            bonus: what the model paid for the steps since the last update.
            decay: what the target is multiplied with, in (0, 1].

        Raises:
            FloatingPointError: a bonus is not finite.
        """
        total = float(np.abs(bonus, dtype=np.float64).sum())
        if not math.isfinite(total):
            raise FloatingPointError("AutoWeight was given a bonus that is not finite")
        intrinsic, extrinsic, self._extrinsic = self.value * total, self._extrinsic, 0.0
        share = intrinsic / (extrinsic + intrinsic) if intrinsic else 0.0
        if intrinsic and extrinsic:
            log = math.log(self.value) + self.step_size * (decay * self.target - share)
            self.value = math.exp(min(max(log, math.log(LEAST)), math.log(MOST)))
        return share

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "extrinsic": self._extrinsic}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self._extrinsic = float(state["value"]), float(state["extrinsic"])

    def __repr__(self) -> str:
        return f"AutoWeight(target={self.target}, start={self.start}, step_size={self.step_size})"
