"""What a study's directory says at this moment, read from the files of its runs; also while it is still running."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from genrl.errors import RunError, one_line
from genrl.reading import TABLE, open_regular, read_json, read_text
from genrl.runs.averages import trailing_mean
from genrl.runs.config.base import fits
from genrl.runs.coverage import read_histogram
from genrl.runs.directory import RunDirectory, read_csv
from genrl.studies.cells import CellState, is_finished
from genrl.studies.directory import open_study
from genrl.studies.matrix import Cell, Study

__all__ = ["CellProgress", "CellResult", "Results", "cell_progress", "finite", "read_cell", "read_study", "results_of"]

WINDOW = 20
"""Episodes of a trailing mean, as in the training return of a run."""


@dataclass(frozen=True)
class CellResult:
    """One run, as far as it has come."""

    cell: Cell
    status: str
    """`waiting`, `running`, `stopped` (to be gone on with), `failed` or `finished`."""
    error: str | None = None
    tries: int = 0
    """Number of failed tries."""
    result: dict[str, Any] = field(default_factory=dict, repr=False)
    """result.json of a finished run."""
    episodes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)), repr=False)
    """``(episodes, 2)``: environment step of the end, and return."""

    @property
    def finished(self) -> bool:
        """Whether the run has its whole result."""
        return self.status == "finished"

    @cached_property
    def smooth(self) -> np.ndarray:
        """Mean of each return and of at most 19 returns before it, ``(episodes,)``."""
        return trailing_mean(self.episodes[:, 1], WINDOW)

    @cached_property
    def visits(self) -> tuple[np.ndarray, list[np.ndarray]] | None:
        """Counts of the run's coverage.npz and the edges of each axis; a broken one is left out with a warning."""
        path = RunDirectory(self.cell.path).coverage
        if not path.is_file():
            return None
        try:
            counts, edges, _ = read_histogram(path)
        except RunError as error:
            warnings.warn(str(error), stacklevel=2)
            return None
        return (counts, edges) if counts.size else None

    def return_at(self, step: int) -> float | None:
        """Mean return of the last 20 episodes that ended by ``step``; ``None`` if there was none, or if the run ended before."""
        if step > self.result.get("steps", step):
            return None
        ended = int(np.searchsorted(self.episodes[:, 0], step, side="right"))
        return float(self.smooth[ended - 1]) if ended else None

    def time_to(self, threshold: float) -> int | None:
        """First environment step at which the mean of 20 episodes reaches ``threshold``."""
        reached = np.flatnonzero(self.smooth[WINDOW - 1 :] >= threshold)
        return int(self.episodes[reached[0] + WINDOW - 1, 0]) if len(reached) else None


@dataclass(frozen=True)
class Results:
    """All cells of a study, in its order."""

    study: Study
    cells: tuple[CellResult, ...]

    def of(self, task: str, method: str) -> list[CellResult]:
        """The cells of a task and a method, seed by seed."""
        return [item for item in self.cells if (item.cell.task, item.cell.method) == (task, method)]

    def finished(self, task: str, method: str) -> list[CellResult]:
        """Finished runs of a task and a method."""
        return [item for item in self.of(task, method) if item.finished]


def read_study(directory: str | Path) -> Results:
    """Read every cell of the study in ``directory``.

    Raises:
        RunError: there is no study, or one of another version.
    """
    return results_of(open_study(directory))


def results_of(study: Study) -> Results:
    """Every cell of a study at hand, whatever study its directory has begun since."""
    return Results(study, tuple(read_cell(cell, study.settings.tries) for cell in study.cells))


def read_cell(cell: Cell, tries: int) -> CellResult:
    """One cell from its files; one with a broken file is failed, and the file is named."""
    try:
        return _read_cell(cell, tries)
    except RunError as error:
        return CellResult(cell, "failed", str(error))


def _read_cell(cell: Cell, tries: int) -> CellResult:
    """A finished run that holds a NaN or an infinite number is failed: it must not be averaged."""
    run, state = RunDirectory(cell.path), CellState(cell.path)
    known = state.read()
    episodes = _episodes(run.episodes)
    if is_finished(run):
        result = _asked(_checked_result(run, cell), run, cell)
        if error := _not_finite(result, episodes):
            return CellResult(cell, "failed", error, len(known["failures"]), episodes=episodes)
        return CellResult(cell, "finished", None, len(known["failures"]), result, episodes)
    status = _status(run, state, tries)
    error = known["failures"][-1] if known["failures"] else None
    return CellResult(cell, status, error, len(known["failures"]), episodes=episodes)


_OF_RESULT: dict[str, Any] = {
    "steps": int,
    "seconds": float,
    "steps_per_second": float | None,
    "first_reward_step": int | None,
    "training_return": float | None,
    "evaluation_return": float | None,
    "evaluation_returns": tuple[float | None, ...],
    "coverage": Mapping | None,
    "peak_rss_mb": float,
}
_OF_OTHERS: dict[str, Any] = {"averaged_return": float | None, "best_return": float | None}
"""What the result of a run with ``--average`` has beside, and one with ``--eval-every``."""
_OF_COVERAGE: dict[str, Any] = {"names": tuple[str, ...], "bins": int, "bin_widths": tuple[float, ...]}


