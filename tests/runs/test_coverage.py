from pathlib import Path

import numpy as np
import pytest

from genrl.runs import explore
from genrl.runs.coverage import Coverage, without_gaps
from genrl.runs.result import _coverage
from tests.runs.tiny import config


def test_a_count_is_never_lost_while_the_range_grows():
    coverage = Coverage(("x", "y"), bins=16)
    points = np.random.default_rng(0).normal(size=(500, 2)) * np.logspace(-3, 3, 500)[:, None]
    for part in np.split(points, 50):
        coverage.add(part)
    assert coverage.counts.sum() == 500
    assert max(coverage.counts.shape) <= 16


def test_bins_do_not_depend_on_how_the_points_are_batched():
    points = np.random.default_rng(1).normal(size=(300, 2)) * [5.0, 0.01]
    one, many = Coverage(("x", "y"), bins=8), Coverage(("x", "y"), bins=8)
    one.add(points)
    for point in points:
        many.add(point[None])
    np.testing.assert_array_equal(one.counts, many.counts)
    np.testing.assert_array_equal(one.start, many.start)
    np.testing.assert_array_equal(one.width, many.width)


def test_counts_agree_with_a_histogram_over_the_same_edges():
    points = np.random.default_rng(2).normal(size=(1000, 2))
    coverage = Coverage(("x", "y"))
    coverage.add(points)
    expected, _, _ = np.histogram2d(*points.T, bins=coverage.edges())
    np.testing.assert_array_equal(coverage.counts, expected)
    assert coverage.visited == np.count_nonzero(expected)


def test_points_that_are_not_finite_are_left_out():
    coverage = Coverage(("x",))
    coverage.add(np.array([[np.nan], [np.inf], [0.5]]))
    assert coverage.counts.sum() == 1


def test_a_run_that_could_count_nothing_says_nothing_instead_of_no_bins():
    """As in a dream of a task that tells its place in info, which a dream has not: each point has a NaN."""
    coverage = Coverage(("x_position", "0"))
    coverage.add(np.array([[np.nan, 0.5], [np.nan, 0.7]]))
    assert _coverage(coverage) is None
    coverage.add(np.array([[0.25, 0.5]]))
    assert _coverage(coverage) == {"names": ["x_position", "0"], "bins": 1, "bin_widths": [2.0**-10] * 2}


def test_state_round_trips():
    coverage, other = Coverage(("x", "y")), Coverage(("x", "y"))
    coverage.add(np.random.default_rng(3).normal(size=(100, 2)))
    other.load_state_dict(coverage.state_dict())
    extra = np.random.default_rng(4).normal(size=(100, 2)) * 10
    coverage.add(extra)
    other.add(extra)
    np.testing.assert_array_equal(coverage.counts, other.counts)


def test_the_cells_of_a_maze_touch_and_keep_their_counts():
    coverage = Coverage(("x", "y"))
    coverage.add(np.array([(x, y) for x in range(-3, 9) for y in range(1, 6) for _ in range(x + y + 3)], float))
    counts, (x, y) = without_gaps(coverage.counts, coverage.edges())
    assert (x.tolist(), y.tolist()) == (list(range(-3, 10)), list(range(1, 7)))
    np.testing.assert_array_equal(counts, [[x + y + 3 for y in range(1, 6)] for x in range(-3, 9)])


def test_the_bins_of_a_continuous_task_stay_as_they_are():
    coverage = Coverage(("x", "y"))
    coverage.add(np.random.default_rng(3).normal(size=(1000, 2)))
    counts, edges = without_gaps(coverage.counts, coverage.edges())
    np.testing.assert_array_equal(counts, coverage.counts)
    assert all(np.array_equal(*pair) for pair in zip(edges, coverage.edges(), strict=True))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("learner", ["ppo", "sac"])
def test_the_last_observation_of_an_episode_is_counted_where_it_was(learner: str, normalize: bool, tmp_path: Path) -> None:
    """VecNormalize clips it: here it is a million away from the others, which are all at 0.5."""
    task = {"env": "tests/Breaks-v0", "env_kwargs": {"what": "jump", "at": 0}, "coverage": ("0", "1")}
    explore(config(tmp_path / "run", learner, steps=64, normalize_obs=normalize, **task), quiet=True)
    with np.load(tmp_path / "run" / "coverage.npz") as file:
        counts = file["counts"]
    assert (counts[0, 0], counts[-1, -1], counts.sum()) == (61, 3, 64)


def test_a_number_that_a_task_does_not_tell_at_each_step_is_counted_where_it_does(tmp_path: Path):
    task = {"env": "tests/Breaks-v0", "env_kwargs": {"what": "untold", "at": 0}, "coverage": ("0", "speed")}
    explore(config(tmp_path / "run", "ppo", steps=64, **task), quiet=True)
    with np.load(tmp_path / "run" / "coverage.npz") as file:
        assert file["counts"].sum() == 32
