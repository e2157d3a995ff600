"""``--step-timeout``: a step or reset of an environment that takes too long ends the run with a sentence, wherever the environment is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import gymnasium

from genrl.errors import RunError, StepTimeout
from genrl.runs.config.base import check_positive
from genrl.runs.environments import overseer
from genrl.runs.environments.overseer import RESET, STEP, Marks, open_marks, sentence

__all__ = ["StepLimit", "Watched", "marks_path", "share_marks", "watched"]


class _InForce(NamedTuple):
    """The limit of this process, or of the one that started it."""

    path: str
    marks: Marks
    here: set[int]
    """Places of the marks of environments in this process."""


_in_force: _InForce | None = None


class StepLimit:
    """Within it, every environment that :func:`~genrl.runs.environments.make.make_env` makes is watched, here and in processes of its own.

    Code that Python can interrupt, such as ``time.sleep``, a lock, or waiting for another process, gets a
    :class:`~genrl.errors.StepTimeout`; other code is ended with the whole process, after a sentence on stderr. A step costs two writes
    into memory.

    Args:
        seconds: what a step or reset may take; ``None`` is no limit, and then nothing is started.
        n_envs: number of environments that have a number.

    Raises:
        RunError: seconds that are not positive and finite; outside the main thread, which alone hears signals; or within another limit.
    """

    def __init__(self, seconds: float | None, n_envs: int = 1) -> None:
        check_positive(step_timeout=seconds)
        self.seconds, self.n_envs = seconds, n_envs
        self.passed = False
        """Whether a step took too long, so that no environment may be waited for."""
        self._overseer: subprocess.Popen[bytes] | None = None
        self._before: Any = None

    def __enter__(self) -> StepLimit:
        global _in_force
        if self.seconds is None:
            return self
        if threading.current_thread() is not threading.main_thread() or _in_force is not None:
            raise RunError("--step-timeout works in the main thread alone, for one run at a time; leave it out here")
        handle, path = tempfile.mkstemp(prefix="genrl-steps-")
        os.truncate(handle, 8 * (self.n_envs + 2))
        os.close(handle)
        _in_force = _InForce(path, open_marks(path), set())
        self._before = signal.signal(signal.SIGUSR1, self._raise)
        words = [sys.executable, "-I", "-S", overseer.__file__, path, str(self.seconds), str(os.getpid())]
        self._overseer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        global _in_force
        if self._overseer is None or _in_force is None:
            return
        with suppress(BrokenPipeError):
            self._overseer.communicate()
        signal.signal(signal.SIGUSR1, self._before)
        _in_force = self._overseer = None

    def _raise(self, number: int, frame: FrameType | None) -> None:
        assert _in_force is not None
        assert self.seconds is not None
        marks, place = _in_force.marks, _in_force.marks[0]
        if self.passed or not marks[place]:  # told already, or it has ended meanwhile
            return
        self.passed = True
        said = sentence(marks, place, self.seconds)
        for other in set(range(1, len(marks))) - _in_force.here:
            marks[other] = 0  # their processes will be ended, and nobody waits for them
        raise StepTimeout(said)


class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Marks the time in which its environment is in a step or a reset.

    Args:
        env: the environment.
        marks: where to.
        place: which of them is its own.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], marks: Marks, place: int) -> None:
        super().__init__(env)
        self._marks, self._place, self._count = marks, place, 0

    @property
    def spec(self) -> Any:  # type: ignore[override]  # which Gymnasium types as an attribute, and makes a property in Wrapper
        """The task's, which says nothing of how it is watched."""
        return self.env.spec

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """A step of the environment."""
        self._count += 4
        self._marks[self._place] = self._count + STEP
        try:
            return self.env.step(action)
        finally:
            self._marks[self._place] = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A reset of the environment."""
        self._count += 4
        self._marks[self._place] = self._count + RESET
        try:
            return self.env.reset(seed=seed, options=options)
        finally:
            self._marks[self._place] = 0


def watched(env: gymnasium.Env[Any, Any], number: int | None) -> gymnasium.Env[Any, Any]:
    """``env`` under the limit in force, if there is one; ``number`` is its own among those that are stepped together."""
    if _in_force is None:
        return env
    place = len(_in_force.marks) - 1 if number is None else number + 1
    _in_force.here.add(place)
    return Watched(env, _in_force.marks, place)


def marks_path() -> str | None:
    """What :func:`share_marks` needs in another process."""
    return None if _in_force is None else _in_force.path


def share_marks(path: str | None) -> None:
    """Let the limit of the process that started this one be in force here, too."""
    global _in_force
    _in_force = None if path is None else _InForce(path, open_marks(path), set())
