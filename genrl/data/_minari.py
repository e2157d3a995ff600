"""Read and write Minari's HDF5 layout with h5py alone, since ``minari.load_dataset`` runs code that the metadata of a data set name."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from genrl.data._episode import FIELDS, DemonstrationError, Episode
from genrl.data._hdf5 import Bounded
from genrl.data._layouts import from_arrays, is_known
from genrl.data._robomimic import is_robomimic, read_robomimic
from genrl.errors import one_line
from genrl.files import new_folder, write_whole
from genrl.reading import FileError, minari_root, parse_json, read_json

__all__ = ["MAIN_FILE", "check_folder", "file_content", "find_file", "read", "write_folder"]

MAIN_FILE = "main_data.hdf5"
_METADATA = "metadata.json"
_KEPT = "genrl_kept"
_JSON = ("env_spec", "eval_env_spec", "observation_space", "action_space")
_DERIVED = ("total_episodes", "total_steps", "data_format", "jpeg_encoding", "minari_version", "dataset_size")
_LAYOUT = "0.5.0"
"""The first version of Minari that has this layout; later versions read it, too."""


def find_file(folder: Path) -> Path:
    """Find the data file in a data set's folder, ``<id>/`` or ``<id>/data/``.

    Raises:
        DemonstrationError: the folder has no data file.
    """
    for file in (folder / "data" / MAIN_FILE, folder / MAIN_FILE):
        if file.is_file():
            return file
    if (folder / "config.json").is_file():
        raise DemonstrationError(f"{folder} is a run; record what its policy does, by `genrl record`, and give that file")
    inside = sorted(str(file.parents[1]) for file in folder.glob(f"*/data/{MAIN_FILE}"))
    advice = f"give one of the data sets in it: {', '.join(inside)}" if inside else "give a Minari data set in HDF5 format, or a file"
    raise DemonstrationError(f"{folder} holds neither data/{MAIN_FILE} nor {MAIN_FILE}; {advice}")


def read(path: Path) -> tuple[list[Episode], dict[str, Any]]:
    """Read the episodes in the order of their ids, and the metadata as plain data, in which ``env_spec`` and the spaces are dictionaries.

    The metadata are attributes of the file or, if it has none, the metadata.json beside it. Flat
    HDF5 files such as D4RL's are read, too, and robomimic's.

    Raises:
        DemonstrationError: the file is truncated, has another layout or nested observations, or its metadata are not JSON.
    """
    try:
        with h5py.File(path, "r") as file:
            bounded = Bounded(file, path)
            metadata = _metadata(file, bounded)
            names = bounded.members(file)
            groups = [bounded.member(file, name) for name in names if re.fullmatch(r"episode_\d+", name)]
            if not groups and is_known(names):
                return from_arrays(str(path), names, lambda name: _array(bounded, file, name, str(path))), metadata
            if not groups and is_robomimic(file, bounded):
                return read_robomimic(file, bounded), metadata
            if not groups:
                given = f"{path} is HDF5 but has no episode_0, episode_1, … as Minari writes them"
                raise DemonstrationError(f"{given} (it has {_some(names) or 'nothing'}); give one that has")
            numbered = sorted(((_number(bounded, group), group) for group in groups), key=lambda pair: pair[0])
            return [_episode(bounded, group, k, f"{path}, episode {k}", metadata) for k, group in numbered], metadata
    except DemonstrationError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:  # h5py raises any of these on broken bytes
        raise DemonstrationError(f"{path} is not a whole HDF5 file ({one_line(error)}); restore it from a copy") from error


def file_content(episodes: Sequence[Episode], metadata: Mapping[str, Any]) -> bytes:
    """Build one self-contained HDF5 file: each episode is a group, and the metadata are attributes of the root."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:  # checksums in all its parts, and attributes above 64 kB
        for name, value in metadata.items():
            # These are bytes of fixed length, because HDF5 can hang on damaged strings of variable length.
            if value is not None:  # which an attribute can't say
                file.attrs[name] = value if isinstance(value, int | float) else np.bytes_(json.dumps(value))
        for k, episode in enumerate(episodes):
            group = file.create_group(f"episode_{k}")
            group.attrs.update({"id": k, "total_steps": len(episode)} | ({} if episode.seed is None else {"seed": episode.seed}))
            arrays = {name: getattr(episode, name) for name in FIELDS}
            if episode.kept is not None:
                arrays[_KEPT] = np.isin(np.arange(len(episode)), episode.kept)
            options = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
            for name, values in arrays.items():  # HDF5 leaves what gzip does not shorten as it is, without gzip's own checksum
                group.create_dataset(name, data=values, chunks=values.shape, **options)
    return buffer.getvalue()


def write_folder(folder: Path, episodes: Sequence[Episode], metadata: Mapping[str, Any]) -> None:
    """Write a data set that ``minari.load_dataset(id)`` loads; the folder appears whole or not at all.

    The id is the folder's path below Minari's root (``MINARI_DATASETS_PATH``). Outside that root it is the folder's name.

    Raises:
        DemonstrationError: the name is not a valid id in Minari, or the folder exists already.
    """
    check_folder(folder)
    with new_folder(folder) as whole:
        data = whole / "data"
        data.mkdir()
        write_whole(data / MAIN_FILE, file_content(episodes, {}))
        write_whole(data / _METADATA, json.dumps(_for_minari(folder, episodes, metadata)).encode())


