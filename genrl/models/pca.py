"""Principal components of images: the linear control of every encoder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from genrl.errors import require
from genrl.generators import forked_generators
from genrl.models.base import ImageModel, shape_check

__all__ = ["PCA"]


class PCA(ImageModel):
    r"""The directions in which images vary most; fitted by one pass.

    .. math:: z = W (x - \mu), \quad \hat x = \mu + W^\top z

    with the mean image μ and in the rows of W the eigenvectors of the covariance with the largest eigenvalues. They are computed by a
    randomised subspace iteration, each with its largest entry positive.

    Args:
        image_shape: channels, height, width.
        latent: number of components.

    Raises:
        ValueError: more components than pixels; when it is fitted, fewer images than components.

    References:
        Hotelling, "Analysis of a Complex of Statistical Variables into Principal Components", 1933.
        Halko, Martinsson, Tropp, "Finding Structure with Randomness", 2011, arXiv:0909.4061.

    Example:
        >>> model = PCA((1, 8, 8), latent=3)
        >>> model.count([(torch.rand(50, 1, 8, 8), None)])
        >>> model.decode(model.encode(torch.rand(5, 1, 8, 8))).shape
        torch.Size([5, 1, 8, 8])
    """

    mean: Tensor
    components: Tensor
    variance: Tensor
    total_variance: Tensor
    POWERS = 24
    """Multiplications with the covariance; each separates the eigenvalues further."""

    def __init__(self, image_shape: tuple[int, int, int], *, latent: int = 16) -> None:
        super().__init__()
        require(type(self), shape_check(image_shape))
        pixels = math.prod(image_shape)
        require(type(self), ("latent", latent, 1 <= latent <= pixels, f"from 1 to {pixels}, the number of pixels"))
        self.image_shape, self.latent = image_shape, latent
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(latent, pixels))
        self.register_buffer("variance", torch.zeros(latent))
        self.register_buffer("total_variance", torch.zeros(()))

    @torch.no_grad()
    def count(self, batches: Iterable[tuple[Tensor, Any]]) -> None:
        """Fit to images ``(batch, channel, height, width)``; labels beside them are not looked at."""
        x = torch.cat([self.checked(images).flatten(1) for images, _ in batches])
        require(type(self), ("images", len(x), len(x) > self.latent, f"more than its {self.latent} components"))
        self.mean.copy_(x.mean(0))
        x = x - self.mean
        rank = min(self.latent + 8, *x.shape)
        with forked_generators():
            torch.manual_seed(0)
            _, values, vectors = torch.svd_lowrank(x, q=rank, niter=self.POWERS)
        found = vectors[:, : self.latent].T
        signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
        self.components.copy_(found * signs)
        self.variance.copy_(values[: self.latent].square() / (len(x) - 1))
        self.total_variance.copy_(x.square().sum() / (len(x) - 1))

    def encode(self, x: Tensor) -> Tensor:
        """Components of images, ``(batch, latent)``."""
        return (self.checked(x).flatten(1) - self.mean) @ self.components.T

    def decode(self, z: Tensor) -> Tensor:
        """Images of components, in [0, 1], ``(batch, channel, height, width)``."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"PCA decodes components of shape (batch, {self.latent}), but was given {tuple(z.shape)}")
        return (self.mean + z @ self.components).clamp(0, 1).unflatten(1, self.image_shape)

    def extra_repr(self) -> str:
        share = float(self.variance.sum() / self.total_variance) if self.total_variance > 0 else 0.0
        return f"image_shape={self.image_shape}, latent={self.latent}, explained={share:.3f}"
