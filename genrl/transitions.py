"""Transitions, and the true next observation of a vectorised step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Transitions", "check_finite", "true_next_obs"]


class Transitions(NamedTuple):
    """A batch of transitions (s, a, s′), as the environment executed them.

    Floats are in the dtype of the model that reads them; observations are raw, before any normalisation.
    """

    obs: Tensor
    """Observations, ``(batch, *observation_space.shape)``."""
    action: Tensor
    """Executed actions in the environment's units, ``(batch, *action_space.shape)``; ``(batch,)`` and integer if Discrete."""
    next_obs: Tensor
    """True successors, also at an episode's end, ``(batch, *observation_space.shape)``."""
    terminated: Tensor
    """Boolean ``(batch,)``; false where only a time limit ended the episode."""

    @property
    def batch_size(self) -> int:
        """Number of transitions. (``len`` of a named tuple is its number of fields.)"""
        return self.obs.shape[0]

    def rows(self, index: Tensor | slice) -> Transitions:
        """The transitions at ``index`` along the batch axis."""
        return Transitions(*(field[index] for field in self))

    @classmethod
    def concatenate(cls, parts: Sequence[Transitions]) -> Transitions:
        """One batch out of several, in their order."""
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def true_next_obs(new_obs: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]]) -> np.ndarray:
    """Successor observations of one ``VecEnv.step``, ``(n_envs, *obs_shape)``.

    A ``VecEnv`` resets a finished environment by itself and returns the *first observation of the next episode*; the observation that
    the action really led to is ``infos[i]["terminal_observation"]``.

    Raises:
        KeyError: an environment is done without a ``terminal_observation``, so that its successor is lost.
    """
    if not dones.any():
        return new_obs
    next_obs = np.array(new_obs, copy=True)
    for i in np.flatnonzero(dones).tolist():
        if "terminal_observation" not in infos[i]:
            raise KeyError(
                f"environment {i} is done but its info has no 'terminal_observation'; the true next observation is needed: "
                "let the VecEnv put it there, as DummyVecEnv and SubprocVecEnv do"
            )
        next_obs[i] = infos[i]["terminal_observation"]
    return next_obs


def check_finite(obs: np.ndarray, rewards: np.ndarray, step: int) -> None:
    """Refuse the NaN or infinity of a simulator at the step where it appears.

    Args:
        obs: observations of one ``VecEnv.step``, ``(n_envs, *obs_shape)``.
        rewards: ``(n_envs,)``.
        step: environment steps so far, for the message.

    Raises:
        FloatingPointError: names the environment, the step and the first bad entry.
    """
    for name, values in (("a reward", rewards), ("an observation", obs)):
        if not np.isfinite(values).all():
            env, *entry = np.argwhere(~np.isfinite(values))[0].tolist()
            place = f", entry {entry[0] if len(entry) == 1 else tuple(entry)}" if entry else ""
            raise FloatingPointError(
                f"environment {env} gave {name} of {values[(env, *entry)]}{place} at step {step}; "
                "check the task, or wrap it so that it ends the episode before it diverges"
            )
