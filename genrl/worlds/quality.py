"""How good a model of an environment is, on episodes that it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrl.errors import require
from genrl.files import finite_or_none
from genrl.models.dynamics import INTERVALS, STILL, Dynamics
from genrl.models.novelty import auroc
from genrl.models.resampling import windows
from genrl.transitions import Transitions

__all__ = ["Quality", "end_auroc", "measure_quality"]

HORIZONS = (1, 2, 5, 10, 20, 50)
MOST_WINDOWS = 2000

Rollout = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Function of the observations before and at the start, ``(window, obs)``, the actions ``(window, time, …)`` and k: the observations after
k steps, ``(window, obs)``."""


@dataclass(frozen=True)
class Quality:
    """Errors are root mean square, in standard deviations of each observation entry over the test rows, averaged over entries; that of an
    entry which never changes is in its own units."""

    horizons: tuple[int, ...]
    """Steps k of open loop: the model sees the first observation and the actions that were taken."""
    error: dict[str, list[float]]
    """Error after each k, of the ``model`` and of the controls ``persistence``, ``constant velocity`` and ``ridge``; NaN where no test
    episode is that long."""
    worst_entry: list[int]
    """Entry of the observation with the model's greatest error after each k; −1 where there is none."""
    worst_error: list[float]
    """Error of that entry after each k."""
    coverage: dict[str, float]
    """Share of next observations within the central 50 and 90 % intervals of the model's one-step prediction."""
    reward_r2: float
    """Share of the reward's variance that the model explains, at most 1; NaN for a constant reward."""
    end_auroc: float
    """Probability that an ended row has a higher predicted end than one that goes on; NaN where all or none ended."""
    rows: int
    """Test rows."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes ``None``."""
        return dict(finite_or_none(asdict(self)))

    def table(self) -> str:
        """The errors as lines of text."""
        head = f"{'error after k steps':<20}" + "".join(f"{f'k = {k}':>10}" for k in self.horizons)
        lines = [f"{name:<20}" + "".join(f"{value:>10.3g}" for value in values) for name, values in self.error.items()]
        worst = f"{'model, worst entry':<20}" + "".join(f"{value:>10.3g}" for value in self.worst_error)
        shares = ", ".join(f"{share} of {wanted}" for wanted, share in ((key, f"{value:.0%}") for key, value in self.coverage.items()))
        rest = f"coverage: {shares}; reward R² {self.reward_r2:.3f}; AUROC of ends {self.end_auroc:.3f}; {self.rows:,} test rows"
        return "\n".join([head, *lines, worst, rest])


@torch.no_grad()
def measure_quality(
    dynamics: Dynamics,
    test: Transitions,
    reward: Tensor | np.ndarray,
    *,
    fitted: Transitions | None = None,
    horizons: Sequence[int] = HORIZONS,
) -> Quality:
    r"""Compare what a model says with what happened.

    The error after k steps is the mean over entries j of
    :math:`\sqrt{\operatorname{mean}_i (\hat s_{k,ij} - s_{k,ij})^2} / \operatorname{std}_j` over all stretches i of k successive test rows
    (2,000 of them, evenly spaced, if there are more). The model's step is the mean of its members; it sees nothing but its own predictions.

    Args:
        dynamics: the model.
        test: transitions that it was not fitted to, in the order of time, one environment after the other.
        reward: their rewards, ``(batch,)``.
        fitted: transitions that the ridge regression is fitted to, usually the model's; without them it is left out.
        horizons: the numbers of steps k.

    Raises:
        ValueError: no test rows, not one reward for each, or a horizon below 1.

    Example:
        >>> from gymnasium import spaces
        >>> from genrl.worlds import Ensemble, measure_quality
        >>> action = torch.rand(200, 1) - 0.5
        >>> place = torch.cat([torch.zeros(1, 1), action.cumsum(0)])  # a point that goes where it is told, and is paid for being far
        >>> rows = Transitions(place[:-1], action, place[1:], torch.zeros(200, dtype=torch.bool))
        >>> world = Ensemble(spaces.Box(-100, 100, (1,)), spaces.Box(-1, 1, (1,)), members=2, hidden=(8,))
        >>> _ = world.fit(rows.rows(slice(0, 150)), rows.next_obs[:150, 0], max_steps=10)
        >>> quality = measure_quality(world, rows.rows(slice(150, 200)), rows.next_obs[150:, 0], horizons=(1, 5))
        >>> {name: len(error) for name, error in quality.error.items()}  # quality.table() prints them
        {'model': 2, 'persistence': 2, 'constant velocity': 2}
    """
    require(measure_quality, ("horizons", horizons, len(horizons) > 0 and min(horizons) >= 1, "numbers of steps from 1 on"))
    if test.batch_size < 2:
        raise ValueError(f"the quality of a model needs at least 2 test transitions, but was given {test.batch_size}; collect an episode")
    reward = torch.as_tensor(reward).to(test.obs)
    one_each = tuple(reward.shape) == (test.batch_size,)
    require(measure_quality, ("reward", tuple(reward.shape), one_each, f"one for each transition, of shape ({test.batch_size},)"))
    errors = {name: _errors(way, test, horizons) for name, way in _ways(dynamics, fitted).items()}
    said = dynamics.predict(test.obs, test.action)
    mean = said.mean.mean(0)
    paid = dynamics.reward(test.obs, test.action, mean) if callable(dynamics.reward) else said.reward.mean(0)
    known = dynamics.termination
    ends = known(test.obs, test.action, mean).float() if callable(known) else 1 - said.continuation.mean(0)
    variance = float(reward.var(unbiased=False))
    return Quality(
        tuple(horizons),
        {name: [float(each.mean()) for each in found] for name, found in errors.items()},
        [-1 if each.isnan().any() else int(each.argmax()) for each in errors["model"]],
        [float(each.max()) for each in errors["model"]],
        _coverage(dynamics, test),
        1 - float((paid - reward).square().mean()) / variance if variance > STILL**2 else math.nan,
        end_auroc(ends, test.terminated),
        test.batch_size,
    )


