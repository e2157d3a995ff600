"""State entropy by nearest neighbours in a random encoder's space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.errors import at_least, positive, require
from genrl.models.nn import mlp
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.base import RewardModel
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["StateEntropy", "neighbor_distance"]


class StateEntropy(RewardModel):
    r"""Bonus for observations far from their neighbours, whose sum estimates the entropy of the visited states (RE3).

    .. math:: r(s'_i) = \log\left(1 + \lVert y_i - y_i^{(k)} \rVert_2\right), \qquad y = f(\bar s')

    with f a fixed random encoder and :math:`y_i^{(k)}` the k-th nearest neighbour among the other observations of the same batch and, if
    ``memory_size`` is above 0, the observations of earlier batches. Nothing is learned, so ``update`` does nothing. In nats, up to
    constants.

    A replayed observation that the memory still holds has itself as its first neighbour; it then gets the distance to its (k−1)-th other
    one.

    Differences from the paper: its encoder is of images, here of standardised vectors; the bonus is divided by its running root mean
    square; its weight stays, unless ``half_life`` of :class:`~genrl.rewards.RewardCallback` lets it fall as the paper's does.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`; actions are not used.
        k: which neighbour; the paper's 3.
        features: outputs of the encoder; the paper's 50.
        hidden: widths of the encoder's hidden layers.
        memory_size: last observations kept as references beside the batch, 0 as in the on-policy RE3. They are kept raw and encoded anew
            with the current normaliser each time. With more than k of them a batch may be of any size; one without a k-th neighbour yet
            earns nothing.
        chunk: rows of the distance matrix held at once, which bounds memory and not the result.
        clip_obs: clip of the normalised observations, in standard deviations.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).

    Raises:
        ValueError: a space it can't take, a keyword value out of range, or a batch too small to have a k-th neighbour.

    References:
        Seo et al., "State Entropy Maximization with Random Encoders for Efficient Exploration", 2021, arXiv:2102.09430.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import StateEntropy, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> entropy = StateEntropy(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(entropy, weight=1e-3))
    """

    centres_observations = True
    latest_only = True

    memory: Tensor
    seen: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        k: int = 3,
        features: int = 50,
        hidden: Sequence[int] = (64,),
        memory_size: int = 0,
        chunk: int = 512,
        clip_obs: float = 10.0,
        normalize: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        sizes = positive(k=k, features=features, hidden=hidden, chunk=chunk, clip_obs=clip_obs)
        require(StateEntropy, *sizes, *at_least(0, memory_size=memory_size))
        self.k, self.chunk = k, chunk
        self.obs_stats = RunningMeanStd((self.obs_dim,), clip=clip_obs)
        self.scale = BonusScale(normalize)
        with self.own_randomness():
            self.encoder = mlp([self.obs_dim, *hidden, features]).requires_grad_(False)
        self.register_buffer("memory", torch.zeros(memory_size, self.obs_dim, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.fewest_at_once = 1 if memory_size > k else k + 1

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the normaliser first takes in this batch, and the memory afterwards."""
        obs = self.flat_obs(transitions.next_obs)
        if self.training:
            self.obs_stats.update(obs)
        reference = torch.cat([obs, self.memory[: int(self.seen)].to(obs.dtype)])
        if len(reference) > self.k:
            encoded = self.encoder(self.obs_stats(reference))
            bonus = self.scale(neighbor_distance(encoded, len(obs), self.k, self.chunk).log1p())
        elif len(self.memory) > self.k:  # the first few, which the memory will have as neighbours of the next
            bonus = torch.zeros(len(obs), dtype=self.obs_stats.like.dtype, device=obs.device)
        else:
            raise ValueError(
                f"StateEntropy needs more than k={self.k} observations to have a k-th neighbour, but was given {len(reference)}; "
                "score more at once (n_steps of rollouts, or batch_size, update_every and buffer_size), type a smaller k, or keep earlier "
                "ones with memory_size=1000"
            )
        if self.training:
            self._remember(obs)
        return bonus

    def _remember(self, obs: Tensor) -> None:
        """Write a batch into the ring."""
        size = len(self.memory)
        if size == 0:
            return
        kept = obs[-size:]
        slots = (int(self.seen) + len(obs) - len(kept) + torch.arange(len(kept), device=kept.device)) % size
        self.memory[slots] = kept.to(self.memory.dtype)
        self.seen += len(obs)

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, k={self.k}, memory_size={len(self.memory)}"


def neighbor_distance(points: Float[Tensor, "points features"], rows: int, k: int, chunk: int = 512) -> Float[Tensor, "rows"]:
    """Euclidean distance of each of the first ``rows`` of ``points`` to its ``k``-th nearest other point, ``(rows,)``.

    Exact: every pair is compared, by one matrix product per chunk of rows. That product cancels digits for close pairs, so it only ranks;
    the distance to the neighbour it finds is computed from the differences. A copy of a point is a neighbour at distance 0; the point
    itself is not one.
    """
    points = points - points.mean(0)
    half_norm = 0.5 * points.square().sum(1)
    distances = []
    for start in range(0, rows, chunk):
        query = points[start : min(start + chunk, rows)]
        # ½‖q − p‖² − ½‖q‖² has the same order.
        rank = torch.addmm(half_norm, query, points.T, alpha=-1)
        own = torch.arange(len(query), device=query.device)
        rank[own, start + own] = torch.inf
        nearest = rank.topk(k, dim=1, largest=False).indices
        distances.append((query[:, None] - points[nearest]).square().sum(2).amax(1).sqrt())
    return torch.cat(distances) if distances else points.new_zeros(0)
