"""A record of real steps, as the transitions that a model is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from genrl.transitions import Transitions, check_finite, true_next_obs

__all__ = ["RealSteps"]

Policy = Callable[[np.ndarray], np.ndarray]
"""From observations ``(env, obs)`` to actions in the environment's units ``(env, …)``."""


class RealSteps:
    """Steps a task and keeps every transition.

    Args:
        env: the task, vectorised.
    """

    def __init__(self, env: VecEnv) -> None:
        self.env = env
        self.episodes: list[float] = []
        """Returns of the finished episodes, in the order of their ends."""
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._obs: np.ndarray | None = None
        self._returns = np.zeros(env.num_envs)

    def __len__(self) -> int:
        return len(self._rows) * self.env.num_envs

    def collect(self, steps: int, policy: Policy | None = None) -> None:
        """Take at least ``steps`` more steps, with ``policy`` or at random; running episodes go on."""
        for _ in range(-(-steps // self.env.num_envs)):
            if self._obs is None:
                self._obs = self._reset()
            action = self._random() if policy is None else self._inside(policy(self._obs))
            new_obs, reward, done, infos = self.env.step(action)
            obs, next_obs = self._obs, true_next_obs(np.asarray(new_obs), done, infos)
            check_finite(next_obs, reward, len(self))
            cut = np.array([info.get("TimeLimit.truncated", False) for info in infos])
            self._rows.append((obs.copy(), np.array(action), next_obs.copy(), done & ~cut, reward.copy()))
            self._returns += reward
            self.episodes += self._returns[done].tolist()
            self._returns[done] = 0
            self._obs = np.asarray(new_obs)

    def _reset(self) -> np.ndarray:
        obs = self.env.reset()
        assert isinstance(obs, np.ndarray)
        return obs

    def _random(self) -> np.ndarray:
        return np.array([self.env.action_space.sample() for _ in range(self.env.num_envs)])

    def _inside(self, action: np.ndarray) -> np.ndarray:
        space = self.env.action_space
        return np.clip(action, space.low, space.high) if isinstance(space, spaces.Box) else action

    def transitions(self) -> tuple[Transitions, Tensor]:
        """All transitions and their rewards, one environment after the other, each in the order of time."""
        if not self._rows:
            raise ValueError("no real steps were taken yet; collect some first")
        fields = (np.stack(field, axis=1).reshape(-1, *field[0].shape[1:]) for field in zip(*self._rows, strict=True))
        obs, action, next_obs, terminated, reward = (torch.as_tensor(field) for field in fields)
        action = action.float() if action.is_floating_point() else action.long()
        return Transitions(obs.float(), action, next_obs.float(), terminated), reward.float()

    def state_dict(self) -> dict[str, Any]:
        """The record; not the environments' own state."""
        return {"rows": [torch.as_tensor(np.stack(field)) for field in zip(*self._rows, strict=True)], "episodes": self.episodes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a record over; new episodes begin."""
        self._rows = list(zip(*(field.numpy() for field in state["rows"]), strict=True))
        self.episodes = list(state["episodes"])
        self._obs, self._returns = None, np.zeros(self.env.num_envs)
