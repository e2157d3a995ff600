"""Statistics of a benchmark: hand-computed values, laws, intervals that cover what they should, and rliable's own numbers."""

from __future__ import annotations

import math
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from genrl.studies.statistics import (
    Censored,
    Estimate,
    compare,
    difference,
    estimate,
    iqm,
    learning_curve,
    median_of_runs,
    median_of_tasks,
    normalize,
    performance_profile,
    performance_profile_band,
    probability_of_improvement,
    time_to,
)

NAN = float("nan")
HIGH, LOW = [9.0, 8.0, 7.5, 9.5, 8.5], [1.0, 2.0, 3.0, 1.5, 2.5]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def mean(samples: list[np.ndarray]) -> np.ndarray:
    return np.mean([runs.mean(axis=-1) for runs in samples], axis=0)


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None and found.high is not None
    return found.low, found.high


class TestInterquartileMean:
    @pytest.mark.parametrize(
        ("runs", "expected"),
        [
            ([8, 1, 2, 7, 3, 6, 4, 50], 5.0),  # without 1, 2 and 8, 50: (3 + 4 + 6 + 7) / 4
            ([100, 1, 2, 3, 4, -9, 6], 3.2),  # ⌊7 / 4⌋ = 1 from either end: (1 + 2 + 3 + 4 + 6) / 5
            ([5, 0, 1], 2.0),  # ⌊3 / 4⌋ = 0: the mean
            ([7], 7.0),
        ],
    )
    def test_of_one_task_is_the_mean_without_the_outer_quarters(self, runs: list[float], expected: float) -> None:
        assert iqm([runs]) == pytest.approx(expected, abs=1e-12)

    def test_pools_the_runs_of_all_tasks(self) -> None:
        # Of 0, 1, 2, 3, 10, 20, 30, 40: (2 + 3 + 10 + 20) / 4, while the mean of the tasks' own is (1.5 + 25) / 2.
        assert iqm([[0, 3, 1, 2], [10, 40, 30, 20]]) == 8.75

    def test_does_not_see_the_extremes(self) -> None:
        assert iqm([[0, 1, 2, 1e9]]) == iqm([[-1e9, 1, 2, 3]]) == 1.5

    def test_moves_and_scales_with_the_scores(self) -> None:
        scores = normal(3, 7)
        assert iqm(5 - 2 * scores) == pytest.approx(5 - 2 * iqm(scores))

    def test_is_a_plain_float(self) -> None:
        assert type(iqm([[1, 2]])) is type(median_of_runs([[1, 2]])) is type(median_of_tasks([[1, 2]])) is float


class TestMedians:
    def test_of_runs_pools_all_runs(self) -> None:
        assert median_of_runs([[1, 100, 2]]) == 2.0
        assert median_of_runs([[0, 0, 0], [10]]) == 0.0  # and not 5, the median of the tasks' own

    def test_of_tasks_is_a_median_of_means(self) -> None:
        assert median_of_tasks([[1, 100, 1], [3], [5, 7]]) == 6.0  # of 34, 3 and 6
        assert median_of_tasks([[1, 100, 1]]) == 34.0


