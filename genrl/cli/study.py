"""`genrl study FILE.toml`: train what a matrix of runs lacks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import tyro

from genrl.cli._flags import parse, typed_again
from genrl.cli._words import say
from genrl.errors import RunError, command

if TYPE_CHECKING:
    from genrl.studies.executors import Executor
    from genrl.studies.matrix import Study

__all__ = ["Where", "check_executor", "executor_of", "main"]

WIDE = 150
"""Columns of a terminal that show more than the score and the comparison; the page of `genrl report` has everything."""


class Where(Protocol):
    """Flags that say where runs are trained."""

    @property
    def executor(self) -> str: ...
    @property
    def workers(self) -> int | None: ...
    @property
    def address(self) -> str | None: ...


@dataclass(frozen=True)
class StudyFlags:
    """Train every cell of a study (tasks × methods × seeds) that is not finished; stop and start it at any time."""

    file: tyro.conf.Positional[Path]
    """The study, a TOML file (demos/studies has examples), or the directory of one that has begun."""
    out: Path | None = None
    """The directory of the study; by default runs/<name of the file>."""
    executor: Literal["processes", "here", "ray"] = "processes"
    """Where the cells are trained: in worker processes, one after the other in this one, or on Ray."""
    workers: int | None = None
    """Cells at a time; by default one for each core. A running Ray cluster has its own number."""
    address: str | None = None
    """A running Ray cluster, such as `auto`; by default one is started on this machine."""
    retry: bool = False
    """Try the failed cells again."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the cells may import, where a task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, check, train, report."""
    flags = parse(StudyFlags, argv, "genrl study")
    check_executor(flags)
    study = _study(flags)
    executor = executor_of(flags, max(cell.config.threads for cell in study.cells))
    study.check(flags.imports)
    from genrl.cli._board import watched
    from genrl.studies.running import film_study, run_study

    with watched(study) as ended:
        decided = run_study(study, executor, imports=flags.imports, retry=flags.retry, ended=ended)
    if decided and study.settings.films:
        film_study(study, executor, flags.imports)
    return _report(flags, study, decided)


def _study(asked: StudyFlags) -> Study:
    from genrl.studies.directory import open_study
    from genrl.studies.matrix import Study

    if not asked.file.is_dir():
        return Study.load(asked.file, asked.out)
    if asked.out is not None:
        raise RunError(
            f"--out is {asked.out}, but {asked.file} is the directory of a study already; give its TOML file, or leave --out out"
        )
    return open_study(asked.file)


def check_executor(flags: Where) -> None:
    """Refuse flags that say where runs are trained, if they are out of range or contradict each other.

    Raises:
        RunError: fewer than one worker, or an address without Ray.
    """
    if flags.workers is not None and flags.workers < 1:
        raise RunError(f"--workers is {flags.workers}, but must be at least 1")
    if flags.address is not None and flags.executor != "ray":
        raise RunError(f"--address {flags.address} needs --executor ray, but the executor is {flags.executor}")


def executor_of(flags: Where, threads: int) -> Executor:
    """Where runs of so many threads are trained."""
    from genrl.studies import executors
    from genrl.studies.cells import PRELOAD

    if flags.executor == "ray":
        return executors.Ray(flags.address, flags.workers, threads)
    return executors.InProcess() if flags.executor == "here" else executors.Processes(flags.workers, threads, PRELOAD)


def _report(flags: StudyFlags, study: Study, decided: bool) -> int:
    from rich.console import Console

    from genrl.studies.directory import holds
    from genrl.studies.results import results_of
    from genrl.studies.summary import summarize, write_results
    from genrl.studies.tables import legend, only, rich_table, score_table

    results = results_of(study)
    document = summarize(results)
    if ours := holds(study):
        write_results(results, document, study.directory / "results")
    console = Console()
    names = ["method", "training" if document["score"] == "training_return" else "deterministic", "against"]
    names += ["runs", "first", "reaches"] if console.width >= WIDE else []
    tables = {task: only(score_table(document, task), *names) for task in study.tasks}
    for task, table in tables.items():
        shown = table if len(table.header) > 1 else only(score_table(document, task), "method", "runs")  # no episode has ended
        console.print(rich_table(shown, title=task))
    if told := legend(document["score"], *tables.values()):
        console.print(told, style="dim", markup=False)
    for failure in document["failures"]:
        where = f"{failure['task']}, {failure['method']}, seed {failure['seed']}"
        say(f"genrl: {where} failed after {failure['tries']} {'try' if failure['tries'] == 1 else 'tries'}: {failure['error']}", sys.stderr)
    again = command("study", flags.file, *typed_again(flags, "file", "retry"))  # whether failed cells are tried again is asked each time
    if not decided:
        left = sum(not item.finished for item in results.cells)
        say(f"interrupted with {left} of {len(results.cells)} cells to go; go on with: {again}", sys.stderr)
        return 130
    if document["failures"]:
        say(f"the failed cells are in no number above; try them again with: {again} --retry", sys.stderr)
    if ours:
        say(f"see it: {command('report', study.directory)}")
    else:
        say(f"another study was begun in {study.directory}, which keeps no table of this one; to have one, type: {again}", sys.stderr)
    return 1 if document["failures"] else 0
