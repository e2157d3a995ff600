"""Next-state regression, which models of an environment and rewards share: standardised inputs and targets, and gradient steps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from genrl.models.nn import gradient_step
from genrl.models.normalization import RunningMeanStd

__all__ = ["Standardizer", "TargetScale", "regress", "restandardize"]


class Standardizer(nn.Module):
    r"""Observations and actions in running standard deviations, as the rows of a next-state regression.

    Args:
        obs_dim, action_dim: sizes of a flat observation and a flat action.
        clip: largest absolute value of an entry, in standard deviations.

    Example:
        >>> Standardizer(3, 2).inputs(torch.zeros(5, 3), torch.zeros(5, 2)).shape
        torch.Size([5, 5])
    """

    def __init__(self, obs_dim: int, action_dim: int, clip: float = float("inf")) -> None:
        super().__init__()
        self.obs = RunningMeanStd((obs_dim,), clip=clip)
        self.action = RunningMeanStd((action_dim,), clip=clip)

    def update(self, obs: Tensor, action: Tensor) -> None:
        """Merge ``(batch, obs)`` and ``(batch, act)`` into the statistics."""
        self.obs.update(obs)
        self.action.update(action)

    def inputs(self, obs: Tensor, action: Tensor) -> Tensor:
        """What a network is given, ``(batch, obs + act)``."""
        return torch.cat([self.obs(obs), self.action(action)], dim=1)

    def change(self, obs: Tensor, next_obs: Tensor) -> Tensor:
        """What a network that predicts the change is to give, ``(batch, obs)``: the difference of both in standard deviations."""
        return self.obs(next_obs) - self.obs(obs)


class TargetScale(nn.Module):
    """What a model regresses, in standard deviations: the next observation or its change, and whatever else there is, such as the reward.

    Args:
        obs_dim: size of an observation; the targets' first entries.
        outputs: number of targets.
        delta: whether observations are predicted as changes.
    """

    delta: Tensor

    def __init__(self, obs_dim: int, outputs: int, delta: bool) -> None:
        super().__init__()
        self.obs_dim = obs_dim
        self.stats = RunningMeanStd((outputs,))
        self.register_buffer("delta", torch.tensor(delta))

    def raw(self, obs: Tensor, next_obs: Tensor, *others: Tensor) -> Tensor:
        """Targets in the environment's units, ``(batch, output)``; ``others`` are ``(batch,)`` each."""
        return torch.cat([next_obs - obs if self.delta else next_obs, *(other[:, None].to(obs) for other in others)], dim=1)

    def in_units(self, mean: Tensor, std: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations in the environment's units, of standardised outputs ``(…, batch, output)``."""
        scale, offset = self.stats.std.to(mean.dtype), self.stats.mean.to(mean.dtype)
        mean, std = torch.addcmul(offset, mean, scale), std * scale
        if self.delta:
            mean[..., : self.obs_dim] += obs
        return mean, std


@torch.no_grad()
def restandardize(stats: RunningMeanStd, rows: Tensor) -> None:
    """Take the statistics of these rows alone, ``(batch, …)``."""
    stats.count.zero_()
    stats.update(rows)


@torch.enable_grad()
def regress(
    network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, batches: Iterable[Tensor], members: int = 1
) -> float:
    """Take one gradient step down the mean squared error for each of ``batches``.

    Args:
        network: maps ``(batch, in)`` to ``(batch, out)``, or ``(member, batch, in)`` to ``(member, batch, out)``.
        optimizer: of its parameters.
        inputs, targets: all rows, ``(row, in)`` and ``(row, out)``.
        batches: row indices of each step, ``(batch,)``, or ``(member, batch)`` for an ensemble whose members see different rows.
        members: number of members; each has the gradient of its own mean.

    Returns:
        The mean squared error per component, averaged over members and steps.
    """
    losses = []
    for rows in batches:
        error = (network(inputs[rows]) - targets[rows]).square()
        # Summed over members, so that each one's gradient is that of its own mean squared error.
        loss = error.mean() if members == 1 else error.mean((1, 2)).sum()
        gradient_step(optimizer, loss)
        losses.append(loss.item() / members)
    return sum(losses) / len(losses)