class TestRefusals:
    @pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf, None])
    @pytest.mark.parametrize("function", [iqm, median_of_runs, median_of_tasks, estimate])
    def test_a_score_that_is_not_finite_names_its_task(self, function: Any, bad: float) -> None:
        with pytest.raises(ValueError, match=r"^the scores of task 1 are \(2,\), 1 NaN or infinite; .*finite numbers"):
            function([[1, 2, 3], [4, bad]])

    @pytest.mark.parametrize("function", [probability_of_improvement, difference, compare])
    def test_a_score_of_either_method_must_be_finite(self, function: Any) -> None:
        for pair in ([[1, NAN]], [[1, 2]]), ([[1, 2]], [[1, NAN]]):
            with pytest.raises(ValueError, match="the scores of task 0"):
                function(*pair)

    @pytest.mark.parametrize("scores", [[], [[1.0], []], [1.0, 2.0], np.float64(1) * np.ones(3)])
    @pytest.mark.parametrize("function", [iqm, median_of_runs, median_of_tasks, estimate])
    def test_no_tasks_no_runs_and_a_flat_list(self, function: Any, scores: Any) -> None:
        with pytest.raises(ValueError, match="1-d array of"):
            function(scores)

    def test_an_array_of_three_axes_has_no_estimate(self) -> None:
        with pytest.raises(ValueError, match="give a 1-d array"):
            estimate(np.ones((2, 3, 4)))

    @pytest.mark.parametrize("function", [probability_of_improvement, difference, compare])
    def test_methods_with_other_tasks(self, function: Any) -> None:
        with pytest.raises(ValueError, match="A has 1 tasks and B 2; give both the same"):
            function([[1, 2]], [[1, 2], [3, 4]])

    @pytest.mark.parametrize("statistic", [lambda samples: 1.0, lambda samples: samples[0]])
    def test_a_statistic_that_does_not_reduce_runs_and_nothing_else(self, statistic: Any) -> None:
        with pytest.raises(ValueError, match="reduce the last axis"):
            estimate([[1, 2, 3]], statistic)

    @pytest.mark.parametrize("confidence", [0, 1, 95, NAN])
    def test_a_confidence_that_is_not_a_share(self, confidence: float) -> None:
        with pytest.raises(ValueError, match=r"give a number between 0 and 1, such as 0\.95"):
            estimate([[1, 2, 3]], confidence=confidence)


class TestEstimate:
    def test_holds_its_statistic_and_counts_the_smallest_task(self) -> None:
        scores = [normal(10), normal(7, seed=1)]
        found = estimate(scores)
        low, high = ends(found)
        assert low < found.value == iqm(scores) < high
        assert found.n == 7
        assert all(type(number) is float for number in found[:3])

    def test_never_mixes_tasks(self) -> None:
        # Constant tasks: each resample is the scores themselves, unless runs of one task stand in for runs of the other.
        scores = [[0.0] * 4, [100.0] * 4]
        assert estimate(scores)[:3] == (50.0, 50.0, 50.0)
        pooled = stats.bootstrap(
            (np.concatenate(scores),), lambda x, axis: iqm([x]), axis=-1, method="percentile", rng=0
        ).confidence_interval
        assert pooled.high - pooled.low > 50

    def test_is_that_of_the_seed(self) -> None:
        scores = normal(2, 10)
        assert estimate(scores, seed=3) == estimate(scores, seed=3) == estimate(list(scores), seed=3)
        assert estimate(scores, seed=3) != estimate(scores, seed=4)

    def test_has_no_interval_if_a_task_has_one_run(self) -> None:
        assert estimate([[5.0]]) == (5.0, None, None, 1)
        assert estimate([[1.0, 2.0, 3.0], [6.0]]) == (2.5, None, None, 1)
        assert difference([[5.0]], [[1.0, 2.0]]) == (3.5, None, None, 1)
        assert probability_of_improvement([[1.0, 3.0]], [[2.0]]) == (0.5, None, None, 1)

    def test_is_wider_with_more_confidence(self) -> None:
        widths = [np.diff(ends(estimate(normal(1, 20), confidence=confidence)))[0] for confidence in (0.5, 0.8, 0.95, 0.99)]
        assert (np.diff(widths) > 0).all()

    def test_of_the_mean_is_about_two_standard_errors(self) -> None:
        scores = normal(1, 200)
        low, high = ends(estimate(scores, mean))
        assert high - low == pytest.approx(2 * 1.96 * scores.std() / math.sqrt(200), rel=0.1)

    def test_takes_any_statistic_over_the_last_axis(self) -> None:
        scores = [normal(6), normal(9, seed=1)]
        for statistic in (mean, median_of_runs, median_of_tasks, lambda samples: samples[1].max(axis=-1)):
            found = estimate(scores, statistic)
            low, high = ends(found)
            assert low <= found.value == statistic(scores) <= high

    @pytest.mark.parametrize("draw", ["normal", "exponential"])
    def test_covers_the_truth_as_often_as_it_says(self, draw: str) -> None:
        rng = np.random.default_rng(0)
        truth = {"normal": 0.0, "exponential": 1.0}[draw]
        intervals = [ends(estimate(getattr(rng, draw)(size=(3, 12)), mean, resamples=500, seed=i)) for i in range(200)]
        assert 0.85 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.99

    @pytest.mark.parametrize("sizes", [(5,), (7, 12, 5), (40, 3)])
    @pytest.mark.parametrize("confidence", [0.5, 0.95])
    def test_is_scipys_bootstrap_to_the_last_bit(self, sizes: tuple[int, ...], confidence: float) -> None:
        rng = np.random.default_rng(0)
        runs = [rng.normal(size=n) for n in sizes]
        expected = stats.bootstrap(
            runs,
            lambda *drawn, axis: stats.trim_mean(np.concatenate(drawn, axis=-1), 0.25, axis=axis),
            n_resamples=1000, confidence_level=confidence, method="percentile", rng=np.random.default_rng(3),
        ).confidence_interval  # fmt: skip
        assert ends(estimate(runs, iqm, resamples=1000, seed=3, confidence=confidence)) == (expected.low, expected.high)

    @pytest.mark.parametrize(
        "call",
        [
            lambda: estimate(normal(10, 10), resamples=50_000),
            lambda: probability_of_improvement(normal(2, 150), normal(2, 150)),
            lambda: performance_profile_band(normal(10, 10), np.linspace(-2, 2, 200)),
            lambda: learning_curve(normal(20, 500), resamples=2000),
        ],
    )
    def test_needs_little_memory(self, call: Any) -> None:
        tracemalloc.start()
        try:
            call()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 100e6


