"""VAEs: bounds that are bounds, a KL that is the closed form, features and samples of the right kind."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from genrl.models.pixels import log_logistic_mass
from genrl.models.vae import VAE

pytestmark = pytest.mark.usefixtures("double")

POSTERIORS = ["diagonal", "iaf"]


def small(posterior: str = "diagonal", **changes) -> VAE:
    vae = VAE((1, 2, 2), latent=2, hidden=(16,), posterior=posterior, flow_hidden=(8,), **changes)
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(2)  # so that z matters
    return vae.eval()


@torch.no_grad()
def exact(vae: VAE, x: torch.Tensor) -> torch.Tensor:
    """log p(x) of two latent numbers by quadrature."""
    axis = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(axis, axis)
    log_prior = Normal(0, 1).log_prob(z).sum(1)
    pixels = Independent(Bernoulli(vae.decode(z)), 3)
    log_joint = torch.stack([pixels.log_prob(image) for image in x]) + log_prior
    return log_joint.logsumexp(1) + 2 * math.log(float(axis[1] - axis[0]))


IMAGES = torch.tensor([[bits >> i & 1 for i in range(4)] for bits in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
"""All images of four black or white pixels."""


@pytest.mark.parametrize("posterior", POSTERIORS)
class TestBounds:
    def test_the_weighted_bound_comes_to_the_exact_likelihood_from_below(self, posterior):
        vae = small(posterior)
        known = exact(vae, IMAGES)
        assert known.exp().sum().item() == pytest.approx(1, abs=1e-6)  # a density over all images
        one = torch.stack([vae.log_prob(IMAGES, samples=1) for _ in range(400)]).mean(0)
        many = vae.log_prob(IMAGES, samples=100_000)
        assert (one < known + 0.05).all()
        assert (many - known).abs().max() < 0.1
        assert (one < many + 0.05).all()

    def test_the_loss_is_minus_the_mean_bound_of_one_draw(self, posterior):
        vae = small(posterior)
        torch.manual_seed(1)
        loss = vae.loss(IMAGES)
        torch.manual_seed(1)
        assert loss.item() == pytest.approx(-vae.log_prob(IMAGES, samples=1).mean().item(), abs=1e-12)

    def test_every_parameter_takes_a_gradient(self, posterior):
        vae = small(posterior)
        vae.loss(IMAGES).backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in vae.parameters())

    def test_density_of_its_draws_is_that_of_the_draws(self, posterior):
        """Draws of the posterior, weighted by 1/q, integrate the standard normal to one."""
        vae = small(posterior)
        z, log_q = vae.posterior(IMAGES, 20_000)
        mass = (Normal(0, 1).log_prob(z).sum(2) - log_q.sum(2)).exp().mean(0)
        torch.testing.assert_close(mass, torch.ones(16), rtol=0, atol=0.15)


def test_the_kl_of_a_diagonal_posterior_is_the_closed_form():
    vae = small()
    mean, log_std = vae.to_posterior(vae.encoder(IMAGES)).chunk(2, dim=1)
    closed = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(vae.kl(IMAGES, samples=20_000), closed, rtol=0, atol=0.03)


def test_many_samples_in_pieces_are_the_same_bound(monkeypatch):
    from genrl.models import vae as module

    vae = small()
    torch.manual_seed(3)
    whole = vae.log_prob(IMAGES, samples=7)
    torch.manual_seed(3)
    monkeypatch.setattr(module, "_chunks", lambda total, size: [7])
    assert torch.equal(whole, vae.log_prob(IMAGES, samples=7))
    monkeypatch.setattr(module, "_chunks", lambda total, size: [3, 3, 1])
    assert vae.log_prob(IMAGES, samples=7).shape == (16,)


def test_free_bits_are_a_floor_in_the_loss_only():
    plain, free = small(), small(free_bits=100.0)
    free.load_state_dict(plain.state_dict())
    torch.manual_seed(1)
    pixels, _ = free.bound(IMAGES)
    torch.manual_seed(1)
    assert free.loss(IMAGES).item() == pytest.approx(2 * 100.0 - pixels.mean().item())
    torch.manual_seed(1)
    reported = free.kl(IMAGES)
    torch.manual_seed(1)
    assert torch.equal(reported, plain.kl(IMAGES))


def test_samples_are_probabilities_and_codes_are_repeatable():
    vae = VAE((3, 8, 8), latent=3, hidden=(16, 8), posterior="iaf")
    assert vae.sample(4).shape == (4, 3, 8, 8)
    assert vae.sample(4).min() > 0 and vae.sample(4).max() < 1
    x = torch.rand(5, 3, 8, 8)
    assert vae.encode(x).shape == (5, 3)
    assert torch.equal(vae.encode(x), vae.encode(x))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latent": 0}, "VAE needs latent to be at least 1"),
        ({"latent": 1, "posterior": "iaf"}, "at least 1, or 2 with a flow"),
        ({"hidden": ()}, "hidden to be at least one width"),
        ({"posterior": "full"}, "posterior to be diagonal or iaf, but was given 'full'"),
        ({"free_bits": -1.0}, "free_bits to be at least 0"),
        ({"channels": (0,)}, "channels to be at least 1 each"),
        ({"flow_steps": -1}, "flow_steps to be at least 1"),
        ({"flow_hidden": ()}, "flow_hidden to be at least one width"),
    ],
)
def test_values_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        VAE((1, 4, 4), **changes)


def test_latent_vectors_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"VAE decodes latent vectors of shape \(batch, 2\), but was given \(3, 5\)"):
        VAE((1, 4, 4), latent=2, hidden=(8,)).decode(torch.zeros(3, 5))


def test_one_image_is_drawn_of_a_fresh_model_and_leaves_it_as_it_is():
    vae = VAE((1, 4, 4), latent=2, channels=(4,), hidden=(8,))
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    assert vae.sample(1).shape == (1, 1, 4, 4)
    assert vae.training and all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@torch.no_grad()
def test_levels_of_grey_have_probabilities_that_sum_to_one():
    vae = VAE((1, 1, 2), latent=1, hidden=(8,), pixels="logistic", levels=3).eval()
    every = torch.cartesian_prod(*[torch.arange(3) / 2] * 2).view(9, 1, 1, 2)
    assert vae.log_prob(every, samples=20_000).exp().sum().item() == pytest.approx(1, abs=0.01)


def test_learns_zeros_and_ones_or_levels_and_refuses_others_where_it_measures():
    x, generator = torch.rand(200, 1, 1, 2), torch.Generator().manual_seed(1)
    for pixels, levels in (("bernoulli", 2), ("logistic", 3)):
        vae = VAE((1, 1, 2), latent=1, hidden=(8,), pixels=pixels, levels=3).eval()
        made = vae.transform(x, generator)
        assert len(made.unique()) == levels
        assert vae.log_prob(made, samples=2).isfinite().all()
        with pytest.raises(ValueError, match=f"VAE models {levels} equally spaced levels"):
            vae.log_prob(x)


@pytest.mark.parametrize("levels", [4, 256])
@torch.no_grad()
def test_means_of_levels_are_those_of_the_logistic(levels):
    vae = VAE((3, 4, 4), latent=2, channels=(4,), hidden=(8,), pixels="logistic", levels=levels).eval()
    z = torch.randn(2, 2)
    mean, log_scale = vae.decoder(z).chunk(2, dim=1)
    level = torch.linspace(-1, 1, levels)
    mass = log_logistic_mass(level.view(-1, 1, 1, 1, 1), mean, log_scale, levels).exp()
    expected = (mass * (level.view(-1, 1, 1, 1, 1) + 1) / 2).sum(0)
    torch.testing.assert_close(vae.decode(z), expected, rtol=0, atol=2e-3)
    assert vae.decode(z).shape == (2, 3, 4, 4)
