"""The numbers that a study claims: one JSON document with an entry for every task and method, and a CSV row for every run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genrl.errors import RunError, command
from genrl.files import write_whole
from genrl.reading import read_json
from genrl.runs.directory import RunDirectory
from genrl.studies import statistics
from genrl.studies.directory import FORMAT
from genrl.studies.matrix import Task
from genrl.studies.results import CellResult, Results, finite
from genrl.studies.tables import SCORES

__all__ = ["common_bins", "normalized_scores", "summarize", "visited_bins", "write_results"]

BINS = 2**22
"""Bins of several histograms together, at most."""


def summarize(results: Results) -> dict[str, Any]:
    """The numbers of a study as one document for JSON.

    An *interval* is a 95 % stratified bootstrap interval of the interquartile mean from five runs on; of fewer it is their range, with
    their median. Failed and unfinished runs are counted, not averaged.

    Args:
        results: from :func:`genrl.studies.results.read_study`.
    """
    study = results.study
    tasks = {name: _task(results, task) for name, task in study.tasks.items()}
    return {
        "format": FORMAT,
        "study": study.name,
        "title": study.title,
        "command": command("study", study.source),
        "score": study.settings.score,
        "baseline": study.baseline,
        "seeds": list(study.settings.seeds),
        "cells": {status: sum(item.status == status for item in results.cells) for status in _STATUSES},
        **_about(results),
        "tasks": tasks,
        "all_tasks": _all_tasks(results),
        "failures": [
            {"task": item.cell.task, "method": item.cell.method, "seed": item.cell.seed, "tries": item.tries, "error": item.error}
            for item in results.cells
            if item.status == "failed"
        ],
    }


_STATUSES = ("finished", "failed", "running", "stopped", "waiting")


def _task(results: Results, task: Task) -> dict[str, Any]:
    study = results.study
    configs = [cell.config for cell in study.cells if cell.task == task.name]
    steps = sorted({config.steps for config in configs})
    bins = visited_bins(results, task.name)
    return {
        "env": configs[0].env,
        "steps": steps[0] if len(steps) == 1 else steps,
        "threshold": task.threshold,
        "reference": task.reference,
        "methods": {method: _method(results, task, method, bins.get(method, [])) for method in study.methods},
    }


def _method(results: Results, task: Task, method: str, bins: list[float | None]) -> dict[str, Any]:
    runs, planned = results.finished(task.name, method), results.of(task.name, method)
    settings = results.study.settings
    entry: dict[str, Any] = {
        "learner": planned[0].cell.config.learner,
        "runs": len(runs),
        "planned": len(planned),
        "failed": sum(item.status == "failed" for item in planned),
        **{key: _interval([item.result.get(key) for item in runs]) for key in SCORES},
        "at": {str(step): _interval([item.return_at(step) for item in runs]) for step in settings.milestones},
        "first_reward": _times([item.result["first_reward_step"] for item in runs]),
        "coverage": _interval(bins),
        "steps_per_second": _median([item.result["steps_per_second"] for item in runs]),
        "seconds": _median([item.result["seconds"] for item in runs]),
        "peak_rss_mb": max((item.result["peak_rss_mb"] for item in runs), default=None),
    }
    if task.threshold is not None:
        entry["threshold"] = _times([item.time_to(task.threshold) for item in runs])
        for key in SCORES:
            entry[f"{key}_reaches"] = sum(value >= task.threshold for value in finite([item.result.get(key) for item in runs]))
    if method != results.study.baseline:
        entry["against_baseline"] = _comparison(
            [_scores(results, task.name, method)], [_scores(results, task.name, results.study.baseline)]
        )
    return entry


def _scores(results: Results, task: str, method: str) -> list[float]:
    return finite([item.result[results.study.settings.score] for item in results.finished(task, method)])


def _interval(values: Sequence[float | None]) -> dict[str, Any] | None:
    numbers = finite(values)
    if not numbers:
        return None
    entry = {"n": len(numbers), "median": float(np.median(numbers)), "min": min(numbers), "max": max(numbers)}
    if len(numbers) < statistics.FEWEST_RUNS:
        return entry
    iqm, median = statistics.estimate([numbers]), statistics.estimate([numbers], statistics.median_of_runs)
    return entry | {"iqm": iqm.value, "iqm_95": [iqm.low, iqm.high], "median_95": [median.low, median.high]}


def _times(steps: Sequence[int | None]) -> dict[str, Any] | None:
    if not steps:
        return None
    times = statistics.time_to(steps)
    return {"solved": times.solved, "n": times.n, "median": times.median, "min": times.low, "max": times.high}


def _comparison(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, Any] | None:
    if not all(ours) or not all(theirs):
        return None
    found = statistics.compare(ours, theirs)
    return {
        "verdict": found.verdict,
        "difference": [found.difference.value, found.difference.low, found.difference.high],
        "probability_of_improvement": [found.improvement.value, found.improvement.low, found.improvement.high],
    }


def _all_tasks(results: Results) -> dict[str, Any] | None:
    """Scores over all tasks, where there is more than one, of every method that has a run on each."""
    study = results.study
    if len(study.tasks) < 2:
        return None
    normalized = all(task.reference is not None for task in study.tasks.values())
    table = {method: [_scores(results, task, method) for task in study.tasks] for method in study.methods}
    entries = {}
    for method, scores in table.items():
        if not all(scores):
            continue
        entry: dict[str, Any] = {"runs": sum(map(len, scores))}
        if normalized:
            scores_01 = normalized_scores(study.tasks.values(), scores)
            for key, statistic in (("iqm", statistics.iqm), ("median_of_tasks", statistics.median_of_tasks)):
                entry[key] = _triple(statistics.estimate(scores_01, statistic))
        if method != study.baseline and all(table[study.baseline]):
            entry["probability_of_improvement"] = _triple(statistics.probability_of_improvement(scores, table[study.baseline]))
        entries[method] = entry
    return {"normalized": normalized, "methods": entries}


def _triple(found: statistics.Estimate) -> list[float | None]:
    """An estimate and its interval; without one where a task has too few runs, since two equal ones would seem to be certain."""
    enough = found.n >= statistics.FEWEST_RUNS
    return [found.value, *((found.low, found.high) if enough else (None, None))]


def normalized_scores(tasks: Any, scores: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """Scores of each task between its references: 0 is the lower one, 1 the upper."""
    return [statistics.normalize(values, *task.reference) for task, values in zip(tasks, scores, strict=True)]


def visited_bins(results: Results, task: str) -> dict[str, list[float | None]]:
    """Visited bins of each run by method, counted with bins of one width for all runs of the task; see :func:`common_bins`. None where the
    runs of the task have counted along different axes.
    """
    runs = {method: results.finished(task, method) for method in results.study.methods}
    counted = [item.result["coverage"] for items in runs.values() for item in items if item.result["coverage"]]
    if len({tuple(coverage["names"]) for coverage in counted}) != 1:  # of several, bins of one are no bins of another
        return {}
    width = np.max([coverage["bin_widths"] for coverage in counted], axis=0)
    return {method: [_bins(item, width) for item in items] for method, items in runs.items()}


def _bins(item: CellResult, width: np.ndarray) -> float | None:
    coverage = item.result["coverage"]
    if coverage is None:
        return None
    if np.array_equal(coverage["bin_widths"], width):
        return float(coverage["bins"])
    histogram = item.visits
    return None if histogram is None else float(np.count_nonzero(common_bins([histogram], width)[0]))


def common_bins(histograms: Sequence[tuple[np.ndarray, list[np.ndarray]]], width: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The sum of histograms on bins of ``width``, which is a power of two times each one's own; and the edges.

    Bins of :class:`genrl.runs.coverage.Coverage` start at multiples of their width, so those of a coarser grid hold whole finer ones.
    """
    first = [int(min(np.floor(edges[axis][0] / width[axis]) for _, edges in histograms)) for axis in range(len(width))]
    last = [int(max(np.ceil(edges[axis][-1] / width[axis]) for _, edges in histograms)) for axis in range(len(width))]
    if (bins := math.prod(b - a for a, b in zip(first, last, strict=True))) > BINS:
        raise RunError(f"the visited areas of these runs have {bins:,} bins together, more than are drawn; look at each by itself")
    total = np.zeros([b - a for a, b in zip(first, last, strict=True)], dtype=np.int64)
    for counts, edges in histograms:
        places = [np.floor(edges[axis][:-1] / width[axis] + 1e-9).astype(np.int64) - first[axis] for axis in range(len(width))]
        np.add.at(total, np.ix_(*places), counts)
    return total, [np.arange(a, b + 1) * step for a, b, step in zip(first, last, width, strict=True)]


