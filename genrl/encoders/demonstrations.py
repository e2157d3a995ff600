"""Demonstrations of images as a learner sees them: as codes, or as several frames in one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from genrl.data import Demonstrations, Episode
from genrl.encoders.code_stack import CodeStack
from genrl.encoders.frames import channel_axis

__all__ = ["encoded_demonstrations", "stacked_demonstrations"]


def encoded_demonstrations(demonstrations: Demonstrations, codes: CodeStack) -> Demonstrations:
    """The same episodes, observed as ``codes`` gives them: each with its own history, also where only some of its steps are kept.

    Args:
        demonstrations: of images of the size that the encoder takes.
        codes: of one environment of the task.
    """

    def rows(episode: Episode) -> np.ndarray:
        return codes.episode(episode.observations, episode.actions[: len(episode.observations) - 1])

    return _observed(demonstrations, rows)


def stacked_demonstrations(demonstrations: Demonstrations, frames: int) -> Demonstrations:
    """The same episodes of images, observed as :class:`~genrl.encoders.StackedFrames` shows them."""

    def rows(episode: Episode) -> np.ndarray:
        last = (np.arange(len(episode.observations))[:, None] + np.arange(1 - frames, 1)).clip(0)
        axis = channel_axis(episode.observations.shape[1:])
        return np.concatenate([episode.observations[index] for index in last.T], axis=axis)

    return _observed(demonstrations, rows)


def _observed(demonstrations: Demonstrations, rows: Callable[[Episode], np.ndarray]) -> Demonstrations:
    """The same episodes with other observations, each a function of what came before."""
    if not all(episode.ordered for episode in demonstrations.episodes):
        demonstrations.transitions()  # which says that what came before and after a step is unknown
    seen = [rows(episode) for episode in demonstrations.episodes]
    for part in seen:
        part.setflags(write=False)
    pairs = zip(demonstrations.episodes, seen, strict=True)
    return replace(demonstrations, episodes=tuple(replace(episode, observations=part) for episode, part in pairs))
