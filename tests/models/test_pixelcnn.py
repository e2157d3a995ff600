"""PixelCNN: causal by gradient, a density over all images, the same samples by columns as by the plain loop."""

from __future__ import annotations

import pytest
import torch

from genrl.models.pixelcnn import MaskedConv2d, PixelCNN

pytestmark = pytest.mark.usefixtures("double")

VARIANTS = [
    {"blocks": "residual"},
    {"blocks": "gated"},
    {"blocks": "residual", "levels": 4},
    {"blocks": "gated", "levels": 5, "mixture": 2},
]


def model_of(shape=(1, 5, 4), **variant) -> PixelCNN:
    return PixelCNN(shape, width=6, depth=2, **variant)


def reached(model: PixelCNN, row: int, column: int) -> torch.Tensor:
    """Which pixels the distribution of one depends on, by gradient; boolean, ``(height, width)``."""
    total = torch.zeros(model.image_shape[1:])
    for _ in range(8):  # a ReLU may be off
        x = torch.rand(1, *model.image_shape, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x)[0, :, row, column].sum(), x)
        total += gradient[0, 0].abs()
    return total > 0


@pytest.mark.parametrize("variant", VARIANTS)
class TestCausality:
    def test_no_pixel_sees_itself_or_what_comes_after(self, variant):
        model = model_of(**variant)
        order = torch.arange(20).view(5, 4)
        for row in range(5):
            for column in range(4):
                assert not (reached(model, row, column) & (order >= order[row, column])).any()

    def test_the_mask_holds_whatever_an_optimiser_does(self, variant):
        model = model_of(**variant)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, MaskedConv2d):
                    module.weight.fill_(0.1)
        assert not reached(model, 2, 1).flatten()[9:].any()


def test_only_the_plain_stack_is_blind_to_what_is_above_to_the_right():
    seen = {blocks: reached(PixelCNN((1, 8, 8), width=6, depth=1, blocks=blocks), 6, 1) for blocks in ("residual", "gated")}
    before = torch.arange(64).view(8, 8) < 6 * 8 + 1
    window = torch.zeros(8, 8, dtype=torch.bool)
    window[2:7, :6] = True  # within reach of a 7 x 7 and a 3 x 3 kernel
    assert (seen["gated"] | ~(before & window)).all()
    assert not seen["residual"][5, 5]


@pytest.mark.parametrize("variant", VARIANTS)
class TestDensity:
    def test_sums_to_one_over_all_images(self, variant):
        model = PixelCNN((1, 2, 2), width=6, depth=2, **variant)
        levels = torch.arange(model.levels) / (model.levels - 1)
        images = torch.cartesian_prod(*[levels] * 4).view(-1, 1, 2, 2)
        assert model.log_prob(images).exp().sum().item() == pytest.approx(1, abs=1e-9)

    def test_is_the_product_of_its_pixels(self, variant):
        """Each pixel's distribution from an image in which all that comes after is something else."""
        model = model_of(**variant)
        x = torch.randint(model.levels, (1, 1, 5, 4)) / (model.levels - 1)
        total = 0.0
        for place in range(20):
            other = x.flatten().clone()
            other[place:] = 1 - other[place:]
            p = model.log_levels(model(other.view(1, 1, 5, 4))).flatten(2)[0, :, place]
            total += float(p.detach()[int(x.flatten()[place] * (model.levels - 1))])
        assert model.log_prob(x).item() == pytest.approx(total, abs=1e-9)

    def test_every_parameter_takes_a_gradient(self, variant):
        model = model_of(**variant)
        model.loss(torch.randint(model.levels, (8, 1, 5, 4)) / (model.levels - 1)).backward()
        assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
class TestSampling:
    def test_by_columns_gives_what_the_plain_loop_gives(self, variant):
        model, noise = model_of(**variant), torch.rand(6, 5, 4)
        assert torch.equal(model.sample(6, noise), model.sample_plainly(6, noise))

    def test_known_pixels_are_kept(self, variant):
        model = model_of(**variant)
        given = torch.randint(model.levels, (3, 1, 5, 4)) / (model.levels - 1)
        known = torch.zeros(5, 4, dtype=torch.bool)
        known[:3] = True
        drawn = model.sample(3, given=given, known=known)
        assert torch.equal(drawn[:, :, :3], given[:, :, :3])
        assert not torch.equal(drawn, given)


