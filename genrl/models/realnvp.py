"""RealNVP: images as an invertible function of Gaussian noise."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, evaluating, samples_check, shape_check
from genrl.models.nn import in_full
from genrl.models.pixels import level_of, quantized

__all__ = ["AffineCoupling", "Dequantization", "RealNVP", "dequantize_to_logits", "squeeze", "unsqueeze"]

Dequantization = Literal["uniform", "variational"]


def squeeze(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch four_channel half_height half_width"]:
    """Each 2 × 2 square becomes four channels: ``(batch, channel, height, width)`` to ``(batch, 4 channel, height / 2, width / 2)``."""
    return F.pixel_unshuffle(x, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of :func:`squeeze`."""
    return F.pixel_shuffle(x, 2)


def _network(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """Convolutions of 3 × 3, 1 × 1 and 3 × 3 pixels with batch norm; the last layer begins at zero."""
    last = nn.Conv2d(width, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    layers: list[nn.Module] = []
    for before, size in ((inputs, 3), (width, 1)):
        layers += [nn.Conv2d(before, width, size, padding=size // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, last)


class AffineCoupling(nn.Module):
    r"""An invertible layer that keeps the part of x where the mask is one, and scales and shifts the rest by functions of that part.

    .. math:: y = b \odot x + (1 - b) \odot (x \odot e^{s(b \odot x)} + t(b \odot x))

    Args:
        mask: b, zeros and ones, ``(channel, height, width)``.
        width: channels of the network that computes s and t.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, width: int = 32) -> None:
        super().__init__()
        channels = mask.shape[0]
        self.register_buffer("mask", mask.float(), persistent=False)
        self.net = _network(2 * channels, 2 * channels, width)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, computed in the network's precision and handed on in that of ``kept``.

        Shifts that are rounded to bfloat16 cost a fitted flow of digits 130 nats an image.
        """
        own = self.scale.dtype
        hidden = self.net[:-1](torch.cat([kept.to(own), self.mask.to(own).expand_as(kept)], dim=1))
        s, t = in_full(self.net[-1], hidden).chunk(2, dim=1)
        changed = 1 - self.mask.to(own)
        return (changed * self.scale * torch.tanh(s)).to(kept.dtype), (changed * t).to(kept.dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y, and the log determinant of the Jacobian, ``(batch,)``."""
        s, t = self._scale_and_shift(x * self.mask)
        return x * torch.exp(s) + t, s.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """x, given y."""
        s, t = self._scale_and_shift(y * self.mask)
        return (y - t) * torch.exp(-s)


def _checkerboard(shape: tuple[int, int, int], flip: bool) -> Tensor:
    channels, height, width = shape
    board = (torch.arange(height)[:, None] + torch.arange(width)[None] + flip) % 2
    return board.expand(channels, height, width)


def _by_channel(shape: tuple[int, int, int], flip: bool) -> Tensor:
    first = (torch.arange(shape[0]) < shape[0] // 2) != flip
    return first.view(-1, 1, 1).expand(shape)


class _Scale(nn.Module):
    """Three couplings on a checkerboard and, unless it is the last, three by channel after a squeeze; half the channels go on."""

    def __init__(self, shape: tuple[int, int, int], width: int, last: bool) -> None:
        super().__init__()
        self.last = last
        self.checkerboard = nn.ModuleList(AffineCoupling(_checkerboard(shape, bool(i % 2)), width) for i in range(4 if last else 3))
        channels, height, columns = shape
        inner = (4 * channels, height // 2, columns // 2)
        self.channels = nn.ModuleList([] if last else (AffineCoupling(_by_channel(inner, bool(i % 2)), 2 * width) for i in range(3)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """What goes on (all, in the last scale), what is noise now, and the log volume."""
        volume = x.new_zeros(len(x))
        for coupling in self.checkerboard:
            x, more = coupling(x)
            volume = volume + more
        if self.last:
            return x, None, volume
        x = squeeze(x)
        for coupling in self.channels:
            x, more = coupling(x)
            volume = volume + more
        on, done = x.chunk(2, dim=1)
        return on, done, volume

    def inverse(self, on: Tensor, done: Tensor | None) -> Tensor:
        """What went in."""
        x = on
        if done is not None:
            x = torch.cat([on, done], dim=1)
            for coupling in reversed(self.channels):
                x = coupling.inverse(x)  # type: ignore[operator]
            x = unsqueeze(x)
        for coupling in reversed(self.checkerboard):
            x = coupling.inverse(x)  # type: ignore[operator]
        return x


class _Noise(nn.Module):
    """Noise within a level: the sigmoid of a Gaussian whose mean and width depend on the neighbouring pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, 2 * channels, 3, padding=1)
        self.net = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Noise in (0, 1) like ``x``, and its log density, ``(batch,)``."""
        mean, log_std = self.net(2 * x - 1).to(x.dtype).chunk(2, dim=1)
        normal = torch.randn_like(x)
        v = mean + log_std.exp() * normal
        log_normal = -0.5 * normal.square() - 0.5 * math.log(2 * math.pi) - log_std
        return v.sigmoid(), (log_normal - F.logsigmoid(v) - F.logsigmoid(-v)).flatten(1).sum(1)


class RealNVP(ImageModel):
    r"""A normalising flow of images: couplings on checkerboards and channels, at several scales.

    Grey levels become continuous by noise u within a level, and are stretched to logits. The reported number is therefore a lower bound of
    the log likelihood of the levels: :math:`\log p(x) \ge \mathbb{E}_{q(u \mid x)}[\log p(x + u) - \log q(u \mid x)]`.

    The networks of the couplings are convolutions of 3 × 3, 1 × 1 and 3 × 3 pixels, as in Glow; the paper's residual networks learn less in
    the same time on a processor. Batch norm inside them makes densities and inverses exact in evaluation mode, in which
    :func:`genrl.models.training.fit` leaves a model.

    ``encode`` returns the noise that an image is made of, with each pixel at the middle of its level, and ``decode`` inverts it. Both, and
    ``log_prob`` and ``sample``, are always computed in evaluation mode; ``forward``, ``inverse`` and the loss depend on the mode.

    Args:
        image_shape: channels, height, width; both sizes divisible by two for each scale but the last.
        levels: number of levels of grey or colour.
        scales: number of scales; after each but the last, half of the numbers are finished and the image has half the size.
        width: channels of the first scale's networks; those of each following scale have twice as many.
        dequantization: distribution q of the noise within a level: ``uniform``, as in the paper, or ``variational``, the sigmoid of a
            Gaussian whose mean and width a small network learns, so that the flow need not turn flat areas into noise.

    Raises:
        ValueError: a value out of its range; when it is called, an image of another shape or with other levels.

    References:
        Dinh, Sohl-Dickstein, Bengio, "Density Estimation using Real NVP", 2017, arXiv:1605.08803.
        Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018, arXiv:1807.03039 (the networks).
        Ho et al., "Flow++: Improving Flow-Based Generative Models with Variational Dequantization", 2019, arXiv:1902.00275.

    Example:
        >>> flow = RealNVP((1, 8, 8), scales=2, width=4).eval()
        >>> x = torch.rand(3, 1, 8, 8).round()
        >>> flow.log_prob(x).shape, flow.sample(2).shape, flow.encode(x).shape, torch.equal(flow.decode(flow.encode(x)), x)
        (torch.Size([3]), torch.Size([2, 1, 8, 8]), torch.Size([3, 64]), True)
    """

    likelihood = "lower bound"
    exact_inverse = True
    ALPHA = 0.05
    """Distance that probabilities keep from 0 and 1, as in the paper."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        levels: int = 256,
        scales: int = 2,
        width: int = 32,
        dequantization: Dequantization = "uniform",
    ) -> None:
        super().__init__()
        require(type(self), shape_check(image_shape))
        divisor = 2 ** (scales - 1)
        divides = not (image_shape[1] % divisor or image_shape[2] % divisor)
        require(
            type(self),
            ("levels", levels, levels >= 2, "at least 2"),
            ("scales", scales, scales >= 1, "at least 1"),
            ("image_shape", image_shape, divides, f"of sizes divisible by {divisor}"),
            ("width", width, width >= 1, "at least 1"),
            ("dequantization", dequantization, dequantization in get_args(Dequantization), "uniform or variational"),
        )
        self.image_shape, self.levels = image_shape, levels
        shape, parts = image_shape, []
        for i in range(scales):
            parts.append(_Scale(shape, width * 2**i, last=i == scales - 1))
            shape = (2 * shape[0], shape[1] // 2, shape[2] // 2)
        self.scales = nn.ModuleList(parts)
        self.noise = _Noise(image_shape[0], width) if dequantization == "variational" else None

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Grey levels rounded to the model's; it adds the noise within a level itself."""
        return quantized(x, self.levels)

    def forward(self, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """Noise of the logits ``y``, a part for each scale, and the log determinant of the Jacobian."""
        dtype, y = y.dtype, self._fine(y)
        volume, noise = y.new_zeros(len(y)), []
        for scale in self.scales:
            y, done, more = scale(y)
            volume = volume + more
            noise.append(y if done is None else done)
        return [part.to(dtype) for part in noise], volume.to(dtype)

    def inverse(self, noise: list[Tensor]) -> Tensor:
        """Logits of noise, the inverse of ``forward``."""
        dtype, fine = noise[-1].dtype, [self._fine(part) for part in noise]
        y = fine[-1]
        for scale, done in zip(reversed(self.scales), [None, *reversed(fine[:-1])], strict=True):
            y = scale.inverse(y, done)  # type: ignore[operator]
        return y.to(dtype)

    def _fine(self, x: Tensor) -> Tensor:
        """``x`` in doubles in evaluation mode: couplings then add no rounding of their own, and their networks cost the same."""
        return x if self.training else x.double()

    def log_prob(self, x: Float[Tensor, "batch channel height width"], samples: int = 1) -> Float[Tensor, "batch"]:
        """The importance-weighted bound of log p(x) with ``samples`` draws of the noise, in nats.

        References:
            Hoogeboom, Cohen, Tomczak, "Learning Discrete Distributions by Dequantization", 2020, arXiv:2001.11235 (several draws).
        """
        require(type(self), samples_check(samples))
        with evaluating(self):
            return torch.stack([self._weight(x) for _ in range(samples)]).logsumexp(0) - math.log(samples)

    def _weight(self, x: Tensor) -> Tensor:
        """log p(x + u) - log q(u | x) for one draw of the noise u, ``(batch,)``."""
        level_of(self.checked(x), self.levels, self)
        u, log_q = self.noise(x) if self.noise is not None else (torch.rand_like(x), 0.0)
        y, volume = dequantize_to_logits(x, u, self.levels, self.ALPHA)
        return self.log_density(y) + volume - log_q

    def log_density(self, y: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch"]:
        """Exact log density of logits, in nats."""
        noise, volume = self(y)
        return volume - 0.5 * sum(z.square().flatten(1).sum(1) + math.log(2 * math.pi) * z[0].numel() for z in noise)

    def loss(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, ""]:
        """Minus the mean of the bound, in nats per image."""
        return -self._weight(x).mean()

    def bound_samples(self) -> int:
        """10: the noise within a level is no latent vector of many numbers."""
        return 10

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """The noise of images, one scale after the other; each pixel is taken at the middle of its level."""
        level_of(self.checked(x), self.levels, self)
        with evaluating(self):
            noise, _ = self(dequantize_to_logits(x, torch.full_like(x, 0.5), self.levels, self.ALPHA)[0])
        return torch.cat([part.flatten(1) for part in noise], dim=1)

    def decode(self, z: Shaped[Tensor, "batch *feature"]) -> Float[Tensor, "batch channel height width"]:
        """Images as levels in [0, 1], from noise such as ``encode`` returns."""
        shapes, size = self._noise_shapes(), math.prod(self.image_shape)
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(f"RealNVP decodes noise of shape (batch, {size}), but was given {tuple(z.shape)}")
        parts = z.split([math.prod(shape) for shape in shapes], dim=1)
        with evaluating(self):
            p = self.inverse([part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]).sigmoid()
        unit = (p - self.ALPHA) / (1 - 2 * self.ALPHA)
        return (unit * self.levels).floor().clamp(0, self.levels - 1) / (self.levels - 1)

    def _noise_shapes(self) -> list[tuple[int, int, int]]:
        """Shapes of the noise: half of what a squeeze leaves at each scale, all of it at the last."""
        channels, height, width = self.image_shape
        shapes = []
        for _ in self.scales[:-1]:
            channels, height, width = 2 * channels, height // 2, width // 2
            shapes.append((channels, height, width))
        return [*shapes, (channels, height, width)]

    @torch.no_grad()
    def sample(self, n: int, temperature: float = 1.0) -> Float[Tensor, "{n} channel height width"]:
        """Draw images as levels in [0, 1]; ``temperature`` multiplies the noise."""
        noise = [torch.randn(n, *shape, dtype=self._dtype(), device=self._device()).flatten(1) for shape in self._noise_shapes()]
        return self.decode(temperature * torch.cat(noise, dim=1))


def dequantize_to_logits(
    x: Float[Tensor, "batch *image"], noise: Float[Tensor, "batch *image"], levels: int = 256, alpha: float = 0.05
) -> tuple[Float[Tensor, "batch *image"], Float[Tensor, "batch"]]:
    r"""Logits of grey levels with noise, :math:`\mathrm{logit}(\alpha + (1 - 2 \alpha) (k + u) / K)`, and the log volume of a level.

    Args:
        x: levels k / (K - 1) in [0, 1], ``(batch, …)``.
        noise: u in [0, 1), of the same shape.
        levels: K.
        alpha: distance that probabilities keep from 0 and 1.

    Returns:
        The logits, and the log volume of each image's levels, ``(batch,)``: log p(levels) is at least the mean over u of the log density of
        the logits plus this volume.
    """
    unit = ((x * (levels - 1)).round() + noise) / levels
    p = alpha + (1 - 2 * alpha) * unit
    y = p.logit()
    slope = math.log(1 - 2 * alpha) - math.log(levels) - p.log() - (-p).log1p()
    return y, slope.flatten(1).sum(1)
