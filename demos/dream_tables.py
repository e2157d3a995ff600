"""The tables of dreams, from demos/results/dream."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from demos.dream_tasks import CONTROLS
from demos.measured import RESULTS, read
from genrl.studies.statistics import estimate
from genrl.studies.tables import Table

TASKS = ("inverted_pendulum", "pendulum", "cartpole_swingup", "half_cheetah", "hopper", "reacher")
"""Of the names of runs, those that tell the task; others begin with one of them."""


def runs_of(task: str) -> list[dict[str, Any]]:
    """What was found of every learner of a task, the one that learns in dreams first."""
    return [read(f"dream/{name}") for name in sorted(path.stem for path in (RESULTS / "dream").glob(f"{task}*.json"))]


def learner(task: dict[str, Any]) -> str:
    """The learner of a run in words."""
    if "updates" in task:
        updates = f"{task.get('learner', 'SAC')}, {task['updates']} update{'s' if task['updates'] > 1 else ''} a step"
        return f"{updates}, Imagination" if task["imagination"] else updates
    return "PPO in dreams" if task["practice"] else "PPO alone"


def row_name(task: dict[str, Any]) -> str:
    """The same with the length of the dreams, and what the model is where that is a control."""
    length = f" of {task['practice']['horizon']} steps" if task.get("practice") else ""
    return ", ".join([learner(task) + length, *([CONTROLS[task["world"]]] if is_control(task) else [])])


def is_control(task: dict[str, Any]) -> bool:
    """Whether the model of a run knows nothing."""
    return task.get("world") in CONTROLS


def middle(values: list[float], form: str = ",.0f") -> str:
    """The median, and the smallest and largest."""
    text, low, high = (f"{value:{form}}" for value in (statistics.median(values), min(values), max(values)))
    return text if low == high else f"{text} [{low}, {high}]"


def score(values: list[float], form: str = ",.0f") -> str:
    """The interquartile mean with its interval."""
    found = estimate([values])
    text = f"{found.value:{form}}"
    return text if found.low is None else f"{text} [{found.low:{form}}, {found.high:{form}}]"


def dreams() -> Table:
    """A row for each task and learner."""
    rows = []
    for document in (document for task in TASKS for document in runs_of(task)):
        task, runs = document["task"], list(document["runs"].values())
        met = [run for run in runs if run["real_steps_to_target"]]
        to_it = [middle([run[f"{key}_to_target"] for run in met]) if met else "–" for key in ("real_steps", "cpu_seconds")]
        last = [run["curve"][-1] for run in runs]
        form = ",.1f" if abs(task["target"]) < 50 else ",.0f"
        rows.append(
            [
                task["env"].removeprefix("genrl/"),
                row_name(task),
                f"{len(met)} of {len(runs)} ≥ {task['target']:{form}}",
                *to_it,
                f"{score([point['return'] for point in last], form)} at {middle([point['real_steps'] for point in last])}",
                middle([run["fit_share"] for run in runs], ".0%"),
                _covered(runs),
            ]
        )
    head = ["task", "learner", "seeds that met the target", "real steps to it", "processor seconds to it", "last return, at real steps"]
    return Table([*head, "fitting", "in the 50 / 90 % intervals"], rows)


def _covered(runs: list[dict[str, Any]]) -> str:
    found = [run["quality"]["coverage"].values() for run in runs if "quality" in run]
    return " / ".join(f"{statistics.median(shares):.0%}" for shares in zip(*found, strict=True)) if found else "–"


def errors() -> Table:
    """A row for each task: the error of the model at the end of the runs after k steps, and that of the best trivial predictor."""
    rows, shown = [], (1, 10, 50)
    for document in filter(None, (read(f"dream/{task}") for task in TASKS)):
        found = [run["quality"] for run in document["runs"].values()]
        cells = []
        for k in shown:
            at = [(quality["horizons"].index(k), quality["error"]) for quality in found if k in quality["horizons"]]
            ours = [error["model"][place] for place, error in at if error["model"][place] is not None]
            trivial = [_least(error, place) for place, error in at if error["model"][place] is not None]
            cells.append(f"{statistics.median(ours):.3f}, {statistics.median(trivial):.3f}" if ours else "–")
        rewards = [quality["reward_r2"] for quality in found if quality["reward_r2"] is not None]
        ends = [quality["end_auroc"] for quality in found if quality["end_auroc"] is not None]
        cells += [f"{statistics.median(values):.3f}" if values else "–" for values in (rewards, ends)]
        rows.append([document["task"]["env"].removeprefix("genrl/"), *cells])
    return Table(["task", *(f"after {k} step{'s' if k > 1 else ''}" for k in shown), "R² of rewards", "AUROC of ends"], rows)


def _least(error: dict[str, list[float | None]], place: int) -> float:
    """The least error of the predictors that are no model."""
    return min(values[place] or float("inf") for name, values in error.items() if name != "model")


def imagination(**worlds: str) -> Table:
    """A row for each model in the batches of SAC: returns at three numbers of real steps."""
    rows, steps = [], (1000, 2000, 3000)
    for words, name in worlds.items():
        runs = list((read(f"dream/pendulum_sac_{name}") or {"runs": {}})["runs"].values())
        if not runs:
            continue
        curves = [{point["real_steps"]: point["return"] for point in run["curve"]} for run in runs]
        first = sorted(run["real_steps_to_target"] or 10**9 for run in runs)
        reached = ", ".join(f"{step:,}" if step < 10**9 else "–" for step in first)
        seconds = f"{statistics.median(run['curve'][-1]['cpu_seconds'] for run in runs):,.0f} s"
        fitting = f"{statistics.median(run['fit_share'] for run in runs):.0%}"
        returns = [score([curve[step] for curve in curves]) for step in steps]
        rows.append([words.replace("_", " "), str(len(runs)), *returns, reached, seconds, fitting])
    return Table(["model", "seeds", *(f"{step:,} real steps" for step in steps), "first at -200", "processor", "fitting"], rows)


def ranking(found: dict[str, Any]) -> Table:
    """A row for each policy between the trained one and chance."""
    rows = [
        [name, f"{real:,.0f}", f"{dream:,.0f}"] for name, real, dream in zip(found["names"], found["real"], found["dream"], strict=True)
    ]
    rows.append(["rank correlation", f"{found['rank_correlation']:.2f}", f"gap of the first {found['gap']:.0%}"])
    return Table(["policy", "return in reality", "return in the dream"], rows)


def gap(found: dict[str, Any]) -> Table:
    """The same, and the best that can be done from these starts."""
    table = ranking(found)
    return Table(table.header, [*table.rows, ["optimum", f"{found['optimum']:,.0f}", ""]])


def offline(document: dict[str, Any]) -> Table:
    """A row for each data set: what it holds, what each method makes of it, and how far its dream is from reality."""
    rows, names = [], ("not cautious", "cautious", "very cautious", "stops", "cloned")
    for data, methods in document["runs"].items():
        recorded, runs = document["sets"][data]["returns"], [list(methods.get(name, {}).values()) for name in names]
        made = [f"{middle([run['return'] for run in each])} ({len(each)})" if each else "–" for each in runs]
        dreamed = [run for each in runs for run in each if "policies" in run]
        gaps = [abs(run["dream_return"] / run["real_return"] - 1) for run in dreamed]
        ranks = [run["policies"]["rank_correlation"] for run in dreamed]
        held = f"{statistics.fmean(recorded):,.0f} [{min(recorded):,.0f}, {max(recorded):,.0f}]"
        rows.append([data, held, *made, middle(gaps, ".0%"), middle(ranks, ".2f")])
    return Table(["data set", "returns recorded", *names, "gap of dream and reality", "rank correlation"], rows)


def dream_speed(document: dict[str, Any]) -> Table:
    rows = []
    for task, found in document["tasks"].items():
        speeds = [f"{found[key]:,.0f}" for key in ("real_steps_a_second", "dreamed_steps_a_second")]
        rows.append([task, *speeds, f"{found['times_faster']:.1f}", f"{found['share_of_that_limit']:.0%}"])
    return Table(["task", "real steps a second", "dreamed steps a second", "times faster", "of the matrix products alone"], rows)


def of(name: str, make: Callable[[dict[str, Any]], Table]) -> Callable[[], Table]:
    """The table that ``make`` makes of demos/results/dream/NAME.json; it has no rows before that is measured."""
    return lambda: make(document) if (document := read(f"dream/{name}")) else Table([], [])


TABLES = {
    "dreams": dreams,
    "dream_errors": errors,
    "imagination": lambda: imagination(
        none="alone",
        ensemble="imagination",
        shuffled_actions="shuffled",
        untrained="untrained",
        untrained_and_believed="untrained_believed",
    ),
    "ranking": of("demo", lambda document: ranking(document["policies"])),
    "gap": of("gap", gap),
    "offline": of("offline_pendulum", offline),
    "offline_inverted_pendulum": of("offline_inverted_pendulum", offline),
    "dream_speed": of("speed", dream_speed),
}
