"""VQ-VAEs: nearest codes, gradients straight through, a codebook that follows its averages, and a bound on the likelihood of images."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Bernoulli

from genrl.data import Images
from genrl.files import load_state, save_state
from genrl.models.code_prior import CodePrior
from genrl.models.codebook import Codebook
from genrl.models.pixels import binarize, log_logistic_mass, mean_logistic
from genrl.models.training import fit
from genrl.models.vqvae import VQVAE

double = pytest.mark.usefixtures("double")

LIKELIHOODS = ["bernoulli", "logistic"]


def small(image_shape=(1, 8, 8), **changes) -> VQVAE:
    torch.manual_seed(1)
    model = VQVAE(image_shape, **{"codes": 8, "dim": 3, "width": 8, "depth": 1, **changes})
    model.loss(pixels(model, 64))  # places the codebook
    return model.eval()


def pixels(model: VQVAE, n: int = 16) -> torch.Tensor:
    return torch.randint(model.levels, (n, *model.image_shape)) / (model.levels - 1)


def images(n: int = 64, side: int = 8) -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images(torch.randint(256, (n, 1, side, side), dtype=torch.uint8, generator=generator), torch.arange(n) % 3)


def codebook(counts: list[float], sums: list[list[float]], decay: float = 0.9, restart: float = 0.5) -> Codebook:
    made = Codebook(len(counts), len(sums[0]), decay, restart)
    made.counts, made.sums = torch.tensor(counts), torch.tensor(sums)
    return made


@double
class TestCodebook:
    @pytest.mark.parametrize("half", [False, True])
    def test_gives_the_nearest_of_all_codes(self, half):
        book, z = codebook([2.0] * 50, torch.randn(50, 3).tolist()), torch.randn(400, 3)
        book, z = (book.float(), z.float()) if half else (book, z)  # doubles are never halved
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            codes = book.nearest(z)
        assert torch.equal(codes, torch.cdist(z, book.vectors()).argmin(1))

    def test_follows_the_averages_of_counts_and_sums(self):
        book = codebook([4.0, 2.0], [[4.0, 0.0], [-2.0, 2.0]])
        book.follow(torch.tensor([[1.5, 1.0], [0.5, 0.0], [-2.0, 3.0]]), torch.tensor([0, 0, 1]))
        torch.testing.assert_close(book.counts, torch.tensor([3.8, 1.9]))  # 0.9 * 4 + 0.1 * 2, 0.9 * 2 + 0.1 * 1
        torch.testing.assert_close(book.sums, torch.tensor([[3.8, 0.1], [-2.0, 2.1]]))
        torch.testing.assert_close(book.vectors(), torch.tensor([[1.0, 0.1 / 3.8], [-2.0 / 1.9, 2.1 / 1.9]]))

    def test_restarts_an_unused_code_from_an_input_and_no_other(self):
        book, z = codebook([4.0, 0.99, 1.1], [[4.0], [-2.0], [1.1]]), torch.arange(10.0, 16.0)[:, None]
        book.restart_unused(z)  # an equal share is 2, half of it 1
        assert book.vectors()[1] in z
        torch.testing.assert_close(book.counts, torch.tensor([4.0, 2.0, 1.1]))
        torch.testing.assert_close(book.vectors()[[0, 2]], torch.tensor([[1.0], [1.0]]))

    def test_restarts_more_codes_than_there_are_inputs(self):
        book = codebook([0.0] * 5, [[0.0]] * 5)
        book.restart_unused(torch.tensor([[1.0], [2.0]]))
        assert sorted(book.vectors().flatten().tolist())[:4] == [1, 1, 2, 2] or sorted(book.vectors().flatten().tolist())[1:] == [
            1,
            1,
            2,
            2,
        ]

    def test_without_restarts_leaves_unused_codes(self):
        book = codebook([1e-6, 1.0], [[1e-6], [1.0]], restart=0.0)
        book.restart_unused(torch.randn(6, 1))
        assert book.counts[0].item() == 1e-6

    def test_never_restarted_keeps_finite_vectors_when_counts_vanish(self):
        book = codebook([0.0, 1e-200, 2.0], [[0.0], [1e-200], [8.0]], restart=0.0)
        assert torch.equal(book.nearest(torch.tensor([[3.9], [5.0]])), torch.tensor([2, 2]))

    def test_is_placed_by_the_first_batch_of_a_fit(self):
        model = VQVAE((1, 8, 8), codes=8, dim=3, width=8, depth=1, decay=1 - 1e-9)  # so that it stays there
        x = pixels(model)
        z = model.encoder(2 * x - 1).movedim(1, 3).flatten(0, 2)
        model.eval().loss(x)
        assert torch.cdist(model.codebook.vectors(), z).min(1).values.min() > 0.01
        model.train().loss(x)
        assert torch.cdist(model.codebook.vectors(), z).min(1).values.max() < 1e-6

    @pytest.mark.parametrize("training", [False, True])
    def test_takes_a_step_in_training_only(self, training):
        model = small().train(training)
        x = pixels(model)
        z = model.encoder(2 * x - 1).movedim(1, 3).flatten(0, 2).detach()
        wanted = Codebook(8, 3, 0.99, 0.03)
        wanted.load_state_dict(model.codebook.state_dict())
        if training:
            wanted.follow(z, wanted.nearest(z))
        model.loss(x)
        for name, value in model.codebook.state_dict().items():
            torch.testing.assert_close(value, wanted.state_dict()[name])


@double
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
class TestGradients:
    def test_the_encoder_gets_that_of_the_decoders_input_and_of_the_commitment(self, likelihood):
        model = small(pixels=likelihood, commitment=0.7)
        kept = {}

        def keep(name: str, value: torch.Tensor) -> None:
            value.retain_grad()
            kept[name] = value

        model.encoder.register_forward_hook(lambda module, inputs, output: keep("z", output))
        model.decoder.register_forward_pre_hook(lambda module, inputs: keep("e", inputs[0]))
        x = pixels(model)
        model.loss(x).backward()
        assert kept["e"].grad.abs().sum() > 0
        commitment = 0.7 * 2 * (kept["z"] - kept["e"]).detach() / len(x)
        torch.testing.assert_close(kept["z"].grad, kept["e"].grad + commitment)

    def test_every_parameter_takes_one(self, likelihood):
        model = small(pixels=likelihood)
        model.loss(pixels(model)).backward()
        assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())


@double
class TestPixels:
    @pytest.mark.parametrize("levels", [2, 5, 256])
    def test_a_logistic_has_the_mass_of_its_distribution_function(self, levels):
        mean, scale = torch.tensor(0.3), torch.tensor(0.4)
        x = torch.arange(levels) / (levels - 1)
        p = log_logistic_mass(2 * x - 1, mean, scale.log(), levels).exp()
        edges = 2 * (torch.arange(levels - 1) + 0.5) / (levels - 1) - 1
        cdf = ((edges - mean) / scale).sigmoid()
        torch.testing.assert_close(p, torch.cat([cdf, torch.ones(1)]) - torch.cat([torch.zeros(1), cdf]))

    def test_a_logistic_far_away_has_a_finite_density_and_gradient(self):
        parameters = torch.tensor([40.0, -9.0], requires_grad=True)
        log_p = log_logistic_mass(2 * torch.arange(256) / 255 - 1, *parameters, 256).sum()
        (gradient,) = torch.autograd.grad(log_p, parameters)
        assert log_p.isfinite() and gradient.isfinite().all()

    @pytest.mark.parametrize(("mean", "scale"), [(0.3, 0.4), (-1.5, 0.2), (0.98, 0.05), (-0.2, 3.0), (9.0, 0.5)])
    def test_the_mean_of_a_logistic_is_that_of_its_levels(self, mean, scale):
        x = torch.arange(256) / 255
        mean, log_scale = torch.tensor(mean), torch.tensor(scale).log()
        wanted = (log_logistic_mass(2 * x - 1, mean, log_scale, 256).exp() * x).sum()
        assert mean_logistic(mean, log_scale).item() == pytest.approx(wanted.item(), abs=1e-4)

    def test_zeros_and_ones_have_the_probabilities_of_the_decoded_image(self):
        model = small(pixels="bernoulli", image_shape=(3, 8, 8))
        x, codes = pixels(model), torch.randint(8, (16, 2, 2))
        wanted = Bernoulli(model.decode_codes(codes)).log_prob(x).sum((1, 2, 3)).detach()
        torch.testing.assert_close(model.log_pixels(x, codes), wanted)

    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    def test_the_loss_is_in_nats_of_the_pixels_and_the_commitment(self, likelihood):
        model = small(pixels=likelihood, commitment=0.7)
        x = pixels(model)
        z, codes = model.encoder(2 * x - 1), model.encode_codes(x)
        far = (z.flatten(1) - model.encode(x)).square().sum(1)
        assert model.loss(x).item() == pytest.approx((0.7 * far - model.log_pixels(x, codes)).mean().item())


@double
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_codes_and_features_are_of_the_same_image(likelihood):
    model = small((3, 8, 12), pixels=likelihood)
    x = torch.rand(5, 3, 8, 12)
    codes, z = model.encode_codes(x), model.encode(x)
    assert codes.shape == (5, 2, 3) and z.shape == (5, 3 * 2 * 3)
    torch.testing.assert_close(z.view(5, 3, 2, 3).movedim(1, 3), model.codebook.vectors()[codes])
    torch.testing.assert_close(model.decode(z), model.decode_codes(codes))
    assert model.decode(z).shape == x.shape and model.decode(z).min() >= 0 and model.decode(z).max() <= 1


def test_usage_counts_the_codes_of_all_images():
    model, data = small(), images(300)
    counts = model.usage(data)
    assert torch.equal(counts, model.encode_codes(data.batch(torch.arange(300))).flatten().bincount(minlength=8))
    assert model.codes_used(data) == (counts > 0).sum().item() / 8
    assert torch.equal(model.usage(data, binarize), model.usage(data, binarize))


class TestHalfPrecision:
    def test_changes_no_codes(self):
        model = small(codes=64)
        x = pixels(model, 500)
        with torch.autocast("cpu", torch.bfloat16):
            codes = model.encode_codes(x)
        assert torch.equal(codes, model.encode_codes(x))

    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    def test_leaves_the_nats_their_bits(self, likelihood):
        """They are those of the decoder's output, whatever bits that has, in float32."""
        model, kept = small(pixels=likelihood), []
        model.decoder.register_forward_hook(lambda module, inputs, output: kept.append(output.float()))
        x, codes = pixels(model), torch.randint(8, (16, 2, 2))
        with torch.autocast("cpu", torch.bfloat16):
            half = model.log_pixels(x, codes)
        model.decoder.register_forward_hook(lambda module, inputs, output: kept[0])
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, model.log_pixels(x, codes), rtol=1e-5, atol=1e-4)


