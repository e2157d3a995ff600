"""Observations that are large beside their differences: what an environment gives as doubles is centred before it is cast."""

from __future__ import annotations

import copy
import re
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.data import Demonstrations, Episode
from genrl.models.normalization import RunningMeanStd
from genrl.policies import clone, dagger
from genrl.rewards import (
    AIRL,
    E3B,
    GAIL,
    ICM,
    NGU,
    RND,
    VAIL,
    VIME,
    Disagreement,
    GAIfO,
    PredictionError,
    RewardCallback,
    RewardModel,
    SimHashCounts,
    StateEntropy,
)
from genrl.rewards.memory import TransitionPool
from genrl.transitions import Transitions, exact, lost_differences

FAR = np.array([1.7e9, -5.4e6, 1e6])
"""A time stamp in seconds, metres of a map, an angle that was counted up."""
SPACES = (spaces.Box(-np.inf, np.inf, (3,), np.float64), spaces.Box(-1, 1, (1,), np.float32))
N = 64


def rows(seed: int, n: int = N) -> np.ndarray:
    """Differences with few digits, so that adding what is far away and taking it off again loses none."""
    return np.round(np.random.default_rng(seed).normal(size=(n, 3)) * 256) / 256


def transitions(offset: np.ndarray, seed: int = 0) -> Transitions:
    obs, action = rows(seed), np.random.default_rng(9).uniform(-1, 1, (N, 1))
    ends = torch.zeros(N, dtype=torch.bool)
    return Transitions(exact(obs + offset), torch.tensor(action).float(), exact(np.roll(obs, -1, 0) + offset), ends)


def recorded(offset: np.ndarray) -> Demonstrations:
    obs = rows(5, N + 1) + offset
    actions = np.sign(obs[:-1, :1] - offset[0]).astype(np.float32)
    return Demonstrations.from_episodes([Episode(obs, actions, np.zeros(N), np.zeros(N, bool), np.arange(N) == N - 1)])


