"""The small process beside a run with ``--step-timeout``; it imports nothing but what comes with Python, since it is started as a file.

An environment holds a number in shared memory while it is in a step or a reset, and 0 otherwise. A number that stays for too long makes
the overseer send SIGUSR1 to the run, which raises an exception there. Code that never returns to Python, or catches that exception, does
not end by it: after a time of grace the overseer says what happened and kills the run. A thread of the run could not, where such code
holds the interpreter's lock.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys
import time
from pathlib import Path

__all__ = ["KINDS", "RESET", "STEP", "Marks", "open_marks", "sentence"]

STEP, RESET = 1, 2
KINDS = {STEP: "step", RESET: "reset"}
"""What is left of a mark divided by 4; the rest of it counts, so that two of them are told apart."""
GRACE = 5.0
"""Seconds from the signal to the kill."""
Marks = memoryview
"""Integers: the place of the one that took too long, of the environments in their order, and of one that has no number."""


def open_marks(path: str) -> Marks:
    """The marks that are kept in a file, shared with all who open it."""
    with Path(path).open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


def sentence(marks: Marks, place: int, seconds: float) -> str:
    """What took too long."""
    which = f"environment {place - 1}" if place < len(marks) - 1 else "the environment"
    kind = KINDS.get(marks[place] % 4, "step")
    return f"{which} took longer than the {seconds:g} s of --step-timeout for a {kind}"


def main(path: str, seconds: float, run: int) -> None:
    """Look at the marks until the run, a process, ends or closes the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends Ctrl-C to everybody; the run decides
    marks = open_marks(path)
    seen, waited, told = list(marks), [0.0] * len(marks), 0
    tick = min(max(seconds / 8, 0.02), 0.5)
    now = time.monotonic()
    while not select.select([0], [], [], tick)[0] and os.getppid() == run:
        passed, now = time.monotonic() - now, time.monotonic()
        for place in range(1, len(marks)):
            mark = marks[place]
            # At most two ticks: a run that is stopped by Ctrl-Z stops its overseer too, and a closed laptop both.
            waited[place] = waited[place] + min(passed, 2 * tick) if mark and mark == seen[place] else 0.0
            seen[place] = mark
            if waited[place] > seconds and mark != told:
                marks[0], told = place, mark
                os.kill(run, signal.SIGUSR1)
            elif waited[place] > seconds + GRACE:
                said = f"{sentence(marks, place, seconds)} and could not be interrupted; its process was ended, the last checkpoint is kept"
                sys.stderr.write(f"\ngenrl: {said}\n")
                sys.stderr.flush()
                os.kill(run, signal.SIGKILL)
    Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
