from __future__ import annotations

import torch

from genrl.models.nn import ensemble_mlp
from genrl.models.regression import Standardizer, regress


class TestStandardizer:
    def test_rows_are_standard_deviations_from_the_mean_and_clipped(self):
        scale = Standardizer(1, 1, clip=2.0)
        scale.update(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [3.0]]))  # means 2 and 2, standard deviations 2 and 1
        torch.testing.assert_close(scale.inputs(torch.tensor([[5.0]]), torch.tensor([[0.0]])), torch.tensor([[1.5, -2.0]]))
        torch.testing.assert_close(scale.change(torch.tensor([[5.0]]), torch.tensor([[90.0]])), torch.tensor([[0.5]]))


class TestRegress:
    def test_a_member_takes_the_step_of_its_own_rows_alone(self):
        torch.manual_seed(0)
        network = ensemble_mlp(2, [1, 1])
        (layer,) = network
        with torch.no_grad():
            layer.weight.zero_()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.25)
        inputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])
        loss = regress(network, optimizer, inputs, targets, [torch.tensor([[0], [1]])], members=2)
        assert loss == (3.0**2 + 5.0**2) / 2
        # d/dw (y − w x)² = −2 x y at w = 0: 6 and 20, a quarter of them; the bias has −2 y.
        torch.testing.assert_close(layer.weight.flatten(), torch.tensor([1.5, 5.0]))
        torch.testing.assert_close(layer.bias.flatten(), torch.tensor([1.5, 2.5]))
