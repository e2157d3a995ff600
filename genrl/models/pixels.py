"""What a model sees of grey levels in [0, 1], and how its nats are reported."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.models.training import Transform

__all__ = ["binarize", "bits_per_dim", "quantize", "resize"]


def binarize(x: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros and ones with the grey levels as probabilities, drawn anew every time: dynamic binarisation, on which a likelihood is one."""
    return torch.bernoulli(x, generator=generator)


def quantize(levels: int) -> Transform:
    """The nearest of ``levels`` equally spaced grey levels, 0 and 1 among them.

    Example:
        >>> quantize(4)(torch.tensor([0.0, 0.4, 0.6, 1.0]), torch.Generator()).mul(3).tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    return lambda x, generator: (x * (levels - 1)).round() / (levels - 1)


def resize(size: int, then: Transform | None = None) -> Transform:
    """Square images of ``size`` pixels, each the mean of those it covers, then another transform."""

    def transform(x: Tensor, generator: torch.Generator) -> Tensor:
        small = F.interpolate(x, size=(size, size), mode="area")
        return small if then is None else then(small, generator)

    return transform


def bits_per_dim(nats: float, image_shape: tuple[int, int, int]) -> float:
    """Bits for each number of an image, of nats for the whole.

    Example:
        >>> round(bits_per_dim(28 * 28 * math.log(2), (1, 28, 28)), 6)
        1.0
    """
    return nats / math.log(2) / math.prod(image_shape)
