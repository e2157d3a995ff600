from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import VecNormalize

from genrl.files import load_state, save_state
from genrl.models.dynamics import Dynamics, FitReport, Prediction
from genrl.policies import HeldNoise, PinkNoise
from genrl.rewards import RewardCallback
from genrl.sb3.actions import to_environment
from genrl.sb3.predict import exploring_action
from genrl.worlds import Curiosity, Ensemble, Imagination
from tests.rewards.clock import Spy, equal_parameters
from tests.worlds.analytic import OBS, LinearGaussian

WIDE = spaces.Box(-2.0, 3.0, (1,), np.float32)


class Known(LinearGaussian):
    """The true dynamics of :class:`Task`: nothing to learn."""

    skill = 1.0

    def fit(self, transitions: Any, reward: Any = None, **kwargs: Any) -> FitReport:
        self.fitted = getattr(self, "fitted", 0) + 1
        self.rows = transitions, reward
        return FitReport(0, 0.0, 0.0, self.skill, transitions.batch_size, 0, "delta")


class Task(gymnasium.Env):
    """The exact linear dynamics as a task; an episode lasts ten steps and is then cut."""

    observation_space, action_space = OBS, WIDE

    def __init__(self, action_space: Any = WIDE) -> None:
        self.action_space = action_space
        self.model = LinearGaussian(action_space=action_space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.obs, self.time = self.np_random.normal(size=2).astype(np.float32), 0
        return self.obs, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        outcome = self.model.step(torch.as_tensor(self.obs)[None], torch.as_tensor(np.asarray(action))[None])
        self.obs, self.time = outcome.next_obs[0].numpy(), self.time + 1
        return self.obs, float(outcome.reward[0]), False, self.time == 10, {}


class Fall(Task):
    """Ends far from all that it shows before."""

    LAST = (50.0, -50.0)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = super().step(action)
        return np.array(self.LAST, np.float32) if truncated else obs, reward, terminated, truncated, info


class Climb(gymnasium.Env):
    """Goes up by one and by two, and pays the height; most of the heights that a dtype has are too high for a smaller one."""

    action_space = WIDE

    def __init__(self, dtype: Any) -> None:
        self.observation_space = spaces.Box(0, 250 if dtype is np.uint8 else 60_000, (2,), dtype)
        self.model = Climbs(self.observation_space, WIDE)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.obs, self.time = self.np_random.uniform(0, self.observation_space.high - 30).astype(self.observation_space.dtype), 0
        return self.obs, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.obs, self.time = self.obs + np.array([1, 2], self.observation_space.dtype), self.time + 1
        return self.obs, float(self.obs[0]), False, self.time == 10, {}


class Climbs(Dynamics):
    """The true dynamics of :class:`Climb`."""

    def predict(self, obs: torch.Tensor, action: torch.Tensor) -> Prediction:
        mean = (obs + obs.new_tensor([1.0, 2.0]))[None]
        return Prediction(mean, torch.zeros_like(mean), mean[..., 0], torch.ones(mean.shape[:2]))

    def fit(self, transitions: Any, reward: Any = None, **kwargs: Any) -> FitReport:
        return FitReport(0, 0.0, 0.0, 1.0, transitions.batch_size, 0, "delta")


def learner(kind: Any = SAC, normalize: bool = False, n_envs: int = 1, **kwargs: Any) -> Any:
    env = make_vec_env(lambda: Task(spaces.Discrete(3) if kind is DQN else WIDE), n_envs, seed=0)
    env = VecNormalize(env) if normalize else env
    return kind("MlpPolicy", env, learning_starts=20, batch_size=8, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu", **kwargs)


def known(model: Any) -> Known:
    return Known(action_space=model.action_space)


def imagine(model: Any, steps: int = 60, others: Any = (), **kwargs: Any) -> tuple[Any, Imagination, list[Any]]:
    """The batches that a learner would draw after each step from the first fit on."""
    imagination, batches = Imagination(known(model), **{"share": 0.75, "start": 50, "every": 100, "branches": 32} | kwargs), []

    def look(spy: Spy) -> None:
        if imagination.report is not None:
            batches.append(model.replay_buffer.sample(8, env=model.get_vec_normalize_env()))

    model.learn(steps, callback=[imagination, *others, Spy(look)])
    return model, imagination, batches


class TestRows:
    @pytest.mark.parametrize("kind", [SAC, TD3, DQN])
    def test_horizon_1_with_a_perfect_model_is_plain_replay(self, kind):
        """Every imagined row is what the task itself would have done: from a state of the replay, with the policy's action."""
        model, _, batches = imagine(learner(kind))
        real = {tuple(row) for row in model.replay_buffer.observations[: model.replay_buffer.size(), 0].tolist()}
        assert len(batches) > 5
        for batch in batches:
            for row in range(2, 8):
                obs = batch.observations[row]
                action = torch.as_tensor(to_environment(model, batch.actions[row].numpy()[None]))
                outcome = Task(model.action_space).model.step(obs[None], action.reshape(1, *model.action_space.shape))
                assert tuple(obs.tolist()) in real
                torch.testing.assert_close(batch.next_observations[row], outcome.next_obs[0], rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(batch.rewards[row], outcome.reward, rtol=1e-5, atol=1e-5)
                assert float(batch.dones[row]) == 0

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
    def test_observations_of_every_dtype_are_imagined_as_the_task_would_give_them(self, dtype):
        env = Climb(dtype)
        model = SAC("MlpPolicy", env, learning_starts=20, batch_size=8, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
        imagination, batches = Imagination(env.model, share=0.75, start=50, every=100, branches=32, horizon=2), []
        look = Spy(lambda _: batches.append(model.replay_buffer.sample(8)) if imagination.report is not None else None)
        model.learn(60, callback=[imagination, look])
        real = torch.as_tensor(model.replay_buffer.observations[: model.replay_buffer.size(), 0].astype(np.float64))
        starts = torch.cat([real, real + torch.tensor([1.0, 2.0])])
        assert len(batches) > 5
        for batch in batches:
            before, after = batch.observations[2:].double(), batch.next_observations[2:].double()
            assert float(torch.cdist(before, starts).min(dim=1).values.max()) < 0.01
            torch.testing.assert_close(after - before, torch.tensor([[1.0, 2.0]]).double().expand(6, 2), rtol=0, atol=0.02)
            torch.testing.assert_close(batch.rewards[2:, 0].double(), after[:, 0], rtol=1e-5, atol=0)

    def test_the_real_rows_of_a_batch_are_the_learners_own_draws(self):
        def drawn(n: int, at: int, *callbacks: Any) -> torch.Tensor:
            model, found = learner(), []
            spy = Spy(lambda spy: found.append(model.replay_buffer.sample(n).observations) if spy.n_calls == at else None)
            model.learn(55, callback=[*callbacks, spy])
            return found[0]

        def imagination() -> Imagination:
            return Imagination(known(learner()), share=0.75, start=50, branches=32)

        assert torch.equal(drawn(8, 50, imagination()), drawn(8, 50))  # nothing to lend yet
        assert torch.equal(drawn(8, 51, imagination())[:2], drawn(2, 51))

    def test_a_learner_that_explores_by_other_generators_keeps_its_own_draws(self):
        """DQN decides by numpy's whether to explore, from which its batches are drawn too, and draws from its space of actions."""

        def drawn(*callbacks: Any) -> tuple[Any, ...]:
            model, found = learner(DQN, exploration_initial_eps=1.0, exploration_final_eps=1.0), []
            spy = Spy(lambda spy: found.append((np.random.random(), model.action_space.sample())) if spy.n_calls == 51 else None)  # noqa: NPY002
            model.learn(51, callback=[*callbacks, spy])
            return tuple(found)

        imagination = Imagination(known(learner(DQN)), start=50, branches=32)
        assert drawn(imagination) == drawn()
        assert imagination.report is not None

    @pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0, 0), (0.5, 50, 120), (1.0, 140, 200)])
    def test_each_imagined_state_is_explored_from_by_a_coin_of_its_own(self, rate, least, most):
        """Of 256 rows a random action differs from the best of three in two of three: 85 are expected at a rate of a half, 171 at one."""
        model = learner(DQN)
        model.exploration_rate = rate
        obs = np.tile(np.float32([0.3, -0.2]), (256, 1))
        best, _ = model.predict(obs, deterministic=True)
        assert least <= np.count_nonzero(exploring_action(model, obs) != best) <= most

    @pytest.mark.parametrize("n_envs", [1, 3])
    def test_imagined_actions_have_the_noise_by_which_a_deterministic_policy_explores(self, n_envs):
        """TD3's alone would show its critics no other action than the policy's. Of scaled actions, so 2.5 times as wide in [-2, 3]."""
        noise: Any = NormalActionNoise(np.zeros(1), np.full(1, 0.1))
        model = learner(TD3, n_envs=n_envs, action_noise=noise if n_envs == 1 else VectorizedActionNoise(noise, n_envs))
        obs = np.tile(np.float32([0.3, -0.2]), (1000, 1))
        best, _ = model.predict(obs)
        done = exploring_action(model, obs)
        assert done.shape == best.shape and done.dtype == best.dtype
        assert np.abs(best - 0.5).max() < 1.5  # so that no edge cuts the noise
        assert (done - best).std() == pytest.approx(0.25, rel=0.1) and abs(float((done - best).mean())) < 0.03
        model.action_noise = NormalActionNoise(np.zeros(1), np.full(1, 1e9))
        assert set(exploring_action(model, obs).ravel().tolist()) == {-2.0, 3.0}

    @pytest.mark.parametrize("noise", [PinkNoise(std=0.1), HeldNoise(8, std=0.1)])
    def test_imagined_actions_have_the_noise_of_a_callback_too(self, noise):
        """On actions scaled to [-1, 1], as in the task; TD3's own are the same at the same observation."""
        model = learner(TD3)
        _, imagination, _ = imagine(model, steps=51, others=[noise], branches=1000)
        rows = imagination._pool.transitions
        off = rows.action.numpy() - model.predict(rows.obs.numpy())[0]
        assert off.std() == pytest.approx(0.25, rel=0.1) and abs(float(off.mean())) < 0.03

    def test_each_imagined_state_has_a_noise_of_its_own_by_gsde(self):
        """SB3 has one function of the state for a whole batch, by which each state would be tried with one action until the next fit."""
        model, obs = learner(SAC, use_sde=True), np.tile(np.float32([0.3, -0.2]), (1000, 1))
        own = model.actor.action_dist.exploration_mat.clone()
        done = model.policy.scale_action(exploring_action(model, obs)).astype(np.float64)
        with torch.no_grad():
            latent = model.actor.latent_pi(torch.from_numpy(obs[:1]))
            width = float((latent.square() @ model.actor.get_std().square()).sqrt())  # of the noise before the tanh
        assert width > 0 and np.arctanh(done).std() == pytest.approx(width, rel=0.1)
        assert torch.equal(model.actor.action_dist.exploration_mat, own)

    def test_longer_branches_go_on_from_imagined_states_and_shorter_ones_do_not(self):
        _, one, _ = imagine(learner(), horizon=1)
        _, three, _ = imagine(learner(), horizon=3)
        assert one._pool.batch_size == 32
        assert three._pool.batch_size == 96
        rows = three._pool.transitions
        assert torch.equal(rows.obs[32:64], rows.next_obs[:32])
        assert not rows.terminated.any()  # a horizon is no end

    def test_sums_of_n_steps_are_those_by_hand(self):
        _, imagination, batches = imagine(learner(gamma=0.9), horizon=3, n_steps=3)
        pool = imagination._pool
        assert pool.rewards.shape == (3, 32)
        totals = pool.rewards[0] + 0.9 * pool.rewards[1] + 0.81 * pool.rewards[2]
        for batch in batches:
            for row in range(2, 8):
                ends = (pool.transitions.next_obs[2] == batch.next_observations[row]).all(1).nonzero()[:, 0].tolist()
                (place,) = (i for i in ends if torch.equal(pool.transitions.obs[0, i], batch.observations[row]))
                assert float(batch.rewards[row]) == pytest.approx(float(totals[place]), rel=1e-4)
                assert float(batch.discounts[row]) == pytest.approx(0.9**3)
            assert torch.allclose(batch.discounts[:2], torch.tensor(0.9))

    def test_under_vecnormalize_the_model_sees_raw_rows_and_the_learner_normalised_ones(self):
        model, imagination, batches = imagine(learner(normalize=True))
        normalize = model.get_vec_normalize_env()
        raw = {tuple(np.round(normalize.normalize_obs(row), 4)) for row in imagination._pool.transitions.obs.numpy()}
        assert all(tuple(np.round(row, 4)) in raw for row in batches[-1].observations[2:].numpy())
        transitions, reward = imagination.dynamics.rows
        said = known(model).step(transitions.obs, transitions.action)
        torch.testing.assert_close(reward, said.reward, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("goes_on", [False, True], ids=["one learn", "after a restored state"])
    def test_under_vecnormalize_the_model_sees_last_observations_as_the_task_gave_them(self, goes_on):
        """VecNormalize shows the learner none beyond ten standard deviations."""
        model = SAC("MlpPolicy", VecNormalize(make_vec_env(Fall, 2, seed=0)), learning_starts=20, batch_size=8, seed=0, device="cpu")
        _, imagination, _ = imagine(model, steps=60, every=30)
        if goes_on:
            first, imagination = imagination, Imagination(known(model), start=50, every=30, branches=32)
            imagination.dynamics.load_state_dict(first.dynamics.state_dict())
            imagination.load_state_dict(first.state_dict())
            model.learn(60, callback=imagination, reset_num_timesteps=False)
        rows, _ = imagination.dynamics.rows
        last = rows.next_obs.reshape(2, -1, 2)[:, 9::10]
        assert last.shape[1] >= 2
        assert (last == torch.tensor(Fall.LAST)).all()

    def test_several_environments_are_read_one_after_the_other_in_the_order_of_time(self):
        _, imagination, _ = imagine(learner(n_envs=3), steps=90)
        transitions, _ = imagination.dynamics.rows
        n = transitions.batch_size // 3
        for env in range(3):
            rows = transitions.rows(slice(env * n, (env + 1) * n))
            goes_on = (rows.obs[1:] == rows.next_obs[:-1]).all(1)
            assert goes_on.double().mean() > 0.8


class TestTrust:
    @pytest.mark.parametrize(("skill", "lent"), [(1.0, 6), (0.75, 4), (0.49, 0), (-3.0, 0), (float("nan"), 0)])
    def test_as_much_of_the_share_is_lent_as_the_models_skill_and_nothing_below_the_least(self, monkeypatch, skill, lent):
        monkeypatch.setattr(Known, "skill", skill)
        _, imagination, batches = imagine(learner())
        imagined = {tuple(row) for row in imagination._pool.transitions.next_obs.tolist()}
        for batch in batches:
            assert len(batch.observations) == 8
            assert sum(tuple(row) in imagined for row in batch.next_observations.tolist()) == lent

    def test_on_request_a_model_without_skill_is_believed(self, monkeypatch):
        monkeypatch.setattr(Known, "skill", -3.0)
        _, imagination, batches = imagine(learner(), least_skill=None)
        imagined = {tuple(row) for row in imagination._pool.transitions.next_obs.tolist()}
        assert sum(tuple(row) in imagined for row in batches[-1].next_observations.tolist()) == 6

    def test_a_model_that_was_never_fitted_has_no_skill(self):
        model = learner()
        world = Ensemble(model.observation_space, model.action_space, members=3, hidden=(32,), learning_rate=1e-12)
        imagination = Imagination(world, start=300, branches=16, fit={"max_steps": 1})
        model.learn(310, callback=imagination)
        assert imagination.report.skill < 0.5
        assert imagination.trust == 0

    def test_it_comes_back_with_the_state(self):
        _, imagination, _ = imagine(learner())
        other = Imagination(known(learner()), start=50)
        other.load_state_dict(imagination.state_dict())
        assert other.trust == imagination.trust == 1.0


class TestCycle:
    def test_it_fits_after_start_and_then_every_so_many_steps(self):
        _, imagination, _ = imagine(learner(), steps=120, every=30)
        assert imagination.dynamics.fitted == 3  # at 51, 81 and 111 steps

    def test_a_learn_that_counts_its_steps_from_0_again_fits_and_dreams_anew(self):
        model, imagination, _ = imagine(learner(), steps=60, every=30)
        first = imagination._pool
        model.learn(20, callback=imagination)
        assert (imagination.dynamics.fitted, imagination._fitted_at) == (2, 1)
        assert not torch.equal(imagination._pool.transitions.obs, first.transitions.obs)

    def test_another_learner_is_lent_nothing_that_the_first_one_imagined(self):
        _, imagination, _ = imagine(learner(), steps=60)
        learner().learn(40, callback=imagination)
        assert imagination._draw(8) is None

    def test_the_horizon_grows_with_its_schedule(self):
        _, imagination, _ = imagine(learner(), steps=120, every=30, horizon=(1, 5, 60, 100))
        assert imagination.dream.horizon == 5
        imagination.num_timesteps = 80
        assert imagination._horizon_now() == 3

    def test_what_an_earlier_model_imagined_is_forgotten(self):
        _, imagination, _ = imagine(learner(), steps=120, every=30)
        assert imagination._pool.batch_size == 32

    def test_on_request_the_newest_rows_are_kept(self):
        _, imagination, _ = imagine(learner(), steps=120, every=30, capacity=40)
        assert imagination._pool.batch_size == 40

    def test_a_bonus_in_force_pays_imagined_rows_too(self):
        model = learner()
        world = LinearGaussian(members=2, apart=2.0, action_space=WIDE)  # u is 1 everywhere
        _, _, batches = imagine(model, others=[RewardCallback(Curiosity(world), weight=5.0, extrinsic_weight=0.0)])
        for batch in batches:
            torch.testing.assert_close(batch.rewards, torch.full((8, 1), 5.0))

    def test_learning_with_imagination_repeats_bit_for_bit(self):
        def learned():
            model = learner()
            world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
            return model.learn(
                90, callback=Imagination(world, start=50, every=20, branches=16, fit={"max_steps": 5}, horizon=2, least_skill=None)
            )

        first, second = learned(), learned()
        assert equal_parameters(first, second)
        assert not equal_parameters(first, learner().learn(90))

    def test_its_state_brings_back_model_rows_and_draws(self, tmp_path):
        model = learner()
        world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
        imagination = Imagination(world, start=50, branches=16, fit={"max_steps": 5}, least_skill=None)
        model.learn(60, callback=imagination)
        save_state(tmp_path / "imagination.safetensors", imagination.state_dict())
        other = Imagination(Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,), seed=9), branches=16)
        other.load_state_dict(load_state(tmp_path / "imagination.safetensors"))
        ours, theirs = imagination._draw(5), other._draw(5)
        assert torch.equal(ours.transitions.obs, theirs.transitions.obs)
        assert torch.equal(ours.rewards, theirs.rewards)


