"""One cell of a study, trained by whoever holds its lock; what is kept about it beside its run directory."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from genrl.errors import RunError, one_line
from genrl.files import write_whole
from genrl.reading import open_appending, read_json
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory

PRELOAD = (
    "genrl.runs.training",
    "genrl.rewards.vime",
    "genrl.policies.noise",
    "sb3_contrib",
    "gymnasium.envs.mujoco",
    "torch._dynamo",  # torch imports it when the first optimiser is built: half a second
)
"""What every cell imports sooner or later; worker processes are forked from a server that has it."""

__all__ = ["PRELOAD", "CellOutcome", "CellState", "Job", "is_finished", "run_cell", "unpack"]


@dataclass(frozen=True)
class Job:
    """What a worker is told about a cell."""

    config: RunConfig
    study: str
    """The token of the study's directory: a worker that does not find it there is on another machine."""
    imports: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.config.directory


@dataclass(frozen=True)
class CellOutcome:
    """What a worker says about a cell."""

    status: str
    """`finished`, `interrupted`, `failed` (to be tried again), `refused` (it would fail again), or `busy` (another process has it)."""
    error: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The run directory's, from a worker that can't write there."""


class CellState:
    """Tries and errors of a cell, and who trains it: one JSON file and one lock beside the run directories.

    Args:
        run: the run directory; the files are in the ``state`` folder beside its parent.
    """

    def __init__(self, run: Path) -> None:
        base = run.parent.parent / "state" / run.name
        self.path = base.with_name(base.name + ".json")
        self._lock = base.with_name(base.name + ".lock")
        self.log = base.with_name(base.name + ".log")

    @property
    def lock(self) -> FileLock:
        """The lock that the process holds which trains the cell."""
        return FileLock(self._lock)

    def read(self) -> dict[str, Any]:
        """``failures`` (errors, oldest first), ``refused`` (no try will help) and ``runner`` (host and process that train it or did)."""
        content = read_json(self.path) if self.path.is_file() else {}
        known = {"failures": [], "refused": False, "runner": None} | content
        failures, runner = known["failures"], known["runner"]
        whole = runner is None or (isinstance(runner, dict) and isinstance(runner.get("host"), str) and isinstance(runner.get("pid"), int))
        if not whole or not isinstance(failures, list) or not all(isinstance(error, str) for error in failures):
            raise RunError(f"{self.path} is not what genrl wrote; delete it")
        return known

    def change(self, **values: Any) -> None:
        """Change some of the values, and write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, (json.dumps(self.read() | values) + "\n").encode())

    def add_failure(self, error: str, refused: bool = False) -> None:
        """Note one more failed try."""
        self.change(failures=[*self.read()["failures"], error], refused=refused, runner=None)

    def given_up(self, tries: int) -> bool:
        """Whether the cell will not be tried again."""
        state = self.read()
        return bool(state["refused"]) or len(state["failures"]) >= tries

    def is_running(self) -> bool:
        """Whether a process trains it, as far as one can see from this machine."""
        runner = self.read()["runner"]
        if runner is None:
            return False
        return runner["host"] != socket.gethostname() or _alive(runner["pid"])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def run_cell(job: Job) -> CellOutcome:
    """Train a cell to its end from wherever it is, unless another process does; whatever goes wrong is the outcome."""
    if not _sees_the_study(job):
        return _run_elsewhere(job)
    state = CellState(job.path)
    state.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with state.lock.acquire(timeout=0):
            state.change(runner={"host": socket.gethostname(), "pid": os.getpid()})
            with _output_to(state.log):
                outcome = _train(job)
            state.change(runner=None)
            return outcome
    except Timeout:
        return CellOutcome("busy")


def _train(job: Job) -> CellOutcome:
    run = RunDirectory(job.path)
    try:
        from genrl.runs import resume, train
        from genrl.runs.result import EVALUATION_INTERRUPTED

        if is_finished(run):
            return CellOutcome("finished")
        begun = run.config.is_file()
        result = resume(run.path, imports=job.imports, quiet=True) if begun else train(job.config, quiet=True)
    except RunError as error:
        return CellOutcome("refused", str(error))
    except Exception as error:  # one bad cell never stops the others
        return CellOutcome("failed", f"{type(error).__name__}: {one_line(error)}")
    if result["status"] == "failed":
        return CellOutcome("refused" if result["diverged"] else "failed", result["error"])
    if reason := result["evaluation_error"]:
        return CellOutcome("interrupted" if reason.startswith(EVALUATION_INTERRUPTED) else "failed", reason)
    return CellOutcome(result["status"])


def is_finished(run: RunDirectory) -> bool:
    """Whether the run has all its steps and its whole result."""
    if not run.result.is_file():
        return False
    result = read_json(run.result)
    return result.get("status") == "finished" and not result.get("evaluation_error")


def _sees_the_study(job: Job) -> bool:
    token = job.path.parent.parent / "study.json"
    return token.is_file() and read_json(token).get("token") == job.study


def _run_elsewhere(job: Job) -> CellOutcome:
    """Train on a machine without the study's directory: in a temporary directory, whose files are sent back."""
    with tempfile.TemporaryDirectory(prefix="genrl-") as folder:
        there = replace(job, config=replace(job.config, out=Path(folder) / job.path.name))
        outcome = _train(there)
        files = {path.name: path.read_bytes() for path in there.path.glob("*") if path.is_file() and path.name != "checkpoint.safetensors"}
        return replace(outcome, files=files)


def unpack(job: Job, files: Mapping[str, bytes]) -> None:
    """Write the files of a run that was trained on another machine; the result last, so that it is finished when it is whole."""
    job.path.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == "result.json"):
        write_whole(job.path / Path(name).name, files[name])


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send what a run prints in a worker process to a file instead of into the table on the terminal; in this process it stays."""
    if multiprocessing.parent_process() is None:
        yield
        return
    sys.stdout.flush(), sys.stderr.flush()
    with open_appending(path) as file:
        file.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S')} process {os.getpid()}\n".encode())
        file.flush()
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        yield
