"""Writes down the episodes of a run and the states that they visited, while SB3 trains."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from genrl.reading import open_appending
from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory
from genrl.runs.environments.make import column
from genrl.sb3.observations import RawObservations, raw_rewards

__all__ = ["PAID", "Recorder"]

PAID = "genrl/paid"
"""Key of ``info`` under which a dream says what the task pays, where its reward holds more than that; no task of a user has it."""


class Recorder(BaseCallback):
    """Writes episodes.csv, and remembers the first reward and the visited states for the checkpoints.

    ``task_coverage`` is the mean over environments of the newest ``info["coverage"]``, of tasks that count by themselves what was visited.

    Args:
        run: where to write.
        coverage: counts visited states; ``None`` counts nothing.
        observation_names: names of the columns of observations.
    """

    def __init__(self, run: RunDirectory, coverage: Coverage | None, observation_names: tuple[str, ...]) -> None:
        super().__init__()
        self.coverage = coverage
        self.first_reward_step: int | None = None
        self.task_coverage: float | None = None
        self.seconds_before = 0.0
        """Wall time of the run before this ``learn``."""
        self.saved: tuple[int, dict[str, Any]] | None = None
        """Environment steps and recorded state of the last checkpoint."""
        self._episodes = 0
        self._run = run
        columns = [column(name, observation_names) for name in coverage.names] if coverage else []
        self._in_obs = [(axis, index) for axis, index in enumerate(columns) if isinstance(index, int)]
        self._in_info = [(axis, key) for axis, key in enumerate(columns) if isinstance(key, str)]
        self._points: list[np.ndarray] = []
        self._raw: RawObservations | None = None
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the run, in seconds."""
        return self.seconds_before + time.perf_counter() - self._started

    def spent(self, seconds: float) -> None:
        """Add seconds that were spent before ``learn``, such as on cloning, and start the clock."""
        self.seconds_before += seconds
        self._started = time.perf_counter()

    def _on_training_start(self) -> None:
        self._started = time.perf_counter()
        self._raw = RawObservations(self.model) if self._in_obs else None

    def _on_training_end(self) -> None:
        if self._raw is not None:
            self._raw.close()

    def _on_step(self) -> bool:
        infos, dones = self.locals["infos"], self.locals["dones"]
        normalize = unwrap_vec_normalize(self.training_env)
        if self.first_reward_step is None:
            paid = [info.get(PAID, reward) for info, reward in zip(infos, raw_rewards(normalize, self.locals["rewards"]), strict=True)]
            self.first_reward_step = self.num_timesteps if max(paid) > 0 else None
        if dones.any():
            self._write([(i, infos[i]["episode"]) for i in np.flatnonzero(dones) if "episode" in infos[i]])
        if shares := [info["coverage"] for info in infos if isinstance(info.get("coverage"), int | float)]:
            self.task_coverage = float(np.mean(shares))
            self.logger.record("rollout/task_coverage", self.task_coverage)
        if self.coverage is not None:
            self._points.append(self._visited(dones, infos))
            if len(self._points) >= 256:
                self.flush()
        return True

    def _write(self, episodes: list[tuple[Any, dict[str, Any]]]) -> None:
        rows = [(self.num_timesteps, int(i), episode["r"], episode["l"], round(self.seconds, 3)) for i, episode in episodes]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with open_appending(self._run.episodes) as file:
            file.write(text.getvalue().encode())
        self._episodes += len(rows)

    def _visited(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
        """The states that this step led to, ``(n_envs, axes)``; at an episode's end the last one, not the next episode's first."""
        points = np.empty((len(infos), len(self._in_obs) + len(self._in_info)))
        for axis, key in self._in_info:
            points[:, axis] = np.array([info.get(key) for info in infos], dtype=float)  # what is not told, or None, is NaN
        if self._raw is not None:
            rows = self._raw.step(self.locals["new_obs"], dones, infos)[1].reshape(len(infos), -1)
            for axis, index in self._in_obs:
                points[:, axis] = rows[:, index]
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
            "task_coverage": self.task_coverage,
            "seconds": self.seconds,
            "episodes": self._episodes,
            "coverage": self.coverage.state_dict() if self.coverage is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first_reward_step = state["first_reward_step"]
        self.task_coverage = state["task_coverage"]
        self.seconds_before, self._started = state["seconds"], time.perf_counter()
        self._episodes = state["episodes"]
        self._points.clear()
        if self.coverage is not None and state["coverage"] is not None:
            self.coverage.load_state_dict(state["coverage"])
