"""Diffusion: the marginal is that of its steps, draws and their inversion agree, what is given of an image comes back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genrl.data import Images
from genrl.models.base import load_model, save_model
from genrl.models.capabilities import Encoder, Sampler
from genrl.models.diffusion import Diffusion, betas
from genrl.models.training import fit, held_out_loss
from genrl.models.unet import UNet, time_features

pytestmark = pytest.mark.usefixtures("double")

SHAPE = (1, 8, 8)


def model_of(shape=SHAPE, **changes) -> Diffusion:
    """Far from the zero that it begins as."""
    return stirred(Diffusion(shape, **{"steps": 20, "width": 32, **changes}))


def stirred(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


class Gaussian(Diffusion):
    """Knows the noise in images whose pixels are independent and normal with one mean and standard deviation."""

    mean, std = 0.2, 0.1

    def forward(self, x, t, labels=None):
        signal, spread = self._scales(t, x)
        return spread * (x - signal * self.mean) / (signal**2 * self.std**2 + spread**2)


class Flat(Diffusion):
    """Knows the noise in images of one grey each, normal with standard deviation 0.3."""

    def forward(self, x, t, labels=None):
        signal, spread = self._scales(t, x)
        share = signal * 0.3**2 / (signal**2 * 0.3**2 + spread**2 / x[0].numel())
        return (x - signal * share * x.mean((1, 2, 3), keepdim=True)) / spread


class Recorder(Diffusion):
    """Keeps the times and labels that it is asked for."""

    def forward(self, x, t, labels=None):
        self.asked = (t, labels)
        return torch.zeros_like(x)


class TestTheProcess:
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("steps", [7, 1000])
    def test_the_marginal_is_that_of_its_steps(self, schedule, steps):
        """Mean and variance by the recursion of x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z."""
        model, one = Diffusion(SHAPE, steps=steps, schedule=schedule, width=32), torch.ones(1, *SHAPE)
        mean, variance = 1.0, 0.0
        for t, beta in enumerate(betas(schedule, steps).tolist(), 1):
            mean, variance = (1 - beta) ** 0.5 * mean, (1 - beta) * variance + beta
            if t in (1, 2, 7, 500, 1000):
                time = torch.tensor([t])
                torch.testing.assert_close(model.noised(one, time, 0 * one), mean * one, rtol=0, atol=1e-12)
                torch.testing.assert_close(model.noised(0 * one, time, one), variance**0.5 * one, rtol=0, atol=1e-12)

    def test_simulated_steps_have_its_mean_and_deviation(self):
        model, x = Diffusion(SHAPE, steps=20, width=32), torch.full((2000, *SHAPE), 0.7)
        marginal = model.noised(x, torch.full((2000,), 12), torch.randn_like(x))
        for beta in betas("linear", 20)[:12]:
            x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn_like(x)
        assert x.mean().item() == pytest.approx(marginal.mean().item(), abs=0.01)
        assert x.std().item() == pytest.approx(marginal.std().item(), rel=0.01)

    def test_the_schedules_are_those_of_the_papers(self):
        assert betas("linear", 1000)[[0, 999]].tolist() == [0.0001, 0.02]
        assert (1 - betas("linear", 1000)).prod().item() == pytest.approx(4.0358e-5, rel=1e-4)
        half = torch.tensor(0.508 / 1.008 * torch.pi / 2).cos() / torch.tensor(0.008 / 1.008 * torch.pi / 2).cos()
        assert (1 - betas("cosine", 1000))[:500].prod().item() == pytest.approx(half.item() ** 2, abs=1e-12)
        assert betas("cosine", 1000)[-1] == betas("linear", 2)[-1] == 0.999

    def test_no_step_leaves_the_image(self):
        x = torch.rand(3, *SHAPE)
        assert torch.equal(model_of().noised(x, torch.zeros(3, dtype=torch.int64), torch.randn_like(x)), x)

    def test_files_hold_no_schedule(self):
        assert "alpha_bar" not in model_of().state_dict()


class TestTheLoss:
    def test_is_zero_of_a_network_that_knows_the_noise(self):
        class Knows(Gaussian):
            mean, std = 0.5, 0.0

        assert Knows(SHAPE, width=32).loss(torch.full((64, *SHAPE), 0.75)).item() < 1e-12  # 0.75 is 0.5 in [-1, 1]

    def test_of_a_fresh_network_is_that_of_an_unfit_line(self):
        """A v of zero: the noise less sqrt(1 - kept) x_t is sqrt(kept) (sqrt(kept) noise - sqrt(1 - kept) x_0), here of x_0 = 0.5."""
        model = Diffusion(SHAPE, width=32)
        kept = model.alpha_bar[1:]
        wanted = (kept * (kept + (1 - kept) * 0.25)).mean().item()
        assert model.loss(torch.full((500, *SHAPE), 0.75)).item() == pytest.approx(wanted, rel=0.03)

    def test_every_time_is_as_likely_wherever_an_image_stands_in_its_batch(self):
        model, counts = Recorder(SHAPE, steps=5, width=32), torch.zeros(3, 6)
        for _ in range(2000):
            model.loss(torch.zeros(3, *SHAPE))
            counts[torch.arange(3), model.asked[0]] += 1
        assert counts[:, 0].sum() == 0
        torch.testing.assert_close(counts[:, 1:] / 2000, torch.full((3, 5), 0.2), rtol=0, atol=0.04)

    def test_a_batch_has_times_of_every_part(self):
        model = Recorder(SHAPE, steps=40, width=32)
        model.loss(torch.zeros(40, *SHAPE))
        assert sorted(model.asked[0].tolist()) == list(range(1, 41))

    @pytest.mark.parametrize("drop", [0.1, 0.4])
    def test_labels_are_dropped_in_training_only(self, drop):
        model, labels = Recorder(SHAPE, width=32, n_classes=3, drop=drop), torch.arange(9000) % 3
        x = torch.zeros(9000, *SHAPE)
        model.loss(x, labels)
        seen = model.asked[1]
        assert (seen == 3).double().mean().item() == pytest.approx(drop, abs=0.02)
        assert torch.equal(seen[seen != 3], labels[seen != 3])
        model.eval().loss(x, labels)
        assert torch.equal(model.asked[1], labels)

    @pytest.mark.parametrize("n_classes", [0, 3])
    @pytest.mark.parametrize("depth", [1, 2])
    def test_every_parameter_takes_a_gradient(self, n_classes, depth):
        model = model_of((2, 8, 12), n_classes=n_classes, depth=depth, drop=0.5)
        model.loss(torch.rand(32, 2, 8, 12), torch.arange(32) % 3 if n_classes else None).backward()
        assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())
        if n_classes:
            assert (model.net.label.weight.grad.abs().sum(1) > 0).all()


class TestDrawing:
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_without_noise_a_normal_becomes_the_normal_of_the_data(self, schedule):
        """The flow's map is x_0 = mean + std z."""
        model, z = Gaussian(SHAPE, schedule=schedule, width=32), torch.randn(5, *SHAPE)
        drawn = 2 * model.sample(5, noise=z, steps=1000) - 1
        torch.testing.assert_close(drawn, 0.2 + 0.1 * z, rtol=0, atol=0.01)

    @pytest.mark.parametrize("eta", [0.5, 1.0])
    def test_with_noise_too(self, eta):
        drawn = 2 * Gaussian(SHAPE, width=32).sample(120, steps=1000, eta=eta) - 1
        assert drawn.mean().item() == pytest.approx(0.2, abs=0.005)
        assert drawn.std().item() == pytest.approx(0.1, rel=0.05)  # a thousand steps are no continuum

    def test_an_ancestral_step_is_the_posterior(self):
        """Ho, Jain, Abbeel, equation 7, at t = 7 of 20."""
        model, beta, t = model_of(), betas("linear", 20), 7
        kept, before = (1 - beta)[:t].prod(), (1 - beta)[: t - 1].prod()
        x_0, x_t = torch.randn(2, 2, *SHAPE)
        eps = (x_t - kept.sqrt() * x_0) / (1 - kept).sqrt()
        mean = before.sqrt() * beta[t - 1] / (1 - kept) * x_0 + (1 - beta[t - 1]).sqrt() * (1 - before) / (1 - kept) * x_t
        std = ((1 - before) / (1 - kept) * beta[t - 1]).sqrt()
        z = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(5))
        drawn = model._step(x_0, eps, t, t - 1, 1.0, torch.Generator().manual_seed(5))
        torch.testing.assert_close(drawn, mean + std * z, rtol=0, atol=1e-12)

    def test_what_the_network_says_of_the_image_is_clipped(self):
        class Far(Gaussian):
            mean, std = 3.0, 0.01

        said = []
        drawn = Far(SHAPE, width=32)._drawn(2, None, None, 5, 0.0, None, None, lambda x: said.append(x) or x)
        assert len(said) == 5 and all((x == 1).all() for x in said) and (drawn == 1).all()

    def test_steps_are_evenly_spaced_from_all_to_none(self):
        model = model_of(steps=10)
        assert model._times(4) == [10, 8, 5, 2, 0]
        assert model._times(10) == list(range(10, -1, -1))

    def test_an_image_depends_on_its_own_noise_only(self):
        model, noise = model_of(n_classes=3), torch.randn(70, *SHAPE)
        labels = torch.arange(70) % 3
        whole = model.sample(70, labels, steps=3, guidance=2.0, noise=noise)
        alone = model.sample(2, labels[63:65], steps=3, guidance=2.0, noise=noise[63:65])
        torch.testing.assert_close(whole[63:65], alone, rtol=0, atol=1e-12)
        assert not torch.equal(whole[0], whole[1])

    def test_a_generator_repeats_it(self):
        model = model_of()
        first, again = (model.sample(3, eta=1.0, generator=torch.Generator().manual_seed(1)) for _ in range(2))
        assert torch.equal(first, again) and 0 <= first.min() <= first.max() <= 1
        assert model.sample(0).shape == (0, *SHAPE)


