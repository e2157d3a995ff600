"""GANs: who learns from which loss, what the best discriminator is, and what each technique computes."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import genrl.models.gan as gan_module
from genrl.data import Images
from genrl.models.base import load_model, save_model
from genrl.models.gan import GAN, HistoricalAverage, fooling, real_or_fake
from genrl.models.gan_networks import Discriminator, MinibatchDiscrimination, VirtualBatchNorm
from genrl.models.infogan import Codes, distorted
from genrl.models.nn import recompute_batch_norm
from genrl.models.semi_supervised import SemiSupervisedGAN, with_labelled
from genrl.models.training import fit

double = pytest.mark.usefixtures("double")

SHAPE = (1, 8, 8)
KINDS = {
    "convolutional": {},
    "dense": {"networks": "dense"},
    "no dense layer": {"dense": 0},
    "minimax": {"objective": "minimax"},
    "conditional": {"n_classes": 3},
    "codes": {"categories": (3, 2), "continuous": 2},
    "distorted": {"categories": (3,), "continuous": 1, "distortion": 1.0},
    "feature matching": {"feature_matching": True},
    "minibatch discrimination": {"minibatch_discrimination": 4},
    "historical averaging": {"historical_averaging": 0.1},
    "label smoothing": {"label_smoothing": 0.1},
    "virtual batch norm": {"virtual_batch_norm": True},
    "virtual batch norm, dense": {"virtual_batch_norm": True, "networks": "dense"},
    "all": {
        "n_classes": 3,
        "categories": (3,),
        "feature_matching": True,
        "minibatch_discrimination": 4,
        "historical_averaging": 0.1,
        "label_smoothing": 0.1,
        "virtual_batch_norm": True,
    },
}


def small(seed: int = 1, **changes) -> GAN:
    torch.manual_seed(seed)
    return GAN(SHAPE, **{"width": 4, "noise": 5, **changes})


def images(n: int = 64, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    return Images(torch.randint(256, (n, *SHAPE), dtype=torch.uint8, generator=generator), torch.arange(n) % 3)


def batch(gan: GAN, n: int = 12):
    return (torch.rand(n, *SHAPE), *((torch.arange(n) % gan.n_classes,) if gan.conditional else ()))


def loss_of(player, *args):
    loss = player.loss(*args)
    return loss if isinstance(loss, torch.Tensor) else loss[0]


class TestPlayers:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_loss_reaches_all_of_its_player_and_none_of_the_other(self, kind):
        gan = small(**KINDS[kind])
        # Minibatch discrimination and the final bias do not change the features that are matched; a history at its first step is 0.
        for _ in range(2):
            for player in gan.players():
                loss_of(player, *batch(gan)).backward(inputs=list(player.parameters))
                with torch.no_grad():
                    for item in player.parameters:
                        item.add_(0.01 * torch.randn_like(item))
        first, second = gan.players()
        for player, other in ((first, second), (second, first)):
            gan.zero_grad()
            loss_of(player, *batch(gan)).backward(inputs=list(player.parameters))
            assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in player.parameters)
            assert all(item.grad is None for item in other.parameters)

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_parameter_has_a_player_and_none_has_two(self, kind):
        gan = small(**KINDS[kind])
        held = [id(item) for player in gan.players() for item in player.parameters]
        assert sorted(held) == sorted(id(item) for item in gan.parameters())

    def test_the_log_has_losses_norms_of_gradients_and_accuracies(self):
        row = fit(small(), images(), epochs=1, batch_size=32, progress=False)[0]
        assert {
            "discriminator",
            "generator",
            "discriminator_grad_norm",
            "generator_grad_norm",
            "accuracy_real",
            "accuracy_fake",
        } <= row.keys()
        assert row["discriminator_grad_norm"] > 0
        assert 0 <= row["accuracy_real"] <= 1

    @pytest.mark.parametrize("kind", ["convolutional", "all"])
    def test_a_stopped_fit_goes_on_bit_for_bit(self, tmp_path, kind):
        whole, parts = small(**KINDS[kind]), small(**KINDS[kind])
        settings = {"batch_size": 32, "progress": False}
        fit(whole, images(), epochs=3, **settings)
        fit(parts, images(), epochs=2, checkpoint=tmp_path / "fit.safetensors", **settings)
        parts = small(seed=2, **KINDS[kind])
        fit(parts, images(), epochs=3, checkpoint=tmp_path / "fit.safetensors", **settings)
        assert all(torch.equal(whole.state_dict()[name], value) for name, value in parts.state_dict().items())


@double
class TestObjectives:
    def test_the_best_logit_between_two_gaussians_is_the_log_density_ratio(self):
        """Between N(1, 1) and N(-1, 1) it is 2 x + 0; found by descent on quantiles of both, in the form a x + b + c x^2."""
        quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(20_000) + 0.5) / 20_000)
        real, fake = quantiles + 1, quantiles - 1
        line = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe", tolerance_change=1e-14)

        def closure():
            optimizer.zero_grad()
            loss = real_or_fake(*(line[0] * x + line[1] + line[2] * x.square() for x in (real, fake)))
            loss.backward()
            return loss

        optimizer.step(closure)
        assert line.tolist() == pytest.approx([2.0, 0.0, 0.0], abs=0.002)

    def test_of_logits_by_hand(self):
        real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0])
        sure = math.log1p(math.exp(-2.0)) / 2 + math.log(2) / 2 + math.log1p(math.exp(-1.0))
        assert float(real_or_fake(real, fake)) == pytest.approx(sure)
        assert float(fooling(fake, "non-saturating")) == pytest.approx(math.log1p(math.exp(1.0)))
        assert float(fooling(fake, "minimax")) == pytest.approx(-math.log1p(math.exp(-1.0)))

    def test_smoothing_is_of_the_real_ones_only(self):
        """Targets 0.9 and 0: the binary cross-entropy with them."""
        real, fake = torch.randn(7), torch.randn(7)
        cross = torch.nn.functional.binary_cross_entropy_with_logits
        expected = cross(real, torch.full_like(real, 0.9)) + cross(fake, torch.zeros_like(fake))
        torch.testing.assert_close(real_or_fake(real, fake, 0.1), expected)

    def test_non_saturating_has_a_gradient_where_minimax_has_none(self):
        for objective, least, most in (("non-saturating", 0.99, 1.0), ("minimax", 0.0, 0.01)):
            logit = torch.tensor([-10.0], requires_grad=True)
            fooling(logit, objective).backward()
            assert least <= float(-logit.grad) <= most


@double
class TestTechniques:
    def test_minibatch_discrimination_leaves_out_the_diagonal(self):
        layer = MinibatchDiscrimination(2, kernels=1, dim=1)
        with torch.no_grad():
            layer.project.weight.copy_(torch.tensor([[1.0, 0.0]]))
        out = layer(torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0]]))
        assert torch.equal(out[:, :2], torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0]]))
        near = [math.exp(-1) + math.exp(-3), math.exp(-1) + math.exp(-2), math.exp(-3) + math.exp(-2)]
        torch.testing.assert_close(out[:, 2], torch.tensor(near) / 2)
        assert layer(torch.ones(1, 2))[0, 2].item() == 0  # alone, nobody is near

    def test_virtual_batch_norm_does_not_depend_on_the_rest_of_the_batch(self):
        for norms in ({}, {"networks": "dense"}):
            gan = small(virtual_batch_norm=True, **norms)
            z = gan.latent(6)
            torch.testing.assert_close(gan.generator(z)[2:3], gan.generator(z[2:3]))
            assert not any(isinstance(layer, VirtualBatchNorm) for layer in gan.discriminator.modules())

    def test_the_reference_of_virtual_batch_norm_is_of_all_classes(self):
        reference = small(n_classes=5, virtual_batch_norm=True).generator.reference
        assert reference[:, -5:].sum(0).tolist() == [7, 7, 6, 6, 6]

    @pytest.mark.parametrize("shape", [(3,), (3, 2, 2)])
    def test_virtual_batch_norm_by_hand(self, shape):
        norm = VirtualBatchNorm(3, reference=4, eps=0.0)
        x = torch.randn(5, *shape)
        every, normal = (v.flatten(2) if len(shape) > 1 else v.unsqueeze(2) for v in (x, norm(x).detach()))
        ref, own = every[:4].transpose(0, 1).flatten(1), every[4]
        mean = (4 * ref.mean(1) + own.mean(1)) / 5
        square = (4 * ref.square().mean(1) + own.square().mean(1)) / 5
        torch.testing.assert_close(normal[4], (own - mean[:, None]) / (square - mean.square()).sqrt()[:, None])
        alone = (ref - ref.mean(1, keepdim=True)) / ref.std(1, unbiased=False, keepdim=True)
        torch.testing.assert_close(normal[:4].transpose(0, 1).flatten(1), alone)

    def test_labels_reach_every_layer_of_both_networks(self):
        for networks in ("convolutional", "dense"):
            gan = small(n_classes=3, networks=networks)
            labels = torch.tensor([0, 1, 2, 1])
            gan.discriminator_loss(torch.rand(4, *SHAPE), labels)[0].backward()
            gan.generator_loss(torch.rand(4, *SHAPE), labels).backward()
            stages = [
                *gan.discriminator.stages,
                *(stage[0] if isinstance(stage, torch.nn.Sequential) else stage for stage in gan.generator.stages),
            ]
            assert len(stages) == (2 + 3 if networks == "convolutional" else 5 + 3)
            for stage in stages:
                of_label = stage.weight.grad[-3:] if isinstance(stage, torch.nn.ConvTranspose2d) else stage.weight.grad[:, -3:]
                assert of_label.abs().max() > 0

    def test_historical_averaging_by_hand(self):
        theta = torch.nn.Parameter(torch.tensor([1.0]))
        history, seen = HistoricalAverage([theta]), []
        for value in (1.0, 4.0, 7.0):
            theta.data.fill_(value)
            penalty = history()
            seen.append(penalty.item())
        penalty.backward()
        assert seen == pytest.approx([0.0, (4 - 2.5) ** 2, (7 - 4) ** 2])
        assert theta.grad.item() == pytest.approx(2 * (7 - 4))  # the mean is no parameter
        history.eval()
        assert history().item() == pytest.approx(9.0) and history.steps.item() == 3

    def test_feature_matching_is_the_squared_distance_of_mean_features(self):
        gan = small(feature_matching=True).eval()
        x = torch.rand(9, *SHAPE)
        torch.manual_seed(3)
        loss = gan.generator_loss(x)
        torch.manual_seed(3)
        made = gan.generator(gan.latent(9))
        real, fake = (gan.discriminator(v)[1].mean(0) for v in (x, made))
        torch.testing.assert_close(loss, (real - fake).square().sum())

    def test_batch_norm_does_not_hide_the_features_that_are_to_match(self, monkeypatch):
        """Of a batch of black and a batch of white images, each normalised by itself, all features would be the same."""
        gan = small(feature_matching=True, dense=6)
        monkeypatch.setattr(gan.generator, "forward", lambda latent: torch.zeros(len(latent), *SHAPE))
        alone = [gan.discriminator(v)[1].mean(0) for v in (torch.zeros(9, *SHAPE), torch.ones(9, *SHAPE))]
        assert (alone[0] - alone[1]).square().sum() < 1e-6 < 0.1 < gan.generator_loss(torch.ones(9, *SHAPE))

    def test_a_dense_layer_is_the_last_hidden_one(self):
        for units, gan in ((6, small(dense=6)), (64, small()), (4 * 4 * 4, small(dense=0))):
            assert gan.discriminator(torch.rand(3, *SHAPE))[1].shape == (3, units) == (3, gan.discriminator.features)
        assert small(dense=6).generator.stages[0].out_features == 6
        assert isinstance(small(dense=0).generator.stages[0][1], torch.nn.Unflatten)
        with pytest.raises(ValueError, match="leave dense out"):
            small(dense=6, networks="dense")

    def test_weight_norm_begins_with_standard_activations(self):
        torch.manual_seed(0)
        net = Discriminator(SHAPE, "dense", 8, "weight", outputs=3)
        x = torch.rand(500, *SHAPE)
        net.begin(x)
        h = x.flatten(1)
        for stage in net.stages:
            before = stage(h)
            torch.testing.assert_close(before.mean(0), torch.zeros(before.shape[1]), atol=1e-3, rtol=0)
            torch.testing.assert_close(before.std(0), torch.ones(before.shape[1]), atol=1e-2, rtol=0)
            h = torch.nn.functional.leaky_relu(before, 0.2)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_weight_norm_begins_alike_under_autocast(self, precision):
        torch.set_default_dtype(torch.float32)  # doubles are never halved
        torch.manual_seed(0)
        net, x = Discriminator(SHAPE, "dense", 8, "weight", outputs=3), torch.rand(500, *SHAPE)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            net.begin(x)
            inside = net.stages[0](x.flatten(1))
        assert inside.float().mean(0).abs().max() < 0.02  # the new weights, not those that autocast keeps
        h = x.flatten(1)
        for stage in net.stages:
            before = stage(h)
            assert before.mean(0).abs().max() < 1e-3
            h = torch.nn.functional.leaky_relu(before, 0.2)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"feature_matching": True, "objective": "minimax"}, "leave one of them out"),
            ({"label_smoothing": 0.5}, "in \\[0, 0.5\\)"),
            ({"objective": "wasserstein"}, "non-saturating or minimax"),
            ({"networks": "recurrent"}, "dense or convolutional"),
            ({"historical_averaging": -1.0}, "at least 0"),
            ({"minibatch_discrimination": -1}, "at least 0"),
            ({"n_classes": 1}, "0 or at least 2"),
            ({"categories": (1,)}, "at least 2"),
            ({"categories": 10}, "a tuple of sizes"),
            ({"continuous": -1, "categories": (3,)}, "at least 0"),
            ({"noise": 0}, "at least 1"),
            ({"generator_pace": 0.0}, "positive and finite"),
            ({"dense": -1}, "at least 0"),
            ({"distortion": -1.0}, "at least 0"),
            ({"distortion": 1.0, "continuous": 1}, "give categories, or leave it out"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, words):
        with pytest.raises(ValueError, match=words):
            small(**changes)

    def test_convolutions_need_sizes_that_halve(self):
        with pytest.raises(ValueError, match="choose dense"):
            GAN((1, 7, 7))
        assert GAN((1, 7, 7), networks="dense", width=2).sample(2).shape == (2, 1, 7, 7)


class TestConditional:
    def test_both_networks_see_the_label(self):
        gan = small(n_classes=3).eval()
        x, z = torch.rand(2, *SHAPE), torch.rand(2, 5)
        logits = [gan.discriminator(x, torch.full((2,), k))[0] for k in range(3)]
        made = [gan.generator(torch.cat([z, torch.eye(3)[[k, k]]], dim=1)) for k in range(3)]
        assert not torch.equal(logits[0], logits[1])
        assert not torch.equal(made[0], made[1])

    def test_labels_are_asked_for_and_checked(self):
        gan = small(n_classes=3)
        assert gan.sample(4).shape == (4, *SHAPE)
        for labels, words in (
            (None, "give the images' labels"),
            (torch.zeros(2), "labels as int64"),
            (torch.tensor([3, 0]), "0 to 2"),
            (torch.tensor([0]), r"int64 of shape \(2,\), but was given int64 of shape \(1,\)"),
        ):
            with pytest.raises(ValueError, match=words):
                gan.discriminator_loss(torch.rand(2, *SHAPE), labels)
        with pytest.raises(ValueError, match="without classes"):
            small().sample(2, torch.tensor([0, 1]))


def _halved(x, dim):
    """At half the size in the middle of black: each pixel is the mean of two."""
    x = x.movedim(dim, -1)
    return torch.nn.functional.pad(x.unflatten(-1, (-1, 2)).mean(-1), (10, 10)).movedim(-1, dim)


def _slanted(x):
    """Each row shifted by twice its distance from the middle, black from outside."""
    rows = []
    for i, row in enumerate(x[0, 0]):
        shift = 2 * i - 39
        rows.append(torch.nn.functional.pad(row, (max(-shift, 0), max(shift, 0)))[max(shift, 0) :][:40])
    return torch.stack(rows)[None, None]


@double
class TestCodes:
    def test_one_hot_and_uniform_codes(self):
        torch.manual_seed(0)
        drawn = Codes(4, (3, 2), 2).draw(4000)
        assert torch.equal(drawn[:, :3].sum(1), torch.ones(4000)) and torch.equal(drawn[:, 3:5].sum(1), torch.ones(4000))
        torch.testing.assert_close(drawn[:, :3].mean(0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)
        assert drawn[:, 5:].min() >= -1 and drawn[:, 5:].max() < 1
        torch.testing.assert_close(drawn[:, 5:].var(0), torch.full((2,), 1 / 3), atol=0.02, rtol=0)

    def test_given_codes_stand_in_their_places(self):
        codes = Codes(4, (3, 2), 2)
        before = codes.draw(2)
        drawn = codes.replaced(before, {1: torch.tensor([1, 0])}, {0: torch.tensor([0.5, -2.0])})
        assert torch.equal(drawn[:, 3:5], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        assert drawn[:, 5].tolist() == [0.5, -2.0]
        assert torch.equal(drawn[:, [0, 1, 2, 6]], before[:, [0, 1, 2, 6]])
        with pytest.raises(ValueError, match="there are 2 categorical codes"):
            codes.replaced(before, {2: torch.tensor([1, 0])})

    def test_the_bound_of_a_reader_that_knows_nothing_is_zero_and_of_one_that_knows_all_is_the_entropy(self):
        codes = Codes(5, (3, 2), 1)
        drawn = codes.draw(50)
        codes.recogniser = torch.nn.Identity()
        nothing = codes.information(torch.zeros(50, 6), drawn)
        sure = codes.information(torch.cat([100 * drawn[:, :5], drawn[:, 5:]], dim=1), drawn)
        assert float(nothing[0]) == pytest.approx(0.0, abs=1e-12)
        assert float(sure[0]) == pytest.approx(math.log(6))
        assert float(sure[1]) == pytest.approx(-0.5 * math.log(2 * math.pi))
        assert float(nothing[1]) == pytest.approx(float(-0.5 * (drawn[:, 5].square() + math.log(2 * math.pi)).mean()))

    def test_the_information_is_in_both_losses(self):
        """With weight w, each loss is the plain one less w times the bound."""
        gan = small(categories=(3,), continuous=1).eval()
        for player in gan.players():
            values = []
            for weight in (0.0, 1.0, 2.0):
                gan.information = weight
                torch.manual_seed(4)
                values.append(loss_of(player, torch.rand(9, *SHAPE)).item())
            assert values[1] - values[0] == pytest.approx(values[2] - values[1])
            assert values[1] != values[0]

    def test_both_losses_fall_by_the_bound_and_a_tenth_of_the_density(self, monkeypatch):
        gan = small(categories=(3,), continuous=1, information=0.5).eval()
        for player in gan.players():
            values = []
            for bound, density in ((0.0, 0.0), (2.0, 3.0)):
                monkeypatch.setattr(gan.codes, "information", lambda *_, b=bound, d=density: (torch.tensor(b), torch.tensor(d)))
                torch.manual_seed(4)
                values.append(loss_of(player, torch.rand(9, *SHAPE)).item())
            assert values[1] - values[0] == pytest.approx(-0.5 * (2.0 + 0.1 * 3.0))

    def test_categories_are_read_in_distorted_images_and_numbers_in_those_that_are_made(self, monkeypatch):
        gan = small(categories=(3,), continuous=1, distortion=1.0).eval()
        latent = gan.latent(9)
        with torch.no_grad():
            made, codes, found = gan.generator(latent), latent[:, 5:9], {}
            for name, change in (("as made", lambda x, strength: x), ("black", lambda x, strength: torch.zeros_like(x))):
                monkeypatch.setattr(gan_module, "distorted", change)
                found[name] = gan._told(made, gan.discriminator(made)[1], latent, None)[0]
            read = [gan.codes.information(gan.discriminator(v)[1], codes) for v in (made, torch.zeros_like(made))]
        torch.testing.assert_close(found["as made"], read[0][0] + 0.1 * read[0][1])
        torch.testing.assert_close(found["black"], read[1][0] + 0.1 * read[0][1])

    @pytest.mark.parametrize("standing", [False, True])
    def test_distorted_turns_by_its_angle_where_images_are_not_square(self, monkeypatch, standing):
        x = torch.zeros(1, 1, 24, 40)
        x[(..., slice(3, 21), slice(18, 22)) if standing else (..., slice(10, 14), slice(6, 34))] = 1.0
        monkeypatch.setattr(torch, "rand", lambda *shape, **where: torch.tensor([1.0, 0.5, 0.5, 0.5, 0.5, 0.5]).view(6, 1))
        y = distorted(x, 1.0)[0, 0]
        rows, columns = torch.meshgrid(torch.arange(24.0) - 11.5, torch.arange(40.0) - 19.5, indexing="ij")
        slope = (y * rows * columns).sum() / (y * (rows if standing else columns).square()).sum()
        assert float(slope.abs()) == pytest.approx(math.tan(0.3), rel=0.1)

    def test_the_generator_learns_from_distorted_images(self, monkeypatch):
        gan = small(categories=(3,), distortion=1.0).eval()
        monkeypatch.setattr(gan_module, "fooling", lambda fake, objective: 0 * fake.sum())
        gan.generator_loss(torch.rand(9, *SHAPE)).backward()
        assert gan.generator.stages[0].weight.grad.abs().max() > 0

    @pytest.mark.parametrize(
        ("drawn", "strength", "expected"),
        [
            ([0.5, 0.5, 0.5, 0.5, 1.0, 0.5], 1.0, lambda x: torch.cat([x[..., 2:], torch.zeros(1, 1, 40, 2)], dim=3)),  # 5 % of 40 pixels
            ([0.5, 0.5, 0.5, 0.5, 0.5, 1.0], 1.0, lambda x: torch.cat([x[..., 2:, :], torch.zeros(1, 1, 2, 40)], dim=2)),
            ([1.0, 0.5, 0.5, 0.5, 0.5, 0.5], math.pi / 0.6, lambda x: x.rot90(1, (2, 3))),
            ([0.5, 1.0, 0.5, 0.5, 0.5, 0.5], math.log(2) / 0.2, lambda x: _halved(x, 3)),
            ([0.5, 0.5, 1.0, 0.5, 0.5, 0.5], math.log(2) / 0.2, lambda x: _halved(x, 2)),
            ([0.5, 0.5, 0.5, 1.0, 0.5, 0.5], 2 / 0.3, lambda x: _slanted(x)),
        ],
    )
    def test_distorted_by_hand(self, monkeypatch, drawn, strength, expected):
        x = torch.rand(1, 1, 40, 40)
        monkeypatch.setattr(torch, "rand", lambda *shape, **where: torch.tensor(drawn).view(6, 1))
        torch.testing.assert_close(distorted(x, strength), expected(x))

    def test_samples_of_a_code_and_what_is_read_of_them(self):
        gan = small(categories=(3,), continuous=2)
        x = gan.sample(4, codes=gan.codes.replaced(gan.codes.draw(4), {0: torch.arange(4) % 3}))
        probabilities, means = gan.recognise(x)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
        assert means.shape == (4, 2)
        with pytest.raises(ValueError, match=r"shape \(2, 5\)"):
            gan.sample(2, codes=torch.zeros(2, 4))
        with pytest.raises(ValueError, match="nothing to read"):
            small().recognise(x)


@double
class TestSemiSupervised:
    def model(self, **changes) -> SemiSupervisedGAN:
        torch.manual_seed(0)
        return SemiSupervisedGAN(SHAPE, 3, **{"width": 4, "noise": 5, **changes})

    def test_the_loss_by_hand(self):
        """The released code's form: half of -lse + softplus(lse) + softplus(lse of fakes), and the cross-entropy of the labelled."""
        gan = self.model(jitter=0.0)
        x, labelled, labels = torch.rand(6, *SHAPE), torch.rand(4, *SHAPE), torch.tensor([0, 1, 2, 0])
        gan.discriminator.begin(x)
        torch.manual_seed(5)
        loss, _ = gan.classifier_loss(x, labelled, labels)
        torch.manual_seed(5)
        with torch.no_grad():
            real, fake, known = (gan.discriminator(v)[0] for v in (x, gan.generator(gan.latent(6)), labelled))
        soft = torch.nn.functional.softplus
        lse, lse_fake = real.logsumexp(1), fake.logsumexp(1)
        unlabelled = 0.5 * (-lse.mean() + soft(lse).mean() + soft(lse_fake).mean())
        expected = unlabelled + (-known[torch.arange(4), labels] + known.logsumexp(1)).mean()
        torch.testing.assert_close(loss.detach(), expected)

    @pytest.mark.parametrize("networks", ["dense", "convolutional"])
    def test_the_entropy_of_unlabelled_images_counts_by_its_weight(self, networks):
        gan = self.model(jitter=0.0, networks=networks).eval()
        x, labels, losses = torch.rand(6, *SHAPE), torch.tensor([0, 1, 2, 0, 1, 2]), []
        for gan.entropy in (0.0, 2.0):
            torch.manual_seed(5)
            losses.append(gan.classifier_loss(x, x, labels)[0].item())
        p = gan.classify(x)
        assert losses[1] - losses[0] == pytest.approx(2 * -(p * p.log()).sum(1).mean().item())

    def test_takes_virtual_batch_norm_and_knows_its_classes(self):
        gan = self.model(virtual_batch_norm=True, networks="convolutional")
        assert any(isinstance(layer, VirtualBatchNorm) for layer in gan.generator.modules())
        assert gan.n_classes == 3 and not gan.conditional

    def test_labels_that_do_not_fit_are_refused(self):
        x = torch.rand(4, *SHAPE)
        data = Images(torch.zeros(4, *SHAPE, dtype=torch.uint8))
        for labels in (torch.tensor([0, 1]), torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([0, 1, -1, 0])):
            with pytest.raises(ValueError, match="needs images and a label from 0 on"):
                with_labelled(x, labels, data)
        with pytest.raises(ValueError, match="needs labels from 0 to 2, but was given some from 0 to 3"):
            self.model().classifier_loss(x, x, torch.tensor([0, 1, 2, 3]))

    def test_the_generator_matches_the_other_images(self):
        gan = self.model(jitter=0.0).eval()
        x, other = torch.rand(6, *SHAPE), torch.rand(6, *SHAPE)
        torch.manual_seed(5)
        loss = gan.matching_loss(x, x, torch.zeros(6).long(), other)
        torch.manual_seed(5)
        torch.testing.assert_close(loss, gan.generator_loss(other))

    @pytest.mark.parametrize("networks", ["dense", "convolutional"])
    def test_its_defaults_are_of_its_networks(self, networks):
        gan = self.model(networks=networks, generator_pace=3.0)
        assert gan.feature_matching == (networks == "dense")
        assert isinstance(gan.discriminator.norms[1], torch.nn.Identity if networks == "dense" else torch.nn.BatchNorm1d)
        assert [player.pace for player in gan.players()] == [1.0, 3.0]

    @pytest.mark.parametrize("networks", ["dense", "convolutional"])
    def test_each_player_has_gradients_of_all_its_own_and_none_of_the_other(self, networks):
        gan = self.model(networks=networks, entropy=0.5)
        x, labels = torch.rand(6, *SHAPE), torch.tensor([0, 1, 2, 0, 1, 2])
        gan.discriminator.begin(x)
        for player in gan.players():
            gan.zero_grad()
            loss = player.loss(x, x, labels, x)
            (loss[0] if isinstance(loss, tuple) else loss).backward(inputs=list(player.parameters))
            own = {id(item) for item in player.parameters}
            assert own and all((item.grad is not None) == (id(item) in own) for item in gan.parameters())
            assert sum(float(item.grad.abs().max()) > 0 for item in player.parameters) > len(own) // 2

    def test_needs_two_images_and_two_labels(self):
        gan, x = self.model(networks="convolutional"), torch.rand(2, *SHAPE)
        for some, labelled in ((x[:1], x), (x, x[:1])):
            with pytest.raises(ValueError, match="at least 2 images"):
                gan.classifier_loss(some, labelled, torch.zeros(len(labelled)).long())

    @pytest.mark.parametrize("networks", ["dense", "convolutional"])
    def test_learns_from_few_labels_what_the_others_look_like(self, networks):
        torch.set_default_dtype(torch.float32)
        torch.manual_seed(0)
        truth = torch.arange(300) % 3
        x = torch.zeros(300, *SHAPE)
        for k in range(3):
            x[truth == k, :, 2 * k : 2 * k + 3] = 0.8
        data = Images(((x + 0.2 * torch.rand_like(x)) * 255).byte(), truth)
        gan = self.model(networks=networks)
        task = with_labelled(data.batch(torch.arange(6)), truth[:6], data, batch_size=6)
        fit(gan, data, transform=task, epochs=15, batch_size=50, learning_rate=3e-3, progress=False)
        assert (gan.classify(data.batch()).argmax(1) == truth).double().mean() > 0.95

    def test_each_step_draws_all_labelled_images_where_they_are_as_many(self):
        data = images()
        some = data.batch(torch.arange(8))
        x, labelled, labels, others = with_labelled(some, torch.arange(8), data, batch_size=8)(some, torch.Generator().manual_seed(0))
        assert sorted(labels.tolist()) == list(range(8))
        assert torch.equal(labelled, some[labels]) and x is some and others.shape == some.shape

    def test_fit_without_labelled_images_says_what_is_missing(self):
        with pytest.raises(ValueError, match="with_labelled"):
            fit(self.model().float(), images(), epochs=1, progress=False)


