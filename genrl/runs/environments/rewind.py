"""An episode that can be lived again: from the state of its generator at the reset and the actions since, whatever the simulator keeps.

What an environment or a wrapper keeps across episodes (a count of what was visited, running statistics, the level of a curriculum) is not
in an episode. One that offers it, by ``state_dict()`` and ``load_state_dict(state)``, gets it back when a run goes on: nested dicts and
lists of numbers, strings and numpy arrays. Gymnasium's normalising wrappers are served too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from stable_baselines3.common.vec_env import VecEnv

from genrl.files import as_state, from_state
from genrl.runs.environments.detached import Detached
from genrl.runs.environments.step_limit import Watched

__all__ = ["Rewindable", "episodes", "lasting", "load_lasting", "rewind"]

LONGEST = 100_000
"""Steps after which an episode is not remembered any more, so that a task without an end does not fill the memory."""


class Rewindable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Remembers how the running episode came about.

    A simulator's state is more than it shows (MuJoCo's warm start, contacts, wrappers that count), but a task whose randomness is
    Gymnasium's ``np_random`` gives the same episode for the same generator and actions.

    Args:
        env: the environment, with all other wrappers.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._start: dict[str, Any] | None = None
        self._actions: list[np.ndarray] = []
        self._return = 0.0
        self._info: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and remember the state of its generator and of what outlives episodes."""
        generator = None if seed is not None else self.unwrapped.np_random.bit_generator.state
        self._start = {"seed": seed, "generator": generator, "lasting": self.lasting()} if options is None else None
        self._actions, self._return = [], 0.0
        obs, self._info = self.env.reset(seed=seed, options=options)
        return obs, self._info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Remember the action."""
        if len(self._actions) < LONGEST:
            self._actions.append(np.array(action))
        else:
            self._start = None
        obs, reward, terminated, truncated, self._info = self.env.step(action)
        self._return += float(reward)
        return obs, reward, terminated, truncated, self._info

    def episode(self) -> dict[str, Any] | None:
        """What :meth:`rewind` needs; ``None`` if the episode can't be lived again."""
        if self._start is None:
            return None
        return self._start | {"actions": np.array(self._actions), "told": self.told()}

    def rewind(self, episode: dict[str, Any]) -> Any:
        """Live ``episode`` again, and return its last observation."""
        self.load_lasting(episode["lasting"])
        if episode["generator"] is not None:
            self.unwrapped.np_random.bit_generator.state = episode["generator"]
        obs, _ = self.reset(seed=episode["seed"])
        for action in episode["actions"]:
            obs, *_ = self.step(action)
        return obs

    def lasting(self) -> dict[str, Any]:
        """What the environment and its wrappers keep across episodes, by their number from the outside, of those that offer it."""
        states = ((str(i), _state(layer)) for i, layer in enumerate(_layers(self.env)))
        return {name: state for name, state in states if state is not None}

    def load_lasting(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`lasting`."""
        for i, layer in enumerate(_layers(self.env)):
            if str(i) in state:
                _load(layer, state[str(i)])

    def told(self) -> dict[str, float]:
        """What the episode told beside observations: its rewards, and the numbers of the newest info."""
        numbers = {key: float(value) for key, value in self._info.items() if isinstance(value, bool | int | float | np.number | np.bool_)}
        numbers.pop("TimeLimit.truncated", None)  # which DummyVecEnv adds to the info that it was given
        return numbers | {"the sum of its rewards": self._return}


def episodes(env: VecEnv) -> list[dict[str, Any]] | None:
    """The running episode of each environment; ``None`` if one of them can't be lived again."""
    found = env.env_method("episode")
    return None if any(item is None for item in found) else [as_state(item) for item in found]


def rewind(env: VecEnv, states: list[dict[str, Any]], last_obs: Any) -> bool:
    """Live every running episode again; returns whether each ends in the same observation as the first time.

    Warns of a task that tells something else than the first time, as one does that keeps a count across episodes and does not offer it.
    """
    plain = [from_state(state) for state in states]
    found = [env.env_method("rewind", state, indices=[i])[0] for i, state in enumerate(plain)]
    same = all(_ends_as(obs, last_obs, i) for i, obs in enumerate(found))
    other = {name for state, told in zip(plain, env.env_method("told"), strict=True) for name in _differences(state["told"], told)}
    if same and other:
        warnings.warn(
            f"{', '.join(sorted(other))}: not the same when the running episode was lived again; the task keeps something across episodes "
            "that starts anew here, unless it offers state_dict() and load_state_dict(state)",
            stacklevel=2,
        )
    return same


def lasting(env: VecEnv) -> list[dict[str, Any]]:
    """What each environment keeps across episodes."""
    return [as_state(state) for state in env.env_method("lasting")]


def load_lasting(env: VecEnv, states: list[dict[str, Any]]) -> None:
    """The inverse of :func:`lasting`."""
    for i, state in enumerate(states):
        env.env_method("load_lasting", from_state(state), indices=[i])


def _layers(env: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    """Wrappers from the outside, and the task; but for the ones that watch and that copy, which runs have or have not."""
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, Watched | Detached):
            yield env
        env = env.env
    yield env


_STATISTICS: dict[type[Any], tuple[str, ...]] = {NormalizeObservation: ("obs_rms",), NormalizeReward: ("return_rms", "discounted_reward")}
"""What Gymnasium's wrappers keep across episodes, without offering it."""


def _state(layer: Any) -> Any:
    if hasattr(layer, "state_dict") and hasattr(layer, "load_state_dict"):
        return layer.state_dict()
    names = next((names for kind, names in _STATISTICS.items() if isinstance(layer, kind)), None)
    if names is None:
        return None
    values = {name: getattr(layer, name) for name in names}
    return {name: np.array(value) if isinstance(value, np.ndarray) else _moments(value) for name, value in values.items()}


def _moments(rms: Any) -> dict[str, Any]:
    return {"mean": np.array(rms.mean), "var": np.array(rms.var), "count": float(rms.count)}


def _load(layer: Any, state: Any) -> None:
    if hasattr(layer, "load_state_dict"):
        layer.load_state_dict(state)
        return
    for name, value in state.items():
        if isinstance(value, dict):
            vars(getattr(layer, name)).update(value)
        else:
            setattr(layer, name, value)


def _differences(first: dict[str, float], second: dict[str, float]) -> set[str]:
    return {key for key in first.keys() & second.keys() if not np.array_equal(first[key], second[key], equal_nan=True)}


def _ends_as(obs: Any, last_obs: Any, env: int) -> bool:
    """Whether an environment's observation is what the learner saw of it last."""
    if isinstance(last_obs, dict):
        return all(_same(obs[key], rows[env]) for key, rows in last_obs.items())
    return _same(obs, last_obs[env])


def _same(obs: Any, seen: np.ndarray) -> bool:
    """Whether an environment's observation is what the learner saw, which has the channels of an image first (VecTransposeImage)."""
    obs = np.asarray(obs, seen.dtype)  # which a VecEnv has cast to that of the space
    moved = obs.ndim == 3 and obs.shape != seen.shape
    return np.array_equal(np.moveaxis(obs, -1, 0) if moved else obs, seen)
