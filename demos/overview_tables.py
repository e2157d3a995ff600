"""What curiosity and imitation bring, task by task: the two tables of docs/evidence/index.md, from the results of studies."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from demos.measured import most_steps, read, score
from genrl.studies.tables import Table, only, score_table, steps


class Explored(NamedTuple):
    """A task in the words of the table, and where it was measured."""

    words: str
    study: str
    task: str


NOISES = ("held-noise-8", "held-noise-16", "pink", "gsde")
EXPLORED = (
    Explored("SparseMountainCar", "sparse_mountaincar", "SparseMountainCar"),
    Explored("SparseMountainCar, a fifth of its motor", "weak_mountain_car", "WeakMountainCar"),
    Explored("SparseHopper", "sparse_locomotion", "SparseHopper"),
    Explored("SparseWalker2d", "sparse_locomotion", "SparseWalker2d"),
    Explored("SparseHumanoid", "sparse_humanoid", "SparseHumanoid"),
    Explored("SparseSwimmer", "sparse_locomotion", "SparseSwimmer"),
    Explored("SparseAnt", "sparse_locomotion", "SparseAnt"),
    Explored("AcrobotSwingupSparse", "sparse_locomotion", "AcrobotSwingupSparse"),
    Explored("SparseHalfCheetah", "half_cheetah", "SparseHalfCheetah"),
    Explored("SparseHalfCheetahFine", "sparse_longer", "SparseHalfCheetahFine"),
    Explored("MountainCarContinuous", "sac_exploration", "MountainCarContinuous"),
    Explored("CartpoleSwingupSparse", "sac_exploration", "CartpoleSwingupSparse"),
)
"""Rows of the first table: where no bonus is needed, where one is, where none suffices."""


def explored() -> Table:
    """A row for each task: on how many seeds the reward was met, and the training return; of noises the one that earns most."""
    rows = [_explored(row) for row in EXPLORED]
    return Table(["task", "learner, steps", "alone", "best noise beside it", "with VIME", "with RND"], rows)


def _explored(row: Explored) -> list[str]:
    document = read(row.study)
    about = document["tasks"][row.task]
    methods = about["methods"]
    table = only(score_table(document, row.task), "method", "first reward", "training return")
    ran = [row for row in table.rows if methods[row[0]]["runs"]]
    cells = {row[0]: _met(dict(zip(table.header, row, strict=True)), methods[row[0]]) for row in ran}
    noises = [name for name in NOISES if name in cells]
    best = max(noises, key=lambda name: _worth(methods[name]), default=None)
    noise = "–" if best is None else f"{best.replace('-noise', '')}: {cells[best]}"
    learner = f"{methods['none']['learner'].upper()}, {steps(most_steps(about))}"
    return [row.words, learner, cells["none"], noise, cells["vime"], cells.get("rnd", "–")]


def _met(cells: dict[str, str], entry: dict[str, Any]) -> str:
    """`3 of 5, 0.17 [0.00, 0.67]`: the runs that met the reward, and what all earn at the end."""
    met = cells.get("first reward", f"0 of {entry['runs']}").partition(", ")[0]
    return f"{met}, {re.sub(', [0-9]+ of .*', '', cells['training return'])}"


def _worth(entry: dict[str, Any]) -> tuple[float, float]:
    found = entry["training_return"]
    return found.get("iqm", found["median"]), entry["first_reward"]["solved"] / entry["runs"]


IMITATED = (
    ("Hopper", "imitate_unseen_steps", "gail-sac"),
    ("HalfCheetah", "imitate_unseen_steps", "gail-sac"),
    ("Reacher", "imitate_unseen_steps", "gail-sac"),
    ("Walker2d", "imitate_unseen_starts", "gail-sac-starts-two-updates"),
    ("Ant", "imitate_unseen_steps", "gail-sac"),
    ("Humanoid", "imitate_humanoid_subsampled", "gail"),
)
"""Rows of the second table: the task, and of which study and method the cell of SAC is."""


def imitated() -> Table:
    """A row for each task: deterministic returns of the expert, of a clone, and of GAIL with a rollout's learner and a replay buffer's."""
    rows = []
    for task, study, method in IMITATED:
        by_rollouts, by_replay = read("imitate_unseen")["tasks"][task], read(study)["tasks"][task]
        expert = by_replay["reference"][1]
        digits = int(abs(expert) < 10)
        clones = [about["methods"]["cloned"] for about in (by_rollouts, by_replay) if "cloned" in about["methods"]]
        cloned = max(clones, key=lambda entry: entry["runs"])
        starts = " *" if "starts" in method or task == "Humanoid" else ""
        rows.append(
            [
                task,
                f"{expert:,.{digits}f}",
                score(cloned, digits),
                _imitation(by_rollouts, "gail", digits),
                _imitation(by_replay, method, digits) + starts,
            ]
        )
    return Table(["task", "expert", "clone", "GAIL with PPO, steps", "GAIL with SAC, steps"], rows)


def _imitation(about: dict[str, Any], method: str, digits: int) -> str:
    entry = about["methods"][method]
    return f"{score(entry, digits)}, {steps(most_steps(about))}" if entry["runs"] else "–"


TABLES: dict[str, Callable[[], Table]] = {"explored": explored, "imitated": imitated}
