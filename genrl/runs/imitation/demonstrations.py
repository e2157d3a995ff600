"""The demonstrations of a run: which task they are of, which of their steps are learnt from, and which are held out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from genrl.data import DemonstrationError, Demonstrations
from genrl.errors import RunError, command, flag_of
from genrl.roles import without_module
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import RunConfig
from genrl.runs.config.trust import foreign_keywords

__all__ = ["Loaded", "fingerprint", "load", "read", "with_task"]


class Loaded(NamedTuple):
    """Demonstrations of a run."""

    demonstrations: Demonstrations
    """The demonstrations to learn from, with actions inside the task's box."""
    held_out: Demonstrations | None
    """Episodes, or else steps between those, that are not learnt from; ``None`` if all are."""


def with_task(config: RunConfig) -> RunConfig:
    """What learns from recorded steps, with their task and the keywords that it was recorded with, unless others are typed.

    Raises:
        RunError: no demonstrations are given, they can't be read, or name no task.
    """
    if not isinstance(config, ImitateConfig | DreamConfig) or (isinstance(config, DreamConfig) and config.demos is None):
        return config
    demonstrations = read(config)
    if config.env and without_module(config.env) != without_module(str(demonstrations.env_id)):
        return config
    if not (config.env or demonstrations.env_id):
        raise RunError(f"{config.demos} does not say which task it is of; add --env, such as --env HalfCheetah-v5")
    if not config.env and ":" in str(demonstrations.env_id):  # a file that somebody sent must not decide what is imported
        raise RunError(
            f"{config.demos} names the task {demonstrations.env_id}, which would import a module; name the task by --env yourself"
        )
    for name, value in foreign_keywords({key: it for key, it in demonstrations.env_kwargs.items() if key not in config.env_kwargs}):
        asked = f"{flag_of(name, 'env')} {value}"
        raise RunError(f"{config.demos} makes its task with {name} {value!r}, which could import or read what is not in it; type {asked}")
    env_kwargs = {**demonstrations.env_kwargs, **config.env_kwargs}
    return replace(config, out=config.directory, env=config.env or str(demonstrations.env_id), env_kwargs=env_kwargs)


def load(
    config: ImitateConfig, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], time_limit: int | None = None
) -> Loaded:
    """The demonstrations of a run, checked against its task, which has these spaces and this time limit.

    Raises:
        RunError: they can't be read or don't fit; one sentence says which file, episode and field, and what to do.
    """
    whole = read(config)
    try:
        whole, _ = whole.fitted(observation_space, action_space)
        if not config.any_task:
            whole.check_task(config.env)
        whole = whole.within(time_limit)
        whole = _drawn(config, whole)
        used = whole.subsample(config.episodes, config.every, seed=config.seed_of_demos)
    except DemonstrationError as error:
        raise RunError(str(error)) from error
    return Loaded(used, _rest(whole, used))


def _drawn(config: ImitateConfig, whole: Demonstrations) -> Demonstrations:
    """The episodes in the order in which they are drawn; as recorded, if all are used."""
    if config.episodes is None or config.episodes >= whole.n_episodes:
        if config.demos_seed is not None and config.every == 1:
            raise RunError(
                f"--demos-seed is {config.demos_seed}, but all steps of all {whole.n_episodes} episodes are used, so nothing is drawn; "
                "add --episodes N or --every N, or leave --demos-seed out"
            )
        return whole
    order = np.random.RandomState(config.seed_of_demos).permutation(whole.n_episodes)
    return replace(whole, episodes=tuple(whole.episodes[k] for k in order))


def fingerprint(demonstrations: Demonstrations) -> str:
    """Sixteen characters that identify the pairs to learn from, whatever their file and its format."""
    pairs = demonstrations.transitions(successors=False)
    content = b"".join(np.ascontiguousarray(part.numpy()).tobytes() for part in pairs)
    return hashlib.sha256(content).hexdigest()[:16]


def read(config: ImitateConfig | DreamConfig) -> Demonstrations:
    """All that is recorded.

    Raises:
        RunError: there is no file, or it can't be read.
    """
    if config.demos is None:
        raise RunError("an imitation needs demonstrations; add --demos FILE, and make one with `genrl record`")
    try:
        return Demonstrations.load(config.demos)
    except FileNotFoundError as error:
        raise RunError(
            f"there are no demonstrations at {config.demos}; make some with `{command('record', '--run', 'RUN', '--out', config.demos)}`"
        ) from error
    except DemonstrationError as error:
        raise RunError(str(error)) from error


def _rest(whole: Demonstrations, used: Demonstrations) -> Demonstrations | None:
    """Episodes that are not used at all, or the steps between those that are."""
    others = whole.episodes[used.n_episodes :]
    if others:
        return replace(whole, episodes=others)
    between = [np.setdiff1d(episode.steps, mine.steps) for episode, mine in zip(whole.episodes, used.episodes, strict=True)]
    if not any(len(steps) for steps in between):
        return None
    return replace(whole, episodes=tuple(replace(episode, kept=steps) for episode, steps in zip(whole.episodes, between, strict=True)))
