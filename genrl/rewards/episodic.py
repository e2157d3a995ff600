"""Bonuses for what is new in this episode: E3B and Never Give Up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn

from genrl.errors import Check, at_least, positive, require
from genrl.models.nn import gradient_step, minibatches, mlp
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.base import Memory
from genrl.rewards.images import observation_network
from genrl.rewards.inverse import inverse_loss
from genrl.rewards.rnd import RND
from genrl.rewards.running_episodes import Episodes, RemembersEpisodes
from genrl.rewards.scale import BonusScale
from genrl.transitions import Transitions

__all__ = ["E3B", "NGU", "EpisodicReward"]


@dataclass(eq=False, repr=False)
class EpisodicReward(RemembersEpisodes):
    """Base of bonuses for features φ(s′) that are new in their episode.

    φ is the encoder of an inverse model, which tells the action from φ(s) and φ(s′), so that it has no use for what the agent can't
    influence. A subclass says what is remembered of an episode, and what a new feature is worth beside it. An episode begins with its first
    observation remembered.

    What a step is paid depends on the steps before it in its episode, so it is scored once, in training mode, in the order of time; see
    :class:`~genrl.rewards.running_episodes.Episodes`. In evaluation mode each transition counts as the first of an episode.

    Args:
        observation_space, action_space, seed: see :class:`RewardModel`.
        features: width of φ(s).
        hidden: widths of the hidden layers of the encoder and of the inverse model.
        learning_rate: step size of Adam.
        batch_size: transitions per gradient step.
        epochs: passes over the newest transitions per ``update``.
        clip_obs: observations and actions are clipped to this many standard deviations.
        normalize: whether the bonus is divided by its running root mean square (:class:`BonusScale`).
    """

    centres_observations = True
    takes_images = True
    latest_only = True

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    _: KW_ONLY
    features: int = 32
    hidden: Sequence[int] = (64,)
    learning_rate: float = 1e-3
    batch_size: int = 128
    epochs: int = 1
    clip_obs: float = 10.0
    normalize: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.observation_space, self.action_space, self.seed)
        require(type(self), *self._checks())
        self.obs_stats = RunningMeanStd((self.obs_dim,), clip=self.clip_obs)
        self.action_stats = RunningMeanStd((self.action_dim,), clip=self.clip_obs)
        self.scale = BonusScale(self.normalize)
        with self.own_randomness():
            self.encoder = observation_network(self.observation_space, [self.obs_dim, *self.hidden, self.features])
            self.inverse_model = mlp([2 * self.features, *self.hidden, self.action_dim])
        parameters = [*self.encoder.parameters(), *self.inverse_model.parameters()]
        self.optimizer = torch.optim.Adam(parameters, self.learning_rate, fused=True)
        self._running = Episodes()

    def _checks(self) -> Iterator[Check]:
        """What the keywords need to be; a subclass adds checks of its own."""
        yield from positive(features=self.features, hidden=self.hidden, batch_size=self.batch_size, epochs=self.epochs)
        yield from positive(learning_rate=self.learning_rate, clip_obs=self.clip_obs)

    def begin(self, feature: Float[Tensor, "feature"]) -> Tensor:
        """What is remembered of an episode whose first observation has this feature."""
        raise NotImplementedError

    def step(self, remembered: Tensor, feature: Float[Tensor, "feature"]) -> tuple[Tensor, Tensor]:
        """What a feature is worth beside what is remembered, a scalar, and what is remembered after it."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus, ``(batch,)``; in training mode the transitions are new, in the order in which they were made."""
        obs, next_obs = self.flat_obs(transitions.obs), self.flat_obs(transitions.next_obs)
        if self.training:
            self.obs_stats.update(next_obs)
            self.action_stats.update(self.flat_action(transitions.action))
        features = zip(*self.encoder(self.obs_stats(torch.cat([obs, next_obs]))).chunk(2), strict=True)
        paid = [self._episodic(transitions.rows(slice(i, i + 1)), *pair) for i, pair in enumerate(features)]
        return self.scale(torch.stack(paid) * self.lifelong(transitions)) if paid else obs.new_zeros(0)

    def lifelong(self, transitions: Transitions) -> Tensor:
        """What the episodic bonus is multiplied with, ``(batch,)`` or a scalar."""
        return torch.ones((), device=transitions.obs.device)

    def _episodic(self, one: Transitions, feature: Tensor, next_feature: Tensor) -> Tensor:
        remembered = self._running.leave(one.obs) if self.training else None
        bonus, remembered = self.step(self.begin(feature) if remembered is None else remembered, next_feature)
        if self.training and not bool(one.terminated):
            self._running.go_on(one.next_obs, remembered)
        return bonus

    @torch.enable_grad()
    def update(self, memory: Memory) -> dict[str, float]:
        """Train the inverse model on the newest transitions; returns ``inverse_loss``."""
        latest = memory.latest
        obs, next_obs = (self.obs_stats(self.flat_obs(part)) for part in (latest.obs, latest.next_obs))
        action = self.flat_action(latest.action)
        action = self.action_stats(action) if isinstance(self.action_space, spaces.Box) else action
        losses = []
        for index in minibatches(latest.batch_size, self.batch_size, self.epochs, self.generator):
            pair = torch.cat(self.encoder(torch.cat([obs[index], next_obs[index]])).chunk(2), dim=1)
            loss = inverse_loss(self.action_space, self.inverse_model(pair), action[index])
            gradient_step(self.optimizer, loss)
            losses.append(loss.item())
        return {"inverse_loss": sum(losses) / len(losses)}

    def extra_repr(self) -> str:
        return f"obs={self.obs_dim}, act={self.action_dim}, features={self.features}"


