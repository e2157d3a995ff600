"""Autoregressive networks and flows: causal, invertible, and with the volume that autograd finds."""

from __future__ import annotations

import pytest
import torch

from genrl.models.flows import AutoregressiveNet, InverseAutoregressiveFlow, MaskedLinear

pytestmark = pytest.mark.usefixtures("double")


def jacobian(function, x):
    return torch.autograd.functional.jacobian(function, x)


class TestAutoregressiveNet:
    @pytest.mark.parametrize("hidden", [(16,), (16, 12), (3,)])
    @pytest.mark.parametrize("reverse", [False, True])
    def test_an_output_sees_exactly_the_inputs_before_it(self, hidden, reverse):
        net = AutoregressiveNet(5, 2, hidden, outputs=3, reverse=reverse)
        reached = jacobian(lambda z: net(z[None], torch.randn(1, 2))[0], torch.randn(5)).abs().sum(0) > 0  # (output, input)
        before = torch.ones(5, 5).tril(-1).bool()
        wanted = before.flip(0, 1) if reverse else before
        assert not (reached & ~wanted).any()
        if min(hidden) > 4:
            assert torch.equal(reached, wanted)

    def test_every_output_sees_the_context(self):
        net = AutoregressiveNet(4, 3, (16,))
        reached = jacobian(lambda c: net(torch.zeros(1, 4), c[None])[0], torch.randn(3)).abs().sum(2)
        assert (reached[:, 1:] > 0).all()

    def test_the_mask_holds_whatever_an_optimiser_does(self):
        layer = MaskedLinear(torch.tensor([[1, 0], [1, 1]]))
        with torch.no_grad():
            layer.weight.fill_(7.0)
        assert jacobian(layer, torch.randn(2))[0, 1] == 0


class TestInverseAutoregressiveFlow:
    flow_of = staticmethod(lambda steps=3: InverseAutoregressiveFlow(4, 3, steps, (16,)))

    def stirred(self):
        """A flow far from the identity."""
        flow = self.flow_of()
        flow.SCALE = 0.7
        return flow

    def test_the_density_it_gains_is_the_volume_of_its_jacobian(self):
        flow, z, context = self.stirred(), torch.randn(4), torch.randn(1, 3)
        matrix = jacobian(lambda z: flow(z[None], context)[0][0], z)
        assert flow(z[None], context)[1].sum().item() == pytest.approx(-matrix.slogdet().logabsdet.item(), abs=1e-12)

    def test_the_inverse_undoes_it(self):
        flow, z, context = self.stirred(), torch.randn(6, 4), torch.randn(6, 3)
        torch.testing.assert_close(flow.inverse(flow(z, context)[0], context), z, rtol=0, atol=1e-10)

    def test_a_fresh_one_is_nearly_the_identity(self):
        flow, z, context = self.flow_of(2), torch.randn(50, 4), torch.randn(50, 3)
        assert (flow(z, context)[0] - z).abs().mean() < 0.1

    def test_every_parameter_takes_a_gradient(self):
        flow = self.flow_of()
        z, gained = flow(torch.randn(20, 4), torch.randn(20, 3))
        (z.square().sum() + gained.sum()).backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in flow.parameters())
