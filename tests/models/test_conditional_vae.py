"""Conditional VAEs: bounds of what is wanted given the rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.corruptions import noisy, quadrants
from genrl.models.pixels import binarize
from genrl.models.training import fit

pytestmark = pytest.mark.usefixtures("double")

ALL = torch.tensor([[bits >> i & 1 for i in range(4)] for bits in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
GENERATOR = torch.Generator()


def small() -> ConditionalVAE:
    model = ConditionalVAE((1, 2, 2), latent=1, hidden=(8,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


class TestDensity:
    def test_the_weighted_bound_comes_to_the_exact_conditional_likelihood(self):
        model = small()
        task = quadrants(2)(ALL, GENERATOR)
        with torch.no_grad():
            logits, prior = model._prior(task[1])
            z = torch.linspace(-12, 12, 2001)[:, None]
            exact = []
            for i in range(16):
                density = Normal(prior.mean[i], prior.stddev[i])
                axis = density.mean + density.stddev * z
                pixels = Bernoulli(logits=logits[i] + model.decoder(axis)).log_prob(ALL[i].flatten())
                log_joint = (pixels * task[2][i].flatten()).sum(1) + density.log_prob(axis)[:, 0]
                exact.append(log_joint.logsumexp(0) + torch.log(density.stddev[0] * (z[1, 0] - z[0, 0])))
        bound = model.log_prob(*task, samples=20_000)
        assert torch.stack(exact).numpy() == pytest.approx(bound.numpy(), abs=0.02)

    def test_completions_of_the_same_pixels_sum_to_one(self):
        model = small()
        task = quadrants(1)(ALL, GENERATOR)
        p = model.log_prob(*task, samples=20_000).exp()
        lower_left = ALL[:, 0, 1, 0]
        assert p[lower_left == 0].sum().item() == pytest.approx(1, abs=0.02)
        assert p[lower_left == 1].sum().item() == pytest.approx(1, abs=0.02)

    def test_guess_is_a_density_too(self):
        p = small().log_prob_of_guess(*quadrants(3)(ALL, GENERATOR)).exp()
        one_completion = (ALL[:, 0] == torch.tensor([[1.0, 0.0], [1.0, 0.0]])).float()
        one_completion[:, 1, 1] = 1  # the wanted pixel may be either
        assert p[one_completion.flatten(1).bool().all(1)].sum().item() == pytest.approx(1)

    def test_loss_is_the_bound_of_one_draw_and_the_guess(self):
        model = small()
        task = quadrants(1)(ALL, GENERATOR)
        losses = torch.stack([model.loss(*task).detach() for _ in range(2000)]).mean()
        one = torch.stack([model.log_prob(*task, samples=1).mean() for _ in range(2000)]).mean()
        assert losses.item() == pytest.approx(-(one + model.log_prob_of_guess(*task).mean()).item(), abs=0.05)

    def test_every_parameter_takes_a_gradient(self):
        model = small()
        model.loss(*quadrants(1)(ALL, GENERATOR)).backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())

    def test_what_is_not_wanted_does_not_count(self):
        model = small()
        target, given, wanted = quadrants(2)(ALL, GENERATOR)
        torch.manual_seed(1)
        before = model.log_prob_of_guess(target, given, wanted)
        other = torch.where(wanted > 0, target, 1 - target)
        assert torch.equal(before, model.log_prob_of_guess(other, given, wanted))


class TestCompletion:
    def test_known_pixels_stay(self):
        model = small()
        target, given, wanted = quadrants(3)(ALL, GENERATOR)
        made = model.complete(given)
        assert torch.equal(made[wanted == 0], target[wanted == 0])
        assert not torch.equal(made[wanted == 1], target[wanted == 1])

    def test_many_draws_are_the_mean(self):
        model = small()
        given = quadrants(1)(ALL, GENERATOR)[1]
        one = torch.stack([model.complete(given) for _ in range(4000)]).mean(0)
        assert (model.complete(given, samples=4000) - one).abs().max() < 0.02

    def test_nothing_is_kept_of_noisy_images(self):
        given = noisy(0.5)(ALL, GENERATOR)[1]
        assert not torch.isclose(small().complete(given), given[:, :1]).any()


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"ConditionalVAE models images of shape \(1, 2, 2\), but was given \(3, 1, 4, 4\)"):
        small().loss(*quadrants(1)(torch.zeros(3, 1, 4, 4), GENERATOR))


def test_what_is_given_and_wanted_is_of_each_image():
    target, given, wanted = quadrants(1)(ALL, GENERATOR)
    with pytest.raises(ValueError, match=r"is given \(batch, 2, 2, 2\), but got \(16, 1, 2, 2\)"):
        small().complete(given[:, :1])
    for broken in ((target, given, wanted[:1]), (target, given[:1], wanted)):
        for call in (small().log_prob_of_guess, small().log_prob):
            with pytest.raises(ValueError, match="what is given and wanted of each image"):
                call(*broken)


def test_grey_has_no_likelihood():
    task = quadrants(1)(ALL / 2, GENERATOR)
    for call in (small().log_prob, small().log_prob_of_guess):
        with pytest.raises(ValueError, match="ConditionalVAE models 2 equally spaced levels"):
            call(*task)


def test_a_fit_without_a_task_is_refused():
    with pytest.raises(ValueError, match=r"needs a corruption; give fit transform=quadrants\(1, binarize\)"):
        fit(small(), Few(), epochs=1, progress=False)


def test_widths_out_of_range_are_refused():
    with pytest.raises(ValueError, match="ConditionalVAE needs latent to be at least 1, but was given 0"):
        ConditionalVAE((1, 2, 2), latent=0)


class Few:
    """Images for a fit."""

    needed_labels = torch.zeros(4, dtype=torch.long)

    def __len__(self) -> int:
        return 4

    def batch(self, index: torch.Tensor) -> torch.Tensor:
        return ALL[[3, 5, 10, 12]][index]


def test_fit_learns_what_a_task_wants():
    model = small()
    rows = fit(model, Few(), held_out=Few(), transform=quadrants(2, binarize), epochs=60, batch_size=4, learning_rate=0.03, progress=False)
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert math.isfinite(rows[-1]["held_out_loss"])
