"""Fill the tables of the evidence pages from demos/results, between `<!-- NAME -->` and `<!-- /NAME -->`; no number is typed by hand.

python -m demos.tables
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from demos import dream_tables, image_tables, overview_tables
from demos.measured import most_steps, read, score
from genrl.studies.tables import Table, markdown, only, score_table

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
RATIO = ["what", "ratio, median [min, max]"]


def study(document: dict[str, Any], *columns: str) -> Table:
    """Columns of the score table of a study that has one task."""
    (task,) = document["tasks"]
    return only(made(score_table(document, task)), "method", *columns)


def made(scores: Table) -> Table:
    """Without the methods that no run was made of."""
    runs = scores.header.index("runs")
    return Table(scores.header, [row for row in scores.rows if not row[runs].startswith("0 ")])


def named(scores: Table) -> list[dict[str, str]]:
    """The rows of a table, their cells by the names of its columns."""
    return [dict(zip(scores.header, row, strict=True)) for row in scores.rows]


def milestones(*names: str) -> Table:
    """Studies with the same milestones, one below the other."""
    rows: list[list[str]] = []
    header: list[str] = []
    for document in filter(None, map(read, names)):
        for task, about in document["tasks"].items():
            scores = only(made(score_table(document, task)), "method", "first", "at ", "deterministic")
            learner = next(iter(about["methods"].values()))["learner"]
            header = header or ["task", *scores.header]
            for cells in named(scores):
                rows.append([task, f"{learner} + {cells['method']}", *(cells.get(name, "–") for name in header[2:])])
    return Table(header, rows)


def several(document: dict[str, Any], *columns: str) -> Table:
    """Columns of the score tables of a study's tasks, one below the other."""
    rows: list[list[str]] = []
    header = ["task", "method", "runs", *columns]
    for task in document["tasks"]:
        for cells in named(made(score_table(document, task))):
            cells.setdefault("first reward", f"0 of {cells['runs'].split()[0]}")  # which a task without one has no column for
            rows.append([task, *(cells.get(name, "–") for name in header[1:])])
    return Table(header, rows)


def ratio(found: dict[str, Any], form: str = ".2f") -> str:
    """Median [smallest, largest]."""
    middle, low, high = (f"{value:{form}}" for value in (found["median"], *found["min_max"]))
    return f"{middle} [{low}, {high}]"


def speed(document: dict[str, Any]) -> Table:
    gain = document["information_gain_2048_26_32_20_K10"]["times_faster"]
    rows = [
        ["information gain of 2,048 transitions (26-[32]-20, K = 10) against a loop of autograd", f"{ratio(gain, '.0f')} times faster"],
    ]
    for name, found in document["ppo_wall_time_over_bare_HalfCheetah_8x256"].items():
        if isinstance(found, dict):
            rows.append([f"wall time of PPO + {name} over PPO alone", ratio(found)])
    return Table(RATIO, rows)


def survival(document: dict[str, Any]) -> Table:
    found = document["processor_time_over_a_run_that_saves_nothing"]
    return Table(RATIO, [[f"processor time of a run with {name}", ratio(values)] for name, values in found.items()])


def noise(document: dict[str, Any]) -> Table:
    share = f"share of the bonus spent on the noise, median of {document['seeds']} seeds [min, max]"
    rows = [[name, ratio(found, "z.0%"), f"{found['of_prediction_errors']:z.0%}"] for name, found in document["methods"].items()]
    return Table(["reward", share, "of prediction error's"], rows)


def screened(document: dict[str, Any]) -> Table:
    """A row for each task: the share of episodes in which each noise is rewarded, and how far the best of them comes."""
    noises = list(next(iter(document["tasks"].values()))["noises"])
    rows = []
    for task, about in document["tasks"].items():
        reached = about["noises"].values()
        far = [found["best_progress"] for found in reached if found["best_progress"] is not None]
        shares = [f"{found['rewarded_episodes']} of {found['episodes']:,}" for found in reached]
        rows.append([task, *shares, f"{max(far):.1f} m" if far else "–"])
    return Table(["task, episodes with a reward", *noises, "furthest"], rows)