class TestFit:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    def test_moves_every_parameter_and_the_codebook(self, likelihood, precision):
        model = small(pixels=likelihood)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        transform = binarize if likelihood == "bernoulli" else None
        rows = fit(model, images(), held_out=images(8), transform=transform, epochs=1, batch_size=32, precision=precision, progress=False)
        assert rows[-1]["step"] == 2
        assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(value.dtype == torch.float32 for value in model.state_dict().values())

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize("n_classes", [0, 3])
    def test_of_the_prior_moves_the_transformer_only(self, n_classes, precision):
        prior = CodePrior(small(), width=8, depth=1, heads=2, n_classes=n_classes)
        before = {name: value.clone() for name, value in prior.state_dict().items()}
        fit(prior, images(), epochs=1, batch_size=32, precision=precision, progress=False)
        for name, value in prior.state_dict().items():
            assert torch.equal(value, before[name]) == name.startswith("vqvae.")

    def test_learns_what_tells_four_patterns_apart(self):
        patterns = torch.randint(0, 2, (4, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)) * 255
        data = Images(patterns.repeat(64, 1, 1, 1))
        torch.manual_seed(0)
        model = VQVAE((1, 4, 4), codes=8, dim=2, width=16, depth=1, pixels="bernoulli")
        rows = fit(model, data, held_out=data, epochs=40, batch_size=32, learning_rate=3e-3, progress=False)
        assert rows[0]["held_out_loss"] > 10
        assert rows[-1]["held_out_loss"] < 4


