"""Images that are what their space says, so that no learner learns from others without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from genrl.spaces import leaves

__all__ = ["with_checked_images"]


def with_checked_images(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """``env``, with each of its images compared with its space, if there are any: bytes on two or three axes, or floats on three."""
    return CheckedImages(env) if any(map(_is_picture, leaves(env.observation_space))) else env


class CheckedImages(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Refuses images of another type or shape than their space has; other integers from 0 to 255 become bytes.

    Stable-Baselines3 copies observations into an array of the space's type (common/vec_env/dummy_vec_env.py, _save_obs): floats in [0, 1]
    become zeros there, and a learner learns from black images.
    """

    @property
    def spec(self) -> Any:  # type: ignore[override]  # which Gymnasium types as an attribute, and makes a property in Wrapper
        """The task's, which says nothing of how it is checked."""
        return self.env.spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The first observation of an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return _checked(self.env.observation_space, obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The observation after the action."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return _checked(self.env.observation_space, obs), reward, terminated, truncated, info


def _is_picture(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) in ((2, 3) if space.dtype == np.uint8 else (3,))


def _checked(space: spaces.Space[Any], obs: Any) -> Any:
    """``obs`` with bytes for images.

    Raises:
        ValueError: an image of another shape, or whose values are no bytes.
    """
    if isinstance(space, spaces.Dict) and isinstance(obs, Mapping):
        return {key: _checked(item, obs[key]) for key, item in space.spaces.items()}
    if not _is_picture(space):
        return obs
    image = np.asarray(obs)
    if image.shape != space.shape:
        raise ValueError(f"the task gives an image of shape {image.shape}, but its space says {space.shape}; repair the task")
    if image.dtype == np.uint8 or space.dtype != np.uint8:
        return obs
    if np.issubdtype(image.dtype, np.integer) and image.min() >= 0 and image.max() <= 255:
        return image.astype(np.uint8)
    raise ValueError(
        f"the task gives an image of {image.dtype} with values from {image.min():.3g} to {image.max():.3g}, but its space says bytes, "
        "uint8 from 0 to 255; repair the task, for floats in [0, 1] by (255 * image).astype(numpy.uint8)"
    )
