"""A share of each batch that an off-policy learner draws comes from elsewhere: demonstrations, imagination, a generative model.

A source is a callback, :class:`~genrl.sb3.plugged.PluggedCallback`, whose ``_part`` gives a ``LendingPart``: its share, and a function
that draws :class:`Rows` in the environment's units (``policies/mixing.py`` is one). What the learner needs beyond that happens here, when a
batch is drawn: actions are scaled, observations normalised, and the rows are paid by the rewards in force. Several sources compose, with
rewards and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from genrl.sb3.actions import to_policy
from genrl.spaces import unflat
from genrl.transitions import Transitions

__all__ = ["Pay", "Rows", "join", "sizes"]

Pay = Callable[[np.ndarray, Transitions, bool], np.ndarray]
"""What a learner is paid: the environment's rewards ``(batch,)``, the transitions, and whether they were demonstrated, to ``(batch,)``."""


class Rows(NamedTuple):
    """Rows that a source lends to a batch, as the environment would have made them.

    A row is one transition; or several that follow each other, for returns over several steps. Those have a first axis ``time``, and are
    summed as the learner's own n-step returns are: each step paid by the rewards in force, discounted by the learner's γ, the bootstrap
    at the last successor by :math:`\\gamma^{\\text{length}}`.

    Example:
        >>> obs, no = torch.zeros(5, 3), torch.zeros(5, dtype=torch.bool)
        >>> Rows(Transitions(obs, torch.zeros(5, 1), obs, no), torch.ones(5)).batch_size
        5
    """

    transitions: Transitions
    """Raw observations and actions in the environment's units, ``(batch, …)`` each, or ``(time, batch, …)``."""
    rewards: Tensor
    """The environment's rewards, ``(batch,)`` or ``(time, batch)``."""
    length: Tensor | None = None
    """How many steps of each row count, integers ``(batch,)`` from 1 to time; all if not given. An ended row has its end last."""
    demonstrated: bool = False
    """Whether an expert made them, for rewards that pay experts differently (SQIL)."""

    @property
    def batch_size(self) -> int:
        """Number of rows. (``len`` of a named tuple is its number of fields.)"""
        return self.rewards.shape[-1]


def sizes(batch_size: int, shares: Sequence[float]) -> list[int]:
    """Rows that each source may lend to a batch; at least one is the learner's own."""
    left = batch_size - 1
    given = []
    for share in shares:
        given.append(min(round(share * batch_size), left))
        left -= given[-1]
    return given


def join(own: Any, lent: Sequence[Rows], model: OffPolicyAlgorithm, pay: Pay, env: Any) -> Any:
    """The learner's own samples with the lent rows behind them, in the form of its replay buffer."""
    several = own.discounts is not None or any(rows.rewards.ndim > 1 for rows in lent)
    if several and own.discounts is None:  # each learner reads them before its own gamma: sac.py, td3.py and dqn.py, train
        own = own._replace(discounts=torch.full_like(own.dones, model.gamma))
    parts = [_samples(rows, model, pay, env) for rows in lent]
    names = [name for name, value in own._asdict().items() if value is not None]
    return own._replace(**{name: _concatenate(getattr(own, name), [part[name] for part in parts], model) for name in names})


def _samples(rows: Rows, model: OffPolicyAlgorithm, pay: Pay, env: Any) -> dict[str, Any]:
    """Lent rows as the arrays of a replay buffer's samples, by their names."""
    transitions, rewards = rows.transitions, rows.rewards.cpu().numpy().astype(np.float32)
    if rewards.ndim == 1:
        transitions, rewards = Transitions(*(field[None] for field in transitions)), rewards[None]
    length = np.full(rewards.shape[1], len(rewards)) if rows.length is None else rows.length.cpu().numpy()
    counts = np.arange(len(rewards))[:, None] < length  # (time, batch)
    discounts = np.float32(model.gamma) ** np.arange(len(rewards), dtype=np.float32)
    paid = np.zeros_like(rewards)
    paid[counts] = pay(rewards[counts], Transitions(*(field[torch.from_numpy(counts)] for field in transitions)), rows.demonstrated)
    last = torch.from_numpy(length - 1), torch.arange(len(length))
    buffer: Any = model.replay_buffer
    # buffers.py, ReplayBuffer._get_samples: normalised by VecNormalize when they are drawn, columns for rewards and dones.
    return {
        "observations": buffer._normalize_obs(_seen(transitions.obs[0], model), env),
        "actions": to_policy(model, transitions.action[0].cpu().numpy()),
        "next_observations": buffer._normalize_obs(_seen(transitions.next_obs[last], model), env),
        "dones": transitions.terminated[last].cpu().numpy().astype(np.float32)[:, None],
        "rewards": (discounts[:, None] * paid).sum(0, dtype=np.float32)[:, None],
        "discounts": (np.float32(model.gamma) ** length.astype(np.float32))[:, None],
    }


def _seen(obs: Tensor, model: OffPolicyAlgorithm) -> Any:
    """Observations as the learner's environment gives them."""
    rows, space = obs.cpu().numpy(), model.observation_space
    return unflat(space, rows) if isinstance(space, spaces.Dict) else rows


def _concatenate(own: Any, lent: Sequence[Any], model: OffPolicyAlgorithm) -> Any:
    if isinstance(own, dict):
        return {key: _concatenate(value, [part[key] for part in lent], model) for key, value in own.items()}
    buffer: Any = model.replay_buffer
    # buffers.py: a discrete observation is stored with an axis of one.
    return torch.cat([own, *(buffer.to_torch(part).to(own.dtype).reshape(-1, *own.shape[1:]) for part in lent)])
