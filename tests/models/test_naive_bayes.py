"""Naive Bayes: a density over all images, counts by hand, and the floors of MNIST."""

from __future__ import annotations

import pytest
import torch

from genrl.data import load_images
from genrl.models.base import load_model, save_model
from genrl.models.naive_bayes import NaiveBayes, PixelHistograms
from genrl.models.pixels import binarize

ALL = torch.tensor([[bits >> i & 1 for i in range(6)] for bits in range(64)], dtype=torch.float64).view(64, 1, 2, 3)
GREY = torch.rand(40, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3


@pytest.mark.parametrize("labels", [None, LABELS])
def test_is_a_density_over_all_images(labels):
    model = NaiveBayes.of(GREY, labels)
    assert model.log_prob(ALL).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_counts_by_hand():
    """Class 0 has seen the left pixel white twice in two images, class 1 never in one; one of each was seen before."""
    model = NaiveBayes.of(torch.tensor([[1.0, 0.5], [1.0, 0.0], [0.0, 0.0]]).view(3, 1, 1, 2), torch.tensor([0, 0, 1]), smoothing=1.0)
    white = torch.tensor([[[[3 / 4, 1.5 / 4]]], [[[1 / 3, 1 / 3]]]])
    torch.testing.assert_close(model.logits.sigmoid(), white)
    x = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    joint = torch.tensor([2 / 3 * 3 / 4 * 2.5 / 4, 1 / 3 * 1 / 3 * 2 / 3])
    torch.testing.assert_close(model.log_joint(x).exp()[0], joint)
    torch.testing.assert_close(model.log_prob(x).exp()[0], joint.sum())
    assert model.classify(x).item() == 0


def test_samples_have_the_frequencies_of_the_density():
    torch.manual_seed(0)
    model = NaiveBayes.of(GREY, LABELS)
    draws = model.sample(50_000).double().flatten(1)
    found = (draws * 2 ** torch.arange(6)).sum(1).long().bincount(minlength=64) / 50_000
    torch.testing.assert_close(found.double(), model.log_prob(ALL).exp(), rtol=0, atol=0.005)


def test_no_smoothing_is_refused():
    with pytest.raises(ValueError, match="smoothing to be positive"):
        NaiveBayes.of(GREY, smoothing=0.0)


@pytest.mark.parametrize(
    ("grey", "labels", "sentence"),
    [
        (GREY[:, :, 0], None, "needs image_shape to be"),
        (GREY + 1, None, r"models grey levels in \[0, 1\], but was given"),
        (GREY, torch.zeros(1, dtype=torch.long), r"labels as int64 of shape \(40,\), but was given int64 of shape \(1,\)"),
        (GREY, torch.zeros(len(GREY)), "but was given float32"),
        (GREY, -torch.ones(len(GREY), dtype=torch.long), "n_classes to be at least 1, but was given 0"),
        (GREY, torch.arange(len(GREY)) - 1, "labels from 0 to 38, but was given some from -1 to 38"),
    ],
)
def test_what_can_not_be_counted_is_refused(grey, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        NaiveBayes.of(grey, labels)


def test_nothing_is_no_count_and_grey_has_no_likelihood():
    model = NaiveBayes.of(GREY)
    before = model.logits.clone()
    with pytest.raises(ValueError, match="needs images to count, but was given none"):
        model.count([])
    assert torch.equal(model.logits, before) and model.prior.tolist() == [1.0]
    with pytest.raises(ValueError, match="NaiveBayes models 2 equally spaced levels"):
        model.log_prob(GREY)


@pytest.mark.shared
def test_the_floors_of_mnist(shared):
    """Independent pixels 205.8 nats, ten classes 171.0 nats, 83.95 % of the test digits at a threshold of a half."""
    data = load_images("mnist", shared / "data" / "images")
    x = binarize(data.test.batch(), torch.Generator().manual_seed(0))
    grey = data.train.batch()
    assert -NaiveBayes.of(grey).log_prob(x).mean().item() == pytest.approx(205.8, abs=0.15)
    classes = NaiveBayes.of(grey, data.train.labels)
    assert -classes.log_prob(x).mean().item() == pytest.approx(171.0, abs=0.25)
    sharp = (data.test.batch() > 0.5).float()
    assert (classes.classify(sharp) == data.test.labels).float().mean().item() == pytest.approx(0.8395, abs=0.001)


def test_counting_in_batches_is_counting_at_once(tmp_path):
    whole, parts = NaiveBayes.of(GREY, LABELS), NaiveBayes((1, 2, 3), n_classes=3).double()
    parts.count((GREY[i : i + 7], LABELS[i : i + 7]) for i in range(0, 40, 7))
    torch.testing.assert_close(parts.logits, whole.logits)
    torch.testing.assert_close(parts.prior, whole.prior)
    save_model(tmp_path / "m.safetensors", parts)
    assert torch.equal(load_model(tmp_path / "m.safetensors").log_prob(ALL), parts.log_prob(ALL))


def test_histograms_by_hand_and_as_a_density():
    """Three levels, two pixels; the left one was seen at 0, 0, 1/2, the right one at 1 each time, and every level half a time before."""
    seen = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.5, 1.0]], dtype=torch.float64).view(3, 1, 1, 2)
    floor = PixelHistograms([seen[:2], seen[2:]], levels=3)
    p = floor.log_prob(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(2, 1, 1, 2)).exp()
    torch.testing.assert_close(p, torch.tensor([2.5 / 4.5 * 3.5 / 4.5, 0.5 / 4.5 * 0.5 / 4.5]))
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3)).view(9, 1, 1, 2) / 2
    assert floor.log_prob(every).exp().sum().item() == pytest.approx(1, abs=1e-6)
