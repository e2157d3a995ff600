"""Running statistics, as modules whose state is saved with the model that owns them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["RunningMeanStd"]


class RunningMeanStd(nn.Module):
    r"""Running mean and standard deviation of everything seen, merged batch by batch in float64.

    .. math:: \mathrm{forward}(x) = \mathrm{clip}\left(\frac{x - \mu}{\max(\sigma, \epsilon)}, \pm c\right)

    Before the first ``update`` the mean is 0 and the standard deviation 1.

    Args:
        shape: shape of one item.
        std_floor: ε, least standard deviation; without it, near-constant inputs would become huge.
        clip: c, largest distance from the mean, in standard deviations; infinite by default.

    References:
        Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    like: Tensor

    def __init__(self, shape: Sequence[int] = (), std_floor: float = 1e-6, clip: float = float("inf")) -> None:
        super().__init__()
        self.std_floor, self.clip = std_floor, clip
        self.register_buffer("mean", torch.zeros(tuple(shape), dtype=torch.float64))
        self.register_buffer("var", torch.ones(tuple(shape), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("like", torch.zeros(0), persistent=False)  # follows the model's dtype, which the statistics don't have

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Merge a batch ``(batch, *shape)``."""
        n = x.shape[0]
        if n == 0:
            return
        x = x.double()
        mean, var, total = x.mean(0), x.var(0, unbiased=False), self.count + n
        delta = mean - self.mean
        moment = self.var * self.count + var * n + delta.square() * self.count * n / total
        self.mean.add_(delta * (n / total))
        self.var.copy_(moment / total)
        self.count.copy_(total)

    @property
    def std(self) -> Tensor:
        """Standard deviation with the floor, float64."""
        return self.var.sqrt().clamp_min(self.std_floor)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` in standard deviations from the mean, in the dtype of the model; doubles are cast only after they are centred."""
        wide = torch.promote_types(x.dtype, self.like.dtype)
        return ((x - self.mean.to(wide)) / self.std.to(wide)).clamp(-self.clip, self.clip).to(self.like.dtype)

    def extra_repr(self) -> str:
        return f"shape={tuple(self.mean.shape)}, std_floor={self.std_floor}, clip={self.clip}"
