"""Arithmetic with latent vectors: walks between images, and the direction of a property."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from genrl.errors import require

__all__ = ["direction", "walk"]


def walk(
    start: Float[Tensor, "batch latent"], end: Float[Tensor, "batch latent"], steps: int, *, spherical: bool = False
) -> Float[Tensor, "{steps} batch latent"]:
    """Latent vectors in equal steps from ``start`` to ``end``, both included.

    Args:
        start: first latent vectors.
        end: last latent vectors.
        steps: number of vectors in a walk, at least 2.
        spherical: walk along the great circle, with a length that changes evenly, instead of along the line, whose middle between two draws
            of a Gaussian is shorter than any draw. Between opposite vectors the walk is still the line.

    References:
        White, "Sampling Generative Networks", 2016, arXiv:1609.04468.

    Example:
        >>> walk(torch.tensor([[0.0, 2.0]]), torch.tensor([[2.0, 0.0]]), 3).squeeze(1).tolist()
        [[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]
    """
    require(walk, ("steps", steps, steps >= 2, "at least 2, its ends"))
    t = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device).view(-1, 1, 1)
    if not spherical:
        return (1 - t) * start + t * end
    lengths = start.norm(dim=1, keepdim=True), end.norm(dim=1, keepdim=True)
    first, last = (x / length.clamp_min(1e-12) for x, length in zip((start, end), lengths, strict=True))
    angle = (first * last).sum(1, keepdim=True).clamp(-1, 1).acos()
    straight = (angle < 1e-4) | (angle > math.pi - 1e-3)  # no circle is the nearest between opposites
    share = torch.where(straight, t, (t * angle).sin() / angle.sin().clamp_min(1e-12))
    rest = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / angle.sin().clamp_min(1e-12))
    return (rest * first + share * last) * ((1 - t) * lengths[0] + t * lengths[1])


def direction(features: Float[Tensor, "image latent"], has: Shaped[Tensor, "*image"]) -> Float[Tensor, "latent"]:
    """The direction of a property: the mean features of images that have it, less those of images that do not.

    Added to an image's features it adds the property; subtracted it takes the property away.

    Args:
        features: features of images.
        has: whether each image has the property, boolean.

    Raises:
        ValueError: all images have it, or none; ``has`` is not boolean, or not one for each image.

    References:
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", 2016,
        arXiv:1511.06434.

    Example:
        >>> direction(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([True, True, False])).tolist()
        [2.0, -4.0]
    """
    if has.dtype != torch.bool or has.shape != features.shape[:1]:  # whole numbers would be rows
        was = f"{str(has.dtype).removeprefix('torch.')} of shape {tuple(has.shape)}"
        raise ValueError(f"direction needs has to be boolean of shape ({len(features)},), but was given {was}; give such as labels == 7")
    if has.all() or not has.any():
        raise ValueError(f"a direction needs images with the property and without, but {'all' if has.all() else 'none'} of them have it")
    return features[has].mean(0) - features[~has].mean(0)
