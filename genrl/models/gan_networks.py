"""The two networks of a GAN, dense or convolutional, and layers that make them steadier."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

__all__ = ["REFERENCE", "Discriminator", "Generator", "MinibatchDiscrimination", "Networks", "Norm", "VirtualBatchNorm"]

Networks = Literal["dense", "convolutional"]
Norm = Literal["batch", "virtual", "weight", "none"]

REFERENCE = 32
"""Number of examples in the reference batch of virtual batch norm."""


class VirtualBatchNorm(nn.Module):
    r"""Batch norm by a fixed reference batch and the example itself, so that no example depends on the others of its batch.

    The mean is that of the n reference examples and the example itself, :math:`\mu = (n \mu_{ref} + \mu_{own}) / (n + 1)`, and likewise the
    mean square. ``forward`` takes the reference followed by the batch, ``(n + batch, feature, …)``, and returns both normalised; the
    reference is normalised by itself.

    Args:
        features: number of features (channels).
        reference: n, number of examples in the reference batch.
        eps: added to the variance.

    References:
        Salimans et al., "Improved Techniques for Training GANs", 2016, arXiv:1606.03498, section 3.5.
    """

    def __init__(self, features: int, reference: int = REFERENCE, eps: float = 1e-5) -> None:
        super().__init__()
        self.reference, self.eps = reference, eps
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        n, kind = self.reference, x.dtype
        wide = x.to(self.weight.dtype).flatten(2) if x.ndim > 2 else x.to(self.weight.dtype).unsqueeze(2)
        own = torch.stack([wide.mean(2), wide.square().mean(2)])  # (mean and square, example, feature)
        virtual = own[:, :n].mean(1, keepdim=True)
        mean, square = torch.cat([virtual.expand(-1, n, -1), (n * virtual + own[:, n:]) / (n + 1)], dim=1)
        scale = self.weight * torch.rsqrt((square - mean.square()).clamp_min(0) + self.eps)
        normal = wide * scale.unsqueeze(2) + (self.bias - mean * scale).unsqueeze(2)
        return normal.view_as(x).to(kind)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, reference={self.reference}"


class MinibatchDiscrimination(nn.Module):
    r"""Features that tell how close the other examples of a batch are, so that a generator that always draws one image gives itself away.

    .. math:: o(x_i)_b = \sum_{j \ne i} \exp(-\| M_{i,b} - M_{j,b} \|_1), \quad M_i = f(x_i) T

    The example itself is left out, and the sum is divided by the number of others, so that batches of any size are alike.

    Args:
        inputs: number of features in f.
        kernels: number of kernels b.
        dim: size of a row M of each kernel.

    References:
        Salimans et al., "Improved Techniques for Training GANs", 2016, arXiv:1606.03498, section 3.2.
    """

    def __init__(self, inputs: int, kernels: int = 50, dim: int = 5) -> None:
        super().__init__()
        self.kernels = kernels
        self.project = nn.Linear(inputs, kernels * dim, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """The features with those of the kernels, ``(batch, feature)`` to ``(batch, feature + kernel)``."""
        m = self.project(features).to(self.project.weight.dtype).unflatten(1, (self.kernels, -1))
        distance = (m[:, None] - m[None]).abs().sum(3)  # (batch, batch, kernel)
        others = 1 - torch.eye(len(m), dtype=m.dtype, device=m.device).unsqueeze(2)
        close = (torch.exp(-distance) * others).sum(1) / max(len(m) - 1, 1)
        return torch.cat([features, close.to(features.dtype)], dim=1)


def _halvings(image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Sizes of the image while both sides can be halved to 4 pixels or more, the image's own first."""
    sizes = [image_shape[1:]]
    while min(sizes[-1]) >= 8 and not (sizes[-1][0] % 2 or sizes[-1][1] % 2):
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _widths(sizes: list[tuple[int, int]], width: int) -> list[int]:
    """Channels at each size but the image's own: doubled with every halving."""
    return [width * 2**i for i in range(len(sizes) - 1)]


def _norm_of(norm: Norm, features: int, convolutional: bool) -> nn.Module:
    if norm == "virtual":
        return VirtualBatchNorm(features)
    if norm == "batch":
        return nn.BatchNorm2d(features) if convolutional else nn.BatchNorm1d(features)
    return nn.Identity()