def archived(document: dict[str, Any]) -> Table:
    """A row for each task that was explored by an archive."""
    rows = []
    for task, found in document["tasks"].items():
        first = f"{found['first_reward']:,}" if found["first_reward"] else "–"
        far = f"{found['best_progress']:.1f} m" if found["best_progress"] is not None else "–"
        episodes = f"{found['rewarded_episodes']:,} of {found['episodes']:,}"
        made = [f"{found[way]['return']:.3g}" if (found.get(way) or {}).get("return") is not None else "–" for way in ("policy", "paid")]
        if found.get("paid", {}).get("starts", 1) > 1:
            made[1] += f" ({found['paid']['starts']} starts)"
        rows.append([task, f"{found['steps']:,}", first, episodes, f"{found['best_return']:.0f}", far, *made])
    columns = ["task", "steps", "first reward at step", "episodes with a reward", "best return", "furthest"]
    return Table([*columns, "a policy by GAIL", "paid by the task, from starts along them"], rows)


def eyes(document: dict[str, Any]) -> Table:
    speeds, bytes_ = document["steps_per_second"], document["replay_bytes_a_row"]
    rows = [[f"{name}, steps a second", *(f"{found[key]:,.1f}" for key in ("codes", "images", "ratio"))] for name, found in speeds.items()]
    rows.append(["replay, bytes a row", *(f"{bytes_[key]:,.0f}" for key in ("codes", "one_image", "ratio"))])
    return Table(["", "on codes", "on images of 64 × 64 × 3", "ratio"], rows)


def overhead(document: dict[str, Any]) -> Table:
    rows = [[f"{row['side']:.0f} × {row['side']:.0f}", f"{row['n_envs']:.0f}", f"{row['overhead']:.0%}"] for row in document["overhead"]]
    return Table(["pixels", "environments", "a step of EncodedVecEnv over its encoder's own forward"], rows)


def eyes_cost(document: dict[str, Any]) -> Table:
    """Seconds of the processor for the fit of each encoder, the median of its seeds; milliseconds for a step of SAC with its learning."""
    rows = []
    for name, each in sorted(document["step_seconds"].items(), key=lambda item: item[1]):
        fits = [
            value for run, value in document["fit_seconds"].items() if run.rpartition("-")[0] == ("jepa" if name == "finetuned" else name)
        ]
        rows.append([name, f"{statistics.median(fits):.0f}" if fits else "–", f"{1e3 * each:.1f}"])
    return Table(["", "fit, s", "a step, ms"], rows)


def blindness(document: dict[str, Any]) -> Table:
    """What the probe with products reads of a pole that stands, by the frames of the encoder's fit."""
    names = {"theta_dot": "angular velocity", "sin_theta": "sin of the angle", "x_dot": "velocity", "x": "position"}
    rows = [[row["arm"], row["frames"], *(f"{row['products'][name]:.2f}" for name in names)] for row in document["encoders"]]
    return Table(["encoder", "frames of", *names.values()], rows)


def sights(document: dict[str, Any]) -> Table:
    """A row for each run: what its encoder saw before any learning, and what the policy got, in these colours and in others."""
    rows = []
    for run in document["runs"]:
        sight, other = run["sight"], run["recoloured"]
        probes = ["–"] * 3
        if sight is not None:
            angle, speed = min(sight["linear"][name] for name in ("cos_theta", "sin_theta")), "theta_dot"
            probes = [f"{angle:.2f}", f"{sight['linear'][speed]:.2f}", f"{sight['products'][speed]:.2f}"]
        returns = [f"{run['return']:,.0f}", "–" if other is None else f"{other:,.0f}"]
        rows.append([run["arm"], str(run["seed"]), *probes, *returns])
    header = ["encoder", "seed", "angle, linear probe", "speed, linear", "speed, with products of codes", "return", "in other colours"]
    return Table(header, rows)


def compared(document: dict[str, Any]) -> Table:
    """Encoders as methods, of those that ran: scores, and the margin over the baseline with its bootstrap interval."""
    (task,) = document["tasks"]
    table = only(score_table(document, task), "method", "runs", "training", "deterministic")
    rows = []
    for row, entry in zip(table.rows, document["tasks"][task]["methods"].values(), strict=True):
        if entry["runs"]:
            value, low, high = (entry.get("against_baseline") or {"difference": (None, None, None)})["difference"]
            interval = "" if low is None else f" [{low:+,.0f}, {high:+,.0f}]"  # one run has none
            rows.append([*row, "–" if value is None else f"{value:+,.0f}{interval}"])
    return Table([*table.header, f"margin over {document['baseline']}"], rows)


