"""Does a dream rank policies as reality does?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from scipy.stats import spearmanr

from genrl.errors import at_least, require
from genrl.models.dynamics import Dynamics
from genrl.sb3.predict import AS_FUNCTION
from genrl.transitions import Transitions
from genrl.worlds.dream import DreamVecEnv
from genrl.worlds.real import Record

__all__ = ["Agreement", "Policy", "blurred", "dreamed_anew", "dreamed_return", "measure_agreement", "real_episode"]

DRAWS = 7
"""Dreamed episodes from each start, which differ in the noise."""

Policy = Callable[[np.ndarray], np.ndarray]
"""Function from observations ``(row, obs)`` to actions ``(row, …)``; one with a memory has a method ``reset``, which clears it."""


@dataclass(frozen=True)
class Agreement:
    """The mean return of each policy in reality, and in the dream from the same starts."""

    names: tuple[str, ...]
    real: tuple[float, ...]
    dream: tuple[float, ...]

    @property
    def rank_correlation(self) -> float:
        """Spearman's ρ over the policies, in [−1, 1]; NaN where the returns of either are all equal."""
        if len(set(self.real)) < 2 or len(set(self.dream)) < 2:
            return float("nan")
        return float(spearmanr(self.real, self.dream).statistic)

    @property
    def gap(self) -> float:
        """Difference of the first policy's two returns, as a share of the real one."""
        return abs(self.dream[0] - self.real[0]) / max(abs(self.real[0]), 1e-12)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        rho = self.rank_correlation
        return {
            "names": list(self.names),
            "real": list(self.real),
            "dream": list(self.dream),
            "rank_correlation": None if np.isnan(rho) else rho,
            "gap": self.gap,
        }

    def table(self) -> str:
        """The returns as lines of text."""
        rows = [f"{name:<24}{real:>12.4g}{dream:>12.4g}" for name, real, dream in zip(self.names, self.real, self.dream, strict=True)]
        last = f"rank correlation {self.rank_correlation:.2f}; gap of the first {self.gap:.0%}"
        return "\n".join([f"{'policy':<24}{'reality':>12}{'dream':>12}", *rows, last])


def blurred(policy: Policy, action_space: spaces.Space[Any], share: float, seed: int = 0) -> Policy:
    """``policy``, with a random action in its place at a share of all steps: between the policy itself, 0, and chance, 1."""
    require(blurred, ("share", share, 0 <= share <= 1, "in [0, 1]"))
    return _Blurred(policy, action_space, share, seed)


class _Blurred:
    def __init__(self, policy: Policy, action_space: spaces.Space[Any], share: float, seed: int) -> None:
        self.policy, self.share = policy, share
        self.generator = np.random.default_rng(seed)
        self.space = deepcopy(action_space)  # the generator of the caller's own stays as it is
        self.space.seed(seed)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        action = np.array(self.policy(obs))
        for row in np.flatnonzero(self.generator.random(len(action)) < self.share):
            action[row] = self.space.sample()
        return action

    def reset(self) -> None:
        _forget(self.policy)


def _forget(policy: Policy) -> None:
    """A policy with a memory begins an episode without any."""
    if hasattr(policy, "reset"):
        policy.reset()


def dreamed_return(dynamics: Dynamics, policy: Policy, start: np.ndarray, length: int) -> float:
    """Return of a policy in the dream of all members together from ``start (obs,)`` for ``length`` steps at most, a mean over draws."""
    dream = DreamVecEnv(dynamics, start[None], DRAWS, length + 1, margin=10.0, together=True)  # a bad dream shall show
    _forget(policy)
    obs, alive, total = dream.reset(), np.ones(DRAWS, dtype=bool), np.zeros(DRAWS)
    for _ in range(length):
        dream.step_async(policy(obs))
        obs, reward, done, _ = dream.step_wait()
        total += reward * alive
        alive &= ~done
        if not alive.any():
            break
    return float(total.mean())


def dreamed_anew(dynamics: Dynamics, policy: Policy, rows: Transitions, env: gymnasium.Env[Any, Any], longest: int) -> float:
    """Return of a policy in the dream from the start of ``rows``, an episode of it in ``env``.

    The dream goes on for as many steps as the episode, or up to the task's time limit where reality ended that early, so that a dream
    which does not end there shows what it promises beyond.
    """
    length = rows.batch_size
    if rows.terminated[-1]:
        length = min(longest, getattr(env.spec, "max_episode_steps", None) or longest)
    return dreamed_return(dynamics, policy, rows.obs[0].numpy(), length)


def real_episode(env: gymnasium.Env[Any, Any], policy: Policy, seed: int, longest: int = 1000) -> Record:
    """One episode of a policy in the task."""
    record, obs = Record(), np.array(env.reset(seed=seed)[0])  # a copy: a task may observe in one array all the time
    _forget(policy)
    for _ in range(longest):
        action = policy(obs[None])[0]
        seen, reward, terminated, truncated, _ = env.step(action if np.ndim(action) else action.item())
        next_obs = np.array(seen)
        record.add(*(np.asarray(value)[None] for value in (obs, action, next_obs, terminated, reward)))
        obs = next_obs
        if terminated or truncated:
            break
    return record


def measure_agreement(
    dynamics: Dynamics,
    policies: Mapping[str, Policy],
    env: gymnasium.Env[Any, Any],
    *,
    episodes: int = 3,
    seed: int = 0,
    longest: int = 1000,
) -> Agreement:
    """Play every policy in reality, and in the dream from the same starts.

    A dreamed episode goes on until the dream ends it, at most for as many steps as in reality, or up to the time limit if reality ended it.

    Args:
        dynamics: the model, whose members dream together.
        policies: by name, the one whose gap counts first; of a trained SB3 model ``lambda obs: model.predict(obs, deterministic=True)[0]``.
        env: the task.
        episodes: real episodes of each policy, with seeds from ``seed`` on.
        seed: seed of the first.
        longest: steps after which an episode is left.

    Raises:
        ValueError: no policies, or a number below 1.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.worlds import Ensemble, blurred, measure_agreement
        >>> env = gymnasium.make("Pendulum-v1")
        >>> world = Ensemble(env.observation_space, env.action_space, members=2, hidden=(8,))  # fitted by world.fit
        >>> model = PPO("MlpPolicy", env)
        >>> trained = lambda obs: model.predict(obs, deterministic=True)[0]
        >>> policies = {"trained": trained, "chance": blurred(trained, env.action_space, share=1.0)}
        >>> agreement = measure_agreement(world, policies, env, episodes=1, longest=20)
        >>> len(agreement.real), len(agreement.dream)  # agreement.table() prints these returns, and how they rank the policies
        (2, 2)
    """
    fine = isinstance(policies, Mapping) and len(policies) > 0 and all(map(callable, policies.values()))
    functions = ("policies", policies, fine, f'at least one function of observations by its name, such as {{"trained": {AS_FUNCTION}}}')
    require(measure_agreement, *at_least(1, episodes=episodes, longest=longest), functions)
    real, dream = [], []
    for policy in policies.values():
        played = [real_episode(env, policy, seed + i, longest).transitions() for i in range(episodes)]
        real.append(float(np.mean([float(reward.sum()) for _, reward in played])))
        dream.append(float(np.mean([dreamed_anew(dynamics, policy, rows, env, longest) for rows, _ in played])))
    return Agreement(tuple(policies), tuple(real), tuple(dream))
