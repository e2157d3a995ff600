"""RealNVP: invertible, with the volume that autograd finds, and a density that integrates to one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genrl.generation.probe import LinearProbe
from genrl.models.base import load_model, save_model
from genrl.models.capabilities import Decoder, Encoder
from genrl.models.latents import walk
from genrl.models.realnvp import AffineCoupling, RealNVP, dequantize_to_logits, squeeze, unsqueeze

pytestmark = pytest.mark.usefixtures("double")


def stirred(module: nn.Module) -> nn.Module:
    """Far from the identity that it begins as; in evaluation mode, in which a batch is no more than its images."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def flow_of(shape=(1, 4, 4), scales: int = 2, **changes) -> RealNVP:
    return stirred(RealNVP(shape, scales=scales, width=3, **changes))


def test_a_squeeze_is_undone():
    x = torch.randn(2, 3, 4, 6)
    assert squeeze(x).shape == (2, 12, 2, 3)
    assert torch.equal(unsqueeze(squeeze(x)), x)
    assert squeeze(torch.arange(4.0).view(1, 1, 2, 2)).flatten().tolist() == [0, 1, 2, 3]


def test_a_coupling_leaves_what_its_mask_covers():
    mask = torch.tensor([[[1, 0], [0, 1]]])
    coupling, x = stirred(AffineCoupling(mask, 3)), torch.randn(5, 1, 2, 2)
    y, _ = coupling(x)
    assert torch.equal(y * mask, x * mask)
    assert ((y - x)[:, mask == 0].abs() > 1e-6).all()


@pytest.mark.parametrize(("shape", "scales"), [((1, 4, 4), 1), ((1, 4, 4), 2), ((2, 8, 4), 3)])
class TestTheFlow:
    def test_the_inverse_undoes_it(self, shape, scales):
        flow, y = flow_of(shape, scales), torch.randn(6, *shape)
        torch.testing.assert_close(flow.inverse(flow(y)[0]), y, rtol=0, atol=1e-9)

    def test_the_volume_is_that_of_its_jacobian(self, shape, scales):
        flow, y = flow_of(shape, scales), torch.randn(shape)

        def noise(flat):
            return torch.cat([z.flatten() for z in flow(flat.view(1, *shape))[0]])

        matrix = torch.autograd.functional.jacobian(noise, y.flatten())
        assert flow(y[None])[1].item() == pytest.approx(matrix.slogdet().logabsdet.item(), abs=1e-9)

    def test_every_parameter_takes_a_gradient(self, shape, scales):
        flow = flow_of(shape, scales, dequantization="variational")
        flow.loss(torch.randint(256, (16, *shape)) / 255).backward()
        assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in flow.parameters())


def test_couplings_of_a_fitted_flow_in_single_precision_add_no_rounding():
    flow, y = flow_of((1, 8, 8)).float().eval(), torch.randn(6, 1, 8, 8, dtype=torch.float64)
    noise, volume = flow(y)
    assert volume.dtype == torch.float64 and (flow.inverse(noise) - y).abs().max() < 1e-12
    single = flow(y.float())
    assert single[1].dtype == single[0][0].dtype == flow.inverse(single[0]).dtype == torch.float32


def test_shifts_are_not_rounded_to_half_the_bits():
    coupling, x = stirred(AffineCoupling(torch.tensor([[[1, 0], [0, 1]]]), 3)).float(), torch.randn(5, 1, 2, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        s, t = coupling._scale_and_shift(x)
    assert (t != t.bfloat16()).any() and (s != s.bfloat16()).any()


def test_a_fresh_flow_is_the_identity():
    flow, y = RealNVP((1, 4, 4), width=3), torch.randn(2, 1, 4, 4)
    assert flow(y)[1].abs().max() == 0
    assert sum(z.sum() for z in flow(y)[0]).item() == pytest.approx(y.sum().item())


def test_the_density_integrates_to_one():
    flow = flow_of((1, 2, 1), 1)
    axis = torch.linspace(-12, 12, 481)
    y = torch.cartesian_prod(axis, axis).view(-1, 1, 2, 1)
    mass = flow.log_density(y).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-4)