def _median(values: Sequence[float | None]) -> float | None:
    numbers = finite(values)
    return float(np.median(numbers)) if numbers else None


def _about(results: Results) -> dict[str, Any]:
    """Versions and machines of the runs; more than one value where they differ."""
    versions: dict[str, set[str]] = {}
    machines: list[dict[str, Any]] = []
    for item in results.cells:
        run = RunDirectory(item.cell.path)
        if not item.finished:
            continue
        about = read_json(run.config).get("about")
        about = about if isinstance(about, dict) else {}
        of_run = about.get("versions")
        for name, version in of_run.items() if isinstance(of_run, dict) else ():
            versions.setdefault(name, set()).add(str(version))
        machine = about.get("machine")
        if isinstance(machine, dict) and machine not in machines:
            machines.append(machine)
    return {"versions": {name: ", ".join(sorted(found)) for name, found in versions.items()}, "machines": machines}


def write_results(results: Results, document: dict[str, Any], path: Path) -> tuple[Path, Path]:
    """Write ``path``.json, the document, and ``path``.csv, a row for each finished run."""
    paths = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.csv")
    write_whole(paths[0], (json.dumps(document, indent=1) + "\n").encode())
    columns = _columns(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([value(item) for value in columns.values()] for item in results.cells if item.finished)
    write_whole(paths[1], text.getvalue().encode())
    return paths


def _columns(results: Results) -> dict[str, Callable[[CellResult], Any]]:
    study = results.study
    columns: dict[str, Callable[[CellResult], Any]] = {
        "task": lambda item: item.cell.task,
        "method": lambda item: item.cell.method,
        "seed": lambda item: item.cell.seed,
        "first_reward_step": _of_result("first_reward_step"),
        "threshold_step": lambda item: None if (level := study.tasks[item.cell.task].threshold) is None else item.time_to(level),
        "training_return": _of_result("training_return"),
        "evaluation_return": _of_result("evaluation_return"),
    }
    others = [name for name in ("averaged_return", "best_return") if any(name in item.result for item in results.cells if item.finished)]
    columns |= {name: _of_result(name) for name in others}
    columns |= {f"return_at_{step}": partial(CellResult.return_at, step=step) for step in study.settings.milestones}
    bins = {
        item.cell.path: found
        for task in study.tasks
        for method, counts in visited_bins(results, task).items()
        for item, found in zip(results.finished(task, method), counts, strict=True)
    }
    columns["visited_bins"] = lambda item: None if (found := bins.get(item.cell.path)) is None else int(found)
    return columns | {name: _of_result(name) for name in ("steps", "seconds", "steps_per_second", "peak_rss_mb")}


def _of_result(name: str) -> Callable[[CellResult], Any]:
    return lambda item: item.result.get(name)
