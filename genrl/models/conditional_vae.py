"""A conditional variational autoencoder: it draws the part of an image that is wanted, given another part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, evaluating, samples_check, shape_check
from genrl.models.nn import mlp
from genrl.models.pixels import level_of

__all__ = ["ConditionalVAE"]


class ConditionalVAE(ImageModel):
    r"""A variational autoencoder whose prior sees what is given and whose posterior sees the whole image.

    .. math:: \log p(y \mid x) \ge \mathbb{E}_{q(z \mid x, y)}[\log p(y \mid x, z)] - \mathrm{KL}(q(z \mid x, y) \,\|\, p(z \mid x))

    A plain network makes a first guess of every pixel, and the decoder adds to its log odds; pixels are Bernoulli. Targets, what is given
    (x) and what is wanted (y) come from a corruption of :mod:`genrl.models.corruptions`, which is the transform of
    :func:`genrl.models.training.fit`. The loss of grey targets is no likelihood, but the model still learns their mean. Hidden layers have
    batch norm. Completions and bounds are always computed in evaluation mode; only the loss depends on the mode.

    Args:
        image_shape: channels, height, width of the target.
        latent: size of z.
        hidden: widths of the hidden layers in each of the four networks.

    Raises:
        ValueError: a value out of its range; images of another shape or range.

    References:
        Sohn, Lee, Yan, "Learning Structured Output Representation using Deep Conditional Generative Models", 2015.

    Example:
        >>> from genrl.models.corruptions import quadrants
        >>> model = ConditionalVAE((1, 8, 8), latent=4, hidden=(16,)).eval()
        >>> target, given, wanted = quadrants(2)(torch.rand(5, 1, 8, 8).round(), torch.Generator())
        >>> model.log_prob(target, given, wanted, samples=10).shape, model.complete(given).shape
        (torch.Size([5]), torch.Size([5, 1, 8, 8]))
    """

    likelihood = "lower bound"
    fewest_in_a_batch = 2

    def __init__(self, image_shape: tuple[int, int, int], *, latent: int = 32, hidden: Sequence[int] = (500, 500)) -> None:
        super().__init__()
        require(
            type(self),
            shape_check(image_shape),
            ("latent", latent, latent >= 1, "at least 1"),
            ("hidden", hidden, len(hidden) > 0 and min(hidden) > 0, "at least one width"),
        )
        self.image_shape, self.latent = image_shape, latent
        pixels = math.prod(image_shape)
        norm = nn.BatchNorm1d
        self.guess = mlp([2 * pixels, *hidden, pixels], norm=norm)
        self.prior = mlp([3 * pixels, *hidden, 2 * latent], norm=norm)
        self.recognise = mlp([3 * pixels, *hidden, 2 * latent], norm=norm)
        self.decoder = mlp([latent, *reversed(hidden), pixels], norm=norm)

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Refuse: a corruption has to say what is given and what is wanted.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "ConditionalVAE needs a corruption; give fit transform=quadrants(1, binarize), or another of genrl.models.corruptions"
        )

    def loss(
        self,
        target: Float[Tensor, "batch channel height width"],
        given: Float[Tensor, "batch both height width"],
        wanted: Float[Tensor, "batch channel height width"],
    ) -> Float[Tensor, ""]:
        """Minus the bound and minus the log likelihood of the first guess, in nats per image."""
        if self.training:
            self._require_batch(target)
        self._check(target, given, wanted)
        logits, prior, posterior = self._parts(target, given)
        z = posterior.rsample()
        bound = self._log_pixels(logits.detach() + self.decoder(z).to(z.dtype), target, wanted)
        kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
        return (kl - bound - self._log_pixels(logits, target, wanted)).mean()

    @torch.no_grad()
    def log_prob(
        self,
        target: Float[Tensor, "batch channel height width"],
        given: Float[Tensor, "batch both height width"],
        wanted: Float[Tensor, "batch channel height width"],
        samples: int = 500,
    ) -> Float[Tensor, "batch"]:
        """The importance-weighted bound of log p(wanted | given) with ``samples`` draws of z, in nats."""
        require(type(self), samples_check(samples))
        level_of(self._check(target, given, wanted), 2, self)
        weights = []
        with evaluating(self):
            logits, prior, posterior = self._parts(target, given)
            for _ in range(samples):
                z = posterior.sample()  # (batch, latent)
                likelihood = self._log_pixels(logits + self.decoder(z), target, wanted)
                weights.append(likelihood + (prior.log_prob(z) - posterior.log_prob(z)).sum(1))
        return torch.stack(weights).logsumexp(0) - math.log(samples)

    @torch.no_grad()
    def log_prob_of_guess(
        self,
        target: Float[Tensor, "batch channel height width"],
        given: Float[Tensor, "batch both height width"],
        wanted: Float[Tensor, "batch channel height width"],
    ) -> Float[Tensor, "batch"]:
        """log p(wanted | given) by the plain network alone, in nats: the floor that the whole model has to beat."""
        level_of(self._check(target, given, wanted), 2, self)
        with evaluating(self):
            return self._log_pixels(self._prior(given)[0], target, wanted)

    @torch.no_grad()
    def complete(self, given: Float[Tensor, "batch both height width"], samples: int = 1) -> Float[Tensor, "batch channel height width"]:
        """Complete images: the means of their pixels in [0, 1], averaged over draws of z.

        Known pixels stay as they are given, unless all are known (as where noise is to be removed).

        Args:
            given: what is known and where, see :data:`genrl.models.corruptions.Corruption`; ``both`` is twice the channels.
            samples: draws of z; one gives a sharp image, many give the best guess in squared error.
        """
        require(type(self), samples_check(samples))
        with evaluating(self):
            logits, prior = self._prior(given)
            drawn = ((logits + self.decoder(prior.sample())).sigmoid() for _ in range(samples))
            means = sum(drawn, torch.zeros_like(logits)) / samples
        value, known = given.chunk(2, dim=1)
        made = means.unflatten(1, self.image_shape)
        return made if known.all() else torch.where(known > 0, value, made)

    def bound_samples(self) -> int:
        """500, or 100 for large images."""
        return 500 if math.prod(self.image_shape) <= 1024 else 100

    def _prior(self, given: Tensor) -> tuple[Tensor, Normal]:
        channels, *sides = self.image_shape
        if tuple(given.shape[1:]) != (2 * channels, *sides):
            raise ValueError(f"ConditionalVAE is given (batch, {2 * channels}, {sides[0]}, {sides[1]}), but got {tuple(given.shape)}")
        flat = given.flatten(1)
        logits = self.guess(flat).to(flat.dtype)
        return logits, _normal(self.prior(torch.cat([flat, logits.detach().sigmoid()], dim=1)).to(flat.dtype))

    def _check(self, target: Tensor, given: Tensor, wanted: Tensor) -> Tensor:
        self.checked(target)
        if wanted.shape != target.shape or len(given) != len(target):
            shapes = f"{tuple(given.shape)} given and {tuple(wanted.shape)} wanted of {tuple(target.shape)}"
            raise ValueError(f"ConditionalVAE needs what is given and wanted of each image, but got {shapes}")
        return target

    def _parts(self, target: Tensor, given: Tensor) -> tuple[Tensor, Normal, Normal]:
        logits, prior = self._prior(given)
        whole = torch.cat([given.flatten(1), target.flatten(1)], dim=1)
        return logits, prior, _normal(self.recognise(whole).to(logits.dtype))

    def _log_pixels(self, logits: Tensor, target: Tensor, wanted: Tensor) -> Tensor:
        log_p = -F.binary_cross_entropy_with_logits(logits, target.flatten(1), reduction="none")
        return (log_p * wanted.flatten(1)).sum(1)

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent={self.latent}"


def _normal(parameters: Tensor) -> Normal:
    mean, log_std = parameters.chunk(2, dim=1)
    return Normal(mean, log_std.clamp(-7, 7).exp(), validate_args=False)
