"""Grey levels in [0, 1] as a model sees them, likelihoods of a pixel, and bits per dimension."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from genrl.models.capabilities import Transform

__all__ = [
    "Pixels",
    "binarize",
    "bits_per_dim",
    "level_of",
    "log_logistic_mass",
    "mean_logistic",
    "quantize",
    "quantized",
    "resize",
    "to_levels",
]

Pixels = Literal["bernoulli", "logistic"]
"""Likelihood of a pixel: ``bernoulli`` for zeros and ones, ``logistic`` for levels."""


def binarize(x: Float[Tensor, "*image"], generator: torch.Generator) -> Float[Tensor, "*image"]:
    """Zeros and ones drawn anew every time, with the grey levels as probabilities (dynamic binarisation)."""
    return torch.bernoulli(x, generator=generator)


def quantized(x: Float[Tensor, "*image"], levels: int) -> Float[Tensor, "*image"]:
    """``x`` rounded to ``levels`` levels, see :func:`quantize`."""
    return ((255 * x + 1e-3) * levels / 256).floor().clamp_max(levels - 1) / (levels - 1)  # a bit more: 64 / 255 * 255 is not 64


def quantize(levels: int) -> Transform:
    """A transform that rounds grey levels to k / (levels - 1), each an equal share of the 256 levels of a byte.

    Example:
        >>> (3 * quantize(4)(torch.tensor([0, 63, 64, 191, 192, 255]) / 255, torch.Generator())).tolist()
        [0.0, 0.0, 1.0, 2.0, 3.0, 3.0]
    """

    return lambda x, generator: quantized(x, levels)


def to_levels(x: Float[Tensor, "*image"], levels: int, generator: torch.Generator) -> Float[Tensor, "*image"]:
    """Grey levels as a model of ``levels`` levels learns them: :func:`binarize` for two levels, otherwise :func:`quantized`."""
    return binarize(x, generator) if levels == 2 else quantized(x, levels)


def level_of(x: Float[Tensor, "*image"], levels: int, model: object) -> Int[Tensor, "*image"]:
    """The number of each value's level, int64, for values that are equally spaced in [0, 1].

    Args:
        x: values k / (levels - 1).
        levels: number of levels.
        model: the model, or its name, for the error.

    Raises:
        ValueError: values between two levels.

    Example:
        >>> level_of(torch.tensor([0.0, 1 / 3, 1.0]), 4, "a model").tolist()
        [0, 1, 3]
    """
    scaled = x * (levels - 1)
    level = scaled.round()
    if ((scaled - level).abs() > 1e-3).any():
        name = model if isinstance(model, str) else type(model).__name__
        raise ValueError(f"{name} models {levels} equally spaced levels in [0, 1]; quantize or binarize the images first")
    return level.long()


def resize(size: int, then: Transform | None = None, *, mode: Literal["area", "bilinear"] = "area") -> Transform:
    """A transform that makes square images, and then applies another transform.

    Args:
        size: pixels a side.
        then: the transform that follows.
        mode: ``area`` takes the mean of the pixels that a new one covers, ``bilinear`` interpolates between the nearest four.
    """

    def transform(x: Tensor, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        small = F.interpolate(x, size=(size, size), mode=mode)
        return small if then is None else then(small, generator)

    return transform


def bits_per_dim(nats: float, image_shape: tuple[int, int, int]) -> float:
    """Nats of a whole image as bits for each of its numbers.

    Example:
        >>> round(bits_per_dim(28 * 28 * math.log(2), (1, 28, 28)), 6)
        1.0
    """
    return nats / math.log(2) / math.prod(image_shape)


def log_logistic_mass(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Log mass that a logistic distribution has between half a level below and above ``x``; the outermost levels reach to infinity.

    Args:
        x: levels, equally spaced in [-1, 1].
        mean: mean of the logistic, in the same units; it broadcasts with ``x``.
        log_scale: logarithm of the logistic's scale; it broadcasts with ``x``.
        levels: number of levels.

    References:
        Salimans et al., "PixelCNN++", 2017, arXiv:1701.05517.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 1.0])
        >>> round(float(log_logistic_mass(x, torch.tensor(0.3), torch.tensor(-1.0), 3).exp().sum()), 6)
        1.0
    """
    half, inverse = 1 / (levels - 1), torch.exp(-log_scale.clamp_min(-7))
    above, below = (x + half - mean) * inverse, (x - half - mean) * inverse
    # log(σ(a) - σ(b)) = log σ(a) + log σ(-b) + log(1 - e^(b - a)), exact also where both are near 0 or 1.
    up, down = F.logsigmoid(above), F.logsigmoid(-below)
    inside = up + down + torch.log(-torch.expm1(below - above))
    return torch.where(x < half - 1, up, torch.where(x > 1 - half, down, inside))


def mean_logistic(mean: Tensor, log_scale: Tensor, levels: int = 256) -> Tensor:
    r"""Mean level of a logistic in [-1, 1], scaled to [0, 1].

    With up to 32 levels it is the exact sum. With more it is the limit of that sum, the mean of the logistic clipped at the ends: the
    integral of 1 - F, where F is its distribution function, :math:`s (\ln(1 + e^{(m + 1) / s}) - \ln(1 + e^{(m - 1) / s}))`.

    Example:
        >>> mean_logistic(torch.tensor([-9.0, 0.0, 9.0]), torch.tensor(-1.0)).round(decimals=6).tolist()
        [0.0, 0.5, 1.0]
    """
    if levels <= 32:
        values = torch.linspace(-1, 1, levels, dtype=mean.dtype, device=mean.device)
        parts = [(value + 1) / 2 * log_logistic_mass(value.expand_as(mean), mean, log_scale, levels).exp() for value in values]
        return torch.stack(parts).sum(0).clamp(0, 1)
    scale = log_scale.clamp_min(-7).exp()
    return (scale / 2 * (F.softplus((mean + 1) / scale) - F.softplus((mean - 1) / scale))).clamp(0, 1)
