"""A record of real steps, as the transitions that a model is fitted to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from genrl.models.dynamics import Dynamics
from genrl.sb3.actions import refuse_spaces
from genrl.transitions import Transitions

__all__ = ["Record", "check_fit", "check_world"]


class Record:
    """Keeps every step of a vectorised environment, or of a single one as a row of one.

    Example:
        >>> import gymnasium
        >>> from genrl.worlds import Ensemble, Record
        >>> env, record = gymnasium.make("Pendulum-v1"), Record()
        >>> obs, _ = env.reset(seed=0)
        >>> for _ in range(60):
        ...     action = env.action_space.sample()
        ...     next_obs, reward, terminated, truncated, _ = env.step(action)
        ...     record.add(obs[None], action[None], next_obs[None], np.array([terminated]), np.array([reward]))
        ...     obs = env.reset()[0] if terminated or truncated else next_obs
        >>> world = Ensemble(env.observation_space, env.action_space, members=2, hidden=(8,))
        >>> world.fit(*record.transitions(), max_steps=5).steps
        5
    """

    def __init__(self) -> None:
        self._rows: list[tuple[np.ndarray, ...]] = []

    def __repr__(self) -> str:
        return f"Record({len(self):,} transitions of {self.n_envs} environments)"

    def __len__(self) -> int:
        """Number of transitions."""
        return sum(len(row[-1]) for row in self._rows)

    @property
    def n_envs(self) -> int:
        """Number of environments of each step; 0 before the first."""
        return len(self._rows[0][-1]) if self._rows else 0

    def add(self, obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray, terminated: np.ndarray, reward: np.ndarray) -> None:
        """Keep one step, ``(env, …)`` each: actions as executed, true successors.

        Raises:
            ValueError: it is not one of several environments.
        """
        if np.ndim(reward) == 0:
            raise ValueError(
                "Record.add takes a step of several environments, (env, …) each, but was given one reward; give a step of a single one as "
                "obs[None], action[None], next_obs[None], np.array([terminated]), np.array([reward])"
            )
        self._rows.append((obs, action, next_obs, terminated, reward))

    def transitions(self) -> tuple[Transitions, Tensor]:
        """All transitions and their rewards, one environment after the other, each in the order of time.

        Raises:
            ValueError: there are none.
        """
        if not self._rows:
            raise ValueError("no real steps were taken yet; take some first")
        fields = (np.stack(field, axis=1).reshape(-1, *field[0].shape[1:]) for field in zip(*self._rows, strict=True))
        obs, action, next_obs, terminated, reward = (torch.as_tensor(field) for field in fields)
        action = action.float() if action.is_floating_point() else action.long()
        return Transitions(obs.float(), action, next_obs.float(), terminated), reward.float()

    def state_dict(self) -> dict[str, Any]:
        """The steps, each field ``(time, env, …)``."""
        return {"steps": [torch.as_tensor(np.stack(field)) for field in zip(*self._rows, strict=True)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._rows = list(zip(*(field.numpy() for field in state["steps"]), strict=True))


def check_fit(dynamics: Dynamics, fit: Mapping[str, Any]) -> None:
    """Refuse keywords that a model's ``fit`` does not take, which would else show after the first real steps.

    Raises:
        ValueError: names them, and those that it takes.
    """
    signature = inspect.signature(dynamics.fit)
    try:
        signature.bind(None, None, **fit)
    except TypeError as error:
        known = [name for name, given in signature.parameters.items() if given.kind is given.KEYWORD_ONLY]
        takes = f"it takes {', '.join(known)}" if known else "it takes none; leave fit out"
        raise ValueError(f"{type(dynamics).__name__}.fit can't be called with fit={dict(fit)}, {error}; {takes}") from error


def check_world(dynamics: Dynamics, model: BaseAlgorithm) -> None:
    """Refuse a model of another task than the learner's, and a learner that executes or stores other actions than the task's.

    Raises:
        ValueError: observations or actions of another kind or size; actions that do not count from 0, or a ``Box`` of whole numbers.
    """
    refuse_spaces(model)
    world, learner = type(dynamics).__name__, type(model).__name__
    for kind, own, given in (
        ("observations", dynamics.observation_space, model.observation_space),
        ("actions", dynamics.action_space, model.action_space),
    ):
        if type(own) is not type(given) or own.shape != given.shape or (kind == "actions" and own != given):
            raise ValueError(
                f"{world} was made for {kind} {own}, but {learner} has {given}; "
                f"make it with the learner's: {world}(model.observation_space, model.action_space)"
            )
