"""A study on the terminal while it trains: every cell as a sign, the running ones with speed and time left."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from genrl.cli._words import say
from genrl.errors import printable
from genrl.studies.cells import CellOutcome
from genrl.studies.matrix import Cell, Study
from genrl.studies.results import CellProgress, cell_progress

__all__ = ["Board", "watched"]

SECONDS = 1.0
SIGNS = {"finished": ("■", "green"), "running": ("▶", "cyan"), "stopped": ("‖", "yellow"), "failed": ("✗", "red"), "waiting": ("·", "dim")}


@contextmanager
def watched(study: Study, console: Console | None = None) -> Iterator[Callable[[Cell, CellOutcome], None]]:
    """Show ``study`` while the block runs: a live board on a terminal, else a line for every cell that ends."""
    console = console or Console(stderr=True)
    board = Board(study)
    if not console.is_terminal:
        yield lambda cell, outcome: say(board.line(cell, outcome), sys.stderr)
        return
    with Live(board.render(console.height), console=console, auto_refresh=False, transient=True) as live:
        done = threading.Event()

        def refresh() -> None:
            while not done.wait(SECONDS):
                live.update(board.render(console.height), refresh=True)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield lambda cell, outcome: None
        finally:
            done.set()
            thread.join()


class Board:
    """The state of every cell of a study; a finished cell is read only once.

    Args:
        study: the matrix.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.cells: dict[Path, CellProgress] = {}
        self._stamp: tuple[int | None, ...] = ()
        self._rows: dict[tuple[str, str], list[Path]] = {}
        for cell in study.cells:
            self._rows.setdefault((cell.task, cell.method), []).append(cell.path)
        self.refresh()
        self._started, self._before = time.monotonic(), self.count("finished")

    def refresh(self) -> None:
        """Read what may have changed. Whoever trains a cell that waits or has failed makes a file in one of two folders."""
        runs = self.study.cells[0].path.parent
        before, self._stamp = self._stamp, (_changed(runs), _changed(runs.parent / "state"))
        still = ("finished", "waiting", "failed") if self._stamp == before else ("finished",)
        for cell in self.study.cells:
            if cell.path not in self.cells or self.cells[cell.path].status not in still:
                self.cells[cell.path] = cell_progress(cell, self.study.settings.tries)

    def count(self, status: str) -> int:
        return sum(item.status == status for item in self.cells.values())

    def line(self, cell: Cell, outcome: CellOutcome) -> str:
        """One cell that ended, for a log."""
        self.refresh()
        now = self.cells[cell.path]
        text = outcome.error or outcome.status
        if now.status == "finished":
            text = f"{now.steps:,} steps{f', {now.steps_per_second:,.0f} steps/s' if now.steps_per_second else ''}"
        return f"[{self.count('finished')}/{len(self.cells)}] {cell.label}: {text}"

    def render(self, height: int) -> RenderableType:
        """A row for each task and method, as many as fit: those at work first."""
        self.refresh()
        rows = [(task, method) for task in self.study.tasks for method in self.study.methods]
        room = max(3, height - 6)
        if len(rows) > room:
            rows.sort(key=lambda row: -self._interest(row))
            hidden = len(rows) - room
            return Group(self._head(), self._table(rows[:room]), Text(f"and {hidden} rows with nothing at work", style="dim"))
        return Group(self._head(), self._table(rows))

    def _of(self, row: tuple[str, str]) -> list[CellProgress]:
        return [self.cells[path] for path in self._rows[row]]

    def _interest(self, row: tuple[str, str]) -> int:
        statuses = {item.status for item in self._of(row)}
        return 2 * ("running" in statuses) + ("failed" in statuses)

    def _head(self) -> Text:
        counts = [(name, self.count(name)) for name in SIGNS]
        parts = [Text.assemble((SIGNS[name][0], SIGNS[name][1]), f" {number} {name}") for name, number in counts if number]
        return Text("   ").join([Text(self.study.title, style="bold"), *parts, Text(self._time_left())])

    def _time_left(self) -> str:
        done = self.count("finished") - self._before
        left = len(self.cells) - self.count("finished") - self.count("failed")
        return f"about {_clock((time.monotonic() - self._started) / done * left)} left" if done and left else ""

    def _table(self, rows: list[tuple[str, str]]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        several = len(self.study.tasks) > 1
        for task, method in rows:
            items = self._of((task, method))
            signs = Text.assemble(*(SIGNS[item.status] for item in items))
            name = Text(f"{task} / {method}" if several else method)
            table.add_row(name, signs, Text(printable(self._words(items)), no_wrap=True, overflow="ellipsis"))
        return table

    def _words(self, items: list[CellProgress]) -> str:
        running = [item for item in items if item.status == "running"]
        words = []
        for item in running[:3]:
            share = min(1.0, item.steps / item.cell.config.steps)
            speed = f", {item.steps_per_second:,.0f} steps/s" if item.steps_per_second else ""
            left = f", {_clock(item.seconds_left)} left" if item.seconds_left else ""
            words.append(f"seed {item.cell.seed}: {share:.0%}{speed}{left}")
        failed = [item for item in items if item.status == "failed"]
        words += [f"seed {item.cell.seed} failed: {item.error}" for item in failed[:1]]
        speeds = [item.steps_per_second for item in items if item.status == "finished" and item.steps_per_second]
        return "; ".join(words) or (f"{statistics.median(speeds):,.0f} steps/s" if speeds else "")


def _changed(folder: Path) -> int | None:
    """When something was last made or removed in a folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