def test_samples_have_the_frequencies_of_the_density():
    model = PixelCNN((1, 2, 2), width=6, depth=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    images = torch.tensor([[bits >> i & 1 for i in range(4)] for bits in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
    draws = (model.sample(40_000).flatten(1) * 2 ** torch.arange(4)).sum(1).long().bincount(minlength=16) / 40_000
    torch.testing.assert_close(draws.double(), model.log_prob(images).exp().detach(), rtol=0, atol=0.01)


def test_a_logistic_is_integrated_over_each_level():
    """Against the distribution function of the logistic, by its definition."""
    model = PixelCNN((1, 1, 1), levels=5, mixture=1, width=2, depth=1)
    mean, scale = 0.3, 0.4
    parameters = torch.tensor([0.0, mean, torch.log(torch.tensor(scale))]).view(1, 3, 1, 1)
    edges = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    cdf = ((edges - mean) / scale).sigmoid()
    wanted = torch.cat([cdf, torch.ones(1)]) - torch.cat([torch.zeros(1), cdf])
    torch.testing.assert_close(model.log_levels(parameters).exp().flatten(), wanted)


def test_places_of_logistics_are_not_rounded_to_half_the_bits():
    model, x = PixelCNN((1, 4, 4), levels=256, width=4, depth=1, mixture=2).float(), torch.zeros(2, 1, 4, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        parameters = model(x)
    assert (parameters != parameters.bfloat16()).any()


def test_a_logistic_far_away_has_a_finite_density():
    model = PixelCNN((1, 1, 1), levels=256, mixture=1, width=2, depth=1)
    parameters = torch.tensor([0.0, 40.0, -9.0]).view(1, 3, 1, 1).requires_grad_()
    log_p = model.log_levels(parameters)
    assert log_p.isfinite().all()
    (gradient,) = torch.autograd.grad(log_p.sum(), parameters)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_shape": (3, 8, 8)}, r"image_shape to be \(1, height, width\), but was given \(3, 8, 8\)"),
        ({"levels": 1}, "levels to be at least 2"),
        ({"width": 7}, "width to be even"),
        ({"blocks": "other"}, "residual or gated"),
        ({"mixture": -1}, "mixture to be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        PixelCNN(**{"image_shape": (1, 8, 8), **values})


def test_images_of_another_shape_or_with_other_levels_are_refused():
    model = model_of(levels=4)
    with pytest.raises(ValueError, match=r"models images of shape \(1, 5, 4\), but was given \(2, 1, 4, 5\)"):
        model.log_prob(torch.zeros(2, 1, 4, 5))
    with pytest.raises(ValueError, match=r"4 equally spaced levels in .*; quantize or binarize the images first"):
        model.log_prob(torch.full((2, 1, 5, 4), 0.5))


@pytest.mark.parametrize("blocks", ["residual", "gated"])
def test_features_are_the_largest_of_the_middle_block_in_each_part(blocks):
    model = PixelCNN((1, 8, 8), width=6, depth=3, blocks=blocks)
    x = torch.rand(2, 1, 8, 8).round()
    hooked = []
    model.blocks[1].register_forward_hook(lambda module, given, made: hooked.append(made[1] if blocks == "gated" else made))
    features = model.encode(x).view(2, 6, 4, 4)
    assert features[1, 2, 3, 0] == hooked[0][1, 2, 6:8, 0:2].clamp_min(0).max()
    assert features.shape == (2, 6, 4, 4)


def test_a_completion_is_told_what_is_known():
    model = PixelCNN((1, 4, 4), width=4, depth=1)
    with pytest.raises(ValueError, match="give both given and known, or neither"):
        model.sample(1, given=torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="2 equally spaced levels"):
        model.sample(1, given=torch.full((1, 1, 4, 4), 0.37), known=torch.ones(4, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("n", "known", "sentence"),
    [
        (2, torch.ones(4, 4), r"known to be boolean of shape \(4, 4\) or \(2, 1, 4, 4\), but was given float32 of shape \(4, 4\)"),
        (2, torch.ones(4, 4, dtype=torch.int64), "but was given int64"),
        (2, torch.ones(3, 4, dtype=torch.bool), r"but was given bool of shape \(3, 4\)"),
        (2, torch.ones(3, 1, 4, 4, dtype=torch.bool), r"but was given bool of shape \(3, 1, 4, 4\)"),
        (3, torch.ones(4, 4, dtype=torch.bool), "was given 2 and asked for 3"),
        (1, torch.ones(4, 4, dtype=torch.bool), "was given 2 and asked for 1"),
    ],
)
def test_a_completion_is_of_as_many_images_and_of_boolean_pixels(n, known, sentence):
    with pytest.raises(ValueError, match=sentence):
        PixelCNN((1, 4, 4), width=4, depth=1).sample(n, given=torch.zeros(2, 1, 4, 4), known=known)


@pytest.mark.parametrize("sample", [PixelCNN.sample, PixelCNN.sample_plainly])
def test_noise_is_a_number_for_each_pixel(sample):
    with pytest.raises(ValueError, match=r"PixelCNN draws 2 images of noise of shape \(2, 4, 4\), but was given \(2, 1, 4, 4\)"):
        sample(PixelCNN((1, 4, 4), width=4, depth=1), 2, noise=torch.rand(2, 1, 4, 4))


def test_each_image_may_have_known_pixels_of_its_own():
    model, known = PixelCNN((1, 4, 4), width=4, depth=1), torch.rand(5, 1, 4, 4) < 0.5
    given = torch.rand(5, 1, 4, 4).round()
    assert torch.equal(model.sample(5, given=given, known=known)[known], given[known])
