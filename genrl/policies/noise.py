"""Exploration noise that is correlated over time: the baseline that a curious agent has to beat.

SB3 2.9 files cited below are in ``stable_baselines3/common``.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from genrl.policies.sequences import HeldSequence, NoiseSequence, PinkSequence, pink_length
from genrl.sb3.plugged import refuse_events
from genrl.sb3.running import is_lent

__all__ = ["CorrelatedNoise", "HeldNoise", "PinkNoise"]


class CorrelatedNoise(BaseCallback):
    """What :class:`HeldNoise` and :class:`PinkNoise` share: a learner's exploration noise comes from a sequence, for one ``learn``.

    Only what the learner does in its training environments changes: ``predict`` draws anew every time, as does a learner that dreams with
    its policy (``Practice``), and saved files are as without the callback.

    Args:
        std: σ; on-policy in the environment's units, by default the policy's own, learned one (a given σ takes its place for this
            ``learn``, also in the loss); off-policy in actions scaled to [-1, 1], by default 0.5.

    Raises:
        ValueError: at construction, a ``std`` that is not positive; when it is given to another callback than a list; when ``learn``
            starts, a learner with actions other than ``Box`` or with state-dependent exploration.
    """

    def __init__(self, std: float | None = None) -> None:
        super().__init__()
        if std is not None and not (math.isfinite(std) and std > 0):
            raise ValueError(f"{type(self).__name__} needs a positive, finite std, but was given {std}")
        self.std = std
        self._noise: _NoisyGaussian | _ActionNoise | None = None
        self._restored: dict[str, Any] = {}

    def _sequence(self, shape: tuple[int, int]) -> NoiseSequence:
        raise NotImplementedError

    @property
    def action_std(self) -> float | None:
        """σ of what is added to the scaled actions of a learner with a replay buffer; ``None`` for any other. Whatever else lets the policy
        explore, such as ``Imagination``, looks for it."""
        return self._noise.std if isinstance(self._noise, _ActionNoise) else None

    def state_dict(self) -> dict[str, Any]:
        """Where the noise is."""
        return {} if self._noise is None else {key: torch.as_tensor(value) for key, value in self._noise.sequence.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave, for the next ``learn``."""
        self._restored = dict(state)

    def check(self, learner: BaseAlgorithm) -> None:
        """Raise a ValueError for a learner that draws no Gaussian actions, as ``learn`` would."""
        _refuse(learner, type(self).__name__)

    def _init_callback(self) -> None:
        self.check(self.model)

    def _on_training_start(self) -> None:
        refuse_events(self, self.parent)
        if (other := _noise_of(self.model)) is not None:
            raise ValueError(f"{other} makes the noise of this learn already; give learn() {type(self).__name__} or the other, not both")
        shape = (self.model.n_envs, int(np.prod(self.model.action_space.shape or ())))
        sequence = self._sequence(shape)
        if self._restored:
            sequence.load_state_dict({key: value.numpy() for key, value in self._restored.items()})
        self._restored = {}
        if isinstance(self.model, OffPolicyAlgorithm):
            self._noise = _ActionNoise(self.model, sequence, 0.5 if self.std is None else self.std)
        else:
            self._noise = _NoisyGaussian(self.model, sequence, self.std)
        self._noise.attach()

    def _on_rollout_start(self) -> None:
        # off_policy_algorithm.py, learn: `collect_rollouts` was just given the noise; until it returns, a checkpoint sees the former one.
        if isinstance(self._noise, _ActionNoise):
            self._noise.detach()
        elif self._noise is not None:
            self._noise.sequence.rollout()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if isinstance(self._noise, _ActionNoise):
            self._noise.attach()

    def _on_training_end(self) -> None:
        if self._noise is not None:
            self._noise.detach()


