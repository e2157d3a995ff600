"""Imitation by optimal transport: an agent's episode is carried to the demonstrations, and what that costs lowers its reward."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn

from genrl.data import Demonstrations
from genrl.data.demonstrations import check_demonstrations
from genrl.errors import at_least, positive, require
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.running_episodes import Episodes, RemembersEpisodes
from genrl.transitions import Transitions

__all__ = ["PWIL", "couple"]


def couple(distances: Float[Tensor, "expert"], left: Float[Tensor, "expert"], mass: float) -> float:
    r"""Carry ``mass`` to the nearest pairs of the expert that still take some: :math:`\sum_j w_j d_j`, with :math:`\sum_j w_j` the mass.

    Args:
        distances: distance to each pair of the expert.
        left: mass that each still takes; what it is given is subtracted in place.
        mass: mass to carry; what nobody takes any more costs nothing.

    Returns:
        The cost, in units of distance times mass.

    Example:
        >>> left = torch.tensor([0.25, 0.5, 0.25])
        >>> couple(torch.tensor([3.0, 1.0, 2.0]), left, 0.625)  # 0.5 at 1, 0.125 at 2
        0.75
        >>> left.tolist()
        [0.25, 0.0, 0.125]
    """
    cost, most = 0.0, min(len(left), math.ceil(mass * len(left)) + 1)
    while mass > 1e-9:
        nearest = torch.where(left > 0, distances, math.inf).topk(most, largest=False).indices
        free = left[nearest]
        shares = torch.minimum(free, (mass - (free.cumsum(0) - free)).clamp_min(0))
        if not (shares > 0).any():
            break
        cost += float((shares * distances[nearest]).sum())
        left[nearest] = free - shares
        mass -= float(shares.sum())
    return cost


class PWIL(RemembersEpisodes):
    r"""Primal Wasserstein imitation learning: pays a step by how near its state-action pair is to pairs of the expert that are still free.

    Each of the expert's n pairs takes the mass 1/n, and each step of an episode carries 1/T to the nearest ones that still take some, at
    the cost

    .. math:: c_t = \sum_j w_{tj} \, \lVert x_t - x_j \rVert, \qquad r_t = \alpha \exp\left(-\frac{\beta T}{\sqrt{|S| + |A|}} c_t\right),

    with the pairs x standardised by the demonstrations. The sum of all costs is an upper bound of the Wasserstein distance between episode
    and demonstrations. There is nothing to train, so nothing that can be fooled or that oscillates. The reward is in (0, α], so it pays
    for going on: do not use it where the end is the goal. After T steps the expert takes no more, and the reward is 0.

    Differences from the paper: T is by default the length of the longest demonstration, not the task's time limit; standard deviations have
    a floor, and standardised numbers a clip.

    What a step is paid depends on the steps before it in its episode. So it is scored once, in training mode, in the order of time;
    episodes are told apart by their environments and observations (:class:`~genrl.rewards.running_episodes.Episodes`). In evaluation mode
    each transition counts as the first of an episode.

    Args:
        demonstrations: demonstrations of the task, with actions in its units.
        observation_space, action_space, seed: see :class:`RewardModel`.
        alpha: scale α of the reward; 5 in the paper.
        beta: how fast it falls with the cost, β; 5 in the paper.
        horizon: steps T of an episode; by default those of the longest demonstration. Demonstrations that are single pairs need it.
        std_floor: smallest standard deviation that a number is divided by, in the task's units.
        clip: standardised numbers are clipped to plus or minus this.

    Raises:
        ValueError: a space it can't take, demonstrations of other sizes (:class:`genrl.data.DemonstrationError`), a value out of its range.

    References:
        Dadashi, Hussenot, Geist, Pietquin, "Primal Wasserstein Imitation Learning", 2021, arXiv:2006.04678.

    Example:
        >>> import numpy as np
        >>> from stable_baselines3 import PPO
        >>> from genrl.data import Demonstrations, Episode
        >>> from genrl.rewards import PWIL, RewardCallback
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> pwil = PWIL(demos, model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(pwil, extrinsic_weight=0.0))
        >>> pwil.cost(demos.transitions())  # an episode that is the demonstration itself
        0.0
    """

    centres_observations = True
    latest_only = True
    pays_for_going_on: ClassVar[bool] = True

    def __init__(
        self,
        demonstrations: Demonstrations,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        alpha: float = 5.0,
        beta: float = 5.0,
        horizon: int | None = None,
        std_floor: float = 1e-2,
        clip: float = 10.0,
        seed: int = 0,
    ) -> None:
        check_demonstrations(PWIL, demonstrations)
        super().__init__(observation_space, action_space, seed)
        require(PWIL, *positive(alpha=alpha, std_floor=std_floor, clip=clip), *at_least(0, beta=beta))
        require(PWIL, *at_least(1, horizon=1 if horizon is None else horizon))
        expert = demonstrations.fitted(observation_space, action_space)[0]
        self.alpha, self.beta = alpha, beta
        self.horizon = int(expert.lengths.max()) if horizon is None else horizon
        raw = self._raw(expert.transitions(successors=horizon is None))  # without an order there is no longest demonstration
        self.stats = RunningMeanStd((raw.shape[1],), std_floor=std_floor, clip=clip)
        self.stats.update(raw)
        self.expert = nn.Buffer(self.stats(raw), persistent=False)
        self._running = Episodes()
        """What the expert still takes of each running episode."""

    def _raw(self, transitions: Transitions) -> Tensor:
        return torch.cat([self.flat_obs(transitions.obs), self.flat_action(transitions.action)], dim=1)

    def _free(self) -> Tensor:
        return torch.full((len(self.expert),), 1 / len(self.expert), dtype=torch.float64, device=self.expert.device)

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Reward, ``(batch,)``; in training mode the transitions are new, in the order in which they were made."""
        distances = torch.cdist(self.stats(self._raw(transitions)), self.expert).double()
        costs = [self._cost(row, transitions.rows(slice(i, i + 1))) for i, row in enumerate(distances)]
        known = torch.tensor([cost for cost, _ in costs], dtype=torch.float64, device=distances.device)
        paid = torch.tensor([mass for _, mass in costs], dtype=torch.float64, device=distances.device)
        reward = self.alpha * torch.exp(-self.beta * self.horizon / math.sqrt(self.obs_dim + self.action_dim) * known)
        return torch.where(paid > 0, reward, 0.0).to(self.expert.dtype)

    def _cost(self, distances: Tensor, one: Transitions) -> tuple[float, float]:
        """Cost of one step, and what the expert could still take before it."""
        left = self._running.leave(one.obs) if self.training else None
        left = self._free() if left is None else left
        before = float(left.sum())
        cost = couple(distances, left, 1 / self.horizon)
        if self.training and not bool(one.terminated):
            self._running.go_on(one.next_obs, left)
        return cost, before if before > 1e-9 else 0.0

    def of_expert(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """The largest reward, α, ``(batch,)``: the expert's pairs cost nothing."""
        return torch.full((transitions.batch_size,), self.alpha, device=transitions.obs.device)

    @torch.no_grad()
    def cost(self, episode: Transitions) -> float:
        """What it costs to carry one whole episode to the expert, in standard deviations per step."""
        distances, left = torch.cdist(self.stats(self._raw(episode)), self.expert).double(), self._free()
        return sum(couple(row, left, 1 / episode.batch_size) for row in distances)

    def extra_repr(self) -> str:
        return f"pairs={len(self.expert)}, inputs={self.expert.shape[1]}, horizon={self.horizon}"
