"""The one fit loop: it learns, repeats itself, goes on after a stop as if there had been none, and says where a NaN came."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genrl.data import ImageData, ImageError, Images
from genrl.models.capabilities import Player
from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.corruptions import quadrants
from genrl.models.gan import GAN
from genrl.models.losses import arguments
from genrl.models.pixelcnn import PixelCNN
from genrl.models.pixels import binarize, bits_per_dim, quantize, resize
from genrl.models.sources import TensorSource
from genrl.models.training import averaged, faster_precision, fit, held_out_loss
from genrl.models.vae import VAE


class Pixels(nn.Module):
    """Independent black or white pixels: the maximum of the likelihood is known."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, 4, 4))

    def loss(self, x: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self.logits.expand_as(x), x, reduction="none").sum((1, 2, 3)).mean()


class Noisy(Pixels):
    """Draws random numbers of its own, as a VAE does."""

    def loss(self, x: Tensor) -> Tensor:
        return super().loss(x) + 0.1 * torch.randn(()) * self.logits.sum()


class Conditional(nn.Module):
    conditional = True

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3, 1, 4, 4))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self.logits[labels], x, reduction="none").sum((1, 2, 3)).mean()


class Falls(nn.Module):
    """A parameter with a gradient of one, by which Adam steps by its rate."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def loss(self, x: Tensor) -> Tensor:
        return self.w + 0 * x.sum()


class Two(nn.Module):
    """Two players, each with a parameter that only its own loss may move."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def players(self) -> list[Player]:
        return [
            Player("a", [self.a], lambda x: (self.a - 1 + 0 * self.b).square()),
            Player("b", [self.b], lambda x: (self.b - self.a).square(), pace=0.5),
        ]


def images(n: int = 70, labels: bool = False) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(n) % 3 if labels else None)


def quiet(model: nn.Module, data: Images, **options):
    return fit(model, data, **{"epochs": 2, "batch_size": 16, "progress": False, **options})


def test_finds_the_maximum_of_the_likelihood():
    model, data = Pixels(), images()
    rows = quiet(model, data, epochs=200, learning_rate=0.05, anneal=True, held_out=data)
    mean = data.batch().mean(0)
    torch.testing.assert_close(model.logits.detach().sigmoid(), mean, rtol=0, atol=0.02)
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).sum()
    assert rows[-1]["held_out_loss"] == pytest.approx(float(entropy), abs=0.01)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert [row["step"] for row in rows[:3]] == [5, 10, 15]  # 70 images in five batches


def test_the_same_seed_repeats_it_and_leaves_the_callers_random_numbers_alone():
    before = torch.get_rng_state()
    models = [Noisy() for _ in range(3)]
    logs = [quiet(model, images(), transform=binarize, seed=seed) for model, seed in zip(models, (1, 1, 2), strict=True)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(models[0].logits, models[1].logits)
    assert not torch.equal(models[0].logits, models[2].logits)
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_goes_on_after_a_stop_as_if_there_had_been_none(tmp_path: Path, average: float):
    whole, stopped = Noisy(), Noisy()
    options = {"epochs": 4, "transform": binarize, "held_out": images(20), "average": average, "anneal": True}
    rows = quiet(whole, images(), **options)

    def stop(model: nn.Module, row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet(stopped, images(), checkpoint=tmp_path / "fit.safetensors", on_epoch=stop, **options)
    fresh = Noisy()
    again = quiet(fresh, images(), checkpoint=tmp_path / "fit.safetensors", **options)
    assert torch.equal(fresh.logits, whole.logits)
    keep = ("epoch", "step", "loss", "held_out_loss")
    assert [[row[name] for name in keep] for row in again] == [[row[name] for name in keep] for row in rows]


def test_a_finished_fit_is_not_repeated(tmp_path: Path):
    first, second = Pixels(), Pixels()
    quiet(first, images(), checkpoint=tmp_path / "fit.safetensors")
    quiet(second, images(), checkpoint=tmp_path / "fit.safetensors", on_epoch=lambda *_: pytest.fail("it learnt"))
    assert torch.equal(first.logits, second.logits)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path):
    images = Images(torch.randint(256, (16, 1, 8, 8), dtype=torch.uint8))
    fit(PixelCNN((1, 8, 8), width=4, depth=1), images, epochs=1, checkpoint=tmp_path / "fit.safetensors", progress=False)
    with pytest.raises(ValueError, match="another model"):
        fit(PixelCNN((1, 8, 8), width=4, depth=2), images, epochs=2, checkpoint=tmp_path / "fit.safetensors", progress=False)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path):
    quiet(Pixels(), images(), checkpoint=tmp_path / "fit.safetensors")
    with pytest.raises(ValueError, match=r"is of a fit with another batch_size \(16 instead of 8\); give another file, or delete it"):
        quiet(Pixels(), images(), checkpoint=tmp_path / "fit.safetensors", batch_size=8)
    for name, value in {"learning_rate": 0.5, "anneal": True, "warmup": 3, "max_grad_norm": 1.0, "average": 0.0, "seed": 1}.items():
        with pytest.raises(ValueError, match=f"is of a fit with another {name} "):
            quiet(Pixels(), images(), checkpoint=tmp_path / "fit.safetensors", **{name: value})
    with pytest.raises(ValueError, match="is of a fit with another first_images "):
        quiet(Pixels(), Images(255 - images().pixels), checkpoint=tmp_path / "fit.safetensors")
    with pytest.raises(ValueError, match="has 2 epochs, but was asked for 1; give more, or another file"):
        quiet(Pixels(), images(), checkpoint=tmp_path / "fit.safetensors", epochs=1)