class TestProbabilityOfImprovement:
    def test_counts_pairs_and_half_of_the_ties(self) -> None:
        # 3 beats 1 and 2 and ties 3, 2 beats 1 and ties 2, and 0 beats none: U = 2.5 + 1.5 of 9 pairs.
        assert probability_of_improvement([[3, 2, 0]], [[1, 2, 3]]).value == pytest.approx(4 / 9)

    def test_is_the_u_statistic_of_each_task_over_its_pairs(self) -> None:
        rng = np.random.default_rng(0)
        a, b = [rng.integers(0, 5, size=n) for n in (3, 8, 5)], [rng.integers(0, 5, size=n) for n in (6, 4, 5)]
        shares = [stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(a, b, strict=True)]
        assert probability_of_improvement(a, b).value == pytest.approx(np.mean(shares))

    def test_compares_within_tasks_only(self) -> None:
        assert probability_of_improvement([[0, 1], [100, 101]], [[2, 3], [98, 99]])[:3] == (0.5, 0.5, 0.5)

    def test_of_a_over_b_and_of_b_over_a_add_up_to_one(self) -> None:
        a, b = normal(3, 8), np.round(normal(3, 6, seed=1), 1)
        assert probability_of_improvement(a, b).value + probability_of_improvement(b, a).value == pytest.approx(1)
        assert probability_of_improvement(a, a).value == 0.5

    def test_depends_on_the_order_of_scores_only(self) -> None:
        a, b = normal(3, 8), normal(3, 6, seed=1) + 0.5
        assert probability_of_improvement(np.exp(a), np.exp(b)) == probability_of_improvement(a, b)

    def test_draws_the_runs_of_both_methods(self) -> None:
        apart = [0.0, 10.0] * 5
        for a, b in (([apart], [[5.0] * 10]), ([[5.0] * 10], [apart])):
            low, high = ends(probability_of_improvement(a, b))
            assert low < 0.4 and high > 0.6

    def test_is_certain_of_what_never_overlaps(self) -> None:
        assert probability_of_improvement([HIGH], [LOW]) == (1.0, 1.0, 1.0, 5)


