"""Convolutions and blocks of a PixelCNN, which see only the pixels before their own in reading order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Gated", "MaskedConv2d", "Residual", "gate"]


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees only pixels before its own in reading order (mask A), or its own as well (mask B).

    With ``rows`` it sees whole rows: those above (mask A), or its own as well (mask B). The mask is applied at every call.

    Args:
        inputs: channels that go in.
        outputs: channels that come out.
        size: height and width of the kernel, odd.
        own: whether the pixel (or row) sees its own features: mask B.
        rows: whether it sees whole rows.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, *, own: bool, rows: bool = False) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)
        middle = size // 2
        self.register_buffer("mask", torch.zeros(size, size), persistent=False)
        self.mask[:middle] = 1
        self.mask[middle, : size if rows and own else 0 if rows else middle + own] = 1

    def forward(self, x: Tensor) -> Tensor:
        pad = self.kernel_size[0] // 2
        return F.conv2d(F.pad(x, (pad, pad, pad, 0)), self.seen(), self.bias)

    def seen(self) -> Tensor:
        """The masked weights without the rows below the pixel, which are all zero, ``(outputs, inputs, size // 2 + 1, size)``."""
        return (self.weight * self.mask)[:, :, : self.kernel_size[0] // 2 + 1]


class Residual(nn.Module):
    """Convolutions of 1 × 1, masked 3 × 3 and 1 × 1 pixels, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 2, 1), nn.Conv2d(width // 2, width, 1)
        self.middle = MaskedConv2d(width // 2, width // 2, 3, own=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.up(F.relu(self.middle(F.relu(self.down(F.relu(x))))))
        return out


def gate(x: Tensor) -> Tensor:
    """The gated activation tanh(a) σ(b) of both halves of the channels, ``(batch, 2 * width, …)`` to ``(batch, width, …)``."""
    first, second = x.chunk(2, dim=1)
    return first.tanh() * second.sigmoid()


class Gated(nn.Module):
    """A stack that sees rows above and a stack that sees pixels to the left, so that there is no blind spot."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.above = MaskedConv2d(width, 2 * width, 3, own=True, rows=True)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.left = MaskedConv2d(width, 2 * width, 3, own=True)
        self.left.mask[:1] = 0  # the row itself only: what is above comes from the other stack
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        above = self.above(v)
        return gate(above), h + self.out(gate(self.left(h) + self.across(above)))
