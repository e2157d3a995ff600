"""A task that observes in one array, and tells in one dict, all the time."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from genrl.runs.environments.detached import Detached
from genrl.runs.environments.make import MakeEnv


class OneArray(gymnasium.Env[Any, Any]):
    """It observes, and tells, how many steps it has made; an episode has three."""

    observation_space = gymnasium.spaces.Dict(steps=gymnasium.spaces.Box(0, 9, (1,)))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.obs = {"steps": np.zeros(1, np.float32)}
        self.info: dict[str, Any] = {"steps": 0, "state": np.zeros(1)}

    def _now(self, steps: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self.obs["steps"][:] = self.info["state"][:] = self.info["steps"] = steps
        return self.obs, self.info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        return self._now(0)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        obs, info = self._now(self.info["steps"] + 1)
        return obs, 1.0, False, info["steps"] == 3, info


gymnasium.register("tests/OneArray-v0", entry_point=OneArray, disable_env_checker=True)  # which warns of both


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """The infos of seven steps: two episodes, and the first step of a third."""
    env = DummyVecEnv([MakeEnv("tests/OneArray-v0", {})])
    env.reset()
    return [env.step(np.array([0]))[3][0] for _ in range(7)]


def test_the_last_observation_of_an_episode_is_not_the_first_of_the_next(told):
    assert [int(info["terminal_observation"]["steps"][0]) for info in (told[2], told[5])] == [3, 3]
    assert [info["steps"] for info in told] == [1, 2, 3, 1, 2, 3, 1]
    assert [int(info["state"][0]) for info in told] == [1, 2, 3, 1, 2, 3, 1]


def test_an_episode_is_told_of_once(told):
    assert ["episode" in info for info in told] == [False, False, True, False, False, True, False]


class Payer(OneArray):
    """It pays what it is made with."""

    def __init__(self, reward: Any) -> None:
        super().__init__()
        self.reward = reward

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], Any, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, self.reward, terminated, truncated, info


@pytest.mark.parametrize("reward", [np.ones(1), [1.0], None, "one", 1j], ids=repr)
def test_a_reward_that_is_not_one_number_is_named_with_what_to_return(reward):
    with pytest.raises(TypeError, match=r"^Payer gave .* as a reward, which must be one number; return float"):
        Detached(Payer(reward)).step(0)


@pytest.mark.parametrize("reward", [1.0, 1, True, np.float32(1), np.int64(1), np.array(1.0)], ids=repr)
def test_any_one_number_is_a_reward(reward):
    assert Detached(Payer(reward)).step(0)[1] is reward
