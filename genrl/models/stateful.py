"""Modules with random generators and optimisers of their own, which their state includes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Self

import torch
from torch import nn

from genrl.generators import forked_generators

__all__ = ["Stateful"]


class Stateful(nn.Module):
    """A module whose ``state_dict`` has the generators and optimisers among its attributes, so that a restored one goes on exactly.

    Args:
        seed: of ``self.generator``, from which every random draw of the module comes.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self._seed = seed

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Within it, torch's global generator is seeded by this module and afterwards as if nothing had been drawn; for building
        networks."""
        with forked_generators():
            torch.manual_seed(self._seed)
            yield

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Where ``to`` and its like move the parameters, the moments of the optimisers follow."""
        super()._apply(fn, recurse)
        for optimizer in [value for value in vars(self).values() if isinstance(value, torch.optim.Optimizer)]:
            optimizer.load_state_dict(optimizer.state_dict())  # optim/optimizer.py: moves and casts what belongs to a parameter
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """State of the generators and optimisers among the attributes."""
        generators = {name: value.get_state() for name, value in vars(self).items() if isinstance(value, torch.Generator)}
        optimizers = {name: value.state_dict() for name, value in vars(self).items() if isinstance(value, torch.optim.Optimizer)}
        return {"generators": generators, "optimizers": optimizers}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for name, value in state["generators"].items():
            getattr(self, name).set_state(value)
        for name, value in state["optimizers"].items():
            # A copy, for optim/optimizer.py keeps tensors that need no cast: two modules would share their moments.
            getattr(self, name).load_state_dict(deepcopy(value))
