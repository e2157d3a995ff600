"""What is given of an image: tasks give what they say, and what can't be is refused."""

from __future__ import annotations

import pytest
import torch

from genrl.models.corruptions import coarse, hole, noisy, quadrants

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("task", "value", "sentence"),
    [
        (quadrants, 4, "quadrants needs given to be 1, 2 or 3, but was given 4"),
        (hole, 0, "hole needs size to be a whole number of pixels, at least 1, but was given 0"),
        (hole, 1.5, "hole needs size to be a whole number of pixels, at least 1, but was given 1.5"),
        (noisy, -1, "noisy needs std to be at least 0, but was given -1"),
        (noisy, NAN, "noisy needs std to be at least 0 and finite, but was given nan"),
        (noisy, INF, "noisy needs std to be at least 0 and finite, but was given inf"),
        (coarse, 0, "coarse needs factor to be a whole number, at least 1, but was given 0"),
        (coarse, 2.5, "coarse needs factor to be a whole number, at least 1, but was given 2.5"),
    ],
)
def test_values_out_of_range_are_refused(task, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        task(value)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (coarse(3), "images of 4 × 4 are no whole squares of 3 pixels; give others, or another factor"),
        (hole(5), "a hole of 5 pixels does not fit into images of 4 × 4; give a smaller one"),
    ],
)
def test_what_does_not_fit_an_image_is_refused(task, sentence):
    with pytest.raises(ValueError, match=sentence):
        task(torch.zeros(1, 1, 4, 4), torch.Generator())


def test_quadrants_are_given_from_the_lower_left_clockwise():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    for count, corner in ((1, [8, 9, 12, 13]), (2, [0, 1, 4, 5]), (3, [2, 3, 6, 7])):
        target, given, wanted = quadrants(count)(image, torch.Generator())
        assert torch.equal(target, image)
        assert torch.equal(given[:, 1], 1 - wanted[:, 0])
        assert set(corner) <= set(given[0, 0][given[0, 1] > 0].tolist())
        assert given[0, 1].sum() == 4 * count
        assert (given[0, 0][given[0, 1] == 0] == 0).all()


def test_a_hole_is_one_square_anywhere():
    _, given, wanted = hole(2)(torch.ones(300, 1, 4, 5), torch.Generator().manual_seed(0))
    assert (wanted.flatten(1).sum(1) == 4).all()
    rows, columns = wanted[:, 0].amax(2), wanted[:, 0].amax(1)
    assert (rows.sum(1) == 2).all() and (columns.sum(1) == 2).all()
    assert len(wanted.flatten(1).unique(dim=0)) == 3 * 4
    assert torch.equal(given[:, :1], 1 - wanted)


def test_noise_has_its_standard_deviation():
    target, given, wanted = noisy(0.3)(torch.full((100, 1, 20, 20), 0.5), torch.Generator().manual_seed(0))
    assert (given[:, :1] - target).std().item() == pytest.approx(0.3, rel=0.02)
    assert wanted.all() and given[:, 1:].all()


def test_coarse_pixels_are_means():
    target, given, wanted = coarse(2)(torch.arange(8.0).view(1, 1, 2, 4), torch.Generator())
    assert torch.equal(target[0, 0], torch.arange(8.0).view(2, 4))
    assert given[0, 0].tolist() == [[2.5, 2.5, 4.5, 4.5]] * 2
    assert given[0, 1].unique().tolist() == wanted.unique().tolist() == [1.0]
