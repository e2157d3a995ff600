"""Where a reward enters Stable-Baselines3: the live buffer of a learner, for the length of one ``learn``.

The buffer object gets a throw-away subclass of its own class as its ``__class__``; taking it off again leaves nothing. SB3 2.9 files
cited below are in ``stable_baselines3/common``.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from genrl.sb3.batches import ExpertBatches
from genrl.transitions import Transitions

__all__ = ["OffPolicyPart", "OnPolicyPart", "attach", "detach"]


@dataclass(eq=False)
class OnPolicyPart:
    """One reward's part of an on-policy learner's return."""

    env_rewards: Callable[[], np.ndarray]
    """The environment's own rewards of the rollout, ``(time, env)``, before the bootstrap of truncated episodes was added to them."""
    score: Callable[[], np.ndarray]
    """Weighted bonus of the rollout, ``(time, env)``."""
    extrinsic_weight: float


@dataclass(eq=False)
class OffPolicyPart:
    """One reward's part of an off-policy learner's batches."""

    score: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Weighted bonus of the cells ``(rows, envs)`` of the buffer, in their broadcast shape."""
    stored: Callable[[int, list[dict[str, Any]]], None]
    """Called with the row that is about to be written, and its infos."""
    extrinsic_weight: float
    score_expert: Callable[[Transitions], np.ndarray]
    """Weighted bonus ``(batch,)`` of demonstrated transitions."""
    expert: ExpertBatches | None = None
    """Demonstrations that take the place of a share of each batch."""


Part = OnPolicyPart | OffPolicyPart


def attach(model: BaseAlgorithm, buffer: Any, part: Part) -> None:
    """Let ``part`` take part in what the learner reads from ``buffer``, until ``detach`` or until another ``learn`` of ``model`` starts."""
    if not _is_live(buffer, model):
        _restore(buffer)
        plain: Any = type(buffer)
        live = _rewarded_replay(plain, model) if isinstance(buffer, ReplayBuffer) else _rewarded_rollout(plain, model)
        live.__name__, live.__qualname__, live.__module__ = plain.__name__, plain.__qualname__, plain.__module__
        live.__reduce_ex__ = _reduce_plain
        live._genrl_plain, live._genrl_parts, live._genrl_learn = plain, [], model.start_time
        buffer.__class__ = live
    type(buffer)._genrl_parts.append(part)


def detach(buffer: Any, part: Part) -> None:
    """Take ``part`` out; with the last one the buffer is its plain self again."""
    parts = getattr(type(buffer), "_genrl_parts", [])
    if part in parts:
        parts.remove(part)
    if not parts:
        _restore(buffer)


def _is_live(buffer: Any, model: BaseAlgorithm) -> bool:
    # base_class.py, _setup_learn: `start_time` is new in every `learn`, so a hook that outlived a crash is told from a present one.
    return getattr(type(buffer), "_genrl_learn", None) == model.start_time


def _restore(buffer: Any) -> None:
    buffer.__class__ = getattr(type(buffer), "_genrl_plain", type(buffer))


def _reduce_plain(buffer: Any, protocol: Any) -> Any:
    """Pickled and copied as the plain class: newer protocols insist on ``type(buffer)``, the first one takes the class that it is given."""
    make = copyreg._reconstructor  # type: ignore[attr-defined]
    return make, (type(buffer)._genrl_plain, object, None), buffer.__getstate__()


def _extrinsic_weight(parts: list[Any]) -> float:
    return float(np.prod([part.extrinsic_weight for part in parts]))


def _rewarded_rollout(plain: Any, model: BaseAlgorithm) -> Any:
    class RewardedRollout(plain):
        rewards: np.ndarray

        def compute_returns_and_advantage(self, *args: Any, **kwargs: Any) -> None:
            # on_policy_algorithm.py, collect_rollouts: called on the full rollout, after truncated episodes' bootstrap was added in place
            # to `rewards` and before any advantage exists; so GAE and the bootstrap stay SB3's, and the bootstrap is not weighted.
            if not _is_live(self, model):
                _restore(self)
                self.compute_returns_and_advantage(*args, **kwargs)  # the plain one, from here on
                return
            parts = type(self)._genrl_parts
            rewards = self.rewards + (_extrinsic_weight(parts) - 1) * parts[0].env_rewards()
            self.rewards = sum((part.score() for part in parts), start=rewards).astype(np.float32)
            super().compute_returns_and_advantage(*args, **kwargs)

    return RewardedRollout


class _ScoredRewards:
    """Stands in for a buffer's ``rewards`` while a batch is drawn: a cell that is read comes as env reward + i · bonus.

    SB3 passes what it read through ``_normalize_reward`` before anything else, and there the two parts go separate ways.
    """

    def __init__(self, buffer: Any, parts: list[OffPolicyPart]) -> None:
        self.buffer, self.rewards, self.parts = buffer, buffer.rewards, parts

    def __getitem__(self, cells: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        rows, envs = np.broadcast_arrays(*cells)
        # buffers.py, NStepReplayBuffer._get_samples: windows reach past the last written row and are masked later; NaN · 0 would not be.
        written = rows < self.buffer.size()
        # A cell that is drawn twice is one transition: it must not be its own neighbour, nor cost twice.
        distinct, where = np.unique(rows[written] * self.buffer.n_envs + envs[written], return_inverse=True)
        bonus = np.zeros(rows.shape, dtype=np.float32)
        for part in self.parts:
            bonus[written] += part.score(distinct // self.buffer.n_envs, distinct % self.buffer.n_envs)[where]
        return np.asarray(self.rewards[rows, envs] + 1j * bonus)


def _rewarded_replay(plain: Any, model: BaseAlgorithm) -> Any:
    class RewardedReplay(plain):
        rewards: Any

        def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: list[dict[str, Any]]) -> None:
            if not _is_live(self, model):
                _restore(self)
                self.add(obs, next_obs, action, reward, done, infos)  # the plain one, from here on
                return
            for part in type(self)._genrl_parts:
                part.stored(self.pos, infos)
            super().add(obs, next_obs, action, reward, done, infos)

        def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> Any:
            # buffers.py: the one funnel of ReplayBuffer and NStepReplayBuffer.sample. It draws the environments itself, so the cells are
            # only known where it reads `rewards`; nothing is drawn in addition.
            if not _is_live(self, model):
                _restore(self)
                return self._get_samples(batch_inds, env)
            rewards = self.rewards
            self.rewards = _ScoredRewards(self, type(self)._genrl_parts)
            try:
                return super()._get_samples(batch_inds, env)
            finally:
                self.rewards = rewards

        def sample(self, batch_size: int, env: Any = None) -> Any:
            if not _is_live(self, model):
                _restore(self)
                return self.sample(batch_size, env)
            parts = type(self)._genrl_parts
            expert = next((part.expert for part in parts if part.expert is not None), None)
            if expert is None:
                return super().sample(batch_size, env)
            n = expert.size(batch_size)
            return expert.join(super().sample(batch_size - n, env), self, parts, n, env)

        @staticmethod
        def _plain_reward(reward: np.ndarray, env: Any = None) -> np.ndarray:
            return np.asarray(plain._normalize_reward(reward, env))

        @classmethod
        def _normalize_reward(cls, reward: np.ndarray, env: Any = None) -> np.ndarray:
            # buffers.py, BaseBuffer._normalize_reward: VecNormalize rescales the environment's part and never the model's.
            extrinsic = super()._normalize_reward(reward.real, env)
            return (_extrinsic_weight(cls._genrl_parts) * extrinsic + reward.imag).astype(np.float32)

    return RewardedReplay
