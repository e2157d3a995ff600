"""What a space means: how it is named in a message, and what makes it flat."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

__all__ = ["brief", "cure"]


def brief(space: spaces.Space[Any]) -> str:
    """Kind and shape of a space, for a message."""
    shape = getattr(space, "shape", None)
    return f"{type(space).__name__}{tuple(shape) if shape else ''}"


def cure(space: spaces.Space[Any]) -> str:
    """The wrapper that makes a flat Box of a space, for a message."""
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return "gymnasium.wrappers.FlattenObservation, or give the reward features of the image"
    return "gymnasium.wrappers.FlattenObservation"
