"""Observations and infos that stay what they were when the environment gave them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np

from genrl.errors import task_name

__all__ = ["Detached"]


class Detached(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Copies what an environment gives: a task may observe in one array, and tell in one dict, all the time.

    Stable-Baselines3 begins the next episode before anyone reads the last observation of the one before
    (common/vec_env/dummy_vec_env.py and subproc_vec_env.py), which would be the next one's first, and its Monitor writes an episode's
    return into the task's own dict, where each step after it would tell of it again.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The first observation of an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return deepcopy(obs), _copied(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The observation after the action.

        Raises:
            TypeError: a reward that is not one number, which Monitor can't add up.
        """
        obs, reward, terminated, truncated, info = self.env.step(action)
        if not isinstance(reward, float) and ((paid := np.asarray(reward)).ndim or paid.dtype.kind not in "biuf"):
            raise TypeError(
                f"{task_name(self)} gave {reward!r} as a reward, which must be one number; return float(…) of it, or of its sum, from step"
            )
        return deepcopy(obs), reward, terminated, truncated, _copied(info)


def _copied(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in info.items()}
