"""Energies: Langevin dynamics has the variance it should, chains live in the replay, the net learns from both sides and nothing else."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from genrl.data import Images
from genrl.models.base import load_model, save_model
from genrl.models.capabilities import Decoder, Density, Encoder, Sampler
from genrl.models.energy import EnergyModel, langevin
from genrl.models.training import fit, held_out_loss

SHAPE = (1, 8, 8)


def model_of(shape=SHAPE, **settings) -> EnergyModel:
    return EnergyModel(shape, **{"width": 3, "features": 5, "chains": 12, "langevin_steps": 3, **settings})


def some_images(n=24) -> Images:
    return Images(torch.randint(256, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)))


def steep(model: EnergyModel) -> EnergyModel:
    """With energies of some size: those of an untrained net hardly differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


@pytest.mark.usefixtures("double")
class TestLangevin:
    @pytest.mark.parametrize("step", [0.1, 1.0])
    def test_a_gaussian_has_its_mean_and_the_variance_of_finite_steps(self, step):
        """x' = m + (1 - s)(x - m) + sqrt(2 s) ξ has the variance 2 s / (1 - (1 - s)²) = 1 / (1 - s / 2)."""
        mean, n = torch.tensor([0.7, -2.0]), 10_000
        at = torch.full((n, 2), 5.0)
        steps = math.ceil(12 / step)  # what is left of the start: e^-12
        draws = langevin(lambda x: (x - mean).square().sum(1) / 2, at, steps, step, math.sqrt(2 * step), low=None, high=None)
        variance = 1 / (1 - step / 2)
        error = math.sqrt(variance / n)
        torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=4 * error)
        torch.testing.assert_close(draws.var(0), torch.full((2,), variance), rtol=4 * math.sqrt(2 / n), atol=0)
        assert torch.corrcoef(draws.T)[0, 1].abs() < 4 / math.sqrt(n)

    def test_a_step_by_hand(self):
        x, generator = torch.tensor([[0.5, 0.9], [0.2, 0.0]]), torch.Generator().manual_seed(3)
        xi = torch.randn(2, 2, generator=torch.Generator().manual_seed(3))
        made = langevin(lambda x: 2 * x.square().sum(1), x, 1, 0.1, 0.05, generator)
        torch.testing.assert_close(made, (x - 0.1 * 4 * x + 0.05 * xi).clamp(0, 1))

    def test_energy_falls_in_every_step_without_noise(self):
        model = steep(model_of())
        x = torch.rand(6, *SHAPE)
        for _ in range(10):
            before, x = model.energy(x), langevin(model.energy, x, 1, 1e-3, 0.0)
            assert (model.energy(x) < before).all()

    def test_gradients_are_clipped_element_by_element(self):
        made = langevin(lambda x: x @ torch.tensor([5.0, -0.02]), torch.zeros(1, 2), 1, 1.0, 0.0, low=None, high=None, clip=0.1)
        assert made.tolist() == [[-0.1, 0.02]]

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (None, 1.0), (0.0, None), (None, None)])
    def test_every_step_stays_within_the_range(self, low, high):
        seen = []

        def energy(x):
            seen.append(x.detach().clone())
            return -(10.0 * x).sum(1)

        made = langevin(energy, torch.tensor([[0.5], [0.1]]), 3, 1.0, 20.0, torch.Generator().manual_seed(2), low, high)
        for x in [*seen, made]:
            assert (low is None or x.min() >= low) and (high is None or x.max() <= high)
        assert made.max() > 1 or high is not None

    def test_neither_x_nor_the_net_is_touched(self):
        model = model_of()
        x = torch.rand(2, *SHAPE, requires_grad=True)
        kept = x.detach().clone()
        with torch.no_grad():
            made = langevin(model.energy, x, 2, 0.1, 0.1)
        assert torch.equal(x, kept) and x.grad is None and x.requires_grad
        assert not made.requires_grad
        assert all(item.grad is None and item.requires_grad for item in model.parameters())

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"steps": -1}, "steps to be at least 0, but was given -1"),
            ({"step_size": 0.0}, "step_size to be positive and finite, but was given 0.0"),
            ({"noise": -0.1}, "noise to be at least 0 and finite, but was given -0.1"),
            ({"low": 1.0}, "low to be below high, 1.0, but was given 1.0"),
            ({"clip": 0.0}, "clip to be positive, or None, but was given 0.0"),
        ],
    )
    def test_values_out_of_range_are_refused(self, values, sentence):
        with pytest.raises(ValueError, match=f"langevin needs {sentence}"):
            langevin(lambda x: x.sum(1), torch.zeros(1, 1), **{"steps": 1, "step_size": 0.1, "noise": 0.0, **values})


