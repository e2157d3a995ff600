"""Corruptions: what is given of an image and what is wanted, in quadrants, with a hole, noise or coarse pixels. Transforms for ``fit``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.errors import at_least, require
from genrl.models.capabilities import Transform

__all__ = ["Corruption", "coarse", "hole", "named", "noisy", "quadrants"]

Corruption = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""Function from images ``(batch, channel, height, width)`` to three tensors: the target; what is given of it, ``(batch, 2 channel, height,
width)``, which is the known values (zero elsewhere) followed by a mask of where they are known; and a mask of where it is wanted."""


def quadrants(given: int, then: Transform | None = None) -> Corruption:
    """The corruption in which some quadrants of an image are given and the others are wanted.

    Args:
        given: number of quadrants that are given: 1 (the lower left), 2 (also the upper left) or 3 (also the upper right).
        then: a transform of the image that comes first, such as :func:`genrl.models.pixels.binarize`.

    References:
        Sohn, Lee, Yan, "Learning Structured Output Representation using Deep Conditional Generative Models", 2015.

    Example:
        >>> target, given, wanted = quadrants(1)(torch.ones(5, 1, 4, 4), torch.Generator())
        >>> wanted[0, 0].int().tolist()
        [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    require(quadrants, ("given", given, given in (1, 2, 3), "1, 2 or 3"))

    def corruption(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        half_height, half_width = x.shape[2] // 2, x.shape[3] // 2
        wanted = torch.ones_like(x)
        wanted[:, :, half_height:, :half_width] = 0
        if given >= 2:
            wanted[:, :, :half_height, :half_width] = 0
        if given == 3:
            wanted[:, :, :half_height] = 0
        return _masked(_done(then, x, generator), wanted)

    return corruption


def hole(size: int) -> Corruption:
    """The corruption in which a square of ``size`` pixels a side is missing, at a place drawn anew every time."""
    require(hole, ("size", size, isinstance(size, int) and size >= 1, "a whole number of pixels, at least 1"))

    def corruption(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        height, width = x.shape[2:]
        if size > min(height, width):
            raise ValueError(f"a hole of {size} pixels does not fit into images of {height} × {width}; give a smaller one")
        top = torch.randint(height - size + 1, (len(x), 1), generator=generator).to(x.device)
        left = torch.randint(width - size + 1, (len(x), 1), generator=generator).to(x.device)
        rows, columns = torch.arange(height, device=x.device) - top, torch.arange(width, device=x.device) - left
        inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None]
        return _masked(x, inside[:, None].expand_as(x).to(x.dtype))

    return corruption


def noisy(std: float) -> Corruption:
    """The corruption in which every pixel is given with Gaussian noise of standard deviation ``std``."""
    require(noisy, *at_least(0, std=std))

    def corruption(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        given = x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        return x, torch.cat([given, torch.ones_like(x)], dim=1), torch.ones_like(x)

    return corruption


def coarse(factor: int) -> Corruption:
    """The corruption in which squares of ``factor`` pixels a side are given as their mean."""
    require(coarse, ("factor", factor, isinstance(factor, int) and factor >= 1, "a whole number, at least 1"))

    def corruption(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"images of {x.shape[2]} × {x.shape[3]} are no whole squares of {factor} pixels; give others, or another factor"
            )
        given = F.interpolate(F.avg_pool2d(x, factor), scale_factor=factor)
        return x, torch.cat([given, torch.ones_like(x)], dim=1), torch.ones_like(x)

    return corruption


def named(name: str, height: int, width: int) -> Corruption:
    """The corruption that ``genrl generate --given`` and ``genrl complete --given`` call by a name, for images of that size.

    A hole is three sevenths of the shorter side, noise half of the range, and coarse pixels are 2 × 2.

    Args:
        name: quadrants-1, quadrants-2, quadrants-3, hole, noise or coarse.
        height: pixels from the top to the bottom.
        width: pixels from the left to the right.
    """
    if name.startswith("quadrants-"):
        return quadrants(int(name[-1]))
    return {"hole": hole(max(1, 3 * min(height, width) // 7)), "noise": noisy(0.5), "coarse": coarse(2)}[name]


def _masked(x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x, torch.cat([x * (1 - wanted), 1 - wanted], dim=1), wanted


def _done(then: Transform | None, x: Tensor, generator: torch.Generator) -> Tensor:
    made = x if then is None else then(x, generator)
    assert isinstance(made, Tensor)
    return made
