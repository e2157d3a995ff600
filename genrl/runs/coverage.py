"""Where an agent has been: a histogram over two numbers whose range need not be known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genrl.arrays import open_arrays
from genrl.errors import RunError, one_line

__all__ = ["Coverage", "axis_name", "read_histogram", "without_gaps"]

MOST = 2**20
"""Bins of a histogram that is read, at most; a run writes up to 64 along an axis."""


class Coverage:
    """Counts of visited bins, at most ``bins`` along each axis.

    A bin is a power of two wide and starts at a multiple of its width, so bins of two runs are the same ones. Where the visited range needs
    more than ``bins`` of them, neighbouring pairs are merged: memory is bounded, and no count is lost.

    Args:
        names: one or two names of the axes.
        bins: most bins along an axis.
    """

    finest = 2.0**-10

    def __init__(self, names: tuple[str, ...], bins: int = 64) -> None:
        self.names = names
        self.bins = bins
        self.width = np.full(len(names), self.finest)
        self.start = np.zeros(len(names), dtype=np.int64)
        """First bin of each axis, in widths from zero."""
        self.counts = np.zeros((0,) * len(names), dtype=np.int64)

    @property
    def visited(self) -> int:
        """Number of distinct bins."""
        return int(np.count_nonzero(self.counts))

    def add(self, points: np.ndarray) -> None:
        """Count ``points``, ``(batch, len(names))``; points that are not finite are left out."""
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) == 0:
            return
        self._fit(points.min(axis=0), points.max(axis=0))
        cells = np.floor(points / self.width).astype(np.int64) - self.start
        np.add.at(self.counts, tuple(cells.T), 1)

    def _fit(self, low: np.ndarray, high: np.ndarray) -> None:
        """Grow and merge until the bins hold everything between ``low`` and ``high``."""
        for axis in range(len(self.names)):
            while True:
                first, last = (int(np.floor(edge / self.width[axis])) for edge in (low[axis], high[axis]))
                if self.counts.size:
                    first, last = min(first, int(self.start[axis])), max(last, int(self.start[axis]) + self.counts.shape[axis] - 1)
                if last - first < self.bins:
                    break
                self._merge(axis)
            self._grow(axis, first, last)

    def _grow(self, axis: int, first: int, last: int) -> None:
        before = int(self.start[axis]) - first if self.counts.size else 0
        pad = [(0, 0)] * len(self.names)
        pad[axis] = (before, last - first + 1 - before - self.counts.shape[axis])
        self.counts = np.pad(self.counts, pad)
        self.start[axis] = first

    def _merge(self, axis: int) -> None:
        """Bins twice as wide: bin ``i`` becomes ``i // 2``."""
        if self.counts.size:
            pad = [(0, 0)] * len(self.names)
            pad[axis] = (int(self.start[axis]) % 2, (int(self.start[axis]) + self.counts.shape[axis]) % 2)
            padded = np.moveaxis(np.pad(self.counts, pad), axis, 0)
            self.counts = np.moveaxis(padded[0::2] + padded[1::2], 0, axis)
            self.start[axis] //= 2
        self.width[axis] *= 2

    def edges(self) -> list[np.ndarray]:
        """Edges of the bins of each axis, one more than bins."""
        return [(start + np.arange(size + 1)) * width for start, size, width in zip(self.start, self.counts.shape, self.width, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        import torch  # here, since a report reads histograms without it

        return {"width": self.width.tolist(), "start": self.start.tolist(), "counts": torch.from_numpy(self.counts.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.width = np.array(state["width"], dtype=float)
        self.start = np.array(state["start"], dtype=np.int64)
        self.counts = state["counts"].numpy().copy()


def axis_name(name: str) -> str:
    """What an axis is called for a person: an entry of the observations that has no name of its own is named by its index.

    Example:
        >>> axis_name("position"), axis_name("0")
        ('position', 'observation 0')
    """
    return f"observation {name}" if name.isdigit() else name


def read_histogram(path: Path) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Counts, edges and names of the axes of a run's coverage.npz.

    Raises:
        RunError: it is none, or larger than a run writes.
    """
    with open_arrays(path) as file:
        try:
            counts, names = file["counts"], [str(name) for name in file["names"].tolist()]
            edges = [file[f"edges_{axis}"] for axis in "xy"[: counts.ndim]] if counts.size else []
        except (KeyError, TypeError) as error:
            raise RunError(f"{path} has no {one_line(error)}, as a run writes it; restore it from a copy") from error
    fits = counts.ndim == len(names) and counts.ndim in (1, 2) and counts.size <= MOST and counts.dtype.kind in "iu"
    for axis, values in enumerate(edges if fits else ()):
        fits = fits and values.shape == (counts.shape[axis] + 1,) and values.dtype.kind == "f"
        fits = fits and bool(np.isfinite(values).all()) and bool((np.diff(values) > 0).all())
    if not fits:
        raise RunError(f"{path} is no histogram of a run; restore it from a copy")
    return counts, edges, names


def without_gaps(counts: np.ndarray, edges: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same histogram with bins so wide that those of a grid touch, such as the cells of a maze; of other tasks it stays as it is.

    Example:
        >>> counts, (edges,) = without_gaps(np.array([3, 0, 0, 0, 5, 0]), [np.arange(7) / 4])
        >>> counts.tolist(), edges.tolist()
        ([3, 5], [0.0, 1.0, 2.0])
    """
    edges = list(edges)
    for axis in range(counts.ndim):
        visited = np.flatnonzero(counts.any(axis=tuple(other for other in range(counts.ndim) if other != axis)))
        apart = int(np.gcd.reduce(np.diff(visited))) if len(visited) > 1 else 1
        wider = apart & -apart  # the power of two in it
        width = edges[axis][1] - edges[axis][0]
        first = round(edges[axis][0] / width)  # bins start at multiples of their width
        before, after = first % wider, -(first + counts.shape[axis]) % wider
        padded = np.pad(counts, [(before, after) if other == axis else (0, 0) for other in range(counts.ndim)])
        counts = np.add.reduceat(padded, np.arange(0, padded.shape[axis], wider), axis=axis)
        edges[axis] = (first - before + wider * np.arange(counts.shape[axis] + 1)) * width
    return counts, edges