def test_who_looks_at_a_model_changes_nothing():
    plain, looked_at = Noisy(), Noisy()
    seen = []
    quiet(plain, images(), epochs=3)
    quiet(looked_at, images(), epochs=3, on_epoch=lambda model, row: seen.append(torch.rand(()).item()))
    assert len(set(seen)) == 3
    assert torch.equal(plain.logits, looked_at.logits)


def test_a_stop_while_one_looks_costs_no_epoch(tmp_path: Path):
    def stop(model, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    whole, stopped = Pixels(), Pixels()
    quiet(whole, images(), epochs=3)
    with pytest.raises(KeyboardInterrupt):
        quiet(stopped, images(), epochs=3, checkpoint=tmp_path / "fit.safetensors", on_epoch=stop)
    epochs = []
    again = Pixels()
    quiet(again, images(), epochs=3, checkpoint=tmp_path / "fit.safetensors", on_epoch=lambda model, row: epochs.append(row["epoch"]))
    assert epochs == [3]
    assert torch.equal(again.logits, whole.logits)


def test_a_loss_that_is_not_finite_stops_it_with_the_step_named(tmp_path: Path):
    model, calls, whole = Pixels(), [], Pixels.loss

    def breaks(x: Tensor) -> Tensor:
        calls.append(x)
        return whole(model, x) * (float("nan") if len(calls) == 8 else 1)

    model.loss = breaks
    with pytest.raises(FloatingPointError, match="the loss of a batch is nan in epoch 2, step 7"):
        quiet(model, images(), checkpoint=tmp_path / "fit.safetensors")
    quiet(Pixels(), images(), checkpoint=tmp_path / "fit.safetensors")  # the checkpoint of the first epoch is whole


def test_a_gradient_that_is_not_finite_in_the_last_step_leaves_the_checkpoint_as_it_was(tmp_path: Path):
    quiet(Pixels(), images(), epochs=1, checkpoint=tmp_path / "fit.safetensors")
    before = (tmp_path / "fit.safetensors").read_bytes()
    model, calls, whole = Pixels(), [], Pixels.loss

    def breaks(x: Tensor) -> Tensor:
        calls.append(x)
        same = (model.logits - model.logits.detach()).abs().sqrt().sum()  # zero, but its slope is none
        return whole(model, x) + (same if len(calls) == 5 else 0)

    model.loss = breaks
    with pytest.raises(FloatingPointError, match="the sum of logits is nan in epoch 2, step 10"):
        quiet(model, images(), epochs=2, checkpoint=tmp_path / "fit.safetensors", on_epoch=lambda *_: pytest.fail("it went on"))
    assert (tmp_path / "fit.safetensors").read_bytes() == before


def test_a_held_out_loss_that_is_not_finite_stops_it_too():
    model, whole = Pixels(), Pixels.loss
    model.loss = lambda x: whole(model, x) * (1 if model.training else float("inf"))
    with pytest.raises(FloatingPointError, match="the held-out loss is inf in epoch 1, step 5"):
        quiet(model, images(), held_out=images(), on_epoch=lambda *_: pytest.fail("it went on"))


def test_a_checkpoint_whose_weights_have_other_names_is_refused(tmp_path: Path):
    quiet(Pixels(), images(), checkpoint=tmp_path / "fit.safetensors")
    model = Pixels()
    model.more = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="is of another version of Pixels; give another file, or delete it"):
        quiet(model, images(), checkpoint=tmp_path / "fit.safetensors")