def imitate_images(document: dict[str, Any]) -> Table:
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = {}
    for row in document["rows"]:
        groups.setdefault((row["done"], row["noise"], row["arm"]), []).append(row)
    rows = []
    for (done, noise, arm), found in groups.items():
        scores = " / ".join(f"{row['score']:.0%}" for row in found)
        score, paid = (statistics.mean(row[name] for row in found) for name in ("score", "return"))
        minutes = [row["cpu_minutes"] for row in found if row["cpu_minutes"] is not None]
        spent = f"{statistics.mean(minutes):.1f}" if minutes else "–"
        rows.append([done, "disturbed" if noise else "clean", arm, scores, f"{score:.0%}", f"{paid:,.0f}", spent])
    rows += [[name, "–", "–", "–", share, f"{document[key]:,.0f}", "–"] for name, key, share in BARS]
    return Table(["", "demonstrations", "through", "score of each seed", "mean", "return", "minutes of processor"], rows)


BARS = ("the expert", "expert", "100%"), ("random actions", "random_actions", "0%")


def studies(document: dict[str, Any]) -> Table:
    words = {
        "study_over_bare_2_workers": f"wall time of a study over its {document['cells']} bare runs, two workers",
        "throughput_of_2_workers_over_1": "runs an hour of two workers over one",
        "throughput_of_2_bare_processes_over_1": "the same of bare runs in two processes over one: what the second core is worth here",
    }
    return Table(RATIO, [[text, ratio(document[key])] for key, text in words.items()])


def large_study(document: dict[str, Any]) -> Table:
    """Processor time of whole commands, and of the board's seconds."""
    times = document["cpu_seconds"]
    words = {"report_of_4_tasks": "`genrl report`, 4 tasks × 10 methods × 50 seeds", "report_of_20_tasks": "the same, 20 × 10 × 10"}
    words["study_of_4_tasks"] = "`genrl study` with nothing left to train"
    rows = [[text, f"{times[key]['median']:.1f} s"] for key, text in words.items()]
    board = f"{document['board_share_of_a_core']:.1%} of a core"
    return Table(["what", "processor time"], [*rows, ["the table on the terminal, 1,000 runs finished, 2 at work", board]])


OTHER_WAYS = {"starts": "demonstrated starts", "noise": "noise on inputs", "two-updates": "demonstrated starts, two updates a step"}
"""What the end of a method's name says of it."""


def imitate(*names: str) -> Table:
    """A row for each task and learner that ran, from every study of imitation; a task's controls are those of the first that has it."""
    rows: list[list[str]] = []
    known: dict[str, dict[str, Any]] = {}
    for document in filter(None, map(read, names)):
        for task, about in document["tasks"].items():
            controls = known.setdefault(task, about["methods"])
            for method, entry in about["methods"].items():
                if method.startswith("gail") and entry["runs"]:
                    expert = about["reference"][1]
                    digits = int(abs(expert) < 10)
                    other = next((f", {words}" for end, words in OTHER_WAYS.items() if method.endswith(end)), "")
                    kept = f"; best model {score(entry, digits, 'best_return')}" if entry.get("best_return") else ""
                    rows.append(
                        [
                            task.replace("-", ", ", 1).replace("-", " "),
                            f"GAIL, {entry['learner'].upper()}{other}",
                            f"{expert:,.{digits}f}",
                            *(score(found, digits) for found in (controls.get("cloned"), controls.get("constant"))),
                            score(entry, digits) + kept,
                            f"{most_steps(about) // 1000:,}k",
                            f"{entry['seconds'] / 60:.1f}",
                        ]
                    )
    return Table(["task", "reward, learner", "expert", "cloning alone", "constant reward", "imitation", "steps", "minutes"], rows)


IQ_LEARN = {
    "Hopper": (3305, 3546, 3533),
    "HalfCheetah": (4081, 5077, 5098),
    "Walker2d": (4108, 5134, 5275),
    "Ant": (1438, 4363, 4700),
    "Humanoid": (381, 5227, 5313),
}
"""Returns of DAC, IQ-Learn and their expert after half a million steps on one trajectory (Garg et al., "IQ-Learn: Inverse soft-Q Learning
for Imitation", 2021)."""


