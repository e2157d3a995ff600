"""What a shell may complete a line of genrl with: commands, flags, and the names that a flag takes. Imports no torch."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from genrl.errors import flag_of
from genrl.roles import ROLES
from genrl.runs.config.base import Config

__all__ = ["completions"]


def completions(words: Sequence[str], commands: Iterable[str]) -> list[str]:
    """Words that ``words[-1]``, the one that is being typed, could become.

    Args:
        words: the line so far, without `genrl`.
        commands: the commands that there are.

    Example:
        >>> completions(["re"], ["record", "report", "watch"])
        ['record', 'report']
        >>> completions(["explore", "--reward", "r"], [])
        ['rnd']
        >>> completions(["watch", "RUN", "--st"], [])
        ['--steps', '--stochastic', '--step-timeout']
    """
    *before, word = words
    flag = before[-1].removeprefix("--") if before and before[-1].startswith("--") else ""
    if not before:
        known = list(commands)
    elif flag in ROLES:
        known = ROLES[flag].names
    elif flag == "env":
        known = _tasks()
    elif word.startswith("-"):
        known = [flag_of(name) for name in _flags(importlib.import_module(f"genrl.cli.{before[0]}"))]
    else:
        known = _kinds() if before == ["list"] else []
    return [name for name in known if name.startswith(word)]


def _flags(module: ModuleType) -> list[str]:
    """Fields of the dataclass that a command parses: a run's configuration, or one of its own."""
    classes: list[Any] = [item for _, item in inspect.getmembers(module, inspect.isclass) if dataclasses.is_dataclass(item)]
    chosen = [item for item in classes if issubclass(item, Config)] or [item for item in classes if item.__module__ == module.__name__]
    return [field.name for item in chosen[:1] for field in dataclasses.fields(item) if not field.name.endswith("_kwargs")]


def _tasks() -> list[str]:
    from genrl.cli.list import tasks

    return [name for name, _ in tasks() if "/" in name]


def _kinds() -> list[str]:
    from genrl.cli.list import KINDS

    return [*KINDS, "all"]
