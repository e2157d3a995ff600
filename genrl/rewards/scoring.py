"""What the callback checks of a reward: that it fits the learner, and that each of its scores is one finite number."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from genrl.rewards.base import RewardModel
from genrl.sb3.observations import as_rows
from genrl.sb3.replay import as_transitions
from genrl.spaces import alike, flat_size, unflat
from genrl.transitions import Transitions, lost_differences

__all__ = ["check_spaces", "probe", "scores", "warn_of_idleness", "warn_of_lost_differences", "warn_of_small_memory"]


@torch.no_grad()
def scores(reward: RewardModel, transitions: Transitions, where: Callable[[int], str], demonstrated: bool = False) -> np.ndarray:
    """Unweighted scores ``(batch,)``, float32.

    Args:
        reward: the model that scores.
        transitions: ``(batch, …)`` each.
        where: gives the origin of a row in words, for the message.
        demonstrated: whether an expert made them.

    Raises:
        ValueError: the model gave another shape.
        FloatingPointError: a score is NaN or infinite.
    """
    found: np.ndarray = _one_each(reward, transitions, demonstrated).float().cpu().numpy()
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        raise FloatingPointError(
            f"{type(reward).__name__} gave the reward {found[row]} to {where(row)}; lower its learning rate or look at the observations"
        )
    return found


@torch.no_grad()
def probe(reward: RewardModel, model: BaseAlgorithm, update_every: int) -> None:
    """Give ``forward`` a made-up batch, so that a missing one or a wrong shape shows before the first step; nothing is kept of it.

    Args:
        reward: the reward.
        model: the learner.
        update_every: environment steps between two updates of the reward, for a learner with a replay buffer.
    """
    if type(reward).forward is RewardModel.forward:
        raise ValueError(
            f"{type(reward).__name__} has no forward, which a reward model needs; write `def forward(self, transitions)`, "
            "which returns one reward for each transition"
        )
    generators = reward.get_extra_state()["generators"]
    reward.eval()
    rows = _rows_at_once(model, update_every)
    few = rows < reward.fewest_at_once
    n = rows if few else min(max(rows, 64), max(1024, reward.fewest_at_once))  # of a few rows a wrong shape might not show
    obs, action = (unflat(space, np.zeros((n, flat_size(space)))) for space in (model.observation_space, model.action_space))
    obs = as_rows(model.observation_space, obs)
    _one_each(reward, as_transitions(obs, action, obs, np.zeros(n, dtype=bool), reward.floats), False)
    for name, state in generators.items():
        getattr(reward, name).set_state(state)


def _rows_at_once(model: BaseAlgorithm, update_every: int) -> int:
    """Transitions that a learner has scored in one call, new ones or a batch, for rewards that compare them with each other."""
    found: Any = model
    if not isinstance(model, OffPolicyAlgorithm):
        return int(found.n_steps * found.n_envs)
    new = -(-update_every // found.n_envs) * found.n_envs
    return int(min(found.batch_size, new, found.replay_buffer.buffer_size * found.n_envs))


def check_spaces(reward: RewardModel, model: Any) -> None:
    """Refuse a reward that was made for other observations or actions than the learner's."""
    learner, name = type(model).__name__, type(reward).__name__
    for kind, own, given in (
        ("observation", reward.observation_space, model.observation_space),
        ("action", reward.action_space, model.action_space),
    ):
        if not alike(own, given):
            raise ValueError(
                f"{name} was made for {kind} space {own} but {learner} has {given}; "
                f"make it with the learner's: {name}(model.observation_space, model.action_space)"
            )


def warn_of_idleness(reward: RewardModel, update_every: int, waiting: int, left: int) -> None:
    """Tell of a ``learn`` that is over before the reward has learned for the first time.

    Args:
        reward: one that has not learned yet.
        update_every: environment steps between two updates.
        waiting: environment steps since the last one.
        left: environment steps that this ``learn`` makes.
    """
    if waiting + left < update_every and type(reward).update is not RewardModel.update:
        warnings.warn(
            f"{type(reward).__name__} learns every {update_every:,} environment steps, but there are {left:,}, so it learns nothing; "
            f"take update_every={max(1, left // 10)} (--update-every {max(1, left // 10)}), or more steps",
            stacklevel=2,
        )


def warn_of_small_memory(reward: RewardModel, capacity: int, name: str) -> None:
    """Tell of a memory that never holds as many transitions as the reward needs to learn.

    Args:
        reward: the reward.
        capacity: transitions that its memory holds at most.
        name: the argument that says so.
    """
    if capacity < reward.min_transitions:
        warnings.warn(
            f"{type(reward).__name__} learns from {reward.min_transitions:,} transitions on, but its memory holds {capacity:,}, so it "
            f"learns nothing; take a larger {name}, or a smaller min_transitions",
            stacklevel=2,
        )


def warn_of_lost_differences(reward: RewardModel, obs: Tensor) -> None:
    """Tell of observations ``(batch, *obs)`` whose differences are lost in float32, because they lie far from zero."""
    if obs.dtype == torch.float32 and (lost := lost_differences(obs.cpu().numpy())):
        cure = "give the environment a Box of float64" if reward.centres_observations else "give the reward centres_observations"
        name = type(reward).__name__
        warnings.warn(f"{name} can't tell observations apart: {lost}; {cure}, or subtract an offset in a wrapper", stacklevel=2)


def _one_each(reward: RewardModel, transitions: Transitions, demonstrated: bool) -> Tensor:
    transitions = transitions.to(reward.device)
    bonus = reward.of_expert(transitions) if demonstrated else reward(transitions)
    if not isinstance(bonus, Tensor) or bonus.shape != (transitions.batch_size,):
        given = f"shape {tuple(bonus.shape)}" if isinstance(bonus, Tensor) else f"a {type(bonus).__name__}"
        raise ValueError(
            f"{type(reward).__name__}.forward gave {given} for {transitions.batch_size} transitions; "
            f"it needs ({transitions.batch_size},), one reward each: squeeze or sum the rest"
        )
    return bonus
