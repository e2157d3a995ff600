from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.encoders import StackedFrames
from genrl.worlds import Agreement, blurred, measure_agreement
from genrl.worlds.agreement import real_episode
from tests.worlds.analytic import LinearGaussian
from tests.worlds.test_imagination import WIDE, Task

POLICIES = {f"{gain:g}": lambda obs, gain=gain: (-gain * obs[:, :1]).astype(np.float32).clip(-2, 3) for gain in (0.0, 1.0, 3.0, -2.0)}


class Wrong(LinearGaussian):
    """The true next state, but a reward that is best where the task's is worst."""

    def predict(self, obs: Any, action: Any) -> Any:
        right = super().predict(obs, action)
        return right._replace(reward=-right.reward)


def test_the_exact_model_has_the_returns_of_the_task_and_its_ranking() -> None:
    found = measure_agreement(LinearGaussian(action_space=WIDE, members=3), POLICIES, Task(), episodes=4)
    np.testing.assert_allclose(found.dream, found.real, rtol=1e-4)
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.gap < 1e-4


class Apart(LinearGaussian):
    """Members on both sides of the truth."""

    def predict(self, obs: Any, action: Any) -> Any:
        right = super().predict(obs, action)
        off = torch.tensor([-0.5, 0.0, 0.5])[:, None]
        return right._replace(mean=right.mean + off[..., None], reward=right.reward + off)


def test_a_policy_is_measured_in_the_dream_of_all_members_together() -> None:
    found = measure_agreement(Apart(action_space=WIDE, members=3), POLICIES, Task(), episodes=4)
    np.testing.assert_allclose(found.dream, found.real, rtol=1e-4)


class InOneArray(gymnasium.Wrapper):
    """Every observation stands in the same array."""

    def reset(self, **kwargs: Any) -> Any:
        obs, info = self.env.reset(**kwargs)
        self.place = np.array(obs)
        return self.place, info

    def step(self, action: Any) -> Any:
        obs, *others = self.env.step(action)
        self.place[...] = obs
        return self.place, *others


def test_a_task_that_observes_in_one_array_all_the_time_has_the_episodes_of_one_that_does_not() -> None:
    policy = POLICIES["1"]
    rows, reward = real_episode(Task(), policy, seed=0).transitions()
    others, same = real_episode(InOneArray(Task()), policy, seed=0).transitions()
    assert all(torch.equal(a, b) for a, b in zip((*rows, reward), (*others, same), strict=True))
    assert torch.equal(others.obs[1:], others.next_obs[:-1])
    assert not torch.equal(others.obs, others.next_obs)


def test_frames_that_a_task_draws_into_one_array_are_stacked_as_others_are() -> None:
    seen = []
    for wrap in (lambda env: env, InOneArray):
        env = StackedFrames(wrap(gymnasium.make("genrl/PixelPendulum-v0")), 3)
        frames = [env.reset(seed=0)[0], *(env.step(np.ones(1, np.float32))[0] for _ in range(5))]
        seen.append(np.stack(frames))
    np.testing.assert_array_equal(*seen)


class Falls(gymnasium.Wrapper):
    """Ends after three steps, which no dream of the plain task knows of."""

    def step(self, action: Any) -> Any:
        obs, reward, _, truncated, info = self.env.step(action)
        return obs, reward, self.unwrapped.time == 3, truncated, info


def test_a_dream_that_does_not_end_where_reality_does_shows_what_it_promises() -> None:
    model = LinearGaussian(action_space=WIDE, members=3)
    whole = measure_agreement(model, POLICIES, Task(), episodes=4)
    short = measure_agreement(model, POLICIES, Falls(Task()), episodes=4, longest=10)
    np.testing.assert_allclose(short.dream, whole.real, rtol=1e-4)
    assert not np.isclose(short.real, whole.real).any()


def test_a_model_that_pays_for_the_opposite_ranks_the_other_way_round() -> None:
    found = measure_agreement(Wrong(action_space=WIDE), POLICIES, Task(), episodes=4)
    np.testing.assert_allclose(found.dream, [-value for value in found.real], rtol=1e-4)
    assert found.rank_correlation == pytest.approx(-1.0)
    assert found.gap == pytest.approx(2.0, rel=1e-3)


def test_spearmans_correlation_and_the_gap_by_hand() -> None:
    found = Agreement(("a", "b", "c", "d"), (10.0, 20.0, 30.0, 40.0), (9.0, 50.0, 60.0, 55.0))
    assert found.rank_correlation == pytest.approx(1 - 6 * (0 + 0 + 1 + 1) / (4 * 15))
    assert found.gap == pytest.approx(0.1)
    assert "rank correlation 0.80; gap of the first 10%" in found.table()
    same = Agreement(("a", "b"), (1.0, 1.0), (1.0, 2.0))
    assert math.isnan(same.rank_correlation)
    assert same.to_dict()["rank_correlation"] is None


def test_a_blurred_policy_is_between_itself_and_chance() -> None:
    space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    space.seed(3)
    expected = spaces.Box(-1.0, 1.0, (1,), np.float32)
    expected.seed(3)
    obs = np.zeros((2000, 2), np.float32)

    def still(obs: np.ndarray) -> np.ndarray:
        return np.zeros((len(obs), 1), np.float32)

    for share in (0.0, 0.3, 1.0):
        assert (blurred(still, space, share)(obs) != 0).mean() == pytest.approx(share, abs=0.04)
    assert np.array_equal(blurred(still, space, 0.3, seed=1)(obs), blurred(still, space, 0.3, seed=1)(obs))
    assert np.array_equal(space.sample(), expected.sample())  # the caller's generator stays as it was
    with pytest.raises(ValueError, match="share to be in"):
        blurred(still, space, 1.5)


class Counting:
    """Acts by the number of its steps since the episode began, and so is another policy if it does not forget."""

    def __init__(self) -> None:
        self.steps = 0

    def reset(self) -> None:
        self.steps = 0

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        self.steps += 1
        return np.full((len(obs), 1), 0.1 * self.steps - 0.5, np.float32)


def test_a_policy_with_a_memory_forgets_before_each_episode_of_both_kinds() -> None:
    policies = {"counts": Counting(), "blurred": blurred(Counting(), WIDE, 0.0)}
    found = measure_agreement(LinearGaussian(action_space=WIDE, members=3), policies, Task(), episodes=3)
    np.testing.assert_allclose(found.dream, found.real, rtol=1e-4)
    assert found.real[0] == pytest.approx(found.real[1])


def test_no_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="policies to be at least one"):
        measure_agreement(LinearGaussian(action_space=WIDE), {}, Task())
