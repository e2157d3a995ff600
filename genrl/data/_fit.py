"""Check that demonstrations fit a task, and name the task's keywords that would make them fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrl.data._episode import DemonstrationError, Episode, is_discrete, read_only
from genrl.errors import flag_of
from genrl.spaces import FLATTENED, brief, numbers

__all__ = ["as_the_task_gives", "as_the_task_takes", "check_actions", "check_shapes", "flags"]

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
"""Sizes that one MuJoCo task in Gymnasium can have, and how to get the recorded one (gymnasium/envs/mujoco/*_v5.py)."""


def as_the_task_gives(where: str, observations: np.ndarray, space: Any) -> np.ndarray:
    """Convert observations to the shape and dtype of the task's space.

    Pictures with their channels last are turned for a learner that sees them first (Stable-Baselines3's ``VecTransposeImage``).

    Raises:
        DemonstrationError: the task's dtype can't hold them, a discrete space does not contain one of them, or they are bytes of pictures
            where the task has floats in a smaller box.
    """
    if _channels_last(observations.shape[1:], space):
        observations = np.moveaxis(observations, -1, 1)
    given = observations.astype(space.dtype, copy=False)
    bounds = numbers(space)
    whole = given.dtype.kind in "biu"
    if observations.dtype == np.uint8 and not whole and ((given < space.low) | (given > space.high)).any():
        raise DemonstrationError(
            f"{where} has bytes up to {observations.max()}, but the task gives floats up to {space.high.max():g}; "
            "give observations / 255, if these are pictures of it"
        )
    if (whole and not np.array_equal(given, observations)) or (bounds and ((given < bounds[0]) | (given > bounds[1])).any()):
        raise DemonstrationError(
            f"{where} has observations from {observations.min()} to {observations.max()}, which {space} doesn't hold; "
            "give demonstrations of this task"
        )
    return read_only(given)


def as_the_task_takes(where: str, actions: np.ndarray, space: Any) -> np.ndarray:
    """Convert actions of a discrete space to int64, since some recorders write bytes, 1.0 or [1.0]; others are returned unchanged."""
    if numbers(space) is None:
        return actions
    if {space.shape, actions.shape[1:]} == {(), (1,)}:  # one number: of a Discrete, or of a MultiDiscrete that has one entry
        actions = actions.reshape(-1, *space.shape)
    if actions.dtype.kind == "f" and not (actions == np.round(actions)).all():
        raise DemonstrationError(f"{where} has actions that are not whole numbers, but the task takes {space}; give demonstrations of it")
    return read_only(actions.astype(np.int64, copy=False))


def check_shapes(where: str, recorded: tuple[int, ...], space: Any, env_kwargs: Mapping[str, Any]) -> None:
    """Refuse a task that gives more than one array, and observations of another shape, naming the keywords that give the recorded one."""
    if space.shape is None:
        raise DemonstrationError(
            f"{where} has one array of observations, but the task gives {brief(space)}; wrap the task in {FLATTENED} and record it again"
        )
    if recorded == space.shape or _channels_last(recorded, space):
        return
    family = next((sizes for sizes in _SIZES if len(recorded) == len(space.shape) == 1 and {*recorded, *space.shape} <= set(sizes)), {})
    if family:
        advice = family[recorded[0]]
    elif env_kwargs:
        advice = f"make the task as it was recorded: {flags(env_kwargs)}"
    else:
        advice = "give demonstrations of this task"
    raise DemonstrationError(f"{where} has observations of size {_size(recorded)}, but the task gives {_size(space.shape)}; {advice}")


def _channels_last(recorded: tuple[int, ...], space: Any) -> bool:
    """Whether the recorded pictures have their channels last while the learner's space has them first."""
    return recorded != space.shape and len(recorded) == 3 and space.dtype == np.uint8 and (recorded[2], *recorded[:2]) == space.shape


def check_actions(where: str, episodes: Sequence[Episode], shape: tuple[int, ...], bounds: tuple[np.ndarray, np.ndarray] | None) -> None:
    """Refuse actions of another kind or shape, and those that a discrete task does not have.

    Args:
        where: name of the demonstrations in the message.
        episodes: episodes that share one shape and dtype.
        shape: shape of one action of the task.
        bounds: least and greatest number of each entry, for a discrete task.
    """
    first = episodes[0].actions
    discrete = bounds is not None and shape == ()
    if is_discrete(first) != discrete or first.shape[1:] != shape:
        given = "discrete actions" if is_discrete(first) else f"actions of size {_size(first.shape[1:])}"
        needed = f"one of {_count(bounds)} discrete ones" if bounds and discrete else f"actions of size {_size(shape)}"
        one_hot = bounds is not None and discrete and first.shape[1:] == (_count(bounds),)
        advice = "if these are one-hot, save actions.argmax(1)" if one_hot else "give demonstrations of this task"
        raise DemonstrationError(f"{where} has {given}, but the task takes {needed}; {advice}")
    if bounds is None:
        return
    lowest, highest = (getattr(np, side)([getattr(e.actions, side)(0) for e in episodes], axis=0) for side in ("min", "max"))
    outside = np.argwhere((lowest < bounds[0]) | (highest > bounds[1]))
    if len(outside):
        entry = tuple(outside[0].tolist())
        place = f" in entry {', '.join(map(str, entry))}" if entry else ""
        given = f"{where} has discrete actions from {lowest[entry]} to {highest[entry]}{place}"
        has = f"the task has {_count((bounds[0][entry], bounds[1][entry]))}, {bounds[0][entry]} to {bounds[1][entry]}"
        raise DemonstrationError(f"{given}, but {has}; give demonstrations of this task")


def _count(bounds: Any) -> int:
    return int(bounds[1] - bounds[0] + 1)


def flags(env_kwargs: Mapping[str, Any]) -> str:
    """Write keywords of a task as flags of the command."""
    return " ".join(f"{flag_of(name, 'env')} {_words(value)}" for name, value in env_kwargs.items())


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _size(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)
