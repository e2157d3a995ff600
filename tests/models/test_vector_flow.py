"""Flows of vectors: densities that integrate to one, in the units of the data, and what they make is undone."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from genrl.models.vector_flow import VectorFlow

pytestmark = pytest.mark.usefixtures("double")

KINDS = ["spline", "affine"]


def flow_of(features: int, kind: str, context: int = 0) -> VectorFlow:
    flow = VectorFlow(features, context=context, kind=kind, transforms=2, hidden=(8,))
    flow.standardise(torch.randn(1000, features) * 2 + 3)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("kind", KINDS)
class TestDensity:
    @torch.no_grad()
    def test_it_integrates_to_one_in_the_units_of_the_data(self, kind):
        axis = torch.linspace(-25, 30, 1101)
        x = torch.cartesian_prod(axis, axis)
        mass = flow_of(2, kind).log_prob(x).exp().sum() * (axis[1] - axis[0]) ** 2
        assert mass.item() == pytest.approx(1, abs=2e-3)

    def test_it_is_that_of_the_noise_times_the_volume(self, kind):
        flow, x = flow_of(3, kind), torch.randn(1, 3) + 3
        matrix = torch.autograd.functional.jacobian(lambda flat: flow.encode(flat[None])[0], x[0])
        expected = Normal(0, 1).log_prob(flow.encode(x)).sum() + matrix.slogdet().logabsdet
        assert flow.log_prob(x).item() == pytest.approx(expected.item(), abs=1e-8)

    def test_what_it_makes_is_undone(self, kind):
        flow, x = flow_of(3, kind), torch.randn(20, 3) * 2 + 3
        torch.testing.assert_close(flow.decode(flow.encode(x)), x, rtol=0, atol=1e-5)

    def test_a_context_matters_and_every_parameter_takes_a_gradient(self, kind):
        flow = flow_of(2, kind, context=1)
        x = torch.randn(50, 2)
        assert not torch.allclose(flow.log_prob(x, torch.zeros(50, 1)), flow.log_prob(x, torch.ones(50, 1)))
        flow.loss(x, torch.randn(50, 1)).backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


def test_it_learns_a_scale_mixture_better_than_a_gaussian():
    torch.manual_seed(0)
    x = torch.randn(1500, 1) * torch.where(torch.rand(1500, 1) < 0.5, 0.1, 5.0)
    flow = VectorFlow(1, transforms=2, hidden=(16,)).standardise(x)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        flow.loss(x).backward()
        optimizer.step()
    gaussian = -Normal(x.mean(), x.std()).log_prob(x).mean()
    assert flow.loss(x) < gaussian - 0.5


def test_a_constant_feature_keeps_its_unit():
    flow = VectorFlow(2, hidden=(8,)).standardise(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert flow.std[1] == 1 and flow.mean.tolist() == [2, 7]


def test_a_constant_feature_keeps_its_unit_where_rounding_gives_it_a_spread():
    x = torch.full((1000, 1), 0.1)
    assert x.std(0) > 0
    assert VectorFlow(1).standardise(x).std == 1
    assert VectorFlow(1).standardise(x[:1]).std == 1


def test_doubles_are_taken_by_a_flow_of_singles():
    flow, x, context = VectorFlow(2, context=1, hidden=(8,)).float(), torch.randn(5, 2), torch.randn(5, 1)
    assert x.dtype == torch.float64
    expected = flow.standardise(x.float()).log_prob(x.float(), context.float())
    torch.testing.assert_close(flow.standardise(x).log_prob(x, context), expected)
    assert flow.decode(flow.encode(x, context), context).dtype == torch.float32


@pytest.mark.parametrize(("values", "sentence"), [({"features": 0}, "features to be at least 1"), ({"kind": "other"}, "spline or affine")])
def test_values_out_of_range_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        VectorFlow(**{"features": 2, **values})


@pytest.mark.parametrize(("size", "given"), [(0, 2), (2, 0), (2, 3)])
def test_another_context_is_refused(size, given):
    flow, context = VectorFlow(3, context=size, hidden=(4,)), torch.zeros(5, given) if given else None
    for call in (
        lambda: flow.log_prob(torch.zeros(5, 3), context),
        lambda: flow.sample(2, context),
        lambda: flow.decode(torch.zeros(5, 3), context),
    ):
        with pytest.raises(ValueError, match=f"has a context of {size} numbers, but was given {given}"):
            call()


def test_vectors_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"vectors of shape \(batch, 2\), but was given \(5, 3\)"):
        flow_of(2, "affine").log_prob(torch.zeros(5, 3))
