"""SB3's ``predict`` and what it lacks: whether it draws, gSDE's noise as in training, the same in torch, and actions as in exploration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

__all__ = ["AS_FUNCTION", "deterministic_action", "draws_actions", "exploring_action", "renew_noise"]

AS_FUNCTION = "lambda obs: model.predict(obs, deterministic=True)[0]"
"""A trained learner as a function from observations to actions, for a message."""


def draws_actions(learner: BaseAlgorithm) -> bool:
    """Whether ``predict`` with ``deterministic=False`` draws: TD3 and DDPG take the same action either way (td3/policies.py, _predict)."""
    return not isinstance(learner, TD3)  # DDPG is one


def renew_noise(learner: BaseAlgorithm, step: int = 0) -> None:
    """Draw new gSDE noise at the steps of an episode at which training would; a policy without gSDE stays as it is.

    Training draws it before the first step, every ``sde_sample_freq`` steps, and where a rollout begins, which is at every step for SAC,
    TQC and CrossQ unless ``train_freq`` says otherwise.

    Args:
        learner: the learner, which acts in one environment.
        step: number of steps that the episode has had.
    """
    every = int(getattr(learner, "sde_sample_freq", -1))
    since = step % rollout if (rollout := _steps_of_rollout(learner)) else step
    # common/on_policy_algorithm.py and common/off_policy_algorithm.py, collect_rollouts
    if getattr(learner, "use_sde", False) and (since == 0 or (every > 0 and since % every == 0)):
        policy: Any = learner.policy
        policy.reset_noise()


def _steps_of_rollout(learner: Any) -> int:
    """Steps of an environment from one training to the next; 0 where that is whole episodes, or nobody knows."""
    freq = getattr(learner, "train_freq", None)  # of a learner with a replay buffer, whose `n_steps` is something else
    if freq is None:
        return int(getattr(learner, "n_steps", 0))
    return int(freq.frequency) if freq.unit is TrainFrequencyUnit.STEP else 0


def deterministic_action(policy: Any, obs: torch.Tensor, space: spaces.Space[Any], **masks: torch.Tensor) -> torch.Tensor:
    """The policy's most likely actions, as ``predict`` gives them, but computed in torch alone so that they can be traced.

    Args:
        policy: the learner's policy.
        obs: observations as the policy sees them (normalised), ``(batch, *obs)``.
        space: the learner's action space.
        masks: ``action_masks``, for a policy of MaskablePPO.

    Returns:
        Actions in the environment's units, ``(batch, *action)``.

    common/policies.py, BasePolicy.predict: ``_predict``, then squashed actions are scaled to the space and others clipped to it.
    """
    action: torch.Tensor = policy._predict(obs, deterministic=True, **masks)
    action = action.reshape(-1, *(space.shape or ()))
    if not isinstance(space, spaces.Box):
        return action
    low, high = (torch.as_tensor(bound).to(action) for bound in (space.low, space.high))
    return low + 0.5 * (action + 1) * (high - low) if policy.squash_output else action.clamp(low, high)


def exploring_action(learner: BaseAlgorithm, obs: Any, noise_std: float | None = None) -> np.ndarray:
    """Actions for a batch of observations as the learner explores, ``(batch, *action)``, each row drawn independently of the others.

    They are ``predict``'s draws plus the learner's ``action_noise``, if it has any, or Gaussian noise of ``noise_std`` on actions scaled to
    [-1, 1] in its place: of held or pink noise each single step is that. Three parts of SB3 are made for one step of the
    training environments, not for a batch of single states, and so are done here row by row:

    - common/distributions.py, StateDependentNoiseDistribution.get_noise: gSDE has one noise matrix for all rows, unless there are as many
      rows as environments.
    - dqn/dqn.py and qrdqn/qrdqn.py, predict: one coin decides for all rows whether they explore.
    - common/off_policy_algorithm.py, _sample_action: action noise, on actions scaled to [-1, 1], is drawn by one call for all environments.
      A copy of it is called here, since Ornstein-Uhlenbeck noise keeps a state.
    """
    rate, noise = getattr(learner, "exploration_rate", None), deepcopy(getattr(learner, "action_noise", None))
    with _noise_of_each_row(learner, len(obs)):
        action, _ = learner.predict(obs, deterministic=rate is not None)
    if rate is not None:
        for row in np.flatnonzero(np.random.random(len(action)) < rate):  # noqa: NPY002 (it is the one that SB3 uses)
            action[row] = learner.action_space.sample()
    drawn: np.ndarray | None = None
    if noise_std is not None:
        drawn = np.random.normal(scale=noise_std, size=action.shape)  # noqa: NPY002 (as above)
    elif noise is not None:
        drawn = np.concatenate([noise().reshape(-1, *action.shape[1:]) for _ in action])[: len(action)]
    if drawn is not None:
        policy: Any = learner.policy
        action = policy.unscale_action(np.clip(policy.scale_action(action) + drawn, -1, 1)).astype(action.dtype)
    return action


@contextmanager
def _noise_of_each_row(learner: Any, rows: int) -> Iterator[None]:
    """Within it gSDE has a noise matrix for each of ``rows`` rows; afterwards the learner's own noise is as it was."""
    if not getattr(learner, "use_sde", False):
        yield
        return
    own = vars(learner.policy.actor.action_dist)
    kept = dict(own)
    try:
        with torch.no_grad():
            learner.policy.reset_noise(rows)
        yield
    finally:
        own.update(kept)
