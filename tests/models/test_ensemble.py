from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.models import ensemble
from genrl.models.dynamics import skill
from genrl.models.ensemble import BootstrapRows, Ensemble
from genrl.models.regression import restandardize
from genrl.models.resampling import windows
from genrl.transitions import Transitions
from genrl.worlds import measure_quality
from tests.worlds.analytic import BOX, OBS, LinearGaussian

SMALL = {"members": 3, "hidden": (32,)}


def world(**kwargs) -> Ensemble:
    return Ensemble(OBS, BOX, **SMALL | kwargs)


@pytest.fixture(scope="module")
def rows():
    return LinearGaussian(std=0.05).rows(1500)


@pytest.fixture(scope="module")
def fitted(rows):
    model = world(targets="delta")
    return model, model.fit(*rows, max_steps=1500)


class Still(LinearGaussian):
    """Says that all stays as it is."""

    def predict(self, obs, action):
        return super().predict(obs, action)._replace(mean=obs[None])


def test_an_entry_that_never_changes_has_no_say_in_the_choice_of_targets() -> None:
    model, time = world(targets="delta"), torch.arange(41.0)
    obs = torch.stack([time, torch.zeros(41)], 1)
    rows = Transitions(obs[:-1], torch.zeros(40, 1), obs[1:], torch.zeros(40, dtype=torch.bool))
    restandardize(model.standardizer.obs, rows.obs)
    exact = LinearGaussian().predict(rows.obs[:1], rows.action[:1])
    model.predict = lambda obs, action: exact._replace(mean=(obs + torch.tensor([1.0, 5e-7]))[None])  # wrong by rounding
    assert model._open_loop_error(rows, windows(rows, 10)) < 1e-6


