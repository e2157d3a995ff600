"""An environment that observes its own clock, a reward that shows a misread transition as a wrong integer, and learners for both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from torch import Tensor

from genrl.rewards import RewardModel
from genrl.transitions import Transitions

ON_POLICY: dict[str, type[BaseAlgorithm]] = {
    "PPO": PPO,
    "A2C": A2C,
    "TRPO": TRPO,
    "RecurrentPPO": RecurrentPPO,
    "MaskablePPO": MaskablePPO,
}
OFF_POLICY: dict[str, type[BaseAlgorithm]] = {
    "SAC": SAC,
    "TD3": TD3,
    "DDPG": DDPG,
    "TQC": TQC,
    "CrossQ": CrossQ,
    "DQN": DQN,
    "QRDQN": QRDQN,
}
DISCRETE = {"MaskablePPO", "DQN", "QRDQN"}
N_STEPS = 16
PROCESSES = partial(SubprocVecEnv, start_method="fork")  # the others import everything once more in each process

ACTIONS = {
    # Bounds that are neither ±1 nor symmetric: a scaled or unclipped action can't pass for an executed one.
    "box": spaces.Box(np.array([-2.0, 0.0], dtype=np.float32), np.array([3.0, 0.5], dtype=np.float32)),
    "discrete": spaces.Discrete(4),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(3),
}


class Step(NamedTuple):
    """What really happened in one step of one environment."""

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    terminated: bool
    truncated: bool
    reward: float


class Clock(gymnasium.Env[np.ndarray, Any]):
    """Observes (100 · episode + time, index of the environment, sum of the last action); its ``log`` is what really happened.

    Episode k of environment i lasts 3 + (2i + k) mod 4 steps and ends, in turn, by termination, by truncation and by both at once.
    """

    def __init__(self, index: int = 0, actions: str = "box", dtype: type = np.float32, bad: dict[int, str] | None = None) -> None:
        self.index, self.bad = index, bad or {}
        self.action_space = ACTIONS[actions]
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), dtype)
        self.log: list[Step] = []
        self.episode, self.time, self.obs = -1, 0, np.zeros(3)

    def _observe(self, action: Any) -> np.ndarray:
        self.obs = np.array([100 * self.episode + self.time, self.index, np.sum(action)], dtype=self.observation_space.dtype)
        return self.obs

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._observe(0), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs = self.obs
        self.time += 1
        next_obs = self._observe(action)
        end, kind = self.time == 3 + (2 * self.index + self.episode) % 4, (self.index + self.episode) % 3
        terminated, truncated = end and kind != 1, end and kind != 0
        reward = float(1 + self.time + 3 * self.index)
        self.log.append(Step(obs, np.array(action), next_obs, terminated, truncated, reward))
        if (fault := self.bad.get(len(self.log))) is not None:
            next_obs = next_obs * np.nan if fault == "obs" else next_obs
            reward = np.nan if fault == "reward" else reward
            terminated = terminated or fault == "obs"  # as MuJoCo's tasks do when the simulation diverges
        return next_obs, reward, terminated, truncated, {}

    def action_masks(self) -> np.ndarray:
        return np.arange(self.action_space.n) != self.time % 4  # type: ignore[attr-defined]


class ClockReward(RewardModel):
    """An integer of everything that a transition has; keeps all that it is given."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], first: bool = False) -> None:
        super().__init__(observation_space, action_space)
        self.learns_first = first  # type: ignore[misc]
        self.events: list[tuple[str, Transitions]] = []
        self.updates = 0

    def forward(self, transitions: Transitions) -> Tensor:
        self.events.append(("score" if self.training else "replay", transitions))
        return score(transitions)

    def update(self, memory: Any) -> dict[str, float]:
        self.updates += 1
        self.events.append(("update", memory.latest))
        return {"updates": float(self.updates)}

    def scored(self) -> list[Transitions]:
        return [transitions for kind, transitions in self.events if kind == "score"]


class Zero(RewardModel):
    """Nothing, and no parameters."""

    def forward(self, transitions: Transitions) -> Tensor:
        return torch.zeros(transitions.batch_size)


