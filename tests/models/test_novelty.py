"""Novelty: likelihood fails where it is known to fail, and the scores that are there for it do not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from genrl.data import load_images
from genrl.models.novelty import FeatureDistance, auroc, complexity, excess_nats
from genrl.models.pixelcnn import PixelCNN
from genrl.models.training import fit


class TestScores:
    def test_auroc_is_the_share_of_pairs_in_order(self):
        known, new = torch.randint(10, (30,)).float(), torch.randint(10, (20,)).float() + 1
        pairs = (new[:, None] > known).double() + 0.5 * (new[:, None] == known).double()
        assert auroc(known, new) == pytest.approx(pairs.mean().item())
        assert auroc(known, known) == 0.5

    def test_complexity_is_the_number_of_bytes_times_eight(self):
        x = torch.zeros(1, 1, 4, 4)
        x[0, 0, 0, 0] = 1
        nats = complexity(x).item()
        assert nats / (8 * math.log(2)) == pytest.approx(round(nats / (8 * math.log(2))))
        assert complexity(torch.rand(1, 1, 28, 28)) > 5 * complexity(torch.zeros(1, 1, 28, 28))

    def test_a_slope_is_as_simple_as_its_step(self):
        slope = (torch.arange(28) / 255).expand(1, 1, 28, 28)
        assert complexity(slope) < 0.2 * complexity(torch.rand(1, 1, 28, 28))

    def test_excess_is_what_the_model_needs_beyond_the_compressor(self):
        x = torch.rand(3, 1, 8, 8)
        log_prob = torch.tensor([-10.0, -20.0, -30.0])
        assert torch.allclose(excess_nats(log_prob, x), torch.tensor([10.0, 20.0, 30.0]) - complexity(x))

    def test_distance_is_that_of_mahalanobis(self):
        known = torch.randn(5000, 1, 1, 2, dtype=torch.float64) * torch.tensor([1.0, 3.0]) + torch.tensor([2.0, -1.0])
        score = FeatureDistance(lambda x: x.flatten(1), known, ridge=0)
        points = torch.tensor([[2.0, -1.0], [4.0, -1.0], [2.0, 5.0]], dtype=torch.float64).view(3, 1, 1, 2)
        assert score(points).tolist() == pytest.approx([0, 4, 4], abs=0.4)

    @pytest.mark.parametrize(
        ("known", "new", "sentence"),
        [
            ([], [1.0], "but was given 0 and 1 of them"),
            ([1.0], [], "but was given 1 and 0 of them"),
            ([1.0, math.nan], [2.0, 3.0], "but 1 of 4 are NaN"),
            ([1.0, 2.0], [math.nan, math.nan], "but 2 of 4 are NaN"),
        ],
    )
    def test_auroc_of_no_scores_is_refused(self, known, new, sentence):
        with pytest.raises(ValueError, match=sentence):
            auroc(torch.tensor(known), torch.tensor(new))

    def test_auroc_takes_infinite_scores(self):
        assert auroc(torch.tensor([-math.inf, 1.0]), torch.tensor([math.inf])) == 1

    @pytest.mark.parametrize("levels", [1, 257, 999, 2.5])
    def test_complexity_has_levels_of_a_byte(self, levels):
        with pytest.raises(ValueError, match=f"levels to be from 2 to 256, but was given {levels}"):
            complexity(torch.rand(2, 1, 4, 4), levels)

    @pytest.mark.parametrize(
        ("x", "sentence"),
        [
            (torch.full((2, 1, 4, 4), 255.0), "some from 255 to 255; clamp or rescale"),
            (torch.full((2, 1, 4, 4), math.nan), "some from nan to nan"),
            (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "as floats, but was given uint8; give x / 255"),
        ],
    )
    def test_complexity_is_of_levels_between_zero_and_one(self, x, sentence):
        for call in (complexity, lambda x: excess_nats(torch.zeros(2), x)):
            with pytest.raises(ValueError, match=sentence):
                call(x)
        assert complexity(torch.zeros(0, 1, 4, 4)).shape == (0,)

    def test_one_known_image_is_too_few(self):
        with pytest.raises(ValueError, match="at least 2 of them, but was given 1"):
            FeatureDistance(lambda x: x.flatten(1), torch.zeros(1, 1, 2, 2))


@pytest.mark.shared
def test_a_model_of_clothes_finds_digits_likely_and_other_scores_find_them_new(shared: Path):
    clothes, digits = (load_images(name, shared / "data/images") for name in ("fashion-mnist", "mnist"))
    torch.manual_seed(0)
    model = PixelCNN((1, 28, 28), levels=256, width=16, depth=2, mixture=3)
    fit(model, clothes.train[:2000], epochs=2, batch_size=32, learning_rate=2e-3, progress=False)
    known, new = clothes.test.batch(slice(0, 300)), digits.test.batch(slice(0, 300))
    with torch.no_grad():
        likely, less = model.log_prob(new), model.log_prob(known)
    assert likely.mean() > less.mean() + 400  # nats: the digits, never seen, are the likelier
    assert auroc(-less, -likely) < 0.2
    assert auroc(excess_nats(less, known), excess_nats(likely, new)) > 0.9
    distance = FeatureDistance(model.encode, clothes.train.batch(slice(0, 1500)))
    assert auroc(distance(known), distance(new)) > 0.85
