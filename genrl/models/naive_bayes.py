"""Naive Bayes of black and white pixels: the floor that every likelihood is printed beside."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NaiveBayes"]


class NaiveBayes(nn.Module):
    r"""Pixels that are independent given the class; without labels there is one class, and pixels are independent.

    .. math:: p(x) = \sum_c \pi_c \prod_i \mathrm{Bernoulli}(x_i; p_{ci})

    Args:
        grey: images to count, ``(image, channel, height, width)``, grey levels in [0, 1]: the expected counts of their binarisation.
        labels: their classes, ``(image,)``, int64.
        smoothing: black and white pixels that every class has seen before.

    Example:
        >>> model = NaiveBayes(torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(2, 1, 1, 2), smoothing=1.0)
        >>> model.logits.sigmoid().mul(4).round().flatten().tolist()
        [1.0, 3.0]
    """

    prior: Tensor
    logits: Tensor

    def __init__(self, grey: Tensor, labels: Tensor | None = None, *, smoothing: float = 1.0) -> None:
        super().__init__()
        if smoothing <= 0:
            raise ValueError(f"NaiveBayes needs a positive smoothing, but was given {smoothing}; what was never seen is not impossible")
        classes = torch.zeros(len(grey), dtype=torch.long) if labels is None else labels
        one_hot = F.one_hot(classes).to(grey.dtype)  # (image, class)
        counts = one_hot.sum(0)
        white = (one_hot.T @ grey.flatten(1) + smoothing) / (counts[:, None] + 2 * smoothing)
        self.register_buffer("prior", counts / counts.sum())
        self.register_buffer("logits", white.logit().unflatten(1, grey.shape[1:]))

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, class), nats, ``(batch, class)``, of images of zeros and ones."""
        flat = self.logits.flatten(1)
        return x.flatten(1) @ flat.T - F.softplus(flat).sum(1) + self.prior.log()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), nats, ``(batch,)``."""
        return self.log_joint(x).logsumexp(1)

    def classify(self, x: Tensor) -> Tensor:
        """The most probable class, ``(batch,)``."""
        return self.log_joint(x).argmax(1)

    def sample(self, n: int) -> Tensor:
        """Images of zeros and ones, ``(n, channel, height, width)``."""
        classes = torch.multinomial(self.prior, n, replacement=True)
        return torch.bernoulli(self.logits[classes].sigmoid())

    def extra_repr(self) -> str:
        return f"classes={len(self.prior)}, image_shape={tuple(self.logits.shape[1:])}"
