"""Who acts while frames of a task are recorded: chance, a trained policy, or chance from places that an archive has found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from genrl.errors import RunError, flag_of
from genrl.policies.dagger import longest_episode
from genrl.roles import without_module
from genrl.runs.directory import RunDirectory
from genrl.runs.environments.make import make_env
from genrl.runs.opening import load_config, trained, with_model
from genrl.runs.play import play
from genrl.runs.screening.archive import Archive
from genrl.runs.screening.noise import Look
from genrl.spaces import brief

__all__ = ["Act", "at_random", "by_policy", "from_places"]

Act = Callable[[gymnasium.Env[Any, Any], int], Iterator[Any]]
"""Acts in an environment for one episode that begins with a seed, and yields after each step whose frame counts."""
NOISE = "held-8"
"""How an archive leaves a place."""


def at_random(env: gymnasium.Env[Any, Any], seed: int, held: int) -> Act:
    """Random actions, each held for some steps so that the task gets somewhere."""
    env.action_space.seed(seed)

    def act(env: gymnasium.Env[Any, Any], seed: int) -> Iterator[None]:
        env.reset(seed=seed)
        yield from _random_steps(env, held)

    return act


def from_places(env: gymnasium.Env[Any, Any], seed: int, held: int, steps: int) -> Act:
    """Random actions that every second episode begin at a place that an archive has reached; frames on the way there do not count.

    Args:
        env: the task, whose archive is made here.
        seed: of the archive and of the random actions.
        held: steps for which a random action is held.
        steps: environment steps of the archive.

    Raises:
        RunError: no two numbers tell places of the task apart, or its actions are no bounded ``Box``.
    """
    look = Look(env, None)
    if len(look.names) < 2:
        raise RunError(
            "--archive needs a task that names two numbers that tell its places apart, as coverage_names; use --policy RUN instead"
        )
    archive = Archive(env, look, NOISE, 1.0, seed)
    archive.explore(steps)
    ways = [archive.ways[place] for place in sorted(archive.ways)]
    order = np.random.default_rng(seed).permutation(len(ways))
    from_start = at_random(env, seed, held)

    def act(env: gymnasium.Env[Any, Any], number: int) -> Iterator[None]:
        turn, begins_at_place = divmod(number - seed, 2)
        if not (begins_at_place and len(ways)):
            yield from from_start(env, number)
            return
        env.reset(seed=seed)
        for action in ways[order[turn % len(ways)]]:
            env.step(action)
        yield from _random_steps(env, held)

    return act


def _random_steps(env: gymnasium.Env[Any, Any], held: int) -> Iterator[None]:
    """Random actions, each held for ``held`` steps, until the episode ends."""
    action: Any = None
    for step in range(longest_episode(env)):
        if step % held == 0:
            action = env.action_space.sample()
        terminated, truncated = env.step(action)[2:4]
        yield
        if terminated or truncated:
            return


@contextmanager
def by_policy(path: Path, env_id: str, env_kwargs: Mapping[str, Any], imports: Collection[str]) -> Iterator[Act]:
    """The trained policy of a run, without noise; a warning tells that it learnt with other keywords of its task.

    Raises:
        RunError: it acts in another task, or with these keywords observes or does what it can't.
    """
    run = RunDirectory.open(path)
    config = load_config(run, imports)
    run = with_model(run, config)
    if without_module(config.env) != without_module(env_id):
        raise RunError(f"the policy of {run.path} acts in {config.env}, not in {env_id}; write --data frames:{config.env}")
    if dict(config.env_kwargs) != dict(env_kwargs):
        said = f"the policy of {run.path} was trained with {_typed(config.env_kwargs)}, but frames are recorded with {_typed(env_kwargs)}"
        its, these = (_spaces(config.env, kwargs) for kwargs in (config.env_kwargs, env_kwargs))
        for before, now in zip(its, these, strict=True):
            if before != now:
                raise RunError(f"{said}, which makes {now} of {before}; give both the same")
        warnings.warn(f"{said}; if that is not meant, give both the same", stacklevel=2)
    with trained(run, config) as session:
        yield lambda env, seed: play(session.learner, session.normalize, session.eyes.wrap_one(env), seed)


def _spaces(env_id: str, env_kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """The sizes of what is observed and of what is done in a task; bounds may differ."""
    with closing(make_env(env_id, env_kwargs)) as env:
        observed, done = (f"{brief(space)} with {spaces.flatdim(space)} numbers" for space in (env.observation_space, env.action_space))
        return observed, done


def _typed(env_kwargs: Mapping[str, Any]) -> str:
    return " ".join(f"{flag_of(name, 'env')} {value!r}" for name, value in env_kwargs.items()) or "no --env.NAME"