@pytest.mark.usefixtures("double")
class TestLoss:
    def test_is_that_of_a_stub_by_hand(self):
        """E(x) = 3 · mean of x: chains go down the slope 3 / 64 in each of their two steps."""
        model = model_of(sigma=0.0, noise=0.0, restart=0.0, penalty=0.25, tie=0.5, chains=4, langevin_steps=2, step_size=0.5, clip=1.0)
        model._energy = lambda x: 3 * x.mean((1, 2, 3))
        model.replay.fill_(102)  # 0.4
        x = torch.full((2, *SHAPE), 0.5)
        x[1] = 0.7
        chains = 3 * (0.4 - 2 * 0.5 * 3 / 64)
        real = (1.5 + 2.1) / 2
        wanted = real - chains + 0.75 * (1.5**2 + 2.1**2) / 2 + 0.25 * chains**2
        assert model.loss(x).item() == pytest.approx(wanted, abs=1e-12)

    def test_noise_is_added_to_images_within_the_range(self):
        model, seen = model_of(sigma=0.5, chains=1), []
        model._energy = lambda x: (seen.append(x.detach()), x.sum((1, 2, 3)))[1]
        model.loss(torch.full((400, *SHAPE), 0.5))
        noisy = seen[-1][:400]
        assert noisy.min() == 0 and noisy.max() == 1
        clamped = (0.5 + 0.5 * torch.randn(400_000)).clamp(0, 1).std()
        assert noisy.std().item() == pytest.approx(clamped.item(), rel=0.02)

    def test_every_parameter_takes_a_gradient(self):
        model = model_of()
        model.loss(torch.rand(4, *SHAPE)).backward()
        assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters() if item is not model.head.bias)
        assert model.head.bias.grad.abs() > 0  # by the penalty alone

    def test_its_gradient_is_that_of_chains_held_fixed(self):
        model, x = model_of(sigma=0.0, penalty=0.0, tie=0.0, chains=4), torch.rand(4, *SHAPE)
        twin = copy.deepcopy(model)
        torch.manual_seed(5)
        model.loss(x).backward()
        torch.manual_seed(5)
        torch.randn_like(x)  # of the images, here times 0
        chains = twin._move(4, x.dtype).detach()
        twin.zero_grad()
        (twin.energy(x).mean() - twin.energy(chains).mean()).backward()
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad)

    def test_of_evaluation_draws_and_moves_nothing(self):
        model = model_of().eval()
        kept, x, before = model.replay.clone(), torch.rand(5, *SHAPE), torch.get_rng_state()
        with torch.no_grad():
            loss = model.loss(x)
            wanted = model.energy(x).mean() - model.energy(model.replay[:5] / 255).mean()
        torch.testing.assert_close(loss, wanted)
        assert torch.equal(model.replay, kept) and torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("double")
class TestReplay:
    def test_has_where_chains_are_in_whole_levels(self):
        model = steep(model_of(restart=0.0))
        before = model.replay.clone()
        made = model._move(5, torch.float64)
        moved = (model.replay != before).flatten(1).any(1)
        assert moved.sum() == 5
        levels = (255 * made).round().to(torch.uint8)
        assert sorted(levels.flatten(1).tolist()) == sorted(model.replay[moved].flatten(1).tolist())

    def test_a_chain_goes_on_from_where_it_was(self):
        model = steep(model_of(chains=1, restart=0.0, noise=0.0))
        for _ in range(2):
            wanted = model._descend(model.replay / 255, model.langevin_steps)
            assert torch.equal(model._move(1, torch.float64), wanted)

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_a_share_of_the_chains_starts_again(self, share):
        model = model_of(chains=2000, restart=share, noise=0.0, langevin_steps=1, step_size=1e-9)
        before = model.replay.clone()
        model._move(2000, torch.float64)
        again = (model.replay != before).flatten(1).any(1).double().mean().item()
        assert again == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 2000))

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_a_share_of_those_are_shapes_and_the_rest_noise(self, share):
        made = model_of(shapes=share)._fresh(2000, torch.float64)
        assert made.shape == (2000, *SHAPE) and made.min() >= 0 and made.max() <= 1
        noise = ((made > 0) & (made < 1)).flatten(1).all(1) & (made.flatten(1).std(1) > 0.2)
        assert noise.double().mean().item() == pytest.approx(1 - share, abs=0.05)

    def test_a_batch_larger_than_the_replay_moves_all_of_it(self):
        model = model_of(chains=3)
        assert len(model._move(10, torch.float64)) == 3
        assert model.loss(torch.rand(10, *SHAPE)).isfinite()


