"""DAgger: ask the expert about the states that the learner itself comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from genrl.data import Demonstrations, Episode
from genrl.policies.cloning import clone

__all__ = ["dagger"]

LONGEST_EPISODE = 10_000
"""Steps after which an episode of a task without a time limit is left."""


def dagger(
    model: BaseAlgorithm,
    expert: Callable[[np.ndarray], Any],
    env: gymnasium.Env[Any, Any],
    *,
    rounds: int = 10,
    episodes: int = 2,
    demonstrations: Demonstrations | None = None,
    seed: int = 0,
    **cloning: Any,
) -> Demonstrations:
    r"""Clone, act, let the expert say what it would have done there, and clone again from all that it has ever said.

    In the first round without ``demonstrations`` the expert acts (:math:`\beta_1 = 1`), afterwards the learner alone (:math:`\beta_i = 0`),
    deterministically.

    Args:
        model: the learner; its policy changes in place, after every round.
        expert: its action at an observation of the task, not normalised; for a trained SB3 model
            ``lambda obs: model.predict(obs, deterministic=True)[0]``.
        env: one environment of the task.
        rounds: how often the learner acts.
        episodes: of each round.
        demonstrations: what is known of the expert before.
        seed: of the first episode, and of the cloning.
        cloning: keywords of :func:`clone`.

    Returns:
        All episodes, with the expert's actions instead of those that were executed: successors are not theirs.

    Raises:
        ValueError: no rounds or episodes, or what :func:`clone` refuses.

    References:
        Ross, Gordon, Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning", 2011,
        arXiv:1011.0686.
    """
    if rounds < 1 or episodes < 1:
        raise ValueError(f"dagger needs at least one round and one episode, but was given rounds={rounds} and episodes={episodes}")
    normalize = unwrap_vec_normalize(model.env) if model.env is not None else None
    known = [_as_recorded(episode) for episode in demonstrations.episodes] if demonstrations is not None else []
    if demonstrations is not None:
        clone(model, demonstrations, seed=seed, **cloning)
    episode_seed = seed
    for _ in range(rounds):
        acts = _policy(model, normalize) if known else expert
        for _ in range(episodes):
            known.append(_episode(env, acts, expert, episode_seed))
            episode_seed += 1
        clone(model, Demonstrations.from_episodes(known), seed=seed, **cloning)
    return Demonstrations.from_episodes(known)


def _as_recorded(episode: Episode) -> Episode:
    """In the dtypes of the episodes that are made here."""
    actions = episode.actions.astype(np.float32) if episode.actions.dtype.kind == "f" else episode.actions
    return replace(episode, observations=episode.observations.astype(np.float32), actions=actions)


def _policy(model: BaseAlgorithm, normalize: VecNormalize | None) -> Callable[[np.ndarray], Any]:
    def act(obs: np.ndarray) -> Any:
        seen: Any = obs if normalize is None else normalize.normalize_obs(obs)
        return model.predict(seen, deterministic=True)[0]

    return act


def _episode(env: gymnasium.Env[Any, Any], acts: Callable[[np.ndarray], Any], expert: Callable[[np.ndarray], Any], seed: int) -> Episode:
    """One episode by ``acts``, with what ``expert`` would have done in place of its actions."""
    obs, _ = env.reset(seed=seed)
    observations, terminated, truncated = [obs], False, False
    said: list[Any] = []
    rewards: list[float] = []
    while not (terminated or truncated) and len(said) < LONGEST_EPISODE:
        said.append(_inside(expert(obs), env.action_space))
        obs, reward, terminated, truncated, _ = env.step(_inside(acts(obs), env.action_space))
        observations.append(obs)
        rewards.append(float(reward))
    last = np.arange(len(said)) == len(said) - 1
    return Episode(
        np.array(observations, np.float32),
        np.array(said),
        np.array(rewards, np.float32),
        last & terminated,
        last & (not terminated),
        seed=seed,
    )


def _inside(action: Any, space: spaces.Space[Any]) -> Any:
    if isinstance(space, spaces.Box):
        return np.clip(np.asarray(action, space.dtype).reshape(space.shape), space.low, space.high)
    return np.asarray(action).item()
