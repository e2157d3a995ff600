"""InfoGAN's part of a GAN: codes among the latent numbers, and a recogniser that reads them back from the images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.nn import device_of, dtype_of

__all__ = ["Codes", "distorted"]


def distorted(images: Float[Tensor, "batch channel height width"], strength: float) -> Float[Tensor, "batch channel height width"]:
    """Images turned, scaled along both axes, sheared and shifted at random, each differently; black comes in from outside.

    Args:
        images: the images.
        strength: 1 turns by up to 0.3 radians, scales by up to a factor of 1.2, shears by up to 0.3 and shifts by up to 5 % of the size; 0
            leaves images as they are.

    Example:
        >>> images = torch.rand(2, 1, 8, 8)
        >>> torch.allclose(distorted(images, 0.0), images, atol=1e-5)
        True
    """
    angle, wide, high, shear, right, down = strength * (2 * torch.rand(6, len(images), device=images.device) - 1)
    wide, high, shear = torch.exp(0.2 * wide), torch.exp(0.2 * high), 0.3 * shear
    cos, sin = (0.3 * angle).cos(), (0.3 * angle).sin()
    ratio = images.shape[2] / images.shape[3]  # places are in halves of the width and of the height
    rows = [
        torch.stack([cos * wide, ratio * (shear - sin * high), 0.1 * right], 1),
        torch.stack([sin * wide / ratio, cos * high, 0.1 * down], 1),
    ]
    with torch.autocast(images.device.type, enabled=False):
        places = F.affine_grid(torch.stack(rows, 1).to(images.dtype), list(images.shape), align_corners=False)
        return F.grid_sample(images, places, align_corners=False)


class Codes(nn.Module):
    r"""Codes c beside a GAN's noise, and a recogniser Q that reads them in the discriminator's last hidden layer f.

    .. math:: I(c; G(z, c)) \ge \mathbb{E}[\log Q(c \mid f(G(z, c)))] + H(c)

    The right side is a lower bound of the information that an image G(z, c) carries about its codes. Categorical codes are uniform;
    continuous ones are uniform in [-1, 1) and scored as Gaussians of variance one around what Q says.

    Args:
        inputs: size of f.
        categories: sizes of the categorical codes.
        continuous: number of continuous codes.

    Raises:
        ValueError: a size out of its range; codes that do not fit.

    References:
        Chen et al., "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets", 2016,
        arXiv:1606.03657.
        Ojha et al., "Elastic-InfoGAN: Unsupervised Disentangled Representation Learning in Class-Imbalanced Data", 2020, arXiv:1910.01112
        (categories that stay while the image is transformed).

    Example:
        >>> codes = Codes(16, (10,), 2)
        >>> codes.draw(3).shape, [p.shape for p in codes.read(torch.zeros(3, 16))]
        (torch.Size([3, 12]), [torch.Size([3, 10]), torch.Size([3, 2])])
    """

    def __init__(self, inputs: int, categories: tuple[int, ...], continuous: int) -> None:
        super().__init__()
        require(
            type(self),
            ("categories", categories, all(size >= 2 for size in categories), "sizes of at least 2"),
            ("continuous", continuous, continuous >= 0, "at least 0"),
        )
        self.categories, self.continuous = tuple(categories), continuous
        self.size = sum(categories) + continuous
        self.recogniser = nn.Sequential(nn.Linear(inputs, 128), nn.LeakyReLU(0.2), nn.Linear(128, self.size))

    def draw(self, n: int) -> Float[Tensor, "{n} code"]:
        """Codes as the generator takes them: one-hot vectors, then numbers in [-1, 1)."""
        kind, here = dtype_of(self), device_of(self)
        classes = [F.one_hot(torch.randint(size, (n,), device=here), size).to(kind) for size in self.categories]
        return torch.cat([*classes, 2 * torch.rand(n, self.continuous, dtype=kind, device=here) - 1], dim=1)

    def replaced(
        self, codes: Tensor, categorical: Mapping[int, Tensor] | None = None, continuous: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """``codes`` with new values in some places.

        Args:
            codes: codes to begin with, ``(n, size)``; they stay as they are.
            categorical: classes, int64 ``(n,)``, by the place of the categorical code that they replace.
            continuous: values, ``(n,)``, by the place of the continuous code that they replace.

        Raises:
            ValueError: a place where there is no such code, or another number of values.
        """
        *classes, numbers = self._split(codes.clone())
        for name, given, there in (("categorical", categorical or {}, len(classes)), ("continuous", continuous or {}, self.continuous)):
            for place, value in given.items():
                if place not in range(there) or value.shape != (len(codes),):
                    raise ValueError(
                        f"there are {there} {name} codes of {len(codes)} images, but place {place} was given values {tuple(value.shape)}"
                    )
        for place, value in (categorical or {}).items():
            classes[place] = F.one_hot(value, self.categories[place]).to(codes.dtype)
        for place, value in (continuous or {}).items():
            numbers[:, place] = value
        return torch.cat([*classes, numbers], dim=1)

    def sweeps(self, rows: int, steps: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Name of each code, its number of columns, and arguments of :meth:`replaced` that change it along each of ``rows`` rows."""
        for i, size in enumerate(self.categories):
            yield f"code_{i + 1}_classes", size, {"categorical": {i: torch.arange(size, device=device_of(self)).repeat(rows)}}
        for i in range(self.continuous):
            name = f"code_{len(self.categories) + i + 1}_numbers"
            yield name, steps, {"continuous": {i: torch.linspace(-2, 2, steps, device=device_of(self)).repeat(rows)}}

    def read(self, features: Float[Tensor, "batch feature"]) -> list[Tensor]:
        """What Q says: the probabilities of each categorical code, ``(batch, size)``, then the means of all continuous codes,
        ``(batch, continuous)``, where there are any."""
        *logits, means = self._split(self.recogniser(features).to(features.dtype))
        return [*(part.softmax(1) for part in logits), *([means] if self.continuous else [])]

    def information(
        self, features: Float[Tensor, "batch feature"], codes: Float[Tensor, "batch code"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The bound of the information about the categorical codes, in nats, at most the sum of the logarithms of their sizes; and the mean
        log density of the continuous codes, at most -0.92 for each."""
        *logits, means = self._split(self.recogniser(features).to(features.dtype))
        *classes, values = self._split(codes)
        each = ((part.log_softmax(1) * one_hot).sum(1).mean() for part, one_hot in zip(logits, classes, strict=True))
        known = sum(each, torch.zeros((), device=means.device))
        entropy = sum(math.log(size) for size in self.categories)
        density = -0.5 * ((values - means).square() + math.log(2 * math.pi)).sum(1).mean()
        return known + entropy, density

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Each categorical code, ``(batch, size)``, then all continuous ones, ``(batch, continuous)``."""
        return x.split([*self.categories, self.continuous], dim=1)

    def extra_repr(self) -> str:
        return f"categories={self.categories}, continuous={self.continuous}"