class TestFit:
    def test_it_learns_the_mean_the_noise_and_the_reward(self, fitted):
        model, report = fitted
        exact, reward = LinearGaussian(std=0.05).rows(500, seed=9)
        with torch.no_grad():
            said = model.predict(exact.obs, exact.action)
        mean = LinearGaussian().predict(exact.obs, exact.action).mean[0]
        assert (said.mean.mean(0) - mean).square().mean().sqrt() < 0.03
        assert said.std.mean() == pytest.approx(0.05, rel=0.3)
        assert 1 - (said.reward.mean(0) - reward).square().mean() / reward.var() > 0.95
        assert report.held_out_rows > 0
        assert report.rows + report.held_out_rows == 1500

    def test_members_differ_more_where_nothing_was_seen(self, fitted):
        model, _ = fitted
        near, far = torch.zeros(200, 2), torch.full((200, 2), 8.0)
        action = torch.zeros(200, 1)
        assert model.uncertainty(far, action).mean() > 10 * model.uncertainty(near, action).mean()

    def test_a_refit_starts_from_what_is_known(self, fitted, rows):
        model, report = fitted
        again = model.fit(*rows, max_steps=50)
        assert again.held_out_loss <= report.held_out_loss + 0.05
        assert again.steps == 25

    def test_the_cap_holds_also_where_both_targets_are_tried(self):
        obs = torch.randn(1001, 2, generator=torch.Generator().manual_seed(0)).cumsum(0)
        walk = Transitions(obs[:-1], torch.zeros(1000, 1), obs[1:], torch.zeros(1000, dtype=torch.bool))
        model = world()
        assert model.fit(walk, torch.zeros(1000), max_steps=650).steps == 650
        assert int(model.optimizer.state[next(model.parameters())]["step"]) == 650  # of the chosen road, 300 of them to choose

    def test_the_rate_falls_to_zero_in_the_second_half_and_starts_anew_in_the_next_fit(self, rows, monkeypatch):
        rates = []
        step = ensemble.gradient_step
        monkeypatch.setattr(
            ensemble, "gradient_step", lambda optimizer, loss: (rates.append(optimizer.param_groups[0]["lr"]), step(optimizer, loss))
        )
        model = world(targets="delta", learning_rate=1e-2)
        model.fit(*rows, max_steps=8)
        model.fit(*rows, max_steps=8)
        np.testing.assert_allclose(rates, [1e-2] * 5 + [7.5e-3, 5e-3, 2.5e-3] + [1e-2] * 3 + [5e-3])

    def test_intervals_and_noise_are_right_in_a_linear_gaussian_world(self, fitted):
        """4,000 rows of 2 entries: the standard error of a share of 50 % is 0.6 %, that of 90 % is 0.3 %; the held-out 150 rows add 3 %."""
        model, _ = fitted
        test, reward = LinearGaussian(std=0.05).rows(4000, seed=7)
        found = measure_quality(model, test, reward).coverage
        assert found["50%"] == pytest.approx(0.5, abs=0.06)
        assert found["90%"] == pytest.approx(0.9, abs=0.04)
        assert float(model.predict(test.obs, test.action).std.detach().mean()) == pytest.approx(0.05, rel=0.1)

    def test_intervals_are_right_and_the_noise_is_small_where_the_dynamics_are_exact(self):
        model = world(members=5)
        model.fit(*LinearGaussian().rows(1500), max_steps=500)
        test, reward = LinearGaussian().rows(4000, seed=7)
        found = measure_quality(model, test, reward).coverage
        assert found["50%"] == pytest.approx(0.5, abs=0.12)
        assert found["90%"] == pytest.approx(0.9, abs=0.06)
        said = model.predict(test.obs, test.action)
        assert said.std.square().mean() < said.mean.var(0, unbiased=False).mean()  # its errors are not taken for noise

    def test_no_member_is_fitted_to_a_held_out_row(self):
        held, counts = torch.tensor([True, False, False, True]), torch.tensor([[1, 2, 0, 3], [0, 1, 1, 1]])
        inputs = torch.arange(4.0)[:, None]
        rows = BootstrapRows(inputs, inputs, held, held, counts, torch.Generator().manual_seed(0))
        ((drawn, _, _),) = rows.batches(1, 100)
        assert [set(member.flatten().tolist()) for member in drawn] == [{1.0}, {1.0, 2.0}]

    def test_noise_that_forgets_the_state_is_learned_directly_and_a_slow_walk_by_its_change(self):
        generator = torch.Generator().manual_seed(0)
        obs = torch.randn(3001, 2, generator=generator)
        walk = (0.02 * obs).cumsum(0)
        action, ends = torch.zeros(3000, 1), torch.zeros(3000, dtype=torch.bool)
        for values, kind in ((obs, "direct"), (walk, "delta")):
            model = world(reward=lambda obs, action, next_obs: obs[:, 0])
            report = model.fit(Transitions(values[:-1], action, values[1:], ends), max_steps=601)
            assert report.targets == kind

    def test_fitting_repeats_bit_for_bit_and_leaves_torchs_generator_alone(self, rows):
        def parameters():
            model = world()
            model.fit(*rows, max_steps=620)
            return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        first = parameters()
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(1)
        assert torch.equal(parameters(), first)

    def test_a_restored_model_goes_on_as_if_nothing_had_happened(self, rows):
        model, other = world(), world(seed=5)
        model.fit(*rows, max_steps=30)
        other.load_state_dict(model.state_dict())
        for either in (model, other):
            either.fit(*rows, max_steps=30)
        obs, action = torch.randn(20, 2), torch.zeros(20, 1)
        for a, b in zip(model.predict(obs, action), other.predict(obs, action), strict=True):
            assert torch.equal(a, b)

    def test_every_parameter_learns(self, rows):
        model = world()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        transitions, reward = rows
        model.fit(transitions._replace(terminated=transitions.obs[:, 0] > 1), reward, max_steps=50)
        assert all((old != new).any() for old, new in zip(before, model.parameters(), strict=True))


