from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from genrl.models.dynamics import Dynamics, Prediction
from genrl.rewards import RND, RewardCallback
from genrl.worlds import DreamVecEnv, Ensemble
from tests.rewards.clock import ClockReward, equal_parameters
from tests.worlds.analytic import BOX, Broken, ClockDynamics, LinearGaussian

STARTS = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
PUSH = np.ones((4, 1), dtype=np.float32)


def dream(model=None, starts=STARTS, n_envs=4, horizon=5, **kwargs):
    env = DreamVecEnv(model or LinearGaussian(), starts, n_envs, horizon, **kwargs)
    env.reset()
    return env


class TestSteps:
    def test_a_dream_of_exact_dynamics_is_the_dynamics(self):
        env = dream(starts=torch.tensor([[1.0, 2.0]]))
        obs, reward, done, infos = env.step(PUSH)
        np.testing.assert_allclose(obs, np.tile([1.2, 1.9], (4, 1)), rtol=1e-6)
        np.testing.assert_allclose(reward, -(1.2**2), rtol=1e-6)
        assert not done.any()
        assert infos == [{}] * 4

    def test_outcomes_spread_as_the_model_says(self):
        env = dream(LinearGaussian(std=0.5), torch.zeros(1, 2), n_envs=4000)
        obs, *_ = env.step(np.zeros((4000, 1), dtype=np.float32))
        np.testing.assert_allclose(obs.std(0), 0.5, rtol=0.05)
        assert (dream(LinearGaussian(std=0.5), torch.zeros(1, 2), noise=False).step(0 * PUSH)[0] == 0).all()

    def test_each_row_keeps_a_member_of_its_own(self):
        env = dream(LinearGaussian(members=3, apart=1.0), torch.zeros(1, 2))
        obs, *_ = env.step(0 * PUSH)
        assert obs[:, 1].tolist() == [0, 1, 2, 0]

    def test_all_members_together_say_their_mean_with_the_noise_of_one(self):
        env = dream(LinearGaussian(members=3, apart=1.0, std=0.5), torch.zeros(1, 2), n_envs=4000, together=True)
        obs, reward, *_ = env.step(np.zeros((4000, 1), dtype=np.float32))
        np.testing.assert_allclose(obs.mean(0), 1.0, atol=0.05)
        np.testing.assert_allclose(obs.std(0), 0.5, rtol=0.05)
        np.testing.assert_allclose(reward, -(0 + 1 + 4) / 3, rtol=1e-6)

    def test_actions_are_those_the_task_would_execute(self):
        assert dream().step(100 * PUSH)[0][0, 1] == dream().step(PUSH)[0][0, 1]

    def test_the_same_seed_dreams_the_same_and_another_does_not(self):
        def rollout(seed):
            env = dream(LinearGaussian(std=1.0), seed=seed)
            return np.stack([env.step(PUSH)[0] for _ in range(12)])

        np.testing.assert_array_equal(rollout(0), rollout(0))
        assert (rollout(0) != rollout(1)).any()

    def test_a_learner_cannot_change_the_dream_through_an_observation(self):
        env = dream(starts=torch.tensor([[1.0, 0.0]]))
        env.reset()[:] = 99
        assert env.step(PUSH)[0][0, 0] == 1


