"""The linear probe: at its optimum, whatever the units of the features."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from genrl.generation.probe import LinearProbe, balanced

pytestmark = pytest.mark.usefixtures("double")


def clusters(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(n) % 3
    return torch.randn(n, 4) + 2 * F.one_hot(labels, 4), labels


class TestLinearProbe:
    def test_it_is_at_the_optimum_of_its_loss(self):
        x, labels = clusters()
        probe = LinearProbe(x, labels, penalty=0.1)
        scaled = (x - x.mean(0)) / x.std()
        weight, bias = probe.weight.detach().requires_grad_(), probe.bias.detach().requires_grad_()
        (F.cross_entropy(scaled @ weight.T + bias, labels) + 0.05 * weight.square().sum()).backward()
        assert weight.grad.abs().max() < 1e-5 and bias.grad.abs().max() < 1e-5

    def test_units_of_the_features_do_not_matter(self):
        x, labels = clusters()
        fresh, _ = clusters()
        first, second = LinearProbe(x, labels), LinearProbe(1000 * x - 5, labels)
        assert torch.equal(first.classify(fresh), second.classify(1000 * fresh - 5))

    def test_it_finds_separated_classes_and_is_blind_on_noise(self):
        x, labels = clusters(300)
        assert LinearProbe(10 * F.one_hot(labels, 4) + 0.1 * x, labels).accuracy(10 * F.one_hot(labels, 4) + 0.1 * x, labels) == 1
        noise = torch.randn(3000, 4)
        other = torch.randint(3, (3000,))
        assert LinearProbe(x, labels[torch.randperm(300)]).accuracy(noise, other) == pytest.approx(1 / 3, abs=0.05)

    def test_refusals(self):
        with pytest.raises(ValueError, match=r"given \(3, 2\) and \(4,\)"):
            LinearProbe(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
        for labels, given in (([0, 0, 0], r"int64 labels \[0\]"), ([-1, 0, 1], r"int64 labels \[-1, 0, 1\]"), ([0.0, 1.0, 2.0], "float64")):
            with pytest.raises(ValueError, match=f"at least two classes, int64 from 0 up, but was given {given}"):
                LinearProbe(torch.zeros(3, 2), torch.tensor(labels))
        with pytest.raises(ValueError, match=r"a label for each image, but was given \(1,\) of 2 images"):
            LinearProbe(torch.eye(2), torch.arange(2)).accuracy(torch.eye(2), torch.zeros(1, dtype=torch.long))

    @pytest.mark.parametrize("broken", [float("nan"), float("inf")])
    def test_features_that_are_no_numbers_have_no_class(self, broken):
        x, labels = clusters()
        probe = LinearProbe(x, labels)
        x[3, 1] = x[5, 0] = broken
        for call in (lambda: LinearProbe(x, labels), lambda: probe.classify(x), lambda: probe.accuracy(x, labels)):
            with pytest.raises(ValueError, match="those of 2 of 60 images are NaN or infinite"):
                call()


class TestBalanced:
    def test_each_class_has_its_share_and_no_image_comes_twice(self):
        labels = torch.tensor([0] * 50 + [1] * 7 + [2] * 20)
        index = balanced(labels, 15, torch.Generator().manual_seed(0))
        assert labels[index].bincount().tolist() == [5, 5, 5]
        assert len(index.unique()) == 15
        other = balanced(labels, 15, torch.Generator().manual_seed(1))
        assert set(index.tolist()) != set(other.tolist())

    def test_what_can_not_be_shared_is_refused(self):
        with pytest.raises(ValueError, match="10 labels can't be shared equally by 3 classes"):
            balanced(torch.tensor([0, 1, 2] * 5), 10, torch.Generator())
        with pytest.raises(ValueError, match="of at least 2 images; give a multiple of 2, at most 4"):
            balanced(torch.tensor([0, 1, 1, 0, 1]), 6, torch.Generator())
