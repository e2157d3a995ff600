"""The common unit of the exploration bonuses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genrl.models.normalization import RunningMeanStd

__all__ = ["BonusScale"]


class BonusScale(nn.Module):
    r"""Divides a bonus by the running root mean square of all bonuses scored so far, so that one weight means the same for every reward.

    .. math:: \mathrm{forward}(b) = b \,/\, \sqrt{\operatorname{mean}(b_{1:t}^2)}

    In training mode the given batch enters the statistics first, so the very first batch has a root mean square of exactly 1; later a
    bonus fades as what is left to discover does. In evaluation mode nothing changes; before the first batch in training mode, when
    neither inputs nor bonus have a scale yet, it is zero. The usual choice is the standard deviation, which is the same but about the
    mean: a bonus that hardly varies, as a neighbour distance, would become huge.

    Args:
        enabled: whether to divide at all; the statistics are not kept otherwise.
    """

    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        self.stats = RunningMeanStd()

    @property
    def rms(self) -> Tensor:
        """Root mean square of the bonuses so far, float64; 1 before the first."""
        return (self.stats.var + self.stats.mean.square()).sqrt().clamp_min(1e-12)

    @torch.no_grad()
    def forward(self, bonus: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """``(batch,)`` bonuses in units of their running root mean square."""
        if not self.enabled:
            return bonus
        if self.training:
            self.stats.update(bonus)
        if self.stats.count == 0:
            return torch.zeros_like(bonus)
        return bonus / self.rms.to(bonus.dtype)

    def extra_repr(self) -> str:
        return f"enabled={self.enabled}"
