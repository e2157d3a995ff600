"""A small convolutional classifier, the judge of generated images."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.files import load_state, save_state
from genrl.generators import forked_generators
from genrl.models.capabilities import ImageSource
from genrl.models.training import faster_precision, fit

__all__ = ["Classifier", "judge"]

STEPS, BATCH = 900, 128
"""Fewest steps in which a judge is fitted, and images in a step; two epochs of 60,000 images have more steps."""


class Classifier(nn.Module):
    """A convolutional network that tells the classes of images, and in whose features images are compared.

    It has three convolutions at a half, a quarter and a quarter of the image's size, means over a grid of at most 4 × 4 places, and a
    hidden layer. Nothing in it is random or depends on the other images of a batch, in training or evaluation. The hidden layer is
    normalised, so that distances between features have one scale whatever the images are.

    Args:
        image_shape: channels, height, width; 1 or 3 channels, from 8 to 64 pixels a side.
        n_classes: number of classes, at least 2.
        width: channels of the first convolution; the others have twice as many.
        features: size of the last hidden layer.

    Raises:
        ValueError: a value out of its range, images of another shape.

    Example:
        >>> classifier = Classifier((1, 28, 28), width=8, features=16)
        >>> x = torch.rand(5, 1, 28, 28)
        >>> classifier(x).shape, classifier.features(x).shape
        (torch.Size([5, 10]), torch.Size([5, 16]))
    """

    conditional = True
    """The loss takes labels."""

    def __init__(self, image_shape: tuple[int, int, int], n_classes: int = 10, *, width: int = 32, features: int = 128) -> None:
        super().__init__()
        sizes = tuple(image_shape)
        fine = len(sizes) == 3 and sizes[0] in (1, 3) and 8 <= min(sizes[1:]) <= max(sizes[1:]) <= 64
        require(
            type(self),
            ("image_shape", image_shape, fine, "1 or 3 channels, and a height and a width from 8 to 64"),
            ("n_classes", n_classes, n_classes >= 2, "at least 2"),
            ("width", width, width >= 1, "at least 1"),
            ("features", features, features >= 1, "at least 1"),
        )
        self.image_shape, self.n_classes = sizes, n_classes
        channels, height, width_of_image = sizes
        grid = [min(4, math.ceil(side / 4)) for side in (height, width_of_image)]
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((grid[0], grid[1])),
            nn.Flatten(),
            nn.Linear(2 * width * grid[0] * grid[1], features),
            nn.LayerNorm(features),
            nn.ReLU(),
        )
        self.output = nn.Linear(features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Activations of the last hidden layer, at least 0, ``(batch, features)``; ``x`` is in [0, 1]."""
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(f"Classifier needs images of {self.image_shape} each, but was given a batch of {tuple(x.shape)}")
        hidden: Tensor = self.hidden(x)
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(batch, n_classes)``."""
        logits: Tensor = self.output(self.features(x))
        return logits

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy, in nats per image."""
        return F.cross_entropy(self(x), labels)

    @torch.no_grad()
    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Share of the images whose likeliest class is their label, in [0, 1]."""
        if not len(x) or len(x) != len(labels):
            raise ValueError(f"accuracy needs at least one image and as many labels, but was given {len(x)} and {len(labels)}")
        hits = [(self(part).argmax(1) == truth).sum() for part, truth in zip(x.split(500), labels.split(500), strict=True)]
        return int(torch.stack(hits).sum()) / len(x)

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, n_classes={self.n_classes}"


def judge(
    data: ImageSource, *, epochs: int | None = None, seed: int = 0, progress: bool = False, cache: str | Path | None = None
) -> Classifier:
    """A classifier fitted to images with labels; it names more than 98.5 % of MNIST's test images right.

    Args:
        data: images with labels to learn from, such as :class:`genrl.data.Images`.
        epochs: passes over the images; by default two, or as many as make 900 steps.
        seed: seed of the weights and the shuffles; the caller's random numbers stay as they are.
        progress: show a bar on stderr.
        cache: a file. If it holds the classifier of these very images, labels and settings, that classifier is returned; otherwise the file
            is written anew, with its folder.

    Raises:
        ValueError: there are no labels, fewer than two classes, or images that :class:`Classifier` does not take.
    """
    labels, shape = data.needed_labels, tuple(data.batch(torch.arange(1)).shape[1:])
    settings: dict[str, Any] = {
        "epochs": max(2, math.ceil(STEPS / math.ceil(len(data) / BATCH))) if epochs is None else epochs,
        "batch_size": BATCH,
        "learning_rate": 1e-3,
        "anneal": True,
        "precision": faster_precision(),
        "seed": seed,
    }
    with forked_generators():
        torch.manual_seed(seed)
        fresh = Classifier((shape[0], shape[1], shape[2]), int(labels.max()) + 1)
    about = {"net": str(fresh), "fit": settings, "images": len(data), "checksum": "" if cache is None else _checksum(data)}
    classifier = None if cache is None else _cached(Path(cache), about, copy.deepcopy(fresh))
    if classifier is None:
        classifier = fresh
        fit(classifier, data, progress=progress, **settings)
        if cache is not None:
            with contextlib.suppress(OSError):  # where nothing can be written, it is fitted anew every time
                Path(cache).parent.mkdir(parents=True, exist_ok=True)
                save_state(cache, {"about": about, "weights": classifier.state_dict()})
    return classifier.eval()


def _cached(path: Path, about: Mapping[str, Any], classifier: Classifier) -> Classifier | None:
    """The classifier with the weights of a cache file, or none if the file can't be used for any reason."""
    try:
        saved = load_state(path)
        if saved["about"] != about:
            return None
        classifier.load_state_dict(saved["weights"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
        return None
    return classifier if all(value.isfinite().all() for value in classifier.parameters()) else None


def _checksum(data: ImageSource) -> str:
    """Checksum of all grey levels and labels in their order."""
    digest = hashlib.sha256(data.needed_labels.numpy().tobytes())
    for index in torch.arange(len(data)).split(1000):
        digest.update(data.batch(index).numpy().tobytes())
    return digest.hexdigest()
