"""What `genrl tune` searches: for each name a list of choices or a range, in words of TOML, of optuna, and of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genrl.errors import RunError
from genrl.studies.settings import is_number

__all__ = ["Space", "distribution", "key_of", "nested", "points", "read_spaces", "value_of"]

Space = list[Any] | dict[str, Any]
"""Choices, or a range: ``low``, ``high`` and ``log``."""


def read_spaces(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table ``[search]``, tables in it by names such as ``learner_kwargs.gamma``.

    Raises:
        RunError: nothing is searched, or something is neither a list of choices nor a range.
    """
    found: dict[str, Any] = {}
    for name, value in table.items():
        inner = value.items() if name.endswith("_kwargs") and isinstance(value, dict) else [("", value)]
        found |= {f"{name}.{key}" if key else name: _space(f"{name}.{key}".strip("."), item) for key, item in inner}
    if not found:
        raise RunError("[search] is empty; add what is searched, such as [search.learner_kwargs] with gamma = [0.9, 0.99]")
    return found


def _space(name: str, value: Any) -> Space:
    if isinstance(value, list) and value:
        return value
    table = value if isinstance(value, dict) and set(value) <= {"low", "high", "log"} else {}
    low, high, log = table.get("low"), table.get("high"), table.get("log", False)
    if not (is_number(low) and is_number(high) and isinstance(log, bool)):
        raise RunError(f"[search] {name} is {value!r}, but must be a list of choices, or {{ low = 1e-5, high = 1e-2, log = true }}")
    if not low < high or (log and low <= 0):
        raise RunError(f"[search] {name} goes from {low} to {high}, but must rise{', from above 0' * log}")
    return dict(table)


def distribution(optuna: Any, values: Space) -> Any:
    """A space as one of optuna's."""
    if isinstance(values, list):
        return optuna.distributions.CategoricalDistribution([json.dumps(value) for value in values])  # a list is no choice of optuna's
    whole = all(isinstance(values[end], int) for end in ("low", "high"))
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def key_of(space: Space, value: Any) -> Any:
    """What optuna calls a value of the space."""
    return json.dumps(value) if isinstance(space, list) else value


def value_of(space: Space, key: Any) -> Any:
    """The inverse of :func:`key_of`."""
    return json.loads(key) if isinstance(space, list) else key


def points(values: Space) -> list[Any]:
    """Choices, or the two ends of a range."""
    return values if isinstance(values, list) else [values["low"], values["high"]]


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by names such as ``learner_kwargs.gamma`` as tables of a run.

    Example:
        >>> nested({"steps": 10, "learner_kwargs.gamma": 0.9})
        {'steps': 10, 'learner_kwargs': {'gamma': 0.9}}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        table, _, key = name.partition(".")
        if key:
            found.setdefault(table, {})[key] = value
        else:
            found[name] = value
    return found