class TestEnds:
    def test_the_horizon_truncates_after_exactly_so_many_steps(self):
        env = dream(ClockDynamics(), horizon=3)
        for _ in range(2):
            for _ in range(2):
                assert not env.step(PUSH)[2].any()
            obs, reward, done, infos = env.step(PUSH)
            assert done.all()
            assert (reward == 3).all()
            assert (obs[:, 0] == 0).all()  # the next episode's first
            assert [info["TimeLimit.truncated"] for info in infos] == [True] * 4
            assert [info["terminal_observation"][0] for info in infos] == [3] * 4
        assert env.counters == {"steps": 24, "ended": 0, "horizon": 8, "stopped": 0, "clipped": 0}

    def test_the_tasks_own_end_terminates_also_at_the_horizon(self):
        env = dream(ClockDynamics(end=3), horizon=3)
        for _ in range(3):
            _, _, done, infos = env.step(PUSH)
        assert done.all()
        assert [info["TimeLimit.truncated"] for info in infos] == [False] * 4
        assert env.counters["ended"] == 4

    def test_nonsense_is_clipped_truncated_and_counted_and_never_nan(self):
        model = Broken()
        model.low, model.high = torch.full((2,), -1.0), torch.full((2,), 3.0)
        env = dream(model, margin=0.25)
        obs, reward, done, infos = env.step(PUSH)
        assert np.isfinite(obs).all()
        assert np.isfinite(reward).all()
        assert done.tolist() == [True, True, True, False]
        assert all(info["TimeLimit.truncated"] for info in infos[:3])
        assert infos[2]["terminal_observation"].tolist() == [4, 4]  # a quarter of the range beyond the highest
        assert env.counters["clipped"] == 3

    def test_a_reward_that_overflows_by_its_uncertainty_is_truncated_too(self, monkeypatch):
        env = dream(eta=1e38)
        monkeypatch.setattr(env.dynamics, "uncertainty", lambda obs, action: torch.tensor([10.0, 10.0, 0.0, 0.0]))
        _, reward, done, _ = env.step(PUSH)
        assert np.isfinite(reward).all()
        assert done.tolist() == [True, True, False, False]
        assert env.counters["clipped"] == 2

    @pytest.mark.parametrize(("n_out", "truncated"), [(2, False), (3, True)])
    def test_a_tenth_of_the_entries_must_leave_what_was_seen(self, n_out, truncated):
        space = spaces.Box(-np.inf, np.inf, (25,), np.float32)
        model = LinearGaussian()
        model.observation_space, model.obs_dim = space, 25
        model.low, model.high = -torch.ones(25), torch.ones(25)
        said = torch.zeros(1, 1, 25)
        said[..., :n_out] = 5.0
        model.predict = lambda obs, action: Prediction(said, torch.zeros_like(said), torch.zeros(1, 1), torch.ones(1, 1))
        obs, _, done, infos = dream(model, torch.zeros(1, 25), n_envs=1).step(PUSH[:1])
        assert done.tolist() == [truncated]
        last = infos[0]["terminal_observation"] if truncated else obs[0]
        assert last.tolist() == [1.5] * n_out + [0.0] * (25 - n_out)  # clipped all the same

    def test_an_entry_that_never_varied_is_not_clipped_for_its_rounding(self):
        model = LinearGaussian(apart=1e-6, members=2)
        model.low, model.high = torch.zeros(2), torch.tensor([1.0, 0.0])
        _, _, done, _ = dream(model, torch.zeros(1, 2)).step(0 * PUSH)
        assert not done.any()

    def test_a_model_that_learns_or_moves_after_its_dream_was_made_is_followed_from_the_next_reset(self):
        world = LinearGaussian()
        transitions, _ = world.rows(50)
        dream = DreamVecEnv(world, transitions, n_envs=4, horizon=5, margin=0.0)
        world.remember_range(transitions)
        assert dream.reset().dtype == np.float32
        torch.testing.assert_close((dream._low, dream._high), (world.low, world.high))
        world.double()
        dream.reset()
        dream.step(np.zeros((4, 1), np.float32))
        assert dream._obs.dtype == torch.float64

    def test_a_dream_of_a_model_that_has_learned_nothing_is_warned_of(self):
        world = Ensemble(LinearGaussian().observation_space, BOX, members=2, hidden=(8,))
        with pytest.warns(UserWarning, match=r"Ensemble has not been fitted .*: world.fit\(transitions, reward\)") as told:
            dream(world)
        assert [warning.filename for warning in told] == [__file__]
        rows, reward = LinearGaussian().rows(60)
        world.fit(rows, reward, max_steps=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dream(world)
            dream(LinearGaussian())  # which needs no fit

    @pytest.mark.parametrize(("dtype", "seen"), [(np.int64, [1, 2]), (np.uint8, [1, 2]), (np.float32, [1.2, 1.9])])
    def test_whole_numbers_are_rounded_and_what_is_seen_is_where_the_dream_stands_and_what_is_paid(self, dtype, seen):
        model = LinearGaussian(reward=lambda obs, action, next_obs: next_obs[:, 1])
        model.observation_space = spaces.Box(0, 9, (2,), dtype)
        env = dream(model, torch.tensor([[1.0, 2.0]]))
        obs, reward, _, _ = env.step(PUSH)  # the dynamics say 1.2, 1.9
        np.testing.assert_allclose(obs, [seen] * 4, rtol=1e-6)
        np.testing.assert_allclose(env._obs, [seen] * 4, rtol=1e-6)
        np.testing.assert_allclose(reward, seen[1], rtol=1e-6)
        assert obs.dtype == dtype

    def test_whole_numbers_stay_whole_where_one_of_many_is_held_at_the_edge_of_what_was_seen(self):
        class Counting(Dynamics):
            """Twelve whole numbers, the first of which goes on by one."""

            def predict(self, obs, action):
                mean = obs + torch.eye(12)[0]
                return Prediction(mean[None], torch.zeros_like(mean)[None], mean[None, :, 0], torch.ones(1, len(obs)))

        model = Counting(spaces.Box(-9, 9, (12,), np.int64), BOX)
        model.low.zero_(), model.high.copy_(3 * torch.eye(12)[0])  # a quarter of the range of 3 beyond it is 3.75
        env = dream(model, torch.zeros(1, 12), horizon=9)
        seen = []
        for _ in range(5):
            obs, _, done, _ = env.step(PUSH)
            np.testing.assert_array_equal(obs, env._obs)
            seen.append(int(obs[0, 0]))
        assert seen == [1, 2, 3, 3, 3] and not done.any()

    def test_a_margin_of_0_is_no_bound_where_no_range_is_known(self):
        assert not dream(margin=0.0).step(PUSH)[2].any()

    def test_observations_stay_in_the_space(self):
        model = LinearGaussian()
        model.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        obs, _, done, _ = dream(model, torch.tensor([[1.0, 1.0]])).step(PUSH)
        assert obs.max() == 1
        assert not done.any()


class TestUncertainty:
    def test_eta_adds_the_models_own_uncertainty_to_the_reward(self):
        model = LinearGaussian(members=2, apart=2.0)
        u = float(model.uncertainty(torch.zeros(1, 2), torch.zeros(1, 1)))
        assert u == 1.0  # members 0 and 2: both components vary by 1
        plain = dream(model, torch.zeros(1, 2)).step(0 * PUSH)[1]
        np.testing.assert_allclose(dream(model, torch.zeros(1, 2), eta=0.5).step(0 * PUSH)[1], plain + 0.5)
        np.testing.assert_allclose(dream(model, torch.zeros(1, 2), eta=-2.0).step(0 * PUSH)[1], plain - 2.0)

    def test_one_member_leaves_nothing_to_be_uncertain_about(self):
        plain = dream().step(PUSH)[1]
        np.testing.assert_array_equal(dream(eta=100.0).step(PUSH)[1], plain)

    def test_the_threshold_is_the_quantile_of_first_steps_and_stops_what_is_above(self):
        model = LinearGaussian()
        model.uncertainty = lambda obs, action: obs[:, 0].abs()
        starts = torch.linspace(0, 1, 101)[:, None].repeat(1, 2) * torch.tensor([1.0, 0.0])
        env = DreamVecEnv(model, starts, 1000, 50, stop_quantile=0.9, stop_scale=0.5)
        obs = env.reset()
        zeros = np.zeros((1000, 1), dtype=np.float32)
        _, _, done, infos = env.step(zeros)
        assert env.threshold == pytest.approx(0.45, abs=0.03)
        first = env.threshold
        assert (done == (obs[:, 0] > first)).all()
        assert all(infos[i]["TimeLimit.truncated"] for i in np.flatnonzero(done))
        assert env.counters["stopped"] == done.sum()
        env.step(zeros)  # rows that started anew are calibrated on too
        assert env.threshold == pytest.approx(first, abs=0.05)
        env.set_starts(starts)
        assert env.threshold is None

    def test_new_starts_stop_no_episode_that_runs_before_a_first_step_has_calibrated_the_threshold(self):
        env = dream(LinearGaussian(members=3, apart=1.0), horizon=5, stop_quantile=1.0, stop_scale=2.0)
        env.step(PUSH)
        env.set_starts(STARTS)
        for _ in range(3):
            assert not env.step(PUSH)[2].any()
        assert env.step(PUSH)[2].all()
        assert env.counters["horizon"] == 4
        env.step(PUSH)
        assert env.threshold == pytest.approx(2 * float(env.dynamics.uncertainty(STARTS, torch.ones(2, 1))[0]))


class Keep(BaseCallback):
    def __init__(self):
        super().__init__()
        self.rows = []

    def _on_step(self):
        self.rows.append((self.locals["rewards"].copy(), self.locals["dones"].copy(), self.locals["infos"]))
        return True


class TestLearners:
    CONTINUOUS = (PPO, A2C, TRPO, RecurrentPPO, SAC, TD3, DDPG, TQC, CrossQ)

    @pytest.mark.parametrize("kind", [*CONTINUOUS, DQN, QRDQN], ids=lambda kind: kind.__name__)
    def test_every_learner_learns_in_it(self, kind):
        action_space = spaces.Discrete(3) if kind in (DQN, QRDQN) else BOX
        env = VecNormalize(VecMonitor(dream(LinearGaussian(std=0.1, action_space=action_space))))
        on_policy = {"n_steps": 8} if kind in (PPO, A2C, TRPO, RecurrentPPO) else {"learning_starts": 8, "batch_size": 8}
        batch = {"batch_size": 8} if kind in (PPO, TRPO, RecurrentPPO) else {}
        policy = "MlpLstmPolicy" if kind is RecurrentPPO else "MlpPolicy"
        model = kind(policy, env, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **on_policy | batch)
        before = [tensor.clone() for tensor in model.policy.state_dict().values()]
        model.learn(64)
        assert any((old != new).any() for old, new in zip(before, model.policy.state_dict().values(), strict=True))
        assert len(model.ep_info_buffer) > 0
        assert {info["l"] for info in model.ep_info_buffer} == {5}

    def test_ppo_bootstraps_at_the_horizon_with_the_value_of_the_terminal_observation(self):
        env = dream(ClockDynamics(), horizon=4)
        model = PPO("MlpPolicy", env, n_steps=4, batch_size=16, gamma=0.9, learning_rate=0.0, seed=0, device="cpu")
        kept = Keep()
        model.learn(16, callback=kept)
        with torch.no_grad():
            value = model.policy.predict_values(torch.as_tensor(kept.rows[-1][2][0]["terminal_observation"])[None])
        assert model.rollout_buffer.rewards[-1, 0] == pytest.approx(4 + 0.9 * float(value), rel=1e-6)
        assert model.rollout_buffer.rewards[-2, 0] == 3

    def test_a_replay_buffer_sees_a_horizon_as_a_time_limit(self):
        model = SAC("MlpPolicy", dream(ClockDynamics(), horizon=3), learning_starts=100, seed=0, device="cpu", buffer_size=1000)
        model.learn(12)
        assert model.replay_buffer.dones[:3, 0].tolist() == [0, 0, 1]
        assert model.replay_buffer.timeouts[:3, 0].tolist() == [0, 0, 1]
        assert model.replay_buffer.next_observations[2, 0].tolist()[0] == 3

    def test_the_reward_socket_sees_the_true_transitions_of_a_dream(self):
        env = dream(ClockDynamics(), horizon=3)
        model = PPO("MlpPolicy", env, n_steps=6, batch_size=24, seed=0, device="cpu")
        reward = ClockReward(model.observation_space, model.action_space)
        reward.forward = lambda rows: reward.events.append(("score", rows)) or torch.zeros(rows.batch_size)
        model.learn(24, callback=RewardCallback(reward))
        (scored,) = [rows for kind, rows in reward.events if kind == "score" and rows.batch_size == 24]
        assert (scored.next_obs[:, 0] == scored.obs[:, 0] + 1).all()  # also where an episode is cut
        assert set(scored.obs[:, 0].tolist()) == {0, 1, 2}

    def test_a_reward_of_any_kind_drives_a_learner_in_a_dream(self):
        model = PPO("MlpPolicy", dream(LinearGaussian(std=0.1)), n_steps=16, batch_size=32, seed=0, device="cpu")
        model.learn(128, callback=RewardCallback(RND(model.observation_space, model.action_space)))

    def test_learning_in_a_dream_repeats_bit_for_bit(self):
        def learned():
            model = PPO("MlpPolicy", dream(LinearGaussian(std=0.3)), n_steps=16, batch_size=32, seed=0, device="cpu")
            return model.learn(256)

        assert equal_parameters(learned(), learned())


class TestRefusals:
    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            ({"horizon": 0}, "horizon to be at least 1"),
            ({"n_envs": 0}, "n_envs to be at least 1"),
            ({"eta": float("nan")}, "eta to be finite"),
            ({"stop_quantile": 1.5}, "stop_quantile to be None or in"),
            ({"starts": torch.zeros(3, 5)}, "starts of shape"),
            ({"starts": torch.full((3, 2), torch.nan)}, "starts that are NaN or infinite"),
            ({"starts": torch.zeros(0, 2)}, "at least one row"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, kwargs, said):
        with pytest.raises(ValueError, match=said) as error:
            DreamVecEnv(LinearGaussian(), **{"starts": STARTS} | kwargs)
        assert "\n" not in str(error.value)

    def test_a_dream_without_starts_says_what_to_give_it(self):
        with pytest.raises(ValueError, match=r"dream\.set_starts"):
            DreamVecEnv(LinearGaussian()).reset()

    def test_another_number_of_rows_is_refused_by_the_learner(self):
        model = PPO("MlpPolicy", dream(), n_steps=8, batch_size=8)
        with pytest.raises(AssertionError, match="number of environments"):
            model.set_env(dream(n_envs=2))
