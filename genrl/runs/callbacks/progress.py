"""Progress on stderr: a line at the start, then a bar on a terminal, else a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from genrl.errors import printable
from genrl.runs.config.run import RunConfig

__all__ = ["SECONDS_BETWEEN_LINES", "Progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress(BaseCallback):
    """Shows steps, the task's own return, the words of the sockets and the speed.

    Args:
        config: tells the number of steps.
        words: each gives a few words, or none, for the line of progress.
        quiet: show nothing.
    """

    def __init__(self, config: RunConfig, words: Sequence[Callable[[], str]], quiet: bool) -> None:
        super().__init__()
        self._config, self._words, self._quiet = config, words, quiet
        self._terminal = sys.stderr.isatty() and not quiet
        count = MofNCompleteColumn(table_column=Column(no_wrap=True))  # on a narrow terminal the bar gets shorter, not the number
        # Without the run's name, which the line above has: beside a long one 80 columns hold neither a bar nor the time that is left.
        # What turns says that the run is alive while steps stand still, as in a dream.
        columns = (SpinnerColumn(), BarColumn(), count, TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._shown_at = 0.0

    def _on_training_start(self) -> None:
        self._started = self._shown_at = time.perf_counter()
        self._first_step = self.num_timesteps
        self._total, rollout = self._steps()
        if not self._quiet:
            why = f" (rollouts of {rollout:,} are finished)" if self._total != self._config.steps else ""
            print(printable(f"{self._config.directory}: {self._total:,} steps{why}"), file=sys.stderr, flush=True)
        if self._terminal:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, completed=self.num_timesteps, text="")

    def _steps(self) -> tuple[int, int]:
        """Steps that will have been made at the end, and those of a rollout, which SB3 always finishes."""
        rollout = self.model.n_steps * self.model.n_envs if isinstance(self.model, OnPolicyAlgorithm) else 1
        rollouts = -(-(self._config.steps - self._first_step) // rollout)
        return self._first_step + rollouts * rollout, rollout

    def _on_step(self) -> bool:
        now = time.perf_counter()
        if not self._quiet and now - self._shown_at >= (0.2 if self._terminal else SECONDS_BETWEEN_LINES):
            self._shown_at = now
            if self._terminal:
                self._bar.update(self._task, completed=self.num_timesteps, text=self._text(now))
            else:
                print(f"{self.num_timesteps:,} of {self._total:,} steps, {self._text(now)}", file=sys.stderr, flush=True)
        return True

    def _text(self, now: float) -> str:
        episodes = self.model.ep_info_buffer or ()
        parts = [f"return {np.mean([episode['r'] for episode in episodes]):.4g}"] if episodes else []
        parts += [text for words in self._words if (text := words())]
        parts.append(f"{(self.num_timesteps - self._first_step) / (now - self._started):,.0f} steps/s")
        return "  ".join(parts)

    def _on_training_end(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away, also after a crash."""
        if self._terminal:
            self._bar.stop()
