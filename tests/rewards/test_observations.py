"""Observations of every kind: what a reward is given of them, in which order, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.data import Demonstrations, Episode
from genrl.rewards import (
    AIRL,
    GAIL,
    ICM,
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
    Transitions,
)
from genrl.rewards.images import AsImage
from genrl.sb3.batches import Rows
from genrl.sb3.hooks import LendingPart
from genrl.sb3.plugged import PluggedCallback
from genrl.spaces import flat, flat_size, unflat
from tests.rewards.clock import Clock, ClockReward, Spy

CURIOUS: list[type[RewardModel]] = [VIME, RND, ICM, Disagreement, PredictionError, StateEntropy, SimHashCounts]
IMAGE = spaces.Box(0, 255, (16, 12, 3), np.uint8)
SPACES: dict[str, spaces.Space[Any]] = {
    "matrix": spaces.Box(-np.inf, np.inf, (3, 1), np.float64),
    "discrete": spaces.Discrete(64),
    "multidiscrete": spaces.MultiDiscrete([16, 4]),
    "multibinary": spaces.MultiBinary(6),
    "dict": spaces.Dict(
        {
            "time": spaces.Box(-np.inf, np.inf, (2, 1)),
            "index": spaces.Discrete(4),
            "bits": spaces.MultiBinary(6),
            "act": spaces.Box(-9, 9, (1,)),
        }
    ),
}


def seen(kind: str, obs: np.ndarray) -> Any:
    """What the environment of this kind shows where the clock shows ``obs``."""
    episode, time, index = int(obs[0]) // 100, int(obs[0]) % 100, int(obs[1])
    bits = np.array([(time + 8 * index) >> i & 1 for i in range(6)], dtype=np.int8)
    return {
        "matrix": lambda: obs.reshape(3, 1).astype(np.float64),
        "discrete": lambda: np.int64(time + 8 * index),
        "multidiscrete": lambda: np.array([time, index]),
        "multibinary": lambda: bits,
        "dict": lambda: {
            "time": np.array([[episode], [time]], dtype=np.float32),
            "index": np.int64(index),
            "bits": bits,
            "act": obs[2:].astype(np.float32),
        },
    }[kind]()


class Shown(gymnasium.ObservationWrapper[Any, Any, Any]):
    def __init__(self, clock: Clock, kind: str) -> None:
        super().__init__(clock)
        self.kind, self.observation_space = kind, SPACES[kind]

    def observation(self, observation: np.ndarray) -> Any:
        return seen(self.kind, observation)


class Keeps(ClockReward):
    """A zero of everything; keeps all that it is given."""

    def forward(self, transitions: Transitions) -> torch.Tensor:
        self.events.append(("score" if self.training else "replay", transitions))
        return torch.zeros(transitions.batch_size)


def shown_learner(name: str, kind: str, normalize: bool = False, n_envs: int = 2) -> Any:
    def make(index: int) -> Callable[[], Any]:
        return lambda: Shown(Clock(index, "discrete" if name == "DQN" else "box"), kind)

    env: Any = DummyVecEnv([make(index) for index in range(n_envs)])
    env = VecNormalize(env, norm_obs_keys=["time", "act"] if kind == "dict" else None, clip_obs=0.5) if normalize else env
    policy = "MultiInputPolicy" if kind == "dict" else "MlpPolicy"
    kwargs: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"}
    if name == "PPO":
        return PPO(policy, env, n_steps=16, batch_size=16, n_epochs=1, **kwargs)
    algorithm: Any = {"SAC": SAC, "DQN": DQN}[name]
    return algorithm(policy, env, learning_starts=20, batch_size=8, buffer_size=200, train_freq=(8, "step"), **kwargs)


def rows(kind: str, observations: list[np.ndarray]) -> np.ndarray:
    """By Gymnasium, one at a time."""
    return np.stack([spaces.flatten(SPACES[kind], seen(kind, obs)) for obs in observations]).astype(np.float32)


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
@pytest.mark.parametrize(("kind", "normalize"), [*[(kind, False) for kind in SPACES], ("dict", True), ("matrix", True)])
def test_a_reward_sees_what_happened_in_the_order_of_gymnasium(name: str, kind: str, normalize: bool) -> None:
    model = shown_learner(name, kind, normalize)
    reward = Keeps(model.observation_space, model.action_space)
    model.learn(80, callback=RewardCallback(reward, update_every=16))
    logged = model.env.get_attr("log")
    true = [step for pair in zip(*logged, strict=True) for step in pair]
    new = Transitions.concatenate(reward.scored())
    true = true[: new.batch_size]
    assert reward.obs_dim == spaces.flatdim(SPACES[kind])
    np.testing.assert_array_equal(reward.flat_obs(new.obs), rows(kind, [step.obs for step in true]))
    np.testing.assert_array_equal(reward.flat_obs(new.next_obs), rows(kind, [step.next_obs for step in true]))
    assert new.terminated.tolist() == [step.terminated for step in true]
    replayed = [transitions for what, transitions in reward.events[1:] if what == "replay"]
    assert bool(replayed) == (name != "PPO")
    known = {(tuple(a), tuple(b)) for log in logged for step in log for a, b in [rows(kind, [step.obs, step.next_obs])]}
    for transitions in replayed:
        pairs = zip(reward.flat_obs(transitions.obs).tolist(), reward.flat_obs(transitions.next_obs).tolist(), strict=True)
        assert {(tuple(a), tuple(b)) for a, b in pairs} <= known


@pytest.mark.parametrize("cls", CURIOUS)
@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_every_bonus_takes_every_kind(cls: type[RewardModel], kind: str, name: str) -> None:
    model = shown_learner(name, kind)
    reward = cls(model.observation_space, model.action_space)
    callback = RewardCallback(reward, update_every=32)
    model.learn(96, callback=callback)
    assert callback.last_bonus.size
    assert np.isfinite(callback.last_bonus).all()


@pytest.mark.parametrize("cls", [GAIL, GAIfO, AIRL, VAIL])
@pytest.mark.parametrize("kind", ["matrix", "discrete", "multidiscrete", "multibinary"])
def test_every_imitation_takes_demonstrations_of_every_kind(cls: Any, kind: str) -> None:
    model = shown_learner("PPO", kind)
    model.learn(64)
    log = list(model.env.get_attr("log")[0])
    obs = np.array([seen(kind, step.obs) for step in log] + [seen(kind, log[-1].next_obs)])
    last = np.arange(len(log)) == len(log) - 1
    demos = Demonstrations.from_episodes([Episode(obs, np.array([step.action for step in log]), np.ones(len(log)), last & False, last)])
    reward = cls(demos, model.observation_space, model.action_space, updates=1)
    model.learn(64, callback=RewardCallback(reward, extrinsic_weight=0.0))
    known = reward.flat_obs(demos.transitions().obs)
    np.testing.assert_array_equal(known, rows(kind, [step.obs for step in log]))


class TestImages:
    @pytest.mark.parametrize("space", [IMAGE, spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "eye": IMAGE})])
    @pytest.mark.parametrize("cls", [VIME, StateEntropy, Keeps])
    def test_are_refused_by_name_with_what_to_type(self, cls: type[RewardModel], space: Any) -> None:
        with pytest.raises(ValueError, match=rf"^{cls.__name__} takes no images, .*EncodedVecEnv\(venv, load_encoder\('RUN'\)\)"):
            cls(space, spaces.Discrete(2))

    @pytest.mark.parametrize("cls", [RND, ICM])
    def test_inside_a_dict_are_refused_by_all(self, cls: type[RewardModel]) -> None:
        with pytest.raises(ValueError, match="takes no images"):
            cls(spaces.Dict({"eye": IMAGE}), spaces.Discrete(2))

    @pytest.mark.parametrize("cls", [RND, ICM])
    @pytest.mark.parametrize("shape", [(16, 12, 3), (3, 16, 12)])
    def test_are_seen_through_convolutions_that_learn(self, cls: Any, shape: tuple[int, ...]) -> None:
        reward = cls(spaces.Box(0, 255, shape, np.uint8), spaces.Discrete(2), epochs=20, batch_size=16)
        assert sum(isinstance(layer, torch.nn.Conv2d) for layer in reward.modules()) >= 1
        generator = torch.Generator().manual_seed(0)
        obs, next_obs = (torch.randint(256, (64, *shape), generator=generator).float() for _ in range(2))
        batch = Transitions(obs, torch.randint(2, (64,), generator=generator), next_obs, torch.zeros(64, dtype=torch.bool))

        class Newest:
            latest = batch

        before = {name: value.clone() for name, value in reward.named_parameters() if value.requires_grad}
        first = reward(batch).mean()
        reward.update(Newest())
        assert all(not torch.equal(value, before[name]) for name, value in reward.named_parameters() if name in before)
        if cls is RND:
            assert reward.eval()(batch).mean() < first

    def test_channels_last_and_first_are_one_image(self) -> None:
        image = torch.arange(2 * 16 * 12 * 3).float().reshape(2, 16, 12, 3)
        last, first = AsImage((16, 12, 3))(image.flatten(1)), AsImage((3, 16, 12))(image.permute(0, 3, 1, 2).flatten(1))
        assert torch.equal(last, first)
        assert last.shape == (2, 3, 16, 12)

    @pytest.mark.parametrize("cls", [RND, ICM])
    def test_drive_a_learner_with_a_cnn(self, cls: Any) -> None:
        class Camera(gymnasium.ObservationWrapper[Any, Any, Any]):
            def __init__(self) -> None:
                super().__init__(Clock(0, "discrete"))
                self.observation_space = spaces.Box(0, 255, (36, 36, 3), np.uint8)

            def observation(self, observation: np.ndarray) -> np.ndarray:
                return np.full((36, 36, 3), int(observation[0]) % 100, dtype=np.uint8)

        model = PPO(
            "CnnPolicy", DummyVecEnv([Camera]), n_steps=16, batch_size=16, n_epochs=1, device="cpu", policy_kwargs={"net_arch": [8]}
        )
        callback = RewardCallback(cls(model.observation_space, model.action_space))
        model.learn(32, callback=callback)
        assert len(callback.pool) == 1  # it reads the newest transitions alone: no images are kept for it
        assert np.isfinite(callback.last_bonus).all()


def test_other_observations_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^VIME takes Box, .* or Dict observations, but was given Tuple; wrap the environment in"):
        VIME(spaces.Tuple([spaces.Discrete(2)]), spaces.Discrete(2))


def space_of() -> st.SearchStrategy[spaces.Space[Any]]:
    plain: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
        st.tuples(st.lists(st.integers(1, 3), max_size=3), st.sampled_from([np.float32, np.float64])).map(
            lambda args: spaces.Box(-5, 5, tuple(args[0]), args[1])
        ),
        st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-3, 3)),
        st.lists(st.integers(1, 4), min_size=1, max_size=3).map(spaces.MultiDiscrete),
        st.integers(1, 5).map(spaces.MultiBinary),
    )
    return st.recursive(
        plain, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(spaces.Dict), max_leaves=5
    )


@given(space_of(), st.integers(0, 100))
def test_flat_is_gymnasiums_flatten_for_a_batch_and_unflat_its_inverse(space: spaces.Space[Any], seed: int) -> None:
    space.seed(seed)
    items = [space.sample() for _ in range(3)]
    one_by_one = np.stack([spaces.flatten(space, item) for item in items])

    def batch(parts: list[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {key: batch([part[key] for part in parts]) for key in parts[0]}
        return torch.as_tensor(np.stack(parts))

    found = flat(space, batch(items))
    assert found.shape == (3, flat_size(space))
    np.testing.assert_array_equal(found, one_by_one.astype(found.numpy().dtype))
    again = flat(space, to_torch(unflat(space, found.numpy())))
    assert torch.equal(again.to(found.dtype), found)


def to_torch(value: Any) -> Any:
    return {key: to_torch(part) for key, part in value.items()} if isinstance(value, dict) else torch.as_tensor(value)


@pytest.mark.parametrize("kind", ["dict", "discrete", "matrix"])
@pytest.mark.parametrize("name", ["SAC", "DQN"])
def test_rows_that_are_lent_reach_the_learner_in_the_form_of_its_observations(name: str, kind: str) -> None:
    model = shown_learner(name, kind)
    shown = [seen(kind, np.array([100 * i + i, i, 0.5], dtype=np.float32)) for i in range(2)]
    space = model.observation_space
    own = np.stack([spaces.flatten(space, obs) for obs in shown]) if kind == "dict" else np.stack(shown)
    obs = torch.as_tensor(own, dtype=torch.float32)
    action = torch.zeros(2, dtype=torch.int64) if name == "DQN" else torch.tensor([[1.0, 0.25], [-1.0, 0.5]])

    class Lender(PluggedCallback):
        def _part(self) -> LendingPart:
            rows = Rows(Transitions(obs, action, obs, torch.zeros(2, dtype=torch.bool)), torch.tensor([5.0, 6.0]))
            return LendingPart("lender", 0.25, lambda n: rows)

    found: list[Any] = []
    spy = Spy(lambda spy: found.append(model.replay_buffer.sample(8)) if spy.n_calls == 24 else None)
    model.learn(80, callback=[Lender(), RewardCallback(Keeps(space, model.action_space)), spy])
    assert found[0].rewards[-2:, 0].tolist() == [5.0, 6.0]
    for batch in (found[0].observations, found[0].next_observations):
        if kind == "dict":
            for key, part in batch.items():
                assert part.shape[0] == 8
                np.testing.assert_array_equal(part[-2:].numpy().reshape(2, -1), np.stack([one[key] for one in shown]).reshape(2, -1))
        else:
            np.testing.assert_array_equal(batch[-2:].numpy().reshape(2, -1), np.stack(shown).reshape(2, -1))
