"""The transformer: causal by gradient, a density over all sequences, the same samples from kept keys and values as by the plain loop."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from genrl.files import load_state, save_state
from genrl.models import transformer as module
from genrl.models.transformer import CausalTransformer

pytestmark = pytest.mark.usefixtures("double")


def small(n_codes: int = 3, length: int = 4, **changes) -> CausalTransformer:
    """With weights so large that what comes before matters."""
    model = CausalTransformer(n_codes, length, **{"width": 8, "depth": 2, "heads": 2, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def every(n_codes: int, length: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(n_codes), repeat=length)))


class TestCausality:
    def test_each_place_sees_itself_and_all_before_and_nothing_after(self):
        model = small(length=6)
        x = model._inputs(torch.randint(3, (2, 5)), None).detach().requires_grad_()
        for place in range(6):
            (gradient,) = torch.autograd.grad(model._logits(x)[:, place].square().sum(), x)
            seen = gradient.abs().sum((0, 2)) > 0
            assert seen.tolist() == [other <= place for other in range(6)]

    def test_logits_of_a_code_do_not_change_with_it_or_with_what_comes_after(self):
        model, codes = small(length=6), torch.randint(3, (2, 6))
        for place in range(6):
            other = codes.clone()
            other[:, place:] = (other[:, place:] + 1) % 3
            torch.testing.assert_close(model(codes)[:, : place + 1], model(other)[:, : place + 1])
            if place < 5:
                assert not torch.allclose(model(codes)[:, place + 1], model(other)[:, place + 1])

    @pytest.mark.parametrize("queries", [1, 3, 5])
    def test_attention_is_that_of_torch_with_the_last_query_at_the_last_key(self, queries):
        query, key, value = torch.randn(2, 3, queries, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
        seen = torch.arange(5) <= torch.arange(5 - queries, 5)[:, None]
        wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        torch.testing.assert_close(module._attend(query, key, value), wanted)


class TestDensity:
    def test_sums_to_one_over_all_sequences(self):
        assert small().log_prob(every(3, 4)).exp().sum().item() == pytest.approx(1, abs=1e-9)

    def test_of_a_beginning_is_the_sum_over_what_may_follow(self):
        model = small()
        whole = model.log_prob(every(3, 4)).exp().view(9, 9).sum(1)
        torch.testing.assert_close(model.log_prob(every(3, 2)).exp(), whole)

    def test_sums_to_one_for_each_class_and_differs_between_them(self):
        model = small(n_classes=2)
        p = [model.log_prob(every(3, 4), torch.full((81,), label)).exp() for label in (0, 1)]
        assert [each.sum().item() for each in p] == pytest.approx([1, 1], abs=1e-9)
        assert (p[0] - p[1]).abs().sum() > 0.01

    def test_is_the_product_of_the_softmaxes(self):
        model, codes = small(), torch.tensor([[2, 0, 1, 1]])
        p = model(codes).softmax(2)[0]
        assert model.log_prob(codes).exp().item() == pytest.approx((p[0, 2] * p[1, 0] * p[2, 1] * p[3, 1]).item())
        assert model.loss(codes).item() == pytest.approx(-model.log_prob(codes).item())

    @pytest.mark.parametrize("n_classes", [0, 2])
    def test_every_parameter_takes_a_gradient(self, n_classes):
        model = CausalTransformer(5, 6, width=8, depth=2, heads=2, n_classes=n_classes)
        model.loss(torch.randint(5, (16, 6)), torch.arange(16) % 2 if n_classes else None).backward()
        assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())

    def test_its_nats_have_all_their_bits_in_training_with_half_of_them(self):
        model, codes = small().float(), torch.randint(3, (8, 4))
        with torch.autocast("cpu", torch.bfloat16):
            half = model.log_prob(codes)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, model.log_prob(codes), rtol=0.05, atol=0.1)


class TestSampling:
    @pytest.mark.parametrize("n_classes", [0, 2])
    @pytest.mark.parametrize("time", [0, 1, 4, 6])
    @pytest.mark.parametrize("temperature", [1.0, 0.5])
    def test_from_kept_keys_and_values_gives_what_the_plain_loop_gives(self, n_classes, time, temperature):
        model, noise, given = small(5, 6, n_classes=n_classes), torch.rand(20, 6), torch.randint(5, (20, time))
        how = {"given": given, "labels": torch.arange(20) % 2 if n_classes else None, "temperature": temperature}
        drawn = model.sample(20, noise, **how)
        assert torch.equal(drawn, model.sample_plainly(20, noise, **how))
        assert torch.equal(drawn[:, :time], given)

    def test_in_pieces_gives_what_it_gives_at_once(self, monkeypatch):
        model, noise, labels = small(n_classes=2), torch.rand(7, 4), torch.arange(7) % 2
        whole = model.sample(7, noise, labels=labels)
        monkeypatch.setattr(module, "_AT_ONCE", 3)
        assert torch.equal(model.sample(7, noise, labels=labels), whole)
        assert model.sample(0, labels=labels[:0]).shape == (0, 4)

    def test_computes_the_beginning_once_and_then_one_place_a_step(self):
        model, places = small(length=7), []
        model.blocks[0].register_forward_pre_hook(lambda block, inputs: places.append(inputs[0].shape[1]))
        model.sample(2, given=torch.zeros(2, 3, dtype=torch.int64))
        assert places == [4, 1, 1, 1]  # the start token and the given codes

    def test_has_the_frequencies_of_the_density(self):
        model = small(2, 3)
        index = (model.sample(40_000) * torch.tensor([4, 2, 1])).sum(1)
        found = index.bincount(minlength=8) / 40_000
        torch.testing.assert_close(found, model.log_prob(every(2, 3)).exp().detach(), rtol=0, atol=0.01)

    def test_a_low_temperature_takes_the_most_likely_code(self):
        model = small()
        drawn = model.sample(5, temperature=1e-6)
        assert torch.equal(drawn, model(drawn).argmax(2))


def test_weights_round_trip(tmp_path):
    model, other, codes = small(n_classes=2), small(n_classes=2), torch.randint(3, (4, 4))
    save_state(tmp_path / "model", model.state_dict())
    other.load_state_dict(load_state(tmp_path / "model"))
    assert torch.equal(model.log_prob(codes, torch.tensor([0, 1, 0, 1])), other.log_prob(codes, torch.tensor([0, 1, 0, 1])))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_codes": 0}, "n_codes to be at least 1"),
        ({"length": 0}, "length to be at least 1"),
        ({"depth": 0}, "depth to be at least 1"),
        ({"heads": 0}, "heads to be at least 1"),
        ({"width": 10, "heads": 4}, "width to be a multiple of the 4 heads, but was given 10"),
        ({"n_classes": -1}, "n_classes to be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        CausalTransformer(**{"n_codes": 3, "length": 4, **changes})


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (torch.zeros(2, 5, dtype=torch.int64), r"int64 codes of shape \(batch, 1 to 4\), but was given torch.int64 of shape \(2, 5\)"),
        (torch.zeros(2, 0, dtype=torch.int64), r"given torch.int64 of shape \(2, 0\)"),
        (torch.zeros(2, 4, dtype=torch.float32), "given torch.float32"),
        (torch.tensor([[0, 3]]), "codes from 0 to 2, but was given 0 to 3"),
        (torch.tensor([[-1, 1]]), "codes from 0 to 2, but was given -1 to 1"),
    ],
)
def test_codes_of_another_shape_or_out_of_range_are_refused(codes, sentence):
    with pytest.raises(ValueError, match=sentence):
        small().log_prob(codes)


@pytest.mark.parametrize(
    ("n_classes", "labels", "sentence"),
    [
        (2, None, "n_classes=2, but was called without labels"),
        (0, torch.tensor([0, 0]), "n_classes=0, but was called with labels"),
        (2, torch.tensor([0]), r"int64 of shape \(2,\), but was given int64 of shape \(1,\)"),
        (2, torch.tensor([0, 2]), "from 0 to 1, but was given some from 0 to 2"),
    ],
)
def test_labels_that_do_not_fit_the_model_are_refused(n_classes, labels, sentence):
    model = small(n_classes=n_classes)
    with pytest.raises(ValueError, match=sentence):
        model.log_prob(torch.zeros(2, 4, dtype=torch.int64), labels)
    with pytest.raises(ValueError, match=sentence):
        model.sample(2, labels=labels)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"temperature": 0.0}, "temperature to be above 0 and finite, but was given 0.0"),
        ({"noise": torch.zeros(2, 3)}, r"noise of shape \(2, 4\), but was given \(2, 3\)"),
        ({"given": torch.zeros(3, 1, dtype=torch.int64)}, "2 sequences needs as many given beginnings, but was given 3"),
        ({"given": torch.zeros(2, 5, dtype=torch.int64)}, r"\(batch, up to 4\), but was given torch.int64 of shape \(2, 5\)"),
    ],
)
def test_draws_that_can_not_be_are_refused(how, sentence):
    with pytest.raises(ValueError, match=sentence):
        small().sample(2, **how)
