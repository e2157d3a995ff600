"""A run directory: what is in it, and how it is written (whole files by rename; the two CSV files by appending)."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from genrl.errors import RunError, command, did_you_mean, one_line
from genrl.files import write_whole
from genrl.reading import TABLE, read_json, read_text

__all__ = ["RunDirectory", "about"]


ROWS = 2_000_000
"""Lines of a CSV file, at most."""
WRITTEN = {".csv", ".json", ".npz", ".safetensors", ".zip"}
"""Endings of the files that a run writes while it trains."""


class RunDirectory:
    """Paths and files of one run.

    Args:
        path: the directory; it may not exist yet.
    """

    EPISODE_COLUMNS = ("step", "env", "return", "length", "seconds")

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.result = self.path / "result.json"
        self.imitation = self.path / "imitation.json"
        self.progress = self.path / "progress.csv"
        self.episodes = self.path / "episodes.csv"
        self.coverage = self.path / "coverage.npz"
        self.model = self.path / "model.zip"
        self.vecnormalize = self.path / "vecnormalize.safetensors"
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.tensorboard = self.path / "tensorboard"

    def check_new(self) -> None:
        """Refuse a directory that can't be a new run's, before anything is built.

        Raises:
            RunError: it exists with something in it, or can't be written.
        """
        if self.config.is_file():
            raise RunError(f"{self.path} already holds a run; go on with it by `{command('resume', self.path)}`, or choose another --out")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunError(f"{self.path} exists and is not empty; choose another --out")
        parent = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        try:
            tempfile.TemporaryFile(dir=parent).close()
        except OSError as error:
            raise RunError(f"{self.path} can't be written ({error.strerror}); choose another --out") from error

    def create(self) -> None:
        """Make the directory and the header of episodes.csv."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.episodes, (",".join(self.EPISODE_COLUMNS) + "\n").encode())

    def discard(self) -> None:
        """Take back :meth:`create` and all that came after it, for a run that was refused."""
        for path in self.path.iterdir():
            if path.suffix in WRITTEN:
                path.unlink()
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The directory of an existing run.

        Raises:
            RunError: there is no run.
        """
        run = cls(path)
        if not run.config.is_file():
            siblings = [str(other.parent) for other in run.path.parent.glob("*/config.json")] if run.path.parent.is_dir() else []
            raise RunError(f"{run.path} holds no run{did_you_mean(str(run.path), siblings) or '; start one with `genrl explore`'}")
        return run

    def read_json(self, path: Path) -> dict[str, Any]:
        """A JSON file of this directory.

        Raises:
            RunError: it is no JSON object, or can't be read.
        """
        return read_json(path)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write whole; numbers that are not finite become null."""
        write_whole(path, (json.dumps(_finite(content), indent=2) + "\n").encode())

    def truncate_episodes(self, step: int) -> None:
        """Forget episodes that ended after ``step``, and a half-written last line."""
        kept = [row for row in self.read_episodes() if int(row["step"]) <= step]
        write_whole(self.episodes, _csv(self.EPISODE_COLUMNS, kept).encode())

    def truncate_progress(self, step: int) -> None:
        """Forget log rows after ``step``."""
        if not self.progress.is_file():
            return
        rows = read_csv(self.progress)
        kept = [row for row in rows if row.get("time/total_timesteps") and int(float(row["time/total_timesteps"])) <= step]
        write_whole(self.progress, _csv(rows[0] if rows else (), kept).encode())

    def read_episodes(self) -> list[dict[str, str]]:
        """Rows of episodes.csv that are whole."""
        rows = read_csv(self.episodes) if self.episodes.is_file() else []
        try:
            whole = [row for row in rows if row["seconds"]]
            for row in whole:
                int(row["step"]), float(row["return"])
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{self.episodes} is not what a run writes ({one_line(error)}); restore it from a copy") from error
        return whole


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file whose last line ended: a kill can cut the last one.

    Raises:
        RunError: it is no CSV file, too large, or can't be read.
    """
    text = read_text(path, TABLE)
    if text.count("\n") > ROWS:
        raise RunError(f"{path} has {text.count(chr(10)):,} lines, more than are read; restore it from a copy")
    try:
        return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))
    except csv.Error as error:
        raise RunError(f"{path} is no CSV file ({one_line(error)}); restore it from a copy") from error


def _csv(columns: Iterable[str], rows: list[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def about() -> dict[str, Any]:
    """How the run came about, for config.json: command, time, versions, machine."""
    import torch

    packages = ("genrl-toolkit", "torch", "stable-baselines3", "sb3-contrib", "gymnasium", "mujoco", "numpy")
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "command": shlex.join(words),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {name: metadata.version(name) for name in packages} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "threads": torch.get_num_threads()},
    }
