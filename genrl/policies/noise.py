"""Exploration noise that is held for several steps: the baseline that a curious agent has to beat.

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
from torch import Tensor

__all__ = ["HeldNoise"]


class HeldNoise(BaseCallback):
    r"""Holds a learner's exploration noise constant for ``steps`` environment steps, for the ``learn`` that it is given to.

    .. math:: a_t = \mu(s_t) + \sigma \, \epsilon_{\lfloor t / n \rfloor}, \qquad \epsilon_k \sim \mathcal N(0, I),

    with another ε for each environment. On-policy (PPO, A2C, TRPO, RecurrentPPO), σ is the policy's own or ``std``, and the density of
    an action stays that of :math:`\mathcal N(\mu, \sigma^2)`; each rollout starts with a fresh ε. Off-policy (SAC, TD3, DDPG, TQC,
    CrossQ), the held noise goes, instead of the learner's ``action_noise``, on top of what the policy proposes. Only what the learner
    does in its training environments is held: ``predict`` draws anew every time, and saved files are as without the callback.

    Args:
        steps: n, in steps of each environment; 1 is independent noise.
        std: σ. On-policy in the environment's units, by default the policy's own, learned one (a given σ takes its place for this
            ``learn``, also in the loss); off-policy in actions scaled to [-1, 1], by default 0.5.

    Raises:
        ValueError: at construction, ``steps`` below one or a ``std`` that is not positive; when ``learn`` starts, a learner with actions
            other than ``Box`` or with state-dependent exploration.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.policies import HeldNoise
        >>> model = PPO("MlpPolicy", "MountainCarContinuous-v0", n_steps=64)
        >>> _ = model.learn(64, callback=HeldNoise(8))
    """

    def __init__(self, steps: int, std: float | None = None) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"HeldNoise needs steps of at least 1, but was given {steps}")
        if std is not None and not (math.isfinite(std) and std > 0):
            raise ValueError(f"HeldNoise needs a positive, finite std, but was given {std}")
        self.steps, self.std = steps, std
        self._held: _HeldGaussian | _HeldActionNoise | None = None
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """What is being held, and for how long; on-policy nothing outlives its rollout."""
        if not isinstance(self._held, _HeldActionNoise):
            return {"age": 0, "noise": None}
        return {"age": self._held.age, "noise": torch.as_tensor(self._held.noise)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave, for the next ``learn``."""
        self._restored = dict(state)

    def _init_callback(self) -> None:
        _refuse(self.model)

    def _on_training_start(self) -> None:
        if isinstance(self.model, OffPolicyAlgorithm):
            self._held = _HeldActionNoise(self.model, self.steps, 0.5 if self.std is None else self.std)
            if self._restored is not None and self._restored["noise"] is not None:
                self._held.age, self._held.noise = self._restored["age"], self._restored["noise"].numpy()
        else:
            self._held = _HeldGaussian(self.model, self.steps, self.std)
        self._restored = None
        self._held.attach()

    def _on_rollout_start(self) -> None:
        # off_policy_algorithm.py, learn: `collect_rollouts` was just given the noise; until it returns, a checkpoint sees the former one.
        if isinstance(self._held, _HeldActionNoise):
            self._held.detach()
        elif self._held is not None:
            self._held.age = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if isinstance(self._held, _HeldActionNoise):
            self._held.attach()

    def _on_training_end(self) -> None:
        if self._held is not None:
            self._held.detach()


class _HeldGaussian(DiagGaussianDistribution):
    """A policy's Gaussian, whose samples share their noise for several rollout steps."""

    def __init__(self, model: BaseAlgorithm, steps: int, std: float | None) -> None:
        policy: Any = model.policy
        while isinstance(policy.action_dist, _HeldGaussian):  # of a `learn` that crashed
            policy.action_dist.detach()
        super().__init__(policy.action_dist.action_dim)
        self.model, self.policy, self.plain, self.steps, self.std = model, policy, policy.action_dist, steps, std
        # base_class.py, _setup_learn: `start_time` is new in every `learn`, so that one which crashed is told from a present one.
        self.learn = model.start_time
        self.in_rollout, self.age, self.noise = False, 0, torch.zeros(0)

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
            self.in_rollout = True
        else:
            self.detach()

    def _leave(self, *_: Any) -> None:
        self.in_rollout = False

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> _HeldGaussian:
        super().proba_distribution(mean_actions, log_std if self.std is None else torch.full_like(log_std, math.log(self.std)))
        return self

    def sample(self) -> Tensor:
        if not self.in_rollout:
            return super().sample()
        mean, std = self.distribution.loc, self.distribution.scale
        if self.age % self.steps == 0 or self.noise.shape != mean.shape:
            self.age, self.noise = 0, torch.empty_like(mean).normal_()
        self.age += 1
        return mean + self.noise * std


class _HeldActionNoise(VectorizedActionNoise):
    """Gaussian action noise of all environments, drawn anew every few steps; saved and copied as the action noise whose place it has."""

    def __init__(self, model: OffPolicyAlgorithm, steps: int, std: float) -> None:
        # Not VectorizedActionNoise's own: there is no noise of a single environment.
        self.model, self.steps, self.std, self.former = model, steps, std, model.action_noise
        self.shape = (model.n_envs, *model.action_space.shape)  # type: ignore[misc]
        self.learn = model.start_time
        self.age, self.noise = 0, np.zeros(self.shape, dtype=np.float32)

    def attach(self) -> None:
        self.model.action_noise = self

    def detach(self) -> None:
        self.model.action_noise = self.former

    def reset(self, indices: Any = None) -> None:
        """The end of an episode leaves the noise as it is."""
        # base_class.py, _setup_learn: resets the noise when a `learn` starts, so one that a crash left behind goes before it is used.
        if self.model.start_time != self.learn:
            self.detach()
            if self.former is not None:
                self.former.reset()

    def __call__(self) -> np.ndarray:
        if self.age % self.steps == 0:
            # noise.py, NormalActionNoise: draws from the same generator.
            self.noise = np.random.normal(0.0, self.std, self.shape).astype(np.float32)  # noqa: NPY002
        self.age += 1
        return self.noise

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copy.copy, (self.former,)

    def __repr__(self) -> str:
        return f"held for {self.steps} steps, std {self.std}"


def _refuse(model: Any) -> None:
    learner = type(model).__name__
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise ValueError(
            f"{learner} has no exploration noise that could be held; use PPO, TRPO, SAC or another learner that samples its actions"
        )
    if not isinstance(model.action_space, spaces.Box):
        raise ValueError(f"HeldNoise is Gaussian and needs Box actions, but {learner} has {model.action_space}")
    if model.use_sde:
        raise ValueError("use_sde=True already correlates the noise over time; use HeldNoise with use_sde=False")
