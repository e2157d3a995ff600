"""Imagined transitions as a share of each batch of an off-policy learner."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from genrl.errors import at_least, require
from genrl.models.dynamics import Dynamics, FitReport
from genrl.sb3.batches import Rows
from genrl.sb3.hooks import LendingPart
from genrl.sb3.observations import RawObservations
from genrl.sb3.plugged import PluggedCallback, companions
from genrl.sb3.predict import exploring_action
from genrl.sb3.replay import ReplayMemory, check_readable
from genrl.sb3.state import own_draws
from genrl.transitions import Floats, Transitions, terminations, true_next_obs
from genrl.worlds.dream import DreamVecEnv
from genrl.worlds.real import check_fit, check_world

__all__ = ["Imagination"]

Schedule = tuple[int, int, int, int]
"""Horizon at first and at last, and the environment steps between which it grows evenly."""


class Imagination(PluggedCallback):
    r"""Fits a model on the learner's own replay, dreams branches from real states, and lends them to the learner's batches.

    Every ``every`` environment steps the model is fitted to all that the replay buffer holds, ``branches`` real states are drawn, and the
    present policy acts in the model, as it explores, for ``horizon`` steps from each. The imagined transitions take the place of a share of
    each batch, where the rewards in force pay them as they pay real ones. The learner itself is untouched.

    What is lent follows what the model can do: of the ``share``, as much as its :func:`~genrl.models.dynamics.skill` on held-out rows, and
    nothing below ``least_skill``. Branches of several steps follow it by ``stop_quantile``.

    Differences from the paper: there a fixed share, 95 %, is imagined; each step asks one of the five best of seven networks, here a branch
    asks one of all of them throughout; and its learner makes tens of updates a real step, here as many as ``gradient_steps`` of the learner
    says.

    Args:
        dynamics: the model, made with the spaces of the task.
        share: largest share of each batch that is imagined, in (0, 1).
        every: environment steps from one fit to the next.
        start: environment steps before the first fit.
        branches: real states from which the policy dreams after each fit.
        horizon: steps of each branch; or ``(from, to, first, last)``, which grows evenly between two environment steps.
        least_skill: skill below which nothing is lent; 0 is that of "all stays as it is", and ``None`` lends the whole share in any case.
        n_steps: imagined steps that each lent row sums up, at most the horizon; 1 lends single transitions.
        eta, stop_quantile, stop_scale: see :class:`~genrl.worlds.DreamVecEnv`.
        fit: keywords of the model's ``fit``, such as ``max_steps``.
        capacity: imagined rows that are kept from fit to fit, the oldest make room; by default only those of the last fit, for what an
            earlier model imagined is worse.
        name: its name among the callbacks of one ``learn``, and in the log.
        seed: of all draws.

    Raises:
        ValueError: a value out of its range, or a keyword that the model's ``fit`` does not take; when ``learn`` starts, before the first
            environment step, a learner without a replay buffer or of another task than the model's.

    References:
        Janner, Fu, Zhang, Levine, "When to Trust Your Model: Model-Based Policy Optimization", 2019, arXiv:1906.08253.

    Example:
        >>> from stable_baselines3 import SAC
        >>> from genrl.worlds import Ensemble
        >>> model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=60, batch_size=8)
        >>> world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
        >>> _ = model.learn(70, callback=Imagination(world, share=0.5, start=60, fit={"max_steps": 5}, branches=16))
    """

    def __init__(
        self,
        dynamics: Dynamics,
        share: float = 0.9,
        *,
        every: int = 250,
        start: int = 500,
        branches: int = 10_000,
        horizon: int | Schedule = 1,
        least_skill: float | None = 0.5,
        n_steps: int = 1,
        eta: float = 0.0,
        stop_quantile: float | None = None,
        stop_scale: float = 1.0,
        fit: Mapping[str, Any] | None = None,
        capacity: int | None = None,
        name: str = "imagination",
        seed: int = 0,
    ) -> None:
        super().__init__()
        numbers = (horizon,) if isinstance(horizon, int) else tuple(horizon)
        grows = len(numbers) == 1 or (len(numbers) == 4 and numbers[2] < numbers[3])
        least = min(numbers[:2])
        check_fit(dynamics, fit or {})
        require(
            Imagination,
            ("share", share, 0 < share < 1, "in (0, 1)"),
            ("horizon", horizon, grows, "one number, or four: (from, to, first, last), with first before last"),
            ("horizon", horizon, least >= 1, "at least 1"),
            ("least_skill", least_skill, least_skill is None or least_skill < 1, "below 1, the skill of the truth"),
            ("n_steps", n_steps, 1 <= n_steps <= least, "from 1 to the horizon"),
            ("stop_quantile", stop_quantile, stop_quantile is None or max(numbers[:2]) > 1, "None for branches of one step"),
            *at_least(1, every=every, branches=branches, capacity=1 if capacity is None else capacity),
            *at_least(50, start=start),
        )
        self.dynamics, self.share, self.every, self.start, self.branches = dynamics, share, every, start, branches
        self.horizon, self.n_steps, self.capacity, self.name = horizon, n_steps, capacity, name
        self.least_skill, self.trust = least_skill, 0.0
        self.fit, self.seed = dict(fit or {}), seed
        self.generator = torch.Generator().manual_seed(seed)
        self.dream = DreamVecEnv(dynamics, None, branches, 1, eta=eta, stop_quantile=stop_quantile, stop_scale=stop_scale, seed=seed)
        self.report: FitReport | None = None
        """Report of the last fit."""
        self._fitted_at = -1
        self._pool: Rows | None = None
        self._replay: ReplayMemory | None = None
        self._restored: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Imagination({type(self.dynamics).__name__}, share={self.share}, every={self.every}, horizon={self.horizon})"

    def check(self, model: BaseAlgorithm) -> None:
        """Refuse a learner whose batches can't hold imagined transitions; ``learn`` does so too.

        Raises:
            ValueError: a learner without a replay buffer, or of another task than the model's.
        """
        learner = type(model).__name__
        if not isinstance(model, OffPolicyAlgorithm):
            raise ValueError(
                f"{learner} has no replay buffer into whose batches imagined transitions could go; use SAC or another off-policy learner, "
                "or let it practise in the dream: Practice in place of Imagination"
            )
        check_readable(model)
        check_world(self.dynamics, model)
        if (most := model.replay_buffer.buffer_size * model.n_envs) < self.start:  # type: ignore[union-attr]
            raise ValueError(
                f"Imagination fits its model when the replay buffer holds start={self.start} transitions, but that of {learner} holds "
                f"at most {most}; lower start, or give the learner a larger buffer_size"
            )

    def state_dict(self) -> dict[str, Any]:
        """The model, the imagined rows and the generators, for :func:`genrl.files.save_state`."""
        kept = self._pool
        rows = None if kept is None else [*kept.transitions, kept.rewards, *([] if kept.length is None else [kept.length])]
        return {
            "dynamics": self.dynamics.state_dict(),
            "rows": rows,
            "generator": self.generator.get_state(),
            "dream": self.dream.generator.get_state(),
            "fitted_at": self._fitted_at,
            "trust": self.trust,
            "replay": self._restored if self._replay is None else self._replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.generator.set_state(state["generator"])
        self.dream.generator.set_state(state["dream"])
        self._fitted_at, self.trust, rows = state["fitted_at"], state["trust"], state["rows"]
        self._pool = None if rows is None else Rows(Transitions(*rows[:4]), rows[4], rows[5] if len(rows) > 5 else None)
        self._replay, self._restored = None, state["replay"]

    def _part(self) -> LendingPart:
        self.check(self.model)
        replay = ReplayMemory(self.model, RawObservations(self.model), self.generator, Floats(torch.float32, exact=False))  # type: ignore[arg-type]
        replay.take_over(self._restored, self._replay)
        self._replay, self._restored = replay, None
        if self.num_timesteps < self._fitted_at:  # another learner, or one that counts its steps from 0 again
            self._fitted_at, self._pool = -1, None
        if self._fitted_at < 0 and (seen := _held(self.model) + self.locals["total_timesteps"] - self.num_timesteps) <= self.start:
            warnings.warn(
                f"Imagination fits its model after start={self.start} steps, but there are {seen}, so nothing is imagined; lower start, or "
                "make more steps",
                stacklevel=2,
            )
        return LendingPart(self.name, self.share, self._draw)

    def _draw(self, n: int) -> Rows | None:
        n = round(n * self.trust)
        if self._pool is None or n == 0:
            return None
        index = torch.randint(self._pool.batch_size, (n,), generator=self.generator)
        return _at(self._pool, index)

    def _on_step(self) -> bool:
        model: Any = self.model
        # off_policy_algorithm.py, collect_rollouts: on_step comes before the row is stored, so what is read is whole.
        if _held(model) >= self.start and (self._fitted_at < 0 or self.num_timesteps - self._fitted_at >= self.every):
            self._fitted_at = self.num_timesteps
            self._cycle()
        assert self._replay is not None
        self._replay.stored(model.replay_buffer.pos, self.locals["infos"])
        return True

    def _cycle(self) -> None:
        """Fit the model, dream, and log both."""
        assert self._replay is not None
        transitions, reward = self._replay.whole()
        began = time.perf_counter()
        self.report = self.dynamics.fit(transitions, reward, **self.fit)
        self.trust = self._trusted(self.report.skill)
        fitted = time.perf_counter()
        self.dream.horizon = self._horizon_now()
        self.dream.set_starts(transitions)
        before = dict(self.dream.counters)
        rows = self._branches()
        if self.capacity is not None:
            rows = rows if self._pool is None else _joined(rows, self._pool)
            rows = _at(rows, torch.arange(min(rows.batch_size, self.capacity)))
        self._pool = rows
        spent = {"fit_seconds": fitted - began, "dream_seconds": time.perf_counter() - fitted}
        ended = {name: value - before[name] for name, value in self.dream.counters.items() if name != "steps"}
        numbers = {
            "held_out_loss": self.report.held_out_loss,
            "skill": self.report.skill,
            "share": self.share * self.trust,
            "fit_steps": self.report.steps,
            "rows": rows.batch_size,
            **spent,
            **ended,
        }
        for key, value in numbers.items():
            self.logger.record(f"{self.name}/{key}", value)

    def _trusted(self, skill: float) -> float:
        """Part of the share that is lent, in [0, 1]; an unknown skill, NaN, is none."""
        if self.least_skill is None:
            return 1.0
        return float(np.clip(skill, 0, 1)) if skill >= self.least_skill else 0.0

    def _horizon_now(self) -> int:
        if isinstance(self.horizon, int):
            return self.horizon
        first, last, begin, end = self.horizon
        return round(float(np.interp(self.num_timesteps, [begin, end], [first, last])))

    def _branches(self) -> Rows:
        """Dream one branch from each start, with the policy as it is now; the newest rows."""
        steps = []
        # A policy draws from the generators that its learner and its replay buffer draw from, whose own draws must stay as they are.
        with own_draws(self.model, int(torch.randint(2**31, (), generator=self.generator))):
            obs = self.dream.reset()
            for _ in range(self.dream.horizon):
                action = self._act(obs)
                self.dream.step_async(action)
                new_obs, reward, done, infos = self.dream.step_wait()
                steps.append((obs, action, true_next_obs(new_obs, done, infos), terminations(done, infos), reward, done))
                obs = new_obs
        *fields, over = (torch.as_tensor(np.stack(field)) for field in zip(*steps, strict=True))
        return _rows([field.float() if field.is_floating_point() else field for field in fields], over, self.n_steps)

    def _act(self, obs: np.ndarray) -> np.ndarray:
        """Actions of the exploring policy at raw observations ``(row, obs)``."""
        normalize = self.model.get_vec_normalize_env()
        beside = (getattr(other, "action_std", None) for other in companions(self))  # of HeldNoise or PinkNoise
        noise_std = next((std for std in beside if std is not None), None)
        return exploring_action(self.model, normalize.normalize_obs(obs) if normalize else obs, noise_std)


def _held(model: Any) -> int:
    """Transitions in a learner's replay buffer."""
    return int(model.replay_buffer.size() * model.n_envs)


