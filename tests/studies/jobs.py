"""What the worker processes of the tests do; a module of its own, because it is imported there."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np


def square(number: int) -> int:
    return number * number


def kill_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_on_three(number: int) -> int:
    if number == 3:
        sys.exit(7)
    return number


def threads(_: int) -> tuple[str | None, int]:
    import torch

    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


def process(_: int) -> int:
    return os.getpid()


def work(folder: Path) -> float:
    """A second of this process's own computing time, so that cores, and not a clock, are what is shared."""
    began, matrix = time.process_time(), np.random.default_rng(0).random((64, 64))
    while time.process_time() - began < 1.0:
        matrix = matrix @ matrix / 32
    return float(matrix.sum())


def save_when_asked(folder: Path) -> str:
    """Works until SIGTERM, then saves."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    (folder / f"{os.getpid()}.started").touch()
    while not asked:
        time.sleep(0.02)
    (folder / f"{os.getpid()}.saved").touch()
    return "saved"
