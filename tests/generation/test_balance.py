"""A collapse is measured and named when it happens."""

from __future__ import annotations

import warnings

import pytest
import torch

from genrl.data import Images
from genrl.generation.balance import Balance, CollapseWarning, modes, trouble
from genrl.generation.classifier import Classifier
from genrl.models.gan import GAN
from genrl.models.training import fit

SHAPE = (1, 8, 8)


class Draws(torch.nn.Module):
    """A generator that draws given images."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images = images

    def sample(self, n: int) -> torch.Tensor:
        return self.images[torch.arange(n) % len(self.images)]


class Bright(Classifier):
    """Two classes: dark and bright."""

    def __init__(self) -> None:
        super().__init__(SHAPE, 2, width=2, features=4)

    def features(self, x):
        return x.flatten(1)

    def forward(self, x):
        light = x.mean((1, 2, 3))
        return torch.stack([0.5 - light, light - 0.5], dim=1)


def two_kinds(n: int = 100) -> torch.Tensor:
    torch.manual_seed(0)
    return 0.4 * torch.rand(n, *SHAPE) + 0.6 * (torch.arange(n) % 2)[:, None, None, None]


def test_real_images_are_as_far_from_each_other_as_real_images():
    row = {"epoch": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Balance(two_kinds(), Bright(), n=100)(Draws(two_kinds()), row)
    assert row["diversity"] == pytest.approx(1.0)
    assert row["modes"] == 2


def test_diversity_by_hand():
    real = torch.tensor([0.0, 0.3, 0.9]).view(3, 1, 1, 1)  # distances 0.3, 0.6, 0.9: 0.6
    row = {"epoch": 1}
    Balance(real, n=2 + 1)(Draws(torch.tensor([0.0, 0.45, 0.9]).view(3, 1, 1, 1)), row)  # 0.45, 0.45, 0.9: 0.6
    assert row["diversity"] == pytest.approx(1.0)
    Balance(real, n=3)(Draws(torch.tensor([0.0, 0.3, 0.6]).view(3, 1, 1, 1)), row)  # 0.3, 0.3, 0.6: 0.4
    assert row["diversity"] == pytest.approx(2 / 3)


def test_one_image_only_is_a_collapse_after_many_and_little_learnt_before():
    said = []
    balance = Balance(two_kinds(), say=said.append)
    for epoch, images in enumerate((two_kinds()[:1], two_kinds(), two_kinds()[:1]), start=1):
        balance(Draws(images), {"epoch": epoch})
    assert [words.split(";")[0] for words in said] == [
        "epoch 1: the generator has learnt little yet: so far its images are 0.00 times as far from each other as real ones",
        "epoch 3: the generator has collapsed: its images are 0.00 times as far from each other as real ones",
    ]
    with pytest.warns(CollapseWarning, match="epoch 3: the generator has collapsed: its images are 0.00 times as far"):
        Balance(two_kinds(), before=balance.rows[:2])(Draws(two_kinds()[:1]), {"epoch": 3})  # of a fit that went on


def test_one_class_only_is_a_collapse():
    bright = two_kinds()[1::2]
    row = {"epoch": 2}
    wide = Balance(two_kinds(), Bright(), n=100, before=[{"epoch": 1, "diversity": 1.0, "modes": 2, "classes": 2}])
    wide.spread /= 3  # so that it is the count that tells
    with pytest.warns(CollapseWarning, match="it draws 1 of 2 classes"):
        wide(Draws(bright), row)
    assert row["modes"] == 1


def test_a_class_that_is_left_out_is_no_collapse_but_is_said():
    row = {"modes": 9, "classes": 10, "diversity": 1.0}
    assert trouble([row | {"modes": 10}, row]).startswith("the generator draws only 9 of 10 classes")
    assert "has collapsed" in trouble([row, row | {"modes": 5}])
    assert trouble([row | {"modes": 4}, row | {"modes": 5}]).startswith("the generator draws only 5 of 10 classes")


def test_a_discriminator_that_is_always_right_is_named():
    assert "sure of every image" in trouble([{"accuracy_real": 1.0, "accuracy_fake": 0.999}])
    assert trouble([{"accuracy_real": 1.0, "accuracy_fake": 0.9}]) is None
    assert trouble([]) is None


def test_a_class_counts_from_a_tenth_of_its_share_on():
    there = torch.tensor([0.5, 0.5])
    assert modes(torch.tensor([0.95, 0.05]), there, 100) == 2
    assert modes(torch.tensor([0.96, 0.04]), there, 100) == 1


def test_classes_too_rare_to_tell_are_not_counted():
    there = torch.tensor([0.6, 0.38, 0.02])
    assert modes(there, there, 500) == 2  # of the last, ten draws are to be expected, and a good generator may draw none
    assert modes(there, there, 1000) == 3


def test_the_classes_that_are_there_are_those_of_the_labels():
    """A classifier that takes all for dark; the labels know of bright ones, and of others that it has never seen."""
    row, labels = {"epoch": 1}, torch.arange(100) % 2
    labels[::4] = 2
    blind = Bright()
    blind.forward = lambda x: torch.tensor([1.0, 0.0]).expand(len(x), 2)
    Balance(two_kinds(), blind, labels, n=100, say=lambda words: None)(Draws(two_kinds()), row)
    assert (row["modes"], row["classes"]) == (1, 2)
    with pytest.raises(ValueError, match=r"a label for each of 100 real images, but was given labels \(99,\)"):
        Balance(two_kinds(), blind, labels[1:])


def test_images_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match="all alike"):
        Balance(torch.zeros(5, *SHAPE))


def test_the_numbers_stand_in_the_log_of_a_fit_and_the_draws_leave_it_as_it_is():
    images = Images((255 * two_kinds(64)).byte())
    found = []
    for watch in (None, Balance(two_kinds(), Bright(), n=20)):
        torch.manual_seed(1)
        gan = GAN(SHAPE, width=4, noise=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)
            found.append((fit(gan, images, epochs=2, batch_size=32, on_epoch=watch, progress=False), gan.state_dict()))
    assert {"diversity", "modes"} <= found[1][0][1].keys()
    assert all(torch.equal(found[0][1][name], value) for name, value in found[1][1].items())


def test_needs_pairs():
    with pytest.raises(ValueError, match="at least 2 of each"):
        Balance(two_kinds(1))
