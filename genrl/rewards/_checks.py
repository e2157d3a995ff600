"""Refusals of keyword values, in one sentence: what is needed, what was given, what to type."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any


def check(owner: type, name: str, value: Any, good: bool, needed: str) -> None:
    """Raise ``ValueError`` unless ``good``."""
    if not good:
        default = inspect.signature(owner).parameters[name].default
        raise ValueError(f"{owner.__name__} needs {needed}, but was given {name}={value!r}; type {name}={default!r} for the default")


def check_positive(owner: type, **values: float | Sequence[int]) -> None:
    """Every value, and every item of a sequence, must be above zero."""
    for name, value in values.items():
        items = value if isinstance(value, Sequence) else [value]
        check(owner, name, value, all(math.isfinite(item) and item > 0 for item in items), f"{name} above 0 and finite")