class TestCompare:
    def test_the_difference_is_that_of_interquartile_means(self) -> None:
        a, b = normal(3, 8) + 1, normal(3, 6, seed=1)
        found = difference(a, b)
        low, high = ends(found)
        assert found.value == pytest.approx(iqm(a) - iqm(b))
        assert low < found.value < high
        assert found.n == 6

    def test_the_difference_draws_the_runs_of_both_methods(self) -> None:
        apart = [0.0, 10.0] * 5
        for a, b in (([apart], [[5.0] * 10]), ([[5.0] * 10], [apart])):
            low, high = ends(difference(a, b))
            assert low < 0 < high

    def test_says_better_and_worse(self) -> None:
        assert compare([HIGH], [LOW]).verdict == "better"
        assert compare([LOW], [HIGH]).verdict == "worse"

    def test_lower_may_be_better(self) -> None:
        found = compare([LOW], [HIGH], higher_is_better=False)
        assert found.verdict == "better"
        assert found.improvement.value == 1
        assert found.difference.value < 0
        assert compare([HIGH], [LOW], higher_is_better=False).verdict == "worse"

    def test_what_is_lower_is_what_is_higher_of_negative_scores(self) -> None:
        for shift in (-1.5, -0.5, 0.0, 0.5, 1.5):
            a, b = normal(2, 8) + shift, normal(2, 8, seed=1)
            mirrored, found = compare(-a, -b), compare(a, b, higher_is_better=False)
            assert (mirrored.verdict, mirrored.improvement) == (found.verdict, found.improvement)

    def test_constants_need_no_noise(self) -> None:
        found = compare([[1.0] * 10], [[0.0] * 10])
        assert (found.verdict, found.difference[:3]) == ("better", (1.0, 1.0, 1.0))

    @pytest.mark.parametrize(("n", "m"), [(10, 10), (7, 10)])
    def test_equal_constants_are_inside_the_noise(self, n: int, m: int) -> None:
        assert compare([[0.1] * n], [[0.1] * m]).verdict == "inside the noise"

    def test_rounding_alone_is_no_improvement(self) -> None:
        found = difference([[0.1] * 7], [[0.1] * 10])
        assert found.value != 0 and found.low == found.high == found.value

    def test_noise_is_inside_the_noise(self) -> None:
        assert compare(normal(1, 10), normal(1, 10, seed=1)).verdict == "inside the noise"

    def test_a_difference_that_touches_zero_is_inside_the_noise(self) -> None:
        found = compare([[0.0] * 8 + [1.0] * 4], [[0.0] * 12])  # solved by a third of the runs, which the IQM barely sees
        assert found.difference.low == 0
        assert found.improvement.low is not None and found.improvement.low > 0.5
        assert found.verdict == "inside the noise"

    def test_a_few_large_wins_without_ranks_are_inside_the_noise(self) -> None:
        a, b = [1000.0] * 11 + [0.0] * 9, [1.0] * 20  # the difference is large, the probability of improvement 11 / 20
        found = compare([a] * 4, [b] * 4)
        assert ends(found.difference)[0] > 0
        assert ends(found.improvement)[0] < 0.5
        assert found.verdict == "inside the noise"

    def test_methods_that_pull_apart_are_inside_the_noise(self) -> None:
        # One task won by far, two lost by little: the intervals are on opposite sides.
        found = compare([[100.0] * 10, [1.0] * 5, [1.0] * 5], [[0.0] * 10, [2.0] * 5, [2.0] * 5])
        assert ends(found.difference)[0] > 0
        assert ends(found.improvement)[1] < 0.5
        assert found.verdict == "inside the noise"

    @pytest.mark.parametrize(
        ("n", "m", "verdict"), [(4, 10, "too few runs"), (10, 4, "too few runs"), (1, 5, "too few runs"), (5, 5, "better")]
    )
    def test_fewer_than_five_runs_have_no_verdict(self, n: int, m: int, verdict: str) -> None:
        assert compare([[2.0, 1.9] * 5, [1.0] * n], [[0.1, 0.0] * 5, [0.0] * m]).verdict == verdict

    def test_equal_methods_are_rarely_told_apart(self) -> None:
        rng = np.random.default_rng(0)
        verdicts = [compare(rng.normal(size=(1, 5)), rng.normal(size=(1, 5)), resamples=400, seed=i).verdict for i in range(300)]
        assert 0.01 < 1 - verdicts.count("inside the noise") / 300 < 0.09

    def test_is_that_of_the_seed(self) -> None:
        a, b = normal(2, 8), normal(2, 8, seed=1)
        found, other = compare(a, b, seed=3), compare(a, b, seed=4)
        assert found == compare(a, b, seed=3)
        assert found.difference != other.difference and found.improvement != other.improvement
        assert found.difference == difference(a, b, seed=3) and found.improvement == probability_of_improvement(a, b, seed=3)


