"""Walks and directions in latent space."""

from __future__ import annotations

import math

import pytest
import torch

from genrl.models.latents import direction, walk

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("spherical", [False, True])
def test_a_walk_begins_and_ends_where_it_is_told(spherical):
    start, end = torch.randn(4, 6), torch.randn(4, 6)
    path = walk(start, end, 5, spherical=spherical)
    torch.testing.assert_close(path[0], start)
    torch.testing.assert_close(path[-1], end)
    assert path.shape == (5, 4, 6)


def test_on_the_sphere_angles_and_lengths_change_evenly():
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    path = walk(start, end, 4, spherical=True)[:, 0]
    assert torch.atan2(path[:, 1], path[:, 0]).tolist() == pytest.approx([0, math.pi / 6, math.pi / 3, math.pi / 2])
    assert path.norm(dim=1).tolist() == pytest.approx([3, 7 / 3, 5 / 3, 1])


def test_nowhere_to_go_is_no_division_by_zero():
    point = torch.randn(2, 3)
    torch.testing.assert_close(walk(point, point, 3, spherical=True), point.expand(3, 2, 3))


def test_a_direction_moves_the_mean_of_those_without_to_that_of_those_with():
    features, has = torch.randn(20, 3), torch.arange(20) % 3 == 0
    torch.testing.assert_close(features[~has].mean(0) + direction(features, has), features[has].mean(0))


def test_refusals():
    with pytest.raises(ValueError, match="walk needs steps to be at least 2"):
        walk(torch.zeros(1, 2), torch.zeros(1, 2), 1)
    for has, word in ((torch.ones(3), "all"), (torch.zeros(3), "none")):
        with pytest.raises(ValueError, match=f"but {word} of them have it"):
            direction(torch.zeros(3, 2), has.bool())


@pytest.mark.parametrize(
    ("has", "was"),
    [(torch.tensor([1, 1, 0]), r"int64 of shape \(3,\)"), (torch.tensor([True, False]), r"bool of shape \(2,\)")],
)
def test_zeros_and_ones_are_no_rows(has, was):
    with pytest.raises(ValueError, match=rf"has to be boolean of shape \(3,\), but was given {was}; give such as labels == 7"):
        direction(torch.randn(3, 2), has)


def test_between_opposites_the_walk_is_a_line():
    point = torch.tensor([[2.0, 1.0, 5.0]])
    path = walk(point, -point, 5, spherical=True)
    assert path.isfinite().all() and path.norm(dim=2).max() <= point.norm() + 1e-9
