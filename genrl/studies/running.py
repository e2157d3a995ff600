"""Train what a study lacks: rounds over its unfinished cells until each is finished or given up."""

from __future__ import annotations

import json
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from genrl.runs.errors import RunError
from genrl.studies.cells import CellState, Job, Outcome, is_finished, run_cell, unpack
from genrl.studies.executors import Executor, WorkerDied
from genrl.studies.matrix import Cell, Study

__all__ = ["FORMAT", "film_study", "open_directory", "run_study"]

FORMAT = 1
"""Version of what is in a study's directory; a change that old readers would misread increases it."""

LOCK = ".lock"

SECONDS_BETWEEN_ROUNDS = 1.0


def run_study(
    study: Study,
    executor: Executor,
    *,
    imports: Collection[str] = (),
    retry: bool = False,
    ended: Callable[[Cell, Outcome], None] = lambda cell, outcome: None,
) -> bool:
    """Train every cell of ``study`` that is not finished, with ``executor``; what is there is kept.

    A cell that another process trains is waited for. Ctrl-C and SIGTERM ask the workers to save; a second one does not wait for them.

    Args:
        study: the matrix; :meth:`Study.check` has refused what can't be.
        executor: where the cells run.
        imports: modules that the cells may import, where a task, learner or reward is a `module:Name`.
        retry: try the cells again that were given up.
        ended: called after each try of a cell.

    Returns:
        Whether every cell was decided (finished or given up); false after an interrupt.

    Raises:
        RunError: the directory holds something else, or a study of another version.
    """
    token = open_directory(study)
    if retry:
        for cell in study.cells:
            CellState(cell.path).change(failures=[], refused=False)
    with _interrupts():
        try:
            while cells := [cell for cell in study.cells if _is_open(cell, study.settings.tries)]:
                jobs = [Job(cell.config, token, tuple(imports)) for cell in cells]
                if not _round({cell.path: cell for cell in cells}, jobs, executor, ended):
                    return False
                time.sleep(SECONDS_BETWEEN_ROUNDS if any(CellState(cell.path).is_running() for cell in cells) else 0)
        except KeyboardInterrupt:
            return False
    return True


def film_study(study: Study, executor: Executor, imports: Collection[str] = ()) -> None:
    """Film the median run of each task and method into its run directory, where that has not been done."""
    from genrl.studies.results import read_study

    results = read_study(study.directory)
    chosen = []
    for task in study.tasks:
        for method in study.methods:
            runs = sorted(results.finished(task, method), key=lambda item: item.result[study.settings.score] or 0.0)
            if runs and not (path := runs[(len(runs) - 1) // 2].cell.path).joinpath("watch.gif").is_file():
                chosen.append((path, tuple(imports)))
    with closing(executor.map(_film, chosen)) as films:
        for (path, _), outcome in films:
            if isinstance(outcome, WorkerDied) or outcome.error:
                warnings.warn(f"{path} could not be filmed: {getattr(outcome, 'error', outcome)}", stacklevel=2)


def _film(job: tuple[Path, tuple[str, ...]]) -> Outcome:
    from genrl.runs import watch

    try:
        watch(job[0], steps=500, size=320, imports=job[1])
    except Exception as error:  # no renderer, no screen: the numbers are there all the same
        return Outcome("failed", " ".join(str(error).split()))
    return Outcome("finished")


def open_directory(study: Study) -> str:
    """Make the directory, or check that it is a study's, and keep the TOML in it; the token tells a worker that it is the same one.

    Raises:
        RunError: it holds something else, or a study of another version.
    """
    from genrl.models.state import write_whole

    folder, foreign = study.directory, RunError(f"{study.directory} holds something that is no study; choose another --out")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and names.isdisjoint({LOCK, "study.json"}):
        raise foreign  # without leaving a lock in it; a study's own is there before anything else
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # two studies that begin at the same moment must agree on a token
            known = read_about(folder)
            if known is None and any(path.name != LOCK for path in folder.iterdir()):
                raise foreign
            about = known or {"format": FORMAT, "token": uuid.uuid4().hex, "name": study.name}
            file = Path(study.source).name if Path(study.source).is_absolute() else study.source
            write_whole(folder / "study.json", (json.dumps(about | {"file": file}) + "\n").encode())
            write_whole(folder / "study.toml", study.text.encode())
    except OSError as error:
        raise RunError(f"{folder} can't be written ({error.strerror}); choose another --out") from error
    return str(about["token"])


def read_about(directory: Path) -> dict[str, Any] | None:
    """What study.json says; ``None`` where there is none.

    Raises:
        RunError: a study of another version.
    """
    path = directory / "study.json"
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_text())
        version = about["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is not what genrl wrote; restore it from a copy, or choose another --out") from error
    if version != FORMAT:
        raise RunError(f"{directory} holds a study of format {version}, this version of genrl has format {FORMAT}; choose another --out")
    return dict(about)


def _is_open(cell: Cell, tries: int) -> bool:
    from genrl.runs.directory import RunDirectory

    return not is_finished(RunDirectory(cell.path)) and not CellState(cell.path).given_up(tries)


def _round(cells: dict[Path, Cell], jobs: list[Job], executor: Executor, ended: Callable[[Cell, Outcome], None]) -> bool:
    """Every job once; whether nobody interrupted."""
    with closing(executor.map(run_cell, jobs)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, WorkerDied):
                outcome = Outcome("failed", outcome.reason)
            if outcome.files:
                unpack(job, outcome.files)
            if outcome.status in ("failed", "refused"):
                CellState(job.path).add_failure(outcome.error or "", refused=outcome.status == "refused")
            if outcome.status != "busy":
                ended(cells[job.path], outcome)
            if outcome.status == "interrupted":
                return False
    return True


@contextmanager
def _interrupts() -> Iterator[None]:
    """SIGTERM ends a study as Ctrl-C does."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