class TestPrior:
    def test_of_codes_that_were_never_learnt_is_refused(self):
        fresh = CodePrior({"image_shape": (1, 4, 4), "codes": 8, "dim": 2, "width": 16, "depth": 1}, width=8, depth=1, heads=2)
        with pytest.raises(
            ValueError, match="CodePrior learns the codes of a fitted VQVAE, but this one has learnt none; fit it, or give fr"
        ):
            fit(fresh, images(), epochs=1, progress=False)

    def test_keeps_a_copy_that_never_trains(self):
        vqvae = small().train()
        prior = CodePrior(vqvae, width=8, depth=1, heads=2).train()
        assert vqvae.training and all(item.requires_grad for item in vqvae.parameters())
        assert prior.codes.training and not prior.vqvae.training
        assert not any(item.requires_grad for item in prior.vqvae.parameters())

    @double
    def test_bounds_the_likelihood_that_its_codes_sum_to(self):
        model = small((1, 2, 2), downsample=1, pixels="bernoulli", codes=5)
        prior = CodePrior(model, width=8, depth=1, heads=2)
        with torch.no_grad():
            prior.codes.head.bias.copy_(torch.randn(5))
        x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).view(16, 1, 2, 2)
        joint = [prior.codes.log_prob(torch.full((16, 1), code)) + model.log_pixels(x, torch.full((16, 1, 1), code)) for code in range(5)]
        exact = torch.stack(joint).logsumexp(0)
        assert exact.exp().sum().item() == pytest.approx(1, abs=1e-9)
        bound = prior.log_prob(x)
        assert (bound < exact).all() and bound.exp().sum() < 1
        assert torch.isin(bound, torch.stack(joint)).all()

    @double
    def test_loss_is_the_nats_of_the_codes(self):
        prior = CodePrior(small(), width=8, depth=1, heads=2)
        x = pixels(prior.vqvae)
        codes = prior.vqvae.encode_codes(x)
        wanted = prior.log_prob(x) - prior.vqvae.log_pixels(x, codes)
        assert prior.loss(x).item() == pytest.approx(-wanted.mean().item())

    @double
    @pytest.mark.parametrize("n_classes", [0, 3])
    def test_samples_are_decoded_codes(self, n_classes):
        prior = CodePrior(small((1, 8, 12)), width=8, depth=1, heads=2, n_classes=n_classes)
        with torch.no_grad():
            prior.codes.head.bias.copy_(torch.randn(8))
        noise, labels = torch.rand(5, 6), torch.arange(5) % 3 if n_classes else None
        codes = prior.codes.sample(5, noise, labels=labels, temperature=0.3).view(5, 2, 3)
        drawn = prior.sample(5, noise, labels, temperature=0.3)
        torch.testing.assert_close(drawn, prior.vqvae.decode_codes(codes).detach())
        assert prior.sample(0, labels=None if labels is None else labels[:0]).shape == (0, 1, 8, 12)
        assert drawn.shape == (5, 1, 8, 12) and drawn.min() >= 0 and drawn.max() <= 1