REWARDS: dict[str, Any] = {
    "icm": ICM,
    "rnd": RND,
    "prediction error": PredictionError,
    "disagreement": Disagreement,
    "vime": lambda *spaces_: VIME(*spaces_, min_transitions=0, n_updates=5),
    "counts": SimHashCounts,
    "e3b": E3B,
    "ngu": NGU,
    "entropy": StateEntropy,
    "entropy with a memory": lambda *spaces_: StateEntropy(*spaces_, memory_size=200),
    **{kind.__name__: lambda *spaces_, kind=kind: kind(recorded(spaces_[0].offset), *spaces_) for kind in (GAIL, GAIfO, AIRL, VAIL)},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", REWARDS)
def test_a_bonus_is_the_same_however_far_from_zero_the_world_is(name: str) -> None:
    """Scores of three batches, with two updates between them, with and without an offset of 1.7e9."""
    scores = []
    for offset in (np.zeros(3), FAR):
        space = copy.deepcopy(SPACES[0])
        space.offset = offset
        reward, pool = REWARDS[name](space, SPACES[1]), TransitionPool(200)
        reward.train()
        for k in range(3):
            batch = transitions(offset, k)
            scores.append(reward(batch).double())
            pool.add(batch)
            reward.update(pool)
    near, far = torch.stack(scores[:3]), torch.stack(scores[3:])
    assert near[-1].std() > 1e-3
    torch.testing.assert_close(far, near, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_that_was_moved_after_it_had_learned_learns_on(name: str) -> None:
    space = copy.deepcopy(SPACES[0])
    space.offset = np.zeros(3)
    reward, pool = REWARDS[name](space, SPACES[1]), TransitionPool(200)
    reward.train()
    for k, dtype in enumerate((torch.float32, torch.float64, torch.float32)):
        reward.to(dtype)
        batch = transitions(np.zeros(3), k)
        pool.add(batch._replace(obs=batch.obs.to(dtype), next_obs=batch.next_obs.to(dtype)))
        reward(pool.latest)
        reward.update(pool)
        optimizers = [value for module in reward.modules() for value in vars(module).values() if isinstance(value, torch.optim.Optimizer)]
        moments = [item for optimizer in optimizers for state in optimizer.state.values() for item in state.values() if item.numel() > 1]
        assert {item.dtype for item in moments} <= {dtype}


def test_scores_in_half_precision_are_taken_too() -> None:
    model = PPO("MlpPolicy", Far(np.float32, np.zeros(3)), n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    model.learn(16, callback=RewardCallback(RND(model.observation_space, model.action_space).bfloat16()))


def test_observations_of_another_size_are_refused() -> None:
    batch = transitions(np.zeros(3))
    with pytest.raises(ValueError, match=r"have 4 numbers each, but these are of shape \(64, 3\)"):
        RND(spaces.Box(-1, 1, (4,)), SPACES[1])(batch)
    assert RND(*SPACES)(batch.rows(slice(0, 0))).shape == (0,)


class Far(gymnasium.Env[np.ndarray, Any]):
    """A walk on a map, with the time."""

    action_space = SPACES[1]

    def __init__(self, dtype: type = np.float64, offset: np.ndarray = FAR) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), dtype)
        self.offset = offset

    def _observe(self) -> np.ndarray:
        return (self.offset + self.position).astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.position = 0, np.zeros(3)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.position = self.position + np.array([1, float(np.round(8 * action[0]) / 8), 0.25])
        return self._observe(), 0.0, False, self.time >= 10, {}


def learner(kind: Any, env: Any) -> Any:
    own = {"n_steps": 64} if kind is PPO else {"learning_starts": 10, "buffer_size": 500, "batch_size": 8}
    return kind("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [8]}, **own)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", [PPO, SAC])
def test_a_bonus_varies_in_a_run_far_from_zero(kind: Any, normalize: bool) -> None:
    env: Any = DummyVecEnv([Far])
    model = learner(kind, VecNormalize(env) if normalize else env)
    callback = RewardCallback(RND(model.observation_space, model.action_space), update_every=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(128, callback=callback)
    assert callback.last_bonus.std() > 1e-3 * callback.last_bonus.mean() > 0


class Plain(RewardModel):
    """A reward of somebody's own, that knows nothing of doubles."""

    def __init__(self, *spaces_: Any) -> None:
        super().__init__(*spaces_)
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, transitions: Transitions) -> torch.Tensor:
        return self.layer(transitions.next_obs).squeeze(1)


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_a_reward_that_does_not_centre_is_given_its_own_dtype_and_told_of(kind: Any) -> None:
    model = learner(kind, Far())
    with pytest.warns(UserWarning, match=r"Plain can't tell observations apart: entry 0 is near 1.7e\+09 .*; give the reward"):
        model.learn(128, callback=RewardCallback(Plain(model.observation_space, model.action_space), update_every=64))


def test_what_the_task_itself_gives_as_float32_is_told_of_once() -> None:
    model = learner(PPO, Far(np.float32))
    with pytest.warns(UserWarning, match="give the environment a Box of float64, or subtract an offset") as told:
        model.learn(192, callback=RewardCallback(RND(model.observation_space, model.action_space)))
    assert sum("can't tell observations apart" in str(warning.message) for warning in told) == 1


@pytest.mark.parametrize(
    ("values", "entry"),
    [
        ([1.7e9, 1.7e9 + 200, 1.7e9 + 300], "entry 0 is near 1.7e\\+09"),
        ([5e5, 5e5 + 0.1, 5e5 + 0.2], "entry 0 is near 5e\\+05 and varies by 0.077, where float32 has steps of 0.031"),
        ([0.0, 1.0, 2.0], ""),
        ([1e4, 1e4 + 1, 1e4 + 2], ""),
        ([1e5, 1e5, 1e5], ""),  # it never varies
        ([5.0, 5.0000005, 5.0], ""),  # a constant with noise
        ([1e9, 1e9, 1e9], "entry 0"),
    ],
)
def test_when_float32_has_lost_differences(values: list[float], entry: str) -> None:
    told = lost_differences(np.array(values)[:, None])
    assert re.match(entry, told) if entry else told == ""


def test_demonstrations_keep_their_digits() -> None:
    pairs = recorded(FAR).transitions()
    assert pairs.obs.dtype == pairs.next_obs.dtype == torch.float64
    np.testing.assert_array_equal(pairs.obs.numpy() - FAR, rows(5, N + 1)[:-1])


def test_a_policy_is_cloned_far_from_zero_through_the_normalisation() -> None:
    model = learner(PPO, VecNormalize(DummyVecEnv([Far])))
    clone(model, recorded(FAR), epochs=400, patience=400, learning_rate=1e-2)
    pairs = recorded(FAR).transitions()
    actions = model.predict(model.get_vec_normalize_env().normalize_obs(pairs.obs.numpy()), deterministic=True)[0]
    assert (np.sign(actions) == pairs.action.numpy()).mean() > 0.95


def test_a_policy_that_reads_float32_by_itself_is_told_of() -> None:
    with pytest.warns(UserWarning, match="PPO reads observations as float32: entry 0 is near .*; put VecNormalize around the environments"):
        clone(learner(PPO, Far()), recorded(FAR), epochs=1)


def test_dagger_records_what_the_task_gives() -> None:
    model = learner(PPO, VecNormalize(DummyVecEnv([Far])))
    known = dagger(model, lambda obs: np.array([0.5]), Far(), rounds=2, episodes=1, epochs=1)
    for episode in known.episodes:
        assert episode.observations.dtype == np.float64
        np.testing.assert_array_equal(np.diff(episode.observations[:, 0]), np.ones(10))


class TestRunningMeanStd:
    def test_doubles_are_centred_before_they_are_cast(self) -> None:
        stats = RunningMeanStd((3,))
        x = exact(rows(0) + FAR)
        stats.update(x)
        right = (rows(0) - rows(0).mean(0)) / rows(0).std(0)
        assert stats(x).dtype == torch.float32
        np.testing.assert_allclose(stats(x).numpy(), right, atol=1e-5)

    def test_floats_give_the_bits_that_they_have_always_given(self) -> None:
        stats = RunningMeanStd((3,), clip=2.0)
        x = torch.tensor(rows(0)).float()
        stats.update(x)
        old = ((x - stats.mean.to(x.dtype)) / stats.std.to(x.dtype)).clamp(-2, 2)
        assert torch.equal(stats(x), old)

    def test_a_model_of_doubles_stays_one(self) -> None:
        stats = RunningMeanStd((3,)).double()
        assert stats(torch.zeros(2, 3)).dtype == torch.float64

    def test_its_state_is_mean_variance_and_count_alone(self) -> None:
        assert sorted(RunningMeanStd().state_dict()) == ["count", "mean", "var"]
