"""Images as grids of codes: an autoencoder with a codebook (VQ-VAE), and a density of its codes."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.models.base import ImageModel
from genrl.models.capabilities import ImageSource, Player, Transform
from genrl.models.codebook import Codebook
from genrl.models.pixels import Pixels, level_of, log_logistic_mass, mean_logistic, to_levels
from genrl.models.transformer import CausalTransformer

__all__ = ["VQVAE", "CodePrior"]


class _Residual(nn.Module):
    """3 × 3, 1 × 1, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near, self.own = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.own(F.relu(self.near(F.relu(x))))
        return out


class VQVAE(ImageModel):
    r"""An autoencoder whose features are a grid of codes: each place has the codebook's vector that is nearest to the encoder's.

    .. math:: L = -\log p(x \mid e) + \beta \sum_{ij} \| z_{ij}(x) - \mathrm{sg}[e_{ij}] \|^2, \quad
        e_{ij} = \operatorname{argmin}_{e_k} \| z_{ij}(x) - e_k \|

    The gradient of the decoder's input is that of the encoder's output (straight through); the codebook follows the encoder by exponential
    averages, which ``loss`` moves in training mode. Codes that are hardly used start again from the encoder's outputs.

    Pixels are independent given the codes: zeros and ones (``bernoulli``, see :func:`genrl.models.pixels.binarize`), or ``levels`` equally
    spaced values in [0, 1] (``logistic``: a logistic of which the decoder gives mean and scale, integrated over each level, the outermost
    up to infinity).

    Args:
        image_shape: channels, height, width.
        codes: in the codebook.
        dim: of each of its vectors.
        width: channels on the grid; half as many above it.
        depth: residual blocks on the grid, in the encoder and in the decoder.
        downsample: how often height and width are halved.
        pixels: their likelihood, ``logistic`` or ``bernoulli``.
        levels: of each pixel; by default 2 (``bernoulli``, which takes no others) or 256.
        commitment: β.
        decay: γ, of the codebook's averages.
        restart: share of an equal use below which a code starts again; 0 never.

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
        self._refuse(
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
        """Zeros and ones of two levels, else the levels."""
        return to_levels(x, self.levels, generator)

    def loss(self, x: Tensor) -> Tensor:
        """Minus the mean of log p(x | codes), nats an image, and the commitment; in training mode the codebook takes a step."""
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

    def encode_codes(self, x: Tensor) -> Tensor:
        """The codes of images, int64, ``(batch, row, column)``; never in bfloat16, which changes some of them (3 % on MNIST)."""
        with torch.autocast(x.device.type, enabled=False):
            return self.codebook.nearest(_places(self._map(x))).view(len(x), *self.grid)

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Mean images of ``(batch, row, column)`` codes, in [0, 1]."""
        return self._mean(self.decoder(self._vectors(codes)))

    def encode(self, x: Tensor) -> Tensor:
        """Features of images: the vectors of their codes, flattened, ``(batch, dim * rows * columns)``; gradients pass straight through."""
        z = self._map(x)
        return _through(z, self._vectors(self.codebook.nearest(_places(z)).view(len(z), *self.grid))).flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """Mean images of features such as ``encode`` gives, in [0, 1]; they need not be vectors of the codebook."""
        size = self.codebook.sums.shape[1] * math.prod(self.grid)
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(f"VQVAE decodes features of shape (batch, {size}), but was given {tuple(z.shape)}")
        return self._mean(self.decoder(z.unflatten(1, (-1, *self.grid))))

    @torch.no_grad()
    def log_pixels(self, x: Tensor, codes: Tensor) -> Tensor:
        """log p(x | codes), nats, ``(batch,)``."""
        self._check_levels(x)
        return self._log_pixels(x, self._vectors(codes))

    @torch.no_grad()
    def usage(self, images: ImageSource, transform: Transform | None = None, seed: int = 0) -> Tensor:
        """How often each code stands in images, int64, ``(code,)``; ``transform`` is that of the fit."""
        generator, counts = torch.Generator().manual_seed(seed), torch.zeros(len(self.codebook.counts), dtype=torch.int64)
        for index in torch.arange(len(images)).split(250):
            made = images.batch(index) if transform is None else transform(images.batch(index), generator)
            codes = self.encode_codes(made if isinstance(made, Tensor) else made[0])
            counts += codes.flatten().bincount(minlength=len(counts))
        return counts

    def codes_used(self, images: ImageSource, transform: Transform | None = None, seed: int = 0) -> float:
        """The share of the codebook that stands anywhere in images, in [0, 1]."""
        return float((self.usage(images, transform, seed) > 0).double().mean())

    # --- parts ---

    def _map(self, x: Tensor) -> Tensor:
        """The encoder's output, ``(batch, dim, row, column)``, in the precision of the codebook, whatever that of the products."""
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


