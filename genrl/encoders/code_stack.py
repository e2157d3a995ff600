"""The codes of the last frames, in place of the image in an observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from genrl.encoders.encoder import CLIP, ImageEncoder, check_encoder
from genrl.encoders.view import View, batch_of_one, view_of

__all__ = ["CodeStack", "flat_actions"]


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
        ValueError: what is no encoder, observations without such an image, or a history that is too short.
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
        check_encoder(encoder)
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
