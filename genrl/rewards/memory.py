"""The memory that a reward learns from beside an on-policy learner; off-policy it is ``sb3/replay.py``, the learner's own replay buffer."""

from __future__ import annotations

from typing import Any

import torch

from genrl.errors import at_least, require
from genrl.transitions import Transitions

__all__ = ["TransitionPool"]


class TransitionPool:
    """The last ``capacity`` transitions, in a ring; memory use is bounded.

    Args:
        capacity: number of transitions kept.
        seed: seed of the generator that ``sample`` draws from.

    Raises:
        ValueError: a capacity below one.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        require(TransitionPool, *at_least(1, capacity=capacity))
        self.capacity = capacity
        self.generator = torch.Generator().manual_seed(seed)
        self._ring: Transitions | None = None
        self._latest: Transitions | None = None
        self._position = 0
        self._size = 0

    def __repr__(self) -> str:
        return f"TransitionPool({len(self):,} of at most {self.capacity:,} transitions)"

    def __len__(self) -> int:
        return self._size

    @property
    def latest(self) -> Transitions:
        """What the last ``add`` was given."""
        if self._latest is None:
            raise IndexError("the pool is empty: add transitions first")
        return self._latest

    def add(self, transitions: Transitions) -> None:
        """Keep a batch; the oldest transitions make room."""
        self._latest = transitions
        kept = transitions.rows(slice(-self.capacity, None))
        if self._ring is None:
            self._ring = Transitions(*(field.new_zeros((self.capacity, *field.shape[1:])) for field in kept))
        self._ring = self._ring.to(kept.obs.device)  # where a reward was moved since, or its pool was restored, which is on the CPU
        index = (self._position + torch.arange(kept.batch_size, device="cpu")) % self.capacity
        for ring, field in zip(self._ring, kept, strict=True):
            ring[index] = field.to(ring.dtype)
        self._position = int((self._position + kept.batch_size) % self.capacity)
        self._size = min(self._size + kept.batch_size, self.capacity)

    def sample(self, batch_size: int) -> Transitions:
        """``batch_size`` transitions, uniform with replacement."""
        if self._ring is None:
            raise IndexError("the pool is empty: add transitions first")
        return self._ring.rows(torch.randint(self._size, (batch_size,), generator=self.generator))

    def state_dict(self) -> dict[str, Any]:
        kept = None if self._ring is None else [field[: self._size].clone() for field in self._ring]
        return {"transitions": kept, "position": self._position, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave, also into a pool of another capacity if all of it fits."""
        self.generator.set_state(state["generator"])
        self._ring, self._latest, self._position, self._size = None, None, 0, 0
        if state["transitions"] is None:
            return
        kept = Transitions(*state["transitions"])
        if kept.batch_size > self.capacity:
            raise ValueError(f"{kept.batch_size} saved transitions do not fit a pool of {self.capacity}; make it at least that large")
        if kept.batch_size == self.capacity:
            self.add(kept)
            self._position = state["position"]
        else:  # the oldest first, so that they make room first
            self.add(kept.rows((state["position"] + torch.arange(kept.batch_size, device="cpu")) % kept.batch_size))
