"""What is given of an image, and what is wanted: quadrants, noise, holes, coarse pixels. Each is a transform for ``fit``."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.models.capabilities import Transform

__all__ = ["Task", "coarse", "hole", "noisy", "quadrants"]

Task = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""Of a target ``(batch, channel, height, width)``: itself; what is given of it, ``(batch, 2 channel, height, width)``, the values that are
known (zero elsewhere) above a mask of where; and where it is wanted, zeros and ones like the target."""


def quadrants(given: int, then: Transform | None = None) -> Task:
    """``given`` quadrants of an image, the others wanted: the lower left, then the upper left, then the upper right.

    Args:
        given: 1, 2 or 3.
        then: what is done to the image before, such as :func:`genrl.models.pixels.binarize`.

    References:
        Sohn, Lee, Yan, "Learning Structured Output Representation using Deep Conditional Generative Models", 2015.

    Example:
        >>> target, given, wanted = quadrants(1)(torch.ones(5, 1, 4, 4), torch.Generator())
        >>> wanted[0, 0].int().tolist()
        [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if given not in (1, 2, 3):
        raise ValueError(f"quadrants gives 1, 2 or 3 of them, but was asked for {given}")

    def task(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        half_height, half_width = x.shape[2] // 2, x.shape[3] // 2
        wanted = torch.ones_like(x)
        wanted[:, :, half_height:, :half_width] = 0
        if given >= 2:
            wanted[:, :, :half_height, :half_width] = 0
        if given == 3:
            wanted[:, :, :half_height] = 0
        return _masked(_done(then, x, generator), wanted)

    return task


def hole(size: int) -> Task:
    """A square of ``size`` pixels is missing, at a place drawn anew every time; no larger than the image."""
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"a hole needs a size of 1 pixel or more, a whole number, but was given {size}")

    def task(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        height, width = x.shape[2:]
        if size > min(height, width):
            raise ValueError(f"a hole of {size} pixels does not fit into images of {height} × {width}; give a smaller one")
        top = torch.randint(height - size + 1, (len(x), 1), generator=generator)
        left = torch.randint(width - size + 1, (len(x), 1), generator=generator)
        rows, columns = torch.arange(height) - top, torch.arange(width) - left
        inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None]
        return _masked(x, inside[:, None].expand_as(x).to(x.dtype))

    return task


def noisy(std: float) -> Task:
    """Gaussian noise of ``std`` on every pixel."""
    if not 0 <= std < math.inf:
        raise ValueError(f"noise needs a standard deviation of at least 0, and finite, but was given {std}")

    def task(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        given = x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x, torch.cat([given, torch.ones_like(x)], dim=1), torch.ones_like(x)

    return task


def coarse(factor: int) -> Task:
    """Squares of ``factor`` pixels a side are given as their mean."""
    if not isinstance(factor, int) or factor < 1:
        raise ValueError(f"coarse pixels need a factor of 1 or more, a whole number, but were given {factor}")

    def task(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"images of {x.shape[2]} × {x.shape[3]} are no whole squares of {factor} pixels; give others, or another factor"
            )
        given = F.interpolate(F.avg_pool2d(x, factor), scale_factor=factor)
        return x, torch.cat([given, torch.ones_like(x)], dim=1), torch.ones_like(x)

    return task


def _masked(x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x, torch.cat([x * (1 - wanted), 1 - wanted], dim=1), wanted


def _done(then: Transform | None, x: Tensor, generator: torch.Generator) -> Tensor:
    made = x if then is None else then(x, generator)
    assert isinstance(made, Tensor)
    return made