@dataclass(eq=False, repr=False, kw_only=True)
class E3B(EpisodicReward):
    r"""Exploration by elliptical episodic bonuses: pays for features in directions that the episode has not had.

    .. math:: r(s'_t) = \phi(s'_t)^\top C_{t-1}^{-1} \phi(s'_t), \qquad C_t = \lambda I + \sum_{i \le t} \phi(s'_i) \phi(s'_i)^\top,

    a count for continuous states: where the features are one-hot, it is :math:`1 / (n + \lambda)`. The inverse is kept, and updated by rank
    one (Sherman and Morrison); at the end of an episode it is forgotten.

    Differences from the paper: φ is trained on the newest transitions only; the bonus is divided by its running root mean square.

    Args:
        ridge: λ.
        others: see :class:`EpisodicReward`.

    Raises:
        ValueError: a space it can't take, or a keyword value that is not positive.

    References:
        Henaff, Raileanu, Jiang, Rocktäschel, "Exploration via Elliptical Episodic Bonuses", 2022, arXiv:2210.05805.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import E3B, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> e3b = E3B(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(e3b, weight=1e-3))
    """

    ridge: float = 0.1

    def _checks(self) -> Iterator[Check]:
        yield from super()._checks()
        yield from positive(ridge=self.ridge)

    def begin(self, feature: Tensor) -> Tensor:
        """The inverse of C, float64, ``(feature, feature)``."""
        return self.step(torch.eye(self.features, dtype=torch.float64, device=feature.device) / self.ridge, feature)[1]

    def step(self, remembered: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        direction = remembered @ feature.double()
        bonus = direction @ feature.double()
        return bonus.to(feature.dtype), remembered - torch.outer(direction, direction) / (1 + bonus)


@dataclass(eq=False, repr=False, kw_only=True)
class NGU(EpisodicReward):
    r"""Never Give Up: pays for features far from those of the episode, and more where the observation is new in the agent's life.

    .. math::

        r = \frac{\mathrm{clip}(\alpha, 1, L)}{\sqrt{\sum_{i} K_i} + c}, \qquad
        K_i = \frac{\epsilon}{\max(d_i^2 / \bar d^2 - \xi, 0) + \epsilon}, \qquad \alpha = 1 + \frac{e - \mu_e}{\sigma_e},

    :math:`d_i` the distances to the k nearest features of the episode, :math:`\bar d^2` the running mean of their squares, and e the
    error of random network distillation, with its running mean and standard deviation. Where the root is above 8, the feature is too well
    known, and the bonus is 0; no kernel is above 1, so that takes ``k`` above 64, and the paper's 10 never come to it.

    Differences from the paper: one agent with one weight, not a family of them; φ is trained on the newest transitions only; the bonus is
    divided by its running root mean square.

    Args:
        k: neighbours; the paper's 10.
        epsilon: ε of the kernel; 1e-3 in the text of the paper.
        cluster: ξ, distance within which features count as the same; the paper's 0.008.
        most: L, largest factor of what is new in the agent's life; the paper's 5, and 1 is an episodic bonus alone.
        others: see :class:`EpisodicReward`.

    Raises:
        ValueError: a space it can't take, or a keyword value out of its range.

    References:
        Badia et al., "Never Give Up: Learning Directed Exploration Strategies", 2020, arXiv:2002.06038.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.rewards import NGU, RewardCallback
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> ngu = NGU(model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(ngu, weight=1e-3))
    """

    CONSTANT: ClassVar[float] = 1e-3
    """c of the paper."""
    KNOWN: ClassVar[float] = 8.0
    """Root above which a feature is too well known; the paper's."""

    k: int = 10
    epsilon: float = 1e-3
    cluster: float = 0.008
    most: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.novelty = RND(self.observation_space, self.action_space, normalize=False, seed=self.seed)
        self.novelty_stats = RunningMeanStd()
        self.distance = nn.Buffer(torch.zeros((), dtype=torch.float64))
        self.distances = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def _checks(self) -> Iterator[Check]:
        yield from super()._checks()
        yield from positive(k=self.k, epsilon=self.epsilon)
        yield from (*at_least(0, cluster=self.cluster), *at_least(1, most=self.most))

    def begin(self, feature: Tensor) -> Tensor:
        """The features of the episode, ``(steps, feature)``."""
        return feature[None]

    def step(self, remembered: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
        squares = (remembered - feature).square().sum(1)
        nearest = squares.topk(min(self.k, len(squares)), largest=False).values
        if self.training:
            self.distances.add_(len(nearest))
            self.distance.add_((nearest.double() - self.distance).sum() / self.distances)
        known = self._kernel(nearest / self.distance.to(nearest.dtype).clamp_min(1e-12)).sum().sqrt()
        bonus = torch.where(known > self.KNOWN, 0.0, 1 / (known + self.CONSTANT))
        return bonus, torch.cat([remembered, feature[None]])

    def _kernel(self, ratio: Tensor) -> Tensor:
        return self.epsilon / ((ratio - self.cluster).clamp_min(0) + self.epsilon)

    def lifelong(self, transitions: Transitions) -> Tensor:
        error = self.novelty(transitions)
        if self.training:
            self.novelty_stats.update(error)
        return (1 + self.novelty_stats(error)).clamp(1, self.most)

    def update(self, memory: Memory) -> dict[str, float]:
        """Train the inverse model and the distillation on the newest transitions; returns ``inverse_loss`` and ``loss``, the latter's."""
        return super().update(memory) | self.novelty.update(memory)