class TestInversion:
    @staticmethod
    def round_trip(steps: int, refine: int) -> float:
        model, x = Gaussian(SHAPE, width=32), torch.rand(4, *SHAPE) * 0.3 + 0.45
        noise = model.invert(x, steps=steps, refine=refine)
        torch.testing.assert_close(noise, (2 * x - 1 - 0.2) / 0.1, rtol=0, atol=100 / steps)  # the flow's map
        return (model.sample(4, noise=noise, steps=steps) - x).abs().max().item()

    def test_undoes_the_drawing_better_with_more_steps(self):
        errors = [self.round_trip(steps, 0) for steps in (125, 250, 500)]
        assert errors[2] < 1e-2
        assert errors[0] > 1.7 * errors[1] > 1.7**2 * errors[2]  # of first order

    def test_undoes_it_exactly_if_each_step_is_solved_for(self):
        assert self.round_trip(200, refine=9) < 1e-10

    def test_undoes_that_of_a_network(self):
        class Near(Gaussian):
            def forward(self, x, t, labels=None):
                _, spread = self._scales(t, x)
                return super().forward(x, t) + 0.3 * (Diffusion.forward(self, x, t, labels) - spread * x)

        model, x, labels = stirred(Near(SHAPE, width=32, n_classes=3)), torch.rand(2, *SHAPE) * 0.3 + 0.45, torch.tensor([0, 2])
        noise = model.invert(x, labels)
        torch.testing.assert_close(model.sample(2, labels, noise=noise), x, rtol=0, atol=0.01)
        assert (model.sample(2, noise=noise) - x).abs().max() > 0.02  # it is that of the labels


