"""Hyperparameters of learners and rewards that do well where SB3's own defaults, made for other purposes, do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrl.runs.config import ImitateConfig, RunConfig, is_off_policy, plain_name

__all__ = ["learner_defaults", "reward_defaults"]

_ON_POLICY = {"n_steps": 128, "batch_size": 256, "net_arch": (128, 128)}
_OFF_POLICY = {"gradient_steps": -1, "learning_starts": 1000}
"""With several environments, as many updates as steps."""

_IMITATION: Mapping[str, Mapping[str, Any]] = {
    "ppo": _ON_POLICY,
    "trpo": _ON_POLICY,
    "maskableppo": _ON_POLICY,
    "a2c": {"n_steps": 32, "net_arch": (128, 128)},
    "sac": _OFF_POLICY,
    "tqc": _OFF_POLICY,
    "td3": _OFF_POLICY,
    "ddpg": _OFF_POLICY,
    "crossq": _OFF_POLICY,
}


def learner_defaults(kind: type[RunConfig], learner: str) -> Mapping[str, Any]:
    """What a command takes where nothing is said, for those keywords whose default is not the learner's own.

    Example:
        >>> learner_defaults(ImitateConfig, "ppo")["batch_size"]
        256
    """
    return _IMITATION.get(plain_name(learner), {}) if kind is ImitateConfig else {}


def reward_defaults(kind: type[RunConfig], learner: str, reward: str) -> Mapping[str, Any]:
    """The same for a reward: off-policy the discriminator's logit, as in "Discriminator-Actor-Critic" (2018).

    Example:
        >>> reward_defaults(ImitateConfig, "sac", "gail")
        {'form': 'logit'}
        >>> reward_defaults(ImitateConfig, "ppo", "gail")
        {}
    """
    off_policy = kind is ImitateConfig and is_off_policy(learner)
    return {"form": "logit"} if off_policy and reward.lower() in ("gail", "gaifo", "vail") else {}