class TestPerformanceProfile:
    def test_is_the_share_above_averaged_over_tasks(self) -> None:
        # Above 1, strictly: 1 of 2 and 2 of 5 runs, not 3 of 7.
        assert performance_profile([[1, 2], [0, 0, 1, 3, 3]], [1]) == pytest.approx([0.45])

    def test_falls_from_one_to_zero(self) -> None:
        profile = performance_profile([normal(5), normal(9, seed=1)], np.linspace(-5, 5, 50))
        assert profile[0] == 1 and profile[-1] == 0
        assert (np.diff(profile) <= 0).all()

    def test_does_not_change_with_the_scale(self) -> None:
        scores, levels = normal(3, 6), np.linspace(-2, 2, 9)
        np.testing.assert_array_equal(performance_profile(np.exp(scores), np.exp(levels)), performance_profile(scores, levels))

    def test_lies_in_its_band(self) -> None:
        scores, levels = normal(4, 8), np.linspace(-3, 3, 21)
        low, high = performance_profile_band(scores, levels)
        profile = performance_profile(scores, levels)
        assert ((low <= profile) & (profile <= high)).all()
        assert (high - low).max() > 0.1
        assert (np.diff(low) <= 0).all() and (np.diff(high) <= 0).all()

    def test_the_resamples_are_the_same_at_all_thresholds(self) -> None:
        low, high = performance_profile_band([np.repeat([0.0, 1.0], 40)], np.linspace(0.1, 0.9, 8), resamples=25)
        assert len(set(low)) == len(set(high)) == 1

    def test_the_band_is_pointwise_that_of_the_share(self) -> None:
        scores, levels = normal(2, 9), np.array([-0.5, 0.5])
        low, high = performance_profile_band(scores, levels, seed=2)
        for i, level in enumerate(levels):
            assert ends(estimate((scores > level).astype(float), mean, seed=2)) == (low[i], high[i])

    def test_the_band_never_mixes_tasks(self) -> None:
        np.testing.assert_array_equal(performance_profile_band([[0.0] * 4, [1.0] * 4], [0.5]), [[0.5], [0.5]])

    def test_of_one_run_there_is_no_band(self) -> None:
        assert np.isnan(performance_profile_band([[1.0]], [0.0, 2.0])).all()

    @pytest.mark.parametrize("thresholds", [0.5, [], [NAN], [[0.5]]])
    def test_thresholds_are_a_list_of_numbers(self, thresholds: Any) -> None:
        with pytest.raises(ValueError, match="the thresholds are"):
            performance_profile([[1, 2]], thresholds)


class TestNormalize:
    def test_puts_low_at_zero_and_high_at_one(self) -> None:
        np.testing.assert_allclose(normalize([[-10, 30], [10, 0]], low=-10, high=30), [[0, 1], [0.5, 0.25]])

    def test_turns_around_where_lower_is_better(self) -> None:
        np.testing.assert_allclose(normalize([200, 50, 100], low=200, high=100), [0, 1.5, 1])

    @pytest.mark.parametrize(("low", "high"), [(3.0, 3.0), (NAN, 1.0), (0.0, math.inf)])
    def test_refuses_a_scale_without_length(self, low: float, high: float) -> None:
        with pytest.raises(ValueError, match="give two different finite numbers"):
            normalize([1.0], low, high)


