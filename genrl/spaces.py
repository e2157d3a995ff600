"""What a space means: how a message names it, what its items look like as flat rows, which numbers it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "CHANNELS_FIRST",
    "FLATTENED",
    "Space",
    "alike",
    "as_action",
    "brief",
    "choices",
    "flat",
    "flat_action",
    "flat_size",
    "is_image",
    "leaves",
    "numbers",
    "unflat",
]

Space = spaces.Space[Any]

FLATTENED = "gymnasium.wrappers.FlattenObservation"
"""The wrapper that makes a flat Box of observations, for a message."""


CHANNELS_FIRST = "move the channels first, torch.as_tensor(images).permute(0, 3, 1, 2)"
"""What to type where images have their channels last, for a message."""


def brief(space: spaces.Space[Any]) -> str:
    """Kind and shape of a space, for a message."""
    shape = getattr(space, "shape", None)
    return f"{type(space).__name__}{tuple(shape) if shape else ''}"


def is_image(space: Space) -> bool:
    """Whether Stable-Baselines3 reads a space as an image: bytes from 0 to 255 on three axes."""
    if not (isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8):
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def leaves(space: Space) -> list[Space]:
    """The spaces that a Dict is made of, in its order; any other space alone."""
    return [leaf for part in space.spaces.values() for leaf in leaves(part)] if isinstance(space, spaces.Dict) else [space]


def alike(a: Space, b: Space) -> bool:
    """Whether two spaces have items of one form; bounds of a Box are no matter, since wrappers change them."""
    if isinstance(a, spaces.Dict) and isinstance(b, spaces.Dict):
        return list(a.spaces) == list(b.spaces) and all(alike(a[key], b[key]) for key in a.spaces)
    return a.shape == b.shape if isinstance(a, spaces.Box) and isinstance(b, spaces.Box) else a == b


def flat_size(space: Space) -> int:
    """Number of entries of a flat item: the size of a Box, the number of choices of a discrete space."""
    return spaces.flatdim(space)


def flat(space: Space, value: Tensor | Mapping[str, Any]) -> Tensor:
    """Items of a space as rows, ``(batch, flat_size(space))``: in the order of :func:`gymnasium.spaces.flatten`, a batch at a time.

    A Box is flattened and a discrete entry one-hot; a MultiBinary is flattened. The entries of a Dict stand side by side, in its order.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of them.
        value: ``(batch, *space.shape)``; of a Dict a mapping of such tensors.

    Returns:
        Floating numbers in their dtype, whole ones in float32.

    Raises:
        ValueError: items of another size.

    Example:
        >>> both = spaces.Dict({"place": spaces.Box(-1, 1, (2,)), "turn": spaces.Discrete(3)})
        >>> flat(both, {"place": torch.tensor([[0.5, -0.5]]), "turn": torch.tensor([2])})
        tensor([[ 0.5000, -0.5000,  0.0000,  0.0000,  1.0000]])
    """
    if isinstance(space, spaces.Dict):
        assert isinstance(value, Mapping)
        return torch.cat([flat(part, value[key]) for key, part in space.spaces.items()], dim=1)
    assert isinstance(value, Tensor)
    dtype = value.dtype if value.is_floating_point() else torch.float32
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = choices(space)
        start = torch.as_tensor(space.start, device=value.device).reshape(-1)
        columns = (value.long().reshape(-1, len(sizes)) - start).unbind(1)
        return torch.cat([F.one_hot(column, size) for column, size in zip(columns, sizes, strict=True)], dim=1).to(dtype)
    if value.shape[1:].numel() != flat_size(space):
        raise ValueError(f"items of {brief(space)} have {flat_size(space)} numbers each, but these are of shape {tuple(value.shape)}")
    return value.reshape(len(value), flat_size(space)).to(dtype)


def unflat(space: Space, rows: np.ndarray) -> Any:
    """The inverse of :func:`flat`, ``(batch, *space.shape)`` in the space's dtype; of a Dict a dict of such arrays.

    Example:
        >>> unflat(spaces.Dict({"place": spaces.Box(-1, 1, (2,)), "turn": spaces.Discrete(3)}), np.array([[0.5, -0.5, 0, 0, 1]]))["turn"]
        array([2])
    """
    if isinstance(space, spaces.Dict):
        parts = np.split(rows, np.cumsum([flat_size(part) for part in space.spaces.values()])[:-1], axis=1)
        return {key: unflat(part, own) for (key, part), own in zip(space.spaces.items(), parts, strict=True)}
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        columns = np.split(rows, np.cumsum(choices(space))[:-1], axis=1)
        rows = np.stack([column.argmax(1) for column in columns], axis=1) + np.reshape(space.start, -1)
    return rows.reshape(len(rows), *(space.shape or ())).astype(space.dtype)


def choices(space: spaces.Discrete | spaces.MultiDiscrete) -> list[int]:
    """Number of choices of each entry of a discrete space.

    Example:
        >>> choices(spaces.Discrete(3)), choices(spaces.MultiDiscrete([3, 2]))
        ([3], [3, 2])
    """
    return [int(space.n)] if isinstance(space, spaces.Discrete) else [int(n) for n in space.nvec.reshape(-1)]


def flat_action(space: Space, action: Tensor) -> Tensor:
    """Actions as ``(batch, flat_size(space))`` floats: Box flattened, discrete ones one-hot.

    Example:
        >>> flat_action(spaces.Discrete(3), torch.tensor([2]))
        tensor([[0., 0., 1.]])
    """
    return flat(space, action).float()


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
    """``value`` as an action that an environment with this space executes.

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
