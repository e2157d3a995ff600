"""Several frames in one image, for a learner whose own networks look at images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from genrl.spaces import brief

__all__ = ["StackedFrames", "channel_axis"]


def channel_axis(shape: Sequence[int]) -> int:
    """The axis of an image's channels, from the end: the first one where that is the shortest, as Stable-Baselines3 takes it, or the last.

    Example:
        >>> channel_axis((3, 64, 64)), channel_axis((64, 64, 3))
        (-3, -1)
    """
    return -3 if np.argmin(shape) == 0 else -1


class StackedFrames(gymnasium.Wrapper[np.ndarray, Any, Any, Any]):
    """An environment whose image is the last frames, oldest first, behind each other in the channels.

    An episode begins as if its first frame had always been there.

    Args:
        env: observes an image, ``(height, width, channel)`` or ``(channel, height, width)``.
        frames: how many.

    Raises:
        ValueError: other observations; more channels together than pixels a side.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], frames: int) -> None:
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3 or frames < 1:
            given = brief(space)
            raise ValueError(f"{frames} frames can be stacked of images (height, width, channel), but not of {given}; type --history 1")
        axis = channel_axis(space.shape)
        channels, side = space.shape[axis], min(np.delete(space.shape, axis))
        if frames > 1 and frames * channels >= side:
            # common/preprocessing.py, is_image_space_channels_first: the shortest axis is that of the channels, the first of equal ones.
            raise ValueError(
                f"{frames} frames of {channels} channels are {frames * channels} channels of {side} pixels a side, which Stable-Baselines3 "
                f"would take for the channels; type --history {max(1, (side - 1) // channels)} or less, or draw larger images"
            )
        super().__init__(env)
        self.frames, self._axis = frames, axis
        low, high = (np.concatenate([bound] * frames, axis=axis) for bound in (space.low, space.high))
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)
        self._seen: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The first frame, several times."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._seen = [np.array(obs)] * self.frames  # a copy: a task may draw every frame into one array
        return np.concatenate(self._seen, axis=self._axis), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """The newest frame is the last."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._seen = [*self._seen[1:], np.array(obs)]
        return np.concatenate(self._seen, axis=self._axis), reward, terminated, truncated, info