def test_probabilities_of_levels_sum_to_at_most_one():
    """The bound of each level is below its probability, which is an integral over the level's share of the line."""
    flow = flow_of((1, 1, 2), 1)
    flow.levels = 3
    levels = torch.cartesian_prod(*[torch.arange(3) / 2] * 2).view(-1, 1, 1, 2)
    noise = (torch.cartesian_prod(*[torch.arange(40)] * 2) + 0.5) / 40
    bound, exact = [], []
    for level in levels:
        y, volume = dequantize_to_logits(level.expand(1600, 1, 1, 2), noise.view(-1, 1, 1, 2), 3, flow.ALPHA)
        log_p = flow.log_density(y) + volume
        bound.append(log_p.mean().detach())
        exact.append(log_p.logsumexp(0).detach() - torch.log(torch.tensor(1600.0)))
    assert (torch.stack(bound) <= torch.stack(exact) + 1e-12).all()
    assert 0.2 < torch.stack(exact).exp().sum().item() < 1  # the rest lies beyond the outermost levels


def test_learned_noise_has_the_density_that_it_says():
    """The mean of 1 / q over draws of q is the length of the line, 1, and so for any part of it."""
    flow = flow_of((1, 1, 1), 1, dequantization="variational")
    with torch.no_grad():
        u, log_q = flow.noise(torch.full((200_000, 1, 1, 1), 0.3))
    weights, u = (-log_q).exp(), u.flatten()
    assert (u.min() > 0) and (u.max() < 1)
    for low, high in ((0.1, 0.9), (0.2, 0.4), (0.5, 0.8)):
        assert (weights * ((u > low) & (u < high))).mean().item() == pytest.approx(high - low, abs=0.01)


def test_the_bound_of_learned_noise_is_one():
    """Importance weights of the learned noise give the probability that uniform noise gives, and their mean logarithm is below it."""
    flow = flow_of((1, 1, 2), 1, dequantization="variational")
    x = torch.full((60_000, 1, 1, 2), 0.3 * 255 // 1 / 255)
    learned = flow.log_prob(x).detach()
    some = flow.log_prob(x[:3000], samples=30).detach().mean()
    flow.noise = None
    uniform = flow.log_prob(x).detach()
    exact = torch.logsumexp(uniform, 0) - torch.tensor(60_000.0).log()
    assert (torch.logsumexp(learned, 0) - torch.tensor(60_000.0).log()).item() == pytest.approx(exact.item(), abs=0.02)
    assert learned.mean() < some < exact + 1e-3


def test_dequantised_levels_lie_in_their_own_parts():
    x = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1)
    for noise in (0.0, 0.999):
        y, _ = dequantize_to_logits(x, torch.full_like(x, noise), 3, 0.05)
        unit = (y.sigmoid() - 0.05) / 0.9
        assert (unit * 3).floor().flatten().tolist() == [0, 1, 2]


def test_refuses_what_is_no_level():
    flow = RealNVP((1, 4, 4), levels=4, width=3)
    with pytest.raises(ValueError, match="RealNVP models 4 equally spaced levels"):
        flow.log_prob(torch.full((2, 1, 4, 4), 0.5))


def test_samples_are_levels_and_noise_of_an_image_gives_it_back():
    flow = flow_of()
    drawn = flow.sample(5)
    assert drawn.shape == (5, 1, 4, 4)
    torch.testing.assert_close(drawn * 255, (drawn * 255).round())
    x = torch.randint(256, (3, 1, 4, 4)) / 255
    y, _ = dequantize_to_logits(x, torch.full_like(x, 0.5))
    back = ((flow.inverse(flow(y)[0]).sigmoid() - flow.ALPHA) / (1 - 2 * flow.ALPHA) * 256).floor() / 255
    torch.testing.assert_close(back, x)


def images(n: int, shape=(1, 4, 4), levels: int = 256) -> torch.Tensor:
    return torch.randint(levels, (n, *shape)) / (levels - 1)


