"""What watches a run while SB3 trains: finite numbers, episodes and visited states, checkpoints and interrupts."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory
from genrl.runs.interrupt import Interrupt
from genrl.transitions import check_finite

__all__ = ["CheckFinite", "Checkpointer", "Recorder"]


class CheckFinite(BaseCallback):
    """Stops the run at the step at which an environment gives a NaN or infinite reward or observation, before the learner has used it.

    Raises:
        FloatingPointError: names the environment and the step.
    """

    def _on_step(self) -> bool:
        normalize = unwrap_vec_normalize(self.training_env)
        rewards = raw_rewards(normalize, self.locals["rewards"])
        obs: Any = normalize.get_original_obs() if normalize is not None else self.locals["new_obs"]
        # At an episode's end `new_obs` is the next one's first; what the action led to is in the info, and PPO takes its value.
        infos = self.locals["infos"]
        last = {i: infos[i]["terminal_observation"] for i in np.flatnonzero(self.locals["dones"]) if "terminal_observation" in infos[i]}
        for key in obs if isinstance(obs, dict) else [None]:
            values = obs if key is None else obs[key]
            check_finite(values, rewards, self.num_timesteps)
            if last:
                values = np.array(values)
                for i, observation in last.items():
                    values[i] = observation if key is None else observation[key]
                check_finite(values, rewards, self.num_timesteps)
        return True


class Recorder(BaseCallback):
    """Writes episodes.csv, and keeps what a checkpoint must hold of the past: the first reward and the visited states.

    Args:
        run: where to write.
        coverage: counts visited states; ``None`` counts nothing.
        observation_names: names of the columns of observations.
    """

    def __init__(self, run: RunDirectory, coverage: Coverage | None, observation_names: tuple[str, ...]) -> None:
        super().__init__()
        self.coverage = coverage
        self.first_reward_step: int | None = None
        self.seconds_before = 0.0
        """Wall time of the run before this ``learn``."""
        self._run = run
        columns = [_column(name, observation_names) for name in coverage.names] if coverage else []
        self._in_obs = [(axis, column) for axis, column in enumerate(columns) if isinstance(column, int)]
        self._in_info = [(axis, key) for axis, key in enumerate(columns) if isinstance(key, str)]
        self._points: list[np.ndarray] = []
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the run, in seconds."""
        return self.seconds_before + time.perf_counter() - self._started

    def _on_training_start(self) -> None:
        self._started = time.perf_counter()

    def _on_step(self) -> bool:
        infos, dones = self.locals["infos"], self.locals["dones"]
        normalize = unwrap_vec_normalize(self.training_env)
        if self.first_reward_step is None and (raw_rewards(normalize, self.locals["rewards"]) > 0).any():
            self.first_reward_step = self.num_timesteps
        if dones.any():
            self._write([(i, infos[i]["episode"]) for i in np.flatnonzero(dones) if "episode" in infos[i]])
        if self.coverage is not None:
            self._points.append(self._visited(normalize, dones, infos))
            if len(self._points) >= 256:
                self.flush()
        return True

    def _write(self, episodes: list[tuple[Any, dict[str, Any]]]) -> None:
        with self._run.episodes.open("a", newline="") as file:
            rows = [(self.num_timesteps, int(i), episode["r"], episode["l"], round(self.seconds, 3)) for i, episode in episodes]
            csv.writer(file, lineterminator="\n").writerows(rows)

    def _visited(self, normalize: VecNormalize | None, dones: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
        """The states that this step led to, ``(n_envs, axes)``; at an episode's end the last one, not the next episode's first."""
        obs = normalize.get_original_obs() if normalize is not None else self.locals["new_obs"]
        points = np.empty((len(infos), len(self._in_obs) + len(self._in_info)))
        for axis, key in self._in_info:
            points[:, axis] = [float(info.get(key, np.nan)) for info in infos]
        rows = np.asarray(obs).reshape(len(infos), -1) if self._in_obs else points
        if dones.any() and self._in_obs:
            rows = np.array(rows)
            for i in np.flatnonzero(dones):
                last: Any = infos[i]["terminal_observation"]
                if normalize is not None:
                    last = normalize.unnormalize_obs(last)
                rows[i] = np.asarray(last).reshape(-1)
        for axis, column in self._in_obs:
            points[:, axis] = rows[:, column]
        return points

    def flush(self) -> None:
        """Count the states that are not counted yet."""
        if self.coverage is not None and self._points:
            self.coverage.add(np.concatenate(self._points))
            self._points.clear()

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        return {
            "first_reward_step": self.first_reward_step,
            "seconds": self.seconds,
            "coverage": self.coverage.state_dict() if self.coverage is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first_reward_step = state["first_reward_step"]
        self.seconds_before = state["seconds"]
        if self.coverage is not None and state["coverage"] is not None:
            self.coverage.load_state_dict(state["coverage"])


class Checkpointer(BaseCallback):
    """Saves at the boundaries of rollouts, where the learner has used all that it saw, and stops the run when it is interrupted.

    Args:
        save: writes a checkpoint.
        every: seconds between two checkpoints.
        interrupt: tells whether the user wants to stop.
    """

    def __init__(self, save: Callable[[], None], every: float, interrupt: Interrupt) -> None:
        super().__init__()
        self._save, self._every, self._interrupt = save, every, interrupt
        self._saved_at = -np.inf

    def _on_rollout_start(self) -> None:
        if time.perf_counter() - self._saved_at >= self._every:
            self._save()
            self._saved_at = time.perf_counter()

    def _on_step(self) -> bool:
        return not self._interrupt.requested


def raw_rewards(normalize: VecNormalize | None, rewards: np.ndarray) -> np.ndarray:
    """The environments' own rewards, before VecNormalize."""
    return rewards if normalize is None else normalize.get_original_reward()


def _column(name: str, observation_names: tuple[str, ...]) -> int | str:
    """The index of an observation's column, or the key of ``info`` that ``name`` is."""
    if name in observation_names:
        return observation_names.index(name)
    return int(name) if name.isdigit() else name
