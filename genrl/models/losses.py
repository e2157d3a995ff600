"""What a fit asks of a model: its players, the arguments of a loss, the mean loss over images; and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from genrl.generators import forked_generators
from genrl.models.base import evaluating
from genrl.models.capabilities import Measured, Model, Player, Source, Transform
from genrl.models.nn import device_of, dtype_of, trainable
from genrl.models.sources import as_source, parts

__all__ = [
    "arguments",
    "averaged",
    "check_labels",
    "copied",
    "follow",
    "held_out_loss",
    "is_conditional",
    "measured",
    "own_transform",
    "players_of",
]


@torch.no_grad()
def held_out_loss(
    model: nn.Module, images: Source | Tensor | np.ndarray, transform: Transform | None = None, batch_size: int = 250, seed: int = 0
) -> float:
    """Mean loss over images, the first player's where there are several; the same draws for every call with one seed."""
    source, generator = as_source(images, dtype_of(model)), torch.Generator().manual_seed(seed)
    loss, transform = players_of(model)[0].loss, own_transform(model, transform)
    total = 0.0
    with forked_generators(), evaluating(model):
        torch.manual_seed(seed)
        for index in torch.arange(len(source)).tensor_split(math.ceil(len(source) / batch_size)):  # equal parts
            total += float(measured(loss(*arguments(source, index, transform, generator, model)))[0]) * len(index)
    return total / len(source)


@contextmanager
def averaged(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other weights, in evaluation mode; with its own again afterwards."""
    own, was_training = copied(model), model.training
    model.load_state_dict(weights)
    model.eval()
    try:
        yield
    finally:
        model.load_state_dict(own)
        model.train(was_training)


def players_of(model: nn.Module) -> list[Player]:
    """The losses of a model with the parameters that each trains: its ``players()``, or one with all parameters.

    Raises:
        TypeError: it has neither ``players`` nor a ``loss``.
    """
    if hasattr(model, "players"):
        return list(model.players())  # type: ignore[operator]
    if not isinstance(model, Model):
        once = "; it learns in one pass, by model.count([(images.batch(), images.labels)])" if hasattr(model, "count") else ""
        raise TypeError(f"{type(model).__name__} has no loss(x), which fit needs{once}")
    return [Player("loss", trainable(model), model.loss)]


def own_transform(model: nn.Module, given: Transform | None) -> Transform | None:
    """The transform that is ``given``, or else the model's own, if it has one."""
    own: Transform | None = getattr(model, "transform", None)
    return own if given is None else given


def is_conditional(model: nn.Module) -> bool:
    """Whether the model's loss takes labels."""
    return bool(getattr(model, "conditional", False))


def check_labels(model: nn.Module, images: Source, whose: str) -> None:
    """Refuse images without labels, or with labels of classes that a conditional model does not have.

    Raises:
        ValueError: they have none, or such.
    """
    if not is_conditional(model):
        return
    most, classes = int(images.needed_labels.max()), getattr(model, "n_classes", None)
    if classes is not None and most >= classes:
        name = type(model).__name__
        raise ValueError(f"this {name} has {classes} classes, but {whose} have label {most}; build it with n_classes={most + 1}")


def arguments(
    images: Source,
    index: Tensor,
    transform: Transform | None,
    generator: torch.Generator,
    model: nn.Module,
) -> tuple[Tensor, ...]:
    """The arguments of a loss, on the model's device; what is drawn for the images is drawn where they are."""
    drawn, device = images.batch(index), device_of(model)
    made = parts(drawn if transform is None else transform(drawn, generator))
    labels = (images.needed_labels[index],) if is_conditional(model) else ()
    moved = (part.to(device) for part in (*made, *labels))
    return tuple(part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part for part in moved)


def measured(loss: Measured) -> tuple[Tensor, Mapping[str, Tensor]]:
    """A loss and the numbers for the log that came with it, if any did."""
    return (loss, {}) if isinstance(loss, Tensor) else loss


def copied(model: nn.Module) -> dict[str, Tensor]:
    """The model's ``state_dict``, in tensors of its own."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the average of everything with a fraction; counters and masks are copied."""
    now = model.state_dict()
    smooth = [name for name, value in now.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in smooth], [now[name] for name in smooth], 1 - decay)
    for name in now.keys() - set(smooth):
        average[name].copy_(now[name])
