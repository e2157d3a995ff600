"""What watches a run while SB3 trains: finite numbers, episodes and visited states, checkpoints and interrupts."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from genrl.reading import open_appending
from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory
from genrl.runs.environments import column
from genrl.runs.interrupt import Interrupt
from genrl.sb3.observations import last_obs
from genrl.sb3.state import KeptStatistics
from genrl.transitions import check_finite

__all__ = ["CheckFinite", "Checkpointer", "Recorder", "Restore"]


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

    def _on_step(self) -> bool:
        infos, dones = self.locals["infos"], self.locals["dones"]
        normalize = unwrap_vec_normalize(self.training_env)
        if self.first_reward_step is None and (raw_rewards(normalize, self.locals["rewards"]) > 0).any():
            self.first_reward_step = self.num_timesteps
        if dones.any():
            self._write([(i, infos[i]["episode"]) for i in np.flatnonzero(dones) if "episode" in infos[i]])
        if shares := [info["coverage"] for info in infos if isinstance(info.get("coverage"), int | float)]:
            self.task_coverage = float(np.mean(shares))
            self.logger.record("rollout/task_coverage", self.task_coverage)
        if self.coverage is not None:
            self._points.append(self._visited(normalize, dones, infos))
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

    def _visited(self, normalize: VecNormalize | None, dones: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
        """The states that this step led to, ``(n_envs, axes)``; at an episode's end the last one, not the next episode's first.

        What VecNormalize has clipped of a last one is lost: NaN, which is not counted.
        """
        obs = normalize.get_original_obs() if normalize is not None else self.locals["new_obs"]
        points = np.empty((len(infos), len(self._in_obs) + len(self._in_info)))
        for axis, key in self._in_info:
            points[:, axis] = [float(info.get(key, np.nan)) for info in infos]
        rows = np.asarray(obs).reshape(len(infos), -1) if self._in_obs else points
        if dones.any() and self._in_obs:
            rows = np.array(rows, dtype=np.result_type(rows, np.float32))  # which a NaN fits into
            for i in np.flatnonzero(dones):
                rows[i] = _last_observation(normalize, np.asarray(infos[i]["terminal_observation"])).reshape(-1)
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


class Restore(BaseCallback):
    """Restores the generators when the first rollout of a resumed run starts. It must be the first of the callbacks.

    Args:
        restore: what to do, once.
    """

    def __init__(self, restore: Callable[[], None]) -> None:
        super().__init__()
        self._restore: Callable[[], None] | None = restore

    def _on_rollout_start(self) -> None:
        if self._restore is not None:
            self._restore()
            self._restore = None

    def _on_step(self) -> bool:
        return True


class Checkpointer(BaseCallback):
    """Saves at the boundaries of rollouts, where the learner has used all that it saw; there it also stops a run that is interrupted.

    Args:
        save: writes a checkpoint.
        every: seconds between two checkpoints, or ``SLOWEST`` times what the last one took, so that saving a large replay buffer takes
            less than a twentieth of the time; 0 saves at every rollout, whatever it takes.
        interrupt: tells whether the user wants to stop.
    """

    SLOWEST = 20

    def __init__(self, save: Callable[[], None], every: float, interrupt: Interrupt) -> None:
        super().__init__()
        self._save, self._every, self._interrupt = save, every, interrupt
        self._next = -np.inf
        self.started = False
        """Whether the training has started. This callback is the last, so no other one has refused the learner then."""
        self.stopped = False
        """Whether the run was interrupted; it was saved at the last boundary between rollouts."""
        self.saved_step = 0

    def _on_training_start(self) -> None:
        self.started = True

    def _on_rollout_start(self) -> None:
        before = time.perf_counter()
        self.stopped = self._interrupt.requested
        if self.stopped or before >= self._next:
            self._save()
            self.saved_step = self.num_timesteps
            after = time.perf_counter()
            self._next = after + (max(self._every, self.SLOWEST * (after - before)) if self._every else 0.0)

    def _on_step(self) -> bool:
        return not self.stopped


def raw_rewards(normalize: VecNormalize | None, rewards: np.ndarray) -> np.ndarray:
    """The environments' own rewards, before VecNormalize."""
    return rewards if normalize is None else normalize.get_original_reward()


def _last_observation(normalize: VecNormalize | None, obs: np.ndarray) -> np.ndarray:
    """A terminal observation as the environment gave it; NaN where VecNormalize has clipped it."""
    if normalize is None or not normalize.norm_obs:
        return obs
    raw: Any = normalize.unnormalize_obs(obs)
    return np.where(np.abs(obs) < normalize.clip_obs, raw, np.nan)
