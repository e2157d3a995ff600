"""Actions in the units of an environment, and as a learner's policy outputs and its buffers store them; spaces that it takes for others.

SB3 2.9 files cited below are in ``stable_baselines3/common``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from genrl.spaces import numbers

__all__ = ["refuse_spaces", "to_environment", "to_policy"]


def to_policy(model: BaseAlgorithm, action: np.ndarray) -> np.ndarray:
    """What the policy would output, and the buffers store, for an action that the environment executes.

    Args:
        model: the learner.
        action: ``(batch, *action_space.shape)``, in the environment's units.

    Returns:
        ``(batch, n)``; in [-1, 1] for a learner whose policy squashes its output.
    """
    if _scaled(model):
        action = model.policy.scale_action(action)
    return action.reshape(len(action), -1)


def to_environment(model: BaseAlgorithm, action: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_policy`: ``(batch, *action_space.shape)``, in the environment's units."""
    action = action.reshape(-1, *(model.action_space.shape or ()))
    return model.policy.unscale_action(action) if _scaled(model) else action


def refuse_spaces(model: BaseAlgorithm) -> None:
    """Refuse observations that a learner reads as others, and actions that it executes or stores as others.

    Raises:
        ValueError: one sentence says which, and how to wrap the environment.
    """
    for name, part in _parts(model.observation_space):
        known = numbers(part)
        if known is not None and known[0].any():
            # preprocessing.py, preprocess_obs: one-hot codes of what it observes as it is; no file there knows of a `start`.
            entry = f"{name!r} of " if name else ""
            raise ValueError(
                f"{type(model).__name__} reads discrete observations that count from 0, but {entry}the environment gives {part}; "
                "wrap it in a gymnasium.ObservationWrapper that takes the start from them"
            )
    _refuse_actions(model)


def _parts(space: spaces.Space[Any], name: str = "") -> Iterator[tuple[str, spaces.Space[Any]]]:
    """A space, or those in a Dict with their keys."""
    if isinstance(space, spaces.Dict):
        for key, item in space.items():
            yield from _parts(item, f"{name}/{key}" if name else str(key))
    else:
        yield name, space


def _refuse_actions(model: BaseAlgorithm) -> None:
    space, learner = model.action_space, type(model).__name__
    bounds = numbers(space)
    if bounds is not None and bounds[0].any():
        # policies.py, predict: the index of the chosen action is executed as it is; no file there knows of a `start`.
        shifted = spaces.Discrete(int(space.n)) if isinstance(space, spaces.Discrete) else spaces.MultiDiscrete(space.nvec)  # type: ignore[attr-defined]
        raise ValueError(
            f"{learner} executes actions that count from 0, but the environment takes {space}; wrap it in "
            f"gymnasium.wrappers.TransformAction(env, lambda action: action + env.action_space.start, {shifted})"
        )
    if isinstance(space, spaces.Box) and space.dtype.kind != "f":
        # buffers.py: actions are stored in the dtype of the space, so that 0.7 becomes 0.
        raise ValueError(
            f"{learner} stores its actions as {space.dtype} and so learns from others than it takes; give the environment a Box of float32"
        )
    if _scaled(model):
        width = space.high.astype(np.float64) - space.low  # type: ignore[attr-defined]
        if not ((width > 0) & (width < np.finfo(np.float32).max)).all():
            # policies.py, scale_action: divides by it, in the dtype of the space.
            raise ValueError(
                f"{learner} divides by the width of each action, which is {width.min()} to {width.max()} in {space}; "
                "leave actions that can't vary out of the environment, and give the others bounds"
            )


def _scaled(model: Any) -> bool:
    # policies.py, predict: a policy that squashes its output has it unscaled. off_policy_algorithm.py, _sample_action: stored scaled.
    return isinstance(model.action_space, spaces.Box) and (model.policy.squash_output or isinstance(model, OffPolicyAlgorithm))
