"""E3B and Never Give Up: what a step is worth by hand, where an episode begins and ends, and that their state is complete."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from genrl.files import load_state, save_state
from genrl.rewards import E3B, NGU, EpisodicReward, RewardCallback, TransitionPool, Transitions
from genrl.rewards.running_episodes import Episodes
from genrl.worlds import Ensemble, Imagination

OBS, ACT = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
LEFT, RIGHT = (1.0, 0.0), (0.0, 1.0)


def path(*points: tuple[float, float], terminated: bool = False) -> Transitions:
    """One episode that visits these points."""
    where, n = torch.tensor(points), len(points) - 1
    ends = torch.zeros(n, dtype=torch.bool)
    ends[-1] = terminated
    return Transitions(where[:-1], torch.zeros(n, dtype=torch.long), where[1:], ends)


def seen(cls: type[EpisodicReward], **values: Any) -> Any:
    """A reward whose features are the observations themselves."""
    reward = cls(OBS, ACT, features=2, normalize=False, **values)
    reward.encoder, reward.obs_stats = nn.Identity(), Raw()
    return reward.train()


class Raw(nn.Module):
    def update(self, obs: Tensor) -> None: ...

    def forward(self, obs: Tensor) -> Tensor:
        return obs.float()


class TestE3B:
    def test_with_one_hot_features_it_is_one_over_the_count(self):
        """1 / (n + λ), n the visits before in this episode; the first observation is one."""
        paid = seen(E3B, ridge=0.5)(path(LEFT, LEFT, RIGHT, LEFT, RIGHT))
        assert paid.tolist() == pytest.approx([1 / 1.5, 1 / 0.5, 1 / 2.5, 1 / 1.5])

    def test_it_is_the_form_of_the_inverse_that_is_computed_anew(self):
        points = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
        paid = seen(E3B, ridge=0.1)(path(*(tuple(point) for point in points.tolist())))
        for t in range(1, 30):
            covariance = 0.1 * torch.eye(2) + points[:t].T @ points[:t]
            assert float(paid[t - 1]) == pytest.approx(float(points[t] @ torch.linalg.inv(covariance) @ points[t]), rel=1e-3)

    def test_an_impossible_ridge_is_refused(self):
        with pytest.raises(ValueError, match="E3B needs ridge to be above 0"):
            E3B(OBS, ACT, ridge=0.0)


class TestNGU:
    def test_it_is_the_papers_kernel(self):
        """The episode is at 0, then 3, then 7 of a line: squares 9; then 16 and 49; the running mean of all three is 74/3 in the end."""
        paid = seen(NGU, most=1.0, epsilon=0.1, cluster=0.0)(path((0.0, 0.0), (3.0, 0.0), (7.0, 0.0)))
        first = 0.1 / (1 + 0.1)
        second = 0.1 / (16 * 3 / 74 + 0.1) + 0.1 / (49 * 3 / 74 + 0.1)
        assert paid.tolist() == pytest.approx([1 / (math.sqrt(first) + 1e-3), 1 / (math.sqrt(second) + 1e-3)], rel=1e-4)

    def test_only_the_k_nearest_count(self):
        points = [(0.0, 0.0), (10.0, 0.0), (10.0, 1.0)]
        near, all_ = (seen(NGU, k=k, most=1.0, epsilon=0.1)(path(*points))[-1] for k in (1, 2))
        assert float(near) != pytest.approx(float(all_))

    def test_what_lies_within_the_cluster_is_the_same_and_what_is_too_well_known_earns_nothing(self):
        reward = seen(NGU, k=100, most=1.0)
        paid = reward(path((5.0, 0.0), (0.0, 0.0), *[(0.0, 0.0)] * 70))
        assert float(paid[10]) == pytest.approx(1 / (math.sqrt(10) + 1e-3), rel=0.02)  # ten copies
        assert float(paid[-1]) == 0.0  # 70 copies: the root of 70 is above 8

    def test_the_lifelong_factor_lies_between_one_and_the_most(self):
        reward = NGU(OBS, ACT, most=3.0)
        data = path(*(tuple(point) for point in torch.rand(200, 2).tolist()))
        reward.train()(data)
        factor = reward.eval().lifelong(data)
        assert (factor.min() == 1.0, bool(factor.max() > 1.0), bool(factor.max() <= 3.0)) == (True, True, True)

    def test_what_is_new_in_life_is_multiplied(self):
        reward = NGU(OBS, ACT, normalize=False)
        pool, familiar = TransitionPool(1000), path(*(tuple(point) for point in (0.1 * torch.rand(300, 2)).tolist()))
        pool.add(familiar)
        for _ in range(30):
            reward.train()(familiar)
            reward.update(pool)
        assert reward.eval().lifelong(path((0.0, 0.0), (0.9, -0.9)))[0] > 2.0

    @pytest.mark.parametrize(("given", "message"), [({"k": 0}, "k to be above 0"), ({"most": 0.5}, "most to be at least 1")])
    def test_impossible_ones_are_refused(self, given, message):
        with pytest.raises(ValueError, match=message):
            NGU(OBS, ACT, **given)


@pytest.mark.parametrize("cls", [E3B, NGU])
class TestEpisodes:
    def test_a_batch_may_end_within_an_episode(self, cls):
        whole = seen(cls)(path(LEFT, RIGHT, (0.5, 0.5), LEFT))
        reward = seen(cls)
        parts = torch.cat([reward(path(LEFT, RIGHT)), reward(path(RIGHT, (0.5, 0.5))), reward(path((0.5, 0.5), LEFT))])
        torch.testing.assert_close(parts, whole) if cls is E3B else None
        assert len(reward._running) == 1

    def test_several_environments_are_told_apart(self, cls):
        """Rows in the order of time, two environments in turn."""
        one, other = path(LEFT, RIGHT, LEFT, RIGHT), path((0.5, 0.5), (0.25, 0.5), (0.5, 0.25), (0.1, 0.1))
        both = Transitions(*(torch.stack(pair, dim=1).flatten(0, 1) for pair in zip(one, other, strict=True)))
        reward = seen(cls)
        reward(both)
        assert len(reward._running) == 2
        if cls is E3B:
            together = seen(cls)(both).reshape(-1, 2)
            torch.testing.assert_close(together[:, 0], seen(cls)(one))
            torch.testing.assert_close(together[:, 1], seen(cls)(other))

    def test_an_episode_that_terminated_is_forgotten(self, cls):
        reward = seen(cls)
        first = reward(path(LEFT, RIGHT, LEFT, terminated=True))
        assert len(reward._running) == 0
        again = reward(path(LEFT, RIGHT, LEFT, terminated=True))
        if cls is E3B:
            assert torch.equal(first, again)

    def test_evaluation_mode_remembers_nothing(self, cls):
        reward = seen(cls)
        reward(path(LEFT, RIGHT))
        state = {name: value.clone() for name, value in reward.state_dict().items() if isinstance(value, Tensor)}
        paid = reward.eval()(path(LEFT, RIGHT, RIGHT))
        assert len(reward._running) == 1
        assert torch.equal(paid[1:], reward(path(RIGHT, RIGHT)))
        assert all(torch.equal(value, reward.state_dict()[name]) for name, value in state.items())

    def test_a_restored_one_goes_on_bit_for_bit(self, cls, tmp_path):
        first, second = cls(OBS, ACT), cls(OBS, ACT, seed=7)
        data = path(*(tuple(point) for point in torch.rand(100, 2).tolist()))
        pool = TransitionPool(1000)
        pool.add(data)
        first.train()(data)
        first.update(pool)
        save_state(tmp_path / "reward.safetensors", first.state_dict())
        second.load_state_dict(load_state(tmp_path / "reward.safetensors"))
        rest = path(tuple(data.next_obs[-1].tolist()), (0.3, 0.3), (0.7, 0.1))
        assert torch.equal(first(rest), second.train()(rest))
        assert first.update(pool) == second.update(pool)

    def test_the_features_learn_to_tell_the_action(self, cls):
        generator = torch.Generator().manual_seed(0)
        obs, action = torch.rand(1000, 2, generator=generator), torch.randint(2, (1000,), generator=generator)
        data = Transitions(obs, action, obs + 0.2 * (2 * action[:, None] - 1), torch.ones(1000, dtype=torch.bool))
        reward, pool = cls(OBS, ACT), TransitionPool(1000)
        pool.add(data)
        reward.train()(data)
        before = reward.update(pool)["inverse_loss"]
        for _ in range(10):
            after = reward.update(pool)["inverse_loss"]
        assert before == pytest.approx(math.log(2), rel=0.3)
        assert after < 0.2

    def test_a_learner_with_and_one_without_a_replay_buffer_train_with_it(self, cls):
        for model in (
            PPO("MlpPolicy", "Pendulum-v1", n_steps=64, seed=0),
            SAC("MlpPolicy", "Pendulum-v1", learning_starts=40, seed=0),
        ):
            callback = RewardCallback(cls(model.observation_space, model.action_space), update_every=32)
            model.learn(96, callback=callback)
            assert callback.last_bonus.min() >= 0
            assert callback.last_bonus.max() > 0

    def test_images_go_through_convolutions(self, cls):
        space = spaces.Box(0, 255, (36, 36, 3), np.uint8)
        images = torch.as_tensor(np.stack([space.sample() for _ in range(4)])).float()
        data = Transitions(images[:3], torch.zeros(3, dtype=torch.long), images[1:], torch.zeros(3, dtype=torch.bool))
        assert cls(space, ACT).train()(data).shape == (3,)


class TestTheBook:
    def test_those_that_were_not_gone_on_with_for_longest_are_forgotten_first(self, monkeypatch):
        monkeypatch.setattr("genrl.rewards.running_episodes.MOST_EPISODES", 2)
        episodes = Episodes()
        for place in (0.0, 1.0, 2.0):
            episodes.go_on(torch.tensor([place]), torch.tensor(place))
        assert [episodes.leave(torch.tensor([place])) for place in (0.0, 1.0, 2.0)] == [None, 1.0, 2.0]

    def test_what_is_remembered_of_all_is_bounded(self, monkeypatch):
        monkeypatch.setattr("genrl.rewards.running_episodes.MOST_NUMBERS", 100)
        episodes = Episodes()
        for place in range(10):
            episodes.go_on(torch.tensor([place]), torch.zeros(30))
        assert len(episodes) == 3

    def test_a_running_episode_that_is_forgotten_for_want_of_room_is_told_of_once(self, monkeypatch):
        monkeypatch.setattr("genrl.rewards.running_episodes.MOST_NUMBERS", 100)
        episodes = Episodes()
        with pytest.warns(UserWarning, match="more than 100 numbers .* forgotten") as told:
            for env in range(6):
                episodes.tell(np.array([env]), np.array([False]))
                episodes.leave(torch.tensor([env]))
                episodes.go_on(torch.tensor([env]), torch.zeros(30))
        assert len(told) == 1

    def test_environments_that_stand_at_one_place_each_go_on_with_their_own(self):
        episodes, place = Episodes(), torch.zeros(1)
        for env in (0, 1, 2):
            episodes.tell(np.array([env]), np.array([False]))
            assert episodes.leave(torch.tensor([env + 5.0])) is None
            episodes.go_on(place, torch.tensor(float(env)))
        other = Episodes()
        other.load_state_dict(episodes.state_dict(), torch.device("cpu"))
        for book in (episodes, other):
            book.tell(np.array([0, 2, 1, 1]), np.zeros(4, dtype=bool))
            assert [book.leave(place) for _ in range(4)] == [0.0, 2.0, 1.0, None]

    def test_an_episode_that_was_told_to_end_is_not_remembered(self):
        episodes, place = Episodes(), torch.zeros(1)
        episodes.tell(np.array([0, 0]), np.array([True, False]))
        for step in (1.0, 2.0):
            episodes.leave(torch.ones(1))
            episodes.go_on(place, torch.tensor(step))
        assert (len(episodes), float(episodes.leave(place))) == (1, 2.0)

    def test_two_that_stand_at_one_place_are_both_kept(self):
        episodes, place = Episodes(), torch.zeros(1)
        episodes.go_on(place, torch.tensor(1.0))
        episodes.go_on(place, torch.tensor(2.0))
        assert {float(episodes.leave(place)), float(episodes.leave(place))} == {1.0, 2.0}


class Corridor(gymnasium.Env[int, int]):
    """Two cells, walked through as it is told whatever is done, until a time limit where the next episode begins."""

    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)

    def __init__(self, walk: list[int]) -> None:
        self.walk = walk

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.walk[0], {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.walk[self.time], 0.0, False, self.time == len(self.walk) - 1, {}


@pytest.mark.parametrize("learner", [PPO, DQN], ids=lambda kind: kind.__name__)
def test_environments_and_episodes_that_meet_in_a_cell_are_told_apart(learner):
    """E3B of one-hot cells is 1 / (n + 1), n the visits of this episode, by hand; both episodes end where the next one begins."""
    walks = [[0, 1, 0, 1, 0], [0, 1, 1, 1, 0]]
    env = DummyVecEnv([partial(Corridor, walk) for walk in walks])
    given = {"n_steps": 8, "batch_size": 16} if learner is PPO else {"learning_starts": 100}
    model = learner("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [8]}, **given)
    reward = E3B(model.observation_space, model.action_space, features=2, normalize=False, ridge=1.0)
    reward.encoder, reward.obs_stats = nn.Identity(), Raw()
    callback = RewardCallback(reward, update_every=16)
    model.learn(16, callback=callback)
    by_hand = [[1, 1 / 2, 1 / 2, 1 / 3] * 2, [1, 1 / 2, 1 / 3, 1 / 2] * 2]
    np.testing.assert_allclose(callback.last_bonus.T, by_hand, rtol=1e-6)
    assert len(reward._running) == 0


def test_steps_that_a_callback_has_cut_off_are_scored_in_the_next_learn():
    """A learn that ends within a rollout hears of no end of it; the cell is 1 / (n + 1) of the visits before."""
    model = DQN("MlpPolicy", DummyVecEnv([partial(Corridor, [0] * 100)]), learning_starts=100, train_freq=4, seed=0)
    reward = E3B(model.observation_space, model.action_space, features=2, normalize=False, ridge=1.0)
    reward.encoder, reward.obs_stats = nn.Identity(), Raw()
    callback = RewardCallback(reward, update_every=4)
    model.learn(20, callback=[callback, Stop(7)])
    assert model.replay_buffer.size() == 6  # the step of the callback that stops is not stored
    model.learn(4, callback=callback, reset_num_timesteps=False)
    np.testing.assert_allclose(callback._replay.once[: model.replay_buffer.size(), 0], 1 / np.arange(2, 12), rtol=1e-6)


@pytest.mark.parametrize("goes_on", [False, True], ids=["reset", "goes on"])
@pytest.mark.parametrize("learner", [PPO, DQN], ids=lambda kind: kind.__name__)
def test_an_episode_that_a_new_learn_has_cut_off_is_not_gone_on_with(learner, goes_on):
    """A learn resets its environments, here to where the episode before stood, unless it counts its steps on."""
    given = {"n_steps": 8, "batch_size": 8} if learner is PPO else {"learning_starts": 100, "train_freq": 8}
    model = learner("MlpPolicy", DummyVecEnv([partial(Corridor, [0] * 100)]), seed=0, policy_kwargs={"net_arch": [8]}, **given)
    reward = E3B(model.observation_space, model.action_space, features=2, normalize=False, ridge=1.0)
    reward.encoder, reward.obs_stats = nn.Identity(), Raw()
    callback = RewardCallback(reward, update_every=8)
    model.learn(8, callback=callback)
    np.testing.assert_allclose(callback.last_bonus[:, 0], 1 / np.arange(2, 10), rtol=1e-6)
    model.learn(8, callback=callback, reset_num_timesteps=not goes_on)
    np.testing.assert_allclose(callback.last_bonus[:, 0], 1 / np.arange(2, 10) if not goes_on else 1 / np.arange(10, 18), rtol=1e-6)


def cells(model: Any) -> E3B:
    """A bonus of 1 / (n + 1), n the visits of a cell in this episode."""
    reward = E3B(model.observation_space, model.action_space, features=2, normalize=False, ridge=1.0)
    reward.encoder, reward.obs_stats = nn.Identity(), Raw()
    return reward


@pytest.mark.parametrize("learner", [PPO, DQN], ids=lambda kind: kind.__name__)
def test_a_loaded_learner_and_another_one_begin_episodes_of_their_own(learner, tmp_path):
    """Both reset their environments, here to where the saved episode stood; each was paid as if it had gone on with that."""
    given = {"n_steps": 8, "batch_size": 8} if learner is PPO else {"learning_starts": 100, "train_freq": 8}
    model = learner("MlpPolicy", Corridor([0] * 100), seed=0, policy_kwargs={"net_arch": [8]}, **given)
    callback = RewardCallback(cells(model), update_every=8)
    model.learn(8, callback=callback)
    model.save(tmp_path / "learner.zip")
    save_state(tmp_path / "bonus.safetensors", callback.state_dict())
    loaded = learner.load(tmp_path / "learner.zip", env=Corridor([0] * 100))
    restored = RewardCallback(cells(loaded), update_every=8)
    if learner is DQN:
        loaded.replay_buffer = model.replay_buffer
    restored.load_state_dict(load_state(tmp_path / "bonus.safetensors"))
    loaded.learn(8, callback=restored, reset_num_timesteps=False)
    np.testing.assert_allclose(restored.last_bonus[:, 0], 1 / np.arange(2, 10), rtol=1e-6)
    other = learner("MlpPolicy", Corridor([0] * 100), seed=0, policy_kwargs={"net_arch": [8]}, **given)
    again = RewardCallback(callback.reward, update_every=8)
    other.learn(8, callback=again)
    np.testing.assert_allclose(again.last_bonus[:, 0], 1 / np.arange(2, 10), rtol=1e-6)


@pytest.mark.parametrize(("n_envs", "rows"), [(1, 8), (2, 4)])
def test_a_state_of_another_replay_buffer_is_refused_in_one_sentence(n_envs, rows):
    def learner(n_envs, rows):
        env = DummyVecEnv([lambda: Corridor([0] * 100)] * n_envs)
        return DQN("MlpPolicy", env, learning_starts=100, buffer_size=n_envs * rows, policy_kwargs={"net_arch": [8]})

    model, other = learner(2, 8), learner(n_envs, rows)
    callback, restored = RewardCallback(cells(model)), RewardCallback(cells(other))
    model.learn(2 * 8, callback=callback)
    restored.load_state_dict(callback.state_dict())
    with pytest.raises(ValueError, match=rf"scores of 8 rows of 2 environments, but .* buffer has {rows} of {n_envs}; give the learner"):
        other.learn(16, callback=restored)


def test_another_callback_of_the_same_reward_goes_on_with_the_episodes_of_a_learner_that_does():
    model = PPO("MlpPolicy", Corridor([0] * 100), n_steps=8, batch_size=8, seed=0, policy_kwargs={"net_arch": [8]})
    reward = cells(model)
    model.learn(8, callback=RewardCallback(reward))
    callback = RewardCallback(reward)
    model.learn(8, callback=callback, reset_num_timesteps=False)
    np.testing.assert_allclose(callback.last_bonus[:, 0], 1 / np.arange(10, 18), rtol=1e-6)


class Stop(BaseCallback):
    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        return self.n_calls < self.at


def test_rows_that_come_without_their_episode_are_refused_before_the_first_step():
    """In evaluation mode each would be paid as the first of an episode, many times what the learner's own are."""
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=60, seed=0)
    world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
    bonus = RewardCallback(NGU(model.observation_space, model.action_space), update_every=20)
    with pytest.raises(ValueError, match="NGU pays a step by those before it in its episode, which the rows that 'imagination' lends"):
        model.learn(60, callback=[bonus, Imagination(world, start=50, branches=8)])
    assert model.num_timesteps == 0


def test_e3b_pays_more_for_a_walk_than_for_a_stand():
    """In a mountain car with features that are learned."""
    reward, env = E3B(*_spaces()), gymnasium.make("genrl/SparseMountainCar-v0")
    paid = {}
    for force in ("stand", "walk"):
        rows, (obs, _) = [], env.reset(seed=0)
        for step in range(200):
            action = np.array([0.0 if force == "stand" else math.copysign(1, math.sin(step / 10))], dtype=np.float32)
            next_obs = env.step(action)[0]
            rows.append((obs, action, next_obs, False))
            obs = next_obs
        data = Transitions(*(torch.as_tensor(np.array(field)) for field in zip(*rows, strict=True)))
        paid[force] = float(reward.train()(data).mean())
    assert paid["walk"] > paid["stand"]


def _spaces() -> tuple[spaces.Space, spaces.Space]:
    env = gymnasium.make("genrl/SparseMountainCar-v0")
    return env.observation_space, env.action_space
