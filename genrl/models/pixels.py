"""What a model sees of grey levels in [0, 1], and how its nats are reported."""

from __future__ import annotations

import math
from typing import Literal

import torch
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
"""The likelihood of a pixel: of zeros and ones, or of levels."""


def binarize(x: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros and ones with the grey levels as probabilities, drawn anew every time: dynamic binarisation, on which a likelihood is one."""
    return torch.bernoulli(x, generator=generator)


def quantized(x: Tensor, levels: int) -> Tensor:
    """See :func:`quantize`."""
    return ((255 * x + 1e-3) * levels / 256).floor().clamp_max(levels - 1) / (levels - 1)  # a bit more: 64 / 255 * 255 is not 64


def quantize(levels: int) -> Transform:
    """The byte's highest bits: each of ``levels`` is an equal share of the 256 grey levels, given as k / (levels - 1).

    Example:
        >>> (3 * quantize(4)(torch.tensor([0, 63, 64, 191, 192, 255]) / 255, torch.Generator())).tolist()
        [0.0, 0.0, 1.0, 2.0, 3.0, 3.0]
    """

    return lambda x, generator: quantized(x, levels)


def to_levels(x: Tensor, levels: int, generator: torch.Generator) -> Tensor:
    """What a model of so many levels learns of grey levels: of two, zeros and ones drawn as by :func:`binarize`, else :func:`quantized`."""
    return binarize(x, generator) if levels == 2 else quantized(x, levels)


def level_of(x: Tensor, levels: int, model: object) -> Tensor:
    """Whole numbers below ``levels`` of equally spaced values in [0, 1], int64; ``model`` names itself in the error.

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
    """Square images of ``size`` pixels, then another transform.

    Args:
        size: of each side.
        then: see above.
        mode: ``area`` takes the mean of those that a pixel covers, ``bilinear`` goes between the four nearest.
    """

    def transform(x: Tensor, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        small = F.interpolate(x, size=(size, size), mode=mode)
        return small if then is None else then(small, generator)

    return transform


def bits_per_dim(nats: float, image_shape: tuple[int, int, int]) -> float:
    """Bits for each number of an image, of nats for the whole.

    Example:
        >>> round(bits_per_dim(28 * 28 * math.log(2), (1, 28, 28)), 6)
        1.0
    """
    return nats / math.log(2) / math.prod(image_shape)


def log_logistic_mass(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Log mass of a logistic distribution between half a level below and above ``x``, the outermost levels up to infinity.

    Args:
        x: levels, equally spaced in [-1, 1].
        mean, log_scale: of the logistic, in those units; broadcast with ``x``.
        levels: how many there are.

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
    r"""Mean of the levels of a logistic in [-1, 1], given in [0, 1].

    Of up to 32 levels it is their sum; of more, what the sum tends to, the mean of the logistic clipped at the ends: with its distribution
    function F, the integral of 1 - F, :math:`s (\ln(1 + e^{(m + 1) / s}) - \ln(1 + e^{(m - 1) / s}))`.

    Example:
        >>> mean_logistic(torch.tensor([-9.0, 0.0, 9.0]), torch.tensor(-1.0)).round(decimals=6).tolist()
        [0.0, 0.5, 1.0]
    """
    if levels <= 32:
        values = torch.linspace(-1, 1, levels, dtype=mean.dtype)
        parts = [(value + 1) / 2 * log_logistic_mass(value.expand_as(mean), mean, log_scale, levels).exp() for value in values]
        return torch.stack(parts).sum(0).clamp(0, 1)
    scale = log_scale.clamp_min(-7).exp()
    return (scale / 2 * (F.softplus((mean + 1) / scale) - F.softplus((mean - 1) / scale))).clamp(0, 1)
