"""Fill the tables of README.md from demos/results, between the markers `<!-- NAME -->` and `<!-- /NAME -->`; no number is typed by hand.

python -m demos.tables
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from demos import image_tables
from genrl.studies.tables import Table, markdown, only, score_table

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def results(name: str) -> dict[str, Any] | None:
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def percent(share: float) -> str:
    return f"{round(share, 2) + 0.0:.0%}"


def study_table(name: str, *columns: str) -> list[str]:
    """Columns of the score table of a study with one task."""
    document = results(name)
    if document is None:
        return ["(not measured yet)"]
    (task,) = document["tasks"]
    return markdown(only(score_table(document, task), "method", *columns)).split("\n")


def milestones_table(*names: str) -> list[str]:
    """Studies with the same milestones, one below the other."""
    rows: list[list[str]] = []
    header: list[str] = []
    for name in names:
        document = results(name)
        if document is None:
            continue
        for task, about in document["tasks"].items():
            table = only(score_table(document, task), "method", "first", "at ", "deterministic")
            learner = next(iter(about["methods"].values()))["learner"]
            if not header:
                header = ["task", *table.header]
            at = [table.header.index(column) if column in table.header else None for column in header[1:]]
            rows += [[task, f"{learner} + {row[0]}", *(row[i] if i is not None else "–" for i in at[1:])] for row in table.rows]
    return markdown(Table(header, rows)).split("\n")


def speed_table() -> list[str]:
    document = results("bench")
    if document is None:
        return ["(not measured yet)"]
    gain = document["information_gain_2048_26_32_20_K10"]
    rows = ["| what | ratio, median [min, max] |", "| --- | --- |"]
    low, high = gain["times_faster_min_max"]
    rows.append(
        f"| information gain of 2,048 transitions (26-[32]-20, K = 10) against a loop of autograd | "
        f"{gain['times_faster_median']:.0f} [{low:.0f}, {high:.0f}] times faster |"
    )
    overhead = document["ppo_wall_time_over_bare_HalfCheetah_8x256"]
    for name, entry in overhead.items():
        if isinstance(entry, dict):
            low, high = entry["ratio_min_max"]
            rows.append(f"| wall time of PPO + {name} over PPO alone | {entry['ratio_median']:.2f} [{low:.2f}, {high:.2f}] |")
    return rows


def noise_table() -> list[str]:
    document = results("noisy_tv")
    if document is None:
        return ["(not measured yet)"]
    n = document["seeds"]
    rows = [
        f"| reward | share of the bonus spent on the noise, median of {n} seeds [min, max] | of prediction error's |",
        "| --- | --- | --- |",
    ]
    for name, entry in document["methods"].items():
        low, high = entry["share_min_max"]
        rows.append(
            f"| {name} | {percent(entry['share_median'])} [{percent(low)}, {percent(high)}] | {percent(entry['of_prediction_errors'])} |"
        )
    return rows


def studies_table() -> list[str]:
    document = results("bench_studies")
    if document is None:
        return ["(not measured yet)"]
    rows = ["| what | ratio, median [min, max] |", "| --- | --- |"]
    for key, words in (
        ("study_over_bare_2_workers", f"wall time of a study over its {document['cells']} bare runs, two workers"),
        ("throughput_of_2_workers_over_1", "runs an hour of two workers over one"),
        ("throughput_of_2_bare_processes_over_1", "the same of bare runs in two processes over one: what the second core is worth here"),
    ):
        low, high = document[key]["min_max"]
        rows.append(f"| {words} | {document[key]['median']:.2f} [{low:.2f}, {high:.2f}] |")
    return rows


def score(entry: dict[str, Any] | None) -> str:
    """Deterministic return: median of the runs, smallest and largest."""
    value = None if entry is None else entry["evaluation_return"]
    if value is None:
        return "–"
    middle = f"{value['median']:,.0f}"
    return middle if value["n"] == 1 else f"{middle} ({value['min']:,.0f} to {value['max']:,.0f})"


def imitate_table() -> list[str]:
    """A row for each task and learner, from every study of imitation; controls are of the study of few minutes where it has the task."""
    rows: list[list[str]] = []
    known: dict[str, dict[str, Any]] = {}
    for name in ("imitate_minutes", "imitate_steps", "imitate_humanoid", "imitate_classic"):
        document = results(name)
        for task, about in (document["tasks"] if document is not None else {}).items():
            controls = known.setdefault(task, about["methods"])
            for method, entry in about["methods"].items():
                if method.startswith("gail"):
                    cells = [f"{about['reference'][1]:,.0f}", score(controls.get("cloned")), score(controls.get("constant")), score(entry)]
                    steps = max(about["steps"]) if isinstance(about["steps"], list) else about["steps"]  # cloning has none
                    cost = [f"{steps // 1000:,}k", f"{entry['seconds'] / 60:.1f}"]
                    rows.append([task.replace("-", ", ", 1).replace("-", " "), f"GAIL, {entry['learner'].upper()}", *cells, *cost])
    header = ["task", "reward, learner", "expert", "cloning alone", "constant reward", "imitation", "steps", "minutes"]
    return markdown(Table(header, rows)).split("\n") if rows else ["(not measured yet)"]


def race_table() -> list[str]:
    document = results("bench_imitation")
    if document is None:
        return ["(not measured yet)"]
    rows = ["| HalfCheetah-v5, one torch thread a side | |", "| --- | --- |"]
    for name, entry in document.get("wall_time_over_bare_PPO", {}).items():
        low, high = entry["min_max"]
        rows.append(f"| wall time over PPO alone: {name} | {entry['median']:.2f} [{low:.2f}, {high:.2f}] |")
    race = document.get("race", {})
    for name, curves in race.items():
        if isinstance(curves, list):
            rows.append(f"| training until the return is {race['goal']:,.0f}: {name} | {'; '.join(map(finish, curves))} |")
    return rows


def finish(curve: list[dict[str, float]]) -> str:
    last = curve[-1]
    best = max(point["return"] for point in curve)
    reached = best >= 4000
    return f"{last['seconds'] / 60:.1f} minutes, {last['steps'] / 1000:,.0f}k steps" + (
        "" if reached else f", not reached (best {best:,.0f})"
    )


def imitation_table() -> list[str]:
    document = results("imitation")
    if document is None:
        return ["(not measured yet)"]
    pairs, steps = document["pairs"], document["steps"]
    return [
        f"| {document['env']}, {pairs} pairs, seed {document['seed']} | return, deterministic, 10 episodes |",
        "| --- | --- |",
        f"| expert | {document['expert_return']:,.0f} |",
        f"| behaviour cloning | {document['cloned_return']:,.0f} |",
        f"| cloned, then GAIL with PPO, {steps:,} steps, {document['seconds'] / 60:.1f} minutes | {document['evaluation_return']:,.0f} |",
    ]


TABLES = {
    "imitation": imitation_table,
    "imitate": imitate_table,
    "race": race_table,
    "sparse_mountaincar": lambda: study_table("sparse_mountaincar", "first", "reaches", "training", "deterministic", "against"),
    "returns": lambda: milestones_table("half_cheetah", "half_cheetah_fine", "cartpole_swingup"),
    "sac": lambda: study_table("sac_mountain_car", "first", "training", "deterministic"),
    "speed": speed_table,
    "studies": studies_table,
    "noise": noise_table,
    **image_tables.TABLES,
}


def main() -> None:
    text = README.read_text()
    for name, make in TABLES.items():
        table = "\n".join(make())
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text, flags=re.S
        )
    README.write_text(text)


if __name__ == "__main__":
    main()
