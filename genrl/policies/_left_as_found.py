"""A learner is left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stable_baselines3.common.base_class import BaseAlgorithm

from genrl.generators import forked_generators

__all__ = ["left_as_found"]


@contextmanager
def left_as_found(model: BaseAlgorithm) -> Iterator[None]:
    """Afterwards, the modes and gradients of the policy's networks and torch's generators are as before, also after an error."""
    modes = {module: module.training for module in model.policy.modules()}
    gradients = {parameter: parameter.grad for parameter in model.policy.parameters()}
    try:
        with forked_generators():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
