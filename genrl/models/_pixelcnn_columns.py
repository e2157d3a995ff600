"""A PixelCNN at one pixel: each layer is computed from the columns that it sees, so that sampling computes each pixel once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.models._masked_convolutions import MaskedConv2d, gate

__all__ = ["GatedColumns", "ResidualColumns"]


class _Column:
    """A masked convolution at one pixel: its inputs so far, and its weights as a matrix."""

    def __init__(self, conv: Any, n: int, height: int, width: int) -> None:
        size = conv.kernel_size[0]
        self.size, self.pad = size, size // 2
        self.matrix, self.bias = conv.seen().flatten(1).T.contiguous(), conv.bias
        self.seen = conv.weight.new_zeros(n, conv.in_channels, height + self.pad, width + 2 * self.pad)

    def write(self, row: int, column: int, value: Tensor) -> None:
        self.seen[:, :, row + self.pad, column + self.pad] = value

    def at(self, row: int, column: int) -> Tensor:
        patch = self.seen[:, :, row : row + self.pad + 1, column : column + self.size].flatten(1)
        return torch.addmm(self.bias, patch, self.matrix)


def _pointwise(conv: Any) -> Callable[[Tensor], Tensor]:
    weight, bias = conv.weight[:, :, 0, 0], conv.bias
    return lambda x: F.linear(x, weight, bias)


class ResidualColumns:
    """The residual stack, one pixel at a time."""

    def __init__(self, model: Any, x: Tensor) -> None:
        n, _, height, width = x.shape
        self.x, self.first, self.place = x, _Column(model.first, n, height, width), model.place
        self.blocks = [(_pointwise(block.down), _Column(block.middle, n, height, width), _pointwise(block.up)) for block in model.blocks]
        self.head = [_pointwise(model.head[1]), _pointwise(model.head[3])]

    def start(self, row: int) -> None:
        """Nothing to do for a new row."""

    def at(self, row: int, column: int) -> Tensor:
        """The output of the network at one pixel, ``(n, output)``, from the pixels before it."""
        h = self.first.at(row, column) + self.place[:, row, column]
        for down, middle, up in self.blocks:
            middle.write(row, column, F.relu(down(F.relu(h))))
            h = h + up(F.relu(middle.at(row, column)))
        return self.head[1](F.relu(self.head[0](F.relu(h))))

    def saw(self, row: int, column: int) -> None:
        """Take in a pixel of ``x`` that has just been drawn."""
        self.first.write(row, column, 2 * self.x[:, :, row, column] - 1)


class GatedColumns:
    """The gated stacks: rows above once for each row, pixels to the left one at a time."""

    def __init__(self, model: Any, x: Tensor) -> None:
        n, _, height, width = x.shape
        self.x, self.first_above, self.place = x, model.first_above, model.place
        self.blocks: Any = model.blocks
        self.first = _Column(model.first, n, height, width)
        channels = model.first.out_channels
        self.rows = [torch.zeros_like(x), *(x.new_zeros(n, channels, height, width) for _ in self.blocks)]
        self.lefts = [_Column(block.left, n, height, width) for block in self.blocks]
        self.outs = [_pointwise(block.out) for block in self.blocks]
        self.head = [_pointwise(model.head[1]), _pointwise(model.head[3])]
        self.across: list[Tensor] = []

    def start(self, row: int) -> None:
        """What comes from above, for a whole row at once."""
        self.across = []
        v = self._row(self.first_above, self.rows[0], row)
        for block, seen in zip(self.blocks, self.rows[1:], strict=True):
            seen[:, :, row] = v
            above = self._row(block.above, seen, row)
            self.across.append(F.conv1d(above, block.across.weight[..., 0], block.across.bias))
            v = gate(above)

    def _row(self, conv: MaskedConv2d, seen: Tensor, row: int) -> Tensor:
        """One row of the convolution, ``(n, channel, width)``: of the rows down to this one."""
        pad = conv.kernel_size[0] // 2
        rows = F.pad(seen, (pad, pad, pad, 0))[:, :, row : row + pad + 1]
        return F.conv2d(rows, conv.seen(), conv.bias)[:, :, 0]

    def at(self, row: int, column: int) -> Tensor:
        """The output of the network at one pixel, ``(n, output)``, from the pixels before it."""
        h = self.first.at(row, column) + self.place[:, row, column]
        for left, across, out in zip(self.lefts, self.across, self.outs, strict=True):
            left.write(row, column, h)
            h = h + out(gate(left.at(row, column) + across[:, :, column]))
        return self.head[1](F.relu(self.head[0](F.relu(h))))

    def saw(self, row: int, column: int) -> None:
        """Take in a pixel of ``x`` that has just been drawn."""
        signal = 2 * self.x[:, :, row, column] - 1
        self.first.write(row, column, signal)
        self.rows[0][:, :, row, column] = signal
