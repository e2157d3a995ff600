"""Begin a study from the rows of an earlier result file, so that only what is missing is trained.

    python demos/earlier.py demos/studies/pixels.toml demos/results/pixels.csv

writes, for each row that is a cell of the study and is not there yet, the `result.json` of a finished run into the study's directory, with
`taken_from`: the file. Versions and machine come from the JSON file beside it. Such a run has no policy and no episodes; its numbers are as
they were found, on the machine that found them, and `genrl study` does not train it again. The visited area is left out: the file has no
widths of its bins.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from genrl.errors import RunError
from genrl.files import write_json
from genrl.reading import read_json
from genrl.runs.directory import RunDirectory
from genrl.studies.directory import open_directory
from genrl.studies.matrix import Cell, Study


def taken(cell: Cell, row: dict[str, str], source: Path) -> dict[str, Any]:
    """What result.json of the cell's run would have said, as far as the row has it."""

    def number(name: str) -> float | None:
        return float(row[name]) if row.get(name) else None

    returned = number("evaluation_return")
    return {
        "status": "finished", "error": None, "taken_from": source.as_posix(),
        "env": cell.config.env, "learner": cell.config.learner, "reward": cell.config.reward, "seed": cell.seed,
        "steps": int(row["steps"]), "seconds": number("seconds"), "steps_per_second": number("steps_per_second"),
        "first_reward_step": int(row["first_reward_step"]) if row["first_reward_step"] else None,
        "training_return": number("training_return"), "evaluation_return": returned, "evaluation_returns": [returned],
        "coverage": None, "peak_rss_mb": number("peak_rss_mb"),
    }  # fmt: skip


def plant(study_file: Path, source: Path) -> list[str]:
    """Write what is missing, and return the names of those cells.

    Raises:
        RunError: a study that reads more of a run than its row has.
    """
    study = Study.load(study_file)
    if study.settings.milestones or any(task.threshold is not None for task in study.tasks.values()):
        raise RunError(f"{study_file} has milestones or a threshold, which are read from a run's episodes; train all of its cells")
    open_directory(study)
    document = read_json(source.with_suffix(".json"))
    about = {"versions": document["versions"], "machine": document["machines"][0]}
    with source.open() as file:
        rows = {(row["task"], row["method"], int(row["seed"])): row for row in csv.DictReader(file)}
    names = []
    for cell in study.cells:
        run = RunDirectory(cell.path)
        row = rows.get((cell.task, cell.method, cell.seed))
        if row is None or run.config.is_file():
            continue
        run.path.mkdir(parents=True)
        write_json(run.config, cell.config.to_dict() | {"about": about})
        write_json(run.result, taken(cell, row, source))
        names.append(f"{cell.method}, seed {cell.seed}")
    return names


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="TOML file of the study")
    parser.add_argument("results", type=Path, help="CSV file of an earlier one, with its JSON file beside it")
    given = parser.parse_args()
    for name in plant(given.study, given.results):
        print("taken", name)