def test_one_file_holds_all_that_a_sample_needs(tmp_path):
    prior = CodePrior(small(), width=8, depth=1, heads=2)
    save_state(tmp_path / "prior", prior.state_dict())
    other = CodePrior(VQVAE((1, 8, 8), codes=8, dim=3, width=8, depth=1), width=8, depth=1, heads=2)
    other.load_state_dict(load_state(tmp_path / "prior"))
    noise, x = torch.rand(5, 4), pixels(prior.vqvae)
    assert torch.equal(prior.sample(5, noise), other.sample(5, noise))
    assert torch.equal(prior.log_prob(x), other.log_prob(x))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_shape": (1, 10, 8)}, r"a height and width that 4 divides, but was given \(1, 10, 8\)"),
        ({"image_shape": (8, 8)}, r"image_shape to be channels, and a height and width"),
        ({"downsample": 0}, "downsample to be at least 1"),
        ({"codes": 0}, "codes to be at least 1"),
        ({"dim": 0}, "dim to be at least 1"),
        ({"width": 7}, "width to be even and at least 2"),
        ({"depth": -1}, "depth to be at least 0"),
        ({"pixels": "normal"}, "pixels to be bernoulli or logistic, but was given 'normal'"),
        ({"pixels": "bernoulli", "levels": 4}, "levels to be 2 for bernoulli, or at least 2 for logistic, but was given 4"),
        ({"commitment": -1.0}, "commitment to be at least 0"),
        ({"decay": 0.0}, r"decay to be in \(0, 1\)"),
        ({"restart": 1.0}, r"restart to be in \[0, 1\)"),
    ],
)
def test_values_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        VQVAE(**{"image_shape": (1, 8, 8), **changes})


