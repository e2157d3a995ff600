"""The balance of a GAN's two players: what it draws while it learns, and what goes wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from genrl.generation.classifier import Classifier
from genrl.generators import forked_generators

__all__ = ["Balance", "CollapseWarning", "trouble"]

ALIKE = 0.5
"""Diversity below which all draws are nearly one image."""
FEWEST = 20
"""Expected draws of a class from which on it is counted; a good generator would miss nine tenths of them once in millions."""
SURE = 0.995
"""Accuracy above which the discriminator is too sure to teach."""


class CollapseWarning(UserWarning):
    """Warning that a generator draws only some of the classes, or learns nothing."""


class Balance:
    """Measures what a generator draws after each epoch, adds the numbers to the row of the log, and warns when it collapses.

    It is an ``on_epoch`` of :func:`genrl.models.training.fit`, which itself logs losses, norms of gradients and the discriminator's
    accuracies. A row gets ``diversity``, the mean distance of two draws over that of two real images, which is 1 for a good model. With a
    classifier it also gets ``modes`` and ``classes``: of the classes that are not too rare to tell, how many have at least a tenth of their
    share among the draws, and how many there are.

    Args:
        real: real images in [0, 1], ``(image, channel, height, width)``, at least 2, not all alike.
        classifier: classifier whose classes are counted and in whose features images are compared; without one, pixels are compared.
        labels: classes of the real images, int64 ``(image,)``; by default the classifier's.
        before: rows of the log so far, of a fit that goes on.
        n: number of draws.
        seed: seed of the draws; the caller's random numbers stay as they are.
        say: function that is called with a sentence on what goes wrong; by default it raises a :class:`CollapseWarning`.

    Example:
        >>> balance = Balance(torch.rand(50, 1, 8, 8), n=20, say=lambda words: print(words.split(";")[0]))
        >>> row = {"epoch": 1}
        >>> class Constant(torch.nn.Module):
        ...     def sample(self, n):
        ...         return torch.full((n, 1, 8, 8), 0.5)
        >>> balance(Constant(), row)
        epoch 1: the generator has learnt little yet: so far its images are 0.00 times as far from each other as real ones
    """

    def __init__(
        self,
        real: Tensor,
        classifier: Classifier | None = None,
        labels: Tensor | None = None,
        *,
        before: Sequence[Mapping[str, float]] = (),
        n: int = 500,
        seed: int = 0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if len(real) < 2 or n < 2:
            raise ValueError(f"Balance compares pairs of images, but was given {len(real)} real ones and n={n}; give at least 2 of each")
        if labels is not None and labels.shape != real.shape[:1]:
            raise ValueError(f"Balance needs a label for each of {len(real)} real images, but was given labels {tuple(labels.shape)}")
        self.classifier, self.n, self.seed, self.say = classifier, n, seed, say or _warn
        self.rows = list(before)
        self.spread = _spread(self._features(real[:n]))
        if not self.spread:
            raise ValueError("Balance compares how far images are from each other, but the real ones are all alike; give others")
        self.there = None if classifier is None else self._shares(self._classes(real) if labels is None else labels)

    def __call__(self, model: Any, row: dict[str, float]) -> None:
        """Draw, measure, and add the numbers to ``row``."""
        with forked_generators():
            torch.manual_seed(self.seed)
            images = model.sample(self.n).cpu()
        row["diversity"] = _spread(self._features(images)) / self.spread
        if self.there is not None:
            row["modes"] = modes(self._shares(self._classes(images)), self.there, self.n)
            row["classes"] = modes(self.there, self.there, self.n)
        self.rows.append(row)
        named = trouble(self.rows)
        if named is not None:
            self.say(f"epoch {row['epoch']}: {named}")

    @torch.no_grad()
    def _classes(self, x: Tensor) -> Tensor:
        """Classes of images by the classifier, ``(image,)``."""
        assert self.classifier is not None
        return torch.cat([self.classifier(part).argmax(1) for part in x.split(500)])

    def _shares(self, classes: Tensor) -> Tensor:
        """Share of each class that the classifier knows, ``(class,)``."""
        assert self.classifier is not None
        known = self.classifier.n_classes
        return torch.bincount(classes, minlength=known)[:known] / len(classes)

    @torch.no_grad()
    def _features(self, x: Tensor) -> Tensor:
        return x.flatten(1) if self.classifier is None else torch.cat([self.classifier.features(part) for part in x.split(500)])


def _warn(words: str) -> None:
    warnings.warn(words, CollapseWarning, stacklevel=3)


def modes(drawn: Tensor, there: Tensor, n: int) -> int:
    """Number of classes that have at least a tenth of their share among the draws.

    Args:
        drawn: share of each class among the draws, ``(class,)``.
        there: share of each class among real images, ``(class,)``.
        n: number of draws; a class of which fewer than ``FEWEST`` are expected among so many does not count.

    Example:
        >>> modes(torch.tensor([0.97, 0.02, 0.01]), torch.tensor([0.4, 0.4, 0.2]), 500)
        1
    """
    return int(((there * n >= FEWEST) & (drawn >= there / 10)).sum())


def trouble(rows: Sequence[Mapping[str, float]]) -> str | None:
    """A sentence on what is wrong in the last row of the log, or none; what was better in an earlier row has collapsed.

    Example:
        >>> row = {"diversity": 0.9, "modes": 4, "classes": 10}
        >>> trouble([row])
        'the generator draws only 4 of 10 classes; try minibatch discrimination, or a smaller learning rate'
        >>> trouble([row | {"modes": 8}, row])
        'the generator has collapsed: it draws 4 of 10 classes; try minibatch discrimination, or a smaller learning rate'
        >>> trouble([row, row | {"modes": 10}]) is None
        True
    """
    if not rows:
        return None
    row, cure = rows[-1], "try minibatch discrimination, or a smaller learning rate"
    if _is_uniform(row):
        apart = f"its images are {row['diversity']:.2f} times as far from each other as real ones"
        if all(map(_is_uniform, rows)):
            return f"the generator has learnt little yet: so far {apart}; train longer, and if that does not help, {cure}"
        return f"the generator has collapsed: {apart}; {cure}"
    if row.get("modes", 0) < row.get("classes", 0):
        verb = "has collapsed: it draws" if _lacks_half(row) and not all(map(_lacks_half, rows)) else "draws only"
        return f"the generator {verb} {row['modes']:.0f} of {row['classes']:.0f} classes; {cure}"
    if min(row.get("accuracy_real", 0.0), row.get("accuracy_fake", 0.0)) > SURE:
        return "the discriminator is sure of every image, so the generator learns little; try label smoothing, or a smaller discriminator"
    return None


def _is_uniform(row: Mapping[str, float]) -> bool:
    return row.get("diversity", 1.0) < ALIKE


def _lacks_half(row: Mapping[str, float]) -> bool:
    return row.get("modes", 0) <= row.get("classes", 0) / 2


def _spread(features: Tensor) -> float:
    """Mean distance between two rows."""
    return float(torch.pdist(features.double()).mean())
