"""Vectors that follow the inputs nearest to them: the codebook of a VQ-VAE."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["Codebook"]


class Codebook(nn.Module):
    r"""Vectors that follow the inputs nearest to them, by exponential averages of how many there are and of their sum.

    .. math:: N_i \leftarrow \gamma N_i + (1 - \gamma) n_i, \quad m_i \leftarrow \gamma m_i + (1 - \gamma) \textstyle\sum_j z_{ij}, \quad
        e_i = m_i / N_i

    A code that has less than ``restart`` times an equal share of the inputs is moved to one of them. At first that holds for all codes, so
    the first batch places them, unless ``restart`` is 0.

    Args:
        codes: number of codes.
        dim: size of each vector.
        decay: γ, decay of both averages.
        restart: share of an equal use below which a code is moved.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, dim: int, decay: float, restart: float) -> None:
        super().__init__()
        self.decay, self.restart = decay, restart
        self.register_buffer("counts", torch.full((codes,), 1e-6))
        self.register_buffer("sums", torch.randn(codes, dim) * 1e-6)

    def is_placed(self) -> bool:
        """Whether a batch has ever moved the codebook."""
        return bool((self.counts != 1e-6).any())

    def vectors(self) -> Tensor:
        """The codes' vectors, ``(code, dim)``."""
        return self.sums / self.counts.clamp_min(1e-30).unsqueeze(1)  # never restarted, both vanish; not NaN, which would be nearest

    @torch.no_grad()
    def nearest(self, z: Float[Tensor, "n dim"]) -> Int[Tensor, "n"]:
        """The code nearest to each row of ``z``."""
        vectors = self.vectors()
        with torch.autocast(z.device.type, enabled=False):  # in bfloat16 near codes are one
            return (z @ (-2 * vectors.T)).add_(vectors.square().sum(1)).argmin(1)  # less |z|², the same for all codes

    @torch.no_grad()
    def restart_unused(self, z: Tensor) -> None:
        """Move each unused code to one of the rows of ``z``, ``(n, dim)``, with an equal share to begin with."""
        share = len(z) / len(self.counts)
        unused = (self.counts < self.restart * share).nonzero()[:, 0]
        if not len(unused):
            return
        order = torch.randperm(len(z), device=z.device).repeat(math.ceil(len(unused) / len(z)))
        self.counts[unused] = share
        self.sums[unused] = z[order[: len(unused)]] * share

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor) -> None:
        """One step of the averages towards inputs ``z``, ``(n, dim)``, and their codes, ``(n,)``."""
        self.counts.lerp_(codes.bincount(minlength=len(self.counts)).to(z.dtype), 1 - self.decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, z), 1 - self.decay)

    def extra_repr(self) -> str:
        return f"codes={len(self.sums)}, dim={self.sums.shape[1]}, decay={self.decay}, restart={self.restart}"
