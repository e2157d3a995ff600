"""Statistics of a benchmark of tasks, methods and runs: estimates with stratified bootstrap intervals, comparisons, profiles, curves.

Scores are one array of runs per task; a matrix is therefore ``(tasks, runs)``, the transpose of rliable's. A ``ValueError`` says which task
has no runs, or a NaN or an infinity among them, and which method has other tasks than the other. Intervals are 95 % percentile intervals
of a bootstrap that draws the runs of each task from that task, ``resamples`` times; the same ``seed`` gives the same interval.

References:
    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021, arXiv:2108.13264.
    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.
    Mann, Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other", 1947.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["FEWEST_RUNS", "Censored", "Contrast", "Curve", "Estimate", "Scores", "compare", "difference", "estimate", "iqm"]
__all__ += ["learning_curve", "median_of_runs", "median_of_tasks", "normalize", "performance_profile", "performance_profile_band"]
__all__ += ["probability_of_improvement", "time_to"]

Scores: TypeAlias = Sequence[ArrayLike] | np.ndarray
"""One 1-d array of finite run scores per task; tasks may have different numbers of runs."""

Statistic: TypeAlias = Callable[[list[np.ndarray]], Any]
"""Function from one array ``(*batch, runs)`` per task to an array ``batch``, so that many resamples are computed at once."""

FEWEST_RUNS = 5
"""Runs of a task, of either method, below which there is no verdict. Of 3 against 3 runs no rank test can reach 5 %: the smallest two-sided
p is 2 / C(6, 3) = 0.1. Of 4 against 4 it is 2 / C(8, 4) = 0.029, and one pair out of order loses it; of 5 against 5 it is 0.008."""

BLOCK = 2**20
"""How many numbers are resampled at once: 8 MB, of which there are a few copies."""


class Estimate(NamedTuple):
    """A statistic, its interval (``None`` if a task has one run only), and the runs of the smallest task, of either method."""

    value: float
    low: float | None
    high: float | None
    n: int


class Contrast(NamedTuple):
    """IQM of A less IQM of B (negative is good where lower is better), probability that A is better than B, and what they say together."""

    difference: Estimate
    improvement: Estimate
    verdict: str


class Censored(NamedTuple):
    """Times of ``solved`` of ``n`` runs: median of all (``None`` if it is among the unsolved), smallest, largest."""

    solved: int
    n: int
    median: float | None
    low: float | None
    high: float | None


class Curve(NamedTuple):
    """A learning curve and its pointwise interval, each ``(points,)``; NaN where too few runs have a value."""

    iqm: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: Scores) -> float:
    r"""Interquartile mean: of all n runs of all tasks together, the mean without the smallest and the largest quarter, each rounded down.

    .. math:: \frac{1}{n - 2 k} \sum_{i = k + 1}^{n - k} x_{(i)}, \quad k = \lfloor n / 4 \rfloor

    Arrays ``(*batch, runs)`` give an array ``batch``, which a bootstrap needs; so they do in ``median_of_runs`` and ``median_of_tasks``.

    Example:
        >>> iqm([[0, 1, 2, 100], [3, 4, 5, -100]])
        2.5
    """
    runs = np.concatenate(_tasks(scores, batched=True), axis=-1)
    cut = runs.shape[-1] // 4
    middle = np.partition(runs, (cut, runs.shape[-1] - cut - 1), axis=-1)[..., cut : runs.shape[-1] - cut]
    return _plain(middle.mean(axis=-1))


def median_of_runs(scores: Scores) -> float:
    """Median of all runs of all tasks together: what is expected of a single task.

    Example:
        >>> median_of_runs([[1, 2, 90]])
        2.0
    """
    return _plain(np.median(np.concatenate(_tasks(scores, batched=True), axis=-1), axis=-1))


def median_of_tasks(scores: Scores) -> float:
    """Median over tasks of the mean over runs: what papers call the median score of a benchmark. Of a single task it is the mean.

    Example:
        >>> median_of_tasks([[1, 2, 90], [4, 6], [7, 7]])
        7.0
    """
    return _plain(np.median([runs.mean(axis=-1) for runs in _tasks(scores, batched=True)], axis=0))


def estimate(scores: Scores, statistic: Statistic = iqm, *, resamples: int = 2000, seed: int = 0, confidence: float = 0.95) -> Estimate:
    """A statistic of one method, with its interval.

    With few runs the interval is too short, since resamples vary by (n - 1) / n of what runs do: with 5 normal runs of one task it covers
    the IQM in 90 % of cases.

    Args:
        statistic: gets one array ``(*batch, runs)`` per task and gives an array ``batch``, or a ValueError says so.

    Example:
        >>> estimate([[1, 1, 1], [3, 3, 3]])
        Estimate(value=2.0, low=2.0, high=2.0, n=3)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is {confidence}; give a number between 0 and 1, such as 0.95")
    samples = _tasks(scores)
    interval = _interval(samples, statistic, resamples, seed, confidence)
    low, high = (float(interval[0]), float(interval[1])) if interval else (None, None)
    return Estimate(float(statistic(samples)), low, high, min(map(len, samples)))


