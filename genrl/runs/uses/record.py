"""Demonstrations by the trained policy of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from genrl.data import DemonstrationError, Demonstrations, Episode
from genrl.errors import RunError
from genrl.files import check_new
from genrl.roles import without_module
from genrl.runs.directory import RunDirectory
from genrl.runs.environments.make import make_env
from genrl.runs.opening import load_config, trained, with_model
from genrl.runs.play import acted

__all__ = ["record"]


def record(
    path: str | Path,
    out: str | Path,
    *,
    episodes: int = 25,
    stochastic: bool = False,
    seed: int = 1000,
    best: bool = False,
    average: bool = False,
    disturb: float = 0.0,
    imports: Collection[str] = (),
) -> Demonstrations:
    """Record episodes of the trained policy of a run, none left out; observations are stored as the task gives them, rewards as float32.

    Args:
        path: the run directory.
        out: the file or folder, see :meth:`genrl.data.Demonstrations.save`; it must not be there.
        episodes: number of episodes; their seeds count up from ``seed``, and an episode follows from its own.
        stochastic: draw actions instead of taking the most likely ones.
        seed: seed of the first episode.
        best: take the model of the best evaluation, as in :func:`genrl.load`.
        average: take the mean of the last policies, as in :func:`genrl.load`.
        disturb: standard deviation of Gaussian noise on the executed actions, as a share of half the width of the task's box. Recorded is
            what the policy meant, so the episodes show what to do off its path, which cloning needs.
        imports: modules that the run may import, as in :func:`genrl.runs.resume`.

    Raises:
        RunError: there is no run or no model, ``out`` exists or can't be written, a ``stochastic`` policy draws nothing, or there is no box
            to add noise in.

    References:
        Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017, arXiv:1703.09327.
    """
    run, out = RunDirectory.open(path), Path(out)
    config = load_config(run, imports)
    run = with_model(run, config, best, average)
    check_new(out)
    try:
        Demonstrations.check_path(out)
    except DemonstrationError as error:
        raise RunError(str(error)) from error
    env = Recording(make_env(config.env, config.env_kwargs), disturb)
    try:
        _check_observations(config.env, env.observation_space)
        _check_disturb(disturb, config.env, env.action_space)
        with trained(run, config) as session:
            seen = session.eyes.wrap_one(env)
            for episode in range(episodes):
                for _ in acted(session, seen, seed + episode, stochastic):
                    pass
        spec = env.env.spec  # the task's, without the recording
        metadata: dict[str, Any] = {"env_spec": _plain(spec)} if spec is not None else {}
        metadata |= {"disturb": disturb} if disturb else {}
        demonstrations = Demonstrations.from_episodes(env.episodes, without_module(config.env), dict(config.env_kwargs), metadata, str(out))
        demonstrations.save(out)
    except DemonstrationError as error:
        raise RunError(str(error)) from error
    finally:
        env.close()
    return demonstrations


def _check_observations(env_id: str, space: gymnasium.spaces.Space[Any]) -> None:
    if isinstance(space, gymnasium.spaces.Dict | gymnasium.spaces.Tuple):
        raise RunError(
            f"{env_id} observes a {type(space).__name__}, but demonstrations are rows of numbers or images; train on the task in "
            "gymnasium.wrappers.FlattenObservation"
        )


def _check_disturb(disturb: float, env_id: str, space: gymnasium.spaces.Space[Any]) -> None:
    if not 0 <= disturb < math.inf:
        raise RunError(f"--disturb is {disturb}, but must be at least 0 and finite, such as 0.5")
    if disturb and not (isinstance(space, gymnasium.spaces.Box) and space.is_bounded()):
        raise RunError(f"--disturb adds noise to actions in a box with bounds, but {env_id} takes {space}; type --stochastic instead")


def _plain(spec: EnvSpec) -> dict[str, Any]:
    """``spec`` as plain data: a class that was registered as an object by its name, and neither wrappers nor keywords where JSON has no
    words for one of them, such as the function of a ``TransformAction``."""
    made = {field: getattr(spec, field) for field in ("entry_point", "vector_entry_point")}
    names: dict[str, Any] = {field: _name(one) for field, one in made.items() if callable(one)}
    named = replace(spec, **names)
    try:
        text = named.to_json()
    except (TypeError, ValueError):
        text = replace(named, kwargs={}, additional_wrappers=()).to_json()
    plain: dict[str, Any] = json.loads(text)
    return plain


def _name(one: Any) -> str | None:
    """``module:name`` of a class or function; a ``functools.partial`` has none."""
    return f"{one.__module__}:{one.__qualname__}" if hasattr(one, "__qualname__") else None


class Recording(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps every episode: the actions and their outcomes. An unfinished episode is kept up to its last step.

    Args:
        env: the environment.
        disturb: noise on what is executed but not on what is kept, see :func:`record`. It follows from the seed of the episode.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], disturb: float = 0.0) -> None:
        super().__init__(env)
        self._disturb, self._rng = disturb, np.random.default_rng(0)
        self._rows: list[tuple[Any, ...]] = []
        self._observations: list[np.ndarray] = []
        self._seed: int | None = None
        self._done: list[Episode] = []

    @property
    def episodes(self) -> list[Episode]:
        """All of them, in order."""
        return [*self._done, *([self._episode()] if self._rows else [])]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin another episode."""
        self._done, self._rows = self.episodes, []
        obs, info = self.env.reset(seed=seed, options=options)
        self._observations, self._seed, self._rng = [np.array(obs)], seed, np.random.default_rng(seed)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Keep the step; a Box action inside the box."""
        space = self.action_space
        meant = np.clip(action, space.low, space.high) if isinstance(space, gymnasium.spaces.Box) else action
        obs, reward, terminated, truncated, info = self.env.step(self._disturbed(meant) if self._disturb else meant)
        self._observations.append(np.array(obs))
        self._rows.append((np.array(meant), np.float32(reward), terminated, truncated))
        return obs, reward, terminated, truncated, info

    def _disturbed(self, meant: np.ndarray) -> np.ndarray:
        space: Any = self.action_space
        noise = self._disturb * (space.high - space.low) / 2 * self._rng.standard_normal(space.shape)
        return np.clip(meant + noise, space.low, space.high).astype(space.dtype)

    def _episode(self) -> Episode:
        actions, rewards, terminations, truncations = (np.array(column) for column in zip(*self._rows, strict=True))
        truncations[-1] |= not terminations[-1]
        return Episode(np.array(self._observations), actions, rewards, terminations, truncations, seed=self._seed)
