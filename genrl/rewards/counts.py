"""Pseudo-counts by hashing."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.errors import at_least, positive, require
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["SimHashCounts"]

_EXACT_BITS = 20
# The moduli of the released code: primes, so that codes which share a bucket in one table share none in the others.
_PRIMES = (999931, 999953, 999959, 999961, 999979, 999983)


class SimHashCounts(RewardModel):
    r"""Bonus for observations whose hash code was seldom seen.

    .. math:: r(s') = 1 / \sqrt{n(\phi(s'))}, \qquad \phi(s') = \operatorname{sgn}(A \bar s' + b) \in \{0, 1\}^k

    with the entries of A standard normal. In (0, 1] before ``normalize``. In training mode a batch is counted and then scored, itself
    included; in evaluation mode it is only scored, what was never seen as if seen once.

    The table is bounded. Up to 20 bits it has a cell for each of the :math:`2^k` codes and counts are exact (256 KB at 16 bits). Above
    that, codes are counted in six tables, modulo six primes near a million (24 MB), and the least of the six counts is taken, which may
    be too high and never too low.

    The normaliser takes in the first ``warmup`` observations and is then fixed: a moving one would move states to other codes. Counts
    from before are kept. An entry that does not vary until then, such as a flag, keeps its own unit, and entries are clipped: in standard
    deviations of what hardly varied it would outweigh all others, and all states with the flag would be one.

    Differences from the paper: that normaliser, ``offset``, and the division of the bonus by its running root mean square; images need an
    encoder, where the paper learns a code of its own.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`; actions are not used.
        bits: k, length of the code; more bits, finer cells.
        offset: standard deviation of b. The paper's 0 cuts space through the mean observation only, so what lies further out in the same
            direction is not new; with 1 it can be.
        warmup: observations after which the normaliser is fixed (whole batches).
        clip_obs: clip of the normalised observations, in standard deviations; wide, since what is beyond it looks alike.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).

    Raises:
        ValueError: a space it can't take, or a keyword value out of range.

    References:
        Tang et al., "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning", 2017, arXiv:1611.04717.

    Example:
        >>> import torch
        >>> from gymnasium import spaces
        >>> from genrl.rewards import SimHashCounts, Transitions
        >>> reward = SimHashCounts(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), normalize=False)
        >>> same = torch.ones(4, 3)
        >>> reward(Transitions(same, torch.zeros(4), same, torch.zeros(4, dtype=torch.bool)))
        tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    centres_observations = True
    latest_only = True

    projection: Tensor
    bias: Tensor
    powers: Tensor
    moduli: Tensor
    counts: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        bits: int = 16,
        offset: float = 0.0,
        warmup: int = 2048,
        clip_obs: float = 10.0,
        normalize: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        require(SimHashCounts, *positive(bits=bits, warmup=warmup, clip_obs=clip_obs), *at_least(0, offset=offset))
        self.bits, self.warmup = bits, warmup
        self.obs_stats = RunningMeanStd((self.obs_dim,), clip=clip_obs)
        self.scale = BonusScale(normalize)
        moduli = (2**bits,) if bits <= _EXACT_BITS else _PRIMES
        self.register_buffer("projection", torch.randn(self.obs_dim, bits, generator=self.generator))
        self.register_buffer("bias", offset * torch.randn(bits, generator=self.generator))
        self.register_buffer("powers", torch.tensor([[pow(2, i, p) for p in moduli] for i in range(bits)]))
        self.register_buffer("moduli", torch.tensor(moduli))
        self.register_buffer("counts", torch.zeros(len(moduli), max(moduli), dtype=torch.int32))

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the batch is counted first."""
        obs = self.flat_obs(transitions.next_obs)
        if self.training and self.obs_stats.count < self.warmup:
            self.obs_stats.update(obs)
        keys = self._keys(obs)
        if self.training:
            for table, key in zip(self.counts, keys, strict=True):
                table.index_add_(0, key, torch.ones_like(key, dtype=torch.int32))
        n = torch.stack([table[key] for table, key in zip(self.counts, keys, strict=True)]).amin(0)
        return self.scale(n.clamp_min(1).to(self.projection.dtype).rsqrt())

    def update(self, memory: Memory) -> dict[str, float]:
        """Nothing to learn; returns ``cells``, the number of cells with a count."""
        return {"cells": float(torch.count_nonzero(self.counts[0]))}

    def _keys(self, obs: Tensor) -> Tensor:
        """Where each table counts each observation, ``(table, batch)``."""
        stats = self.obs_stats
        own = (obs - stats.mean).clamp(-stats.clip, stats.clip).to(self.projection.dtype)
        varied = stats.var.sqrt() > stats.std_floor
        code = torch.where(varied, stats(obs), own) @ self.projection + self.bias > 0
        return ((code.long() @ self.powers) % self.moduli).T

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, bits={self.bits}, tables={self.counts.shape[0]}, cells={self.counts.shape[1]}"
