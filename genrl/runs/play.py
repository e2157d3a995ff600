"""Episodes of a trained policy on one plain environment: for evaluation and for films."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from genrl.errors import RunError
from genrl.policies.dagger import longest_episode
from genrl.runs.environments.make import make_env
from genrl.runs.interrupt import Interrupt
from genrl.runs.session import Session
from genrl.sb3.predict import draws_actions, renew_noise
from genrl.sb3.state import own_draws

__all__ = ["EVALUATION_SEED", "acted", "episode_returns", "evaluate", "play"]

EVALUATION_SEED = 10_000
"""Seed of the first episode of an evaluation; each further episode has the next one."""


def play(
    learner: BaseAlgorithm, normalize: VecNormalize | None, env: gymnasium.Env[Any, Any], seed: int, deterministic: bool = True
) -> Iterator[float]:
    """One episode, seeded by ``seed``; yields the reward of each step after it was made.

    Recurrent policies keep their state, maskable ones get the masks, and observations are normalised as they were in training.
    """
    obs, _ = env.reset(seed=seed)
    state, start = None, True
    for step in range(longest_episode(env)):
        if not deterministic:
            renew_noise(learner, step)
        seen = normalize.normalize_obs(obs) if normalize is not None else obs
        masks = {"action_masks": env.get_wrapper_attr("action_masks")()} if type(learner).__name__ == "MaskablePPO" else {}
        action, state = learner.predict(seen, state=state, episode_start=np.array([start]), deterministic=deterministic, **masks)
        obs, reward, terminated, truncated, _ = env.step(action if np.ndim(action) else action.item())
        yield float(reward)
        start = False
        if terminated or truncated:
            return


def acted(session: Session, env: gymnasium.Env[Any, Any], seed: int, stochastic: bool = False) -> Iterator[float]:
    """One episode for a film or a recording, as :func:`play`; it follows from ``seed`` alone, what a policy draws included.

    Raises:
        RunError: ``stochastic`` for a policy that draws nothing.
    """
    learner = session.learner
    if stochastic and not draws_actions(learner):
        raise RunError(
            f"--stochastic was given, but a policy of {type(learner).__name__} has one action for each state and draws none; leave it out"
        )
    with own_draws(learner, seed):
        yield from play(learner, session.normalize, env, seed, not stochastic)


def episode_returns(session: Session, episodes: int, seed: int, interrupt: Interrupt | None = None) -> list[float]:
    """Returns of deterministic episodes with seeds from ``seed`` on; fewer if they are interrupted."""
    env = session.eyes.wrap_one(make_env(session.config.env, session.config.env_kwargs))
    returns: list[float] = []
    try:
        for i in range(episodes):
            total = 0.0
            for reward in play(session.learner, session.normalize, env, seed + i):
                total += reward
                if interrupt is not None and interrupt.requested:
                    return returns
            returns.append(total)
    finally:
        env.close()
    return returns


def evaluate(session: Session, interrupt: Interrupt | None = None) -> list[float]:
    """Returns of the run's own evaluation, ``eval_episodes`` episodes; fewer if it is interrupted."""
    return episode_returns(session, session.config.eval_episodes, EVALUATION_SEED, interrupt)
