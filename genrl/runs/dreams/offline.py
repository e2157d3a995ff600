"""A run whose task is a dream of recorded steps: the learner never touches the task itself before it is evaluated."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from genrl.data import DemonstrationError, Demonstrations
from genrl.errors import RunError, command
from genrl.models.dynamics import Dynamics, FitReport
from genrl.runs.callbacks.recorder import PAID
from genrl.runs.config.dream import DreamConfig
from genrl.runs.imitation.demonstrations import read
from genrl.runs.imitation.reward_form import check_units
from genrl.transitions import Transitions
from genrl.worlds import DreamVecEnv

__all__ = ["FEWEST", "DreamedTask", "Offline", "recorded_steps"]

FEWEST = 200
"""Fewest recorded steps that a model is fitted to."""


def recorded_steps(config: DreamConfig, env: gymnasium.Env[Any, Any]) -> tuple[Transitions, Tensor]:
    """The recorded transitions of a run and their rewards, ``(batch,)``; ``env`` is one environment of the task, and is reset.

    Raises:
        RunError: no file, one of another task or in other units, without rewards, or with too few steps.
    """
    recorded = read(config)
    try:
        _check_task(recorded, config.env)
        demos, _ = recorded.fitted(env.observation_space, env.action_space)
        demos = demos.within(getattr(env.spec, "max_episode_steps", None))
    except DemonstrationError as error:
        raise RunError(str(error)) from error
    if disturb := demos.metadata.get("disturb"):
        raise RunError(
            f"{config.demos} has the actions that a policy meant, not those that its task executed (--disturb {disturb}), and a dream "
            "learns what actions do; record again without --disturb"
        )
    check_units(config, demos, env, "a dream of them is none of this task")
    rows = demos.transitions()
    reward = torch.as_tensor(np.concatenate([episode.rewards[episode.steps] for episode in demos.episodes]), dtype=torch.float32)
    unknown = int(reward.isnan().sum())
    if unknown or not reward.any():
        which = f"{unknown:,} of its {rows.batch_size:,} are unknown" if unknown else f"all of its {rows.batch_size:,} are 0"
        raise RunError(
            f"{config.demos} has no rewards ({which}), and a dream has only those that it learned; "
            f"imitate it instead: {command('imitate', '--demos', config.demos, '--env', config.env)}"
        )
    if rows.batch_size < FEWEST:
        raise RunError(f"{config.demos} has {rows.batch_size} steps, but a dream needs at least {FEWEST}; record more episodes")
    _warn_of_ends(config, demos)
    return Transitions(rows.obs.float(), rows.action, rows.next_obs.float(), rows.terminated), reward


def _warn_of_ends(config: DreamConfig, demos: Demonstrations) -> None:
    """Tell of episodes that ended in a way which the rows do not show, so that the dream goes on there."""
    whole = demos.episodes[:-1]  # the last one may be unfinished
    unsaid = sum(not (episode.terminated or episode.truncated) for episode in whole)
    lost = sum(episode.terminated and not episode.last_successor for episode in demos.episodes)
    if unsaid or lost:
        why = f"does not say why {unsaid} of its episodes ended" if unsaid else f"lacks the last step of {lost} episodes, which ended them"
        cure = "mark such steps in terminations or truncations" if unsaid else "add next_observations"
        warnings.warn(f"{config.demos} {why}, so no such end is dreamed of, and a dream may go on beyond it; {cure}", stacklevel=3)


def _check_task(recorded: Demonstrations, env: str) -> None:
    """Refuse steps of another task, before their sizes are compared: a command that names no task has a default one."""
    try:
        recorded.check_task(env)
    except DemonstrationError as error:
        raise RunError(f"{str(error).partition('; ')[0]}; type --env {recorded.env_id}") from error


class Offline:
    """The dream in place of the environments, and all that a resumed run needs of it.

    Args:
        model: of the task; it is fitted here.
        rows, reward: the recorded steps.
        fit: keywords of the model's ``fit``.
        dream: keywords of :class:`~genrl.worlds.DreamVecEnv`.
    """

    def __init__(self, model: Dynamics, rows: Transitions, reward: Tensor, fit: dict[str, Any], **dream: Any) -> None:
        self.model = model
        self.report: FitReport = model.fit(rows, reward, **fit)
        self.dream = DreamedTask(model, rows, **dream)

    def make(self) -> VecEnv:
        """What the learner learns in."""
        return self.dream

    def state_dict(self) -> dict[str, Any]:
        """The model, every row of the dream, and its draws, for :func:`genrl.files.save_state`."""
        return {"dynamics": self.model.state_dict(), "dream": self.dream.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.model.load_state_dict(state["dynamics"])
        self.dream.load_state_dict(state["dream"])


class DreamedTask(DreamVecEnv):
    """A dream as a run's environments.

    It puts into ``info`` what the task pays, without the weighed uncertainty, and its returns as a Monitor does; and it answers what a
    checkpoint asks (:mod:`genrl.runs.environments.rewind`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._returns = torch.zeros(self.num_envs, dtype=torch.float64)
        self._began = time.time()

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One step of every row; the return and the length of an episode that ends."""
        lengths = (self._time + 1).tolist()
        obs, reward, done, infos = super().step_wait()
        self._returns += self._paid.cpu()
        if self.eta:
            for info, paid in zip(infos, self._paid.tolist(), strict=True):
                info[PAID] = paid
        for row in np.flatnonzero(done):
            seconds = round(time.time() - self._began, 6)
            infos[row]["episode"] = {"r": round(float(self._returns[row]), 6), "l": lengths[row], "t": seconds}
            self._returns[row] = 0.0
        return obs, reward, done, infos

    def state_dict(self) -> dict[str, Any]:
        """Every row and all draws."""
        return super().state_dict() | {"returns": self._returns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        super().load_state_dict(state)
        self._returns = state["returns"]

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """What :mod:`genrl.runs.environments.rewind` asks; the rows are in the plug's own state, so there is nothing to live again."""
        answers: dict[str, Callable[[int], Any]] = {
            "episode": lambda row: {"told": {}},
            "told": lambda row: {},
            "lasting": lambda row: {},
            "load_lasting": lambda row: None,
            "rewind": lambda row: self._array(self._obs)[row],
        }
        if method_name not in answers:
            return super().env_method(method_name, *method_args, indices=indices, **method_kwargs)
        return [answers[method_name](row) for row in self._get_indices(indices)]
