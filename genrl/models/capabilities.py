"""What a model can do, which decides where it fits; and what a fit asks of a model and of its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

__all__ = ["Batch", "Decoder", "Density", "Encoder", "ImageSource", "Measured", "Model", "Player", "Sampler", "Source", "Transform"]


@runtime_checkable
class Density(Protocol):
    """Scores images: a novelty reward can be made of it."""

    likelihood: ClassVar[Literal["exact", "lower bound"]]
    """What ``log_prob`` is."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), or a bound below it, nats, ``(batch,)``."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Draws images: an environment or a replay can be made of it."""

    def sample(self, n: int) -> Tensor:
        """In [0, 1], ``(n, channel, height, width)``."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Turns images into features: a features extractor can be made of it."""

    def encode(self, x: Tensor) -> Tensor:
        """``(batch, feature)``."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Turns features back into images."""

    def decode(self, z: Tensor) -> Tensor:
        """In [0, 1], ``(batch, channel, height, width)``."""
        ...


Batch = Tensor | tuple[Tensor, ...]
"""What a source gives for some rows: images, or several tensors whose rows belong together, such as frames and actions."""
Transform = Callable[[Any, torch.Generator], Batch]
"""From a source's batch to what a model learns, such as :func:`genrl.models.pixels.binarize` of grey levels. Where the result is several
tensors, such as a target and what is given of it, each is an argument of the loss."""
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
    """What :func:`fit` asks of a module: a mean loss of a batch, in nats an image where it is a likelihood.

    A class with ``conditional = True`` is given labels too, ``loss(x, labels)``. One with several players that learn in turn, as a GAN has,
    has ``players()`` instead.
    """

    def loss(self, x: Tensor) -> Tensor:
        """Scalar, of a batch ``(batch, channel, height, width)``."""
        ...


@dataclass
class Player:
    """Parameters with a loss of their own."""

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[..., Measured]
    pace: float = 1.0
    """Its learning rate over that of the fit."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam."""
