"""Two run directories compared file by file and cell by cell, but for their clocks."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genrl.files import load_state
from genrl.runs.directory import LOCK
from tests.runs.tiny import assert_equal

CLOCKS = {"seconds", "steps_per_second", "peak_rss_mb", "time/fps", "time/time_elapsed", "about", "t", "out", "encoder", "judging_seconds"}
CLOCKS |= {"dream/fit_seconds", "dream/dream_seconds", "dream/practice_seconds"}
"""Names of columns and entries that tell time, memory or place."""
OF_THIS_LEARN = {"start_time", "_num_timesteps_at_start", "_total_timesteps"}
"""What SB3 knows of the last ``learn`` alone: from what it computes its speed, and its goal."""


def assert_same_directory(a: Path, b: Path) -> None:
    """The same files, and in them the same cells, entries and tensors."""
    names = [sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != LOCK) for folder in (a, b)]
    assert names[0] == names[1]
    for name in names[0]:
        assert_equal(content(a / name), content(b / name), name)


def content(path: Path) -> Any:
    """What a file says, without clocks."""
    if path.suffix == ".csv":
        header, *rows = csv.reader(io.StringIO(path.read_text()))
        kept = [i for i, column in enumerate(header) if column not in CLOCKS]
        return [[row[i] for i in kept] for row in [header, *rows]]
    if path.suffix == ".json":
        return without_clocks(json.loads(path.read_text()))
    if path.suffix == ".safetensors":
        return without_clocks(load_state(path)) if "model" not in path.name else path.read_bytes()
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].tolist() for name in arrays.files}
    return zip_content(path) if path.suffix == ".zip" else path.read_bytes()


def zip_content(path: Path) -> dict[str, Any]:
    """The tensors that SB3 saved, and its plain attributes."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pth"):
                found[name] = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
        data = json.loads(archive.read("data"))
    plain = {key: value for key, value in data.items() if not isinstance(value, dict) and key not in OF_THIS_LEARN}
    return found | {"data": plain}


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clocks(item) for key, item in value.items() if key not in CLOCKS}
    return [without_clocks(item) for item in value] if isinstance(value, list) else value
