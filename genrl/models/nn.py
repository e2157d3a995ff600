"""Shared blocks: networks out of sizes, ensembles as one batched product, and the steps of a fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

__all__ = [
    "EnsembleLinear",
    "convolutions",
    "device_of",
    "dtype_of",
    "ensemble_mlp",
    "gradient_step",
    "in_full",
    "minibatches",
    "mlp",
    "recompute_batch_norm",
    "trainable",
    "transposed",
]


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, norm: type[nn.Module] | None = None) -> nn.Sequential:
    """Linear layers of ``sizes`` (the first is the input's), an activation between each two, none after the last.

    Args:
        sizes: size of the input, then of each layer's output.
        activation: module between two layers.
        norm: module before each activation, such as ``nn.BatchNorm1d``, or none.

    Example:
        >>> mlp([3, 64, 2])(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), *([norm(outputs)] if norm else []), activation()]
    return nn.Sequential(*layers[: -2 if norm else -1])


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes: the device of its parameters, or of its buffers; torch's default one for a module without any."""
    return next((item.device for item in chain(module.parameters(), module.buffers())), torch.get_default_device())


def dtype_of(module: nn.Module, otherwise: torch.dtype = torch.float32) -> torch.dtype:
    """Floating dtype of a module's parameters, or else of its buffers; ``otherwise`` for a module without any."""
    return next((item.dtype for item in chain(module.parameters(), module.buffers()) if item.is_floating_point()), otherwise)


def in_full(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` without autocast: for outputs that need more digits than bfloat16 has, such as the place of one level of 256."""
    with torch.autocast(x.device.type, enabled=False):
        out: Tensor = layer(x.to(next(layer.parameters()).dtype))
    return out


class EnsembleLinear(nn.Module):
    r"""One linear layer for each of several members, computed as one batched product: :math:`y_m = x_m W_m + b_m`.

    ``forward`` takes ``(member, batch, inputs)`` and gives ``(member, batch, outputs)``. Members are initialised apart, with weights
    :math:`\mathcal{N}(0, 2 / \mathrm{inputs})`, which keeps the size of the signal through ReLUs: untrained members differ by as much as
    their inputs vary. (With ``nn.Linear``'s bounds they differ by a hundredth of it, less than trained ones.)

    References:
        He et al., "Delving Deep into Rectifiers", 2015, arXiv:1502.01852.
    """

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs) * math.sqrt(2 / inputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)

    def extra_repr(self) -> str:
        members, inputs, outputs = self.weight.shape
        return f"members={members}, inputs={inputs}, outputs={outputs}"


def ensemble_mlp(members: int, sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """``members`` independent networks like ``mlp(sizes)``: ``(member, batch, sizes[0])`` to ``(member, batch, sizes[-1])``.

    Example:
        >>> ensemble_mlp(5, [3, 64, 2])(torch.zeros(3).expand(5, 7, 3)).shape
        torch.Size([5, 7, 2])
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [EnsembleLinear(members, inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def convolutions(inputs: int, channels: Sequence[int]) -> nn.Sequential:
    """Convolutions that each halve the image, one for each of ``channels``, with batch norm and an activation behind it.

    Example:
        >>> convolutions(3, [8, 16])(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 16, 8, 8])
    """
    layers: list[nn.Module] = []
    for before, width in pairwise([inputs, *channels]):
        layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def transposed(channels: Sequence[int], outputs: int) -> nn.Sequential:
    """The way back from :func:`convolutions`: for each of ``channels``, batch norm, an activation and a convolution that doubles the image.

    Example:
        >>> transposed([16, 8], 3)(torch.zeros(5, 16, 8, 8)).shape
        torch.Size([5, 3, 32, 32])
    """
    layers: list[nn.Module] = []
    for width, after in pairwise([*channels, outputs]):
        layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.1), nn.Conv2d(width, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
    return nn.Sequential(*layers)


def minibatches(n: int, batch_size: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of minibatches: each epoch is a new shuffle of ``range(n)``, cut into equal parts of at most ``batch_size``.

    Equal parts, because a last part of a few rows would take a step as large as the others on much noisier evidence.

    Example:
        >>> [len(index) for index in minibatches(10, 4, 1, torch.Generator())]
        [4, 3, 3]
    """
    if n == 0:
        return
    for _ in range(epochs):
        yield from torch.randperm(n, generator=generator).tensor_split(math.ceil(n / batch_size))


@torch.no_grad()
def recompute_batch_norm(module: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Replace the statistics of every batch norm in a module by their means over ``batches`` of its arguments."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta, was_training = [norm.momentum for norm in norms], module.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    module.train()
    try:
        for batch in batches:
            module(*batch)
    finally:
        module.train(was_training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of ``module`` that take a gradient."""
    return [item for item in module.parameters() if item.requires_grad]


def gradient_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of ``optimizer`` down the gradient of ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