class TestTimeTo:
    @pytest.mark.parametrize(
        ("times", "expected"),
        [
            ([30, 10, 20], Censored(3, 3, 20.0, 10.0, 30.0)),
            ([40, 10, 20, 30], Censored(4, 4, 25.0, 10.0, 40.0)),
            ([None, 10, 20], Censored(2, 3, 20.0, 10.0, 20.0)),  # 10, 20, later
            ([None, 10, 20, 40], Censored(3, 4, 30.0, 10.0, 40.0)),  # between 20 and 40
            ([None, 10, 20, None], Censored(2, 4, None, 10.0, 20.0)),  # between 20 and later
            ([None, 10, None], Censored(1, 3, None, 10.0, 10.0)),
            ([None, None], Censored(0, 2, None, None, None)),
            ([0], Censored(1, 1, 0.0, 0.0, 0.0)),
        ],
    )
    def test_counts_an_unsolved_run_as_later_than_every_solved_one(self, times: list[float | None], expected: Censored) -> None:
        assert time_to(times) == expected

    @pytest.mark.parametrize("times", [[], [1, NAN], [1, math.inf], [1, -1, None]])
    def test_refuses_what_is_no_time(self, times: list[float | None]) -> None:
        with pytest.raises(ValueError, match="and None for a run that did not solve the task"):
            time_to(times)


class TestLearningCurve:
    def test_is_the_iqm_at_each_point(self) -> None:
        curves = normal(9, 20)
        middle, low, high = learning_curve(curves)
        np.testing.assert_allclose(middle, [iqm([column]) for column in curves.T])
        assert ((low < middle) & (middle < high)).all()

    def test_its_interval_is_about_that_of_an_estimate(self) -> None:
        curves = normal(10, 5)
        _, low, high = learning_curve(curves, resamples=20_000)
        expected = [ends(estimate([column], resamples=20_000)) for column in curves.T]
        np.testing.assert_allclose(np.transpose([low, high]), expected, atol=0.05)

    def test_draws_whole_runs(self) -> None:
        column = normal(10)
        _, low, high = learning_curve(np.column_stack([column, 2 * column, column]))
        np.testing.assert_array_equal([low[0], high[0]], [low[2], high[2]])
        np.testing.assert_allclose([low[1], high[1]], [2 * low[0], 2 * high[0]])

    def test_leaves_out_runs_without_a_value(self) -> None:
        curves = np.array([[1.0, 1.0], [2.0, NAN], [3.0, 5.0], [10.0, NAN], [4.0, 9.0], [5.0, 2.0]])
        middle, low, high = learning_curve(curves)
        assert middle.tolist() == [3.5, 3.5]  # of 6 the middle 4; of 1, 2, 5 and 9 the middle 2
        assert np.isfinite([low, high]).all()

    def test_is_nan_where_fewer_than_half_of_the_runs_have_a_value(self) -> None:
        curves = np.full((4, 3), 1.0)
        curves[:2, 1] = NAN
        curves[:3, 2] = NAN
        for line in learning_curve(curves):
            np.testing.assert_array_equal(line, [1.0, 1.0, NAN])

    def test_resamples_without_any_value_do_not_count(self) -> None:
        # Of 2 runs, one without a value, every fourth resample has none.
        np.testing.assert_array_equal(learning_curve([[3.0], [NAN]]), [[3.0], [3.0], [3.0]])

    def test_of_one_run_has_no_interval(self) -> None:
        np.testing.assert_array_equal(learning_curve([[3.0, 4.0]]), [[3.0, 4.0], [NAN, NAN], [NAN, NAN]])

    def test_is_that_of_the_seed_and_leaves_its_input_alone(self) -> None:
        curves = normal(5, 4)
        before = curves.copy()
        np.testing.assert_array_equal(learning_curve(curves, seed=3), learning_curve(curves, seed=3))
        assert not np.array_equal(learning_curve(curves, seed=3).low, learning_curve(curves, seed=4).low)
        np.testing.assert_array_equal(curves, before)

    @pytest.mark.parametrize("curves", [[1.0, 2.0], [], np.ones((0, 3)), [[1.0, math.inf]]])
    def test_refuses_what_are_no_curves(self, curves: Any) -> None:
        with pytest.raises(ValueError, match="give \\(runs, points\\)"):
            learning_curve(curves)

    def test_a_hundred_curves_take_seconds(self) -> None:
        curves = normal(10, 100)
        start = time.process_time()
        for _ in range(5):
            learning_curve(curves)
        assert time.process_time() - start < 0.5  # 5 seconds for a hundred is half of it; the rest is for a slow machine


