"""A linear classifier on few labels, which tells how good features are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.generation.metrics import need_finite

__all__ = ["LinearProbe", "balanced"]


class LinearProbe:
    """Multinomial logistic regression with a squared penalty, fitted to its optimum by L-BFGS.

    Features are centred and divided by their overall standard deviation, one number, so that features that an encoder does not use stay
    small.

    Args:
        features: features of images, ``(image, feature)``.
        labels: class of each image, int64 ``(image,)``.
        penalty: weight of half the squared norm of the weights, beside the mean cross-entropy.

    Raises:
        ValueError: fewer than two classes, or labels below 0; here and later, shapes that don't fit, and features that are NaN or infinite.

    Example:
        >>> probe = LinearProbe(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
        >>> probe.accuracy(torch.tensor([[0.4], [4.6]]), torch.tensor([0, 1]))
        1.0
    """

    def __init__(self, features: Tensor, labels: Tensor, *, penalty: float = 1e-2) -> None:
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"a linear probe needs features (image, feature) and a label for each image, but was given {tuple(features.shape)} and "
                f"{tuple(labels.shape)}"
            )
        need_finite("a linear probe", features)
        seen = labels.unique()
        if labels.dtype != torch.int64 or len(seen) < 2 or seen[0] < 0:
            given = f"{str(labels.dtype).removeprefix('torch.')} labels {seen.tolist()}"
            raise ValueError(f"a linear probe needs images of at least two classes, int64 from 0 up, but was given {given}")
        classes = int(labels.max()) + 1
        x = features.detach().double()
        self.mean, self.scale = x.mean(0), x.std().clamp_min(1e-12)
        self.weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
        self.bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
        x = (x - self.mean) / self.scale
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(x, self.weight, self.bias), labels) + 0.5 * penalty * self.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        """The most probable class of each image, ``(image,)``."""
        need_finite("a linear probe", features)  # the class of NaN would be the first
        return F.linear((features.double() - self.mean) / self.scale, self.weight, self.bias).argmax(1)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of images whose most probable class is their label, in [0, 1]."""
        found = self.classify(features)
        if labels.shape != found.shape:
            raise ValueError(f"a linear probe needs a label for each image, but was given {tuple(labels.shape)} of {len(found)} images")
        return float((found == labels).double().mean())


def balanced(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Indices of ``n`` images, equally many of each class, drawn at random.

    Raises:
        ValueError: the classes don't divide ``n``, or one has too few images.

    Example:
        >>> labels = torch.tensor([0, 1, 0, 1, 0, 1])
        >>> labels[balanced(labels, 4, torch.Generator())].sort().values.tolist()
        [0, 0, 1, 1]
    """
    classes = labels.unique()
    each, rest = divmod(n, len(classes))
    least = int(labels.bincount()[classes].min())
    if rest or not 0 < each <= least:
        cure = f"give a multiple of {len(classes)}, at most {least * len(classes)}"
        raise ValueError(f"{n} labels can't be shared equally by {len(classes)} classes of at least {least} images; {cure}")
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:each] for label in classes])
