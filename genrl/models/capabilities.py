"""What a model can do, which decides where it fits; and what :func:`genrl.models.fit` asks of a model and of its images.

A capability is a protocol: ``isinstance(model, Density)`` asks whether a model has its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

__all__ = [
    "Batch",
    "ClassSampler",
    "Completer",
    "Decoder",
    "Density",
    "Encoder",
    "Enlarger",
    "ImageSource",
    "Inpainter",
    "LatentSampler",
    "Measured",
    "Model",
    "Player",
    "Sampler",
    "Source",
    "Transform",
]


@runtime_checkable
class Density(Protocol):
    """A model that scores images; a novelty reward can be made of it."""

    likelihood: ClassVar[Literal["exact", "lower bound"]]
    """What ``log_prob`` returns."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) or a lower bound of it, in nats, ``(batch,)``."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A model that draws images; an environment or a replay can be made of it."""

    def sample(self, n: int) -> Tensor:
        """``n`` images in [0, 1], ``(n, channel, height, width)``."""
        ...


@runtime_checkable
class ClassSampler(Protocol):
    """A model that draws images of a class, if it was built with classes."""

    conditional: bool
    """Whether it was."""
    n_classes: int

    def sample(self, n: int, *, labels: Tensor | None = None) -> Tensor:
        """``n`` images in [0, 1] of the classes ``labels``, int64 ``(n,)``."""
        ...


@runtime_checkable
class LatentSampler(Protocol):
    """A model whose draws are functions of latent numbers that can be varied one at a time."""

    def walks(self, rows: int, steps: int) -> Tensor:
        """Rows of images, each from one random draw to another in equal steps, ``(rows * steps, channel, height, width)``."""
        ...

    def sweeps(self, rows: int, steps: int) -> dict[str, Tensor]:
        """Rows of images in which one code alone changes, by the name of the code."""
        ...


@runtime_checkable
class Completer(Protocol):
    """A model that makes what is wanted of an image from what is given, see :mod:`genrl.models.corruptions`."""

    likelihood: ClassVar[Literal["exact", "lower bound"]]

    def complete(self, given: Tensor) -> Tensor:
        """Images in [0, 1], ``(batch, channel, height, width)``."""
        ...

    def log_prob(self, target: Tensor, given: Tensor, wanted: Tensor, samples: int = 1) -> Tensor:
        """log p(wanted | given) or a lower bound of it, in nats, ``(batch,)``."""
        ...

    def log_prob_of_guess(self, target: Tensor, given: Tensor, wanted: Tensor) -> Tensor:
        """Log probability by the plain part of the model alone, the floor that the whole model has to beat."""
        ...


@runtime_checkable
class Inpainter(Protocol):
    """A model that draws the unknown pixels of images, whichever they are."""

    def inpaint(self, image: Tensor, known: Tensor) -> Tensor:
        """Images in [0, 1] whose pixels are those of ``image`` where ``known``, boolean ``(height, width)``, is true."""
        ...


@runtime_checkable
class Enlarger(Protocol):
    """A model that draws images of its own size from smaller ones."""

    def super_resolve(self, small: Tensor) -> Tensor:
        """Images in [0, 1], ``(batch, channel, height, width)``, of images that are two, three or four times smaller."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """A model that turns images into features; a features extractor can be made of it."""

    def encode(self, x: Tensor) -> Tensor:
        """Features, ``(batch, feature)``."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """A model that turns features back into images."""

    def decode(self, z: Tensor) -> Tensor:
        """Images in [0, 1], ``(batch, channel, height, width)``."""
        ...


Batch = Tensor | tuple[Tensor, ...]
"""What a source gives for some rows: images, or several tensors whose rows belong together, such as frames and actions."""
Transform = Callable[[Any, torch.Generator], Batch]
"""Function from a source's batch to what a model learns from, such as :func:`genrl.models.pixels.binarize` of grey levels. Where the result
is several tensors, such as a target and what is given of it, each is an argument of the loss."""
Measured = Tensor | tuple[Tensor, Mapping[str, Tensor]]
"""A loss, or a loss and numbers that were measured on the way; their means are in the log."""


class Source(Protocol):
    """Rows of which batches are drawn, such as :class:`genrl.data.Images` or :class:`genrl.models.sources.TensorSource`."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Batch:
        """Rows at ``index``: grey levels in [0, 1], ``(batch, channel, height, width)``; or several tensors, ``(batch, …)`` each."""
        ...

    @property
    def needed_labels(self) -> Tensor:
        """``(image,)``, int64; an error where there are none. Only a conditional model asks."""
        ...


class ImageSource(Source, Protocol):
    """A source of images alone."""

    def batch(self, index: Tensor) -> Tensor:
        """Grey levels in [0, 1], ``(batch, channel, height, width)``."""
        ...


@runtime_checkable
class Model(Protocol):
    """What :func:`fit` asks of a module: the mean loss of a batch, in nats per image where it is a likelihood.

    A model with ``conditional = True`` is given labels too, ``loss(x, labels)``. A model with several players that learn in turn, such as
    a GAN, has ``players()``, a list of :class:`Player`, instead.
    """

    def loss(self, x: Tensor) -> Tensor:
        """Scalar loss of a batch ``(batch, channel, height, width)``."""
        ...


@dataclass
class Player:
    """Parameters that learn from a loss of their own."""

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[..., Measured]
    pace: float = 1.0
    """Learning rate of this player, as a multiple of the fit's."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two averages."""