class TestGuidance:
    def test_none_is_the_model_without_labels_and_one_that_with_them(self):
        model, noise, labels = model_of(n_classes=3), torch.randn(4, *SHAPE), torch.tensor([0, 1, 2, 0])
        without, given = model.sample(4, noise=noise), model.sample(4, labels, noise=noise)
        assert torch.equal(model.sample(4, labels, noise=noise, guidance=0.0), without)
        assert torch.equal(model.sample(4, labels, noise=noise, guidance=1.0), given)
        assert not torch.allclose(without, given)
        for g, wanted in ((1e-9, without), (1 + 1e-9, given)):  # by the formula, not by a short cut
            torch.testing.assert_close(model.sample(4, labels, noise=noise, guidance=g), wanted, rtol=0, atol=1e-6)

    def test_goes_beyond_the_class_on_a_straight_line(self):
        model, x, labels = model_of(n_classes=3), torch.randn(2, *SHAPE), torch.tensor([2, 1])
        with torch.no_grad():
            without, given, beyond = (model._noise_in(x, 5, labels, g) for g in (0.0, 1.0, 3.0))
        torch.testing.assert_close(beyond, without + 3 * (given - without), rtol=0, atol=1e-12)

    def test_no_label_is_a_label_of_its_own(self):
        model, x = model_of(n_classes=3), torch.randn(2, *SHAPE)
        t = torch.tensor([5, 5])
        assert torch.equal(model(x, t), model(x, t, torch.tensor([3, 3])))


