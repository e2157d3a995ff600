"""Small runs, rewards and tasks for the tests of runs and of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from genrl.rewards.base import Memory, RewardModel
from genrl.runs import ExploreConfig
from genrl.transitions import Transitions

SMALL = {"ppo": {"n_steps": 64, "batch_size": 32, "n_epochs": 2}, "sac": {"learning_starts": 32, "batch_size": 16, "buffer_size": 500}}


class Surprise(RewardModel):
    """Bonus: squared distance to a running mean of observations, which ``update`` moves."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0, rate: float = 0.5) -> None:
        super().__init__(observation_space, action_space, seed)
        self.rate = rate
        self.register_buffer("mean", torch.zeros(self.obs_dim))

    def forward(self, transitions: Transitions) -> torch.Tensor:
        return (self.flat_obs(transitions.next_obs) - self.mean).square().mean(dim=1)

    def update(self, memory: Memory) -> dict[str, float]:
        self.mean += self.rate * (self.flat_obs(memory.latest.next_obs).mean(dim=0) - self.mean) + 1e-3 * torch.rand(
            (), generator=self.generator
        )
        return {"mean": float(self.mean.mean())}


class Breaks(gymnasium.Env[np.ndarray, np.ndarray]):
    """Gives a NaN reward or observation, or an infinite one, at step ``at`` of its life, raises an error, or leaves the process.

    Or, if ``what`` says so, jumps away at the end of each episode, counts its steps, or tells of a speed at every other one alone.
    """

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, what: str = "reward", at: int = 100) -> None:
        self.what, self.at, self.steps = what, at, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._raise()
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        now = self.steps == self.at
        self._raise()
        if now and self.what == "exit":
            raise SystemExit(3)
        obs = np.full(2, {"observation": np.nan, "infinity": np.inf}.get(self.what, 0.5) if now else 0.5, np.float32)
        reward = np.nan if now and self.what == "reward" else 0.0
        if self.what == "jump" and self.steps % 20 == 0:
            obs += np.float32(1e6)
        speed = None if self.what == "untold" and self.steps % 2 == 0 else 0.25 * (self.steps % 4)
        info = {"speed": speed} | ({"coverage": self.steps / 1000} if self.what == "counts" else {})
        return obs, reward, False, self.steps % 20 == 0, info

    def _raise(self) -> None:
        if self.what == "error" and self.steps == self.at:
            raise ValueError(f"broken at step {self.steps}")


gymnasium.register("tests/Breaks-v0", entry_point=Breaks)


class Masked(gymnasium.Env[np.ndarray, np.int64]):
    """A walk on 0 to 9 by -1, 0 or 1, paid by its place; the walls mask what would leave."""

    observation_space = spaces.Box(0, 9, (1,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(10)), 0
        return np.array([self.place], np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_masks()[action]
        self.place, self.steps = self.place + int(action) - 1, self.steps + 1
        return np.array([self.place], np.float32), self.place / 9, False, self.steps == 30, {}

    def action_masks(self) -> np.ndarray:
        """The moves that stay on the board."""
        return np.array([self.place > 0, True, self.place < 9])


gymnasium.register("tests/Masked-v0", entry_point=Masked)


def config(out: Path, learner: str = "ppo", **changes: Any) -> ExploreConfig:
    """256 steps of Pendulum-v1, unless told otherwise."""
    values: dict[str, Any] = {
        "env": "Pendulum-v1", "learner": learner, "reward": "none", "steps": 256, "eval_episodes": 1, "out": out,
        "checkpoint_every": 0.0 if learner == "ppo" else 60.0, "pictures": False,
        "learner_kwargs": SMALL.get(learner, {}) | {"net_arch": (8,)},
    }  # fmt: skip
    return ExploreConfig(**values | changes)


def assert_equal(a: Any, b: Any, name: str = "") -> None:
    """The same nested state, bit for bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), name
        for key in a:
            assert_equal(a[key], b[key], f"{name}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), name
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{name}/{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), name
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b), name
    else:
        assert a == b or (a != a and b != b), name  # equal, or NaN both
