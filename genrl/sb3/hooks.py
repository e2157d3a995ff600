"""Where rewards and lent rows enter Stable-Baselines3: the live buffer of a learner, for the length of one ``learn``.

The buffer object gets a throw-away subclass of its own class as its ``__class__``; taking it off again leaves nothing. SB3 2.9 files
cited below are in ``stable_baselines3/common``.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from genrl.sb3.batches import Rows, join, sizes
from genrl.sb3.running import Running, finish
from genrl.sb3.state import cut_running
from genrl.transitions import Transitions

__all__ = ["LendingPart", "OffPolicyPart", "OnPolicyPart", "Part", "attach", "attached", "buffer_of", "detach", "extrinsic_weight"]


@dataclass(eq=False)
class OnPolicyPart:
    """One reward's part of an on-policy learner's return."""

    name: str
    env_rewards: Callable[[], np.ndarray]
    """The environment's own rewards of the rollout, ``(time, env)``, before the bootstrap of truncated episodes was added to them."""
    score: Callable[[], np.ndarray]
    """Weighted bonus of the rollout, ``(time, env)``."""
    extrinsic_weight: Callable[[], float]


@dataclass(eq=False)
class OffPolicyPart:
    """One reward's part of an off-policy learner's batches."""

    name: str
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Weighted bonus of the cells ``(rows, envs)`` of the buffer, in their broadcast shape."""
    stored: Callable[[int, list[dict[str, Any]]], None]
    """Called with the row that is about to be written, and its infos."""
    score_lent: Callable[[Transitions, bool], np.ndarray]
    """Weighted bonus ``(batch,)`` of transitions that were lent to a batch, and whether they were demonstrated."""
    extrinsic_weight: Callable[[], float]


@dataclass(eq=False)
class LendingPart:
    """One source's share of an off-policy learner's batches."""

    name: str
    share: float
    """Share of each batch, in (0, 1)."""
    draw: Callable[[int], Rows | None]
    """Function that draws at most so many rows, or gives ``None`` while there is nothing to lend."""
    demonstrated: bool = False
    """Whether they are an expert's, for rewards that need such rows in each batch (SQIL)."""


Part = OnPolicyPart | OffPolicyPart | LendingPart


def buffer_of(model: BaseAlgorithm) -> Any:
    """The buffer that a learner trains from."""
    return getattr(model, "replay_buffer", None) or getattr(model, "rollout_buffer", None)


def attached(buffer: Any) -> Collection[Part]:
    """What takes part in a buffer at present, in the order in which it was attached."""
    # No list[Part]: to check one, the tests' type checker draws an item by Python's generator, which a resumed run must find as it was.
    return list(getattr(type(buffer), "_genrl_parts", ())) if _is_live(buffer) else []


def attach(model: BaseAlgorithm, part: Part) -> None:
    """Let ``part`` take part in what a learner reads from its buffer, until ``detach`` or until the ``learn`` that runs has ended.

    Raises:
        ValueError: another part has the same name, and would log over it; the shares of all sources leave nothing to the learner.
    """
    buffer = buffer_of(model)
    if not _is_live(buffer):
        _restore(buffer)
        plain: Any = type(buffer)
        if isinstance(buffer, NStepReplayBuffer) and buffer.size():
            cut_running(buffer, _elsewhere(model, buffer))
        live = _live_replay(plain) if isinstance(buffer, ReplayBuffer) else _live_rollout(plain)
        live.__name__, live.__qualname__, live.__module__ = plain.__name__, plain.__qualname__, plain.__module__
        live.__reduce_ex__ = _reduce_plain
        live._genrl_plain, live._genrl_parts, live._genrl_learner = plain, [], model
        live._genrl_running = Running(model, lambda: _restore(buffer))
        buffer.__class__ = live
    parts: list[Part] = type(buffer)._genrl_parts
    if part.name in {other.name for other in parts}:
        raise ValueError(f"two callbacks are named {part.name!r} and would log over each other; give one of them another name")
    shares = [other.share for other in [*parts, part] if isinstance(other, LendingPart)]
    if sum(shares) >= 1:
        raise ValueError(f"shares of {', '.join(map(str, shares))} leave nothing of a batch to the learner's own experience; lower them")
    parts.append(part)


def _elsewhere(model: Any, buffer: Any) -> np.ndarray:
    """Which environments do not stand where their newest rows led to, ``(env,)``: base_class.py, _setup_learn, has reset them."""
    now = model._last_obs if model.get_vec_normalize_env() is None else model._last_original_obs
    then = buffer.next_observations[buffer.pos - 1]
    return np.asarray((np.reshape(now, then.shape) != then).reshape(len(then), -1).any(axis=1))


