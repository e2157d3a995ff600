"""One way to refuse: a sentence that says what was given, what is needed and what to type."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

__all__ = [
    "Check",
    "RunError",
    "StepTimeout",
    "at_least",
    "callers_line",
    "command",
    "did_you_mean",
    "extra",
    "flag_of",
    "flags",
    "one_line",
    "positive",
    "printable",
    "require",
    "task_name",
]

Check = tuple[str, object, bool, str]
"""An argument's name, its value, whether that is fine, and what it needs to be (completes "needs NAME to be …")."""


class RunError(ValueError):
    """A run that cannot start or go on. The message is one sentence; the commands print it alone and exit with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class StepTimeout(RuntimeError):
    """A step or reset of an environment took longer than ``--step-timeout``. The message is one sentence; the commands exit with 1."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``"; did you mean a or b?"``, with the two names that are most like ``given``; an empty string if none is.

    Example:
        >>> did_you_mean("pendulm", ["pendulum", "hopper"])
        '; did you mean pendulum?'
    """
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[name] for name in difflib.get_close_matches(given.lower(), by_lower, n=2, cutoff=0.7)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def require(owner: Callable[..., Any], *checks: Check) -> None:
    """Refuse the first argument of a class or function that is not fine.

    Args:
        owner: the class or function that was given the arguments; its signature knows the defaults.
        checks: for each argument its name, its value, whether that is fine, and what it needs to be.

    Raises:
        ValueError: says who needs what, what was given, and the default as one would type it.

    Example:
        >>> def walk(steps: int = 8) -> None:
        ...     require(walk, ("steps", steps, steps >= 2, "at least 2"))
        >>> walk(1)
        Traceback (most recent call last):
        ValueError: walk needs steps to be at least 2, but was given 1; type steps=8 for the default
    """
    for name, value, fine, needed in checks:
        if not fine:
            known = inspect.signature(owner).parameters.get(name)
            has_default = known is not None and known.default is not known.empty
            cure = f"; type {name}={known.default!r} for the default" if known is not None and has_default else ""
            raise ValueError(f"{owner.__name__} needs {name} to be {needed}, but was given {value!r}{cure}")


def positive(**values: float | Sequence[float]) -> Iterator[Check]:
    """Checks for :func:`require`: each value, and each item of a sequence, is above zero and finite."""
    for name, value in values.items():
        items = value if isinstance(value, Sequence) else [value]
        fine = all(isinstance(item, Real) and math.isfinite(item) and item > 0 for item in items)
        yield name, value, fine, "above 0 and finite"


def at_least(least: float, **values: float) -> Iterator[Check]:
    """Checks for :func:`require`: each value is ``least`` or more, and finite."""
    for name, value in values.items():
        fine = isinstance(value, Real) and least <= value < math.inf
        yield name, value, fine, f"at least {least}" + ("" if isinstance(value, int) else " and finite")


def one_line(error: BaseException) -> str:
    """What an error says, in one line; the name of its class if it says nothing.

    Example:
        >>> one_line(ValueError("no\\n  number")), one_line(KeyboardInterrupt())
        ('no number', 'KeyboardInterrupt')
    """
    return printable(" ".join(str(error).split())) or type(error).__name__


def printable(text: str) -> str:
    r"""``text`` with what a terminal would obey, not show, written as Python writes it: control characters and marks of direction.

    Example:
        >>> print(printable("vime\x1b[2J, 95 % ± 3"))
        vime\x1b[2J, 95 % ± 3
    """
    return "".join(one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text)


def callers_line() -> int:
    """The ``stacklevel`` of a warning that shall point at the line outside of genrl that has led to it."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "genrl":
        frame, level = frame.f_back, level + 1
    return level


def extra(module: str, name: str, whose: str) -> Any:
    """The module of an optional dependency, imported now.

    Args:
        module: its import path, which stands in genrl's code.
        name: the extra of the package that has it.
        whose: what can't do without it, for the refusal.

    Raises:
        RunError: it is not installed.

    Example:
        >>> extra("no_such_module", "tune", "genrl tune")
        Traceback (most recent call last):
        genrl.errors.RunError: genrl tune needs no_such_module, which is not installed; type: pip install 'genrl-toolkit[tune]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RunError(f"{whose} needs {module}, which is not installed; type: pip install 'genrl-toolkit[{name}]'") from error


def task_name(env: Any) -> str:
    """Name of an environment's task: its id, or its class where it was made without one."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def command(*words: object) -> str:
    """A command of genrl as it can be pasted into a shell.

    Example:
        >>> command("resume", "my runs/first", "--steps", 2000)
        "genrl resume 'my runs/first' --steps 2000"
        >>> command("watch", Path("-odd"))  # a path is no flag
        'genrl watch ./-odd'
    """
    typed = (f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words)
    return " ".join(map(_quoted, ["genrl", *typed]))


def flag_of(name: str, part: str = "") -> str:
    """The flag of a field of a configuration, or of a keyword of a part or of the task.

    Example:
        >>> flag_of("n_envs"), flag_of("learning_rate", "learner")
        ('--n-envs', '--learner.learning-rate')
    """
    return f"--{f'{part}.' if part else ''}{name.replace('_', '-')}"


def flags(**given: Any) -> list[object]:
    """Words of a command for flags and what they are given; a flag that is given nothing is left out.

    Example:
        >>> command("study", "quick.toml", *flags(out=None, workers=2, data_root="a b", imports=("mine", "yours"), retry=True))
        "genrl study quick.toml --workers 2 --data-root 'a b' --imports mine yours --retry"
    """
    words: list[object] = []
    for name, value in given.items():
        if value not in (None, False, ()):
            values = () if value is True else value if isinstance(value, tuple) else (value,)
            words += [flag_of(name), *values]
    return words


def _quoted(word: str) -> str:
    """A word as a shell reads it back; with control characters in the form that bash and zsh know, so that they are never printed."""
    if word.isprintable():
        return shlex.quote(word)
    coded = ["".join(f"\\x{byte:02x}" for byte in os.fsencode(one)) for one in word]
    known = "".join(one if one.isprintable() and one not in "\\'" else code for one, code in zip(word, coded, strict=True))
    return f"$'{known}'"
