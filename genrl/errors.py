"""The one error of a run that cannot be: what was given, what is needed, what to type."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["RunError", "check", "check_positive", "did_you_mean"]


class RunError(ValueError):
    """A run that cannot start or go on. The message is one sentence; the commands print it alone and exit with 2."""


def did_you_mean(given: str, known: Iterable[str], n: int = 2) -> str:
    """``"; did you mean 'a' or 'b'?"``, or an empty string if nothing known is close to ``given``."""
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[name] for name in difflib.get_close_matches(given.lower(), by_lower, n=n, cutoff=0.7)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


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