class TestRestoration:
    def test_known_pixels_come_back_exactly_and_others_change_nothing(self):
        torch.set_default_dtype(torch.float32)
        model, image = model_of((3, 8, 8)), torch.randint(256, (5, 3, 8, 8)) / 255
        known = torch.zeros(8, 8, dtype=torch.bool)
        known[:5, 2:] = True
        first, again = (
            model.inpaint(given, known, generator=torch.Generator().manual_seed(1)) for given in (image, torch.where(known, image, 0.5))
        )
        assert torch.equal(first[:, :, known], image[:, :, known])
        assert torch.equal(first, again)
        assert not torch.allclose(first, image, atol=0.1) and 0 <= first.min() <= first.max() <= 1

    def test_each_image_may_have_its_own_mask(self):
        model, image, known = model_of(), torch.rand(4, *SHAPE), torch.rand(4, *SHAPE) < 0.5
        made = model.inpaint(image, known)
        assert torch.equal(made[known], image[known]) and not torch.isclose(made[~known], image[~known]).any()

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_the_small_image_is_the_mean_of_the_large_one(self, factor):
        model, small = model_of((1, 12, 24)), torch.rand(3, 1, 12 // factor, 24 // factor)
        seed = torch.Generator().manual_seed(2)

        def enlarge(x):
            return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)

        def shrink(x):
            return x.unfold(2, factor, factor).unfold(3, factor, factor).mean((4, 5))

        made = model.restore(small, shrink, enlarge, generator=seed)
        torch.testing.assert_close(shrink(made), small, rtol=0, atol=1e-12)
        assert not torch.allclose(made, enlarge(small), atol=0.05)
        torch.testing.assert_close(model.super_resolve(small, generator=seed.manual_seed(2)), made.clamp(0, 1), rtol=0, atol=1e-9)

    def test_any_linear_map_will_do(self):
        model, matrix = model_of(), torch.randn(10, 64)
        inverse, truth = torch.linalg.pinv(matrix), torch.rand(3, *SHAPE)
        made = model.restore(truth.flatten(1) @ matrix.T, lambda x: x.flatten(1) @ matrix.T, lambda y: (y @ inverse.T).view(-1, *SHAPE))
        torch.testing.assert_close(made.flatten(1) @ matrix.T, truth.flatten(1) @ matrix.T, rtol=0, atol=1e-10)

    def test_what_is_known_tells_what_is_not(self):
        """Of images of one grey, a quarter."""
        grey = torch.tensor([0.3, 0.5, 0.65]).view(3, 1, 1, 1).expand(3, *SHAPE)
        known = torch.zeros(8, 8, dtype=torch.bool)
        known[:4, :4] = True
        made = Flat(SHAPE, width=32).inpaint(grey, known, steps=250)
        torch.testing.assert_close(made, grey, rtol=0, atol=0.05)


