"""The tables of a study's TOML: what they may say, read and checked. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from genrl.errors import RunError, did_you_mean
from genrl.runs.config.commands import COMMANDS

__all__ = [
    "MOST",
    "SCORED_BY",
    "StudySettings",
    "Task",
    "check_keys",
    "check_not_empty",
    "is_number",
    "read_settings",
    "read_task",
    "table_of",
]

MOST = 10_000
"""Cells of a study, and seeds, at most."""
SCORED_BY = ("evaluation_return", "training_return")
"""What a run may be scored by, of a study and of a search; by default the first."""


@dataclass(frozen=True)
class StudySettings:
    """The ``[study]`` table."""

    command: str = "explore"
    """What a cell is: a `genrl explore`, `genrl imitate` or `genrl dream`; [run], tasks and methods say its flags."""
    title: str = ""
    """Heading of the report; by default the file's name."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of each task and method; in TOML their number, ``seeds = 10``, or a list."""
    tries: int = 3
    """A cell whose process died, or whose training failed, is tried this many times; one that met a NaN is not tried again."""
    score: str = SCORED_BY[0]
    """What a run is scored by: `evaluation_return` (deterministic episodes at the end) or `training_return` (its last 20 episodes)."""
    baseline: str = ""
    """The method that every other is compared with; by default the first."""
    milestones: tuple[int, ...] = ()
    """Environment steps at which the training return is reported too."""
    films: bool = False
    """Film the median run of each task and method when all have finished."""


@dataclass(frozen=True)
class Task:
    """What a study knows of a task beside its configuration."""

    name: str
    threshold: float | None = None
    """A return: solved when the mean of the last 20 episodes reaches it."""
    reference: tuple[float, float] | None = None
    """Returns that count as 0 and as 1 (a random policy's and an expert's), so that tasks can be averaged."""


def read_settings(table: Mapping[str, Any], methods: Collection[str]) -> StudySettings:
    """The ``[study]`` table as settings; ``methods`` are the names of the study's methods.

    Raises:
        RunError: an unknown key, a value of the wrong type or out of its range, or a baseline that is no method.
    """
    names = [item.name for item in dataclasses.fields(StudySettings)]
    check_keys("[study]", table, names)
    values = dict(table)
    seeds = values.get("seeds", len(StudySettings.seeds))
    if _is_int(seeds) and seeds > MOST:
        raise RunError(f"[study] seeds is {seeds}, but must be at most {MOST:,}")
    values["seeds"] = tuple(range(seeds)) if _is_int(seeds) else seeds
    for key in ("seeds", "milestones"):
        values[key] = _whole_numbers(key, values.get(key, ()))
    for key, kind in (("command", str), ("title", str), ("score", str), ("baseline", str), ("films", bool)):
        if not isinstance(values.get(key, kind()), kind):
            raise RunError(f"[study] {key} is {values[key]!r}, but must be {'true or false' if kind is bool else 'a string'}")
    if not values.get("title", "").isprintable():
        raise RunError(f"[study] title is {values['title']!r}, which can't be printed; take letters, digits and spaces")
    settings = StudySettings(**values)
    if not _is_int(settings.tries) or settings.tries < 1:
        raise RunError(f"[study] tries is {settings.tries!r}, but must be a whole number of at least 1")
    if settings.command not in COMMANDS:
        raise RunError(f"[study] command is {settings.command!r}, but must be {' or '.join(COMMANDS)}")
    if settings.score not in SCORED_BY:
        raise RunError(f"[study] score is {settings.score!r}, but must be {' or '.join(SCORED_BY)}")
    if settings.baseline and settings.baseline not in methods:
        raise RunError(f"[study] baseline is {settings.baseline!r}, but the methods are {', '.join(methods) or 'none'}")
    return settings


def read_task(name: str, table: Mapping[str, Any], fields: set[str]) -> Task:
    """What a ``[tasks.NAME]`` table says beside ``fields``, the names of a run's configuration.

    Raises:
        RunError: an unknown key, or a threshold or reference that is no return.
    """
    check_keys(f"[tasks.{name}]", table, fields | {"threshold", "reference"})
    threshold, reference = table.get("threshold"), table.get("reference")
    if threshold is not None and not is_number(threshold):
        raise RunError(f"[tasks.{name}] threshold is {threshold!r}, but must be a return, such as 0.9")
    if reference is None:
        return Task(name, threshold)
    pair = isinstance(reference, list) and len(reference) == 2 and all(map(is_number, reference))
    if not pair or reference[0] >= reference[1]:  # the other way round, the worst would have the highest score
        raise RunError(
            f"[tasks.{name}] reference is {reference!r}, but must be two different returns, the lower first: [random policy's, expert's]"
        )
    return Task(name, threshold, (float(reference[0]), float(reference[1])))


def table_of(content: Mapping[str, Any], key: str, nested: bool) -> dict[str, Any]:
    """The table ``key`` of a TOML, empty if it is missing; ``nested`` if each of its values must be a table too.

    Raises:
        RunError: it is no such table, or a name in it can't be printed.
    """
    table = content.get(key, {})
    if isinstance(table, dict) and nested and (odd := [name for name in table if not name.isprintable()]):
        raise RunError(f"{key} has the name {odd[0]!r}, which can't be printed; take letters, digits and spaces")
    if not isinstance(table, dict) or (nested and not all(isinstance(value, dict) for value in table.values())):
        raise RunError(f"{key} must be {f'tables, such as [{key}.one]' if nested else f'a table, [{key}]'}")
    return table


def check_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a key that is not among ``known``.

    Args:
        where: name of the table in the message; empty for the top of the file.
        table: the table.
        known: keys that it may have.

    Raises:
        RunError: names the key, and a similar one that is known.
    """
    known = sorted(known)
    for key in table:
        if key not in known:
            close = did_you_mean(key, known) or f"; it takes {', '.join(known)}"
            raise RunError(f"{f'{where} has' if where else 'there is'} an unknown key {key!r}{close}")


def check_not_empty(settings: StudySettings, tasks: Collection[str], methods: Collection[str]) -> None:
    """Refuse a study without tasks, methods or seeds.

    Raises:
        RunError: says which are missing, and what to add.
    """
    for what, items, example in (
        ("tasks", tasks, '[tasks.mine] with env = "genrl/SparseMountainCar-v0"'),
        ("methods", methods, '[methods.vime] with reward = "vime"'),
        ("seeds", settings.seeds, "seeds = 5 in [study]"),
    ):
        if not items:
            raise RunError(f"the matrix is empty, there are no {what}; add {example}")


def _whole_numbers(key: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(_is_int(value) and value >= 0 for value in values):
        raise RunError(
            f"[study] {key} is {values!r}, but must be a list of whole numbers of at least 0{' or their number' * (key == 'seeds')}"
        )
    if len(set(values)) < len(values):
        raise RunError(f"[study] {key} names a number twice: {values!r}")
    return tuple(values)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a TOML is a finite number; TOML's booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
