"""The image in an observation, and stacked codes in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces

from genrl.encoders.encoder import CLIP, ImageEncoder
from genrl.spaces import brief

__all__ = ["CodeStack", "View", "batch_of_one", "flat_actions", "view_of"]


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
    view = view_of(item, source, stacked)
    return View(view.shape, view.frames, view.layout, view.floats, key)


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


class CodeStack:
    """Observations of several environments, with the codes of the last frames in place of the image; flat.

    A row is ``history`` codes, oldest first; then, if asked, the ``history`` - 1 actions between them (see :func:`flat_actions`); then the
    other entries of a Dict, in its order, flattened as :func:`gymnasium.spaces.flatten` does. An episode begins as if its first frame
    had always been there, and no action.

    Args:
        encoder: of the frames.
        observation_space, action_space: of the environments.
        n: number of environments.
        history: number of codes.
        actions: whether the actions between them are there too.

    Raises:
        ValueError: observations without such an image, or a history that is too short.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n: int,
        history: int = 1,
        actions: bool = False,
    ) -> None:
        if history < 1 + actions:
            needed = "at least 2, to have actions between codes" if actions else "at least 1"
            raise ValueError(f"history is {history}, but must be {needed}; type history=3")
        self.encoder, self.n, self.action_space = encoder, n, action_space
        self.view = view_of(observation_space, encoder.preprocessing.source)
        self._device = encoder.std.device
        self._here = self._device.type == "cpu" and encoder.std.dtype == torch.float32
        self.others = _others(observation_space, self.view)
        self._code, self._codes = encoder.size, history * encoder.size
        self._action = spaces.flatdim(action_space) if actions else 0
        # A copy for each environment, because numpy takes four times as long where it must repeat a row.
        self._middle, self._half = (np.tile(part, (n, 1)) for part in _scale(action_space))
        self._actions = self._codes + (history - 1) * self._action
        self._newest, self._last_action = slice(self._codes - self._code, self._codes), slice(self._actions - self._action, self._actions)
        size = self._actions + sum(spaces.flatdim(space) for space in self.others.values())
        self.space = _bounds(size, self._codes, self.others)
        self._older = np.arange(size)
        """Where each number of a row stood one step before; the newest ones stay, and are written over."""
        self._older[: self._newest.start] += self._code
        self._older[self._codes : self._last_action.start] += self._action
        self.rows = np.zeros((n, size), np.float32)
        """What was given last."""

    def begin(self, obs: Any) -> np.ndarray:
        """New episodes everywhere, ``(n, size)``."""
        self.rows = np.empty_like(self.rows)
        self._fill(self.rows, self._encoded(self.view.pixels(obs)))
        self._put_others(self.rows, obs)
        return self.rows.copy()

    def act(self, actions: np.ndarray) -> None:
        """Move the rows one step on, with ``actions`` as the newest; ``see`` or ``see_ends`` must follow.

        It needs no frame, so it is done while other processes step the environments, and before the forward of a network, which leaves
        caches cold.

        Args:
            actions: ``(n, *action_shape)``, as the environments are given them.
        """
        self.rows = self.rows.take(self._older, axis=1)
        if self._action:
            self.rows[:, self._last_action] = (_flat(self.action_space, actions) - self._middle) / self._half

    def see(self, obs: Any) -> np.ndarray:
        """The rows ``(n, size)`` after a step that ended no episode, of what the environments gave."""
        self.rows[:, self._newest] = self._encoded(self.view.pixels(obs))
        if self.others:
            self._put_others(self.rows, obs)
        return self.rows.copy()

    def see_ends(self, obs: Any, last: Mapping[int, Any]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The rows after a step that ended episodes, and for each of these that of its last observation.

        Args:
            obs: what the environments gave: where an episode has ended, the first of the next one.
            last: for those, the last observation of the old episode.
        """
        ended, final = list(last), {i: batch_of_one(item) for i, item in last.items()}
        codes = self._encoded(np.concatenate([self.view.pixels(obs), *(self.view.pixels(final[i]) for i in ended)]))
        rows = self.rows
        rows[:, self._newest] = codes[: self.n]
        rows[ended, self._newest] = codes[self.n :]
        if self.others:
            self._put_others(rows, obs)
        terminal: dict[int, np.ndarray] = {}
        for i in ended:
            terminal[i] = rows[i].copy()
            self._put_others(terminal[i][None], final[i])
        first = rows[ended]
        self._fill(first, codes[ended])
        rows[ended] = first
        return rows.copy(), terminal

    def episode(self, observations: Any, actions: Any) -> np.ndarray:
        """The rows of one whole episode, ``(time + 1, size)``, of its observations ``(time + 1, …)`` and actions ``(time, …)``."""
        frames = self.view.pixels(observations)
        parts = [frames[i : i + 250].copy() for i in range(0, len(frames), 250)]  # torch warns of arrays that it could write to but may not
        codes = np.concatenate([self._encoded(part) for part in parts])
        rows = np.zeros((len(codes), self.space.shape[0]), np.float32)
        history = self._codes // self._code
        before = np.arange(len(codes))[:, None] + np.arange(1 - history, 1)
        rows[:, : self._codes] = codes[before.clip(0)].reshape(len(codes), -1)
        if self._action:
            done = np.concatenate([np.zeros((1, self._action), np.float32), flat_actions(self.action_space, actions)])
            rows[:, self._codes : self._actions] = done[(before[:, :-1] + 1).clip(0)].reshape(len(codes), -1)
        self._put_others(rows, observations)
        return rows

    def _encoded(self, pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():  # cheaper than no_grad where each layer takes microseconds
            if self._here:
                codes = self.encoder(torch.from_numpy(pixels))
            else:
                codes = self.encoder(torch.from_numpy(pixels).to(self._device)).to("cpu", torch.float32)
        array: np.ndarray = codes.numpy()
        return array

    def _fill(self, rows: np.ndarray, codes: np.ndarray) -> None:
        """The first frame of an episode."""
        rows[:, : self._codes] = np.tile(codes, self._codes // self._code)
        rows[:, self._codes : self._actions] = 0

    def _put_others(self, rows: np.ndarray, obs: Any) -> None:
        start = self._actions
        for key, space in self.others.items():
            values = _flat(space, obs[key])
            rows[:, start : start + values.shape[1]] = values
            start += values.shape[1]


_ROWS = (spaces.Box, spaces.MultiBinary)
"""Spaces whose values are rows of numbers as they are."""


def flat_actions(space: spaces.Space[Any], actions: Any) -> np.ndarray:
    """Actions as float32 rows: a Box with finite bounds scaled to [-1, 1], discrete ones one-hot.

    Example:
        >>> flat_actions(spaces.Box(0, 4, (2,)), np.array([[0.0, 3.0]])).tolist(), flat_actions(spaces.Discrete(3), np.array([1])).tolist()
        ([[-1.0, 0.5]], [[0.0, 1.0, 0.0]])
    """
    middle, half = _scale(space)
    return ((_flat(space, actions) - middle) / half).astype(np.float32)


def _scale(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """Middle and half width of a Box with finite bounds; 0 and 1 of what is not scaled."""
    if not (isinstance(space, spaces.Box) and space.is_bounded()):
        return np.float32(0), np.float32(1)
    low, high = (bound.reshape(-1).astype(np.float32) for bound in (space.low, space.high))
    return (high + low) / 2, np.maximum((high - low) / 2, np.float32(1e-12))


def _flat(space: spaces.Space[Any], values: Any) -> np.ndarray:
    """A batch as float32 rows, each as :func:`gymnasium.spaces.flatten` gives it."""
    batch = np.asarray(values)
    if isinstance(space, _ROWS):
        return batch.reshape(len(batch), -1).astype(np.float32, copy=False)
    if isinstance(space, spaces.Discrete):
        batch = batch.reshape(-1)
    return np.stack([np.asarray(spaces.flatten(space, item)) for item in batch]).astype(np.float32)


def batch_of_one(obs: Any) -> Any:
    """An observation of one environment with a leading batch axis."""
    return {key: np.asarray(item)[None] for key, item in obs.items()} if isinstance(obs, Mapping) else np.asarray(obs)[None]


def _others(space: spaces.Space[Any], view: View) -> dict[str, spaces.Space[Any]]:
    if not isinstance(space, spaces.Dict):
        return {}
    return {key: item for key, item in space.spaces.items() if key != view.key}


def _bounds(size: int, codes: int, others: Mapping[str, spaces.Space[Any]]) -> spaces.Box:
    low, high = np.full(size, -np.inf, np.float32), np.full(size, np.inf, np.float32)
    low[:codes], high[:codes] = -CLIP, CLIP
    start = size - sum(spaces.flatdim(space) for space in others.values())
    flats: Sequence[Any] = [spaces.flatten_space(space) for space in others.values()]
    for flat in flats:
        low[start : start + len(flat.low)], high[start : start + len(flat.low)] = flat.low, flat.high
        start += len(flat.low)
    return spaces.Box(low, high, dtype=np.float32)
