"""A run directory: what is in it, and how it is written (whole files by rename; the two CSV files by appending)."""

from __future__ import annotations

import copy
import csv
import io
import itertools
import os
import platform
import resource
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from genrl.errors import RunError, command, did_you_mean, flags, one_line
from genrl.files import check_writable, sweep, write_whole
from genrl.reading import TABLE, read_bytes

__all__ = ["POLICY", "RunDirectory", "about", "film_name", "peak_rss_mb", "read_csv"]

POLICY = "policy.safetensors"
"""Name of the file that a run from the hub has in place of model.zip: the networks alone."""

LOCK = ".run.lock"
"""Held by the one process that writes to a run directory; a study has a lock of another name."""

ROWS = 2_000_000
"""Lines of a CSV file, at most."""
TORN = "\ufffd"
"""Character that stands for zeros and for bytes that are no text."""


class RunDirectory:
    """Paths and files of one run.

    Args:
        path: the directory; it may not exist yet.
    """

    EPISODE_COLUMNS = ("step", "env", "return", "length", "seconds")
    FIRST_FILES: tuple[str, ...] = ("config.json", "imitation.json", "progress.csv", "episodes.csv", "encoder.safetensors")
    """What a run writes before its first checkpoint."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.result = self.path / "result.json"
        self.imitation = self.path / "imitation.json"
        self.progress = self.path / "progress.csv"
        self.episodes = self.path / "episodes.csv"
        self.coverage = self.path / "coverage.npz"
        pulled = (self.path / POLICY).is_file() and not (self.path / "model.zip").exists()
        self.model = self.path / (POLICY if pulled else "model.zip")
        self.vecnormalize = self.path / "vecnormalize.safetensors"
        self.evaluations = self.path / "evaluations.csv"
        self.best = self.path / "best.zip"
        self.best_vecnormalize = self.path / "best_vecnormalize.safetensors"
        self.average = self.path / "average.safetensors"
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.tensorboard = self.path / "tensorboard"

    def check_new(self, imports: Collection[str] = ()) -> None:
        """Refuse a directory that can't be a new run's, before anything is built.

        Args:
            imports: what the new run imports, as the run that is there will do, too.

        Raises:
            RunError: it exists with something in it, or can't be written.
        """
        if self.config.is_file():
            again = command("resume", self.path, *flags(imports=tuple(imports)))
            raise RunError(f"{self.path} already holds a run; go on with it by `{again}`, or choose another --out")
        # A run that was killed at its birth has left its lock, and nothing of anybody else's.
        if self.path.exists() and (not self.path.is_dir() or (any(self.path.iterdir()) and not (self.path / LOCK).is_file())):
            raise RunError(f"{self.path} exists and is not empty; choose another --out")
        check_writable(self.path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer of this directory, which is made if need be; what killed writers have left half-written is swept.

        Raises:
            RunError: another process writes here, or nobody can.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
            if not (self.path / LOCK).is_file():  # its holder before has just removed it, and another one may have a new one
                raise Timeout(lock.lock_file)
            sweep(self.path)
        except Timeout as error:
            advice = "wait for its end or end it (`jobs` lists those that Ctrl-Z has stopped)"
            raise RunError(f"another process writes to {self.path}; {advice}") from error
        except OSError as error:
            advice = "choose another --out, or copy the run to where you can write"
            raise RunError(f"{self.path} can't be written ({error.strerror}); {advice}") from error
        try:
            yield
        finally:
            (self.path / LOCK).unlink(missing_ok=True)
            if self.path.is_dir() and not any(self.path.iterdir()):  # a run that was refused
                self.path.rmdir()
            lock.release()

    def create(self) -> None:
        """Begin the two CSV files; config.json is there already."""
        write_whole(self.episodes, (",".join(self.EPISODE_COLUMNS) + "\n").encode())
        self.progress.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what a run writes before its first checkpoint, for one that was refused or killed at its birth; other files stay."""
        for name in self.FIRST_FILES:
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.tensorboard, self.path / "wandb"):
            shutil.rmtree(folder, ignore_errors=True)

    def nothing_is_done(self) -> bool:
        """Whether a run was stopped before its first checkpoint, so that there is nothing that could be lost."""
        return not any(path.exists() for path in (self.checkpoint, self.model)) and not self.read_episodes()

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The directory of an existing run.

        Raises:
            RunError: there is no run.
        """
        run = cls(path)
        try:
            there = run.config.is_file()
        except OSError as error:  # a folder of another user
            raise RunError(f"{run.path} can't be opened ({error.strerror})") from error
        if not there:
            if (run.path.parent / "config.json").is_file():
                raise RunError(f"{run.path} is no run, but lies in one; did you mean {run.path.parent}?")
            if (run.path / "study.json").is_file():
                inside = run.path / "cells"
                raise RunError(f"{run.path} is a study, whose runs are in {inside}; name one of them (`genrl study` goes on with all)")
            if runs := sorted(str(other.parent) for other in run.path.glob("*/config.json")):
                raise RunError(f"{run.path} is no run, but holds {len(runs)}; name one of them, such as {runs[0]}")
            siblings = [str(other.parent) for other in run.path.parent.glob("*/config.json")] if run.path.parent.is_dir() else []
            raise RunError(f"{run.path} holds no run{did_you_mean(str(run.path), siblings) or '; start one with `genrl explore`'}")
        return run

    def with_best(self) -> RunDirectory:
        """This run with its best model in place of its last one.

        Raises:
            RunError: it has kept none.
        """
        if not self.best.is_file():
            raise RunError(f"{self.path} has no {self.best.name}; a run that is started with --eval-every STEPS keeps its best model")
        run = copy.copy(self)
        run.model, run.vecnormalize = self.best, self.best_vecnormalize
        return run

    def with_average(self) -> RunDirectory:
        """This run with the mean of its last policies in place of the last one.

        Raises:
            RunError: it has kept none.
        """
        if not self.average.is_file():
            advice = "a `genrl imitate` that is started with --average SHARE keeps the mean of its last policies"
            raise RunError(f"{self.path} has no {self.average.name}; {advice}")
        run = copy.copy(self)
        run.model = self.average
        return run

    def sync(self) -> None:
        """Flush the two CSV files to the disk, so that a power cut after this leaves the rows that a checkpoint counts."""
        for path in (self.episodes, self.progress):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def keep_rows(self, path: Path, count: int) -> None:
        """Forget the rows of a CSV file that a checkpoint does not know, which has counted ``count``; warn if there are fewer."""
        columns, rows = _rows(path)
        if len(rows) < count:
            lost = f"{count - len(rows):,} of its {count:,} rows are lost"
            warnings.warn(f"{path} is torn or was cut: {lost}, and are missing in what is counted from it", stacklevel=2)
        if path.is_file():
            write_whole(path, _csv(columns, rows[:count]).encode())

    def read_episodes(self) -> list[dict[str, str]]:
        """Rows of episodes.csv that are whole."""
        rows = read_csv(self.episodes)
        try:
            for row in rows:
                int(row["step"]), float(row["return"]), float(row["seconds"])
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{self.episodes} is not what a run writes ({one_line(error)}); restore it from a copy") from error
        return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file before the first that is torn: a kill can cut the last one, and a power cut leave zeros; none without a file.

    Raises:
        RunError: it is no CSV file, too large, or can't be read.
    """
    columns, rows = _rows(path)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and whole rows of a CSV file of numbers."""
    if not path.is_file():
        return [], []
    text = read_bytes(path, TABLE).decode(errors="replace")
    if text.count("\n") > ROWS:
        raise RunError(f"{path} has {text.count(chr(10)):,} lines, more than are read; restore it from a copy")
    text = text[: text.rfind("\n") + 1].replace("\0", TORN)
    try:
        columns, *rows = csv.reader(io.StringIO(text)) if text else [[]]
    except csv.Error as error:
        raise RunError(f"{path} is no CSV file ({one_line(error)}); restore it from a copy") from error
    return columns, list(itertools.takewhile(lambda row: len(row) == len(columns) and not any(TORN in cell for cell in row), rows))


def _csv(columns: list[str], rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows] if columns else [])
    return buffer.getvalue()


def film_name(best: bool = False, average: bool = False, dream: bool = False) -> str:
    """Name of a film without its ending. Each of a run's policies has its own, so that a film of one replaces none of another.

    Example:
        >>> film_name(), film_name(best=True), film_name(average=True, dream=True)
        ('watch', 'watch-best', 'watch-dream-average')
    """
    return "-".join(["watch", *(["dream"] if dream else []), *(["best"] if best else []), *(["average"] if average else [])])


def peak_rss_mb() -> float:
    """The most memory that this process has had, in MiB, for result.json."""
    unit = 1024**2 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, and KiB on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


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
