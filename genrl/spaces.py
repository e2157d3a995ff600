"""What a space means: how it is named in a message, and what makes it flat."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Space", "brief", "cure", "flat_action", "flat_size"]

Space = spaces.Space[Any]


def brief(space: spaces.Space[Any]) -> str:
    """Kind and shape of a space, for a message."""
    shape = getattr(space, "shape", None)
    return f"{type(space).__name__}{tuple(shape) if shape else ''}"


def cure(space: spaces.Space[Any]) -> str:
    """The wrapper that makes a flat Box of a space, for a message."""
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return "gymnasium.wrappers.FlattenObservation, or give the reward features of the image"
    return "gymnasium.wrappers.FlattenObservation"


def flat_size(space: Space) -> int:
    """Number of entries of a flat item: the size of a Box, the number of choices of a discrete space."""
    return spaces.flatdim(space)


def flat_action(space: Space, action: Tensor) -> Tensor:
    """Actions as ``(batch, flat_size(space))`` floats: Box flattened, discrete ones one-hot.

    Example:
        >>> flat_action(spaces.Discrete(3), torch.tensor([2]))
        tensor([[0., 0., 1.]])
    """
    if isinstance(space, spaces.Discrete):
        return F.one_hot(action.long().reshape(-1) - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        sizes = space.nvec.reshape(-1).tolist()
        columns = action.long().reshape(-1, len(sizes)).unbind(1)
        return torch.cat([F.one_hot(column, size) for column, size in zip(columns, sizes, strict=True)], dim=1).float()
    return action.reshape(action.shape[0], -1).float()