class TestTheNetwork:
    def test_features_are_the_largest_of_the_smallest_maps_without_noise(self):
        model, x = model_of((1, 8, 32), n_classes=3), torch.rand(4, 1, 8, 32)
        features = model.encode(x, t=6)
        signal = (1 - betas("linear", 20))[:6].prod().sqrt() * (2 * x - 1)
        maps = model.net.middle(signal, torch.full((4,), 300.0), torch.full((4,), 3))
        assert maps.shape == (4, 64, 2, 8)
        torch.testing.assert_close(features, maps.unflatten(3, (4, 2)).amax(4).flatten(1), rtol=0, atol=1e-12)
        assert torch.equal(features, model.encode(x, t=6)) and not torch.allclose(features, model.encode(x, t=1))

    def test_time_and_class_reach_the_image(self):
        net, x = stirred(UNet(1, width=32, n_classes=2)), torch.randn(1, *SHAPE).expand(4, *SHAPE)
        made = net(x, torch.tensor([1.0, 900.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 2]))
        assert all(not torch.allclose(made[0], made[i]) for i in (1, 2, 3))

    def test_what_is_fine_passes_the_smallest_maps_by(self):
        net, x = stirred(UNet(1, width=32, depth=2)), torch.randn(2, *SHAPE)
        for parameter in net.finer.parameters():
            nn.init.zeros_(parameter)
        made = net(x, torch.tensor([10.0, 10.0]))
        assert not torch.allclose(made[0], made[1])

    def test_every_pixel_sees_every_other(self):
        net, x = stirred(UNet(1, width=32)), torch.randn(1, 1, 24, 24, requires_grad=True)
        (gradient,) = torch.autograd.grad(net(x, torch.tensor([10.0]))[0, 0, 0, 0], x)
        assert (gradient.abs() > 0).all()

    def test_times_have_the_angles_of_the_transformer(self):
        t = torch.tensor([3.0])
        wanted = [torch.cos(t), torch.cos(t / 100), torch.sin(t), torch.sin(t / 100)]
        torch.testing.assert_close(time_features(t, 4), torch.stack(wanted, 1))