def check_folder(folder: Path) -> None:
    """Refuse a folder that :func:`write_folder` does not write.

    Raises:
        DemonstrationError: the name is not a valid id in Minari, or the folder exists already.
    """
    if not re.fullmatch(r"[-\w]+-v\d+", folder.name):
        advice = f"save to {folder.name or 'demonstrations'}-v0, or to a .hdf5 or .npz file"
        raise DemonstrationError(f"{folder} can't be a Minari data set, whose names end in a version; {advice}")
    if folder.exists():
        raise DemonstrationError(f"{folder} is there already; delete it or save to another name")


def _episode(bounded: Bounded, group: h5py.Group, number: int, where: str, metadata: Mapping[str, Any]) -> Episode:
    observations, actions, rewards, terminations, truncations = (_array(bounded, group, name, where) for name in FIELDS)
    shape = metadata.get("observation_space", {}).get("shape")
    if shape is not None and tuple(shape) != (stored := observations.shape[1:]):
        advice = "record images with jpeg_encoding=False, or mend the metadata"
        raise DemonstrationError(f"{where} has observations of shape {stored}, but its metadata say {tuple(shape)}; {advice}")
    kept = np.flatnonzero(_array(bounded, group, _KEPT, where)) if _KEPT in group else None
    seed = bounded.attribute(group, "seed")
    seed = None if seed is None else int(seed)
    return Episode(observations, actions, rewards, terminations, truncations, id=number, seed=seed, kept=kept)


def _number(bounded: Bounded, group: h5py.Group) -> int:
    number = bounded.attribute(group, "id")
    return int(group.name.removeprefix("/episode_") if number is None else number)


def _array(bounded: Bounded, group: h5py.Group, name: str, where: str) -> np.ndarray:
    if name not in group:
        raise DemonstrationError(f"{where} has no {name} (it has {_some(bounded.members(group))}); record it again")
    item = bounded.member(group, name)
    if not isinstance(item, h5py.Dataset):
        advice = "flatten them (gymnasium.wrappers.FlattenObservation) before recording"
        raise DemonstrationError(f"{where} has nested {name} ({_some(bounded.members(item))}), but genrl takes one array; {advice}")
    return bounded.array(item, where, name)


def _some(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def _metadata(file: h5py.File, bounded: Bounded) -> dict[str, Any]:
    """Metadata from the root's attributes or the metadata.json beside the file, without the entries that the episodes imply."""
    path = bounded.path
    found = {name: _parsed(_plain(value)) for name, value in bounded.attributes(file).items()}
    beside = path.with_name(_METADATA)
    if not set(_JSON) & set(found) and beside.is_file():
        path, found = beside, _beside(beside)
    known = {name: value for name, value in found.items() if value is not None and name not in _DERIVED}
    for name in set(_JSON) & set(known):
        known[name] = _parsed(known[name])  # Minari stores these values as JSON strings inside its JSON
        if not isinstance(known[name], dict):
            raise DemonstrationError(f"{path} has {name} that is not a JSON object; restore it from a copy")
    return known


def _beside(path: Path) -> dict[str, Any]:
    """Read the metadata.json of a folder."""
    try:
        return read_json(path)
    except FileError as error:
        raise DemonstrationError(str(error)) from error


def _plain(value: Any) -> Any:
    """Convert an attribute to plain data; an empty one or a reference becomes ``None``."""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    value = [_plain(item) for item in value] if isinstance(value, list) else value
    return value if isinstance(value, str | int | float | list) else None


def _parsed(value: Any) -> Any:
    """Parse a string that holds JSON; any other value is returned unchanged."""
    if not (isinstance(value, str) and value.lstrip().startswith(("{", "[", '"'))):
        return value
    try:
        return parse_json(value, "metadata")
    except FileError:
        return value


def _for_minari(folder: Path, episodes: Sequence[Episode], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the known metadata the fields that Minari requires (minari/dataset/minari_storage.py, minari_dataset.py)."""
    known = {
        "observation_space": _space(episodes, "observations"),
        "action_space": _space(episodes, "actions"),
        **metadata,
    }
    if "env_spec" in known:  # EnvSpec.from_json in gymnasium/envs/registration.py needs these two
        known["env_spec"] = {"entry_point": None, "additional_wrappers": [], **known["env_spec"]}
    inside = folder.resolve().is_relative_to(minari_root())
    return {
        **{name: json.dumps(value) if name in _JSON else value for name, value in known.items()},
        "total_episodes": len(episodes),
        "total_steps": sum(map(len, episodes)),
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "dataset_id": folder.resolve().relative_to(minari_root()).as_posix() if inside else folder.name,
        "minari_version": _LAYOUT,
    }


def _space(episodes: Sequence[Episode], name: str) -> dict[str, Any]:
    """Derive a space that the recorder did not store: Discrete up to the largest action seen, or a Box as wide as its dtype."""
    first = getattr(episodes[0], name)
    shape, whole = first.shape[1:], first.dtype.kind in "iub"
    if whole and shape == ():
        return {"type": "Discrete", "dtype": "int64", "start": 0, "n": max(int(getattr(episode, name).max()) for episode in episodes) + 1}
    limits = (0, 1) if first.dtype.kind == "b" else (np.iinfo(first.dtype).min, np.iinfo(first.dtype).max) if whole else (-np.inf, np.inf)
    bounds = {side: np.full(shape, limit).tolist() for side, limit in zip(("low", "high"), limits, strict=True)}
    return {"type": "Box", "dtype": str(first.dtype), "shape": list(shape), **bounds}
