"""Episodes of a trained policy on one plain environment: for evaluation and for films."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from genrl.errors import RunError
from genrl.files import load_state
from genrl.policies.dagger import longest_episode
from genrl.roles import NONE, ROLES
from genrl.runs.building import build
from genrl.runs.config.base import is_there
from genrl.runs.config.commands import config_from
from genrl.runs.config.run import ExploreConfig, RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.environments.make import make_env
from genrl.runs.interrupt import Interrupt
from genrl.runs.session import Session
from genrl.runs.vision import kept_encoder
from genrl.sb3.learner import load_parameters
from genrl.sb3.predict import draws_actions, renew_noise
from genrl.sb3.state import load_vecnormalize_state, own_draws

__all__ = [
    "EVALUATION_SEED",
    "acted",
    "episode_returns",
    "evaluate",
    "for_one_environment",
    "load_config",
    "play",
    "read_config",
    "trained",
    "with_model",
]

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


def for_one_environment(config: RunConfig) -> dict[str, Any]:
    """What changes in ``config`` for a look at its policy: one environment, which makes whole rollouts, a device that is here, no replay
    memory.
    """
    kwargs = config.learner_kwargs
    changed = {}
    if "buffer_size" in kwargs:
        changed = {"buffer_size": 1}
    elif "n_steps" in kwargs:
        changed = {"n_steps": kwargs["n_steps"] * config.n_envs}
    return {
        "n_envs": 1,
        "subproc": False,
        "steps": max(1, config.steps),
        "device": config.device if is_there(config.device) else "cpu",
        "learner_kwargs": {**kwargs, **changed},
    }


@contextmanager
def trained(run: RunDirectory, config: RunConfig) -> Iterator[Session]:
    """The learner and the normalisation of a run as they were saved last, on one environment; only tensors are loaded."""
    changes = for_one_environment(config)
    for role in (ROLES[name] for name in ExploreConfig.roles):
        changes |= {role.name: NONE, f"{role.name}_kwargs": {}} if role.optional else {}
    session = build(ExploreConfig(**{name: getattr(config, name) for name in ExploreConfig.fields()} | changes))
    try:
        load_parameters(session.learner, run.model)
        if session.normalize is not None:
            load_vecnormalize_state(session.normalize, load_state(run.vecnormalize))
        yield session
    finally:
        session.env.close()


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


def load_config(run: RunDirectory, imports: Collection[str] = ()) -> RunConfig:
    """The resolved configuration of an existing run, wherever its directory is now.

    Raises:
        RunError: it is of a generative model, or it names a module that is not among ``imports``: a file that somebody sent must not
            decide what is imported.
    """
    config, about = _read(run)
    try:
        config.check_imports(imports)
    except RunError as error:
        raise RunError(f"{run.config} says {error}") from error
    return kept_encoder(config, run, about)


def read_config(run: RunDirectory) -> RunConfig:
    """What config.json says, of a run that somebody has already allowed to be used; :func:`load_config` asks whether it is.

    Raises:
        RunError: it is of a generative model, or no configuration.
    """
    return _read(run)[0]


def with_model(run: RunDirectory, config: RunConfig, best: bool = False, average: bool = False) -> RunDirectory:
    """The run with the model that is asked for: its last one, its best one, or the mean of its last policies.

    Raises:
        RunError: it has none yet, or two were asked for.
    """
    if best and average:
        raise RunError("the best policy and the average of the last ones were asked for; leave out --best or --average")
    share, every, again = getattr(config, "average", 0.0), config.eval_every, config.typed("resume")
    trains = run.model.suffix == ".zip"  # one from the hub does not
    if average and share and trains and not run.average.is_file():
        since = int((1 - share) * config.steps)
        raise RunError(f"{run.path} has no {run.average.name} yet, which begins at step {since:,}; let it train, or go on with `{again}`")
    if best and every is not None and trains and not run.best.is_file():
        raise RunError(f"{run.path} has no {run.best.name} yet, which begins at step {every:,}; let it train, or go on with `{again}`")
    if best:
        return run.with_best()
    if average:
        return run.with_average()
    if not run.model.is_file():
        raise RunError(f"{run.path} has no {run.model.name} yet; let it train for a moment, or go on with `{again}`")
    return run


def _read(run: RunDirectory) -> tuple[RunConfig, dict[str, Any]]:
    values = run.read_json(run.config)
    about = values.pop("about", {})
    if values.get("command") == "generate":
        raise RunError(f"{run.path} is the run of a generative model, which has no learner and no policy; look at its pictures")
    return replace(config_from(values), out=run.path), about