class TestNoise:
    @pytest.mark.parametrize(
        "layout",
        [
            lambda x: x,
            lambda x: x.to(memory_format=torch.channels_last),
            lambda x: x.transpose(1, 3),
            lambda x: x[:, ::2],
            lambda x: x[:, :1].expand(-1, 6, -1, -1),
            lambda x: x.bfloat16(),
        ],
        ids=["contiguous", "channels last", "transposed", "a part", "expanded", "bfloat16"],
    )
    def test_is_normal_and_each_number_another_in_any_layout(self, layout):
        torch.manual_seed(0)
        net = Discriminator((6, 12, 12), "convolutional", 2, "none", noise=0.5)
        h = layout(torch.zeros(20, 6, 12, 12))
        for first, std in ((True, 0.3), (False, 0.5)):
            drawn = net._into(0, h, torch.zeros(20, 0)) if first else net._noisy(h, net.noise)
            assert drawn.shape == h.shape and drawn.dtype == h.dtype
            assert float(drawn.float().std()) == pytest.approx(std, rel=0.05) and abs(float(drawn.float().mean())) < 0.02
            assert h.dtype == torch.bfloat16 or len(drawn.unique()) > 0.99 * drawn.numel()
        assert net.eval()._noisy(h, 0.5) is h


class TestUse:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_saved_model_draws_and_encodes_the_same(self, tmp_path, kind):
        gan = small(**KINDS[kind])
        fit(gan, images(), epochs=1, batch_size=32, progress=False)
        save_model(tmp_path / "gan.safetensors", gan)
        again = load_model(tmp_path / "gan.safetensors")
        x, drawn = batch(gan), []
        for model in (gan, again):
            torch.manual_seed(7)
            drawn.append((model.sample(5), model.encode(*x)))
        assert torch.equal(drawn[0][0], drawn[1][0])
        assert torch.equal(drawn[0][1], drawn[1][1])
        assert drawn[0][0].min() >= 0 and drawn[0][0].max() <= 1

    def test_sweeps_are_drawn_in_evaluation_mode_and_leave_the_model_as_it_is(self):
        gan, drawn = small(categories=(3,), continuous=1), []
        for training in (False, True):
            before = copy.deepcopy(gan.train(training).state_dict())
            torch.manual_seed(7)
            drawn.append(gan.sweeps(2, 4))
            assert gan.training == training
            assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())
        assert all(torch.equal(images, drawn[1][name]) for name, images in drawn[0].items())

    def test_draws_of_given_noise_labels_and_codes_are_the_generators(self):
        gan = small(n_classes=3, categories=(3,)).eval()
        labels, codes, noise = torch.tensor([2, 0]), gan.codes.draw(2), torch.rand(2, 5)
        one_hot = torch.nn.functional.one_hot(labels, 3)
        expected = gan.generator(torch.cat([noise, codes, one_hot], dim=1))
        torch.testing.assert_close(gan.sample(2, labels, codes, noise), expected)
        with pytest.raises(ValueError, match=r"needs noise of shape \(2, 5\), but was given \(2, 4\)"):
            gan.sample(2, labels, codes, noise[:, :4])

    def test_features_are_of_the_recogniser_too(self):
        x = torch.rand(3, *SHAPE)
        assert small(categories=(3,)).encode(x).shape[1] == small().encode(x).shape[1] + 128

    @pytest.mark.parametrize("kind", ["all", "distorted"])
    def test_images_may_be_wide_and_of_colour(self, kind):
        torch.manual_seed(0)
        gan = GAN((3, 8, 16), **{"width": 4, "noise": 5, **KINDS[kind]})
        data = Images(torch.randint(256, (40, 3, 8, 16), dtype=torch.uint8), torch.arange(40) % 3)
        fit(gan, data, epochs=1, batch_size=20, precision="bfloat16", progress=False)
        assert gan.sample(4).shape == (4, 3, 8, 16) and gan.sample(4).isfinite().all()

    def test_what_is_drawn_depends_on_no_batch(self):
        gan = small()
        before = copy.deepcopy(gan.state_dict())
        gan.sample(3)
        assert all(torch.equal(before[name], value) for name, value in gan.state_dict().items())

    def test_recomputed_batch_norm_knows_the_given_batches_equally(self):
        net = torch.nn.Sequential(torch.nn.BatchNorm1d(2)).eval()
        net[0].running_mean += 7
        parts = torch.randn(90, 2).split(30)
        recompute_batch_norm(net, [(part,) for part in parts])
        torch.testing.assert_close(net[0].running_mean, torch.stack([part.mean(0) for part in parts]).mean(0))
        torch.testing.assert_close(net[0].running_var, torch.stack([part.var(0) for part in parts]).mean(0))
        assert not net.training and net[0].momentum == 0.1
