"""What is given of an image: what can't be is refused when the task is built."""

from __future__ import annotations

import pytest
import torch

from genrl.models.corruptions import coarse, hole, noisy, quadrants

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("task", "value", "sentence"),
    [
        (quadrants, 4, "gives 1, 2 or 3 of them, but was asked for 4"),
        (hole, 0, "a size of 1 pixel or more, a whole number, but was given 0"),
        (hole, 1.5, "a size of 1 pixel or more, a whole number, but was given 1.5"),
        (noisy, -1, "at least 0, and finite, but was given -1"),
        (noisy, NAN, "at least 0, and finite, but was given nan"),
        (noisy, INF, "at least 0, and finite, but was given inf"),
        (coarse, 0, "a factor of 1 or more, a whole number, but were given 0"),
        (coarse, 2.5, "a factor of 1 or more, a whole number, but were given 2.5"),
    ],
)
def test_values_out_of_range_are_refused(task, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        task(value)


def test_coarse_pixels_are_means():
    target, given, wanted = coarse(2)(torch.arange(8.0).view(1, 1, 2, 4), torch.Generator())
    assert given[0, 0].tolist() == [[2.5, 2.5, 4.5, 4.5]] * 2
    assert given[0, 1].unique().tolist() == wanted.unique().tolist() == [1.0]
    with pytest.raises(ValueError, match="images of 2 × 4 are no whole squares of 3 pixels; give others, or another factor"):
        coarse(3)(target, torch.Generator())
