"""Raw observations and rewards of a learner's environments, also beneath a ``VecNormalize``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space_channels_first
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
    unwrap_vec_normalize,
)

from genrl.sb3.running import Running, finish
from genrl.sb3.state import KeptStatistics
from genrl.spaces import flat, is_image
from genrl.transitions import check_finite, true_next_obs

__all__ = ["RawObservations", "all_begin", "as_rows", "channels_first", "last_obs", "raw_rewards", "seen_by_learner"]


def seen_by_learner(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """What a learner sees of an environment's observations: images with their channels first."""
    # base_class.py, _wrap_env: puts a VecTransposeImage around environments whose images have them last.
    if isinstance(space, spaces.Box) and is_image(space) and not is_image_space_channels_first(space):
        return VecTransposeImage.transpose_space(space)
    return space


def channels_first(env: VecEnv) -> VecEnv:
    """Environments whose images have their channels first, as a learner makes them; for what is put around them before a learner is."""
    return BaseAlgorithm._wrap_env(env, monitor_wrapper=False)  # base_class.py: where a learner decides it, so that both decide alike


def as_rows(space: spaces.Space[Any], obs: Any) -> np.ndarray:
    """Observations as an array ``(batch, *space.shape)`` of their own; those of a Dict as flat rows (:func:`genrl.spaces.flat`)."""
    if isinstance(space, spaces.Dict):
        rows: np.ndarray = flat(space, _tensors(obs)).numpy()
        return rows
    return np.array(obs).reshape(-1, *(space.shape or ()))


def raw_rewards(normalize: VecNormalize | None, rewards: np.ndarray) -> np.ndarray:
    """The environments' own rewards of a step, ``(n_envs,)``, where the learner was given ``rewards``."""
    return rewards if normalize is None else normalize.get_original_reward()


def last_obs(model: BaseAlgorithm) -> Any:
    """The observations that a learner acts on next, as it sees them."""
    return model._last_obs  # base_class.py, _setup_learn


def all_begin(model: BaseAlgorithm) -> bool:
    """Whether all environments of a learner that collects rollouts stand at the beginning of an episode."""
    return bool(np.all(model._last_episode_starts))  # base_class.py, _setup_learn, and on_policy_algorithm.py, collect_rollouts


def _tensors(obs: dict[str, Any]) -> dict[str, Any]:
    return {key: _tensors(value) if isinstance(value, dict) else torch.as_tensor(value) for key, value in obs.items()}


class RawObservations:
    """Follows the raw observations through one ``learn``.

    ``VecNormalize`` keeps the raw observations of a step but clips the terminal ones for good; those are read one level below it.

    Raises:
        ValueError: a ``VecNormalize`` under a wrapper that may change observations, such as another one.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self.model = model
        self.normalize = _vec_normalize(model.env)
        self._statistics = KeptStatistics(self.normalize)
        self._tap = _TerminalTap.on(self.normalize.venv, self) if self.normalize is not None else None
        # base_class.py, _setup_learn: has just reset the environments, or kept the last observation of the learn before.
        self.obs = self._rows(model._last_obs)
        self.check_finite(self.obs, np.zeros(len(self.obs)))

    def step(self, new_obs: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """What one step of the environments started from and led to, ``(n_envs, *obs_shape)`` each."""
        obs = self.obs
        self.obs = self._rows(new_obs)
        return obs, true_next_obs(self.obs, dones, self._with_rows(infos if self._tap is None else self._tap.infos))

    def _rows(self, seen: Any) -> np.ndarray:
        """Raw observations of what the learner sees at present."""
        return as_rows(self.model.observation_space, seen if self.normalize is None else self.normalize.get_original_obs())

    def _with_rows(self, infos: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Infos with terminal observations in the form of ``obs``."""
        key = "terminal_observation"
        if not isinstance(self.model.observation_space, spaces.Dict):
            return infos
        return [{key: self._terminal_row(info[key])} if key in info else {} for info in infos]

    def _terminal_row(self, obs: Any) -> np.ndarray:
        space = self.model.observation_space
        batch = {key: np.asarray(value)[None] for key, value in obs.items()} if isinstance(space, spaces.Dict) else np.asarray(obs)[None]
        row: np.ndarray = as_rows(space, batch)[0]
        return row

    def check_finite(self, next_obs: np.ndarray, rewards: np.ndarray) -> None:
        """Refuse a NaN or infinity in what the newest step gave, and leave it out of the statistics of ``VecNormalize``.

        Args:
            next_obs: what it led to, ``(n_envs, *obs_shape)``.
            rewards: the environments' own, ``(n_envs,)``.

        Raises:
            FloatingPointError: names the environment and the step.
        """
        try:
            for obs in (next_obs, self.obs)[: 1 + (next_obs is not self.obs)]:  # at the end of an episode, the next one's first too
                check_finite(obs, rewards, self.model.num_timesteps)
        except FloatingPointError:
            self._statistics.restore()
            raise
        self._statistics.keep()

    def rewards(self, rewards: np.ndarray) -> np.ndarray:
        """The environments' own rewards of a step, ``(n_envs,)``."""
        return raw_rewards(self.normalize, rewards)

    def terminal(self, env: int) -> np.ndarray | None:
        """Raw terminal observation of an environment that has just finished beneath a ``VecNormalize``."""
        obs = None if self._tap is None else self._tap.infos[env].get("terminal_observation")
        return None if obs is None else self._terminal_row(obs)

    def close(self) -> None:
        if self._tap is not None:
            self._tap.release(self)


class _TerminalTap:
    """Shadows one vectorised environment's ``step_wait`` with its like, and keeps each step's terminal observations."""

    def __init__(self, venv: VecEnv, running: Running) -> None:
        self.users, self.running = set[RawObservations](), running
        self.infos: list[dict[str, Any]] = [{} for _ in range(venv.num_envs)]
        self._step_wait = venv.step_wait

    @classmethod
    def on(cls, venv: VecEnv, user: RawObservations) -> _TerminalTap:
        own = vars(venv)
        tap = own.get("step_wait")
        if not (isinstance(tap, cls) and tap.running):
            if isinstance(tap, cls):  # left behind by a learn that ended before its first step
                del own["step_wait"]
            running = Running(user.model, lambda: own.pop("step_wait", None))
            own["step_wait"] = tap = cls(venv, running)
        tap.users.add(user)
        return tap

    def __call__(self) -> Any:
        if not self.running:
            self.running.ended()
        result = self._step_wait()
        # vec_normalize.py, step_wait: puts a clipped copy in the info's place after this; the array that was there stays whole.
        self.infos = [{key: info[key] for key in ("terminal_observation",) if key in info} for info in result[3]]
        return result

    def release(self, user: RawObservations) -> None:
        self.users.discard(user)
        if not self.users:
            finish(user.model)


def _vec_normalize(env: VecEnv | None) -> VecNormalize | None:
    """The ``VecNormalize`` of a stack of wrappers, if there is one."""
    above: list[str] = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize):
            if above:
                raise ValueError(
                    f"a VecNormalize lies under {', '.join(above)}, so raw observations can't be recovered; "
                    "make VecNormalize the outermost wrapper: VecNormalize(" + above[0] + "(…))"
                )
            inner = unwrap_vec_normalize(env.venv)
            if inner is not None and inner.norm_obs:
                raise ValueError(
                    "a VecNormalize under another has normalised the observations, so raw ones can't be recovered; take one VecNormalize "
                    "for both observations and rewards"
                )
            return env
        if not isinstance(env, VecMonitor | VecCheckNan | VecVideoRecorder):
            above.append(type(env).__name__)
        env = env.venv
    return None
