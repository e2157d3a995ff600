"""Train what a study lacks: rounds over its unfinished cells until each is finished or given up."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path

from genrl.errors import RunError, one_line
from genrl.runs.directory import RunDirectory
from genrl.runs.interrupt import terminable
from genrl.studies.cells import CellOutcome, CellState, Job, is_finished, run_cell, unpack
from genrl.studies.directory import open_directory
from genrl.studies.executors import Executor, WorkerDied
from genrl.studies.matrix import Cell, Study

__all__ = ["film_study", "run_study"]


SECONDS_BETWEEN_ROUNDS = 1.0


def run_study(
    study: Study,
    executor: Executor,
    *,
    imports: Collection[str] = (),
    retry: bool = False,
    ended: Callable[[Cell, CellOutcome], None] = lambda cell, outcome: None,
) -> bool:
    """Train every cell of ``study`` that is not finished, with ``executor``; what is there is kept.

    A cell that another process trains is waited for. Ctrl-C and SIGTERM ask the workers to save; a second one does not wait for them.

    Args:
        study: the matrix, which has passed :meth:`Study.check`.
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
    with terminable():
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
    from genrl.studies.results import results_of

    results = results_of(study)
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


def _film(job: tuple[Path, tuple[str, ...]]) -> CellOutcome:
    from genrl.runs import watch

    try:
        watch(job[0], steps=500, size=320, imports=job[1])
    except Exception as error:  # no renderer, no screen: the numbers are there all the same
        return CellOutcome("failed", one_line(error))
    return CellOutcome("finished")


def _is_open(cell: Cell, tries: int) -> bool:
    try:
        return not is_finished(RunDirectory(cell.path)) and not CellState(cell.path).given_up(tries)
    except RunError:  # a broken file: the cell has failed, and what reads the results says why
        return False


def _round(cells: dict[Path, Cell], jobs: list[Job], executor: Executor, ended: Callable[[Cell, CellOutcome], None]) -> bool:
    """Run every job once; returns whether nobody interrupted."""
    with closing(executor.map(run_cell, jobs)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, WorkerDied):
                outcome = CellOutcome("failed", outcome.reason)
            if outcome.files:
                unpack(job, outcome.files)
            if outcome.status in ("failed", "refused"):
                CellState(job.path).add_failure(outcome.error or "", refused=outcome.status == "refused")
            if outcome.status != "busy":
                ended(cells[job.path], outcome)
            if outcome.status == "interrupted":
                return False
    return True
