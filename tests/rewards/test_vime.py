"""VIME as a reward: what it pays for, when, and that its state is complete."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC

from genrl.files import load_state, save_state
from genrl.models.information_gain import information_gain
from genrl.rewards import VIME, RewardCallback, TransitionPool, Transitions

OBS = spaces.Box(-np.inf, np.inf, (3,))
ACTION = spaces.Box(-2.0, 2.0, (2,))


def linear_dynamics(batch: int, seed: int, spread: float = 1.0) -> Transitions:
    """s′ = 0.9 s + (a₀, a₁, a₀ − a₁) / 2."""
    generator = torch.Generator().manual_seed(seed)
    obs = spread * torch.randn(batch, 3, generator=generator)
    action = 4 * torch.rand(batch, 2, generator=generator) - 2
    push = torch.stack([action[:, 0], action[:, 1], action[:, 0] - action[:, 1]], 1) / 2
    return Transitions(obs, action, 0.9 * obs + push, torch.zeros(batch, dtype=torch.bool))


def pool_of(transitions: Transitions) -> TransitionPool:
    pool = TransitionPool(10_000)
    pool.add(transitions)
    return pool


def trained(n: int = 20, **keywords) -> VIME:
    vime = VIME(OBS, ACTION, **keywords)
    pool = pool_of(linear_dynamics(2000, seed=0))
    for _ in range(n):
        vime.update(pool)
    return vime


class TestBonus:
    def test_it_is_zero_before_the_first_update(self):
        assert VIME(OBS, ACTION)(linear_dynamics(7, seed=1)).tolist() == [0.0] * 7

    def test_it_is_zero_while_the_memory_is_too_small_to_learn_from(self):
        vime = VIME(OBS, ACTION, min_transitions=500)
        assert vime.update(pool_of(linear_dynamics(499, seed=0))) == {}
        assert not vime(linear_dynamics(7, seed=1)).any()

    def test_it_is_capped_in_medians(self):
        bonus = trained(3, max_bonus=2.0)(linear_dynamics(500, seed=1))
        assert float(bonus.max()) == 2.0
        assert float(bonus.median()) == pytest.approx(1.0)

    def test_it_is_the_gain_over_the_mean_of_the_last_medians(self):
        vime = trained(2, max_bonus=1e9)
        batches = [linear_dynamics(50, seed=i) for i in range(12)]
        state = vime.generator.get_state()
        gains = [vime.information_gain(batch).clamp(0, 1000) for batch in batches]
        vime.generator.set_state(state)
        bonuses = [vime(batch) for batch in batches]
        medians = [float(gain.median()) for gain in gains]
        torch.testing.assert_close(bonuses[0], gains[0] / medians[0])
        torch.testing.assert_close(bonuses[3], gains[3] / np.mean(medians[:4]))
        torch.testing.assert_close(bonuses[11], gains[11] / np.mean(medians[2:12]))

    def test_a_typical_bonus_is_one(self):
        assert float(trained(2)(linear_dynamics(200, seed=5)).median()) == pytest.approx(1.0)

    def test_it_is_the_networks_information_gain_of_normalised_transitions(self):
        vime = trained(2, gain="realised")
        batch = linear_dynamics(50, seed=3)
        state = vime.generator.get_state()
        gain = vime.information_gain(batch)
        vime.generator.set_state(state)
        mean, std = vime.standardizer.obs.mean.float(), vime.standardizer.obs.std.float()
        action_mean, action_std = vime.standardizer.action.mean.float(), vime.standardizer.action.std.float()
        inputs = torch.cat([(batch.obs - mean) / std, (batch.action - action_mean) / action_std], 1)
        noise = vime.network.noise(10, 50, vime.generator)
        expected = information_gain(vime.network.layers, inputs, (batch.next_obs - mean) / std, noise, vime.network.likelihood_std, 0.01)
        torch.testing.assert_close(gain, expected)

    def test_by_default_it_knows_nothing_of_the_outcome(self):
        batch, vime = linear_dynamics(50, seed=3), trained(2)
        elsewhere = batch._replace(next_obs=100 * batch.next_obs)
        state = vime.generator.get_state()
        first = vime.information_gain(batch)
        vime.generator.set_state(state)
        assert torch.equal(first, vime.information_gain(elsewhere))
        realised = trained(2, gain="realised")
        assert realised.information_gain(elsewhere).mean() > 10 * realised.information_gain(batch).mean()

    def test_noise_that_is_predicted_to_be_noise_earns_no_more_than_what_is_known(self):
        """Rows with an action above 0 end in noise, in one of three dimensions; the others are linear."""
        batch = linear_dynamics(4000, seed=0)
        noise = torch.randn(4000, generator=torch.Generator().manual_seed(1)) * (batch.action[:, 0] > 0)
        noisy = batch._replace(next_obs=torch.cat([batch.next_obs[:, :2], noise[:, None]], 1))
        share = {}
        for gain in ("expected", "realised"):
            vime, pool = VIME(OBS, ACTION, gain=gain), pool_of(noisy)
            for _ in range(20):
                vime.update(pool)
            paid = vime(noisy)
            share[gain] = float(paid[noisy.action[:, 0] > 0].mean() / paid[noisy.action[:, 0] <= 0].mean())
        assert share["expected"] < 1.2
        assert share["realised"] > 1.5

    @pytest.mark.parametrize("preset", ["calibrated", "released"])
    def test_what_was_never_seen_is_worth_more(self, preset):
        vime = trained(10, preset=preset).eval()
        vime.train()(linear_dynamics(500, seed=1))
        vime.eval()
        assert vime(linear_dynamics(500, seed=2, spread=4.0)).mean() > 3 * vime(linear_dynamics(500, seed=3)).mean()

    def test_evaluation_mode_keeps_no_statistics(self):
        vime = trained(2)
        vime(linear_dynamics(50, seed=1))
        before = {name: value.clone() for name, value in vime.state_dict().items() if isinstance(value, torch.Tensor)}
        vime.eval()(linear_dynamics(50, seed=2))
        assert all(torch.equal(value, vime.state_dict()[name]) for name, value in before.items())


class TestLearning:
    @pytest.mark.parametrize(("memory", "told"), [(400, True), (500, False)])
    def test_a_memory_that_never_holds_what_it_learns_from_is_told_of(self, memory, told):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ppo = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, n_epochs=1)
            ppo.learn(32, callback=RewardCallback(VIME(ppo.observation_space, ppo.action_space), memory_size=memory))
            sac = SAC("MlpPolicy", "Pendulum-v1", buffer_size=memory, learning_starts=100)
            sac.learn(8, callback=RewardCallback(VIME(sac.observation_space, sac.action_space), update_every=4))
        words = [str(item.message) for item in caught if "learns from 500" in str(item.message)]
        assert [word.partition("take a larger ")[2].split(",")[0] for word in words] == (["memory_size", "buffer_size"] if told else [])

    def test_the_calibrated_preset_learns_the_dynamics_and_the_released_one_hardly(self):
        held_out = linear_dynamics(500, seed=9)
        errors = {}
        for preset in ("calibrated", "released"):
            vime = trained(10, preset=preset)
            errors[preset] = float(vime.network.squared_error(*vime._regression(held_out)).mean())
        assert errors["calibrated"] < 0.02
        assert errors["released"] > 0.2

    def test_the_first_update_moves_every_parameter(self):
        vime = VIME(OBS, ACTION)
        before = [parameter.detach().clone() for parameter in vime.parameters()]
        vime.update(pool_of(linear_dynamics(600, seed=0)))
        assert all((old != new).any() for old, new in zip(before, vime.parameters(), strict=True))

    def test_its_randomness_is_its_own(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        trained(1)(linear_dynamics(10, seed=0))
        assert torch.equal(torch.rand(3), expected)


class TestLearnedLikelihood:
    def test_it_goes_halfway_to_the_errors_and_not_below_its_floor(self):
        vime = VIME(OBS, ACTION)
        pool = pool_of(linear_dynamics(2000, seed=0))
        for _ in range(12):
            before = vime.network.likelihood_std.clone()
            vime.update(pool)
            assert (vime.network.likelihood_std >= before / 2).all()
        assert (vime.network.likelihood_std < 0.15).all()
        assert (vime.network.likelihood_std >= 0.02).all()

    def test_a_dimension_of_noise_gets_the_width_of_the_noise(self):
        batch = linear_dynamics(4000, seed=0)
        noise = torch.randn(4000, generator=torch.Generator().manual_seed(1))
        noisy = batch._replace(next_obs=torch.cat([batch.next_obs[:, :2], noise[:, None]], 1))
        vime, pool = VIME(OBS, ACTION), pool_of(noisy)
        for _ in range(12):
            vime.update(pool)
        std = vime.network.likelihood_std
        assert std[2] > 0.6
        assert (std[:2] < 0.2).all()

    def test_it_stays_where_it_is_not_learned(self):
        assert trained(3, preset="released").network.likelihood_std.tolist() == [5.0] * 3
        fixed = trained(3, learn_likelihood=False, likelihood_std=0.2).network.likelihood_std
        torch.testing.assert_close(fixed, torch.full((3,), 0.2))


class TestState:
    def test_a_restored_vime_goes_on_bit_for_bit(self, tmp_path):
        pool, batch = pool_of(linear_dynamics(2000, seed=0)), linear_dynamics(100, seed=1)
        first = trained(3)
        first(batch)
        save_state(tmp_path / "vime.safetensors", {"vime": first.state_dict(), "pool": pool.state_dict()})

        second, other_pool = VIME(OBS, ACTION, seed=7), TransitionPool(10_000)
        state = load_state(tmp_path / "vime.safetensors")
        second.load_state_dict(state["vime"])
        other_pool.load_state_dict(state["pool"])
        other_pool.add(pool.latest)
        pool.add(pool.latest)
        for _ in range(2):
            assert first.update(pool) == second.update(other_pool)
            assert torch.equal(first(batch), second(batch))


class TestArguments:
    def test_a_keyword_goes_before_the_preset(self):
        preset = VIME(OBS, ACTION, preset="released", learning_rate=0.5).preset
        assert (preset.learning_rate, preset.likelihood_std) == (0.5, 5.0)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"preset": "paper"}, "use 'calibrated' or 'released'"),
            ({"n_draws": 1}, "VIME needs n_draws to be at least 2, but was given 1; type n_draws=10 for the default"),
            ({"gain": "hoped"}, "use 'expected' or 'realised'"),
            ({"step_size": 0.0}, "step_size to be above 0"),
            ({"learning_rate": float("inf")}, "learning_rate to be above 0 and finite"),
            ({"kl_weight": float("nan")}, "kl_weight to be above 0"),
            ({"min_transitions": -5}, "min_transitions to be at least 0"),
            ({"hidden": (0,)}, "hidden to be above 0"),
        ],
    )
    def test_impossible_ones_are_refused(self, keywords, message):
        with pytest.raises(ValueError, match=message):
            VIME(OBS, ACTION, **keywords)

    @pytest.mark.parametrize("space", [spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2), ACTION])
    def test_every_kind_of_action_is_taken(self, space):
        space.seed(0)
        action = torch.as_tensor(np.stack([space.sample() for _ in range(600)]))
        obs = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
        batch = Transitions(obs, action, obs, torch.zeros(600, dtype=torch.bool))
        vime = VIME(OBS, space, n_updates=1)
        vime.update(pool_of(batch))
        assert vime(batch).shape == (600,)