BOTH = ImageData("a", *2 * [Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8))])


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ("mnist", TypeError, r"but was given str; give an array \(image, channel, height, width\)"),
        (BOTH, TypeError, r"but was given ImageData; give its \.train"),
        (torch.zeros(4, 2, 2), ValueError, r"of shape \(image, channel, height, width\), at least one, but was given \(4, 2, 2\)"),
        (torch.zeros(0, 1, 2, 2), ValueError, r"at least one, but was given \(0, 1, 2, 2\)"),
        (torch.full((4, 1, 2, 2), 255.0), ValueError, r"floats in \[0, 1\], but was given float32 from 255 to 255; rescale them"),
        (torch.full((4, 1, 2, 2), float("nan")), ValueError, r"floats in \[0, 1\], but was given float32 from nan to nan"),
        (np.zeros((4, 1, 2, 2), np.int64), ValueError, r"as bytes \(uint8\) or as floats in \[0, 1\], but was given int64 from 0 to 0"),
    ],
)
def test_what_is_no_images_is_refused_with_what_to_give(given, error, sentence):
    with pytest.raises(error, match=sentence):
        quiet(Pixels(), given)


def test_arrays_of_bytes_and_of_floats_are_images():
    data = images()
    models = [Pixels() for _ in range(5)]
    bytes_, floats = data.pixels, data.batch()
    for model, given in zip(models, (data, bytes_, bytes_.numpy(), floats, floats.double().numpy()), strict=True):
        quiet(model, given, held_out=given)
        assert torch.equal(model.logits, models[0].logits)


@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_a_model_of_doubles_learns_and_is_measured_in_doubles(kind):
    data, model = images(), PixelCNN((1, 4, 4), width=4, depth=1, levels=4).double()
    given = data.pixels if kind == "bytes" else data.batch().double()
    (row,) = quiet(model, given, held_out=given, epochs=1, average=0.0)
    x = quantize(4)(data.batch().double(), torch.Generator())
    assert row["held_out_loss"] == pytest.approx(-model.log_prob(x).mean().item(), rel=1e-12)
    assert held_out_loss(model, given) == pytest.approx(row["held_out_loss"], rel=1e-12)


def test_a_held_out_loss_that_is_refused_leaves_the_mode_as_it_was():
    vae = VAE((1, 4, 4), latent=2, hidden=(8,)).train()
    with pytest.raises(ValueError, match="models images of shape"):
        held_out_loss(vae, torch.zeros(3, 1, 5, 5))
    assert vae.training


