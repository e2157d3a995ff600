"""Read robomimic's HDF5 layout: ``data/demo_0``, ``data/demo_1``, …, each with ``obs`` (a group of arrays), ``actions`` and more."""

from __future__ import annotations

import re

import h5py
import numpy as np

from genrl.data._episode import DemonstrationError, Episode
from genrl.data._hdf5 import Bounded

__all__ = ["is_robomimic", "read_robomimic"]


def is_robomimic(file: h5py.File, bounded: Bounded) -> bool:
    """Whether the file has a group ``data`` of demonstrations."""
    return "data" in file and isinstance(group := bounded.member(file, "data"), h5py.Group) and bool(_demos(bounded, group))


def read_robomimic(file: h5py.File, bounded: Bounded) -> list[Episode]:
    """Read the demonstrations in the order of their numbers, each an episode of unknown end.

    ``dones`` are left out: whether they mean success or the end of the recording was the recorder's choice. The arrays of ``obs`` are
    joined in the order of their names, as ``gymnasium.spaces.flatten`` joins those of a Dict.

    Raises:
        DemonstrationError: a field is missing or no array of numbers, or an observation is an image.
    """
    data = bounded.member(file, "data")
    return [_episode(bounded, bounded.member(data, name), k) for k, name in enumerate(_demos(bounded, data))]


def _demos(bounded: Bounded, data: h5py.Group) -> list[str]:
    return sorted((name for name in bounded.members(data) if re.fullmatch(r"demo_\d{1,9}", name)), key=lambda name: int(name[5:]))


def _episode(bounded: Bounded, group: h5py.Group, number: int) -> Episode:
    where = f"{bounded.path}, {group.name.removeprefix('/data/')}"
    names = bounded.members(group)
    if missing := [name for name in ("obs", "actions") if name not in names]:
        raise DemonstrationError(f"{where} has no {missing[0]} (it has {', '.join(names)}); extract the observations first")
    observations, actions = (_joined(bounded, group, name, where) for name in ("obs", "actions"))
    rewards = _joined(bounded, group, "rewards", where) if "rewards" in names else np.full(len(actions), np.nan, np.float32)
    if "next_obs" in names:
        observations = np.concatenate([observations, _joined(bounded, group, "next_obs", where)[-1:]])
    never = np.zeros(len(actions), bool)
    return Episode(observations, actions, rewards, never, never, id=number, last_successor="next_obs" in names)


def _joined(bounded: Bounded, group: h5py.Group, name: str, where: str) -> np.ndarray:
    """An array, or those of a group, side by side."""
    item = bounded.member(group, name)
    if isinstance(item, h5py.Dataset):
        return bounded.array(item, where, name)
    parts = {key: bounded.member(item, key) for key in sorted(bounded.members(item))}
    for key, part in parts.items():
        if not isinstance(part, h5py.Dataset) or part.ndim not in (1, 2):
            raise DemonstrationError(
                f"{where} has {name}/{key} that is no row of numbers a step; leave images out, or keep one array as {name}"
            )
    arrays = [bounded.array(part, where, f"{name}/{key}") for key, part in parts.items()]
    if len({len(array) for array in arrays}) != 1:
        raise DemonstrationError(f"{where} has {name} of several lengths, or none; save it again")
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)