def _checked_result(run: RunDirectory, cell: Cell) -> dict[str, Any]:
    """result.json of a finished run, with what a study reads of it in its types.

    Raises:
        RunError: it is not what a run writes, or `genrl resume RUN --steps N` has made the run longer, or was to: it is no run like those
            beside it.
    """
    steps = read_json(run.config).get("steps")
    if steps != cell.config.steps:
        raise RunError(f"{run.path} was made to go on to {steps!r} steps, but the study asks for {cell.config.steps}; delete it")
    result = read_json(run.result)
    coverage = result.get("coverage") or {}
    others = {name: hint for name, hint in _OF_OTHERS.items() if name in result}
    for values, hints in ((result, _OF_RESULT | others), (coverage, _OF_COVERAGE if coverage else {})):
        for name, hint in hints.items():
            if name not in values or not fits(values[name], hint) or not _is_ordinary(values[name]):
                raise RunError(f"{run.result} has no {name} as a run writes it; restore it from a copy")
    if coverage and (len(coverage["names"]) != len(coverage["bin_widths"]) or not all(coverage["bin_widths"])):
        raise RunError(f"{run.result} has no coverage as a run writes it; restore it from a copy")
    return result


def _asked(result: dict[str, Any], run: RunDirectory, cell: Cell) -> dict[str, Any]:
    """The result without a best model that was chosen among other evaluations than the study asks for now: ``eval_every`` makes no other
    cell, since it changes nothing else.
    """
    if "best_return" not in result or read_json(run.config).get("eval_every") == cell.config.eval_every:
        return result
    return {name: value for name, value in result.items() if name != "best_return"}


def _is_ordinary(value: Any) -> bool:
    """Whether numbers are no larger than a float counts exactly, and words can be printed."""
    if isinstance(value, list):
        return all(map(_is_ordinary, value))
    return value.isprintable() if isinstance(value, str) else not isinstance(value, int) or abs(value) <= 2**53


def _status(run: RunDirectory, state: CellState, tries: int) -> str:
    """Status of a cell that is not finished."""
    if state.is_running():
        return "running"
    if state.given_up(tries):
        return "failed"
    return "stopped" if run.config.is_file() else "waiting"


def _not_finite(result: dict[str, Any], episodes: np.ndarray) -> str | None:
    if len(wrong := np.flatnonzero(~np.isfinite(episodes[:, 1]))):
        return f"the return of its episode {wrong[0]} is {episodes[wrong[0], 1]}"
    if any(value is None for value in result["evaluation_returns"]):  # JSON has no NaN: a run writes null
        return f"the return of its evaluation episode {result['evaluation_returns'].index(None)} is not finite"
    return None


def _episodes(path: Path) -> np.ndarray:
    """Step and return of each row that is whole."""
    if not path.is_file():
        return np.zeros((0, 2))
    text = read_text(path, TABLE)
    rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    next(rows, None)
    try:
        return np.array([(float(row[0]), float(row[2])) for row in rows if len(row) == 5], dtype=float).reshape(-1, 2)
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is not what a run writes ({one_line(error)}); restore it from a copy") from error


@dataclass(frozen=True)
class CellProgress:
    """How far a cell has come, read cheaply: the table that shows it is drawn every second."""

    cell: Cell
    status: str
    steps: int
    steps_per_second: float | None
    error: str | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds that are left at the speed so far."""
        return (self.cell.config.steps - self.steps) / self.steps_per_second if self.steps_per_second else None


def cell_progress(cell: Cell, tries: int) -> CellProgress:
    """Status, steps and speed of a cell; one with a broken file is failed."""
    try:
        return _cell_progress(cell, tries)
    except RunError as error:
        return CellProgress(cell, "failed", 0, None, str(error))


def _cell_progress(cell: Cell, tries: int) -> CellProgress:
    run, state = RunDirectory(cell.path), CellState(cell.path)
    if is_finished(run):
        result = _checked_result(run, cell)
        return CellProgress(cell, "finished", result["steps"], result["steps_per_second"])
    known = state.read()
    status = _status(run, state, tries)
    steps, seconds = _last_step(run)
    return CellProgress(cell, status, steps, steps / seconds if seconds else None, known["failures"][-1] if known["failures"] else None)


def _last_step(run: RunDirectory) -> tuple[int, float]:
    """Environment step and wall time of the newest line of episodes.csv or, where episodes are long, of progress.csv."""
    newest = (0, 0.0)
    if run.episodes.is_file() and len(lines := _tail(run.episodes)) > 0 and len(row := lines[-1].split(",")) == 5 and row[0].isdigit():
        newest = int(row[0]), float(row[4])
    rows = [row for row in read_csv(run.progress) if row.get("time/total_timesteps") and row.get("time/time_elapsed")]
    if rows:
        newest = max(newest, (int(float(rows[-1]["time/total_timesteps"])), float(rows[-1]["time/time_elapsed"])))
    return newest


def _tail(path: Path) -> list[str]:
    """The whole lines among the last 400 bytes, which hold several rows of episodes.csv."""
    with open_regular(path) as file:
        file.seek(max(0, path.stat().st_size - 400))
        text = file.read().decode(errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()[1:]


def finite(values: Sequence[float | None]) -> list[float]:
    """The numbers among ``values``."""
    return [value for value in values if value is not None and math.isfinite(value)]