def _ways(dynamics: Dynamics, fitted: Transitions | None) -> dict[str, Rollout]:
    """The model and the controls."""
    ways: dict[str, Rollout] = {
        "model": _of(lambda obs, action: dynamics.predict(obs, action).mean.mean(0)),
        "persistence": lambda before, start, actions, k: start,
        "constant velocity": lambda before, start, actions, k: start + k * (start - before),
    }
    return ways | ({"ridge": _of(_ridge(dynamics, fitted))} if fitted is not None else {})


def _errors(way: Rollout, test: Transitions, horizons: Sequence[int]) -> list[Tensor]:
    """Root mean square error of each entry after each k, ``(obs,)``; NaN where no stretch is that long."""
    std, found = torch.cat([test.obs, test.next_obs]).std(0), []
    std = torch.where(std > STILL, std, 1.0)  # what never changes has no units but its own
    for k in horizons:
        rows = _some(windows(test, k + 1))  # the first row is only there for its velocity
        if len(rows) == 0:
            found.append(torch.full_like(std, torch.nan))
            continue
        said = way(test.obs[rows[:, 0]], test.obs[rows[:, 1]], test.action[rows[:, 1:]], k).nan_to_num(torch.inf)
        found.append((said - test.next_obs[rows[:, -1]]).square().mean(0).sqrt() / std)
    return found


def _coverage(dynamics: Dynamics, test: Transitions) -> dict[str, float]:
    """Share of the next observations within the central intervals of the model."""
    mean, std = dynamics.interval(test.obs, test.action)
    return {f"{share:.0%}": float(((test.next_obs - mean).abs() <= z * std).double().mean()) for share, z in INTERVALS.items()}


def end_auroc(score: Tensor, ended: Tensor) -> float:
    """Probability that a row that ended has a higher score than one that went on, ties counted half; NaN without rows of both kinds, or
    where a score is NaN.

    Example:
        >>> end_auroc(torch.tensor([0.1, 0.9, 0.5, 0.5]), torch.tensor([False, True, True, False]))
        0.875
    """
    known = 0 < int(ended.sum()) < len(ended) and not score.isnan().any()
    return auroc(score[~ended], score[ended]) if known else math.nan


def _of(step: Callable[[Tensor, Tensor], Tensor]) -> Rollout:
    def rollout(before: Tensor, start: Tensor, actions: Tensor, k: int) -> Tensor:
        for time in range(k):
            start = step(start, actions[:, time])
        return start

    return rollout


def _some(rows: Tensor) -> Tensor:
    return rows if len(rows) <= MOST_WINDOWS else rows[torch.linspace(0, len(rows) - 1, MOST_WINDOWS, device=rows.device).long()]


def _ridge(dynamics: Dynamics, fitted: Transitions, penalty: float = 1e-3) -> Callable[[Tensor, Tensor], Tensor]:
    """The change of the observation as a linear function of observation and action."""
    inputs = torch.cat([fitted.obs, dynamics.flat_action(fitted.action)], 1).double()
    offset, scale = inputs.mean(0), inputs.std(0).clamp_min(1e-6)

    def features(inputs: Tensor) -> Tensor:
        return torch.cat([(inputs.double() - offset) / scale, torch.ones_like(inputs[:, :1]).double()], 1)

    x = features(inputs)
    gram = x.T @ x + penalty * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, x.T @ (fitted.next_obs - fitted.obs).double())

    def step(obs: Tensor, action: Tensor) -> Tensor:
        return obs + (features(torch.cat([obs, dynamics.flat_action(action)], 1)) @ weight).to(obs.dtype)

    return step
