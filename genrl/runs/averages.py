"""Means of returns: exact for equal ones, and over the episodes before each."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

__all__ = ["mean", "trailing_mean"]


def mean(values: Sequence[float]) -> float:
    """The mean, by an exact sum and never outside the range of the values: that of equal values is this value, which may be a threshold.

    Example:
        >>> mean([0.95] * 20), float(np.mean([0.95] * 20))
        (0.95, 0.9499999999999998)
    """
    try:
        return min(max(fmean(values), min(values)), max(values))
    except (OverflowError, ValueError):  # a sum above 1e308, or of two infinities
        return float(np.mean(values))


def trailing_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and the ``window - 1`` values before it, fewer at the start, ``(values,)``.

    Each mean has a sum of its own: in differences of one cumulative sum, a very large value would swallow those after it.
    """
    plain = values.tolist()
    return np.array([mean(plain[max(last - window, 0) : last]) for last in range(1, len(plain) + 1)], dtype=float)
