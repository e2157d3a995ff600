"""The live table of a study shows what changes, and reads little else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import genrl.cli._board as board_module
from genrl.cli._board import Board
from genrl.studies.cells import CellState
from genrl.studies.matrix import Cell
from genrl.studies.results import CellProgress
from tests.studies.synthetic import _write_cell, make_study


def statuses(board: Board) -> list[str]:
    board.refresh()
    return [item.status for item in board.cells.values()]


def test_a_cell_that_waits_or_failed_is_read_again_when_somebody_trains_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {0: "finished", 1: "waiting", 2: "failed", 3: "running"}
    study = make_study(tmp_path / "study", ("car",), ("none",), 4, status=lambda cell: first[cell.seed])
    board = Board(study)
    assert statuses(board) == list(first.values())
    read: list[int] = []
    progress = board_module.cell_progress

    def note(cell: Cell, tries: int) -> CellProgress:
        read.append(cell.seed)
        return progress(cell, tries)

    monkeypatch.setattr(board_module, "cell_progress", note)
    statuses(board)
    assert read == [3]  # only what is at work
    CellState(study.cells[1].path).change(runner={"host": "another machine", "pid": 1})
    CellState(study.cells[2].path).change(failures=[], runner={"host": "another machine", "pid": 1})
    assert statuses(board) == ["finished", "running", "running", "running"]
    _write_cell(study.cells[3], "finished", 0, np.random.default_rng(0), 60, False)
    assert statuses(board)[3] == "finished"
    read.clear()
    statuses(board)
    assert 0 not in read and 3 not in read


def test_a_cell_whose_files_were_sent_from_another_machine_is_seen(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", ("car",), ("none",), 2, status=lambda cell: "waiting" if cell.seed else "finished")
    board = Board(study)
    assert statuses(board) == ["finished", "waiting"]
    os.utime(study.cells[0].path.parent, ns=(0, 0))
    board.refresh()
    _write_cell(study.cells[1], "finished", 0, np.random.default_rng(0), 60, False)
    assert statuses(board) == ["finished", "finished"]