class TestCodes:
    @pytest.mark.parametrize(("shape", "scales", "levels"), [((1, 4, 4), 1, 256), ((1, 8, 8), 2, 5), ((3, 8, 4), 3, 256)])
    def test_of_images_are_decoded_to_the_same_images(self, shape, scales, levels):
        flow, x = flow_of(shape, scales, levels=levels), images(5, shape, levels)
        z = flow.encode(x)
        assert z.shape == (5, x[0].numel())
        assert torch.equal(flow.decode(z), x)

    def test_of_drawn_images_are_decoded_to_them_again(self):
        flow = flow_of((3, 8, 8))
        x = flow.decode(torch.randn(4, 192))
        assert torch.equal(flow.decode(flow.encode(x)), x)

    def test_are_the_noise_that_their_density_is_of(self):
        flow, x = flow_of((1, 8, 8)), images(3, (1, 8, 8))
        y, _ = dequantize_to_logits(x, torch.full_like(x, 0.5))
        volume = flow(y)[1]
        normal = torch.distributions.Normal(0, 1).log_prob(flow.encode(x)).sum(1)
        torch.testing.assert_close(flow.log_density(y), normal + volume)

    def test_drawn_of_the_prior_are_decoded_to_samples(self):
        flow = flow_of((1, 8, 8))
        torch.manual_seed(3)
        drawn = flow.sample(4, temperature=0.7)
        torch.manual_seed(3)
        noise = [torch.randn(4, *shape).flatten(1) for shape in flow._noise_shapes()]
        assert torch.equal(flow.decode(0.7 * torch.cat(noise, dim=1)), drawn)

    def test_of_a_saved_model_in_single_precision_are_as_exact(self, tmp_path):
        torch.set_default_dtype(torch.float32)
        flow, x = flow_of((3, 8, 8)), images(20, (3, 8, 8))
        save_model(tmp_path / "model.safetensors", flow)
        back = load_model(tmp_path / "model.safetensors")
        assert isinstance(back, RealNVP) and isinstance(back, Encoder) and isinstance(back, Decoder)
        assert torch.equal(back.encode(x), flow.encode(x)) and back.encode(x).dtype == torch.float32
        assert torch.equal(back.decode(flow.encode(x)), x)

    def test_do_not_depend_on_the_mode_and_leave_the_model_as_it_is(self):
        flow, x = flow_of(), images(6)
        z = flow.encode(x)
        before = {name: value.clone() for name, value in flow.train().state_dict().items()}
        assert torch.equal(flow.encode(x), z) and torch.equal(flow.decode(z), x)
        assert flow.training and all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())

    def test_are_walked_between(self):
        flow, x = flow_of(), images(6)
        for spherical in (False, True):
            path = walk(*flow.encode(x).split(3), 5, spherical=spherical)
            made = flow.decode(path.flatten(0, 1)).unflatten(0, (5, 3))
            assert torch.equal(made[0], x[:3]) and torch.equal(made[-1], x[3:])
            assert made.min() >= 0 and made.max() <= 1

    def test_tell_dark_images_from_bright_ones(self):
        flow, labels = flow_of(), torch.arange(40) % 2
        x = (images(40) / 2 * 255).floor() / 255 + labels.view(-1, 1, 1, 1) * 127 / 255
        assert LinearProbe(flow.encode(x).detach()[:20], labels[:20]).accuracy(flow.encode(x)[20:], labels[20:]) == 1

    def test_of_other_images_or_of_another_size_are_refused(self):
        flow = flow_of(levels=4)
        with pytest.raises(ValueError, match=r"images of shape \(1, 4, 4\), but was given \(2, 1, 4, 5\)"):
            flow.encode(torch.zeros(2, 1, 4, 5))
        with pytest.raises(ValueError, match="RealNVP models 4 equally spaced levels"):
            flow.encode(torch.full((2, 1, 4, 4), 0.5))
        for z in (torch.zeros(2, 15), torch.zeros(2, 1, 4, 4)):
            with pytest.raises(ValueError, match=r"RealNVP decodes noise of shape \(batch, 16\), but was given \(2, "):
                flow.decode(z)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_shape": (1, 6, 6), "scales": 3}, "sizes divisible by 4"),
        ({"image_shape": (1, 4, 4), "scales": 0}, "scales to be at least 1"),
        ({"image_shape": (1, 4, 4), "levels": 1}, "levels to be at least 2"),
        ({"image_shape": (1, 4, 4), "dequantization": "none"}, "uniform or variational"),
    ],
)
def test_values_out_of_range_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        RealNVP(**values)


@pytest.mark.parametrize(("shape", "scales"), [((1, 4, 4), 1), ((1, 8, 8), 2), ((3, 8, 4), 3)])
def test_drawing_leaves_the_model_as_it_is(shape, scales):
    flow = RealNVP(shape, scales=scales, width=3)
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    assert flow.sample(2).shape == (2, *shape)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())
    assert [tuple(z.shape[1:]) for z in flow.eval()(torch.zeros(1, *shape))[0]] == flow._noise_shapes()
