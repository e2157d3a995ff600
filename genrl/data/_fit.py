"""Whether demonstrations fit a task, and if not, which of the task's keywords would make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrl.data._episode import DemonstrationError, Episode, is_discrete

__all__ = ["check_actions", "check_bounds", "check_observations", "flags"]

_CONTACTS = "--env.include-cfrc-ext-in-observation"
_POSITIONS = "--env.exclude-current-positions-from-observation"
_HUMANOID = " ".join(f"--env.include-{part}-in-observation False" for part in ("cinert", "cvel", "qfrc-actuator", "cfrc-ext"))
_SIZES: tuple[dict[int, str], ...] = (
    {
        27: f"make the task with {_CONTACTS} False",
        105: f"make the task with {_CONTACTS} True",
        111: "only Ant-v4 and older had 111: record demonstrations on the task",
    },
    {
        45: f"make the task with {_HUMANOID}",
        348: "make Humanoid-v5 without keywords, which gives 348",
        376: "only Humanoid-v4 and older had 376: record demonstrations on the task",
    },
    {17: f"make the task with {_POSITIONS} True", 18: f"make the task with {_POSITIONS} False"},  # HalfCheetah, Walker2d
    {11: f"make the task with {_POSITIONS} True", 12: f"make the task with {_POSITIONS} False"},  # Hopper
)
"""Sizes that one MuJoCo task of Gymnasium's can have, and how to get the one that was recorded (gymnasium/envs/mujoco/*_v5.py)."""


def check_observations(where: str, recorded: tuple[int, ...], task: tuple[int, ...], env_kwargs: Mapping[str, Any]) -> None:
    """Refuse another shape of observations, with the keywords that are known to give the recorded one."""
    if recorded == task:
        return
    family = next((sizes for sizes in _SIZES if len(recorded) == len(task) == 1 and {*recorded, *task} <= set(sizes)), {})
    if family:
        advice = family[recorded[0]]
    elif env_kwargs:
        advice = f"make the task as it was recorded: {flags(env_kwargs)}"
    else:
        advice = "give demonstrations of this task"
    raise DemonstrationError(f"{where} has observations of size {_size(recorded)}, but the task gives {_size(task)}; {advice}")


def check_actions(where: str, episodes: Sequence[Episode], task: tuple[int, ...] | int) -> None:
    """Refuse actions of another kind or shape, or that a Discrete task doesn't have."""
    first = episodes[0].actions
    discrete = is_discrete(first)
    if discrete != isinstance(task, int) or not (discrete or first.shape[1:] == task):
        given = "discrete actions" if discrete else f"actions of size {_size(first.shape[1:])}"
        needed = f"one of {task} discrete ones" if isinstance(task, int) else f"actions of size {_size(task)}"
        raise DemonstrationError(f"{where} has {given}, but the task takes {needed}; give demonstrations of this task")
    if isinstance(task, int):
        lowest, highest = min(int(e.actions.min()) for e in episodes), max(int(e.actions.max()) for e in episodes)
        if lowest < 0 or highest >= task:
            given = f"{where} has discrete actions from {lowest} to {highest}"
            raise DemonstrationError(f"{given}, but the task has {task}, 0 to {task - 1}; give demonstrations of this task")


def check_bounds(where: str, episodes: Sequence[Episode], low: Any, high: Any) -> None:
    """Refuse actions outside the task's box."""
    dtype = np.result_type(episodes[0].actions, np.float32)  # of the actions, or floating for whole numbers, as a bound may be infinite
    lowest, highest = np.asarray(low, dtype), np.asarray(high, dtype)
    outside = [(e.actions < lowest) | (e.actions > highest) for e in episodes]
    if count := sum(int(mask.sum()) for mask in outside):
        k = next(k for k, mask in enumerate(outside) if mask.any())
        step, *entry = np.argwhere(outside[k])[0].tolist()
        place = f"the first, {episodes[k].actions[(step, *entry)]}, in episode {k} at step {step}"
        total = sum(mask.size for mask in outside)
        raise DemonstrationError(
            f"{where} has {count:,} of {total:,} action components outside the task's box ({place}); use clipped(low, high)"
        )


def flags(env_kwargs: Mapping[str, Any]) -> str:
    """Keywords of a task as the command line takes them."""
    return " ".join(f"--env.{name.replace('_', '-')} {_words(value)}" for name, value in env_kwargs.items())


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _size(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)
