"""Variational autoencoders: a decoder with a latent vector, and a posterior that is diagonal or an inverse autoregressive flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.models.flows import InverseAutoregressiveFlow
from genrl.models.nn import mlp

__all__ = ["VAE", "Posterior"]

Posterior = Literal["diagonal", "iaf"]


class VAE(nn.Module):
    r"""A Gaussian latent vector, decoded to independent pixels; trained on the evidence lower bound.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, \mathcal{N}(0, I))

    Pixels are zeros and ones (a Bernoulli likelihood, see :func:`genrl.models.pixels.binarize`); of grey levels the same loss is no
    likelihood, and its nats mean nothing.

    Args:
        image_shape: channels, height, width.
        latent: size of z.
        hidden: widths of the encoder's hidden layers; the decoder's are the same, backwards.
        posterior: ``diagonal``, or ``iaf``: the diagonal one, carried on by an inverse autoregressive flow that sees the encoder's last
            layer.
        flow_steps, flow_hidden: of the flow, and the widths of each step's network.
        free_bits: nats of each latent number that cost nothing, in the loss only (λ); the reported KL has no floor.

    Raises:
        ValueError: a value out of its range.

    References:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2014, arXiv:1312.6114.
        Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", 2016, arXiv:1509.00519 (``log_prob``).
        Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016, arXiv:1606.04934.

    Example:
        >>> vae = VAE((1, 28, 28), latent=8, hidden=(32,), posterior="iaf")
        >>> x = torch.rand(5, 1, 28, 28).round()
        >>> vae.encode(x).shape, vae.sample(3).shape, vae.log_prob(x, samples=10).shape
        (torch.Size([5, 8]), torch.Size([3, 1, 28, 28]), torch.Size([5]))
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        latent: int = 32,
        hidden: Sequence[int] = (500, 500),
        posterior: Posterior = "diagonal",
        flow_steps: int = 2,
        flow_hidden: Sequence[int] = (320,),
        free_bits: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, fine, need in (
            ("image_shape", image_shape, len(image_shape) == 3 and min(image_shape) > 0, "three sizes: channels, height, width"),
            ("latent", latent, latent >= 1 + (posterior == "iaf"), "at least 1, or 2 with a flow"),
            ("hidden", hidden, len(hidden) > 0 and min(hidden) > 0, "at least one width"),
            ("posterior", posterior, posterior in get_args(Posterior), "diagonal or iaf"),
            ("free_bits", free_bits, free_bits >= 0, "at least 0"),
        ):
            if not fine:
                raise ValueError(f"VAE needs {name} to be {need}, but was given {value!r}")
        self.image_shape, self.latent, self.free_bits = tuple(image_shape), latent, free_bits
        pixels = math.prod(image_shape)
        self.encoder = nn.Sequential(nn.Flatten(), mlp([pixels, *hidden]), nn.ReLU())
        self.to_posterior = nn.Linear(hidden[-1], 2 * latent)
        self.flow = InverseAutoregressiveFlow(latent, hidden[-1], flow_steps, flow_hidden) if posterior == "iaf" else None
        self.decoder = nn.Sequential(mlp([latent, *reversed(hidden), pixels]), nn.Unflatten(1, self.image_shape))

    def posterior(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        """Draws of z for each image, ``(samples, batch, latent)``, and the log density of each number given those before, alike."""
        h = self.encoder(x)
        mean, log_std = self.to_posterior(h).chunk(2, dim=1)
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
        logits = self.decode_logits(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        pixels = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").flatten(2).sum(2)
        return pixels, log_q - log_prior

    def loss(self, x: Tensor) -> Tensor:
        """Minus the evidence lower bound, nats an image, with the floor of ``free_bits`` under the KL of each latent number."""
        pixels, excess = self.bound(x)
        kl = excess.mean((0, 1))
        return (kl.clamp_min(self.free_bits) if self.free_bits else kl).sum() - pixels.mean()

    @torch.no_grad()
    def kl(self, x: Tensor, samples: int = 1) -> Tensor:
        """KL of the posterior from the prior, a Monte Carlo estimate, nats, ``(batch,)``."""
        return self.bound(x, samples)[1].sum(2).mean(0)

    @torch.no_grad()
    def log_prob(self, x: Tensor, samples: int = 500) -> Tensor:
        """The importance-weighted bound of log p(x) with that many samples, nats, ``(batch,)``: never above it on average, and tight in the
        limit."""
        parts = []
        for count in _chunks(samples, max(1, 50_000 // max(len(x), 1))):
            pixels, excess = self.bound(x, count)
            parts.append(pixels - excess.sum(2))
        return torch.cat(parts).logsumexp(0) - math.log(samples)

    def encode(self, x: Tensor) -> Tensor:
        """Features of images, ``(batch, latent)``: the mean of the diagonal posterior, carried on by the flow where there is one."""
        h = self.encoder(x)
        mean: Tensor = self.to_posterior(h).chunk(2, dim=1)[0]
        return mean if self.flow is None else self.flow(mean, h)[0]

    def decode_logits(self, z: Tensor) -> Tensor:
        """Log odds of the pixels, ``(batch, channel, height, width)``."""
        logits: Tensor = self.decoder(z)
        return logits

    def decode(self, z: Tensor) -> Tensor:
        """Probabilities of the pixels, in [0, 1]."""
        return self.decode_logits(z).sigmoid()

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Images, their pixels' probabilities in [0, 1], ``(n, channel, height, width)``."""
        return self.decode(torch.randn(n, self.latent))

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent={self.latent}, free_bits={self.free_bits}"


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