class TestFit:
    def test_stopped_and_resumed_it_repeats_bit_for_bit(self, tmp_path):
        torch.manual_seed(0)
        whole = model_of()
        torch.manual_seed(0)
        parts = model_of()
        given = {"batch_size": 8, "held_out": some_images(6), "precision": "bfloat16", "progress": False}
        rows = fit(whole, some_images(), epochs=3, **given)
        fit(parts, some_images(), epochs=1, checkpoint=tmp_path / "fit.safetensors", **given)
        again = fit(model_of(), some_images(), epochs=3, checkpoint=tmp_path / "fit.safetensors", **given)
        assert [row["loss"] for row in again] == [row["loss"] for row in rows]
        assert [row["held_out_loss"] for row in again] == [row["held_out_loss"] for row in rows]

    def test_a_resumed_model_has_the_same_weights_and_chains(self, tmp_path):
        torch.manual_seed(0)
        first = model_of()
        second, third = copy.deepcopy(first), model_of()
        given = {"batch_size": 8, "progress": False}
        fit(first, some_images(), epochs=3, **given)
        fit(second, some_images(), epochs=2, checkpoint=tmp_path / "fit.safetensors", **given)
        fit(third, some_images(), epochs=3, checkpoint=tmp_path / "fit.safetensors", **given)
        for name, value in first.state_dict().items():
            assert torch.equal(value, third.state_dict()[name]), name

    def test_held_out_losses_are_the_same_for_every_call(self):
        model = model_of()
        assert held_out_loss(model, some_images(), seed=0) == held_out_loss(model, some_images(), seed=1)

    def test_an_average_of_weights_has_the_last_chains_and_no_mean_of_them(self):
        averaging, last = model_of(), model_of()
        last.load_state_dict(averaging.state_dict())
        for model, decay in ((averaging, 0.999), (last, 0.0)):
            fit(model, some_images(), epochs=2, batch_size=8, average=decay, progress=False)
        assert torch.equal(averaging.replay, last.replay)
        assert not torch.equal(averaging.head.weight, last.head.weight)

    def test_energies_of_images_fall_below_those_of_chains_when_it_learns(self):
        model, images = model_of(chains=64, restart=0.5), Images(torch.full((64, *SHAPE), 100, dtype=torch.uint8))
        fit(model, images, epochs=30, batch_size=32, learning_rate=1e-2, progress=False)
        with torch.no_grad():
            image, noise = model.energy(images.batch()).mean(), model.energy(torch.rand(64, *SHAPE)).mean()
        assert image < noise - 0.1

    def test_adam_has_no_momentum(self):
        (player,) = model_of().players()
        assert player.betas == (0.0, 0.999) and player.name == "loss"