def test_images_and_codes_that_it_does_not_model_are_refused():
    model = small(pixels="bernoulli")
    for call in (model.loss, model.encode, model.encode_codes):
        with pytest.raises(ValueError, match=r"models images of shape \(1, 8, 8\), but was given \(2, 1, 8, 4\)"):
            call(torch.zeros(2, 1, 8, 4))
    with pytest.raises(ValueError, match=r"models 2 equally spaced levels in \[0, 1\]; quantize or binarize the images first"):
        model.loss(torch.full((2, 1, 8, 8), 0.5))
    for value in (255.0, -1.0, torch.nan):
        with pytest.raises(ValueError, match=r"VQVAE models grey levels in \[0, 1\], but was given"):
            model.loss(torch.full((2, 1, 8, 8), value))
    with pytest.raises(
        ValueError, match=r"codes from 0 to 7 of shape \(batch, 2, 2\), but was given torch.int64 of shape \(2, 4\), from 0 to 0"
    ):
        model.decode_codes(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="from 0 to 8"):
        model.decode_codes(torch.tensor([[[0, 8], [1, 2]]]))
    with pytest.raises(ValueError, match=r"features of shape \(batch, 12\), but was given \(2, 10\)"):
        model.decode(torch.zeros(2, 10))


def test_a_prior_whose_vq_vae_is_not_frozen_learns_both_in_one_fit():
    prior = CodePrior({"image_shape": (1, 8, 8), "codes": 8, "dim": 2, "width": 4, "depth": 1}, frozen=False, width=8, depth=1, heads=1)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    images = Images(torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8))
    rows = fit(prior, images, epochs=2, batch_size=16, average=0.0, progress=False)
    assert {"loss", "loss_of_codes"} <= rows[0].keys()
    moved = [name for name, value in prior.state_dict().items() if not torch.equal(value, before[name])]
    assert set(moved) == set(before)


def test_each_of_both_learns_from_its_own_loss():
    prior = CodePrior((1, 8, 8), frozen=False, width=8, depth=1, heads=1)
    first, second = prior.players()
    x = torch.randint(256, (4, 1, 8, 8)) / 255
    second.loss(x).backward()
    assert all(item.grad is None for item in first.parameters) and all(item.grad is not None for item in second.parameters)
