"""What belongs to frames that a task drew one after the other: their episodes, the actions between them, the true states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Walk"]


@dataclass(frozen=True, eq=False)
class Walk:
    """Beside each of several frames, its episode, the action that follows and the state that it shows.

    Example:
        >>> walk = Walk(torch.tensor([0, 0, 0, 1, 1]), torch.zeros(5, 1), source=(3, 32, 32))
        >>> walk.stacks(2).tolist()
        [[0, 1], [1, 2], [3, 4]]
    """

    episode: Tensor
    """Number of each frame's episode, ``(frame,)``, int64; those of one episode are in a row."""
    action: Tensor
    """What was done between each frame and the next, flat, ``(frame, n)``: of several actions the mean; zeros at the last of an episode."""
    source: tuple[int, int, int]
    """Channels, height and width of the frames as the task gave them."""
    state: Tensor | None = None
    """What the task says that it is in, ``(frame, m)``."""
    state_names: tuple[str, ...] = ()
    """Names of the state's numbers."""

    def __len__(self) -> int:
        return len(self.episode)

    def stacks(self, k: int) -> Tensor:
        """Indices of each ``k`` frames in a row of one episode, oldest first, ``(stack, k)``."""
        first = torch.arange(max(0, len(self) - k + 1))
        same = self.episode[first] == self.episode[first + k - 1]
        return first[same][:, None] + torch.arange(k)