def probability_of_improvement(a: Scores, b: Scores, *, resamples: int = 2000, seed: int = 0) -> Estimate:
    r"""Probability, in [0, 1], that a run of A scores higher than a run of B on the same task, averaged over the M tasks.

    .. math:: \frac{1}{M} \sum_m P(A_m > B_m) + \tfrac{1}{2} P(A_m = B_m)

    The term of a task is the statistic U of Mann and Whitney over the number of pairs. The bootstrap draws the runs of both methods.

    Example:
        >>> probability_of_improvement([[1, 2]], [[0, 1]]).value
        0.875
    """
    ours, theirs = _pair(a, b)

    def improvement(drawn: list[np.ndarray]) -> np.ndarray:
        tasks = zip(drawn[: len(ours)], drawn[len(ours) :], strict=True)
        return np.mean([_improvement(x, y) for x, y in tasks], axis=0)

    return estimate([*ours, *theirs], improvement, resamples=resamples, seed=seed)


def difference(a: Scores, b: Scores, *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """IQM of A less IQM of B, in units of the score (:func:`normalize` several tasks); the bootstrap draws the runs of both methods.

    Example:
        >>> difference([[3, 3, 3]], [[1, 1]])
        Estimate(value=2.0, low=2.0, high=2.0, n=2)
    """
    ours, theirs = _pair(a, b)

    def gap(drawn: list[np.ndarray]) -> float:
        return iqm(drawn[: len(ours)]) - iqm(drawn[len(ours) :])

    return estimate([*ours, *theirs], gap, resamples=resamples, seed=seed)


def compare(a: Scores, b: Scores, higher_is_better: bool = True, *, resamples: int = 2000, seed: int = 0) -> Contrast:
    """Whether method A is better than method B: only if their difference and the probability of improvement both say so, at 95 %.

    The verdict is "better" or "worse" if the interval of the difference is on one side of 0 and that of the improvement on the same side of
    ½; "too few runs" if a task has fewer than 5 of either method; else "inside the noise", which does not mean that they are alike.
    Equal methods are told apart in 3 to 6 % (measured: 5 and 10 runs, 1 and 10 tasks, normal, exponential and half-zero scores).

    Example:
        >>> compare([[5, 6, 7, 8, 9]], [[0, 1, 2, 3, 4]]).verdict
        'better'
    """
    gap = difference(a, b, resamples=resamples, seed=seed)
    sign = 1 if higher_is_better else -1
    ours, theirs = ([sign * runs for runs in tasks] for tasks in _pair(a, b))
    improvement = probability_of_improvement(ours, theirs, resamples=resamples, seed=seed)
    # Means of 7 and of 10 times 0.1 differ by rounding, so the interval of the difference may exclude 0; that of the ranks has ½.
    sides = {sign * _side(gap, 0), _side(improvement, 0.5)}
    verdict = "better" if sides == {1} else "worse" if sides == {-1} else "inside the noise"
    return Contrast(gap, improvement, verdict if gap.n >= FEWEST_RUNS else "too few runs")


def performance_profile(scores: Scores, thresholds: ArrayLike) -> np.ndarray:
    r"""The share of runs that score above each threshold, averaged over the M tasks: ``(thresholds,)``, in [0, 1].

    .. math:: \hat{F}(\tau) = \frac{1}{M} \sum_{m=1}^{M} \frac{1}{N_m} \sum_{n=1}^{N_m} \mathbb{1}[x_{m,n} > \tau]

    Example:
        >>> performance_profile([[0, 1], [1, 2, 3, 4]], [0, 1, 2])
        array([0.75 , 0.375, 0.25 ])
    """
    return _mean(_above(scores, thresholds))


def performance_profile_band(
    scores: Scores, thresholds: ArrayLike, *, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of :func:`performance_profile` at each threshold by itself; NaN if a task has one run only.

    Example:
        >>> performance_profile_band([[0, 0], [1, 1]], [-1, 0.5, 2])
        (array([1. , 0.5, 0. ]), array([1. , 0.5, 0. ]))
    """
    above = _above(scores, thresholds)
    band = _interval(above, _mean, resamples, seed)
    return band or (np.full(len(above[0]), np.nan), np.full(len(above[0]), np.nan))


def normalize(values: ArrayLike, low: float, high: float) -> np.ndarray:
    r"""Scores on the scale on which ``low`` (a random policy's) is 0 and ``high`` (an expert's) is 1: :math:`(x - l) / (h - l)`.

    Example:
        >>> normalize([0, 50, 150], low=0, high=100)
        array([0. , 0.5, 1.5])
    """
    if low == high or not np.isfinite([low, high]).all():
        raise ValueError(f"the score that becomes 0 is {low} and the one that becomes 1 is {high}; give two different finite numbers")
    return (np.asarray(values, dtype=float) - low) / (high - low)


def time_to(times: Sequence[float | None]) -> Censored:
    """How long runs took to solve something; ``None`` is a run that did not within its budget, and later than every one that did.

    Example:
        >>> time_to([300, None, 100])
        Censored(solved=2, n=3, median=300.0, low=100.0, high=300.0)
    """
    solved = np.array([time for time in times if time is not None], dtype=float)
    if not len(times) or not ((solved >= 0) & (solved < np.inf)).all():
        raise ValueError(f"the times are {list(times)}; give one per run, at least 0, and None for a run that did not solve the task")
    median = float(np.median([*solved, *[np.inf] * (len(times) - len(solved))]))
    low, high = (float(solved.min()), float(solved.max())) if len(solved) else (None, None)
    return Censored(len(solved), len(times), median if np.isfinite(median) else None, low, high)


def learning_curve(curves: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> Curve:
    """IQM over runs at each point of ``(runs, points)``, and its interval at each point by itself, of resamples of whole runs.

    NaN says that a run has no value yet, and is left out; where fewer than half of the runs have one, the curve is NaN. Of one run the
    interval is NaN.

    Example:
        >>> nan = float("nan")
        >>> learning_curve([[nan, 1, 2], [nan, 1, 4], [0, nan, 6]]).iqm
        array([nan,  1.,  4.])
    """
    values = np.asarray(curves, dtype=float)
    if values.ndim != 2 or not len(values) or np.isinf(values).any():
        raise ValueError(f"the curves are {values.shape}, {np.isinf(values).sum()} infinite; give (runs, points), finite numbers and NaN")
    known = 2 * np.isfinite(values).sum(axis=0) >= len(values)
    middle, low, high = np.full((3, len(known)), np.nan)
    middle[known] = _iqm_of_known(values[:, known])
    drawn = np.random.default_rng(seed).integers(len(values), size=(len(values), resamples))
    if len(values) > 1 and known.any():
        resampled = np.stack([_iqm_of_known(runs[drawn]) for runs in values[:, known].T])
        # A resample of NaN alone counts for nothing: of 10 runs, 5 with a value, 1 resample of 1024.
        percentile = np.nanpercentile if np.isnan(resampled).any() else np.percentile  # the same numbers, in half the time
        low[known], high[known] = percentile(resampled, [2.5, 97.5], axis=1)
    return Curve(middle, low, high)


def _interval(
    samples: list[np.ndarray], statistic: Statistic, resamples: int, seed: int, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray] | None:
    """Bootstrap interval of a statistic of samples ``(*batch, runs)``; ``None`` if a sample has only one run."""

    def of_drawn(drawn: list[np.ndarray]) -> np.ndarray:
        value = np.asarray(statistic(drawn))
        if value.shape != drawn[0].shape[:-1]:
            raise ValueError(f"the statistic made {value.shape} of {drawn[0].shape}; reduce the last axis, runs, and no other")
        return value

    if min(sample.shape[-1] for sample in samples) < 2:
        return None
    batch, rng = max(1, BLOCK // sum(sample.size for sample in samples)), np.random.default_rng(seed)
    parts = []
    for begun in range(0, resamples, batch):  # each sample is drawn from by itself, so the bootstrap is stratified
        sizes = [(min(batch, resamples - begun), sample.shape[-1]) for sample in samples]
        parts.append(of_drawn([sample[..., rng.integers(size[1], size=size)] for sample, size in zip(samples, sizes, strict=True)]))
    ordered, alpha = np.sort(np.concatenate(parts, axis=-1), axis=-1), (1 - confidence) / 2
    return _quantile(ordered, alpha), _quantile(ordered, 1 - alpha)


def _quantile(ordered: np.ndarray, share: float) -> np.ndarray:
    """A quantile of what is in order along the last axis, linear between neighbours: ``scipy.stats.quantile``, without its import."""
    n = ordered.shape[-1]
    place, weight = divmod(share * n + (1 - share), 1)
    low, high = (min(max(int(i), 0), n - 1) for i in (place - 1, place))
    value: np.ndarray = (1 - weight) * ordered[..., low] + weight * ordered[..., high]
    return value


def _tasks(scores: Scores, batched: bool = False) -> list[np.ndarray]:
    tasks = [_array(f"the scores of task {i}", runs, batched) for i, runs in enumerate(scores)]
    if not tasks:
        raise ValueError("there are no scores; give each task a 1-d array of runs")
    return tasks


def _array(what: str, values: ArrayLike, batched: bool = False) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not (array.size and np.isfinite(array).all() and (array.ndim == 1 or (batched and array.ndim))):
        bad = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"{what} are {array.shape}, {bad} NaN or infinite; give a 1-d array of finite numbers, one at least")
    return array


def _pair(a: Scores, b: Scores) -> tuple[list[np.ndarray], list[np.ndarray]]:
    ours, theirs = _tasks(a), _tasks(b)
    if len(ours) != len(theirs):
        raise ValueError(f"A has {len(ours)} tasks and B {len(theirs)}; give both the same tasks in the same order")
    return ours, theirs


def _above(scores: Scores, thresholds: ArrayLike) -> list[np.ndarray]:
    """``(thresholds, runs)`` of each task: 1 where a run scores above a threshold, else 0."""
    levels = _array("the thresholds", thresholds)
    return [(runs > levels[:, None]).astype(float) for runs in _tasks(scores)]


def _mean(samples: list[np.ndarray]) -> np.ndarray:
    return np.mean([runs.mean(axis=-1) for runs in samples], axis=0)


def _improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(x > y) + P(x = y) / 2 over the last axes; one run of y at a time, as all pairs of all resamples would take much memory."""
    wins = [(x > run).sum(axis=-1) + (x >= run).sum(axis=-1) for run in np.moveaxis(y, -1, 0)[..., None]]
    return np.sum(wins, axis=0) / (2 * len(wins) * x.shape[-1])


def _side(estimate: Estimate, middle: float) -> int:
    """1 if the interval is above ``middle``, -1 if it is below, 0 if it holds it or there is none."""
    low, high = estimate.low, estimate.high
    return 0 if low is None or high is None else int(low > middle) - int(high < middle)


def _iqm_of_known(values: np.ndarray) -> np.ndarray:
    """IQM over the first axis of two of what is not NaN; NaN where nothing is."""
    ordered = np.ascontiguousarray(np.sort(values, axis=0))  # NaN comes last; NumPy adds in the order of the memory
    if not np.isnan(ordered[-1]).any():
        cut = len(ordered) // 4
        return np.sum(ordered[cut : len(ordered) - cut], axis=0) / (len(ordered) - 2 * cut)
    n, rank = np.isfinite(ordered).sum(axis=0), np.arange(len(ordered))[:, None]
    with np.errstate(invalid="ignore"):  # 0 / 0
        return np.sum(ordered, axis=0, where=(n // 4 <= rank) & (rank < n - n // 4)) / (n - 2 * (n // 4))


def _plain(value: Any) -> Any:
    """A float if it is one number, as of scores without a batch."""
    return value if np.ndim(value) else float(value)
