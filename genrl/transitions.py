"""Transitions, and what a vectorised step says of them: true next observations, and episodes that the task itself has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Floats", "Transitions", "check_finite", "exact", "lost_differences", "terminations", "true_next_obs"]


class Transitions(NamedTuple):
    """A batch of transitions (s, a, s′), as the environment executed them.

    Observations are raw, before any normalisation, and float32 or float64: differences of time stamps or of positions on a map are lost
    in float32 before they are centred. A model casts what it has centred (:class:`genrl.models.normalization.RunningMeanStd` does both).
    """

    obs: Tensor
    """Observations, ``(batch, *observation_space.shape)``; of a Dict the flat rows of :func:`genrl.spaces.flat`."""
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

    def to(self, device: torch.device | None) -> Transitions:
        """These transitions on ``device``; as they are if it is ``None``."""
        return self if device is None else Transitions(*(field.to(device) for field in self))

    @classmethod
    def concatenate(cls, parts: Sequence[Transitions]) -> Transitions:
        """One batch out of several, in their order."""
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def exact(obs: np.ndarray) -> Tensor:
    """Observations as floats that hold each value of their dtype: float32, or float64 for doubles and whole numbers of 32 bits or more."""
    return torch.as_tensor(np.ascontiguousarray(obs, dtype=np.result_type(obs.dtype, np.float32)))


@dataclass(frozen=True)
class Floats:
    """The dtypes in which a model is given observations and other floats, and its device."""

    dtype: torch.dtype
    """Dtype of the model's parameters."""
    exact: bool
    """Whether observations that this dtype can't hold stay doubles, because the model centres them before it casts them."""
    device: torch.device | None = None
    """Where the model computes; ``None`` leaves tensors where they are."""

    def __call__(self, obs: Tensor) -> Tensor:
        """Observations as the model is given them."""
        return obs.to(torch.promote_types(obs.dtype, self.dtype) if self.exact else self.dtype)


def lost_differences(obs: np.ndarray) -> str:
    """In words, the first entry of observations that varies by less than about twenty steps of float32; "" if there is none.

    Args:
        obs: ``(batch, *obs_shape)``, of any dtype that a model reads as float32.
    """
    rows = obs.reshape(len(obs), -1).astype(np.float32)
    step, spread = np.spacing(np.abs(rows).max(axis=0)), rows.std(axis=0, dtype=np.float64)
    # A step below a thousandth is fine enough for any task; an entry that never varies has lost nothing unless its steps are coarse.
    lost = np.flatnonzero((step > 1e-3) & (step > 0.05 * spread) & ((spread > 0) | (step > 0.1)))
    if not lost.size:
        return ""
    i = int(lost[0])
    entry = i if obs.ndim == 2 else tuple(int(k) for k in np.unravel_index(i, obs.shape[1:]))
    near = f"entry {entry} is near {rows[0, i]:.4g} and varies by {spread[i]:.2g}"
    return f"{near}, where float32 has steps of {step[i]:.2g}"


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


def terminations(dones: np.ndarray, infos: Sequence[dict[str, Any]]) -> np.ndarray:
    """Where the task itself ended an episode in one ``VecEnv.step``, boolean ``(n_envs,)``; false where a time limit did.

    Example:
        >>> terminations(np.array([True, True, False]), [{"TimeLimit.truncated": True}, {}, {}])
        array([False,  True, False])
    """
    terminated = np.array(dones, dtype=bool)
    if terminated.any():
        terminated &= [not info.get("TimeLimit.truncated", False) for info in infos]
    return terminated


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
