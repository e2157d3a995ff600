"""Scores of how new an image is. Likelihood alone does not tell: a density of clothes gives digits more likelihood than clothes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from genrl.errors import require

__all__ = ["FeatureDistance", "auroc", "complexity", "excess_nats"]


def complexity(x: Shaped[Tensor, "batch channel height width"], levels: int = 256) -> Float[Tensor, "batch"]:
    """Length of images after a general compressor, in nats: differences of neighbours, then zlib, much like a PNG.

    Args:
        x: grey levels or colours in [0, 1].
        levels: number of levels to which they are rounded, from 2 to 256.

    Raises:
        ValueError: other levels; images that are no floats in [0, 1].

    Example:
        >>> flat, noise = complexity(torch.stack([torch.zeros(1, 28, 28), torch.rand(1, 28, 28)])).tolist()
        >>> flat < 200, noise > 4000
        (True, True)
    """
    require(complexity, ("levels", levels, levels in range(2, 257), "from 2 to 256"))
    if not x.is_floating_point():
        raise ValueError(f"complexity needs levels in [0, 1] as floats, but was given {str(x.dtype).removeprefix('torch.')}; give x / 255")
    low, high = (float(x.min()), float(x.max())) if len(x) else (0, 1)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"complexity needs levels in [0, 1], but was given some from {low:g} to {high:g}; clamp or rescale them")
    whole = (x * (levels - 1)).round().to(torch.int64)
    left = torch.cat([torch.zeros_like(whole[..., :1]), whole[..., :-1]], dim=-1)
    differences = ((whole - left) % levels).to(torch.uint8)
    sizes = [len(zlib.compress(image.numpy().tobytes(), 9)) for image in differences.cpu()]
    return torch.tensor(sizes, dtype=x.dtype, device=x.device) * 8 * math.log(2)


def excess_nats(
    log_prob: Float[Tensor, "batch"], x: Float[Tensor, "batch channel height width"], levels: int = 256
) -> Float[Tensor, "batch"]:
    r"""Novelty :math:`-\log p(x) - L(x)`, in nats: how many more nats the model needs than a general compressor, which needs L.

    Simple images are short for any model; the difference is what this model in particular does not expect.

    References:
        Serrà et al., "Input Complexity and Out-of-distribution Detection with Likelihood-based Generative Models", 2020, arXiv:1909.11480.
    """
    return -log_prob - complexity(x, levels)


class FeatureDistance:
    r"""Novelty as the Mahalanobis distance of an encoder's features from those of known images.

    Args:
        encode: function from images ``(batch, channel, height, width)`` to features ``(batch, feature)``.
        known: known images, at least 2.
        ridge: share of the mean variance that is added to the variance of every feature.

    References:
        Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", 2018, arXiv:1807.03888.

    Example:
        >>> score = FeatureDistance(lambda x: x.flatten(1), torch.randn(100, 1, 2, 2))
        >>> bool(score(torch.full((1, 1, 2, 2), 5.0)) > score(torch.zeros(1, 1, 2, 2)))
        True
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], known: Tensor, *, ridge: float = 1e-2) -> None:
        if len(known) < 2:
            raise ValueError(f"a distance from known images needs at least 2 of them, but was given {len(known)}")
        self.encode = encode
        features = self._features(known)
        self.mean = features.mean(0)
        covariance = torch.atleast_2d(torch.cov(features.T))
        spread = covariance.diagonal().mean().clamp_min(1e-30)
        self.precision = torch.linalg.inv(
            covariance + ridge * spread * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Squared distances, without a unit."""
        away = self._features(x) - self.mean
        return ((away @ self.precision) * away).sum(1)

    @torch.no_grad()
    def _features(self, x: Tensor) -> Tensor:
        return torch.cat([self.encode(part) for part in x.split(250)]).double()


def auroc(known: Float[Tensor, "known"], new: Float[Tensor, "new"]) -> float:
    """Probability that a new image has a larger score than a known one; equal scores count half, and 0.5 is as good as guessing.

    Raises:
        ValueError: no known images or no new ones; scores that are NaN.

    Example:
        >>> auroc(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
        0.875
    """
    if not len(known) or not len(new):
        raise ValueError(f"auroc needs scores of known and of new images, but was given {len(known)} and {len(new)} of them")
    if broken := int(known.isnan().sum() + new.isnan().sum()):
        raise ValueError(f"auroc needs scores that are numbers, but {broken} of {len(known) + len(new)} are NaN; look at the images")
    ordered = known.sort().values
    below = torch.searchsorted(ordered, new)
    not_above = torch.searchsorted(ordered, new, right=True)
    return float((below + not_above).double().mean() / (2 * len(known)))
