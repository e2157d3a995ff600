"""The one error of a run that cannot be: what was given, what is needed, what to type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["RunError", "did_you_mean"]


class RunError(ValueError):
    """A run that cannot start or go on. The message is one sentence; the commands print it alone and exit with 2."""


def did_you_mean(given: str, known: Iterable[str], n: int = 2) -> str:
    """``"; did you mean 'a' or 'b'?"``, or an empty string if nothing known is close to ``given``."""
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[name] for name in difflib.get_close_matches(given.lower(), by_lower, n=n, cutoff=0.7)]
    return f"; did you mean {' or '.join(close)}?" if close else ""
