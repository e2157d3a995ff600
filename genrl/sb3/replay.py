"""A learner's replay buffer, read as raw transitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from genrl.sb3.actions import to_environment
from genrl.sb3.observations import RawObservations, as_rows
from genrl.transitions import Floats, Transitions, exact

__all__ = ["ReplayMemory", "as_transitions", "check_readable"]


def check_readable(model: Any) -> None:
    """Refuse a learner whose buffer does not hold whole transitions: raw rewards, true successors, and terminations apart from time limits.

    Raises:
        ValueError: says what is lost, and which argument of the learner keeps it.
    """
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise ValueError(
            f"{type(model).__name__} keeps no rollout or replay buffer that a reward could enter; "
            "use PPO, TRPO, SAC or another learner that has one"
        )
    if isinstance(model, OnPolicyAlgorithm):
        return
    buffer = model.replay_buffer
    if isinstance(buffer, HerReplayBuffer):
        raise ValueError("HerReplayBuffer relabels goals, and with them the rewards, past the reward socket; use replay_buffer_class=None")
    if buffer is None or buffer.optimize_memory_usage:
        raise ValueError(
            "optimize_memory_usage=True overwrites the true next observation at an episode's end; use optimize_memory_usage=False"
        )
    if not buffer.handle_timeout_termination:
        raise ValueError(
            "this replay buffer does not tell a time limit from a termination; "
            "drop handle_timeout_termination=False from replay_buffer_kwargs"
        )


def as_transitions(obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray, terminated: np.ndarray, floats: Floats) -> Transitions:
    """Arrays with a leading batch axis as tensors; discrete actions stay integers."""
    action_tensor = torch.as_tensor(np.ascontiguousarray(action))
    return Transitions(
        floats(exact(obs)),
        action_tensor.to(floats.dtype) if action_tensor.is_floating_point() else action_tensor.long(),
        floats(exact(next_obs)),
        torch.as_tensor(np.ascontiguousarray(terminated), dtype=torch.bool),
    ).to(floats.device)


class ReplayMemory:
    """The memory that an off-policy reward or a model of the task learns from is the learner's own buffer; nothing is kept twice.

    Args:
        model: the learner.
        raw: its raw observations.
        generator: what ``sample`` draws from, so that the learner's own draws stay as they are.
        floats: dtypes and device in which the transitions are given.
    """

    def __init__(self, model: OffPolicyAlgorithm, raw: RawObservations, generator: torch.Generator, floats: Floats) -> None:
        assert model.replay_buffer is not None
        self.model, self.buffer, self.raw, self.generator, self.floats = model, model.replay_buffer, raw, generator, floats
        self.unseen = 0
        """Rows stored since the last update."""
        self.once: np.ndarray | None = None
        """Scores of rows that are scored when they are stored, ``(row, env)``; ``None`` where batches are scored when they are drawn."""
        self._unscored = 0
        """Rows that are yet to be scored: those of a rollout that a callback or an exception has cut off wait for the next one."""
        self._terminal: dict[int, dict[int, np.ndarray]] = {}

    def stored(self, row: int, infos: list[dict[str, Any]]) -> None:
        """A row is being written."""
        # off_policy_algorithm.py, _store_transition: a terminal observation under VecNormalize arrives clipped.
        self.unseen, self._unscored = self.unseen + 1, self._unscored + 1
        finished = {env: self.raw.terminal(env) for env in range(len(infos))}
        kept = {env: obs for env, obs in finished.items() if obs is not None}
        if kept:
            self._terminal[row] = kept
        else:
            self._terminal.pop(row, None)

    def state_dict(self) -> dict[str, Any]:
        """What the replay buffer itself doesn't hold."""
        places = [(row, env) for row, kept in self._terminal.items() for env in kept]
        rows, envs = torch.tensor(places, dtype=torch.long).reshape(-1, 2).unbind(1)
        obs = [torch.as_tensor(obs) for kept in self._terminal.values() for obs in kept.values()]
        scored = {} if self.once is None else {"once": torch.from_numpy(self.once[: self.buffer.size()].copy()), "unscored": self._unscored}
        return {"unseen": self.unseen, "rows": rows, "envs": envs, "terminal_obs": torch.stack(obs) if obs else torch.zeros(0), **scored}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave.

        Raises:
            ValueError: it is of more rows than the replay buffer has, or of another number of environments.
        """
        if self.once is not None and "once" in state:
            (rows, envs), (most, n_envs) = state["once"].shape, self.once.shape
            if rows > most or envs != n_envs:
                raise ValueError(
                    f"the state of this reward has the scores of {rows:,} rows of {envs} environments, but the learner's replay buffer has "
                    f"{most:,} of {n_envs}; give the learner as many as it had, and load its own replay buffer"
                )
        self.unseen, self._terminal = state["unseen"], {}
        for row, env, obs in zip(state["rows"].tolist(), state["envs"].tolist(), state["terminal_obs"].numpy(), strict=True):
            self._terminal.setdefault(row, {})[env] = obs
        if self.once is not None and "once" in state:
            self.once[: len(state["once"])] = state["once"].numpy()
            self._unscored = state["unscored"]

    def score_once(self, score: Callable[[Transitions, np.ndarray], np.ndarray]) -> None:
        """Score the rows that were stored since the last call, oldest first.

        Args:
            score: from transitions, and whether an episode ended at each, by a time limit too, to scores ``(batch,)``.
        """
        if self.once is not None and self._unscored:
            rows, envs = self._newest(min(self._unscored, self.buffer.size()))
            self.once[rows, envs] = score(self.cells(rows, envs), self.buffer.dones[rows, envs] > 0)
            self._unscored = 0

    def age(self, rows: np.ndarray) -> np.ndarray:
        """How many rows were written after each of ``rows``."""
        return np.asarray((self.buffer.pos - 1 - rows) % self.buffer.buffer_size)

    def cells(self, rows: np.ndarray, envs: np.ndarray) -> Transitions:
        """The transitions in these cells, ``(batch,)`` each: raw observations, actions in the environment's units."""
        buffer = self.buffer
        obs, next_obs = (_read(self.model, field, rows, envs) for field in (buffer.observations, buffer.next_observations))
        if self._terminal:
            for i in np.flatnonzero(buffer.dones[rows, envs]):
                next_obs[i] = self._terminal.get(int(rows[i]), {}).get(int(envs[i]), next_obs[i])
        action = to_environment(self.model, buffer.actions[rows, envs])
        terminated = (buffer.dones[rows, envs] > 0) & (buffer.timeouts[rows, envs] == 0)
        return as_transitions(obs, action, next_obs, terminated, self.floats)

    def take_over(self, restored: dict[str, Any] | None, before: ReplayMemory | None) -> bool:
        """Keep what is known of the rows: from a saved state, else from a learn before with the same buffer. Whether anything was."""
        known = restored
        if known is None and before is not None and before.buffer is self.buffer:
            known = before.state_dict()
        if known is not None:
            self.load_state_dict(known)
        return known is not None

    def whole(self) -> tuple[Transitions, torch.Tensor]:
        """All transitions and the environment's rewards ``(batch,)``, ordered by environment, then by time."""
        size, n_envs = self.buffer.size(), self.buffer.n_envs
        oldest = self.buffer.pos - size  # buffers.py: `pos` is the next to be written, the oldest if full
        rows, envs = np.tile((oldest + np.arange(size)) % self.buffer.buffer_size, n_envs), np.repeat(np.arange(n_envs), size)
        return self.cells(rows, envs), torch.as_tensor(self.buffer.rewards[rows, envs]).to(self.floats.dtype)

    @property
    def latest(self) -> Transitions:
        """The rows stored since the last update, oldest first, all environments of a row together."""
        return self.cells(*self.latest_cells)

    @property
    def latest_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and environments of ``latest``, ``(batch,)`` each."""
        return self._newest(min(self.unseen, self.buffer.size()))

    def _newest(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        newest = (self.buffer.pos - n_rows + np.arange(n_rows)) % self.buffer.buffer_size
        rows, envs = np.meshgrid(newest, np.arange(self.buffer.n_envs), indexing="ij")
        return rows.reshape(-1), envs.reshape(-1)

    def sample(self, batch_size: int) -> Transitions:
        cells = torch.randint(len(self), (batch_size,), generator=self.generator).numpy()
        return self.cells(cells // self.buffer.n_envs, cells % self.buffer.n_envs)

    def __len__(self) -> int:
        return self.buffer.size() * self.buffer.n_envs


def _read(model: OffPolicyAlgorithm, field: Any, rows: np.ndarray, envs: np.ndarray) -> np.ndarray:
    """Observations in these cells of a replay buffer, as a reward is given them."""
    found = {key: value[rows, envs] for key, value in field.items()} if isinstance(field, dict) else field[rows, envs]
    return as_rows(model.observation_space, found)
