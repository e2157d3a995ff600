"""Optimal transport as a reward: the coupling by hand, episodes told apart, and one score for each transition."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.optimize import linear_sum_assignment
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from genrl.data import Demonstrations, Episode
from genrl.files import load_state, save_state
from genrl.policies import Mixing
from genrl.rewards import PWIL, RewardCallback, Transitions
from genrl.rewards.pwil import couple
from genrl.runs.imitation.cost import judge_of
from genrl.runs.imitation.demonstrations import Loaded

OBS, ACT = spaces.Box(-100, 100, (1,), np.float64), spaces.Box(-1, 1, (1,), np.float64)


def demonstrations(positions: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)) -> Demonstrations:
    """An expert that was at these positions and did nothing."""
    n = len(positions)
    last = np.arange(n) == n - 1
    episode = Episode(np.array([*positions, 9.0])[:, None], np.zeros((n, 1)), np.ones(n), last & False, last)
    return Demonstrations.from_episodes([episode])


def pwil(**values: Any) -> PWIL:
    """One that sees positions as they are: no number is standardised."""
    reward = PWIL(demonstrations(), OBS, ACT, **values)
    raw = reward._raw(demonstrations().transitions())
    reward.stats.mean.zero_(), reward.stats.var.fill_(1.0)
    reward.expert = reward.stats(raw)
    return reward


def path(*positions: float, ends: bool = False) -> Transitions:
    x = torch.tensor(positions, dtype=torch.float64)[:, None]
    terminated = torch.zeros(len(x) - 1, dtype=torch.bool)
    terminated[-1] = ends
    return Transitions(x[:-1], torch.zeros(len(x) - 1, 1, dtype=torch.float64), x[1:], terminated)


def paid(cost: float, horizon: int = 4) -> float:
    return 5 * math.exp(-5 * horizon / math.sqrt(2) * cost)


class TestTheCoupling:
    def test_takes_the_nearest_that_is_free_and_the_next_for_what_is_left(self):
        left = torch.tensor([0.25, 0.25, 0.5])
        assert couple(torch.tensor([2.0, 1.0, 4.0]), left, 0.625) == pytest.approx(0.25 * 1 + 0.25 * 2 + 0.125 * 4)
        assert left.tolist() == [0.0, 0.0, 0.375]

    def test_costs_nothing_where_nobody_takes_any_more(self):
        left = torch.tensor([0.25, 0.0])
        assert couple(torch.tensor([2.0, 1.0]), left, 1.0) == 0.5
        assert couple(torch.tensor([2.0, 1.0]), left, 1.0) == 0.0

    def test_costs_at_least_what_the_best_assignment_costs(self):
        """The greedy coupling is an upper bound of the Wasserstein distance; scipy's assignment of as many points is that distance."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            distances = torch.cdist(*torch.randn(2, 12, 3, generator=generator, dtype=torch.float64))
            left = torch.full((12,), 1 / 12, dtype=torch.float64)
            greedy = sum(couple(row, left, 1 / 12) for row in distances)
            best = distances.numpy()[linear_sum_assignment(distances.numpy())].mean()
            assert best - 1e-9 <= greedy < 3 * best