def score(transitions: Transitions) -> Tensor:
    """The reward of :class:`ClockReward`, in at most 2²⁴ so that it is exact in float32."""
    obs, action, next_obs, terminated = transitions
    action = torch.round(16 * action.double().reshape(len(action), -1).sum(1))
    clock = (obs.double() * torch.tensor([2, 300, 0])).sum(1) + (next_obs.double() * torch.tensor([3, 500, 0])).sum(1)
    return (clock + 7 * action + 40_000 * terminated).float()


def true_transitions(steps: list[Step]) -> Transitions:
    """Logged steps as a reward should see them."""
    obs, action, next_obs, terminated, _, _ = (np.stack(field) for field in zip(*steps, strict=True))
    return Transitions(
        torch.as_tensor(obs).float(),
        torch.as_tensor(action) if action.dtype.kind in "iu" else torch.as_tensor(action).float(),
        torch.as_tensor(next_obs).float(),
        torch.as_tensor(terminated),
    )


def same(a: Transitions, b: Transitions) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def clocks(n_envs: int, normalize: str = "", vec_env: Callable[..., VecEnv] = DummyVecEnv, **kwargs: Any) -> VecEnv:
    """``normalize``: any of "obs" and "reward"; ``clip`` clips observations hard."""

    def make(index: int) -> Callable[[], Monitor[Any, Any]]:
        return lambda: Monitor(Clock(index, **kwargs))

    env = vec_env([make(index) for index in range(n_envs)])
    if normalize:
        env = VecNormalize(
            env, norm_obs="obs" in normalize, norm_reward="reward" in normalize, clip_obs=0.5 if "clip" in normalize else 10.0
        )
    return env


def logs(env: VecEnv) -> list[list[Step]]:
    """Per environment, all its steps so far."""
    return env.get_attr("log")


def learner(name: str, env: VecEnv, **kwargs: Any) -> Any:
    """A learner with tiny nets, in which everything happens within 100 steps."""
    policy_kwargs: dict[str, Any] = {"net_arch": [8]}
    if name in ON_POLICY:
        kwargs = {"n_steps": N_STEPS, **kwargs}
        kwargs |= {} if name == "A2C" else {"batch_size": N_STEPS}
        kwargs |= {"n_epochs": 2} if name in {"PPO", "RecurrentPPO", "MaskablePPO"} else {}
        if name == "RecurrentPPO":
            policy_kwargs |= {"lstm_hidden_size": 4}
    else:
        kwargs = {"learning_starts": 20, "batch_size": 8, "buffer_size": 1000, **kwargs}
        kwargs |= {"train_freq": (8, "step")} if "train_freq" not in kwargs else {}
        policy_kwargs |= {"n_critics": 1} if name in {"SAC", "TD3", "TQC", "CrossQ"} else {}
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    algorithm: Any = (ON_POLICY | OFF_POLICY)[name]
    return algorithm(policy, env, learning_rate=1e-5, policy_kwargs=policy_kwargs, seed=0, device="cpu", **kwargs)


def clock_learner(name: str, n_envs: int = 2, normalize: str = "", vec_env: Callable[..., VecEnv] = DummyVecEnv, **kwargs: Any) -> Any:
    return learner(name, clocks(n_envs, normalize, vec_env, actions="discrete" if name in DISCRETE else "box"), **kwargs)


def reward_of(model: Any, kind: type[RewardModel] = ClockReward, **kwargs: Any) -> Any:
    return kind(model.observation_space, model.action_space, **kwargs)


def parameters(model: Any) -> list[Tensor]:
    return [tensor.clone() for _, tensor in sorted(model.policy.state_dict().items())]


def equal_parameters(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(parameters(a), parameters(b), strict=True))


class Spy(BaseCallback):
    """Runs ``look`` with the learner at every step, and ``at_end`` when a rollout has ended."""

    def __init__(self, look: Callable[[Spy], Any] | None = None, at_end: Callable[[Spy], Any] | None = None) -> None:
        super().__init__()
        self.look, self.at_end = look, at_end

    def _on_step(self) -> bool:
        if self.look is not None:
            self.look(self)
        return True

    def _on_rollout_end(self) -> None:
        if self.at_end is not None:
            self.at_end(self)