class TestAgainstRliable:
    """rliable's matrices are ``(runs, tasks)``: pip install rliable "pandas<3" (arch 7, which it needs, does not import with pandas 3)."""

    @pytest.fixture
    def rliable(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("rliable")
            import rliable.library
            import rliable.metrics
        return rliable

    @pytest.mark.parametrize(("tasks", "runs"), [(1, 5), (4, 3), (10, 10), (7, 6)])
    def test_values_are_the_same(self, rliable: Any, tasks: int, runs: int) -> None:
        a, b = normal(tasks, runs), np.round(normal(tasks, runs + 2, seed=1), 1)
        a[0, 0], a[0, 1] = b[0, 0], 0.0  # a tie, and a score on a threshold
        levels = np.linspace(-2, 2, 11)
        metrics = rliable.metrics
        assert iqm(a) == pytest.approx(metrics.aggregate_iqm(a.T), abs=1e-12)
        assert median_of_tasks(a) == pytest.approx(metrics.aggregate_median(a.T), abs=1e-12)
        assert probability_of_improvement(a, b).value == pytest.approx(metrics.probability_of_improvement(a.T, b.T), abs=1e-12)
        profile = rliable.library.score_distributions(a.T, levels)
        np.testing.assert_allclose(performance_profile(a, levels), profile, atol=1e-12)

    @pytest.mark.parametrize("statistic", ["iqm", "median"])
    def test_intervals_agree(self, rliable: Any, statistic: str) -> None:
        scores = normal(5, 10)
        ours, theirs = {
            "iqm": (iqm, rliable.metrics.aggregate_iqm),
            "median": (median_of_tasks, rliable.metrics.aggregate_median),
        }[statistic]
        expected = self.interval(rliable, scores.T, lambda x: np.array([theirs(x)]))
        low, high = ends(estimate(scores, ours, resamples=20_000))
        np.testing.assert_allclose([low, high], expected[:, 0], atol=0.05 * (high - low))

    def test_intervals_of_the_improvement_agree(self, rliable: Any) -> None:
        a, b = normal(4, 8) + 0.5, normal(4, 6, seed=1)
        found = probability_of_improvement(a, b, resamples=20_000)
        theirs = rliable.metrics.probability_of_improvement
        expected = self.interval(rliable, (a.T, b.T), lambda x, y: np.array([theirs(x, y)]))
        low, high = ends(found)
        np.testing.assert_allclose([low, high], expected[:, 0], atol=0.08 * (high - low))

    def test_bands_of_profiles_agree(self, rliable: Any) -> None:
        scores, levels = normal(5, 10), np.linspace(-2, 2, 7)
        expected = self.interval(rliable, scores.T, lambda x: rliable.library.score_distributions(x, levels))
        np.testing.assert_allclose(performance_profile_band(scores, levels, resamples=20_000), expected, atol=0.021)  # a run is 1 / 50

    def interval(self, rliable: Any, scores: Any, function: Any) -> np.ndarray:
        """rliable's own, which draws from NumPy's global generator whatever ``random_state`` says."""
        np.random.seed(0)  # noqa: NPY002
        return rliable.library.get_interval_estimates({"x": scores}, function, reps=2000)[1]["x"]
