"""An episode that can be lived again: from the state of its generator at the reset and the actions since, whatever the simulator keeps."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

__all__ = ["Rewindable", "episodes", "rewind"]

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

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and remember the state of its generator."""
        generator = None if seed is not None else self.unwrapped.np_random.bit_generator.state
        self._start = {"seed": seed, "generator": generator} if options is None else None
        self._actions = []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Remember the action."""
        if len(self._actions) < LONGEST:
            self._actions.append(np.array(action))
        else:
            self._start = None
        return self.env.step(action)

    def episode(self) -> dict[str, Any] | None:
        """What :meth:`rewind` needs; ``None`` if the episode can't be lived again."""
        if self._start is None:
            return None
        return self._start | {"actions": np.array(self._actions)}

    def rewind(self, episode: dict[str, Any]) -> Any:
        """Live ``episode`` again, and return its last observation."""
        if episode["generator"] is not None:
            self.unwrapped.np_random.bit_generator.state = episode["generator"]
        obs, _ = self.reset(seed=episode["seed"])
        for action in episode["actions"]:
            obs, *_ = self.step(action)
        return obs


def episodes(env: VecEnv) -> list[dict[str, Any]] | None:
    """The running episode of each environment; ``None`` if one of them can't be lived again."""
    found = env.env_method("episode")
    if any(item is None for item in found):
        return None
    return [item | {"actions": torch.from_numpy(item["actions"])} for item in found]


def rewind(env: VecEnv, states: list[dict[str, Any]], last_obs: Any) -> bool:
    """Live every running episode again; returns whether each ends in the same observation as the first time."""
    plain = [state | {"actions": state["actions"].numpy()} for state in states]
    found = [env.env_method("rewind", state, indices=[i])[0] for i, state in enumerate(plain)]
    if isinstance(last_obs, dict):
        return all(_same(obs[key], rows[i]) for i, obs in enumerate(found) for key, rows in last_obs.items())
    return all(_same(np.asarray(obs, rows.dtype), rows) for obs, rows in zip(found, last_obs, strict=True))


def _same(obs: Any, seen: np.ndarray) -> bool:
    """Whether an environment's observation is what the learner saw, which has the channels of an image first (VecTransposeImage)."""
    obs = np.asarray(obs)
    moved = obs.ndim == 3 and obs.shape != seen.shape
    return np.array_equal(np.moveaxis(obs, -1, 0) if moved else obs, seen)