class TestTheReward:
    def test_of_the_experts_own_steps_is_the_largest_in_any_order(self):
        assert pwil()(path(0, 1, 2, 3, 9)).tolist() == pytest.approx([5.0] * 4)
        assert pwil()(path(2, 0, 3, 1, 9)).tolist() == pytest.approx([5.0] * 4)

    def test_of_standing_where_the_expert_was_once_falls(self):
        """At 1 all the while: the expert's pairs at 1, then at 0 or 2, and then at 3 take the four quarters."""
        assert pwil()(path(1, 1, 1, 1, 1)).tolist() == pytest.approx([paid(0), paid(0.25), paid(0.25), paid(0.5)], rel=1e-5)

    def test_is_nothing_after_the_horizon(self):
        assert pwil()(path(0, 1, 2, 3, 0, 1)).tolist() == pytest.approx([5.0, 5.0, 5.0, 5.0, 0.0])

    def test_splits_the_mass_of_a_step_over_several_pairs(self):
        """Two steps carry a half each, the expert's pairs take a quarter each."""
        found = pwil(horizon=2)(path(0, 3, 9))
        assert found.tolist() == pytest.approx([paid(0.25, horizon=2), paid(0.25, horizon=2)], rel=1e-5)

    def test_begins_anew_with_each_episode(self):
        reward = pwil()
        reward(path(0, 1, 2, 3, 9, ends=True))
        assert len(reward._running) == 0
        assert reward(path(0, 1)).tolist() == pytest.approx([5.0])

    def test_goes_on_with_an_episode_over_several_calls_and_many_at_once(self):
        whole = pwil()(path(1, 1.5, 1.25, 1.75))
        reward, found = pwil(), []
        one, other = path(1, 1.5, 1.25, 1.75), path(3, 2.5, 2.25, 2)
        for t in range(3):
            both = Transitions.concatenate([one.rows(slice(t, t + 1)), other.rows(slice(t, t + 1))])
            found.append(reward(both))
        assert torch.stack(found)[:, 0].tolist() == pytest.approx(whole.tolist())
        assert torch.stack(found)[:, 1].tolist() == pytest.approx(pwil()(other).tolist())

    def test_in_evaluation_mode_depends_on_nothing_before(self):
        reward = pwil().eval()
        assert reward(path(1, 1, 1)).tolist() == pytest.approx([5.0, 5.0])
        assert len(reward._running) == 0
        assert reward.of_expert(path(50, 60)).tolist() == [5.0]

    def test_forgets_episodes_that_a_time_limit_ended(self, monkeypatch):
        monkeypatch.setattr("genrl.rewards.running_episodes.MOST_EPISODES", 3)
        reward = pwil()
        for x in range(10):
            reward(path(x, x + 0.5))
        assert len(reward._running) == 3

    def test_goes_on_after_it_was_restored(self, tmp_path):
        one, other = pwil(), pwil()
        one(path(1, 1.5, 1.25))
        save_state(tmp_path / "r.safetensors", one.state_dict())
        other.load_state_dict(load_state(tmp_path / "r.safetensors"))
        assert torch.equal(one(path(1.25, 1.75, 2)), other(path(1.25, 1.75, 2)))

    def test_is_small_for_an_episode_that_is_like_the_demonstrations(self):
        reward = pwil()
        assert reward.cost(path(3, 1, 0, 2, 9)) == pytest.approx(0)
        assert reward.cost(path(1, 1, 1, 1, 9)) == pytest.approx(0.25 * (0 + 1 + 1 + 2))
        assert reward.cost(path(0, 3, 9)) == pytest.approx(0.25 * (0 + 1 + 1 + 0))

    @pytest.mark.parametrize("given", [{"alpha": 0.0}, {"beta": -1.0}, {"horizon": 0}, {"clip": 0.0}])
    def test_of_numbers_that_can_not_be_is_refused(self, given):
        with pytest.raises(ValueError, match=f"PWIL needs {next(iter(given))}"):
            pwil(**given)


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """Goes where it is pushed; a time limit ends it."""

    observation_space, action_space = spaces.Box(-100, 100, (1,), np.float32), spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = self.np_random.normal(size=1).astype(np.float32), 0
        return self.x, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.x, self.t = (self.x + action).astype(np.float32), self.t + 1
        return self.x, 0.0, False, self.t >= 7, {}


