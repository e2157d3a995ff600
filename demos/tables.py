"""Fill the tables of README.md from demos/results, between the markers `<!-- NAME -->` and `<!-- /NAME -->`; no number is typed by hand.

python demos/tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def results(name: str) -> dict[str, Any] | None:
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def interval(entry: dict[str, Any]) -> str:
    if not entry.get("n"):
        return "–"
    few = entry["n"] < 5  # an interquartile mean of three values trims none of them
    middle, (low, high) = (entry["median"], (entry["min"], entry["max"])) if few else (entry["iqm"], entry["iqm_95"])
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"


def percent(share: float) -> str:
    return f"{round(share, 2) + 0.0:.0%}"


def success_table(name: str) -> list[str]:
    """Sparse mountain car: how many seeds found the goal, how many hold it."""
    document = results(name)
    if document is None:
        return ["(not measured yet)"]
    rows = [
        "| method | goal ever reached | ≥ 0.9 of the last 20 episodes | ≥ 0.9, deterministic policy | steps/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for method, entry in document["methods"].items():
        n = entry["seeds"]
        counts = (entry["found_a_reward"], entry["success_of_0.9_at_the_end"], entry["success_of_0.9_deterministic"])
        cells = " | ".join(f"{count} of {n}" for count in counts)
        rows.append(f"| {method} | {cells} | {entry['median_steps_per_second']:,.0f} |")
    return rows


def return_table(*names: str) -> list[str]:
    """One row a task and method: the training return at each milestone."""
    rows = [
        "| task | method | seeds | reward found | return, IQM [95 %]; of 3 seeds median [min, max] | deterministic, at the end |",
        "| --- " * 6 + "|",
    ]
    for name in names:
        document = results(name)
        if document is None:
            continue
        task = document["base"]["env"].removeprefix("genrl/")
        for method, entry in document["methods"].items():
            milestones = {int(key.split("_")[-1]): value for key, value in entry.items() if key.startswith("return_at_")}
            returns = "; ".join(f"{step // 1000}k: {interval(value)}" for step, value in milestones.items())
            learner, evaluation = document["base"]["learner"], interval(entry["evaluation_return"])
            rows.append(f"| {task} | {learner} + {method} | {entry['seeds']} | {entry['found_a_reward']} | {returns} | {evaluation} |")
    return rows


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


TABLES = {
    "mountain_car": lambda: success_table("mountain_car"),
    "returns": lambda: return_table("half_cheetah", "half_cheetah_fine", "cartpole_swingup"),
    "sac": lambda: success_table("sac_mountain_car"),
    "speed": speed_table,
    "noise": noise_table,
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