class HeldNoise(CorrelatedNoise):
    r"""Holds a learner's exploration noise constant for ``steps`` environment steps, for the ``learn`` that it is given to.

    .. math:: a_t = \mu(s_t) + \sigma \, \epsilon_{\lfloor t / n \rfloor}, \qquad \epsilon_k \sim \mathcal N(0, I),

    with another ε for each environment. On-policy (PPO, A2C, TRPO, RecurrentPPO), σ is the policy's own or ``std``, and the density of
    an action stays that of :math:`\mathcal N(\mu, \sigma^2)`; each rollout starts with a fresh ε. Off-policy (SAC, TD3, DDPG, TQC,
    CrossQ), the held noise goes, instead of the learner's ``action_noise``, on top of what the policy proposes. The end of an episode
    leaves the noise as it is.

    Args:
        steps: n, in steps of each environment; 1 is independent noise.
        std: σ, see :class:`CorrelatedNoise`.

    Raises:
        ValueError: ``steps`` below one, and what :class:`CorrelatedNoise` refuses.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.policies import HeldNoise
        >>> model = PPO("MlpPolicy", "MountainCarContinuous-v0", n_steps=64)
        >>> _ = model.learn(64, callback=HeldNoise(8))
    """

    def __init__(self, steps: int, std: float | None = None) -> None:
        super().__init__(std)
        if not isinstance(steps, int | np.integer) or steps < 1:
            raise ValueError(f"HeldNoise needs steps of at least 1, a whole number, but was given {steps!r}")
        self.steps = steps

    def __repr__(self) -> str:
        return f"HeldNoise(steps={self.steps}, std={self.std})"

    def _sequence(self, shape: tuple[int, int]) -> NoiseSequence:
        # Drawn from the generators that a plain learner draws from: torch's for a policy, numpy's global one for action noise (noise.py).
        if isinstance(self.model, OffPolicyAlgorithm):
            return HeldSequence(self.steps, shape, lambda size: np.random.normal(size=size))  # noqa: NPY002
        return HeldSequence(self.steps, shape, lambda size: torch.empty(size).normal_().numpy())


class PinkNoise(CorrelatedNoise):
    r"""Gives a learner exploration noise whose power falls with frequency, one sequence for each episode of each environment.

    .. math:: a_t = \mu(s_t) + \sigma \, \epsilon_t, \qquad S_\epsilon(f) \propto f^{-\beta}, \qquad \epsilon_t \sim \mathcal N(0, I),

    between white noise (β = 0), which shakes, and a random walk (β = 2), which drifts to the edges. σ and where the noise goes are those
    of :class:`HeldNoise`: on-policy in place of the policy's own draw, off-policy on top of what the policy proposes. (The paper
    replaces the draw of SAC too.)

    Args:
        beta: β; the paper's 1 for learners with a replay buffer, and 0.5 for PPO (Hollenstein et al.).
        length: steps of a sequence; by default the time limit of the task, and 1,000 where it has none. An episode that outlives its
            sequence goes on with a new one.
        std: σ, see :class:`CorrelatedNoise`.

    Raises:
        ValueError: a ``beta`` that is negative or not finite, a ``length`` below two, and what :class:`CorrelatedNoise` refuses.

    References:
        Eberhard, Hollenstein, Pinneri, Martius, Pink Noise Is All You Need: Colored Noise Exploration in Deep Reinforcement Learning, 2023.
        Hollenstein, Martius, Piater, Colored Noise in PPO: Improved Exploration and Performance through Correlated Action Sampling, 2024,
        arXiv:2312.11091.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.policies import PinkNoise
        >>> model = PPO("MlpPolicy", "MountainCarContinuous-v0", n_steps=64)
        >>> _ = model.learn(64, callback=PinkNoise(beta=0.5))
    """

    def __init__(self, beta: float = 1.0, length: int | None = None, std: float | None = None) -> None:
        super().__init__(std)
        if not (math.isfinite(beta) and beta >= 0):
            raise ValueError(f"PinkNoise needs a beta of at least 0, but was given {beta}; pink noise is 1")
        if length is not None and (not isinstance(length, int | np.integer) or length < 2):
            raise ValueError(f"PinkNoise needs a length of at least 2 steps, a whole number, but was given {length!r}")
        self.beta, self.length = beta, length

    def __repr__(self) -> str:
        return f"PinkNoise(beta={self.beta}, length={self.length}, std={self.std})"

    def _sequence(self, shape: tuple[int, int]) -> NoiseSequence:
        length = pink_length(_time_limit(self.training_env)) if self.length is None else self.length
        return PinkSequence(length, shape, self.beta, lambda: int(np.random.randint(2**31)))  # noqa: NPY002 (SB3 seeds and we save it)


