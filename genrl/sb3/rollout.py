"""The rollout of an on-policy learner as raw transitions: what ``ReplayMemory`` is for a learner with a replay buffer.

SB3 2.9 files cited below are in ``stable_baselines3/common``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genrl.sb3.replay import as_transitions
from genrl.transitions import Floats, Transitions, terminations

__all__ = ["Rollout", "executed_actions"]


def executed_actions(seen: Mapping[str, Any]) -> np.ndarray:
    """The actions that the environments got in a step of an on-policy learner, ``(env, *act)``, out of the callback's ``locals``."""
    # on_policy_algorithm.py, collect_rollouts: the environment got `clipped_actions`; ppo_mask.py has only discrete `actions`.
    return np.array(seen.get("clipped_actions", seen["actions"]))


class Rollout:
    """The steps of one rollout as the environments made them.

    SB3's rollout buffer has no next observations, it stores actions before they are clipped to the environment's box, and its rewards get
    the bootstrap of truncated episodes added (buffers.py, RolloutBuffer; on_policy_algorithm.py, collect_rollouts).
    """

    def __init__(self) -> None:
        self._steps: list[tuple[np.ndarray, ...]] = []

    def __len__(self) -> int:
        """Number of steps so far, of all environments together."""
        return len(self._steps)

    def clear(self) -> None:
        """Begin a new rollout."""
        self._steps.clear()

    def add(self, obs: np.ndarray, next_obs: np.ndarray, seen: Mapping[str, Any]) -> None:
        """Keep one step of the environments.

        Args:
            obs: raw observations before the step, ``(env, *obs)``.
            next_obs: their true successors, ``(env, *obs)``.
            seen: ``locals`` of the callback at this step.
        """
        terminated = terminations(seen["dones"], seen["infos"])
        # `rewards` is changed in place by the bootstrap of truncated episodes, after this.
        rewards = np.array(seen["rewards"], dtype=np.float32)
        self._steps.append((obs, executed_actions(seen), next_obs, terminated, np.array(seen["dones"]), rewards))

    @property
    def rewards(self) -> np.ndarray:
        """The environments' rewards as the learner got them, without any bootstrap, ``(time, env)``."""
        return np.stack([step[-1] for step in self._steps])

    @property
    def ended(self) -> np.ndarray:
        """Whether an episode ended at each step, by a time limit too, ``(time * env,)`` in the order of :meth:`transitions`."""
        return np.concatenate([step[-2] for step in self._steps])

    def transitions(self, floats: Floats) -> Transitions:
        """All steps as one batch ``(time * env, …)``, time first, in the dtypes of ``floats``."""
        obs, action, next_obs, terminated, *_ = (np.concatenate(field) for field in zip(*self._steps, strict=True))
        return as_transitions(obs, action, next_obs, terminated, floats)
