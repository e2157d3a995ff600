"""Torch's global generators, one of the CPU and one of each GPU: kept with a run, and left alone by what only looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["forked_generators", "set_torch_generators", "torch_generators"]


def torch_generators() -> dict[str, Any]:
    """States of torch's generators: that of the CPU, and those of all GPUs once torch computes on one."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []}


def set_torch_generators(state: dict[str, Any]) -> None:
    """The inverse of :func:`torch_generators`; what is said of GPUs that are not here is left out."""
    torch.set_rng_state(state["torch"])
    for index, gpu in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(gpu.cpu(), index)


@contextmanager
def forked_generators() -> Iterator[None]:
    """Within it torch draws, and is seeded, as one likes; afterwards its generators are as they were."""
    begun = torch.cuda.is_initialized()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if begun else []):
            yield
    finally:
        if not begun:  # torch/cuda/random.py: GPUs begin with the seed that torch was given last, which was that of the block
            torch.cuda.manual_seed_all(torch.initial_seed())