class _NoisyGaussian(DiagGaussianDistribution):
    """A policy's Gaussian, whose samples in rollouts have their noise from a sequence."""

    def __init__(self, model: BaseAlgorithm, sequence: NoiseSequence, std: float | None) -> None:
        policy: Any = model.policy
        while isinstance(policy.action_dist, _NoisyGaussian):  # of a `learn` that crashed
            policy.action_dist.detach()
        super().__init__(policy.action_dist.action_dim)
        self.model: Any = model
        self.policy, self.plain, self.sequence, self.std = policy, policy.action_dist, sequence, std
        # base_class.py, _setup_learn: `start_time` is new in every `learn`, so that one which crashed is told from a present one.
        self.learn, self.in_rollout = model.start_time, False

    def attach(self) -> None:
        # policies.py, ActorCriticPolicy: `action_dist` makes every distribution of the policy, and is saved nowhere. Only a rollout calls
        # the module itself (`policy(obs)`); `predict` and `evaluate_actions` are other methods.
        self.policy.action_dist = self
        self.hooks = [
            self.policy.register_forward_pre_hook(self._enter),
            self.policy.register_forward_hook(self._leave, always_call=True),
        ]

    def detach(self) -> None:
        for hook in self.hooks:
            hook.remove()
        if self.policy.action_dist is self:
            self.policy.action_dist = self.plain

    def _enter(self, *_: Any) -> None:
        if self.model.start_time == self.learn:
            self.in_rollout = not is_lent(self.policy)
        else:
            self.detach()

    def _leave(self, *_: Any) -> None:
        self.in_rollout = False

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> _NoisyGaussian:
        super().proba_distribution(mean_actions, log_std if self.std is None else torch.full_like(log_std, math.log(self.std)))
        return self

    def sample(self) -> Tensor:
        if not self.in_rollout:
            return super().sample()
        mean, std = self.distribution.loc, self.distribution.scale
        # on_policy_algorithm.py, collect_rollouts: which of the observations that the policy was just given begin an episode.
        self.sequence.restart(np.flatnonzero(self.model._last_episode_starts))
        return mean + torch.as_tensor(self.sequence(), dtype=mean.dtype, device=mean.device) * std


class _ActionNoise(VectorizedActionNoise):
    """Action noise of all environments from one sequence; saved and copied as the action noise whose place it has."""

    def __init__(self, model: OffPolicyAlgorithm, sequence: NoiseSequence, std: float) -> None:
        # Not VectorizedActionNoise's own: there is no noise of a single environment.
        self.model, self.sequence, self.std, self.former = model, sequence, std, model.action_noise
        self.shape = (model.n_envs, *model.action_space.shape)  # type: ignore[misc]
        self.learn = model.start_time
        self.noise = np.zeros(self.shape, dtype=np.float32)

    def attach(self) -> None:
        self.model.action_noise = self

    def detach(self) -> None:
        self.model.action_noise = self.former

    def reset(self, indices: Any = None) -> None:
        """Episodes end in the environments ``indices``, by default in the only one (off_policy_algorithm.py, collect_rollouts)."""
        # base_class.py, _setup_learn: resets the noise when a `learn` starts, so one that a crash left behind goes before it is used.
        if self.model.start_time != self.learn:
            self.detach()
            if self.former is not None:
                self.former.reset()
        else:
            self.sequence.restart(range(self.shape[0]) if indices is None else indices)

    def __call__(self) -> np.ndarray:
        self.noise = (self.std * self.sequence()).reshape(self.shape).astype(np.float32)
        return self.noise

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copy.copy, (self.former,)

    def __repr__(self) -> str:
        return f"{type(self.sequence).__name__}, std {self.std}"


def _time_limit(env: VecEnv) -> int | None:
    """Steps after which the task ends an episode, if it does."""
    # gymnasium/wrappers/common.py, TimeLimit. Not `spec`: that may hold a function of a script's own, which no process could send.
    name = "_max_episode_steps"
    return env.get_attr(name, [0])[0] if env.has_attr(name) else None


def _noise_of(model: Any) -> str | None:
    """The sequence that another callback of this ``learn`` has put in place."""
    found: Any = model.action_noise if isinstance(model, OffPolicyAlgorithm) else model.policy.action_dist
    if isinstance(found, _ActionNoise | _NoisyGaussian) and found.learn == model.start_time:
        return type(found.sequence).__name__.replace("Sequence", "Noise")
    return None


def _refuse(model: Any, noise: str) -> None:
    learner = type(model).__name__
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise ValueError(
            f"{learner} has no exploration noise that {noise} could replace; use PPO, TRPO, SAC or another learner that samples its actions"
        )
    if not isinstance(model.action_space, spaces.Box):
        raise ValueError(f"{noise} is Gaussian and needs Box actions, but {learner} has {model.action_space}")
    if model.use_sde:
        raise ValueError(f"use_sde=True already correlates the noise over time; use {noise} with use_sde=False")
