"""Torch's global generators, one of the CPU and one of each GPU: kept with a run, and left alone by what only looks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

__all__ = ["forked_generators", "set_torch_generators", "torch_generators"]


def torch_generators() -> dict[str, Any]:
    """Their states: that of the CPU, and those of all GPUs once torch computes on one."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []}


def set_torch_generators(state: dict[str, Any]) -> None:
    """The inverse of :func:`torch_generators`; what is said of GPUs that are not here is left out."""
    torch.set_rng_state(state["torch"])
    for index, gpu in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(gpu.cpu(), index)


def forked_generators() -> AbstractContextManager[None]:
    """Within it torch draws as it likes; afterwards its generators are as they were."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else [])