@pytest.mark.usefixtures("double")
class TestSampling:
    def test_lines_run_along_the_edges_of_shapes(self, monkeypatch):
        """Where a shape has the light f between black and white, its line has 1 - f; inside it there is none."""
        model, rand, made = model_of(shapes=1.0), torch.rand, []
        for coin in (1.0, 0.0):
            torch.manual_seed(0)
            places = iter([None, None, None, None, coin])
            monkeypatch.setattr(
                torch, "rand", lambda *n, places=places, **k: rand(*n, **k) if (value := next(places)) is None else torch.full(n, value)
            )
            made.append(model._fresh(50, torch.float64))
        shapes, lines = made
        edge = (shapes > 0) & (shapes < 1)
        assert 0.1 < edge.double().mean() < 0.9
        torch.testing.assert_close(lines[edge], 1 - shapes[edge])
        assert lines[shapes == 1].max() == 0

    @pytest.mark.parametrize("start", ["replay", "noise"])
    def test_draws_are_images_and_leave_the_replay(self, start):
        model = model_of()
        kept = model.replay.clone()
        drawn = model.sample(30, steps=2, start=start)
        assert drawn.shape == (30, *SHAPE) and drawn.min() >= 0 and drawn.max() <= 1 and not drawn.requires_grad
        assert torch.equal(model.replay, kept)
        assert model.sample(0).shape == (0, *SHAPE)

    def test_they_are_chains_of_the_replay_that_go_on(self):
        model = steep(model_of(noise=0.0))
        assert sorted((255 * model.sample(12, steps=0)).round().flatten(1).tolist()) == sorted(model.replay.double().flatten(1).tolist())
        one = model_of(chains=1, noise=0.0)
        assert torch.equal(one.sample(1), one._descend(one.replay / 255, 3))

    def test_the_same_generator_gives_the_same_draws(self):
        model, generator = model_of(), torch.Generator()
        for start in ("replay", "noise"):
            first = model.sample(3, start=start, generator=generator.manual_seed(4))
            assert torch.equal(first, model.sample(3, start=start, generator=generator.manual_seed(4)))


def test_a_file_has_the_chains_too(tmp_path):
    model = model_of()
    save_model(tmp_path / "model.safetensors", model)
    back, x = load_model(tmp_path / "model.safetensors"), torch.rand(4, *SHAPE)
    assert isinstance(back, EnergyModel) and back.settings == model.settings
    assert torch.equal(back.replay, model.replay) and torch.equal(back.energy(x), model.energy(x))


def test_an_energy_is_no_density():
    model = model_of()
    assert isinstance(model, Sampler) and isinstance(model, Encoder)
    assert not isinstance(model, Density) and not isinstance(model, Decoder)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (2, 28, 17)])
def test_images_of_any_size_have_energies_and_features(shape):
    model, x = model_of(shape), torch.rand(4, *shape)
    assert model.energy(x).shape == (4,) and model.encode(x).shape == (4, 5)
    assert model.loss(x).isfinite() and model.sample(2).shape == (2, *shape)
    torch.testing.assert_close(model.head(model.encode(x))[:, 0], model.energy(x))


def test_an_energy_is_of_its_own_image_alone():
    model, x = model_of().train(), torch.rand(6, *SHAPE)
    torch.testing.assert_close(model.energy(x)[2:3], model.energy(x[2:3]))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_shape": (1, 7, 8)}, r"image_shape to be channels, and a height and width of at least 8, but was given \(1, 7, 8\)"),
        ({"width": 0}, "width to be at least 1, but was given 0"),
        ({"features": 0}, "features to be at least 1, but was given 0"),
        ({"chains": 0}, "chains to be at least 1, but was given 0"),
        ({"restart": 1.1}, r"restart to be in \[0, 1\], but was given 1.1"),
        ({"shapes": -0.1}, r"shapes to be in \[0, 1\], but was given -0.1"),
        ({"langevin_steps": 0}, "langevin_steps to be at least 1, but was given 0"),
        ({"step_size": math.inf}, "step_size to be positive and finite, but was given inf"),
        ({"noise": -0.1}, "noise to be at least 0 and finite, but was given -0.1"),
        ({"clip": 0.0}, "clip to be positive, but was given 0.0"),
        ({"sigma": math.nan}, "sigma to be at least 0 and finite, but was given nan"),
        ({"penalty": -1.0}, "penalty to be at least 0 and finite, but was given -1.0"),
        ({"tie": -0.5}, "tie to be at least 0 and finite, but was given -0.5"),
    ],
)
def test_values_out_of_range_are_refused(values, sentence):
    with pytest.raises(ValueError, match=f"EnergyModel needs {sentence}"):
        EnergyModel(**{"image_shape": SHAPE, **values})


def test_images_and_draws_that_are_none_are_refused():
    model = model_of()
    for method in (model.energy, model.encode, model.loss):
        with pytest.raises(ValueError, match=r"EnergyModel models images of shape \(1, 8, 8\), but was given \(2, 1, 9, 8\)"):
            method(torch.zeros(2, 1, 9, 8))
    with pytest.raises(ValueError, match="from the replay or from noise, but was given 2 from 'zeros'"):
        model.sample(2, start="zeros")
    with pytest.raises(ValueError, match=r"at least 0 images .* but was given -1"):
        model.sample(-1)
