"""Variational autoencoders, whose posterior is a diagonal Gaussian or an inverse autoregressive flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, evaluating, samples_check, shape_check
from genrl.models.flows import InverseAutoregressiveFlow
from genrl.models.nn import convolutions, mlp, transposed
from genrl.models.pixels import Pixels, level_of, log_logistic_mass, mean_logistic, to_levels

__all__ = ["VAE", "Posterior"]

Posterior = Literal["diagonal", "iaf"]
CHUNK = 1_000
"""Images that are decoded at once for a bound; so many stay in a processor's cache."""


class VAE(ImageModel):
    r"""A variational autoencoder: a Gaussian latent vector is decoded to independent pixels, trained on the evidence lower bound.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, \mathcal{N}(0, I))

    ``encode`` returns the posterior's mean, ``decode`` the means of the pixels. Hidden layers have batch norm, without which they need
    several times the passes. Features, images and bounds are always computed in evaluation mode; only the loss depends on the mode.

    Args:
        image_shape: channels, height, width.
        latent: size of z.
        channels: channels of convolutions before the hidden layers, each of which halves the image.
        hidden: widths of the encoder's hidden layers; the decoder has the same in reverse order.
        posterior: ``diagonal``, or ``iaf``, which adds an inverse autoregressive flow that sees the encoder's last layer.
        flow_steps: number of steps in the flow.
        flow_hidden: widths of the hidden layers in each step of the flow.
        free_bits: nats of each latent number that cost nothing in the loss (λ); the reported KL has no floor.
        pixels: likelihood of a pixel: ``bernoulli`` for zeros and ones (see :func:`genrl.models.pixels.binarize`; for grey levels this loss
            is no likelihood), or ``logistic``, a mean and a scale for each pixel, integrated over each of ``levels``.
        levels: levels of grey or colour that a ``logistic`` pixel has.

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
    draws_levels = False
    fewest_in_a_batch = 2

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
        require(
            type(self),
            shape_check(image_shape),
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
        """Zeros and ones for a model of two levels, otherwise grey levels rounded to the model's."""
        return to_levels(x, self.levels, generator)

    def posterior(
        self, x: Float[Tensor, "batch channel height width"], samples: int = 1
    ) -> tuple[Float[Tensor, "sample batch latent"], Float[Tensor, "sample batch latent"]]:
        """Draws of z for each image, and log q of each of its numbers, in nats.

        The sum over the latent numbers is log q(z | x). With a flow, its terms are shares of that sum, not densities of one number.
        """
        h = self.encoder(self.checked(x))  # (batch, hidden)
        mean, log_std = self.to_posterior(h).to(x.dtype).chunk(2, dim=1)  # (batch, latent)
        noise = torch.randn(samples, *mean.shape, dtype=x.dtype, device=x.device)  # (sample, batch, latent)
        z = mean + log_std.exp() * noise
        log_q = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        if self.flow is not None:
            z, gained = self.flow(z.flatten(0, 1), h.expand(samples, -1, -1).flatten(0, 1))
            z, log_q = z.unflatten(0, noise.shape[:2]), log_q + gained.unflatten(0, noise.shape[:2])
        return z, log_q

    def bound(
        self, x: Float[Tensor, "batch channel height width"], samples: int = 1, weight: Tensor | float = 1.0
    ) -> tuple[Float[Tensor, "sample batch"], Float[Tensor, "sample batch latent"]]:
        """The two parts of the bound in nats: log p(x | z), pixels weighed, and log q(z | x) - log p(z) of each latent number."""
        z, log_q = self.posterior(x, samples)
        log_prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        out = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2]).to(x.dtype)
        return (weight * self._log_pixels(x, out)).flatten(2).sum(2), log_q - log_prior

    def _log_pixels(self, x: Tensor, out: Tensor) -> Tensor:
        """log p of each pixel, from the decoder's output ``(sample, batch, channel, height, width)``."""
        if self.pixels == "bernoulli":
            return -F.binary_cross_entropy_with_logits(out, x.expand_as(out), reduction="none")
        mean, log_scale = out.chunk(2, dim=-3)
        return log_logistic_mass(2 * x - 1, mean, log_scale, self.levels)

    def loss(self, x: Float[Tensor, "batch channel height width"], weight: Tensor | float = 1.0) -> Float[Tensor, ""]:
        """Minus the evidence lower bound, in nats per image; the KL of each latent number counts at least ``free_bits``.

        With a ``weight`` of each pixel, such as of those that have changed since the last frame, it is no bound any more.
        """
        if self.training:
            self._require_batch(x)
        pixels, excess = self.bound(x, weight=weight)
        kl = excess.mean((0, 1))  # (latent,)
        return (kl.clamp_min(self.free_bits) if self.free_bits else kl).sum() - pixels.mean()

    @torch.no_grad()
    def kl(self, x: Float[Tensor, "batch channel height width"], samples: int = 1) -> Float[Tensor, "batch"]:
        """Monte Carlo estimate of KL(q(z | x) || p(z)), in nats."""
        require(type(self), samples_check(samples))
        with evaluating(self):
            return self.bound(x, samples)[1].sum(2).mean(0)

    @torch.no_grad()
    def log_prob(self, x: Float[Tensor, "batch channel height width"], samples: int = 500) -> Float[Tensor, "batch"]:
        r"""The importance-weighted bound of log p(x), in nats: on average never above log p(x), and tight for many samples.

        .. math:: \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

        Args:
            x: images with the model's levels.
            samples: K, importance samples per image.
        """
        require(type(self), samples_check(samples))
        level_of(self.checked(x), self.levels, self)
        parts = []
        with evaluating(self):
            for count in _chunks(samples, max(1, CHUNK // max(len(x), 1))):
                pixels, excess = self.bound(x, count)
                parts.append(pixels - excess.sum(2))  # (sample, batch)
        return torch.cat(parts).logsumexp(0) - math.log(samples)

    def bound_samples(self) -> int:
        """500, or 100 for large images."""
        return 500 if math.prod(self.image_shape) <= 1024 else 100

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch latent"]:
        """The mean of the diagonal posterior, moved on by the flow if there is one."""
        with evaluating(self):
            h = self.encoder(self.checked(x))
            mean: Tensor = self.to_posterior(h).chunk(2, dim=1)[0]
            return mean if self.flow is None else self.flow(mean, h)[0]

    def decode(self, z: Shaped[Tensor, "batch * latent"]) -> Float[Tensor, "batch channel height width"]:
        """Means of the pixels in [0, 1]; for pixels of zeros and ones these are the probabilities of a one."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"VAE decodes latent vectors of shape (batch, {self.latent}), but was given {tuple(z.shape)}")
        with evaluating(self):
            out: Tensor = self.decoder(z)
        if self.pixels == "bernoulli":
            return out.sigmoid()
        mean, log_scale = out.chunk(2, dim=1)
        return mean_logistic(mean, log_scale, self.levels)

    @torch.no_grad()
    def sample(self, n: int) -> Float[Tensor, "{n} channel height width"]:
        """Images drawn from the prior: the means of their pixels, in [0, 1]."""
        return self.decode(torch.randn(n, self.latent, dtype=self._dtype(), device=self._device()))

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent={self.latent}, free_bits={self.free_bits}, pixels={self.pixels}"


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
