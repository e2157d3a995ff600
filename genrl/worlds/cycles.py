"""The on-policy road: a learner learns inside a dream, and the real steps are collected with what it has learned."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from genrl.errors import at_least, require
from genrl.models.dynamics import FitReport
from genrl.worlds.dream import DreamVecEnv
from genrl.worlds.real import RealSteps

__all__ = ["Cycle", "dream_of", "learn_in_dreams"]


@dataclass(frozen=True)
class Cycle:
    """Real steps, a fit, and dreamed steps."""

    real_steps: int
    """Real steps so far."""
    dreamed_steps: int
    """Dreamed steps so far."""
    real_return: float
    """Mean return of the real episodes that ended since the cycle before; NaN if none did."""
    fit: FitReport
    counters: dict[str, int]
    """The dream's counters, of this cycle."""
    seconds: dict[str, float]
    """Spent in this cycle with ``real`` steps, the ``fit`` and the learner's ``dream``."""


def dream_of(learner: BaseAlgorithm) -> DreamVecEnv:
    """The dream under a learner's wrappers.

    Raises:
        ValueError: the learner has no dream.
    """
    env: VecEnv | None = learner.get_env()
    while isinstance(env, VecEnvWrapper):
        env = env.venv
    if not isinstance(env, DreamVecEnv):
        raise ValueError(f"{type(learner).__name__} does not learn in a dream; make it with one: PPO('MlpPolicy', DreamVecEnv(world))")
    return env


def learn_in_dreams(
    learner: BaseAlgorithm,
    real: RealSteps,
    *,
    steps: int,
    steps_per_cycle: int = 500,
    dreamed_steps: int = 100_000,
    fit: dict[str, int] | None = None,
    on_cycle: Callable[[Cycle], bool | None] | None = None,
) -> list[Cycle]:
    """Take turns: real steps with the policy so far (at random at first), a fit of the model, and ``learn`` inside the dream.

    Args:
        learner: any learner whose environment is a :class:`~genrl.worlds.DreamVecEnv`, wrapped or not.
        real: the task; steps that it has already count.
        steps: real steps in all.
        steps_per_cycle: real steps before each fit.
        dreamed_steps: dreamed steps after each fit.
        fit: keywords of the model's ``fit``, such as ``max_steps``.
        on_cycle: called after every cycle; false stops.

    Raises:
        ValueError: a learner without a dream, a task of another size, or a number that can't be.
    """
    require(learn_in_dreams, *at_least(1, steps=steps, steps_per_cycle=steps_per_cycle, dreamed_steps=dreamed_steps))
    dream = dream_of(learner)
    _check_task(dream, real.env)
    wrapped, normalize = learner.get_env(), learner.get_vec_normalize_env()
    assert wrapped is not None

    def policy(obs: np.ndarray) -> np.ndarray:
        return learner.predict(normalize.normalize_obs(obs) if normalize else obs)[0]

    cycles: list[Cycle] = []
    while len(real) < steps:
        clock, episodes, before = [time.perf_counter()], len(real.episodes), dict(dream.counters)
        real.collect(min(steps_per_cycle, steps - len(real)), policy if learner.num_timesteps else None)
        clock.append(time.perf_counter())
        transitions, reward = real.transitions()
        report = dream.dynamics.fit(transitions, reward, **(fit or {}))
        clock.append(time.perf_counter())
        dream.set_starts(transitions)
        learner.set_env(wrapped, force_reset=True)
        learner.learn(dreamed_steps, reset_num_timesteps=False)
        clock.append(time.perf_counter())
        ended = real.episodes[episodes:]
        cycles.append(
            Cycle(
                len(real),
                dream.counters["steps"],
                float(np.mean(ended)) if ended else float("nan"),
                report,
                {name: value - before[name] for name, value in dream.counters.items()},
                dict(zip(("real", "fit", "dream"), np.diff(clock).tolist(), strict=True)),
            )
        )
        if on_cycle is not None and on_cycle(cycles[-1]) is False:
            break
    return cycles


def _check_task(dream: DreamVecEnv, env: VecEnv) -> None:
    same = dream.observation_space.shape == env.observation_space.shape and dream.action_space == env.action_space
    if not same:
        raise ValueError(
            f"the dream has observations {dream.observation_space} and actions {dream.action_space}, but the task {env.observation_space} "
            f"and {env.action_space}; make the model with the task's spaces"
        )
