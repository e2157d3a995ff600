"""Running episodes, told apart by where they stand: what a reward remembers of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Episodes"]

MOST_EPISODES = 4096
"""Episodes that are remembered, at most: as many as a run may have environments."""
MOST_NUMBERS = 16_000_000
"""Numbers that are remembered of all of them, 64 MB of floats."""


class Episodes:
    """One tensor for each running episode, found by the observation that the episode has come to.

    A step goes on with the episode whose last successor is its observation. So no environment has to be named: a batch may hold the steps
    of several ones, in the order of time, and a step from anywhere else begins a new episode. One that a time limit ended is never gone on
    with; where there are too many, those that were not gone on with for longest are forgotten.

    Example:
        >>> episodes, start, end = Episodes(), torch.zeros(1, 2), torch.ones(1, 2)
        >>> episodes.go_on(end, torch.tensor(7.0))
        >>> episodes.leave(start), episodes.leave(end), episodes.leave(end)
        (None, tensor(7.), None)
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, list[Tensor]] = {}
        self._episodes = self._numbers = 0

    def __len__(self) -> int:
        return self._episodes

    def leave(self, obs: Tensor) -> Tensor | None:
        """What is remembered of the episode that stands at ``obs``, which is taken out; ``None`` if none stands there."""
        key = _key(obs)
        if key not in self._kept:
            return None
        found = self._kept[key].pop()
        if not self._kept[key]:
            del self._kept[key]
        self._episodes, self._numbers = self._episodes - 1, self._numbers - found.numel()
        return found.to(obs.device)  # where the reward may have been moved since

    def go_on(self, next_obs: Tensor, remembered: Tensor) -> None:
        """Remember this of an episode that now stands at ``next_obs``."""
        self._kept.setdefault(_key(next_obs), []).append(remembered)
        self._episodes, self._numbers = self._episodes + 1, self._numbers + remembered.numel()
        while self._episodes > MOST_EPISODES or (self._numbers > MOST_NUMBERS and self._episodes > 1):
            forgotten = self._kept.pop(next(iter(self._kept)))
            self._episodes -= len(forgotten)
            self._numbers -= sum(tensor.numel() for tensor in forgotten)

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, the oldest first."""
        rows = [(key, tensor) for key, tensors in self._kept.items() for tensor in tensors]
        return {
            "keys": [torch.frombuffer(bytearray(key), dtype=torch.uint8) for key, _ in rows],
            "remembered": [tensor.clone() for _, tensor in rows],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what ``state_dict`` gave."""
        self._kept, self._episodes, self._numbers = {}, 0, 0
        for key, tensor in zip(state["keys"], state["remembered"], strict=True):
            self._kept.setdefault(key.cpu().numpy().tobytes(), []).append(tensor.clone().to(device))
            self._episodes, self._numbers = self._episodes + 1, self._numbers + tensor.numel()


def _key(obs: Tensor) -> bytes:
    return bytes(obs.detach().cpu().contiguous().numpy().tobytes())