def share(value: dict[str, float] | None, whole: float) -> str:
    """A return over another one: median of the runs, smallest and largest."""
    if value is None:
        return "–"
    middle, low, high = (f"{value[name] / whole:.0%}" for name in ("median", "min", "max"))
    return middle if value["n"] == 1 else f"{middle} ({low} to {high})"


def shares(document: dict[str, Any]) -> Table:
    """A row for each task and learner: what an imitator of one trajectory earns as a share of its expert, here and in IQ-Learn's table."""
    rows = []
    for task, about in document["tasks"].items():
        dac, iq_learn, theirs = IQ_LEARN[task]
        for method, entry in about["methods"].items():
            if method.startswith("gail") and entry["runs"]:
                here = [share(entry.get(key), about["reference"][1]) for key in ("evaluation_return", "best_return")]
                rows.append([f"{task}, {entry['learner'].upper()}", f"{dac / theirs:.0%}", f"{iq_learn / theirs:.0%}", *here])
    return Table(["return over that of the own expert", "DAC", "IQ-Learn", "GAIL here, last policy", "best model"], rows)


def averages(document: dict[str, Any]) -> Table:
    """A row for each method that ran: what the last policy earns, and the mean of the last policies."""
    ((task, about),) = document["tasks"].items()
    rows = [
        [
            method,
            f"{entry['runs']} of {entry['planned']}",
            *(score(entry, key=key) for key in ("training_return", "evaluation_return", "averaged_return")),
        ]
        for method, entry in about["methods"].items()
        if entry["runs"]
    ]
    return Table([f"{task}, expert {about['reference'][1]:,.0f}", "runs", "training", "last policy", "mean of the last policies"], rows)


def rewards(document: dict[str, Any]) -> Table:
    """A row for each reward, or way to imitate, and a column for each task; the expert comes first."""
    tasks = {task: about for task, about in document["tasks"].items() if any(entry["runs"] for entry in about["methods"].values())}
    names = [name for name, entry in next(iter(document["tasks"].values()))["methods"].items() if entry["runs"]]
    rows = [["expert", *(f"{about['reference'][1]:,.0f}" for about in tasks.values())]]
    rows += [
        [name, *(score(about["methods"][name] if about["methods"][name]["runs"] else None) for about in tasks.values())] for name in names
    ]
    return Table(["reward", *tasks], rows)


def asked(document: dict[str, Any]) -> Table:
    """What DAgger reaches, and how many of the expert's answers it takes."""
    rows = [
        [task, f"{entry['pairs']:,}", *(f"{entry[key]:,.0f}" for key in ("expert_return", "evaluation_return"))]
        for task, entry in document["tasks"].items()
    ]
    return Table(["task", "states that the expert was asked about", "expert", "DAgger"], rows)


def transferred(document: dict[str, Any]) -> Table:
    """What each policy reaches in the task as it is and in the changed one: mean of ten episodes, one number a seed."""
    seeds = list(document["seeds"].values())
    rows = []
    for arm in seeds[0]:
        cells = [[f"{statistics.mean(found[arm][task]):,.0f}" for found in seeds if task in found[arm]] for task in TASKS_OF_TRANSFER]
        rows.append([arm, *(", ".join(cell) or "–" for cell in cells)])
    return Table(["", *TASKS_OF_TRANSFER], rows)


TASKS_OF_TRANSFER = "same task", "changed task"


def race(document: dict[str, Any]) -> Table:
    ratios = document.get("time_over_the_learner_alone", {})
    rows = [[f"time over the learner alone: {name}", ratio(found)] for name, found in ratios.items()]
    for task, found in document.get("races", {}).items():
        for name, curves in found.items():
            if isinstance(curves, list):
                ends = "; ".join(finish(curve, found["goal"]) for curve in curves)
                rows.append([f"{task}, training until the return is {found['goal']:,.0f}: {name}", ends])
    return Table(["one torch thread a side", "measured"], rows)


def finish(curve: list[dict[str, float]], goal: float) -> str:
    """When a learning curve ends, and whether that was at the goal."""
    last, best = curve[-1], max(point["return"] for point in curve)
    missed = f", not reached (best {best:,.0f})" if best < goal else ""
    return f"{last['seconds'] / 60:.1f} minutes, {last['steps'] / 1000:,.0f}k steps{missed}"


