"""The Bayesian network and the information gain, against autograd, the exact KL divergence and brute force."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.models.bayesian import BayesianNetwork
from genrl.models.information_gain import Layer, expected_information_gain, information_gain


def float64_network(sizes: tuple[int, ...] = (5, 7, 6, 3), seed: int = 0) -> BayesianNetwork:
    torch.manual_seed(seed)
    network = BayesianNetwork(sizes[0], sizes[-1], sizes[1:-1], likelihood_std=0.7, prior_std=0.5, initial_std=0.3).double()
    network.likelihood_std.fill_(0.7)  # to float64's precision
    return network


def data(network: BayesianNetwork, batch: int = 8, n_draws: int = 4) -> tuple[Tensor, Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(batch, network.sizes[0], generator=generator, dtype=torch.float64)
    targets = torch.randn(batch, network.sizes[-1], generator=generator, dtype=torch.float64)
    return inputs, targets, [noise.double() for noise in network.noise(n_draws, batch, generator)]


def brute_force_gain(network: BayesianNetwork, inputs: Tensor, targets: Tensor, noise: list[Tensor], step_size: float) -> Tensor:
    """The gain by its definition: one autograd call a transition."""
    gains = []
    for row in range(len(inputs)):
        network.zero_grad()
        network.loss(inputs[row : row + 1], targets[row : row + 1], [n[:, row : row + 1] for n in noise], kl_weight=0).backward()
        mean, rho, variance = network.mean, network.rho, F.softplus(network.rho).square()
        total = (variance * (mean.grad.square() + rho.grad.square() / (2 * rho.sigmoid().square()))).sum()
        gains.append(0.5 * step_size**2 * total.detach())
    return torch.stack(gains)


class TestInformationGain:
    @pytest.mark.shared
    @pytest.mark.parametrize(("prefix", "n_layers"), [("a_", 2), ("b_", 3)])
    def test_it_equals_the_reference_values(self, shared, prefix, n_layers):
        with np.load(shared / "reference" / "vime_information_gain.npz", allow_pickle=False) as file:
            values = {key.removeprefix(prefix): torch.as_tensor(file[key]) for key in file if key.startswith(prefix)}
        fields = ("weight_mean", "weight_rho", "bias_mean", "bias_rho")
        layers: list[Layer] = [tuple(values[f"layer{i}_{field}"] for field in fields) for i in range(n_layers)]
        gain = information_gain(
            layers,
            values["inputs"],
            values["targets"],
            [values[f"layer{i}_noise"] for i in range(n_layers)],
            float(values["likelihood_std"]),
            float(values["step_size"]),
        )
        torch.testing.assert_close(gain, values["information_gain"], rtol=1e-10, atol=0)
        torch.testing.assert_close(gain, values["exact_kl"], rtol=0.25, atol=0)

    @pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 3), (5, 7, 6, 3), (2, 4, 4, 4, 1)])
    @pytest.mark.parametrize("n_draws", [1, 4])
    def test_it_equals_autograd_for_any_depth(self, sizes, n_draws):
        network = float64_network(sizes)
        inputs, targets, noise = data(network, n_draws=n_draws)
        expected = brute_force_gain(network, inputs, targets, noise, step_size=0.1)
        torch.testing.assert_close(information_gain(network.layers, inputs, targets, noise, 0.7, 0.1), expected, rtol=1e-12, atol=0)

    def test_it_is_the_kl_of_a_natural_gradient_step_to_second_order(self):
        """KL(q(θ; φ − λ F⁻¹ g) ‖ q(θ; φ)) with the diagonal Fisher 1/σ² for means and 2/σ² for standard deviations."""
        network = float64_network((3, 4, 2))
        inputs, targets, noise = data(network, batch=1)
        network.loss(inputs, targets, noise, kl_weight=0).backward()
        step_size, mean, rho, std = 1e-4, network.mean, network.rho, F.softplus(network.rho)
        new_mean = mean - step_size * std.square() * mean.grad
        new_std = std - step_size * std.square() / 2 * rho.grad / rho.sigmoid()
        exact = float((((std / new_std).log() + (new_std.square() + (new_mean - mean).square()) / (2 * std.square()) - 0.5).sum()).detach())
        gain = information_gain(network.layers, inputs, targets, noise, 0.7, step_size)
        assert float(gain) == pytest.approx(exact, rel=1e-3)

    def test_a_hand_computed_weight(self):
        """One weight of mean 2, σ = ln 2 (ρ = 0), no noise: δ = 2·3 − 1 = 5, gradient 15; the bias has gradient 5. No τ without noise."""
        one = torch.ones(1, 1, dtype=torch.float64)
        layer = (2 * one, 0 * one, 0 * one[0], 0 * one[0])
        gain = information_gain([layer], 3 * one, one, [torch.zeros(1, 1, 1, dtype=torch.float64)], likelihood_std=1.0, step_size=0.1)
        assert float(gain) == pytest.approx(0.5 * 0.01 * np.log(2) ** 2 * (15**2 + 5**2), rel=1e-12)

    def test_each_output_can_have_a_likelihood_of_its_own(self):
        network = float64_network()
        network.likelihood_std.copy_(torch.tensor([0.3, 1.0, 2.5]))
        inputs, targets, noise = data(network)
        expected = brute_force_gain(network, inputs, targets, noise, step_size=0.1)
        gain = information_gain(network.layers, inputs, targets, noise, network.likelihood_std, 0.1)
        torch.testing.assert_close(gain, expected, rtol=1e-12, atol=0)

    def test_a_row_does_not_depend_on_the_others(self):
        network = float64_network()
        inputs, targets, noise = data(network)
        whole = information_gain(network.layers, inputs, targets, noise, 0.7, 0.1)
        alone = information_gain(network.layers, inputs[3:4], targets[3:4], [n[:, 3:4] for n in noise], 0.7, 0.1)
        torch.testing.assert_close(whole[3:4], alone, rtol=1e-13, atol=0)


class TestBayesianNetwork:
    @pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 6, 3)])
    @pytest.mark.parametrize("kl_weight", [0.0, 0.3])
    def test_the_written_out_gradient_is_autograds(self, sizes, kl_weight):
        network = float64_network(sizes)
        inputs, targets, noise = data(network)
        network.loss(inputs, targets, noise, kl_weight).backward()
        expected = [parameter.grad.clone() for parameter in network.parameters()]
        likelihood = network.loss_and_grad(inputs, targets, noise, kl_weight)
        for parameter, gradient in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-11, atol=1e-14)
            assert (parameter.grad != 0).any()
        torch.testing.assert_close(likelihood, network.loss(inputs, targets, noise, 0.0), rtol=1e-12, atol=0)

    def test_the_kl_is_torchs(self):
        network = float64_network()
        prior = torch.distributions.Normal(0.0, 0.5)
        posterior = torch.distributions.Normal(network.mean, F.softplus(network.rho))
        expected = torch.distributions.kl_divergence(posterior, prior).sum()
        torch.testing.assert_close(network.kl(), expected, rtol=1e-12, atol=0)

    def test_sampled_activations_have_the_moments_of_sampled_weights(self):
        network = float64_network((4, 3))
        inputs = torch.ones(1, 4, dtype=torch.float64)
        outputs = network.predict(inputs, [n.double() for n in network.noise(20_000, 1, torch.Generator().manual_seed(0))])[:, 0]
        (weight_mean, weight_rho, bias_mean, bias_rho) = network.layers[0]
        weights = weight_mean + F.softplus(weight_rho) * torch.randn(
            20_000, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        biases = bias_mean + F.softplus(bias_rho) * torch.randn(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        direct = weights.sum(1) + biases
        torch.testing.assert_close(outputs.mean(0), direct.mean(0), atol=0.03, rtol=0)
        torch.testing.assert_close(outputs.std(0), direct.std(0), atol=0.02, rtol=0)

    def test_the_initial_std_is_what_was_asked(self):
        network = BayesianNetwork(3, 2, initial_std=0.13)
        torch.testing.assert_close(F.softplus(network.rho), torch.full_like(network.rho, 0.13))

    def test_without_noise_it_is_the_mean_network(self):
        network = float64_network()
        inputs, _, noise = data(network)
        torch.testing.assert_close(network.predict(inputs), network.predict(inputs, [0 * n for n in noise])[0])

    def test_its_distribution_is_the_likelihood_of_the_loss(self):
        network = float64_network()
        inputs, targets, noise = data(network)
        expected = network.loss(inputs, targets, noise, kl_weight=0) + 3 * (np.log(0.7) + 0.5 * np.log(2 * np.pi))
        torch.testing.assert_close(-network(inputs, noise).log_prob(targets).mean(), expected)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"hidden": (0,)}, "at least 1"), ({"likelihood_std": 0.0}, "likelihood_std"), ({"prior_std": -1.0}, "prior_std")],
    )
    def test_impossible_sizes_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            BayesianNetwork(3, 2, **arguments)

    def test_layer_shapes(self):
        network = BayesianNetwork(3, 2, (8, 4))
        shapes = [tuple(tuple(tensor.shape) for tensor in layer) for layer in network.layers]
        assert shapes == [((i, o), (i, o), (o,), (o,)) for i, o in pairwise((3, 8, 4, 2))]


class TestExpectedInformationGain:
    def test_of_one_linear_layer_it_is_that_of_bayesian_regression(self):
        """Weights (σ 1 and 2) and a bias (σ 3) on the input (1, 2) give the variance 1 + 16 + 9 = 26 to each output."""
        std = torch.tensor([[1.0], [2.0]]).expand(2, 2).double()
        rho, bias_rho = std.expm1().log(), torch.full((2,), 3.0).double().expm1().log()
        layer = (torch.randn(2, 2).double(), rho, torch.randn(2).double(), bias_rho)
        likelihood = torch.tensor([1.0, 2.0]).double()
        gain = expected_information_gain([layer], torch.tensor([[1.0, 2.0]]).double(), [torch.zeros(2, 1, 2)], likelihood)
        assert float(gain) == pytest.approx(0.5 * math.log(1 + 26) + 0.5 * math.log(1 + 26 / 4))

    def test_with_a_hidden_layer_the_variance_is_that_of_networks_drawn_from_the_posterior(self):
        network = BayesianNetwork(3, 2, (4,), likelihood_std=1.0, prior_std=0.5, initial_std=0.3).double()
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(5, 3, generator=generator).double()
        noise = [draws.double() for draws in network.noise(20_000, 5, generator)]
        variance = network.predict(inputs, noise).var(0)
        gain = expected_information_gain(network.layers, inputs, noise, 1.0)
        torch.testing.assert_close(gain, 0.5 * variance.log1p().sum(1), rtol=0.03, atol=0.0)

    def test_a_posterior_without_width_has_nothing_to_learn(self):
        network = BayesianNetwork(3, 2, (4,), likelihood_std=0.1, initial_std=1e-6)
        gain = expected_information_gain(network.layers, torch.randn(5, 3), network.noise(10, 5), 0.1)
        assert float(gain.max()) < 1e-6

    def test_it_falls_where_the_network_was_fitted(self):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        network = BayesianNetwork(2, 1, (32,), likelihood_std=0.1, initial_std=0.13)
        seen = torch.randn(512, 2, generator=generator) * torch.tensor([1.0, 0.1])
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        before = expected_information_gain(network.layers, seen, network.noise(10, 512, generator), 0.1).mean()
        network.fit(optimizer, [(seen, seen.sum(1, keepdim=True))] * 300, 1, 1e-3, generator)
        after = expected_information_gain(network.layers, seen, network.noise(10, 512, generator), 0.1).mean()
        away = expected_information_gain(network.layers, seen.flip(1), network.noise(10, 512, generator), 0.1).mean()
        assert after < 0.6 * before
        assert away > 1.1 * after
