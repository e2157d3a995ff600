"""Variational autoencoders: a decoder with a latent vector, and a posterior that is diagonal or an inverse autoregressive flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.models.base import ImageModel, evaluating
from genrl.models.flows import InverseAutoregressiveFlow
from genrl.models.nn import convolutions, mlp, transposed
from genrl.models.pixels import Pixels, level_of, log_logistic_mass, mean_logistic, to_levels

__all__ = ["VAE", "Posterior"]

Posterior = Literal["diagonal", "iaf"]
CHUNK = 1_000
"""Images that are decoded at once for a bound: as many as stay in a processor's cache."""


class VAE(ImageModel):
    r"""A Gaussian latent vector, decoded to independent pixels; trained on the evidence lower bound.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, \mathcal{N}(0, I))

    ``encode`` gives the posterior's mean, ``decode`` the pixels' means. Hidden layers have batch norm, without which they need several
    times the passes; features, images and bounds are always those of evaluation mode, only the loss is that of the model's.

    Args:
        image_shape: channels, height, width.
        latent: size of z.
        channels: of convolutions before the hidden layers, each of which halves the image.
        hidden: widths of the encoder's hidden layers; the decoder's are the same, backwards.
        posterior: ``diagonal``, or ``iaf``: the diagonal one, carried on by an inverse autoregressive flow that sees the encoder's last
            layer.
        flow_steps, flow_hidden: of the flow, and the widths of each step's network.
        free_bits: nats of each latent number that cost nothing, in the loss only (λ); the reported KL has no floor.
        pixels: ``bernoulli`` for zeros and ones (see :func:`genrl.models.pixels.binarize`; of grey levels the same loss is no likelihood,
            and its nats mean nothing), or ``logistic``, a mean and a scale for each, integrated over each of ``levels``.
        levels: of grey or colour, for ``logistic``.

    Raises:
        ValueError: a value out of its range.

    References:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2014, arXiv:1312.6114.
        Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", 2016, arXiv:1509.00519 (``log_prob``).
        Sønderby et al., "Ladder Variational Autoencoders", 2016, arXiv:1602.02282 (batch norm).
        Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016, arXiv:1606.04934.

    Example:
        >>> vae = VAE((1, 28, 28), latent=8, channels=(8,), hidden=(32,), posterior="iaf").eval()
        >>> x = torch.rand(5, 1, 28, 28).round()
        >>> vae.encode(x).shape, vae.sample(3).shape, vae.log_prob(x, samples=10).shape
        (torch.Size([5, 8]), torch.Size([3, 1, 28, 28]), torch.Size([5]))
    """

    likelihood = "lower bound"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        latent: int = 32,
        channels: Sequence[int] = (),
        hidden: Sequence[int] = (500, 500),
        posterior: Posterior = "diagonal",
        flow_steps: int = 2,
        flow_hidden: Sequence[int] = (320,),
        free_bits: float = 0.0,
        pixels: Pixels = "bernoulli",
        levels: int = 256,
    ) -> None:
        super().__init__()
        part = 2 ** len(channels)
        self._refuse(
            ("image_shape", image_shape, len(image_shape) == 3 and min(image_shape) > 0, "three sizes: channels, height, width"),
            ("latent", latent, latent >= 1 + (posterior == "iaf"), "at least 1, or 2 with a flow"),
            ("channels", channels, min(channels, default=1) > 0, "at least 1 each"),
            ("hidden", hidden, len(hidden) > 0 and min(hidden) > 0, "at least one width"),
            ("flow_steps", flow_steps, flow_steps >= 1, "at least 1"),
            ("flow_hidden", flow_hidden, len(flow_hidden) > 0 and min(flow_hidden) > 0, "at least one width"),
            ("posterior", posterior, posterior in get_args(Posterior), "diagonal or iaf"),
            ("free_bits", free_bits, free_bits >= 0, "at least 0"),
            ("pixels", pixels, pixels in get_args(Pixels), "bernoulli or logistic"),
            ("levels", levels, levels >= 2, "at least 2"),
        )
        _, height, width = image_shape
        if height % part or width % part:
            raise ValueError(
                f"VAE halves images {len(channels)} times, so their sizes must be divisible by {part}, but are {height} × {width}; give "
                "fewer channels"
            )
        self.image_shape, self.latent, self.free_bits, self.pixels = image_shape, latent, free_bits, pixels
        self.levels = 2 if pixels == "bernoulli" else levels
        inner = (channels[-1] if channels else image_shape[0], height // part, width // part)
        narrow = nn.Sequential(mlp([math.prod(inner), *hidden], norm=nn.BatchNorm1d), nn.BatchNorm1d(hidden[-1]), nn.ReLU())
        self.encoder = nn.Sequential(convolutions(image_shape[0], channels), nn.Flatten(), narrow)
        self.to_posterior = nn.Linear(hidden[-1], 2 * latent)
        self.flow = InverseAutoregressiveFlow(latent, hidden[-1], flow_steps, flow_hidden) if posterior == "iaf" else None
        outputs = (image_shape[0] * (2 if pixels == "logistic" else 1), height, width)  # a logistic has a mean and a scale
        wide = inner if channels else outputs
        widen = mlp([latent, *reversed(hidden), math.prod(wide)], norm=nn.BatchNorm1d)
        self.decoder = nn.Sequential(widen, nn.Unflatten(1, wide), transposed(list(reversed(channels)), outputs[0]))

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Zeros and ones of two levels, else the levels."""
        return to_levels(x, self.levels, generator)

    def posterior(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        """Draws of z for each image, ``(samples, batch, latent)``, and shares of their log density, alike.

        Their sum is exact; without a flow each is that of its number.
        """
        h = self.encoder(self.checked(x))
        mean, log_std = self.to_posterior(h).to(x.dtype).chunk(2, dim=1)
        noise = torch.randn(samples, *mean.shape, dtype=x.dtype)
        z = mean + log_std.exp() * noise
        log_q = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        if self.flow is not None:
            z, gained = self.flow(z.flatten(0, 1), h.expand(samples, -1, -1).flatten(0, 1))
            z, log_q = z.unflatten(0, noise.shape[:2]), log_q + gained.unflatten(0, noise.shape[:2])
        return z, log_q

    def bound(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        """Log p of the pixels, ``(samples, batch)``, and log q - log p of each latent number, ``(samples, batch, latent)``, in nats."""
        z, log_q = self.posterior(x, samples)
        log_prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        out = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2]).to(x.dtype)
        return self._log_pixels(x, out).flatten(2).sum(2), log_q - log_prior

    def _log_pixels(self, x: Tensor, out: Tensor) -> Tensor:
        """Log p of each pixel, of the decoder's output ``(samples, batch, channel, height, width)``."""
        if self.pixels == "bernoulli":
            return -F.binary_cross_entropy_with_logits(out, x.expand_as(out), reduction="none")
        mean, log_scale = out.chunk(2, dim=-3)
        return log_logistic_mass(2 * x - 1, mean, log_scale, self.levels)

    def loss(self, x: Tensor) -> Tensor:
        """Minus the evidence lower bound, nats an image, with the floor of ``free_bits`` under the KL of each latent number."""
        pixels, excess = self.bound(x)
        kl = excess.mean((0, 1))
        return (kl.clamp_min(self.free_bits) if self.free_bits else kl).sum() - pixels.mean()

    @torch.no_grad()
    def kl(self, x: Tensor, samples: int = 1) -> Tensor:
        """KL of the posterior from the prior, a Monte Carlo estimate, nats, ``(batch,)``."""
        self._refuse_samples(samples)
        with evaluating(self):
            return self.bound(x, samples)[1].sum(2).mean(0)

    @torch.no_grad()
    def log_prob(self, x: Tensor, samples: int = 500) -> Tensor:
        """The importance-weighted bound of log p(x) with that many samples, nats, ``(batch,)``: never above it on average, and tight in the
        limit; x has the model's levels."""
        self._refuse_samples(samples)
        level_of(self.checked(x), self.levels, self)
        parts = []
        with evaluating(self):
            for count in _chunks(samples, max(1, CHUNK // max(len(x), 1))):
                pixels, excess = self.bound(x, count)
                parts.append(pixels - excess.sum(2))
        return torch.cat(parts).logsumexp(0) - math.log(samples)

    def encode(self, x: Tensor) -> Tensor:
        """Features of images, ``(batch, latent)``: the mean of the diagonal posterior, carried on by the flow where there is one."""
        with evaluating(self):
            h = self.encoder(self.checked(x))
            mean: Tensor = self.to_posterior(h).chunk(2, dim=1)[0]
            return mean if self.flow is None else self.flow(mean, h)[0]

    def decode(self, z: Tensor) -> Tensor:
        """The pixels' means, in [0, 1], ``(batch, channel, height, width)``; of zeros and ones, their probabilities."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"VAE decodes latent vectors of shape (batch, {self.latent}), but was given {tuple(z.shape)}")
        with evaluating(self):
            out: Tensor = self.decoder(z)
        if self.pixels == "bernoulli":
            return out.sigmoid()
        mean, log_scale = out.chunk(2, dim=1)
        return mean_logistic(mean, log_scale, self.levels)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Images, their pixels' means in [0, 1], ``(n, channel, height, width)``."""
        return self.decode(torch.randn(n, self.latent, dtype=self._dtype()))

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent={self.latent}, free_bits={self.free_bits}, pixels={self.pixels}"


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
