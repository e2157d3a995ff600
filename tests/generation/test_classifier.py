"""The judge: it learns, sees each image alone, and comes back from its cache bit for bit or is fitted anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genrl.data import ImageError, Images
from genrl.files import load_state, save_state
from genrl.generation import classifier as module
from genrl.generation.classifier import Classifier, judge


def bars(n: int = 300, seed: int = 0, size: int = 8) -> Images:
    """A bright row in noise, whose place is the class, 0, 1 or 2."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    pixels = torch.randint(100, (n, 1, size, size), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(n), 0, 2 * labels + 1] += 120
    return Images(pixels, labels)


@pytest.fixture
def fits(monkeypatch) -> list[Images]:
    """What was fitted to; weights stay those they began with."""
    seen: list[Images] = []
    monkeypatch.setattr(module, "fit", lambda model, data, **options: seen.append(data))
    return seen


def same(a: Classifier, b: Classifier) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 11), (1, 28, 28), (3, 9, 64), (3, 64, 64)])
def test_images_of_all_sizes_have_features_and_logits(shape):
    net = Classifier(shape, 4, width=2, features=6)
    x = torch.rand(3, *shape)
    assert net.features(x).shape == (3, 6) and net(x).shape == (3, 4)
    torch.testing.assert_close(net(x), net.output(net.features(x)))


def test_every_parameter_takes_a_gradient(double):
    net = Classifier((1, 12, 12), 3, width=4, features=16)
    net.loss(torch.rand(40, 1, 12, 12), torch.arange(40) % 3).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_the_loss_is_minus_the_mean_log_probability_of_the_labels(double):
    net = Classifier((1, 8, 8), 3, width=4, features=8)
    x, labels = torch.rand(2, 1, 8, 8), torch.tensor([2, 0])
    p = net(x).softmax(1)
    assert net.loss(x, labels).item() == pytest.approx(-(p[0, 2].log() + p[1, 0].log()).item() / 2)


@pytest.mark.parametrize("training", [False, True])
def test_features_do_not_depend_on_the_rest_of_the_batch(double, training):
    net = Classifier((1, 12, 12), width=4, features=16).train(training)
    x = torch.rand(6, 1, 12, 12)
    alone = torch.cat([net.features(image[None]) for image in x])
    torch.testing.assert_close(net.features(x), alone, rtol=0, atol=1e-12)
    assert torch.equal(net.features(x), net.features(x))
    assert alone.min() >= 0


def test_accuracy_is_a_share_of_all_images_over_several_parts(double):
    net = Classifier((1, 8, 8), 3, width=2, features=4)
    x = torch.rand(1101, 1, 8, 8)
    labels = net(x).argmax(1)
    labels[:100] = (labels[:100] + 1) % 3
    assert net.accuracy(x, labels) == 1001 / 1101
    with pytest.raises(ValueError, match="at least one image and as many labels, but was given 3 and 2"):
        net.accuracy(x[:3], labels[:2])


class TestJudge:
    def test_learns_and_repeats_itself_and_leaves_the_random_numbers_alone(self):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        net = judge(bars(600), epochs=6)
        assert torch.equal(torch.get_rng_state(), before)
        test = bars(200, seed=1)
        assert net.accuracy(test.batch(), test.needed_labels) > 0.95
        assert net.n_classes == 3 and not net.training
        torch.manual_seed(6)
        assert same(net, judge(bars(600), epochs=6))

    def test_learns_of_few_images_too_by_itself(self):
        test = bars(200, seed=1)
        assert judge(bars()).accuracy(test.batch(), test.needed_labels) > 0.95

    @pytest.mark.parametrize(("images", "epochs"), [(60_000, 2), (58_000, 2), (600, 180), (100, 900)])
    def test_takes_so_many_steps_at_least_and_two_epochs_of_mnist(self, monkeypatch, images, epochs):
        taken = []
        monkeypatch.setattr(module, "fit", lambda model, data, **options: taken.append(options["epochs"]))
        judge(bars(images))
        assert taken == [epochs]

    def test_comes_back_from_its_cache_bit_for_bit(self, tmp_path: Path, monkeypatch):
        cache = tmp_path / "new" / "judge.safetensors"
        first = judge(bars(), epochs=2, cache=cache)
        monkeypatch.setattr(module, "fit", None)  # a second fit would fail
        again = judge(bars(), epochs=2, cache=cache)
        x = bars(20, seed=1).batch()
        assert same(first, again) and not again.training
        assert torch.equal(first.features(x), again.features(x))

    def test_a_cache_that_can_not_be_written_costs_nothing_but_time(self, tmp_path: Path, fits):
        (tmp_path / "file").write_text("no folder")
        for count in (1, 2):
            assert not judge(bars(), cache=tmp_path / "file" / "judge.safetensors").training
            assert len(fits) == count

    def test_another_image_label_number_seed_or_length_is_another_fit(self, tmp_path: Path, fits):
        cache, data = tmp_path / "judge", bars()
        judge(data, cache=cache)
        content = cache.read_bytes()
        pixels, labels = data.pixels.clone(), data.needed_labels.clone()
        pixels[7, 0, 3, 3] += 1
        labels[7] = (labels[7] + 1) % 3
        changed = [
            (Images(pixels, data.labels), {}),
            (Images(data.pixels, labels), {}),
            (data[:299], {}),
            (bars(size=9), {}),
            (data, {"seed": 1}),
            (data, {"epochs": 3}),
        ]
        for count, (other, options) in enumerate(changed, start=2):
            cache.write_bytes(content)
            for _ in range(2):  # the second time, it is in the file
                judge(other, cache=cache, **options)
                assert len(fits) == count

    @pytest.mark.parametrize("how", ["empty", "truncated", "text", "other state", "other weights", "no weights", "NaN"])
    def test_a_broken_cache_is_fitted_anew_and_mended(self, tmp_path: Path, fits, how):
        cache, data = tmp_path / "judge", bars()
        good = judge(data, cache=cache)
        state, content = load_state(cache), cache.read_bytes()
        if how in ("empty", "truncated", "text"):
            cache.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"not a state at all"}[how])
        else:
            weights = state["weights"]
            broken = {name: value * float("nan") for name, value in weights.items()}
            save_state(
                cache,
                {
                    "other state": {"fit": 1},
                    "other weights": state | {"weights": {"a": torch.zeros(2)}},
                    "no weights": state | {"weights": 3},
                    "NaN": state | {"weights": broken},
                }[how],
            )
        assert same(judge(data, cache=cache), good)
        assert len(fits) == 2
        judge(data, cache=cache)
        assert len(fits) == 2

    def test_needs_labels_of_at_least_two_classes(self):
        with pytest.raises(ImageError, match="no labels"):
            judge(Images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)))
        with pytest.raises(ValueError, match="n_classes to be at least 2, but was given 1"):
            judge(Images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        (((1, 7, 8),), {}, r"1 or 3 channels, and a height and a width from 8 to 64, but was given \(1, 7, 8\)"),
        (((1, 8, 65),), {}, "from 8 to 64"),
        (((2, 8, 8),), {}, "1 or 3 channels"),
        (((8, 8),), {}, "1 or 3 channels"),
        (((1, 8, 8), 1), {}, "n_classes to be at least 2"),
        (((1, 8, 8),), {"width": 0}, "width to be at least 1"),
        (((1, 8, 8),), {"features": 0}, "features to be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(arguments, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Classifier(*arguments, **changes)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"Classifier needs images of \(1, 8, 8\) each, but was given a batch of \(2, 3, 8, 8\)"):
        Classifier((1, 8, 8), width=2)(torch.zeros(2, 3, 8, 8))
