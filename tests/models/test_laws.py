"""Laws that hold for any input: inverses, masses that sum to one, and invariances."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genrl.models.flows import InverseAutoregressiveFlow
from genrl.models.latents import walk
from genrl.models.naive_bayes import PixelHistograms
from genrl.models.normalization import RunningMeanStd
from genrl.models.novelty import auroc
from genrl.models.pixels import level_of, log_logistic_mass, mean_logistic, quantized
from genrl.models.realnvp import AffineCoupling, dequantize_to_logits, squeeze, unsqueeze

any_input = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
numbers = st.floats(-20, 20, allow_nan=False)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestInverses:
    @any_input
    @given(seeds, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
    def test_unsqueezing_undoes_squeezing(self, seed, channels, rows, columns):
        x = normal(seed, 2, channels, 2 * rows, 2 * columns)
        assert torch.equal(unsqueeze(squeeze(x)), x)

    @any_input
    @given(seeds, st.integers(1, 3), st.floats(0.1, 5))
    def test_a_coupling_inverts_and_its_volume_is_that_of_autograd(self, seed, channels, size):
        torch.manual_seed(seed)
        coupling = AffineCoupling((normal(seed, channels, 2, 2) > 0).double(), width=4).double().eval()
        for parameter in coupling.parameters():
            parameter.data = 0.5 * torch.randn_like(parameter)
        x = size * normal(seed + 1, 1, channels, 2, 2)
        y, volume = coupling(x)
        torch.testing.assert_close(coupling.inverse(y), x, rtol=1e-9, atol=1e-9)
        jacobian = torch.autograd.functional.jacobian(lambda z: coupling(z)[0], x).view(x.numel(), x.numel())
        torch.testing.assert_close(volume[0], torch.linalg.slogdet(jacobian)[1], rtol=1e-6, atol=1e-9)

    @any_input
    @given(seeds, st.integers(2, 6), st.integers(1, 3))
    def test_a_flow_inverts(self, seed, latent, steps):
        torch.manual_seed(seed)
        flow = InverseAutoregressiveFlow(latent, 3, steps, (8,)).double()
        z, context = normal(seed, 5, latent), normal(seed + 1, 5, 3)
        torch.testing.assert_close(flow.inverse(flow(z, context)[0], context), z, rtol=1e-9, atol=1e-9)

    @any_input
    @given(st.integers(2, 256), seeds)
    def test_levels_come_back_from_their_logits(self, levels, seed):
        generator = torch.Generator().manual_seed(seed)
        level = torch.randint(levels, (4, 1, 3, 3), generator=generator)
        noise = torch.rand(level.shape, generator=generator, dtype=torch.float64) * 0.999
        y, _ = dequantize_to_logits(level.double() / (levels - 1), noise, levels)
        found = ((y.sigmoid() - 0.05) / 0.9 * levels).floor().long()
        assert torch.equal(found, level)


class TestMasses:
    @any_input
    @given(numbers, st.floats(-6, 6), st.integers(2, 256))
    def test_a_logistics_levels_sum_to_one_and_their_mean_is_in_range(self, mean, log_scale, levels):
        x = torch.linspace(-1, 1, levels, dtype=torch.float64)
        mass = log_logistic_mass(x, torch.tensor(mean).double(), torch.tensor(log_scale).double(), levels).exp()
        assert float(mass.sum()) == pytest.approx(1, abs=1e-9)
        exact = float((mass * (x + 1) / 2).sum())
        assert float(mean_logistic(torch.tensor([mean]).double(), torch.tensor([log_scale]).double(), levels)) == pytest.approx(
            exact, abs=1e-9 if levels <= 32 else 1 / levels
        )

    @any_input
    @given(st.integers(2, 32), st.integers(1, 30), seeds)
    def test_a_pixels_histogram_sums_to_one_however_few_images_it_saw(self, levels, n, seed):
        seen = torch.randint(levels, (n, 1, 2, 2), generator=torch.Generator().manual_seed(seed)) / (levels - 1)
        histograms = PixelHistograms([seen], levels)
        torch.testing.assert_close(histograms.log_p.exp().sum(1), torch.ones(4))


class TestInvariances:
    @any_input
    @given(st.integers(2, 256))
    def test_rounding_to_levels_twice_is_rounding_once_and_keeps_order(self, levels):
        x = torch.arange(256) / 255
        once = quantized(x, levels)
        assert torch.equal(level_of(once, levels, "a model"), (once * (levels - 1)).round().long())
        assert (once.diff() >= 0).all()
        assert once[0] == 0
        assert once[-1] == 1

    @any_input
    @given(st.lists(numbers, min_size=1, max_size=20), st.lists(numbers, min_size=1, max_size=20))
    def test_the_area_knows_only_order_and_both_sides_sum_to_one(self, known, new):
        first, second = torch.tensor(known).double(), torch.tensor(new).double()
        assert auroc(first, second) + auroc(second, first) == pytest.approx(1)
        assert auroc(8 * first, 8 * second) == auroc(first, second)

    @any_input
    @given(seeds, st.integers(1, 30), st.integers(1, 30), st.floats(-1e6, 1e6))
    def test_statistics_know_no_batches(self, seed, first, second, place):
        x = normal(seed, first + second, 3) + place
        whole, parts = RunningMeanStd((3,)), RunningMeanStd((3,))
        whole.update(x)
        for part in x.split([first, second]):
            parts.update(part)
        torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-12, atol=1e-9)
        torch.testing.assert_close(parts.var, whole.var, rtol=1e-6, atol=1e-6)

    @any_input
    @given(seeds, st.integers(2, 6), st.booleans())
    def test_a_walk_has_its_ends_and_is_the_same_backwards(self, seed, steps, spherical):
        start, end = normal(seed, 3, 4), normal(seed + 1, 3, 4)
        there, back = walk(start, end, steps, spherical=spherical), walk(end, start, steps, spherical=spherical)
        torch.testing.assert_close(there[[0, -1]], torch.stack([start, end]), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(there, back.flip(0), rtol=1e-6, atol=1e-9)


def test_shapes_that_are_annotated_are_checked_while_tests_run():
    try:
        unsqueeze_of_a_vector = squeeze(torch.zeros(4))
    except jaxtyping.TypeCheckError as error:
        assert "batch channel height width" in str(error)
    else:
        pytest.fail(f"a vector was squeezed to {unsqueeze_of_a_vector.shape}")
