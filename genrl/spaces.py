"""What a space means: how it is named in a message, and what makes it flat, which numbers it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Space", "as_action", "brief", "cure", "flat_action", "flat_size", "numbers"]

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
        columns = (action.long().reshape(-1, len(sizes)) - torch.as_tensor(space.start, device=action.device).reshape(-1)).unbind(1)
        return torch.cat([F.one_hot(column, size) for column, size in zip(columns, sizes, strict=True)], dim=1).float()
    return action.reshape(action.shape[0], -1).float()


def numbers(space: Space) -> tuple[np.ndarray, np.ndarray] | None:
    """Least and greatest whole number of each entry of a discrete space, in its shape; ``None`` for any other space.

    Example:
        >>> numbers(spaces.Discrete(3, start=1))
        (array(1), array(3))
        >>> numbers(spaces.MultiDiscrete([3, 2]))
        (array([0, 0]), array([2, 1]))
    """
    if isinstance(space, spaces.Discrete):
        return np.array(space.start), np.array(space.start + space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, dtype=np.int64), np.ones(space.shape, dtype=np.int64)
    return None


def as_action(value: Any, space: Space, who: str) -> Any:
    """What somebody says to do, as the action that an environment with this space executes.

    Args:
        value: numbers of the space's size; those of a ``Box`` are moved inside.
        space: the environment's action space.
        who: who said so, for the message.

    Raises:
        ValueError: it is no action of the space.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "biuf" or given.size != np.prod(space.shape or (), dtype=int) or not np.isfinite(given).all():
        raise ValueError(f"{who} said {value!r}, which is no action of {space}; it needs {space.shape or 'one'} finite numbers")
    action = given.reshape(space.shape or ())
    if isinstance(space, spaces.Box):
        return np.clip(action, space.low, space.high).astype(space.dtype)
    if not space.contains(whole := action.astype(space.dtype)) or (whole != action).any():
        raise ValueError(f"{who} said {value!r}, which is no action of {space}")
    return whole if whole.shape else int(whole)
