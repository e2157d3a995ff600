"""A network that never learns: the control that every pretrained encoder must be better than; and the convolutions of a small encoder."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from genrl.errors import require
from genrl.models.base import ImageModel, shape_check

__all__ = ["RandomNetwork", "small_encoder"]


def small_encoder(image_shape: tuple[int, int, int], width: int, latent: int) -> nn.Sequential:
    """Convolutions that halve the image to 4 to 7 pixels a side, and a linear layer.

    Example:
        >>> import torch
        >>> small_encoder((3, 32, 32), 32, 16)(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 16])
    """
    channels, height, width_of_image = image_shape
    sizes = [channels]
    while min(height, width_of_image) >= 8:
        height, width_of_image = height // 2, width_of_image // 2
        sizes.append(width)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(sizes[-1] * height * width_of_image, latent))


class RandomNetwork(ImageModel):
    """Features of a convolutional network with the weights that it was born with.

    They are no straw man: distances between random features follow those between images. Trained by a learner from here on, it is the
    end-to-end baseline.

    Args:
        image_shape: channels, height, width.
        latent: number of features.
        width: channels of each convolution.

    Raises:
        ValueError: a value out of its range.

    References:
        Seo et al., "State Entropy Maximization with Random Encoders", 2021, arXiv:2102.09430.

    Example:
        >>> import torch
        >>> RandomNetwork((3, 32, 32), latent=16).encode(torch.rand(5, 3, 32, 32)).shape
        torch.Size([5, 16])
    """

    def __init__(self, image_shape: tuple[int, int, int], *, latent: int = 16, width: int = 32) -> None:
        super().__init__()
        require(type(self), shape_check(image_shape))
        require(type(self), ("latent", latent, latent >= 1, "at least 1"), ("width", width, width >= 1, "at least 1"))
        self.image_shape, self.latent = image_shape, latent
        self.encoder = small_encoder(image_shape, width, latent)

    def count(self, batches: Iterable[tuple[Tensor, Any]]) -> None:
        """Nothing is learnt."""

    def encode(self, x: Tensor) -> Tensor:
        """Features of images, ``(batch, latent)``."""
        features: Tensor = self.encoder(self.checked(x))
        return features

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent={self.latent}"