class Steps(nn.Module):
    """Learns how frames move with actions: rows of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))

    def loss(self, frames: Tensor, actions: Tensor) -> Tensor:
        moved = (frames[:, 1] - frames[:, 0]).mean((1, 2, 3))
        return (moved - self.gain * actions.squeeze(1)).square().mean()


def steps(n: int = 64) -> TensorSource:
    """Two frames, the second of which is lighter by half the action."""
    actions = torch.rand(n, 1, generator=torch.Generator().manual_seed(0))
    frames = torch.stack([torch.zeros(n, 1, 4, 4), 0.5 * actions[:, :, None, None].expand(n, 1, 4, 4)], dim=1)
    return TensorSource(frames, actions)


def test_rows_of_several_tensors_are_the_arguments_of_the_loss():
    model = Steps()
    rows = quiet(model, steps(), held_out=steps(), epochs=100, learning_rate=0.05, average=0.0)
    assert model.gain.item() == pytest.approx(0.5, abs=0.01)
    assert rows[-1]["held_out_loss"] < 1e-4


def test_a_models_transform_is_given_all_tensors_of_a_row():
    class Halved(Steps):
        def transform(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
            frames, actions = batch
            return frames / 2, actions

    model = Halved()
    quiet(model, steps(), epochs=100, learning_rate=0.05, average=0.0)
    assert model.gain.item() == pytest.approx(0.25, abs=0.01)


def test_a_fit_to_several_tensors_goes_on_as_if_never_stopped_and_knows_them_again(tmp_path: Path):
    whole, stopped, again = Steps(), Steps(), Steps()
    quiet(whole, steps(), epochs=4)
    quiet(stopped, steps(), epochs=2, checkpoint=tmp_path / "fit.safetensors")
    quiet(again, steps(), epochs=4, checkpoint=tmp_path / "fit.safetensors")
    assert torch.equal(again.gain, whole.gain)
    frames, actions = steps().tensors
    with pytest.raises(ValueError, match="is of a fit with another first_images"):
        quiet(Steps(), TensorSource(frames, -actions), epochs=4, checkpoint=tmp_path / "fit.safetensors")


def test_bytes_of_a_row_are_levels_and_other_tensors_stay_as_they_are():
    frames, actions = torch.tensor([[[0, 51]], [[255, 102]]], dtype=torch.uint8), torch.tensor([3, -1])
    levels, same = TensorSource(frames, actions).batch(torch.tensor([1, 0]))
    assert levels.tolist() == torch.tensor([[[1.0, 0.4]], [[0.0, 0.2]]]).tolist()
    assert same.tolist() == [-1, 3]


def test_tensors_of_several_lengths_are_no_rows():
    with pytest.raises(ValueError, match=r"tensors of one length, and at least one row, but was given \(3, 1\), \(2,\)"):
        TensorSource(torch.zeros(3, 1), torch.zeros(2))
    with pytest.raises(ValueError, match="these tensors have no labels"):
        quiet(Conditional(), TensorSource(torch.zeros(3, 1, 4, 4)))


def test_the_model_keeps_the_average_of_its_weights():
    model = Falls()
    quiet(model, images(64), epochs=1, batch_size=16, learning_rate=0.1, average=0.5)
    average, weight = 0.0, 0.0
    for step in range(1, 5):
        weight -= 0.1
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert model.w.item() == pytest.approx(average, rel=1e-4)


def test_an_annealed_rate_falls_to_zero_as_half_a_cosine():
    model = Falls()
    quiet(model, images(64), epochs=1, batch_size=16, learning_rate=0.1, average=0.0, anneal=True)
    rates = [0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert model.w.item() == pytest.approx(-sum(rates), rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutions_go_on_as_if_never_stopped(tmp_path, precision):
    def model():
        torch.manual_seed(0)
        return PixelCNN((1, 8, 8), width=8, depth=1)

    data = Images(torch.randint(256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    options = {"precision": precision, "batch_size": 16, "progress": False}
    whole, stopped, again = model(), model(), model()
    fit(whole, data, epochs=4, **options)
    fit(stopped, data, epochs=2, checkpoint=tmp_path / "fit.safetensors", **options)
    fit(again, data, epochs=4, checkpoint=tmp_path / "fit.safetensors", **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("flags", "faster"),
    [("flags : sse avx2 avx512_bf16", "bfloat16"), ("flags : amx_bf16 avx2", "bfloat16"), ("Features : fp bf16", "bfloat16"),
     ("flags : sse avx2 avx512f", "float32"), (None, "float32")],
)  # fmt: skip
def test_the_faster_precision_is_what_the_processor_is_made_for(monkeypatch, flags, faster):
    def read_text(path):
        if flags is None or path != Path("/proc/cpuinfo"):
            raise FileNotFoundError(path)
        return flags

    monkeypatch.setattr(Path, "read_text", read_text)
    assert faster_precision() == faster_precision("auto") == faster
    assert faster_precision("float32") == "float32"
    assert faster_precision("bfloat16") == "bfloat16"
    seen = []
    model = Falls()
    model.loss = lambda x: seen.append(torch.is_autocast_enabled("cpu")) or Falls.loss(model, x)
    quiet(model, images(16), epochs=1, precision="auto")
    assert seen == [faster == "bfloat16"]


def test_what_can_not_be_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match="warmup at least 0, but was given -1"):
        quiet(Falls(), images(), epochs=1, warmup=-1)
    for norm in (0.0, -1.0):
        with pytest.raises(ValueError, match=f"max_grad_norm positive, or None, but was given {norm}"):
            quiet(Falls(), images(), epochs=1, max_grad_norm=norm)
    with pytest.raises(ValueError, match=r"there is no folder .* for the checkpoint; make it first"):
        quiet(Falls(), images(), epochs=1, checkpoint=tmp_path / "nowhere" / "fit.safetensors")


def test_a_warm_up_begins_with_a_share_of_the_rate():
    model = Falls()
    quiet(model, images(64), epochs=1, batch_size=16, learning_rate=0.1, average=0.0, warmup=3)
    assert model.w.item() == pytest.approx(-(0.1 / 3 + 0.2 / 3 + 0.1 + 0.1), rel=1e-4)


def test_each_player_moves_its_own_parameters_in_turn():
    model = Two()
    rows = quiet(model, images(), epochs=1, learning_rate=0.1, average=0.0, batch_size=70)
    assert model.a.item() == pytest.approx(0.1, abs=1e-4)
    assert model.b.item() == pytest.approx(0.05, abs=1e-4)  # at half the pace; it saw the first's new parameter
    assert rows[0]["a"] == pytest.approx(1.0)
    assert rows[0]["b"] == pytest.approx(0.01, rel=1e-3)


def test_labels_go_to_a_conditional_model_and_are_asked_for():
    model, data = Conditional(), images(labels=True)
    quiet(model, data, epochs=150, learning_rate=0.1)
    own = torch.stack([data[data.labels == label].batch().mean(0) for label in range(3)])
    assert (model.logits.detach().sigmoid() - own).abs().max() < 0.05
    with pytest.raises(ImageError, match="these images have no labels"):
        quiet(Conditional(), images())


def test_a_class_that_only_the_held_out_images_have_is_refused_before_the_first_step():
    model, data = Conditional(), images(labels=True)
    model.n_classes = 2
    with pytest.raises(ValueError, match="this Conditional has 2 classes, but held_out have label 2; build it with n_classes=3"):
        quiet(model, data[data.labels < 2], held_out=data, on_epoch=lambda *_: pytest.fail("it learnt"))


@pytest.mark.parametrize("cls", [VAE, ConditionalVAE, GAN])
@pytest.mark.parametrize(("n", "size", "made"), [(8, 1, 1), (9, 8, 4), (1, 8, 1)])
def test_batches_that_are_too_small_for_a_model_are_refused_before_the_first_step(cls, n, size, made):
    model, data = cls((1, 8, 8)), Images(torch.zeros(n, 1, 8, 8, dtype=torch.uint8))
    options = {"transform": quadrants(1)} if cls is ConditionalVAE else {}
    if made >= 2:
        quiet(model, data, epochs=1, batch_size=size, **options)
        return
    with pytest.raises(
        ValueError, match=f"{cls.__name__} needs at least 2 images in a batch, but batch_size {size} makes batches of {made} of"
    ):
        quiet(model, data, batch_size=size, **options)


def test_a_vae_says_what_it_needs_when_its_loss_gets_one_image():
    with pytest.raises(ValueError, match="VAE needs batches of at least 2 images, but was given 1; raise batch_size"):
        VAE((1, 8, 8)).loss(torch.zeros(1, 1, 8, 8))
    assert VAE((1, 8, 8)).eval().loss(torch.zeros(1, 1, 8, 8)).isfinite()


def test_weights_are_exchanged_for_a_while():
    model = Pixels()
    with averaged(model, {"logits": torch.ones(1, 4, 4)}):
        assert model.logits.mean() == 1
        assert not model.training
    assert model.logits.mean() == 0
    assert model.training


def test_the_held_out_loss_is_the_mean_over_all_images_and_repeats_itself():
    model, data = Noisy(), images()
    with torch.no_grad():
        model.logits.fill_(0.3)
    assert held_out_loss(model, data, binarize, batch_size=16) == held_out_loss(model, data, binarize, batch_size=16)
    plain = Pixels()
    plain.load_state_dict(model.state_dict())
    assert held_out_loss(plain, data, batch_size=16) == pytest.approx(float(plain.loss(data.batch()).detach()), rel=1e-5)


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("batch_size", 0), ("learning_rate", -1.0), ("average", 1.0)])
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"fit needs {name} .*, but was given {value}"):
        quiet(Pixels(), images(), **{name: value})


def test_what_has_no_loss_is_refused():
    with pytest.raises(TypeError, match=r"Linear has no loss\(x\), which fit needs"):
        quiet(nn.Linear(2, 2), images())


class TestPixels:
    def test_binary_draws_have_the_grey_levels_as_means_and_are_new_every_time(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.tensor([0.0, 0.25, 1.0]).expand(20_000, 3)
        draws = binarize(x, generator)
        assert set(draws.unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(draws.mean(0), x[0], rtol=0, atol=0.02)
        assert not torch.equal(draws, binarize(x, generator))

    def test_a_model_says_what_it_sees(self):
        seen = []

        class Watching(PixelCNN):
            def loss(self, x):
                seen.append(x)
                return super().loss(x)

        grey = Images(torch.full((64, 1, 4, 4), 77, dtype=torch.uint8))
        for levels, values in ((2, [0.0, 1.0]), (4, [1 / 3])):
            fit(Watching((1, 4, 4), levels=levels, width=4, depth=1), grey, epochs=1, progress=False)
            torch.testing.assert_close(seen.pop().unique(), torch.tensor(values))

    @pytest.mark.parametrize("levels", [2, 4, 16, 256])
    def test_a_level_is_an_equal_share_of_the_bytes(self, levels):
        made = quantize(levels)(torch.arange(256) / 255, torch.Generator())
        assert (made * (levels - 1)).round().int().tolist() == [byte * levels // 256 for byte in range(256)]

    def test_a_small_pixel_is_the_mean_of_those_it_covers(self):
        x = torch.arange(16.0).view(1, 1, 4, 4)
        assert resize(2)(x, torch.Generator()).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]

    def test_a_bit_is_a_bit(self):
        assert bits_per_dim(544.0, (1, 28, 28)) == pytest.approx(544 / 784 / 0.6931471805599453)


class TestADevice:
    """That of the weights is where a fit computes; the tests of a GPU are in tests/test_cuda.py."""

    def test_batches_go_to_the_weights_whatever_the_images_are_on(self):
        """On torch's device without values, which refuses what lies elsewhere as a GPU does."""
        model = torch.nn.Conv2d(1, 2, 3, device="meta")
        (x,) = arguments(TensorSource(torch.rand(5, 1, 8, 8)), torch.tensor([0, 3]), None, torch.Generator(), model)
        assert x.device.type == "meta" and model(x).shape == (2, 2, 6, 6)

    def test_labels_go_there_too(self):
        model = torch.nn.Conv2d(1, 2, 3, device="meta")
        model.conditional = True
        source = TensorSource(torch.rand(5, 1, 8, 8), labels=torch.arange(5))
        found = arguments(source, torch.tensor([0, 3]), None, torch.Generator(), model)
        assert [part.device.type for part in found] == ["meta", "meta"]

    def test_the_faster_precision_of_a_gpu_is_float32(self):
        assert faster_precision("auto", "cuda") == "float32" and faster_precision("bfloat16", "cuda") == "bfloat16"

    def test_convolutions_repeat_within_a_fit_and_are_left_as_they_were(self):
        seen = []
        fit(Pixels(), torch.rand(8, 1, 4, 4), epochs=1, on_epoch=lambda *_: seen.append(torch.backends.cudnn.deterministic), progress=False)
        assert seen == [True] and not torch.backends.cudnn.deterministic


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_where_somebody_can_see_it(terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(terminal)))  # of rich: whether stderr counts as a terminal
    fit(Pixels(), torch.rand(8, 1, 4, 4), epochs=1)
    assert bool(capsys.readouterr().err) == terminal
