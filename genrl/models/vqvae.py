"""VQ-VAE: an autoencoder whose features are a grid of codes."""

from __future__ import annotations

import math
from typing import get_args

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel
from genrl.models.capabilities import ImageSource, Transform
from genrl.models.codebook import Codebook
from genrl.models.pixels import Pixels, level_of, log_logistic_mass, mean_logistic, to_levels

__all__ = ["VQVAE"]


class _Residual(nn.Module):
    """Convolutions of 3 × 3 and 1 × 1 pixels, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near, self.own = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.own(F.relu(self.near(F.relu(x))))
        return out


class VQVAE(ImageModel):
    r"""An autoencoder whose features are a grid of codes: each place takes the codebook's vector that is nearest to the encoder's output.

    .. math:: L = -\log p(x \mid e) + \beta \sum_{ij} \| z_{ij}(x) - \mathrm{sg}[e_{ij}] \|^2, \quad
        e_{ij} = \operatorname{argmin}_{e_k} \| z_{ij}(x) - e_k \|

    The decoder's gradient passes straight through to the encoder's output. The codebook follows the encoder by exponential averages, which
    ``loss`` moves in training mode. Codes that are hardly used start again at outputs of the encoder.

    Pixels are independent given the codes: zeros and ones (``bernoulli``, see :func:`genrl.models.pixels.binarize`), or ``levels`` equally
    spaced values in [0, 1] (``logistic``: a logistic of which the decoder gives mean and scale, integrated over each level, the outermost
    up to infinity).

    Args:
        image_shape: channels, height, width.
        codes: number of codes in the codebook.
        dim: size of each of its vectors.
        width: channels on the grid; at larger sizes there are half as many.
        depth: number of residual blocks on the grid, in the encoder and again in the decoder.
        downsample: number of times that height and width are halved.
        pixels: likelihood of a pixel, ``logistic`` or ``bernoulli``.
        levels: number of levels of a pixel; by default 256, and 2 for ``bernoulli``, which takes no others.
        commitment: β, weight of the distance between the encoder's output and its code.
        decay: γ, decay of the codebook's averages.
        restart: a code that is used less than this share of an equal use starts again; 0 lets none start again.

    Raises:
        ValueError: a value out of its range; when it is called, images of another shape or with other levels.

    References:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", 2017, arXiv:1711.00937 (the averages: appendix A.1).
        Razavi, van den Oord, Vinyals, "Generating Diverse High-Fidelity Images with VQ-VAE-2", 2019, arXiv:1906.00446.
        Dhariwal et al., "Jukebox", 2020, arXiv:2005.00341 (restarts).
        Salimans et al., "PixelCNN++", 2017, arXiv:1701.05517 (``logistic``).

    Example:
        >>> model = VQVAE((1, 28, 28), codes=32, dim=4, width=8, depth=1)
        >>> x = torch.rand(5, 1, 28, 28)
        >>> model.encode_codes(x).shape, model.encode(x).shape, model.decode(model.encode(x)).shape
        (torch.Size([5, 7, 7]), torch.Size([5, 196]), torch.Size([5, 1, 28, 28]))
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        codes: int = 256,
        dim: int = 16,
        width: int = 64,
        depth: int = 2,
        downsample: int = 2,
        pixels: Pixels = "logistic",
        levels: int | None = None,
        commitment: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.03,
    ) -> None:
        super().__init__()
        factor = 2 ** max(downsample, 0)
        divides = len(image_shape) == 3 and min(image_shape) > 0 and not (image_shape[1] % factor or image_shape[2] % factor)
        levels = (2 if pixels == "bernoulli" else 256) if levels is None else levels
        require(
            type(self),
            ("downsample", downsample, downsample >= 1, "at least 1"),
            ("image_shape", image_shape, divides, f"channels, and a height and width that {factor} divides"),
            ("codes", codes, codes >= 1, "at least 1"),
            ("dim", dim, dim >= 1, "at least 1"),
            ("width", width, width >= 2 and width % 2 == 0, "even and at least 2"),
            ("depth", depth, depth >= 0, "at least 0"),
            ("pixels", pixels, pixels in get_args(Pixels), "bernoulli or logistic"),
            ("levels", levels, levels == 2 or (levels > 2 and pixels == "logistic"), "2 for bernoulli, or at least 2 for logistic"),
            ("commitment", commitment, commitment >= 0, "at least 0"),
            ("decay", decay, 0 < decay < 1, "in (0, 1)"),
            ("restart", restart, 0 <= restart < 1, "in [0, 1)"),
        )
        self.image_shape, self.pixels, self.levels, self.commitment = image_shape, pixels, levels, commitment
        self.grid = (image_shape[1] // factor, image_shape[2] // factor)
        self.codebook = Codebook(codes, dim, decay, restart)
        self.encoder = _encoder(image_shape[0], width, depth, downsample, dim)
        self.decoder = _decoder(dim, width, depth, downsample, image_shape[0] * (1 if pixels == "bernoulli" else 2))

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Zeros and ones for a model of two levels, otherwise grey levels rounded to the model's."""
        return to_levels(x, self.levels, generator)

    def loss(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, ""]:
        """Minus the mean of log p(x | codes) in nats per image, plus the commitment; in training mode the codebook takes a step."""
        self._check_levels(x)
        z = self._map(x)
        flat = _places(z)
        if self.training:
            self.codebook.restart_unused(flat.detach())
        codes = self.codebook.nearest(flat)
        quantised = self._vectors(codes.view(len(z), *self.grid))
        if self.training:
            self.codebook.follow(flat.detach(), codes)
        far = (z - quantised).square().sum((1, 2, 3))
        return (self.commitment * far - self._log_pixels(x, _through(z, quantised))).mean()

    def encode_codes(self, x: Float[Tensor, "batch channel height width"]) -> Int[Tensor, "batch row column"]:
        """The codes of images; never computed in bfloat16, which would change some of them (3 % on MNIST)."""
        with torch.autocast(x.device.type, enabled=False):
            return self.codebook.nearest(_places(self._map(x))).view(len(x), *self.grid)

    def decode_codes(self, codes: Shaped[Tensor, "batch *grid"]) -> Float[Tensor, "batch channel height width"]:
        """Means of the pixels in [0, 1], given codes ``(batch, row, column)``."""
        return self._mean(self.decoder(self._vectors(codes)))

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """Features of images: the vectors of their codes, ``dim * rows * columns`` numbers; gradients pass straight through."""
        z = self._map(x)
        return _through(z, self._vectors(self.codebook.nearest(_places(z)).view(len(z), *self.grid))).flatten(1)

    def decode(self, z: Shaped[Tensor, "batch *feature"]) -> Float[Tensor, "batch channel height width"]:
        """Means of the pixels in [0, 1], given features like those of ``encode``, which need not be vectors of the codebook."""
        size = self.codebook.sums.shape[1] * math.prod(self.grid)
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(f"VQVAE decodes features of shape (batch, {size}), but was given {tuple(z.shape)}")
        return self._mean(self.decoder(z.unflatten(1, (-1, *self.grid))))

    @torch.no_grad()
    def log_pixels(self, x: Float[Tensor, "batch channel height width"], codes: Shaped[Tensor, "batch *grid"]) -> Float[Tensor, "batch"]:
        """log p(x | codes), in nats."""
        self._check_levels(x)
        return self._log_pixels(x, self._vectors(codes))

    @torch.no_grad()
    def usage(self, images: ImageSource, transform: Transform | None = None, seed: int = 0) -> Int[Tensor, "code"]:
        """Number of places in images that have each code, int64; give the ``transform`` of the fit."""
        generator, counts = torch.Generator().manual_seed(seed), torch.zeros_like(self.codebook.counts, dtype=torch.int64)
        for index in torch.arange(len(images)).split(250):
            made = images.batch(index) if transform is None else transform(images.batch(index), generator)
            codes = self.encode_codes(made if isinstance(made, Tensor) else made[0])
            counts += codes.flatten().bincount(minlength=len(counts))
        return counts

    def codes_used(self, images: ImageSource, transform: Transform | None = None, seed: int = 0) -> float:
        """Share of the codes that are used anywhere in images, in [0, 1]."""
        return float((self.usage(images, transform, seed) > 0).double().mean())

    # --- parts ---

    def _map(self, x: Tensor) -> Tensor:
        """The encoder's output in the codebook's precision, ``(batch, dim, row, column)``."""
        out: Tensor = self.encoder(2 * self.checked(x) - 1)
        return out.to(self.codebook.sums.dtype)

    def _vectors(self, codes: Tensor) -> Tensor:
        """The codebook's vectors on the grid, ``(batch, dim, row, column)``."""
        vectors = self.codebook.vectors()
        least, most = (int(codes.min()), int(codes.max())) if codes.numel() else (0, 0)
        if codes.dtype != torch.int64 or tuple(codes.shape[1:]) != self.grid or least < 0 or most >= len(vectors):
            raise ValueError(
                f"VQVAE decodes int64 codes from 0 to {len(vectors) - 1} of shape (batch, {self.grid[0]}, {self.grid[1]}), but was given "
                f"{codes.dtype} of shape {tuple(codes.shape)}, from {least} to {most}"
            )
        return F.embedding(codes, vectors).movedim(3, 1)

    def _log_pixels(self, x: Tensor, z: Tensor) -> Tensor:
        parameters = self.decoder(z).to(x.dtype)
        if self.pixels == "bernoulli":
            return -F.binary_cross_entropy_with_logits(parameters, x, reduction="none").sum((1, 2, 3))
        mean, log_scale = parameters.chunk(2, dim=1)
        return log_logistic_mass(2 * x - 1, mean, log_scale, self.levels).sum((1, 2, 3))

    def _mean(self, parameters: Tensor) -> Tensor:
        if self.pixels == "bernoulli":
            return parameters.sigmoid()
        mean, log_scale = parameters.chunk(2, dim=1)
        return mean_logistic(mean, log_scale, self.levels)

    def _check_levels(self, x: Tensor) -> None:
        level_of(self.checked(x), self.levels, self)

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, grid={self.grid}, pixels={self.pixels}, levels={self.levels}"


def _encoder(channels: int, width: int, depth: int, downsample: int, dim: int) -> nn.Sequential:
    sizes = [channels, *[width // 2] * (downsample - 1), width]
    layers: list[nn.Module] = []
    for index in range(downsample):
        layers += [nn.Conv2d(sizes[index], sizes[index + 1], 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1], *(_Residual(width) for _ in range(depth)), nn.ReLU(), nn.Conv2d(width, dim, 1))


def _decoder(dim: int, width: int, depth: int, downsample: int, outputs: int) -> nn.Sequential:
    sizes = [width, *[width // 2] * (downsample - 1), outputs]
    layers: list[nn.Module] = [nn.Conv2d(dim, width, 3, padding=1), *(_Residual(width) for _ in range(depth))]
    for index in range(downsample):
        layers += [nn.ReLU(), nn.ConvTranspose2d(sizes[index], sizes[index + 1], 4, 2, 1)]
    return nn.Sequential(*layers)


def _places(z: Tensor) -> Tensor:
    """Reorder ``(batch, dim, row, column)`` to ``(n, dim)``."""
    return z.movedim(1, 3).flatten(0, 2)


def _through(z: Tensor, quantised: Tensor) -> Tensor:
    """The value of ``quantised`` with the gradient of ``z``."""
    return z + (quantised - z).detach()