def detach(model: BaseAlgorithm, part: Part) -> None:
    """Take ``part`` out; with the last one the buffer is its plain self again."""
    buffer = buffer_of(model)
    parts = getattr(type(buffer), "_genrl_parts", [])
    if part in parts:
        parts.remove(part)
    if not parts:
        finish(model)


def _is_live(buffer: Any) -> bool:
    return bool(getattr(type(buffer), "_genrl_running", False))


def _restore(buffer: Any) -> None:
    buffer.__class__ = getattr(type(buffer), "_genrl_plain", type(buffer))


def _reduce_plain(buffer: Any, protocol: Any) -> Any:
    """Pickled and copied as the plain class: newer protocols insist on ``type(buffer)``, the first one takes the class that it is given."""
    make = copyreg._reconstructor  # type: ignore[attr-defined]
    return make, (type(buffer)._genrl_plain, object, None), buffer.__getstate__()


def extrinsic_weight(parts: Collection[Part]) -> float:
    """What the environment's reward is multiplied with: the weights of all rewards that take part."""
    return float(np.prod([part.extrinsic_weight() for part in parts if not isinstance(part, LendingPart)]))


def _live_rollout(plain: Any) -> Any:
    class LiveRollout(plain):
        rewards: np.ndarray

        def compute_returns_and_advantage(self, *args: Any, **kwargs: Any) -> None:
            # on_policy_algorithm.py, collect_rollouts: called on the full rollout, after truncated episodes' bootstrap was added in place
            # to `rewards` and before any advantage exists; so GAE and the bootstrap stay SB3's, and the bootstrap is not weighted.
            if not _is_live(self):
                _restore(self)
                self.compute_returns_and_advantage(*args, **kwargs)  # the plain one, from here on
                return
            parts = type(self)._genrl_parts
            rewards = self.rewards + (extrinsic_weight(parts) - 1) * parts[0].env_rewards()
            self.rewards = sum((part.score() for part in parts), start=rewards).astype(np.float32)
            super().compute_returns_and_advantage(*args, **kwargs)

    return LiveRollout


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


def _live_replay(plain: Any) -> Any:
    class LiveReplay(plain):
        rewards: Any

        def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: list[dict[str, Any]]) -> None:
            if not _is_live(self):
                _restore(self)
                self.add(obs, next_obs, action, reward, done, infos)  # the plain one, from here on
                return
            for part in _rewards(self):
                part.stored(self.pos, infos)
            super().add(obs, next_obs, action, reward, done, infos)

        def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> Any:
            # buffers.py: the one funnel of ReplayBuffer and NStepReplayBuffer.sample. It draws the environments itself, so the cells are
            # only known where it reads `rewards`; nothing is drawn in addition.
            if not _is_live(self):
                _restore(self)
                return self._get_samples(batch_inds, env)
            rewards = self.rewards
            self.rewards = _ScoredRewards(self, _rewards(self))
            try:
                return super()._get_samples(batch_inds, env)
            finally:
                self.rewards = rewards

        def sample(self, batch_size: int, env: Any = None) -> Any:
            if not _is_live(self):
                _restore(self)
                return self.sample(batch_size, env)

            def pay(reward: np.ndarray, transitions: Transitions, demonstrated: bool) -> np.ndarray:
                parts = _rewards(self)
                extrinsic = extrinsic_weight(parts) * np.asarray(plain._normalize_reward(reward, env))
                return np.asarray(sum((part.score_lent(transitions, demonstrated) for part in parts), start=extrinsic))

            lenders = [part for part in type(self)._genrl_parts if isinstance(part, LendingPart)]
            wanted = zip(lenders, sizes(batch_size, [part.share for part in lenders]), strict=True)
            lent = [rows for part, n in wanted if n and (rows := part.draw(n)) is not None]
            own = super().sample(batch_size - sum(rows.batch_size for rows in lent), env)
            return join(own, lent, type(self)._genrl_learner, pay, env) if lent else own

        @classmethod
        def _normalize_reward(cls, reward: np.ndarray, env: Any = None) -> np.ndarray:
            # buffers.py, BaseBuffer._normalize_reward: VecNormalize rescales the environment's part and never the model's.
            extrinsic = super()._normalize_reward(reward.real, env)
            return (extrinsic_weight(cls._genrl_parts) * extrinsic + reward.imag).astype(np.float32)

    return LiveReplay


def _rewards(buffer: Any) -> list[OffPolicyPart]:
    return [part for part in type(buffer)._genrl_parts if isinstance(part, OffPolicyPart)]
