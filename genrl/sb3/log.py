"""SB3's log in a run directory: a CSV file that a resumed run goes on with, and values that a checkpoint keeps."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat, filter_excluded_keys

from genrl.files import write_whole
from genrl.reading import open_appending

__all__ = ["ProgressCSV", "RunLogger", "log_the_rest"]


class ProgressCSV(KVWriter):
    """SB3's log as a CSV file with sorted columns.

    SB3's own ``CSVOutputFormat`` (common/logger.py) truncates the file when it opens it, so a resumed run would lose its log, and takes the
    order of columns from a set, so two equal runs differ.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step = -1
        text = path.read_text() if path.is_file() else ""
        header, *rows = csv.reader(io.StringIO(text)) if text else [[]]
        self.columns, self.rows = header, len(rows)
        if not self.columns and path.is_file():
            path.unlink()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.last_step = step
        row = filter_excluded_keys(key_values, key_excluded, "csv")
        if not row.keys() <= set(self.columns):
            self._widen(sorted({*self.columns, *row}))
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(row)
        with open_appending(self.path) as file:
            file.write(text.getvalue().encode())
        self.rows += 1

    def _widen(self, columns: list[str]) -> None:
        rows = list(csv.DictReader(io.StringIO(self.path.read_text()))) if self.columns else []
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, buffer.getvalue().encode())
        self.columns = columns

    def close(self) -> None:
        pass


class RunLogger(Logger):
    """SB3's logger, writing the CSV file and, if asked for, TensorBoard events; what it has not written yet can be kept and restored.

    ``learn`` of an on-policy learner counts its iterations from 1 (common/on_policy_algorithm.py); here they go on where they were.
    """

    def __init__(self, folder: Path, progress: Path, tensorboard: bool = False, trackers: Sequence[KVWriter] = ()) -> None:
        self.csv = ProgressCSV(progress)
        events = [TensorBoardOutputFormat(str(folder / "tensorboard"))] if tensorboard else []
        super().__init__(str(folder), [self.csv, *events, *trackers])
        self._iterations = self._iterations_before = 0

    def record(self, key: str, value: Any, exclude: str | tuple[str, ...] | None = None) -> None:
        if key == "time/iterations":
            self._iterations = value = value + self._iterations_before
        super().record(key, value, exclude)

    def state_dict(self) -> dict[str, Any]:
        """The pending values that are numbers or words, and the counts of iterations and of rows in the CSV file."""
        values = {key: _kept(value) for key, value in self.name_to_value.items() if isinstance(value, _LOGGED)}
        excluded = {key: list(names) for key, names in self.name_to_excluded.items()}
        counts = dict(self.name_to_count)
        return {"values": values, "counts": counts, "excluded": excluded, "iterations": self._iterations, "rows": self.csv.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse, but for the rows, which are in the file; call it before the first value is written."""
        # logger.py, dump: what is pending is in these three, and empty after each row.
        for pending in (self.name_to_value, self.name_to_count, self.name_to_excluded):
            pending.clear()
        self.name_to_value.update({key: _logged(value) for key, value in state["values"].items()})
        self.name_to_count.update(state["counts"])
        self.name_to_excluded.update({key: tuple(names) for key, names in state["excluded"].items()})
        self._iterations = self._iterations_before = state["iterations"]


_LOGGED = (bool, int, float, str, np.generic, np.ndarray, torch.Tensor)


def _kept(value: Any) -> Any:
    """A float32 prints other digits than a float, so numpy's numbers are kept with their type; a tensor is told from them by a list."""
    if isinstance(value, torch.Tensor):
        return [value]
    return torch.as_tensor(np.array(value)) if isinstance(value, np.generic | np.ndarray) else value


def _logged(value: Any) -> Any:
    if isinstance(value, list):
        return value[0]
    return value.numpy()[()] if isinstance(value, torch.Tensor) else value


def log_the_rest(learner: BaseAlgorithm) -> None:
    """Log what came after the last row: SB3 logs every fourth episode or every so many rollouts, but not at the end of ``learn``."""
    if all(writer.last_step < learner.num_timesteps for writer in learner.logger.output_formats if isinstance(writer, ProgressCSV)):
        learner.dump_logs()
