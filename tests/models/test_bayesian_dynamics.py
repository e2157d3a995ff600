from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from genrl.models.bayesian_dynamics import BayesianDynamics
from genrl.models.ensemble import Ensemble
from genrl.worlds import Curiosity, DreamVecEnv
from tests.worlds.analytic import BOX, OBS, LinearGaussian


@pytest.fixture(scope="module")
def fitted():
    model = BayesianDynamics(OBS, BOX, hidden=(32,))
    return model, model.fit(*LinearGaussian(std=0.05).rows(1500), max_steps=1500)


def test_it_learns_the_mean_the_noise_and_the_reward(fitted) -> None:
    model, report = fitted
    exact, reward = LinearGaussian(std=0.05).rows(500, seed=9)
    with torch.no_grad():
        said = model.predict(exact.obs, exact.action)
    mean = LinearGaussian().predict(exact.obs, exact.action).mean[0]
    assert (said.mean.mean(0) - mean).square().mean().sqrt() < 0.03
    assert said.std.mean() == pytest.approx(0.05, rel=0.3)
    assert 1 - (said.reward.mean(0) - reward).square().mean() / reward.var() > 0.95
    assert report.rows + report.held_out_rows == 1500


def test_a_member_is_a_network_with_weights_drawn_from_the_posterior(fitted) -> None:
    model, _ = fitted
    weights = model.network.mean + torch.nn.functional.softplus(model.network.rho) * model.draws[2]
    (w1, _, b1, _), (w2, _, b2, _) = model.network._by_layer(weights, weights)
    inputs = torch.randn(4, 3)
    torch.testing.assert_close(model._means(inputs)[2], torch.relu(inputs @ w1 + b1) @ w2 + b2)


def test_what_was_never_seen_has_more_to_tell(fitted) -> None:
    model, _ = fitted
    action = torch.zeros(100, 1)
    assert model.uncertainty(torch.full((100, 2), 5.0), action).mean() > 3 * model.uncertainty(torch.zeros(100, 2), action).mean()


def test_uncertainty_is_the_information_that_the_spread_of_networks_has_about_the_next_state_alone(fitted) -> None:
    model, _ = fitted
    obs, action = torch.rand(5, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(5, 1)
    many = deepcopy(model)
    many.members = 20_000
    many.draws = torch.randn(many.members, model.draws.shape[1], generator=torch.Generator().manual_seed(0))
    for layer, noise in enumerate(many.network.noise(20_000, 1, many.generator)):
        setattr(many, f"noise_{layer}", noise)
    with torch.no_grad():
        outputs = many._means(many._inputs(obs, action))[..., :2]
    expected = 0.5 * (outputs.var(0) / model.network.likelihood_std[:2].square()).log1p().sum(-1)
    torch.testing.assert_close(many.uncertainty(obs, action), expected, rtol=0.05, atol=0)


def test_it_depends_on_the_row_alone(fitted) -> None:
    model, _ = fitted
    obs, action = torch.randn(6, 2), torch.rand(6, 1)
    torch.testing.assert_close(model.uncertainty(obs, action)[3:4], model.uncertainty(obs[3:4], action[3:4]))


@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_one_member_knows_no_uncertainty(kind) -> None:
    model = kind(OBS, BOX, members=1, hidden=(8,))
    assert (model.uncertainty(torch.randn(5, 2), torch.rand(5, 1)) == 0).all()


@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_the_bonus_on_real_steps_is_the_uncertainty_in_the_dream(kind) -> None:
    transitions, reward = LinearGaussian(std=0.05).rows(300)
    model = kind(OBS, BOX, hidden=(8,))
    model.fit(transitions, reward, max_steps=100)
    bonus = Curiosity(model)(transitions.rows(slice(4)))
    assert (bonus > 0).all()
    explored, plain = [], []
    for eta, rewards in ((3.0, explored), (0.0, plain)):
        dream = DreamVecEnv(model, transitions, 4, 5, eta=eta, seed=1)
        dream.reset()
        dream._obs = transitions.obs[:4].clone()
        rewards.append(torch.as_tensor(dream.step(transitions.action[:4].numpy())[1]))
    torch.testing.assert_close(explored[0] - plain[0], 3.0 * bonus, rtol=1e-3, atol=1e-5)
    assert Curiosity(model).update(None) == {}


def test_fitting_repeats_bit_for_bit_and_a_restored_model_goes_on() -> None:
    rows = LinearGaussian(std=0.05).rows(300)

    def model(seed=0):
        return BayesianDynamics(OBS, BOX, hidden=(8,), seed=seed)

    first, second, restored = model(), model(), model(seed=3)
    for each in (first, second):
        each.fit(*rows, max_steps=200)
    assert torch.equal(first.network.mean, second.network.mean)
    restored.load_state_dict(first.state_dict())
    for each in (first, restored):
        each.fit(*rows, max_steps=100)
    assert torch.equal(first.network.rho, restored.network.rho)


def test_ends_are_learned() -> None:
    transitions, reward = LinearGaussian().rows(2000)
    ends = transitions.next_obs[:, 0] > 0.5
    model = BayesianDynamics(OBS, BOX, hidden=(64,))
    model.fit(transitions._replace(terminated=ends), reward, max_steps=1500)
    said = model.predict(transitions.obs, transitions.action).continuation.mean(0) < 0.5
    assert (said == ends).double().mean() > 0.95
