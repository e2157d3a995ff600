"""Checkpoints at the boundaries of rollouts, where an interrupted run stops, and the first moment of a resumed one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from genrl.runs.interrupt import Interrupt

__all__ = ["Checkpointer", "Restore"]


class Restore(BaseCallback):
    """Restores the generators when the first rollout of a resumed run starts. It must be the first of the callbacks.

    Args:
        restore: what to do, once.
    """

    def __init__(self, restore: Callable[[], None]) -> None:
        super().__init__()
        self._restore: Callable[[], None] | None = restore

    def _on_rollout_start(self) -> None:
        if self._restore is not None:
            self._restore()
            self._restore = None

    def _on_step(self) -> bool:
        return True


class Checkpointer(BaseCallback):
    """Saves at the boundaries of rollouts, where the learner has used all that it saw; there it also stops a run that is interrupted.

    Args:
        save: writes a checkpoint.
        every: seconds between two checkpoints, or ``SLOWEST`` times what the last one took, so that saving a large replay buffer takes
            less than a twentieth of the time; 0 saves at every rollout, whatever it takes.
        interrupt: tells whether the user wants to stop.
    """

    SLOWEST = 20

    def __init__(self, save: Callable[[], None], every: float, interrupt: Interrupt) -> None:
        super().__init__()
        self._save, self._every, self._interrupt = save, every, interrupt
        self._next = -np.inf
        self.started = False
        """Whether the training has started. This callback is the last, so no other one has refused the learner then."""
        self.stopped = False
        """Whether the run was interrupted; it was saved at the last boundary between rollouts."""
        self.saved_step = 0

    def _on_training_start(self) -> None:
        self.started = True

    def _on_rollout_start(self) -> None:
        before = time.perf_counter()
        self.stopped = self._interrupt.requested
        if self.stopped or before >= self._next:
            self._save()
            self.saved_step = self.num_timesteps
            after = time.perf_counter()
            self._next = after + (max(self._every, self.SLOWEST * (after - before)) if self._every else 0.0)

    def _on_step(self) -> bool:
        return not self.stopped
