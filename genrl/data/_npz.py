"""Read and write flat npz files: genrl's own layout, and those of other libraries."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from genrl.arrays import open_arrays
from genrl.data._episode import FIELDS, DemonstrationError, Episode
from genrl.data._layouts import from_arrays
from genrl.errors import one_line
from genrl.reading import FileError, parse_json

__all__ = ["file_content", "read"]

_HEADER = "genrl"


def read(path: Path) -> tuple[list[Episode], dict[str, Any]]:
    """Read the episodes and the metadata. Only needed fields are read, and nothing is unpickled.

    Raises:
        DemonstrationError: the file is truncated, its layout is unknown, or a needed field is pickled.
    """
    try:
        with open_arrays(path) as file:
            if _HEADER in file:
                return _own(path, {name: file[name] for name in (_HEADER, *FIELDS)})
            return from_arrays(str(path), file, file.__getitem__), {}
    except FileError as error:
        raise DemonstrationError(str(error)) from error
    except DemonstrationError:
        raise
    except (KeyError, ValueError, TypeError, MemoryError) as error:
        raise DemonstrationError(f"{path} is not a whole npz file ({one_line(error)}); restore it from a copy") from error


def file_content(episodes: Sequence[Episode], metadata: Mapping[str, Any]) -> bytes:
    """Build an npz file of all episodes, one after another, with a JSON header that holds their lengths."""
    rows = [
        {
            "id": episode.id,
            "seed": episode.seed,
            "steps": len(episode),
            "last_successor": episode.last_successor,
            "ordered": episode.ordered,
            "kept": None if episode.kept is None else episode.kept.tolist(),
        }
        for episode in episodes
    ]
    header = json.dumps({"metadata": dict(metadata), "episodes": rows}).encode()
    arrays = {name: np.concatenate([getattr(episode, name) for episode in episodes]) for name in FIELDS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{_HEADER: np.frombuffer(header, np.uint8)}, **arrays)
    return buffer.getvalue()


def _own(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[list[Episode], dict[str, Any]]:
    header = parse_json(arrays[_HEADER].tobytes(), str(path))
    rows = header["episodes"]
    steps = [row["steps"] for row in rows]
    counts = {"observations": [row["steps"] + row["last_successor"] for row in rows]}
    columns = [_cut(name, arrays[name], counts.get(name, steps)) for name in FIELDS]
    episodes = []
    for row, *fields in zip(rows, *columns, strict=True):
        observations, actions, rewards, terminations, truncations = fields
        kept = None if row["kept"] is None else np.array(row["kept"], dtype=np.int64)
        own = {"id": row["id"], "seed": row["seed"], "last_successor": row["last_successor"], "ordered": row.get("ordered", True)}
        episodes.append(Episode(observations, actions, rewards, terminations, truncations, **own, kept=kept))
    return episodes, dict(header["metadata"])


def _cut(name: str, values: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    if len(values) != sum(counts):
        raise ValueError(f"{len(values)} {name} where its header says {sum(counts)}")
    return [values[first:end] for first, end in pairwise(accumulate(counts, initial=0))]