def imitation(document: dict[str, Any]) -> Table:
    cost = f"{document['steps']:,} steps, {document['seconds'] / 60:.1f} minutes"
    returns = {
        "expert": document["expert_return"],
        "behaviour cloning": document["cloned_return"],
        f"cloned, then GAIL with PPO, {cost}": document["evaluation_return"],
    }
    header = [f"{document['env']}, {document['pairs']} pairs, seed {document['seed']}", "return, deterministic, 10 episodes"]
    return Table(header, [[name, f"{value:,.0f}"] for name, value in returns.items()])


def lines(make: Callable[[], Table]) -> list[str]:
    """A table in Markdown."""
    made = make()
    return markdown(made).split("\n") if made.rows else ["(not measured yet)"]


def of(name: str, make: Callable[..., Table], *columns: str) -> Callable[[], Table]:
    """The table that ``make`` makes of demos/results/NAME.json; it has no rows before that is measured."""
    return lambda: make(document, *columns) if (document := read(name)) else Table([], [])


MADE_BY: dict[str, Callable[[], Table]] = {
    "imitation": of("imitation", imitation),
    "imitate": lambda: imitate("imitate_minutes", "imitate_steps", "imitate_humanoid", "imitate_classic"),
    "imitate_unseen": lambda: imitate("imitate_unseen", "imitate_unseen_steps", "imitate_unseen_starts"),
    "imitate_humanoid_subsampled": of("imitate_humanoid_subsampled", averages),
    "imitate_one": lambda: imitate("imitate_one"),
    "imitate_one_shares": of("imitate_one", shares),
    "imitate_methods": of("imitate_methods", rewards),
    "transfer": of("imitate_transfer", transferred),
    "dagger": of("imitate_dagger", asked),
    "race": of("bench_imitation", race),
    "weak_mountain_car": of("weak_mountain_car", study, "first", "reaches", "training"),
    "archive": of("archive", archived),
    "sparse_mountaincar": of("sparse_mountaincar", study, "first", "reaches", "training", "deterministic", "against"),
    "returns": lambda: milestones("half_cheetah", "half_cheetah_fine", "cartpole_swingup"),
    "sparse_locomotion": of("sparse_locomotion", several, "first reward", "training return", "deterministic return", "against none"),
    "sparse_rollouts": of("sparse_rollouts", several, "first reward", "training return", "deterministic return", "against none-5120"),
    "sparse_longer": of("sparse_longer", several, "first reward", "training return", "deterministic return", "against none"),
    "sparse_humanoid": of("sparse_humanoid", several, "first reward", "training return", "deterministic return", "against none"),
    "sac_exploration": of("sac_exploration", several, "first reward", "training return", "deterministic return", "against none"),
    "off_policy_exploration": of("off_policy_exploration", several, "first reward", "training return", "deterministic return"),
    "sac": of("sac_mountain_car", study, "first", "training", "deterministic"),
    "speed": of("bench", speed),
    "studies": of("bench_studies", studies),
    "survival": of("bench_runs", survival),
    "large_study": of("bench_large_study", large_study),
    "noise": of("noisy_tv", noise),
    "screen": of("screen", screened),
    "eyes": of("encoders/bench", eyes),
    "overhead": of("encoders/bench", overhead),
    "distractors": of("pixels_distractors", compared),
    "sights": of("encoders/distractors", sights),
    "eyes_cost": of("encoders/cost", eyes_cost),
    "plain_sights": of("encoders/plain", sights),
    "imitate_images": of("encoders/imitate", imitate_images),
    "pixels": of("pixels", compared),
    "pixels_reacher": of("pixels_reacher", study, "training", "deterministic"),
    "blindness": of("encoders/blindness", blindness),
    "pixels_cartpole_anywhere": of("pixels_cartpole_anywhere", study, "runs", "training", "deterministic"),
    "pixels_cartpole": of("pixels_cartpole", study, "training", "deterministic"),
    "pixels_mountain_car": of("pixels_mountain_car", study, "first", "reaches", "training", "against"),
    **overview_tables.TABLES,
    **image_tables.TABLES,
    **dream_tables.TABLES,
}
TABLES = {name: partial(lines, make) for name, make in MADE_BY.items()}


def main() -> None:
    for page in EVIDENCE.glob("*.md"):
        text = page.read_text()
        for name, make in TABLES.items():
            table = "\n".join(make())
            there = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.S)
            text = there.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)  # type: ignore[misc]
        page.write_text(text)


if __name__ == "__main__":
    main()
