"""PixelCNN: a density of images pixel by pixel, each given those above and to the left; sampling computes each pixel once."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models._masked_convolutions import Gated, MaskedConv2d, Residual
from genrl.models._pixelcnn_columns import GatedColumns, ResidualColumns
from genrl.models.base import ImageModel
from genrl.models.nn import in_full
from genrl.models.pixels import level_of, log_logistic_mass, to_levels

__all__ = ["Blocks", "MaskedConv2d", "PixelCNN"]

Blocks = Literal["residual", "gated"]


class PixelCNN(ImageModel):
    r"""A density of images, pixel by pixel in reading order.

    .. math:: \log p(x) = \sum_i \log p(x_i \mid x_{<i})

    Pixels take ``levels`` equally spaced values in [0, 1] (see :func:`genrl.models.pixels.quantize` and ``binarize``), in one channel. Each
    has a softmax over the levels or, with ``mixture``, a mixture of logistics that are integrated over each level. The first layer's bias
    depends on the place in the image, as in the second paper.

    Args:
        image_shape: 1, height, width.
        levels: number of grey levels; 2 for black and white.
        width: channels of each layer, even.
        depth: number of blocks.
        blocks: ``residual``, one stack, which does not see everything above to the right, or ``gated``, two stacks, which do.
        mixture: number of logistics in the mixture; 0 for a softmax over the levels.

    Raises:
        ValueError: a value out of its range; when it is called, an image of another shape or with other levels.

    References:
        van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, arXiv:1601.06759.
        van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", 2016, arXiv:1606.05328 (``gated``).
        Salimans et al., "PixelCNN++", 2017, arXiv:1701.05517 (``mixture``).

    Example:
        >>> model = PixelCNN((1, 8, 8), width=8, depth=2)
        >>> model.log_prob(torch.rand(3, 1, 8, 8).round()).shape, model.sample(2).shape
        (torch.Size([3]), torch.Size([2, 1, 8, 8]))
    """

    likelihood = "exact"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        levels: int = 2,
        width: int = 64,
        depth: int = 5,
        blocks: Blocks = "residual",
        mixture: int = 0,
    ) -> None:
        super().__init__()
        require(
            type(self),
            ("image_shape", image_shape, len(image_shape) == 3 and image_shape[0] == 1 and min(image_shape) > 0, "(1, height, width)"),
            ("levels", levels, levels >= 2, "at least 2"),
            ("width", width, width >= 2 and width % 2 == 0, "even"),
            ("depth", depth, depth >= 1, "at least 1"),
            ("blocks", blocks, blocks in get_args(Blocks), "residual or gated"),
            ("mixture", mixture, mixture >= 0, "at least 0"),
        )
        self.image_shape, self.levels, self.mixture = image_shape, levels, mixture
        self.gated = blocks == "gated"
        self.first = MaskedConv2d(1, width, 7, own=False)
        if self.gated:
            self.first.mask[:3] = 0
            self.first_above = MaskedConv2d(1, width, 7, own=False, rows=True)
        self.place = nn.Parameter(torch.zeros(width, *image_shape[1:]))
        self.blocks = nn.ModuleList(Gated(width) if self.gated else Residual(width) for _ in range(depth))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 3 * mixture or levels, 1))
        if mixture:
            self._spread()

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Zeros and ones for a model of two levels, otherwise grey levels rounded to the model's."""
        return to_levels(x, self.levels, generator)

    @torch.no_grad()
    def _spread(self) -> None:
        """Let the logistics begin side by side from black to white: if all began in one place, they would stay together for long."""
        last: Any = self.head[-1]
        last.weight.mul_(0.3)
        last.bias[self.mixture : 2 * self.mixture] = torch.linspace(-1, 1, self.mixture, device=last.bias.device)
        last.bias[2 * self.mixture :] = -2.0

    def forward(self, x: Tensor) -> Tensor:
        """Parameters of each pixel given those before it, ``(batch, levels or 3 * mixture, height, width)``."""
        hidden = self.head[:-1](self._activations(x, len(self.blocks)))
        out: Tensor = in_full(self.head[-1], hidden) if self.mixture else self.head[-1](hidden)
        return out.to(x.dtype)

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """Features of images: the largest values that the middle block hands on in each of 4 × 4 parts of the image.

        References:
            Chen et al., "Generative Pretraining from Pixels", 2020: an autoregressive model's best features are in its middle.
        """
        middle = self._activations(self.checked(x), (len(self.blocks) + 1) // 2)
        return F.adaptive_max_pool2d(F.relu(middle), 4).flatten(1)

    def _activations(self, x: Tensor, blocks: int) -> Tensor:
        """After that many blocks, ``(batch, width, height, width)``."""
        signal = 2 * x - 1
        h: Tensor = self.first(signal)
        h = h + self.place.to(h.dtype)
        v = self.first_above(signal) if self.gated else None
        for block in self.blocks[:blocks]:
            if v is None:
                h = block(h)
            else:
                v, h = block(v, h)
        return h

    def log_prob(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch"]:
        """log p(x), in nats; x has the model's levels."""
        level, parameters = self._levels_of(x), self(x)
        if self.mixture:  # of that level alone: all of them would be hundreds of times as much memory
            log_p = self._log_mixture(parameters, 2 * level.unsqueeze(1).to(x.dtype) / (self.levels - 1) - 1)
        else:
            log_p = parameters.log_softmax(1).gather(1, level)
        return log_p.flatten(1).sum(1)

    def loss(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, ""]:
        """Minus the mean log likelihood, in nats per image."""
        return -self.log_prob(x).mean()

    def log_levels(self, parameters: Tensor) -> Tensor:
        """Log probability of every level, ``(batch, levels, height, width)``."""
        if not self.mixture:
            return parameters.log_softmax(1)
        levels = torch.linspace(-1, 1, self.levels, dtype=parameters.dtype, device=parameters.device)
        return self._log_mixture(parameters, levels.view(1, -1, 1, 1, 1))

    def _log_mixture(self, parameters: Tensor, levels: Tensor) -> Tensor:
        """Log mass of the mixture between half a level below and above each of ``levels`` in [-1, 1], the outermost up to infinity.

        ``levels`` is ``(batch or 1, level, 1, height or 1, width or 1)``; the result ``(batch, level, height, width)``.
        """
        weight, mean, log_scale = parameters.unsqueeze(1).chunk(3, dim=2)  # (batch, 1, component, height, width)
        log_mass = log_logistic_mass(levels, mean, log_scale, self.levels)
        return torch.logsumexp(weight.log_softmax(2) + log_mass, dim=2)

    def _levels_of(self, x: Tensor) -> Tensor:
        """Whole numbers below ``levels``, ``(batch, 1, height, width)``."""
        return level_of(self.checked(x), self.levels, self)

    # --- sampling ---

    @torch.no_grad()
    def sample(
        self, n: int, noise: Tensor | None = None, given: Tensor | None = None, known: Tensor | None = None
    ) -> Float[Tensor, "{n} channel height width"]:
        """Draw images pixel by pixel, as levels in [0, 1]; each layer is computed once for each pixel, from the columns that it sees.

        A pixel depends on those before it, known or drawn, and on none of those after it.

        Args:
            n: number of images.
            noise: uniform numbers in [0, 1), ``(n, height, width)``, each of which decides a pixel; by default drawn.
            given: images to complete, ``(n, 1, height, width)``.
            known: which pixels of ``given`` are kept, boolean, ``(height, width)`` or ``(n, 1, height, width)``.
        """
        _, height, width = self.image_shape
        if (given is None) != (known is None):
            raise ValueError("PixelCNN completes images whose known pixels are marked: give both given and known, or neither")
        if given is not None and known is not None:
            self._check_known(n, given, known)
        noise = self._noise(n, noise)
        x = torch.zeros(n, 1, height, width, dtype=self._dtype(), device=self._device())
        pixel = GatedColumns(self, x) if self.gated else ResidualColumns(self, x)
        for row in range(height):
            pixel.start(row)
            for column in range(width):
                parameters = pixel.at(row, column)
                x[:, :, row, column] = self._draw(parameters, noise[:, row, column])
                if given is not None and known is not None:
                    keep = known.expand(n, 1, height, width)[:, :, row, column]
                    x[:, :, row, column] = torch.where(keep, given[:, :, row, column], x[:, :, row, column])
                pixel.saw(row, column)
        return x

    def inpaint(self, image: Tensor, known: Tensor) -> Tensor:
        """Draw the unknown pixels of images, each from those above it and to its left; ``image`` and ``known`` as in :meth:`sample`."""
        return self.sample(len(image), given=image, known=known)

    def _noise(self, n: int, given: Tensor | None) -> Tensor:
        """A uniform number for each pixel."""
        shape = (n, *self.image_shape[1:])
        if given is not None and tuple(given.shape) != shape:
            raise ValueError(f"PixelCNN draws {n} images of noise of shape {shape}, but was given {tuple(given.shape)}")
        return torch.rand(shape, dtype=self._dtype(), device=self._device()) if given is None else given

    def _check_known(self, n: int, given: Tensor, known: Tensor) -> None:
        self._levels_of(given)
        if len(given) != n:
            raise ValueError(f"PixelCNN completes each image once, but was given {len(given)} and asked for {n}; ask for {len(given)}")
        size = self.image_shape[1:]
        if known.dtype != torch.bool or tuple(known.shape) not in (size, (n, 1, *size)):
            was = f"{str(known.dtype).removeprefix('torch.')} of shape {tuple(known.shape)}"
            raise ValueError(f"PixelCNN needs known to be boolean of shape {size} or {(n, 1, *size)}, but was given {was}")

    @torch.no_grad()
    def sample_plainly(self, n: int, noise: Tensor | None = None) -> Tensor:
        """The images of :meth:`sample` by the plain loop, the whole network for every pixel: the reference for tests and timings."""
        _, height, width = self.image_shape
        noise = self._noise(n, noise)
        x = torch.zeros(n, 1, height, width, dtype=self._dtype(), device=self._device())
        for row in range(height):
            for column in range(width):
                x[:, :, row, column] = self._draw(self(x)[:, :, row, column], noise[:, row, column])
        return x

    def _draw(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """The level at which the distribution function passes the noise, ``(n, 1)``."""
        p = self.log_levels(parameters[..., None, None])[..., 0, 0].exp()
        level = (p.cumsum(1) < noise[:, None]).sum(1, keepdim=True).clamp_max(self.levels - 1)
        return level.to(p.dtype) / (self.levels - 1)