class TestPredict:
    def test_row_i_asks_member_i_mod_members(self, fitted):
        model, _ = fitted
        obs, action = torch.randn(7, 2), torch.rand(7, 1)
        whole, own = model.predict(obs, action), model.predict_own(obs, action)
        for field, one in zip(whole, own, strict=True):
            assert one.shape == (1, *field.shape[1:])
            torch.testing.assert_close(one[0], torch.stack([field[i % 3, i] for i in range(7)]))

    def test_untrained_it_is_in_the_environments_units_by_hand(self):
        model = world(targets="direct", members=1, hidden=(), termination="none")
        (layer,) = model.network
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([[[2.0, 1.0, -1.0, 0.0, 0.0, 0.0]]]))  # means of s′₀, s′₁ and r, then log stds
        model.target_scale.stats.mean.copy_(torch.tensor([10.0, 20.0, 30.0]))
        model.target_scale.stats.var.copy_(torch.tensor([4.0, 9.0, 25.0]))
        said = model.predict(torch.zeros(1, 2), torch.zeros(1, 1))
        assert said.mean.tolist() == [[[14.0, 23.0]]]
        assert said.reward.tolist() == [[25.0]]
        log_std = -6 + math.log1p(math.exp(6)) - math.log1p(math.exp(-1))
        np.testing.assert_allclose(said.std.detach().numpy(), [[[2 * math.exp(log_std), 3 * math.exp(log_std)]]], rtol=1e-5)

    def test_uncertainty_is_disagreements_formula_and_zero_for_one_member(self):
        model = world(members=2, hidden=())
        (layer,) = model.network
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.zero_()
            layer.bias[:, 0, 0] = torch.tensor([1.0, 5.0])
        torch.testing.assert_close(model.uncertainty(torch.zeros(3, 2), torch.zeros(3, 1)), torch.full((3,), (4.0 + 0.0) / 2))
        assert (world(members=1).uncertainty(torch.randn(3, 2), torch.zeros(3, 1)) == 0).all()

    def test_ends_that_were_never_seen_never_come(self, fitted):
        model = deepcopy(fitted[0])
        with torch.no_grad():
            model.network[-1].bias[..., -1] = 50.0  # the logit of the end
        assert (model.predict(torch.zeros(50, 2), torch.zeros(50, 1)).continuation == 1).all()

    def test_ends_are_learned(self):
        transitions, reward = LinearGaussian().rows(2000)
        ends = transitions.next_obs[:, 0] > 0.5
        model = world()
        model.fit(transitions._replace(terminated=ends), reward, max_steps=1500)
        said = model.predict(transitions.obs, transitions.action).continuation.mean(0) < 0.5
        assert (said == ends).double().mean() > 0.97

    def test_skill_is_one_for_the_truth_zero_for_persistence_and_the_lower_of_state_and_reward(self):
        test, reward = LinearGaussian().rows(300)
        exact = LinearGaussian()
        assert skill(exact, test, reward) == pytest.approx(1.0)
        assert skill(exact, test, reward.flip(0)) < 0.5
        still = test._replace(next_obs=test.obs.clone())
        still.next_obs[:, 0] += 1.0
        assert skill(Still(std=0.0), still._replace(next_obs=still.next_obs)) == pytest.approx(0.0)
        assert math.isnan(skill(exact, test.rows(slice(0))))

    @pytest.mark.parametrize(("moves", "expected"), [(0.0, 1.0), (1e-9, 1.0), (1e-5, 0.5 + 0.5 * (1 - 1e-4))])
    def test_an_entry_that_rounding_moves_has_no_say_in_the_skill(self, moves, expected):
        class Off(LinearGaussian):
            """The truth, but for a constant in the second entry."""

            def predict(self, obs, action):
                right = super().predict(obs, action)
                mean = torch.stack([obs[:, 0] + 1.0, obs[:, 1] + moves + 1e-7], 1)
                return right._replace(mean=mean[None])

        obs = torch.stack([torch.randn(100), torch.zeros(100)], 1)
        rows = Transitions(obs, torch.zeros(100, 1), obs + torch.tensor([1.0, moves]), torch.zeros(100, dtype=torch.bool))
        assert skill(Off(), rows) == pytest.approx(expected, abs=1e-5)
        paid = -obs[:, 0].square()
        assert skill(Off(), rows, paid) == pytest.approx(min(1.0, expected), abs=1e-5)
        assert skill(Off(), rows, 1 + 1e-7 * torch.randn(100)) == pytest.approx(expected, abs=1e-5)
        assert skill(Off(), rows, 1 + 1e-2 * torch.randn(100)) < 0

    def test_functions_take_the_place_of_what_is_learned(self):
        model = world(reward=lambda obs, action, next_obs: next_obs[:, 0], termination=lambda obs, action, next_obs: obs[:, 0] > 0)
        model.fit(LinearGaussian().rows(200)[0], max_steps=20)
        outcome = model.step(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2, 1))
        assert torch.equal(outcome.reward, outcome.next_obs[:, 0])
        assert outcome.terminated.tolist() == [True, False]

    def test_discrete_actions_are_one_hot(self):
        model = Ensemble(OBS, spaces.Discrete(3), **SMALL)
        assert model.predict(torch.zeros(4, 2), torch.tensor([0, 1, 2, 0])).mean.shape == (3, 4, 2)

    def test_it_computes_in_the_dtype_of_its_parameters(self):
        model = world().double()
        assert model.predict(torch.zeros(2, 2).double(), torch.zeros(2, 1).double()).mean.dtype == torch.float64