def _rows(fields: list[Tensor], done: Tensor, n_steps: int) -> Rows:
    """Branches ``(time, branch, …)``, which begin anew after ``done``, as rows of ``n_steps`` successive steps each."""
    if n_steps == 1:
        obs, action, next_obs, terminated, reward = (field.flatten(0, 1) for field in fields)
        return Rows(Transitions(obs, action, next_obs, terminated), reward)
    starts = range(len(done) - n_steps + 1)
    obs, action, next_obs, terminated, reward = (torch.cat([field[t : t + n_steps] for t in starts], 1) for field in fields)
    over = torch.cat([done[t : t + n_steps] for t in starts], 1)
    length = torch.where(over.any(0), over.int().argmax(0) + 1, n_steps)  # up to and with the first end
    return Rows(Transitions(obs, action, next_obs, terminated), reward, length)


def _at(rows: Rows, index: Tensor) -> Rows:
    """Rows at ``index`` of the batch axis, which is the second where the first is time."""
    axis = rows.rewards.ndim - 1
    transitions = Transitions(*(field.index_select(axis, index) for field in rows.transitions))
    return Rows(transitions, rows.rewards.index_select(axis, index), None if rows.length is None else rows.length[index])


def _joined(newer: Rows, older: Rows) -> Rows:
    axis = newer.rewards.ndim - 1
    transitions = Transitions(*(torch.cat(pair, axis) for pair in zip(newer.transitions, older.transitions, strict=True)))
    length = None if newer.length is None or older.length is None else torch.cat([newer.length, older.length])
    return Rows(transitions, torch.cat([newer.rewards, older.rewards], axis), length)