class TestFits:
    def images(self) -> Images:
        torch.set_default_dtype(torch.float32)
        pixels = torch.randint(256, (40, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        return Images(pixels, torch.arange(40) % 3)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_a_stopped_one_goes_on_as_if_it_had_not(self, precision, tmp_path):
        images, ends = self.images(), []
        for stops in ((2,), (1, 2)):
            torch.manual_seed(0)
            model = Diffusion(SHAPE, steps=20, width=32, n_classes=3)
            for epochs in stops:
                path = tmp_path / f"{len(stops)}.safetensors"
                rows = fit(
                    model, images, held_out=images, epochs=epochs, batch_size=16, precision=precision, checkpoint=path, progress=False
                )
            ends.append((model.state_dict(), [row["held_out_loss"] for row in rows]))
        assert ends[0][1] == ends[1][1]
        assert all(torch.equal(value, ends[1][0][name]) for name, value in ends[0][0].items())

    def test_the_held_out_loss_repeats_itself(self):
        images, model = self.images(), model_of(n_classes=3)
        assert held_out_loss(model, images) == held_out_loss(model, images)

    @pytest.mark.parametrize("n_classes", [0, 3])
    def test_a_saved_model_comes_back(self, n_classes, tmp_path):
        model, noise = model_of(n_classes=n_classes, schedule="cosine"), torch.randn(3, *SHAPE)
        save_model(tmp_path / "model.safetensors", model)
        back = load_model(tmp_path / "model.safetensors").double()
        assert isinstance(back, Diffusion) and isinstance(back, Sampler) and isinstance(back, Encoder)
        assert back.settings == model.settings and back.conditional == (n_classes > 0)
        assert torch.equal(back.sample(3, noise=noise), model.sample(3, noise=noise))


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"image_shape": (1, 8, 10)}, r"height and width from 8 to 64 that 4 divides, but was given \(1, 8, 10\)"),
            ({"image_shape": (1, 4, 8)}, "from 8 to 64"),
            ({"image_shape": (1, 8, 68)}, "from 8 to 64"),
            ({"steps": 0}, "steps to be at least 1"),
            ({"steps": 5.5}, "steps to be at least 1 and whole, but was given 5.5"),
            ({"schedule": "square"}, "linear or cosine"),
            ({"width": 48}, "width to be a multiple of 32"),
            ({"depth": 0}, "depth to be at least 1"),
            ({"n_classes": -1}, "n_classes to be at least 0"),
            ({"drop": 1.0}, r"drop to be in \[0, 1\)"),
        ],
    )
    def test_of_values_out_of_range(self, values, sentence):
        with pytest.raises(ValueError, match=sentence):
            Diffusion(**{"image_shape": SHAPE, **values})

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            (lambda model: model.loss(torch.rand(2, *SHAPE)), "learns from labels too"),
            (lambda model: model.loss(torch.rand(2, 1, 8, 12), torch.tensor([0, 1])), r"images of shape \(1, 8, 8\)"),
            (lambda model: model.sample(2, guidance=2.0), "give labels, or no guidance"),
            (lambda model: model.sample(2, torch.tensor([0, 1]), guidance=float("nan")), "guidance must be finite, but is nan"),
            (lambda model: model.sample(2, torch.tensor([0, 3])), "needs labels from 0 to 2, but was given some from 0 to 3"),
            (
                lambda model: model.sample(3, torch.tensor([0, 1])),
                r"needs labels as int64 of shape \(3,\), but was given int64 of shape \(2,\)",
            ),
            (lambda model: model.sample(2, steps=21), "steps to be from 1 to 20, those of the model, but was given 21"),
            (lambda model: model.sample(2, steps=0), "but was given 0"),
            (lambda model: model.invert(torch.rand(2, *SHAPE), steps=21), "but was given 21"),
            (lambda model: model.invert(torch.rand(2, *SHAPE), refine=-1), "refine to be at least 0, but was given -1"),
            (lambda model: model.sample(2, eta=1.5), r"eta to be in \[0, 1\], but was given 1.5"),
            (lambda model: model.sample(2, noise=torch.zeros(3, *SHAPE)), r"noise of shape \(2, 1, 8, 8\), but was given \(3, 1, 8, 8\)"),
            (lambda model: model.encode(torch.rand(2, *SHAPE), t=0), "t to be from 1 to 20, but was given 0"),
            (
                lambda model: model.inpaint(torch.rand(2, *SHAPE), torch.ones(8, 8)),
                r"boolean of shape \(8, 8\), or .* but was given float64 of shape \(8, 8\)",
            ),
            (lambda model: model.inpaint(torch.rand(2, *SHAPE), torch.ones(8, 7).bool()), r"but was given bool of shape \(8, 7\)"),
            (
                lambda model: model.super_resolve(torch.rand(2, 1, 8, 8)),
                r"half, third or quarter of \(1, 8, 8\), but was given \(2, 1, 8, 8\)",
            ),
            (lambda model: model.super_resolve(torch.rand(2, 1, 4, 2)), r"but was given \(2, 1, 4, 2\)"),
            (lambda model: model.super_resolve(torch.rand(2, 1, 4, 4) + 1), r"grey levels in \[0, 1\]"),
        ],
    )
    def test_of_what_a_conditional_model_cannot_do(self, call, sentence):
        with pytest.raises(ValueError, match=sentence):
            call(model_of(n_classes=3))

    @pytest.mark.parametrize(
        ("forward", "backward", "sentence"),
        [
            (lambda x: x, lambda y: y[..., :4], r"backward to give images of shape \(2, 1, 8, 8\), but it made \(2, 1, 8, 4\)"),
            (lambda x: x, lambda y: y[:, :, :1], r"but it made \(2, 1, 1, 8\)"),  # it would broadcast
            (torch.mean, lambda y: y, r"forward to give shape \(2, 1, 8, 8\), that of what is given, but it made \(\)"),
        ],
    )
    def test_of_maps_that_give_other_shapes(self, forward, backward, sentence):
        with pytest.raises(ValueError, match=sentence):
            model_of().restore(torch.rand(2, *SHAPE), forward, backward)

    def test_of_labels_without_classes(self):
        labels, model = torch.tensor([0, 1]), model_of()
        for call in (lambda: model.sample(2, labels), lambda: model.loss(torch.rand(2, *SHAPE), labels)):
            with pytest.raises(ValueError, match="knows no labels; build it with n_classes, or give none"):
                call()
