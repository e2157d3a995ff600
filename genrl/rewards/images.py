"""Networks for rewards that look at an observation themselves: dense layers, with convolutions before them where it is an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from genrl.models.nn import mlp
from genrl.models.random_network import small_encoder
from genrl.spaces import Space, is_image

__all__ = ["AsImage", "observation_network"]

WIDTH = 32
"""Channels of each convolution."""


class AsImage(nn.Module):
    """Pixels in a row as the image that they were, channels first: ``(batch, pixels)`` to ``(batch, channel, height, width)``.

    The channels are the shortest axis, as in Stable-Baselines3.

    Example:
        >>> import torch
        >>> AsImage((8, 9, 3))(torch.zeros(5, 216)).shape
        torch.Size([5, 3, 8, 9])
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.given, self.channels_last = tuple(shape), bool(np.argmin(shape) == 2)
        channels, height, width = (shape[2], shape[0], shape[1]) if self.channels_last else shape
        self.shape = (channels, height, width)

    def forward(self, pixels: Float[Tensor, "batch pixels"]) -> Float[Tensor, "batch channel height width"]:
        """The images of a batch."""
        images = pixels.reshape(-1, *self.given)
        return images.permute(0, 3, 1, 2) if self.channels_last else images

    def extra_repr(self) -> str:
        return f"{self.given} -> {self.shape}"


def observation_network(space: Space, sizes: Sequence[int]) -> nn.Sequential:
    """Dense layers of these sizes, from a flat observation on; the first of them reads convolutions if the observation is an image."""
    if not is_image(space):
        return mlp(sizes)
    image = AsImage(space.shape or ())
    return nn.Sequential(image, *small_encoder(image.shape, WIDTH, sizes[1]), nn.ReLU(), *mlp(sizes[1:]))
