"""Demonstrations of images, as those of codes."""

from __future__ import annotations

from dataclasses import replace

from genrl.data import Demonstrations
from genrl.encoders.observations import CodeStack

__all__ = ["encoded_demonstrations"]


def encoded_demonstrations(demonstrations: Demonstrations, codes: CodeStack) -> Demonstrations:
    """The same episodes, observed as ``codes`` gives them: each with its own history, also where only some of its steps are kept.

    Args:
        demonstrations: of images of the size that the encoder takes.
        codes: of one environment of the task.
    """
    if not all(episode.ordered for episode in demonstrations.episodes):
        demonstrations.transitions()  # which says that what came before and after a step is unknown
    seen = []
    for episode in demonstrations.episodes:
        done = episode.actions[: len(episode.observations) - 1]
        rows = codes.episode(episode.observations, done)
        rows.setflags(write=False)
        seen.append(replace(episode, observations=rows))
    return replace(demonstrations, episodes=tuple(seen))