class TestRefusals:
    @pytest.mark.parametrize(
        ("space", "said"),
        [
            (spaces.Box(0, 255, (64, 64, 3), np.uint8), "put an encoder before it"),
            (spaces.Discrete(5), "wrap the environment in gymnasium.wrappers.FlattenObservation"),
            (spaces.Dict({"a": OBS}), "FlattenObservation"),
        ],
    )
    def test_observations_that_no_model_takes_are_refused_with_the_way_out(self, space, said):
        with pytest.raises(ValueError, match=said):
            Ensemble(space, BOX)

    def test_rows_that_cannot_be_fitted_are_refused_before_anything_is_learned(self):
        transitions, reward = LinearGaussian().rows(100)
        model = world()
        with pytest.raises(ValueError, match="at least 50 transitions to fit, but was given 20"):
            model.fit(transitions.rows(slice(20)), reward[:20])
        with pytest.raises(ValueError, match="learns the reward, but was given none"):
            model.fit(transitions)
        with pytest.raises(ValueError, match="one reward for each of 100"):
            model.fit(transitions, reward[:5])
        with pytest.raises(ValueError, match="make it with the spaces of this task"):
            model.fit(transitions._replace(obs=torch.zeros(100, 3), next_obs=torch.zeros(100, 3)), reward)
        with pytest.raises(ValueError, match="rewards that are NaN or infinite"):
            model.fit(transitions, reward * torch.nan)
        assert model.fits == 0

    def test_a_member_that_became_nan_is_named_with_its_step(self):
        model = world()
        with torch.no_grad():
            model.network[0].weight[1] = torch.nan
        with pytest.raises(FloatingPointError, match="member 1 of Ensemble has a loss of nan at step 50"):
            model.fit(*LinearGaussian().rows(200), max_steps=100)

    @pytest.mark.parametrize("kwargs", [{"members": 0}, {"hidden": (0,)}, {"learning_rate": -1.0}, {"targets": "both"}])
    def test_values_that_cannot_be_name_their_keyword(self, kwargs):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            world(**kwargs)


def test_the_noise_that_the_central_nine_tenths_leave_is_that_of_a_normal_variable():
    normal = torch.distributions.Normal(0.0, 1.0)
    cut = normal.icdf(torch.tensor(0.95, dtype=torch.float64))
    kept = 0.9 - 2 * cut * normal.log_prob(cut).exp()  # ∫ x² φ(x) dx over the central 90 %
    assert float(kept / 0.9) == pytest.approx(ensemble.LEAST_NINE_TENTHS, abs=1e-5)
