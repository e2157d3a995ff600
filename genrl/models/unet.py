"""A small U-Net, the network of a diffusion model: it sees a noisy image, the time and a class."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["UNet", "time_features"]

_GROUPS = 8
"""Number of groups of channels, each of which is normalised by itself."""

_HEAD = 32
"""Channels of one head of the attention."""


def time_features(t: Tensor, size: int) -> Tensor:
    """Cosines and sines of a time from 0 to about 1000, with periods from 2π to nearly 20,000π in equal ratios.

    References:
        Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762.

    Example:
        >>> time_features(torch.tensor([0.0]), 4).tolist()
        [[1.0, 1.0, 0.0, 0.0]]
    """
    rates = torch.exp(-math.log(10_000) * torch.arange(size // 2, dtype=t.dtype, device=t.device) / (size // 2))
    angles = t[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class _Residual(nn.Module):
    """Two 3 × 3 convolutions, between which the time and the class scale and shift each channel; it begins as the identity."""

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.norm_in, self.near = nn.GroupNorm(_GROUPS, width), nn.Conv2d(width, width, 3, padding=1)
        self.modulate = nn.Linear(known, 2 * width)
        self.norm_out, self.out = nn.GroupNorm(_GROUPS, width), _zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.modulate(known)[:, :, None, None].chunk(2, dim=1)
        h = self.norm_out(self.near(F.silu(self.norm_in(x))))
        out: Tensor = x + self.out(F.silu(torch.addcmul(h + shift, h, scale)))
        return out


class _Attention(nn.Module):
    """Attention of every place to every other, added to the input; it begins as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.ask = nn.GroupNorm(_GROUPS, width), nn.Conv2d(width, 3 * width, 1)
        self.out = _zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.ask(self.norm(x)).flatten(2).unflatten(1, (3, -1, _HEAD)).transpose(3, 4)
        query, key, value = parts.unbind(1)  # (batch, head, place, channel)
        # Of so few places, the plain products are faster on a CPU than torch's fused attention.
        weights = (query @ key.transpose(2, 3) / math.sqrt(_HEAD)).softmax(3).to(value.dtype)
        out: Tensor = x + self.out((weights @ value).transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]))
        return out


class UNet(nn.Module):
    """A U-Net: from an image to an image of the same size, through layers at half and at a quarter of it.

    Squares of 2 × 2 pixels go in and come out as channels, because thin layers at the full size would take most of the time. The widest
    layers and the attention are at a quarter of the size. The last convolution begins at zero, and so does the output.

    Args:
        channels: channels of the image.
        width: channels at half the size, a multiple of 32; there are twice as many at a quarter.
        depth: number of residual blocks at half the size, on the way down and again on the way up; at a quarter there are two, with
            attention between them.
        n_classes: number of classes; 0 for a network without labels.

    References:
        Ronneberger, Fischer, Brox, "U-Net", 2015, arXiv:1505.04597.
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239 (residual blocks, attention, the time).
        Nichol, Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, arXiv:2102.09672 (scale and shift).
        Hoogeboom, Heek, Salimans, "Simple Diffusion", 2023, arXiv:2301.11093 (squares of pixels as channels).

    Example:
        >>> net = UNet(1, width=32, n_classes=3)
        >>> x, t = torch.randn(5, 1, 8, 8), torch.full((5,), 500.0)
        >>> net(x, t, torch.tensor([0, 1, 2, 3, 3])).shape, net.middle(x, t, torch.tensor([0, 1, 2, 3, 3])).shape
        (torch.Size([5, 1, 8, 8]), torch.Size([5, 64, 2, 2]))
    """

    def __init__(self, channels: int, *, width: int = 64, depth: int = 1, n_classes: int = 0) -> None:
        super().__init__()
        known, wide = 4 * width, 2 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(2 * width, known), nn.SiLU(), nn.Linear(known, known))
        self.label = nn.Embedding(n_classes + 1, known) if n_classes else None
        self.first = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.down = nn.ModuleList(_Residual(width, known) for _ in range(depth))
        self.coarser = nn.Conv2d(width, wide, 2, stride=2)
        self.before, self.attention, self.after = _Residual(wide, known), _Attention(wide), _Residual(wide, known)
        self.finer = nn.ConvTranspose2d(wide, width, 2, stride=2)
        self.merge = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for _ in range(depth))
        self.up = nn.ModuleList(_Residual(width, known) for _ in range(depth))
        self.last = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), _zeroed(nn.Conv2d(width, 4 * channels, 3, padding=1)))

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        t: Float[Tensor, "batch"],
        label: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch channel height width"]:
        """An image for each image.

        Args:
            x: images whose height and width 4 divides.
            t: time of each image, from 0 to about 1000.
            label: class of each image, for a network with classes; ``n_classes`` stands for none.
        """
        known = self._known(t, label)
        h, skips = self._bottom(x, known)
        h = self.finer(h)
        for merge, block in zip(self.merge, self.up, strict=True):
            h = block(merge(torch.cat([h, skips.pop()], 1)), known)
        return F.pixel_shuffle(self.last(h), 2)

    def middle(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """The widest maps, at a quarter of the size."""
        return self._bottom(x, self._known(t, label))[0]

    def _known(self, t: Tensor, label: Tensor | None) -> Tensor:
        known = self.time(time_features(t, 2 * self.width))
        return F.silu(known if self.label is None else known + self.label(label))

    def _bottom(self, x: Tensor, known: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The widest maps, and the maps on the way to them."""
        h, skips = self.first(F.pixel_unshuffle(x, 2)), []
        for block in self.down:
            h = block(h, known)
            skips.append(h)
        return self.after(self.attention(self.before(self.coarser(h), known)), known), skips


def _zeroed(module: Any) -> Any:
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module