def _begin(module: nn.Module) -> None:
    """The paper's first weights: normal, with a standard deviation of 0.02."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """The network from latent numbers to images: transposed convolutions that double a grid, or dense layers, with a norm and ReLUs.

    Args:
        image_shape: channels, height, width.
        networks: ``convolutional`` or ``dense``.
        width: channels before the last convolution, doubled at each half of the size; dense layers have 16 times as many units.
        norm: ``batch``, ``virtual`` or ``none``.
        reference: reference batch of virtual batch norm, ``(REFERENCE, latent)``; for another norm only its size counts.
        n_classes: number of the last latent numbers that are a one-hot label, which every layer is given.
        dense: units of a dense layer before a convolutional network's smallest grid; 0 for none.
        unit: keep the weights of each pixel of a dense network at length one, so that few pixels are quite black or white.

    References:
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional GANs", 2016, arXiv:1511.06434.
    """

    reference: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        networks: Networks,
        width: int,
        norm: Norm,
        reference: Tensor,
        *,
        n_classes: int = 0,
        dense: int = 0,
        unit: bool = False,
    ) -> None:
        super().__init__()
        convolutional, inputs = networks == "convolutional", reference.shape[1]
        self.image_shape, self.virtual, self.n_classes = image_shape, norm == "virtual", n_classes
        self.register_buffer("reference", reference, persistent=self.virtual)
        norms: list[nn.Module] = []
        stages: list[nn.Module] = []
        if convolutional:
            sizes = _halvings(image_shape)
            widths = [*reversed(_widths(sizes, width)), image_shape[0]]
            if dense:
                stages, norms, inputs = [nn.Linear(inputs, dense)], [_norm_of(norm, dense, False)], dense + n_classes
            grid = nn.Linear(inputs, widths[0] * math.prod(sizes[-1]))
            stages.append(nn.Sequential(grid, nn.Unflatten(1, (widths[0], *sizes[-1]))))
            for before, after in pairwise(widths):
                norms.append(_norm_of(norm, before, True))
                stages.append(nn.ConvTranspose2d(before + n_classes, after, 4, 2, 1))
        else:
            units = 16 * width
            norms = [_norm_of(norm, units, False) for _ in range(2)]
            stages = [nn.Linear(inputs, units), nn.Linear(units + n_classes, units)]
            last = nn.Linear(units + n_classes, math.prod(image_shape))
            stages.append(nn.Sequential(_of_length_one(last) if unit else last, nn.Unflatten(1, image_shape)))
        self.stages, self.norms = nn.ModuleList(stages), nn.ModuleList(norms)
        if convolutional:
            self.apply(_begin)

    def forward(self, latent: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """Images in [0, 1]."""
        h = torch.cat([self.reference, latent]) if self.virtual else latent
        label = h[:, h.shape[1] - self.n_classes :]
        out = self.stages[0](h)
        for norm, stage in zip(self.norms, self.stages[1:], strict=True):
            out = stage(_labelled(norm(out).relu(), label))
        return (out[len(h) - len(latent) :].to(latent.dtype).tanh() + 1) / 2


def _labelled(h: Tensor, label: Tensor) -> Tensor:
    """Activations with a one-hot label as further numbers, or as constant maps."""
    if not label.shape[1]:
        return h
    label = label.to(h.dtype)
    return torch.cat([h, label if h.ndim == 2 else label[:, :, None, None].expand(-1, -1, *h.shape[2:])], dim=1)


class Discriminator(nn.Module):
    """The network from images to logits: strided convolutions, or dense layers, with a norm and leaky ReLUs.

    Args:
        image_shape: channels, height, width.
        networks: ``convolutional`` or ``dense``.
        width: channels of the first convolution, doubled at each half of the size; five dense layers have 16, 8, 4, 4 and 4 times as many
            units.
        norm: ``batch`` (but not in the first layer), ``weight`` (weight norm whose scales come from the first batch) or ``none``.
        outputs: number of logits.
        n_classes: number of classes whose label every hidden layer is given, as a one-hot vector (dense) or constant maps (convolutional).
        dense: units of a dense layer after a convolutional network's smallest grid; 0 for none.
        noise: standard deviation of Gaussian noise before each layer in training; before the first layer it is 0.6 times as large.
        kernels: number of kernels of minibatch discrimination; 0 for none.

    References:
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional GANs", 2016, arXiv:1511.06434.
        Salimans, Kingma, "Weight Normalization", 2016, arXiv:1602.07868 (its beginning from data).
    """

    begun: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        networks: Networks,
        width: int,
        norm: Norm,
        *,
        outputs: int = 1,
        n_classes: int = 0,
        dense: int = 0,
        noise: float = 0.0,
        kernels: int = 0,
    ) -> None:
        super().__init__()
        self.convolutional, self.norm, self.n_classes, self.noise = networks == "convolutional", norm, n_classes, noise
        channels, height, columns = image_shape
        stages: list[nn.Conv2d | nn.Linear] = []
        if self.convolutional:
            sizes = _halvings(image_shape)
            widths = [channels, *_widths(sizes, width)]
            stages = [nn.Conv2d(before + n_classes, after, 4, 2, 1) for before, after in pairwise(widths)]
            self.features = widths[-1] * math.prod(sizes[-1])
            if dense:
                stages.append(nn.Linear(self.features + n_classes, dense))
                self.features = dense
        else:
            widths = [channels * height * columns, 16 * width, 8 * width, 4 * width, 4 * width, 4 * width]
            stages = [nn.Linear(before + n_classes, after) for before, after in pairwise(widths)]
            self.features = widths[-1]
        if self.convolutional and norm != "weight":
            for stage in stages:
                _begin(stage)
        self.stages = nn.ModuleList(_directions(stage) if norm == "weight" else stage for stage in stages)
        self.norms = nn.ModuleList(
            _norm_of(norm if i else "none", stage.weight.shape[0], isinstance(stage, nn.Conv2d)) for i, stage in enumerate(stages)
        )
        self.minibatch = MinibatchDiscrimination(self.features, kernels) if kernels else None
        last = nn.Linear(self.features + kernels, outputs)
        self.last = weight_norm(last) if norm == "weight" else last
        self.register_buffer("begun", torch.tensor(norm != "weight"))

    def forward(
        self, x: Float[Tensor, "batch channel height width"], labels: Int[Tensor, "batch"] | None = None
    ) -> tuple[Float[Tensor, "batch logit"], Float[Tensor, "batch feature"]]:
        """Logits of images in [0, 1], and the last hidden layer."""
        last = self.hidden(x, labels)[-1].flatten(1)
        noisy = self._noisy(last, self.noise)
        logits = self.last(noisy if self.minibatch is None else self.minibatch(noisy))
        return logits.to(x.dtype), last.to(x.dtype)

    def hidden(self, x: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """Activations of every hidden layer."""
        h, label, out = self._centred(x), self._label(x, labels), []
        for i, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            h = F.leaky_relu(norm(stage(self._into(i, h, label))), 0.2)
            out.append(h)
        return out

    @torch.no_grad()
    def begin(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Set the scales of weight norm from the first batch, once."""
        if self.begun or not self.training:
            return
        with torch.autocast(x.device.type, enabled=False):
            h, label = self._centred(x), self._label(x, labels)
            for i, stage in enumerate(self.stages):
                h = F.leaky_relu(_scaled(stage, self._into(i, h, label)), 0.2)
        torch.clear_autocast_cache()  # it holds the weights as they were, in half the bits
        self.begun.fill_(True)

    def _label(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """One-hot labels, ``(batch, n_classes)``."""
        if not self.n_classes:
            return x.new_zeros(len(x), 0)
        if labels is None:
            raise ValueError("a conditional discriminator needs the images' labels; give labels")
        return F.one_hot(labels, self.n_classes).to(x.dtype)

    def _centred(self, x: Tensor) -> Tensor:
        """Images in [-1, 1]; with weight norm in [0, 1], because the direction of mostly black pixels would outweigh all others."""
        return x if self.norm == "weight" else 2 * x - 1

    def _into(self, i: int, h: Tensor, label: Tensor) -> Tensor:
        """Input of stage ``i``: flat if the stage is dense, with noise in training, followed by the label."""
        flat = h.flatten(1) if isinstance(self.stages[i], nn.Linear) else h
        return _labelled(self._noisy(flat, self.noise if i else 0.6 * self.noise), label)

    def _noisy(self, h: Tensor, std: float) -> Tensor:
        if not (self.training and std):
            return h
        like = torch.empty_like(h)  # drawn as one row of numbers, which takes an eighth of the time of randn_like in another layout
        return h + std * torch.randn(h.numel(), device=h.device).as_strided(like.shape, like.stride()).to(h.dtype)


def _directions(layer: nn.Module) -> nn.Module:
    """A layer with weight norm that learns only the directions of its weights; were the lengths learnt too, the features that the generator
    has to match would grow."""
    nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type]  # their size is how slowly the directions turn
    layer = weight_norm(layer)
    layer.parametrizations.weight.original0.requires_grad_(False)  # type: ignore[union-attr]
    return layer


def _of_length_one(layer: nn.Module) -> nn.Module:
    layer = _directions(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original0.fill_(1.0)  # type: ignore[union-attr, operator]
    return layer


def _scaled(layer: Any, h: Tensor) -> Tensor:
    """Set scale and bias of a layer with weight norm so that its output for ``h`` has mean 0 and variance 1; return that output."""
    out = layer(h)
    dims = [0, *range(2, out.ndim)]
    mean, std = out.mean(dims), out.std(dims) + 1e-5
    scale = layer.parametrizations.weight.original0
    scale.div_(std.view(-1, *[1] * (scale.ndim - 1)))
    layer.bias.copy_((layer.bias - mean) / std)
    done: Tensor = layer(h)
    return done
