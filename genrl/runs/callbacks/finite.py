"""Stops a run at the first NaN or infinity that an environment gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from genrl.sb3.observations import last_obs, raw_rewards
from genrl.sb3.state import KeptStatistics
from genrl.transitions import check_finite

__all__ = ["CheckFinite"]


class CheckFinite(BaseCallback):
    """Stops the run when an environment gives a NaN or infinite reward or observation, before the learner uses it, and keeps it out of the
    statistics of VecNormalize.

    One case escapes it: VecNormalize clips the last observation of an episode before anyone sees it, so an infinite one (not a NaN) is
    at ``clip_obs`` there; a ``RewardCallback``, which reads what was before the clipping, does see it.

    Raises:
        FloatingPointError: names the environment and the step.
    """

    def _on_training_start(self) -> None:
        self._normalize = unwrap_vec_normalize(self.training_env)
        self._statistics = KeptStatistics(self._normalize)
        first = self._normalize.get_original_obs() if self._normalize is not None else last_obs(self.model)
        self._check(first, np.zeros(self.training_env.num_envs))  # no step has given the one after the first reset

    def _on_step(self) -> bool:
        obs: Any = self._normalize.get_original_obs() if self._normalize is not None else self.locals["new_obs"]
        rewards = raw_rewards(self._normalize, self.locals["rewards"])
        self._check(obs, rewards)
        # At an episode's end `new_obs` is the next one's first; what the action led to is in the info, and PPO takes its value.
        infos = self.locals["infos"]
        ended = [int(i) for i in np.flatnonzero(self.locals["dones"])]
        if last := {i: infos[i]["terminal_observation"] for i in ended if "terminal_observation" in infos[i]}:
            self._check(_with_last(obs, last), rewards)
        self._statistics.keep()
        return True

    def _check(self, obs: Any, rewards: np.ndarray) -> None:
        try:
            for values in obs.values() if isinstance(obs, dict) else [obs]:
                check_finite(values, rewards, self.num_timesteps)
        except FloatingPointError:
            self._statistics.restore()
            raise


def _with_last(obs: Any, last: dict[int, Any]) -> Any:
    """Observations with the last ones of episodes in their environments' places."""
    if isinstance(obs, dict):
        return {key: _with_last(values, {i: observation[key] for i, observation in last.items()}) for key, values in obs.items()}
    values = np.array(obs)
    for i, observation in last.items():
        values[i] = observation
    return values
