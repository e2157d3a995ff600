"""The image in an observation: where it is, and its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from genrl.spaces import brief

__all__ = ["ROUNDING", "SMALLEST", "View", "batch_of_one", "picture_in", "view_of"]


@dataclass(frozen=True)
class View:
    """Where the image of an observation is and how it lies in memory."""

    shape: tuple[int, int, int]
    """Channels, height and width of one frame."""
    frames: int
    """Number of frames that are stacked in the channels, oldest first."""
    layout: Literal["channels last", "channels first", "no channels"]
    floats: bool
    """Whether it has floats in [0, 1] instead of bytes."""
    key: str | None = None
    """The image's key in a Dict; ``None`` if the observation is the image."""

    def pixels(self, obs: Any) -> np.ndarray:
        """Bytes of observations with a leading batch axis, ``(batch, frames * channel, height, width)``.

        Raises:
            ValueError: floats outside [0, 1].
        """
        image = np.asarray(obs if self.key is None else obs[self.key])
        if self.floats:
            image = _bytes(image)
        if self.layout == "channels last":
            return image.transpose(0, 3, 1, 2)  # a view: the encoder makes floats of it anyway, and a copy of its own costs more than that
        return image[:, None] if self.layout == "no channels" else image


ROUNDING = 1e-3
"""How far a float may be outside of [0, 1]: less than half of a byte's step, so that it is the byte of 0 or 1."""

SMALLEST = 8
"""Pixels a side of the smallest image whose size nobody has named; a smaller array is no picture."""


def _bytes(image: np.ndarray) -> np.ndarray:
    if image.size and not (image.min() >= -ROUNDING and image.max() <= 1 + ROUNDING):
        low, high = float(image.min()), float(image.max())
        cure = "divide them by 255" if high > 2 else "clip them" if high == high else "find out where the NaN comes from"
        raise ValueError(f"float images must be in [0, 1], but have {low:.4g} to {high:.4g}; {cure}, or give bytes")
    return np.rint(255 * image).astype(np.uint8)


def view_of(space: spaces.Space[Any], source: tuple[int, int, int], stacked: bool = False) -> View:
    """Find the image of shape ``source`` (channels, height, width) in a space.

    Args:
        space: of observations: an image, or a Dict with one among other entries.
        source: what an encoder takes.
        stacked: whether several frames may be stacked in the channels.

    Raises:
        ValueError: there is none, or it is of another size; one sentence says what to do.
    """
    if isinstance(space, spaces.Dict):
        return _view_in(space, source, stacked)
    if not _is_picture(space):
        raise ValueError(
            f"an encoder needs observations with an image, but was given {brief(space)}; "
            "name a task that observes images, or wrap it in gymnasium.wrappers.AddRenderObservation"
        )
    assert isinstance(space, spaces.Box)
    if np.issubdtype(space.dtype, np.integer) and space.dtype != np.uint8:
        raise ValueError(f"images must be bytes (uint8) or floats in [0, 1], but this space has {space.dtype}; give bytes")
    if space.dtype != np.uint8 and not (np.min(space.low) >= 0 and np.max(space.high) <= 1):
        low, high = float(np.min(space.low)), float(np.max(space.high))
        raise ValueError(
            f"float images must be in [0, 1], but this space goes from {low:.3g} to {high:.3g}; give bytes (uint8), and leave a "
            "VecNormalize over images out"
        )
    channels, height, width = source
    floats, shape = space.dtype != np.uint8, space.shape
    for layout, sides, depth in (("channels last", shape[:2], shape[-1]), ("channels first", shape[1:], shape[0])):
        frames, rest = divmod(depth, channels)
        if len(shape) == 3 and sides == (height, width) and not rest and (frames == 1 or (stacked and frames >= 1)):
            return View(source, frames, layout, floats)  # type: ignore[arg-type]
    if shape == (height, width) and channels == 1:
        return View(source, 1, "no channels", floats)
    raise ValueError(_other_size(shape, source))


def picture_in(space: spaces.Space[Any]) -> View | None:
    """The grey or coloured image of any size that observations are, or that is alone among those of a Dict; ``None`` where there is none.

    Example:
        >>> picture_in(spaces.Dict(screen=spaces.Box(0, 255, (3, 60, 80), np.uint8), speed=spaces.Box(0, 9))).shape
        (3, 60, 80)
    """
    items = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    pictures = [item for item in items if _is_picture(item)]
    source = _source(pictures[0]) if len(pictures) == 1 else None
    try:
        return None if source is None else view_of(space, source)
    except ValueError:  # numbers that are no levels of a pixel
        return None


def _source(item: spaces.Space[Any]) -> tuple[int, int, int] | None:
    """Channels, height and width of a grey or coloured image of bytes, or of floats on three axes."""
    shape = item.shape or ()
    if len(shape) == 2 and item.dtype == np.uint8:
        shape = (1, *shape)
    elif len(shape) == 3 and shape[2] in (1, 3):
        shape = (shape[2], *shape[:2])
    return shape if len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= SMALLEST else None


def _view_in(space: spaces.Dict, source: tuple[int, int, int], stacked: bool) -> View:
    pictures = {key: item for key, item in space.spaces.items() if _is_picture(item)}
    if not pictures:
        raise ValueError(
            f"an encoder needs an image among the observations, but the Dict has only {', '.join(space.spaces)}; "
            "leave the encoder out, or name a task that observes images"
        )
    if len(pictures) > 1:
        kept = [key for key in space if key == next(iter(pictures)) or key not in pictures]
        raise ValueError(
            f"an encoder needs one image among the observations, but the Dict has {', '.join(pictures)}; "
            f"leave all but one out, such as by gymnasium.wrappers.FilterObservation(env, {kept})"
        )
    ((key, item),) = pictures.items()
    return replace(view_of(item, source, stacked), key=key)


def _is_picture(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) in (2, 3) and (space.dtype == np.uint8 or min(space.shape[:2]) > 1)


def _other_size(shape: tuple[int, ...], source: tuple[int, int, int]) -> str:
    channels, height, width = source
    given = " × ".join(map(str, shape))
    stack = next((depth // channels for depth in (shape[-1], shape[0]) if len(shape) == 3 and depth % channels == 0), 1)
    if len(shape) == 3 and stack > 1 and (height, width) in (shape[:2], shape[1:]):
        return (
            f"the encoder sees one frame of {channels} channels, but the task stacks {stack} in an image of {given}; "
            f"leave the frame stack out, and stack codes by history={stack}, on the command line --history {stack}"
        )
    return (
        f"the encoder was fitted to images of {channels} × {height} × {width} (channels × height × width), but the task gives {given}; "
        "fit one to frames of this task, by: genrl generate --model jepa --data frames:TASK"
    )


def batch_of_one(obs: Any) -> Any:
    """An observation of one environment with a leading batch axis."""
    return {key: np.asarray(item)[None] for key, item in obs.items()} if isinstance(obs, Mapping) else np.asarray(obs)[None]
