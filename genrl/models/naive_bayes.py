"""Densities of independent pixels, with classes or without: the floors beside which every likelihood is printed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.base import ImageModel, shape_check
from genrl.models.labels import Labels, checked_labels
from genrl.models.pixels import level_of

__all__ = ["NaiveBayes", "PixelHistograms"]


class NaiveBayes(ImageModel):
    r"""A density of black and white pixels that are independent given the class.

    .. math:: p(x) = \sum_c \pi_c \prod_i \mathrm{Bernoulli}(x_i; p_{ci})

    It is fitted by counting, see :meth:`count` and :meth:`of`; before that, every pixel is as likely black as white.

    Args:
        image_shape: channels, height, width.
        n_classes: number of classes; with one, all pixels are independent.
        smoothing: number of black and of white pixels that every class has seen beforehand, so that nothing is impossible.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> model = NaiveBayes.of(torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(2, 1, 1, 2), smoothing=1.0)
        >>> model.logits.sigmoid().mul(4).round().flatten().tolist()
        [1.0, 3.0]
    """

    likelihood = "exact"
    prior: Tensor
    logits: Tensor

    def __init__(self, image_shape: tuple[int, int, int], *, n_classes: int = 1, smoothing: float = 1.0) -> None:
        super().__init__()
        require(
            type(self),
            shape_check(image_shape),
            ("n_classes", n_classes, n_classes >= 1, "at least 1"),
            ("smoothing", smoothing, smoothing > 0, "positive, since what was never seen is not impossible"),
        )
        self.image_shape, self.smoothing = image_shape, smoothing
        self.n_classes, self.conditional = n_classes, n_classes > 1
        self.register_buffer("prior", torch.full((n_classes,), 1 / n_classes))
        self.register_buffer("logits", torch.zeros(n_classes, *image_shape))

    @classmethod
    def of(cls, grey: Tensor, labels: Tensor | None = None, *, smoothing: float = 1.0) -> Self:
        """A model that has counted these images, ``(image, channel, height, width)`` in [0, 1]."""
        shape: Any = tuple(grey.shape[1:])
        model = cls(shape, n_classes=1 if labels is None else int(labels.max()) + 1, smoothing=smoothing)
        model.to(grey.dtype).count([(grey, labels)])
        return model

    @torch.no_grad()
    def count(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> None:
        """Fit to images; what was counted before is forgotten.

        Args:
            batches: pairs of images and labels. Images are grey levels in [0, 1], ``(batch, channel, height, width)``, of which the
                expected counts of a black-and-white draw are taken. Labels are int64, ``(batch,)``; ``None`` means class 0.

        Raises:
            ValueError: no images, images of another shape or range, or labels out of range.
        """
        images, white = torch.zeros_like(self.prior), torch.zeros_like(self.logits)
        for grey, labels in batches:
            n_classes = len(self.prior)
            classes = checked_labels(0 if labels is None else labels, len(self.checked(grey)), n_classes, "NaiveBayes", grey.device)
            one_hot = F.one_hot(classes, n_classes).to(grey.dtype)  # (batch, class)
            images += one_hot.sum(0)
            white += (one_hot.T @ grey.flatten(1)).unflatten(1, self.image_shape)
        if not images.sum():
            raise ValueError("NaiveBayes needs images to count, but was given none")
        self.prior.copy_(images / images.sum())
        self.logits.copy_(((white + self.smoothing) / (images.view(-1, 1, 1, 1) + 2 * self.smoothing)).logit())

    def log_joint(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class"]:
        """log p(x, class) of images of zeros and ones, in nats."""
        level_of(self.checked(x), 2, self)
        flat = self.logits.flatten(1)
        return x.flatten(1) @ flat.T - F.softplus(flat).sum(1) + self.prior.log()

    def log_prob(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch"]:
        """log p(x), in nats."""
        return self.log_joint(x).logsumexp(1)

    def classify(self, x: Float[Tensor, "batch channel height width"]) -> Int[Tensor, "batch"]:
        """The most probable class of each image."""
        return self.log_joint(x).argmax(1)

    def sample(self, n: int, labels: Labels | None = None) -> Float[Tensor, "{n} channel height width"]:
        """Images of zeros and ones, of the classes ``labels``; by default of each class as often as it was counted."""
        if labels is None:
            classes = torch.multinomial(self.prior, n, replacement=True)
        else:
            classes = checked_labels(labels, n, self.n_classes, "NaiveBayes", self.prior.device)
        return torch.bernoulli(self.logits[classes].sigmoid())

    def extra_repr(self) -> str:
        return f"classes={len(self.prior)}, image_shape={tuple(self.logits.shape[1:])}"


class PixelHistograms(nn.Module):
    r"""Independent pixels, each with a histogram of its levels: the floor of models of grey levels and colours.

    .. math:: p(x) = \prod_i \frac{n_{i x_i} + s}{n + s K}

    Args:
        images: batches to count, with levels k / (K - 1) in [0, 1], ``(batch, channel, height, width)``.
        levels: K.
        smoothing: s, how often every pixel has had every level beforehand; a half is the prior of Jeffreys.

    Example:
        >>> seen = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1, 1)
        >>> PixelHistograms([seen], levels=2, smoothing=0.5).log_prob(seen).exp().tolist()
        [0.625, 0.625, 0.375]
    """

    log_p: Tensor

    def __init__(self, images: Iterable[Tensor], levels: int, smoothing: float = 0.5) -> None:
        super().__init__()
        counts: Tensor | None = None
        total = 0
        for x in images:
            places = math.prod(x.shape[1:])
            index = self._level(x, levels) + levels * torch.arange(places, device=x.device)  # (batch, place)
            found = torch.bincount(index.flatten(), minlength=levels * places).view(places, levels)
            counts, total = found if counts is None else counts + found, total + len(x)
        if counts is None:
            raise ValueError("PixelHistograms needs at least one batch of images")
        self.levels = levels
        self.register_buffer("log_p", ((counts + smoothing) / (total + smoothing * levels)).log())

    @staticmethod
    def _level(x: Tensor, levels: int) -> Tensor:
        return (x.flatten(1) * (levels - 1)).round().long()

    def log_prob(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch"]:
        """log p(x), in nats."""
        return self.log_p.gather(1, self._level(x, self.levels).T).sum(0)
