"""Stops a run at the first NaN or infinity that an environment gives."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback

from genrl.sb3.observations import RawObservations

__all__ = ["CheckFinite"]


class CheckFinite(BaseCallback):
    """Stops the run when an environment gives a NaN or infinite reward or observation, before the learner uses it, and keeps it out of the
    statistics of VecNormalize.

    Raises:
        FloatingPointError: names the environment and the step.
    """

    def _on_training_start(self) -> None:
        self._raw = RawObservations(self.model)  # which looks at the first observations

    def _on_step(self) -> bool:
        new_obs, rewards, dones, infos = (self.locals[key] for key in ("new_obs", "rewards", "dones", "infos"))
        # At an episode's end `new_obs` is the next one's first; what the action led to is in the info, and PPO takes its value.
        _, next_obs = self._raw.step(new_obs, dones, infos)
        self._raw.check_finite(next_obs, self._raw.rewards(rewards))
        return True

    def _on_training_end(self) -> None:
        self._raw.close()
