"""Episodes of a trained policy on one plain environment: for evaluation and for films."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from genrl.models.state import load_state
from genrl.runs import _sb3
from genrl.runs.config import ExploreConfig, RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.environments import make_env

if TYPE_CHECKING:
    from genrl.runs.interrupt import Interrupt
    from genrl.runs.session import Session

__all__ = ["evaluate", "play", "trained"]

LONGEST_EPISODE = 10_000
"""Steps after which an episode of a task without a time limit is left."""


def play(
    learner: BaseAlgorithm, normalize: VecNormalize | None, env: gymnasium.Env[Any, Any], seed: int, deterministic: bool = True
) -> Iterator[float]:
    """One episode, seeded by ``seed``; yields the reward of each step after it was made.

    Recurrent policies keep their state, maskable ones get the masks, and observations are normalised as they were in training.
    """
    obs, _ = env.reset(seed=seed)
    state, start = None, True
    for _ in range(LONGEST_EPISODE):
        seen = normalize.normalize_obs(obs) if normalize is not None else obs
        masks = {"action_masks": env.get_wrapper_attr("action_masks")()} if type(learner).__name__ == "MaskablePPO" else {}
        action, state = learner.predict(seen, state=state, episode_start=np.array([start]), deterministic=deterministic, **masks)
        obs, reward, terminated, truncated, _ = env.step(action if np.ndim(action) else action.item())
        yield float(reward)
        start = False
        if terminated or truncated:
            return


@contextmanager
def trained(run: RunDirectory, config: RunConfig) -> Iterator[Session]:
    """The learner and the normalisation of a run as they were saved last, on one environment; only tensors are loaded."""
    from genrl.runs.session import build

    small = {"buffer_size": 1} if "buffer_size" in config.learner_kwargs else {}
    alone = {
        "n_envs": 1,
        "subproc": False,
        "steps": max(1, config.steps),
        "reward": "none",
        "reward_kwargs": {},
        "learner_kwargs": {**config.learner_kwargs, **small},
    }
    session = build(ExploreConfig(**{name: getattr(config, name) for name in ExploreConfig.fields()} | alone))
    try:
        _sb3.load_zip_parameters(session.learner, run.model)
        if session.normalize is not None:
            _sb3.load_vecnormalize_state(session.normalize, load_state(run.vecnormalize))
        yield session
    finally:
        session.env.close()


def evaluate(session: Session, seed: int, interrupt: Interrupt | None = None) -> list[float]:
    """Returns of ``eval_episodes`` deterministic episodes with seeds from ``seed`` on; fewer if it is interrupted."""
    env = make_env(session.config.env, session.config.env_kwargs)
    returns: list[float] = []
    try:
        for i in range(session.config.eval_episodes):
            total = 0.0
            for reward in play(session.learner, session.normalize, env, seed + i):
                total += reward
                if interrupt is not None and interrupt.requested:
                    return returns
            returns.append(total)
    finally:
        env.close()
    return returns