class TestRefusals:
    def test_a_buffer_that_never_holds_enough_to_begin_is_refused_before_the_first_step(self):
        model = learner(n_envs=2, buffer_size=90)
        with pytest.raises(ValueError, match="holds start=100 transitions, but that of SAC holds at most 90; lower start"):
            model.learn(200, callback=Imagination(known(model), start=100))
        assert model.num_timesteps == 0

    @pytest.mark.parametrize(("steps", "told"), [(60, True), (61, False)])
    def test_a_learn_that_ends_before_the_first_fit_is_told_of(self, recwarn, steps, told):
        model = learner()
        imagination = Imagination(known(model), start=60, branches=8)
        model.learn(steps, callback=imagination)
        assert (imagination.report is None) == told == any("so nothing is imagined" in str(item.message) for item in recwarn)

    def test_an_on_policy_learner_is_told_to_learn_inside_the_dream(self):
        model = PPO("MlpPolicy", make_vec_env(Task, 1), n_steps=8, batch_size=8)
        with pytest.raises(ValueError, match="let it practise in the dream"):
            model.learn(8, callback=Imagination(known(model)))
        assert model.num_timesteps == 0

    def test_a_world_of_another_task_is_refused_before_the_first_step(self):
        model = learner()
        with pytest.raises(ValueError, match=r"Ensemble was made for observations .* but SAC has"):
            model.learn(60, callback=Imagination(Ensemble(spaces.Box(-1, 1, (5,)), WIDE, members=2, hidden=(8,))))
        with pytest.raises(ValueError, match=r"Ensemble was made for actions"):
            model.learn(60, callback=Imagination(Ensemble(OBS, spaces.Discrete(2), members=2, hidden=(8,))))
        assert model.num_timesteps == 0

    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            ({"horizon": 0}, "horizon to be at least 1"),
            ({"horizon": (0, 5, 1, 2)}, "horizon to be at least 1"),
            ({"horizon": (1, 5, 100)}, "horizon to be one number, or four"),
            ({"horizon": (1, 5, 100, 60)}, "horizon to be one number, or four"),
            ({"share": 1.0}, "share to be in"),
            ({"n_steps": 3, "horizon": 2}, "n_steps to be from 1 to the horizon"),
            ({"stop_quantile": 0.9}, "stop_quantile to be None for branches of one step"),
            ({"least_skill": 1.0}, "least_skill to be below 1"),
            ({"start": 10}, "start to be at least 50"),
        ],
    )
    def test_values_that_cannot_be_are_one_sentence(self, kwargs, said):
        with pytest.raises(ValueError, match=said):
            Imagination(Known(), **kwargs)

    def test_a_keyword_that_the_fit_does_not_take_is_refused_when_it_is_made(self):
        with pytest.raises(
            ValueError, match=r"LinearGaussian.fit can't be called with fit=\{'max_steps': 5\}.*; it takes none; leave fit out"
        ):
            Imagination(LinearGaussian(), fit={"max_steps": 5})