class CodePrior(ImageModel):
    r"""The second stage: a density of a VQVAE's codes, in reading order; with its decoder, one of images.

    .. math:: \log p(x) \ge \log p(c(x)) + \log p(x \mid c(x))

    since p(x) is a sum over all codes, of which c(x) is one. ``state_dict`` has both.

    Args:
        vqvae: a fitted one, of which this has a copy; or its settings; or an image shape, for one with its own defaults; neither of these
            has learnt anything, so that it must not be frozen.
        frozen: the VQVAE does not learn, as in the paper; otherwise both learn in one fit, the prior from the codes as they are by then.
        width, depth, heads: of the :class:`~genrl.models.transformer.CausalTransformer`.
        n_classes: of labels; with them ``loss`` takes labels too, and draws are of a class.

    References:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", 2017, arXiv:1711.00937.

    Example:
        >>> prior = CodePrior(VQVAE((1, 8, 8), codes=16, dim=4, width=8, depth=1), width=16, depth=1, heads=2)
        >>> x = torch.randint(256, (5, 1, 8, 8)) / 255
        >>> prior.sample(3).shape, prior.log_prob(x).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([5]))
    """

    likelihood = "lower bound"

    def __init__(
        self,
        vqvae: VQVAE | Mapping[str, Any] | tuple[int, int, int],
        *,
        frozen: bool = True,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        made = copy.deepcopy(vqvae) if isinstance(vqvae, VQVAE) else VQVAE(**vqvae) if isinstance(vqvae, Mapping) else VQVAE(vqvae)
        self.vqvae, self.frozen = made.requires_grad_(not frozen).train(not frozen), frozen
        self.settings["vqvae"], self.image_shape = self.vqvae.settings, self.vqvae.image_shape
        length = math.prod(self.vqvae.grid)
        self.codes = CausalTransformer(len(self.vqvae.codebook.counts), length, width=width, depth=depth, heads=heads, n_classes=n_classes)
        self.conditional = n_classes > 0

    def train(self, mode: bool = True) -> Self:
        """As of every module, but a frozen VQVAE stays as it is."""
        super().train(mode)
        self.vqvae.train(mode and not self.frozen)
        return self

    def players(self) -> list[Player]:
        """The prior, and before it a VQVAE that is not frozen."""
        prior = Player("loss" if self.frozen else "loss_of_codes", list(self.codes.parameters()), self.loss)
        if self.frozen:
            if not self.vqvae.codebook.is_placed():
                raise ValueError("CodePrior learns the codes of a fitted VQVAE, but this one has learnt none; fit it, or give frozen=False")
            return [prior]
        return [Player("loss", list(self.vqvae.parameters()), lambda x, labels=None: self.vqvae.loss(x)), prior]

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """As the VQVAE's."""
        return self.vqvae.transform(x, generator)

    def loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Minus the mean of log p(codes of x), nats an image."""
        return self.codes.loss(self.vqvae.encode_codes(x).flatten(1), labels)

    def encode(self, x: Tensor) -> Tensor:
        """The VQVAE's features."""
        return self.vqvae.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """The VQVAE's images."""
        return self.vqvae.decode(z)

    @torch.no_grad()
    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The lower bound of log p(x), nats, ``(batch,)``."""
        codes = self.vqvae.encode_codes(x)
        return self.codes.log_prob(codes.flatten(1), labels) + self.vqvae.log_pixels(x, codes)

    @torch.no_grad()
    def sample(self, n: int, noise: Tensor | None = None, labels: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Mean images of drawn codes, in [0, 1], ``(n, channel, height, width)``; see the transformer's ``sample``."""
        codes = self.codes.sample(n, noise, labels=labels, temperature=temperature).unflatten(1, self.vqvae.grid)
        return torch.cat([self.vqvae.decode_codes(part) for part in codes.split(500)])


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
    """``(batch, dim, row, column)`` as ``(n, dim)``."""
    return z.movedim(1, 3).flatten(0, 2)


def _through(z: Tensor, quantised: Tensor) -> Tensor:
    """The value of the second with the gradient of the first."""
    return z + (quantised - z).detach()
