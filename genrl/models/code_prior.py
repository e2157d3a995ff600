"""The prior of a VQ-VAE: a density of its codes, and with its decoder a density of images."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from genrl.models.base import ImageModel
from genrl.models.capabilities import Player
from genrl.models.labels import Labels, checked_labels
from genrl.models.transformer import CausalTransformer
from genrl.models.vqvae import VQVAE

__all__ = ["CodePrior"]


class CodePrior(ImageModel):
    r"""The second stage of a VQ-VAE: a density of its codes in reading order which, with its decoder, is a density of images.

    .. math:: \log p(x) \ge \log p(c(x)) + \log p(x \mid c(x))

    since p(x) is a sum over all codes, of which c(x) is one. ``state_dict`` contains both stages.

    Args:
        vqvae: a fitted :class:`VQVAE`, which is copied; or the settings of a new one; or the image shape of a new one with default
            settings. A new one has learnt nothing, so it must not be frozen.
        frozen: whether the VQVAE stays as it is, as in the paper; otherwise both stages learn in one fit.
        width: size of the vector at each place of the :class:`~genrl.models.transformer.CausalTransformer`.
        depth: number of its layers.
        heads: number of heads of its attention, which divides ``width``.
        n_classes: number of classes; with them ``loss`` and ``sample`` take labels. 0 for images without labels.

    References:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", 2017, arXiv:1711.00937.

    Example:
        >>> prior = CodePrior(VQVAE((1, 8, 8), codes=16, dim=4, width=8, depth=1), width=16, depth=1, heads=2)
        >>> x = torch.randint(256, (5, 1, 8, 8)) / 255
        >>> prior.sample(3).shape, prior.log_prob(x).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([5]))
    """

    likelihood = "lower bound"
    draws_levels = False

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
        self.conditional, self.n_classes = n_classes > 0, n_classes

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the module; a frozen VQVAE stays in evaluation mode."""
        super().train(mode)
        self.vqvae.train(mode and not self.frozen)
        return self

    def players(self) -> list[Player]:
        """The VQVAE unless it is frozen, then the prior."""
        prior = Player("loss" if self.frozen else "loss_of_codes", list(self.codes.parameters()), self.loss)
        if self.frozen:
            if not self.vqvae.codebook.is_placed():
                raise ValueError("CodePrior learns the codes of a fitted VQVAE, but this one has learnt none; fit it, or give frozen=False")
            return [prior]
        return [Player("loss", list(self.vqvae.parameters()), lambda x, labels=None: self.vqvae.loss(x)), prior]

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What the VQVAE learns from images."""
        return self.vqvae.transform(x, generator)

    def loss(self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None) -> Float[Tensor, ""]:
        """Minus the mean of log p(codes of x), in nats per image."""
        return self.codes.loss(self.vqvae.encode_codes(x).flatten(1), labels)

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch feature"]:
        """Features of the VQVAE."""
        return self.vqvae.encode(x)

    def decode(self, z: Shaped[Tensor, "batch *feature"]) -> Float[Tensor, "batch channel height width"]:
        """Images of the VQVAE."""
        return self.vqvae.decode(z)

    @torch.no_grad()
    def log_prob(self, x: Float[Tensor, "batch channel height width"], labels: Tensor | None = None) -> Float[Tensor, "batch"]:
        """The lower bound of log p(x), in nats."""
        codes = self.vqvae.encode_codes(x)
        return self.codes.log_prob(codes.flatten(1), labels) + self.vqvae.log_pixels(x, codes)

    @torch.no_grad()
    def sample(
        self, n: int, noise: Tensor | None = None, labels: Labels | None = None, temperature: float = 1.0
    ) -> Float[Tensor, "{n} channel height width"]:
        """Draw codes and return the means of their pixels, in [0, 1].

        Args:
            n: number of images.
            noise: uniform numbers in [0, 1), ``(n, rows * columns)``, each of which decides a code; by default drawn.
            labels: classes of the images, int64 ``(n,)``, or one class for all.
            temperature: divides the logits of the codes; below 1 the images are more usual ones.
        """
        known = labels if labels is None else checked_labels(labels, n, self.n_classes, "CodePrior", self._device())
        codes = self.codes.sample(n, noise, labels=known, temperature=temperature).unflatten(1, self.vqvae.grid)
        return torch.cat([self.vqvae.decode_codes(part) for part in codes.split(500)])
