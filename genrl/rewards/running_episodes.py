"""What a reward remembers of each running episode; episodes are told apart by their environment and their newest observation."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from genrl.rewards.base import RewardModel

__all__ = ["Episodes", "RemembersEpisodes"]

MOST_EPISODES = 4096
"""Episodes that are remembered, at most: as many as a run may have environments."""
MOST_NUMBERS = 16_000_000
"""Numbers that are remembered of all of them, 64 MB of floats."""
ANY = -1
"""Number of the environment of an episode of which :meth:`Episodes.tell` said nothing: it may be any."""


class Episodes:
    """One tensor for each running episode, found by the observation that the episode has reached and by its environment.

    A step belongs to the episode whose newest observation is the step's own; a step from any other observation begins a new episode. In a
    maze of cells two environments may be at the same observation, and an episode that a time limit has ended may be where the next one
    begins. So the caller says before, by :meth:`tell`, which environment made each step and whether its episode ended there. Without that,
    a step belongs to the episode that reached its observation last. Where there are too many episodes, those without a step for the
    longest time are forgotten.

    Example:
        >>> episodes, start, end = Episodes(), torch.zeros(1, 2), torch.ones(1, 2)
        >>> episodes.go_on(end, torch.tensor(7.0))
        >>> episodes.leave(start), episodes.leave(end), episodes.leave(end)
        (None, tensor(7.), None)
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, list[tuple[int, Tensor]]] = {}
        """By observation, the environment that stands there, and what is remembered."""
        self._episodes = self._numbers = 0
        self._told: deque[tuple[int, bool]] = deque()
        self._env, self._ended = ANY, False
        self._warned = False

    def __len__(self) -> int:
        return self._episodes

    def tell(self, envs: np.ndarray, ended: np.ndarray) -> None:
        """Announce the next steps, each of which is a ``leave`` and perhaps a ``go_on``.

        Args:
            envs: number of the environment that makes each, ``(batch,)``.
            ended: whether its episode ends there, by a time limit too, ``(batch,)``.
        """
        self._told = deque(zip(map(int, envs), map(bool, ended), strict=True))

    def leave(self, obs: Tensor) -> Tensor | None:
        """Take out what is remembered of the episode that is at ``obs``; ``None`` if no episode is."""
        self._env, self._ended = self._told.popleft() if self._told else (ANY, False)
        key = _key(obs)
        standing = self._kept.get(key, [])
        own = [place for place, (env, _) in enumerate(standing) if ANY in (self._env, env) or env == self._env]
        if not own:
            return None
        _, found = standing.pop(own[-1])
        if not standing:
            del self._kept[key]
        self._episodes, self._numbers = self._episodes - 1, self._numbers - found.numel()
        return found.to(obs.device)  # where the reward may have been moved since

    def go_on(self, next_obs: Tensor, remembered: Tensor) -> None:
        """Remember something of the episode of the last ``leave``, now at ``next_obs``; nothing if :meth:`tell` said that it ends."""
        if self._ended:
            return
        self._kept.setdefault(_key(next_obs), []).append((self._env, remembered))
        self._episodes, self._numbers = self._episodes + 1, self._numbers + remembered.numel()
        while self._episodes > MOST_EPISODES or (self._numbers > MOST_NUMBERS and self._episodes > 1):
            forgotten = self._kept.pop(next(iter(self._kept)))
            if not self._warned and any(env != ANY for env, _ in forgotten):  # an environment that still plays it
                warnings.warn(
                    f"the running episodes of all environments have more than {MOST_NUMBERS:,} numbers to remember, so the oldest ones are "
                    "forgotten and paid as new; take fewer environments, features or demonstrated pairs, or shorter episodes",
                    stacklevel=2,
                )
                self._warned = True
            self._episodes -= len(forgotten)
            self._numbers -= sum(tensor.numel() for _, tensor in forgotten)

    def clear(self) -> None:
        """Forget all of them."""
        self._kept, self._episodes, self._numbers = {}, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, the oldest first."""
        rows = [(key, env, tensor) for key, standing in self._kept.items() for env, tensor in standing]
        return {
            "keys": [torch.frombuffer(bytearray(key), dtype=torch.uint8) for key, _, _ in rows],
            "envs": [env for _, env, _ in rows],
            "remembered": [tensor.clone() for _, _, tensor in rows],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what ``state_dict`` gave."""
        self.clear()
        for key, env, tensor in zip(state["keys"], state["envs"], state["remembered"], strict=True):
            self._kept.setdefault(key.cpu().numpy().tobytes(), []).append((int(env), tensor.clone().to(device)))
            self._episodes, self._numbers = self._episodes + 1, self._numbers + tensor.numel()


def _key(obs: Tensor) -> bytes:
    return bytes(obs.detach().cpu().contiguous().numpy().tobytes())


class RemembersEpisodes(RewardModel):
    """Base of rewards that pay a step by those before it in its episode, so score each once, in order. A subclass makes ``_running``."""

    scored_once: ClassVar[bool] = True
    _running: Episodes

    def tell(self, envs: np.ndarray, ended: np.ndarray) -> None:
        """Announce the next transitions: the environment of each, and whether its episode ended there, ``(batch,)`` each."""
        self._running.tell(envs, ended)

    def forget(self) -> None:
        """All environments begin new episodes."""
        self._running.clear()

    def get_extra_state(self) -> dict[str, Any]:
        """State of the generator and the optimiser, if it has one, and of the running episodes."""
        return super().get_extra_state() | {"running": self._running.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._running.load_state_dict(state["running"], self.device)