class TestInALearner:
    def reward(self) -> PWIL:
        return PWIL(demonstrations(), Line.observation_space, Line.action_space, beta=0.1)

    def paid_by_hand(self, kept: list[Transitions]) -> torch.Tensor:
        """Scores of whole episodes, each by a fresh reward."""
        return torch.cat([self.reward()(episode) for episode in kept])

    def test_off_policy_pays_each_stored_row_what_its_episode_earned_then(self):
        model = SAC("MlpPolicy", DummyVecEnv([Line] * 2), learning_starts=6, batch_size=8, buffer_size=200, seed=0)
        drawn: list[Any] = []

        class Look(BaseCallback):
            def _on_step(self) -> bool:
                if self.num_timesteps == 42:
                    drawn.append(self.model.replay_buffer.sample(400))
                return True

        model.learn(42, callback=[RewardCallback(self.reward(), extrinsic_weight=0.0, update_every=10), Look()])
        buffer, batch = model.replay_buffer, drawn[0]
        by_hand = {}
        for env in (0, 1):
            fields = [torch.as_tensor(values[:20, env]) for values in (buffer.observations, buffer.actions, buffer.next_observations)]
            whole = Transitions(*fields, torch.zeros(20, dtype=torch.bool))
            paid = self.paid_by_hand([whole.rows(slice(a, min(a + 7, 20))) for a in (0, 7, 14)])
            by_hand |= dict(zip(whole.obs.flatten().tolist(), paid.tolist(), strict=True))
        expected = [by_hand[x] for x in batch.observations.flatten().tolist()]
        assert len({round(value, 6) for value in expected}) > 10
        np.testing.assert_allclose(batch.rewards.flatten().numpy(), expected, rtol=1e-5)

    def test_on_policy_pays_over_rollouts_what_whole_episodes_earn(self):
        model = PPO("MlpPolicy", DummyVecEnv([Line]), n_steps=10, batch_size=10, n_epochs=1, seed=0)
        callback = RewardCallback(self.reward(), extrinsic_weight=0.0)
        seen: list[np.ndarray] = []
        kept = callback._learn_and_score
        steps: list[Transitions] = []

        def look(latest: Transitions, *about: Any) -> np.ndarray:
            steps.append(latest)
            seen.append(kept(latest, *about))
            return seen[-1]

        callback._learn_and_score = look  # type: ignore[method-assign]
        model.learn(20, callback=[callback])
        whole = Transitions.concatenate(steps)
        episodes = [whole.rows(slice(a, min(a + 7, 20))) for a in (0, 7, 14)]
        np.testing.assert_allclose(np.concatenate(seen), self.paid_by_hand(episodes), rtol=1e-5)

    def test_with_demonstrations_in_the_batches_they_are_paid_the_most(self):
        model = SAC("MlpPolicy", Line(), learning_starts=6, batch_size=8, buffer_size=200, seed=0)
        callback = RewardCallback(self.reward(), extrinsic_weight=0.0, update_every=10)
        model.learn(20, callback=[callback, Mixing(demonstrations(), share=0.5)])
        assert callback.last_bonus.shape == (10, 1)
        assert 0 < callback.last_bonus.max() <= 5

    def test_a_buffer_that_it_has_not_seen_is_refused(self):
        model = SAC("MlpPolicy", Line(), learning_starts=100, buffer_size=200, seed=0)
        model.learn(10)
        with pytest.raises(ValueError, match="the replay buffer holds 10 that it has not seen; begin with an empty buffer"):
            model.learn(10, callback=[RewardCallback(self.reward())], reset_num_timesteps=False)


class TestSinglePairs:
    """Of which nobody knows in which order they came."""

    def pairs(self) -> Demonstrations:
        (episode,), no = demonstrations().episodes, np.zeros(4, dtype=bool)
        return Demonstrations.from_episodes(
            [Episode(episode.observations[:4], episode.actions, episode.rewards, no, no, last_successor=False, ordered=False)]
        )

    def test_have_the_cost_of_the_same_pairs_in_an_episode(self):
        one, other = PWIL(demonstrations(), OBS, ACT), PWIL(self.pairs(), OBS, ACT, horizon=4)
        assert one.cost(path(0.0, 2.5, 7.0, 9.0)) == other.cost(path(0.0, 2.5, 7.0, 9.0)) > 0

    def test_have_no_longest_episode(self):
        with pytest.raises(ValueError, match="does not tell what followed an action"):
            PWIL(self.pairs(), OBS, ACT)

    def test_judge_an_imitation_of_them(self):
        session = SimpleNamespace(loaded=Loaded(self.pairs(), None), sees_returns=False)
        env = SimpleNamespace(observation_space=OBS, action_space=ACT)
        assert judge_of(session, env).cost(path(0.0, 9.0)) > 0  # and so its best model is not chosen by the task's return
