"""One HTML page of a study: figures, tables, maps, films and every configuration in one file without scripts, also while it is running."""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from genrl.errors import RunError, command, flags
from genrl.files import write_whole
from genrl.reading import open_regular, read_json
from genrl.runs.directory import RunDirectory
from genrl.studies import figures
from genrl.studies.cells import CellState
from genrl.studies.matrix import Task
from genrl.studies.results import CellResult, Results, finite, read_study
from genrl.studies.statistics import FEWEST_RUNS
from genrl.studies.summary import normalized_scores, summarize
from genrl.studies.tables import SCORES, all_tasks_table, legend, number, score_table, steps

__all__ = ["write_report"]

LARGEST = 2**22
"""Pixels of a film's frame, at most."""
FILM_BYTES = 750_000
"""A larger film is linked to, and its first picture shown."""
FILMS_BYTES = 3_000_000
"""Most bytes of all films in a page; the smallest come first."""
STILL_WIDTH = 200


def write_report(directory: str | Path, out: str | Path | None = None) -> Path:
    """Write what a study's directory says at this moment as one HTML page, which opens from the disk and asks nothing of a network.

    Args:
        directory: the directory of the study, which may still be running.
        out: the page, by default ``report.html`` in the directory. It links to the runs, relative to where it is.

    Returns:
        The path of the page.

    Raises:
        RunError: there is no study, or the page can't be written.
    """
    path = Path(directory) / "report.html" if out is None else Path(out)
    page = _render(read_study(directory), path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page.encode())
    except OSError as error:
        raise RunError(f"{path} can't be written ({error.strerror}); choose another --out") from error
    return path


def _render(results: Results, folder: Path) -> str:
    document, study = summarize(results), results.study
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    environment.filters["parts"] = _parts
    cells: dict[str, dict[str, list[CellResult]]] = {task: {method: [] for method in study.methods} for task in study.tasks}
    for item in results.cells:
        cells[item.cell.task][item.cell.method].append(item)
    styles = figures.method_styles(list(study.methods), study.baseline)
    films = _films(cells, folder)
    return environment.get_template("report.html.jinja").render(
        title=study.title,
        extent=_extent(results),
        counts=[(status, count) for status, count in document["cells"].items() if count],
        notes=list(_notes(results, document)),
        styles=styles,
        baseline=study.baseline,
        score=SCORES[study.settings.score],
        tasks=[_task(document, task, cells[task.name], films, styles, folder) for task in study.tasks.values()],
        across=_across(results, document, styles),
        methods=[(method, ", ".join(_lines(changes)) or "nothing") for method, changes in study.methods.items()],
        toml=study.text,
        runs_about="Figures and averages are of the finished runs; a directory holds the model, the log and every episode.",
        failures=[_failure(item, folder) for item in results.cells if item.error],
        facts=_facts(results, document),
        now=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def _extent(results: Results) -> str:
    study = results.study
    sizes = ((study.tasks, "task"), (study.methods, "method"), (study.settings.seeds, "seed"))
    words = " × ".join(f"{len(items)} {name}{'s' * (len(items) != 1)}" for items, name in sizes)
    seconds = sum(item.result["seconds"] for item in results.cells if item.finished)
    score = SCORES[study.settings.score]
    return f"{words} = {len(results.cells):,} runs; {_duration(seconds)} of training. Runs are scored by their {score}."


def _notes(results: Results, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is missing, and the command that makes it."""
    study, counts = results.study, document["cells"]
    own = tuple(dict.fromkeys(word for cell in study.cells for word in cell.config.imports))
    trusting = f", if you trust {' and '.join(own)}," if own else ""
    again = ("study", study.directory, *flags(imports=own))
    if left := counts["running"] + counts["stopped"] + counts["waiting"]:
        said = f"{left:,} of {len(results.cells):,} runs are not finished yet; what follows is about the others."
        yield f"{said} Go on{trusting} with", command(*again)
    if counts["failed"]:
        said = f"{counts['failed']:,} failed and {'are' if counts['failed'] != 1 else 'is'} in no figure and no average."
        yield f"{said} Try again{trusting} with", command(*again, "--retry")


def _task(
    document: Mapping[str, Any],
    task: Task,
    cells: Mapping[str, Sequence[CellResult]],
    films: Mapping[tuple[str, str], dict[str, Any]],
    styles: Mapping[str, figures.Style],
    folder: Path,
) -> dict[str, Any]:
    runs = {method: [item for item in items if item.finished] for method, items in cells.items()}
    drawn = _figures_of(document, task, runs, styles)
    return {
        "name": task.name,
        "about": _about(document["tasks"][task.name]),
        "table": (table := score_table(document, task.name)),
        "legend": legend(document["score"], table),
        **drawn,
        **_cards(task, runs, films, drawn["panels"]),
        "cells": [_cell(item, document["score"], folder) for items in cells.values() for item in items],
        "configurations": [(method, *_configuration(items)) for method, items in cells.items()],
    }


def _about(entry: Mapping[str, Any]) -> str:
    budget = entry["steps"] if isinstance(entry["steps"], list) else [entry["steps"]]
    text = f"{entry['env']}, {' or '.join(map(steps, budget))} environment steps"
    text += "" if entry["threshold"] is None else f", solved at a return of {entry['threshold']:g}"
    return text + ("" if entry["reference"] is None else f"; normalised, {entry['reference'][0]:g} is 0 and {entry['reference'][1]:g} is 1")


def _figures_of(
    document: Mapping[str, Any], task: Task, runs: Mapping[str, Sequence[CellResult]], styles: Mapping[str, figures.Style]
) -> dict[str, Any]:
    score, drawn = document["score"], [method for method, items in runs.items() if items]
    names = ", ".join(drawn)
    curves, panels = figures.learning_curves(runs, styles, task.threshold, f"Learning curves on {task.name}: {names}")
    scores = {method: [finite([item.result[score] for item in items])] for method, items in runs.items()}
    captions = _captions([len(runs[method]) for method in drawn], SCORES[score])
    return {
        "drawn": drawn,
        "curves": curves,
        "panels": panels,
        "curves_caption": captions[0] + ("" if task.threshold is None else f" The thin line is the threshold, {task.threshold:g}."),
        "profile": figures.profile(scores, styles, SCORES[score], f"Performance profiles on {task.name}: {names}"),
        "profile_caption": captions[1],
    }


def _captions(counts: Sequence[int], score: str) -> tuple[str, str]:
    """Captions of the learning curves and of the profiles: what their lines and bands are, for methods with these numbers of runs."""
    share = f"Share of runs whose {score} is above τ, the more the better"
    if max(counts, default=0) < FEWEST_RUNS:
        return "Median of the runs, and their range.", f"{share}."
    few = min(counts) < FEWEST_RUNS
    return (
        "Interquartile mean of the runs, and its 95 % bootstrap interval at each step by itself"
        + (f"; of fewer than {FEWEST_RUNS} runs, median and range." if few else "."),
        f"{share}, and its 95 % bootstrap interval at each τ" + (f", from {FEWEST_RUNS} runs on." if few else "."),
    )


def _cards(
    task: Task, runs: Mapping[str, Sequence[CellResult]], films: Mapping[tuple[str, str], dict[str, Any]], panels: Collection[str]
) -> dict[str, Any]:
    """What there is to see of each method by itself."""
    maps, axes = figures.coverage_maps(runs)
    filmed = [method for method in runs if (task.name, method) in films]
    words = (
        (panels, "learning", "Learning curves have the axes of the figure above; the baseline is grey."),
        (maps, "where the agents have been", axes),
        (filmed, "films", "A film shows one run, with deterministic actions."),
    )
    title = ", ".join(title for shown, title, _ in words if shown)
    return {
        "cards": [
            {"method": method, "map": maps.get(method), "film": films.get((task.name, method))}
            for method in runs
            if method in maps or method in filmed or method in panels
        ],
        "cards_title": title[:1].upper() + title[1:],
        "cards_caption": " ".join(caption for shown, _, caption in words if shown),
        "strips": "↑" not in axes,
    }


def _films(cells: Mapping[str, Mapping[str, Sequence[CellResult]]], folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The first film of each task and method: small ones as data while there is room, and a link to the others."""
    found: dict[tuple[str, str], tuple[CellResult, Path]] = {}
    for task, methods in cells.items():
        for method, items in methods.items():
            filmed = [(item, path) for item in items if _is_film(path := item.cell.path / "watch.gif")]
            if filmed:
                found[task, method] = filmed[0]
    films, room = {}, FILMS_BYTES
    for place, (item, path) in sorted(found.items(), key=lambda pair: pair[1][1].stat().st_size):
        size = path.stat().st_size
        embedded = size <= min(FILM_BYTES, room)
        room -= size if embedded else 0
        films[place] = {
            "uri": figures.data_uri(path.read_bytes(), "image/gif") if embedded else "",
            "still": _still(path),
            "link": _link(path, folder),
            "seed": item.cell.seed,
        }
    return films


def _is_film(path: Path) -> bool:
    """Whether there is a GIF of a film's size; a link, which could show another file, is none."""
    from PIL import Image

    if path.is_symlink() or not path.is_file():
        return False
    try:
        with open_regular(path) as file, Image.open(file, formats=["GIF"]) as film:
            if film.width * film.height > LARGEST:
                return False
            film.load()
    except Exception:  # whatever Pillow says of broken bytes
        return False
    return True


def _still(path: Path) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path, formats=["GIF"]) as film:
        picture = film.convert("RGB")
    picture.thumbnail((STILL_WIDTH, STILL_WIDTH))
    picture.save(buffer, "JPEG", quality=80)
    return figures.data_uri(buffer.getvalue(), "image/jpeg")


def _across(results: Results, document: Mapping[str, Any], styles: Mapping[str, figures.Style]) -> dict[str, Any] | None:
    table = all_tasks_table(document)
    if table is None:
        return None
    study, score = results.study, document["score"]
    normalized, methods = document["all_tasks"]["normalized"], list(document["all_tasks"]["methods"])
    drawing = None
    if normalized:
        scores = {
            method: normalized_scores(
                study.tasks.values(), [finite([item.result[score] for item in results.finished(task, method)]) for task in study.tasks]
            )
            for method in methods
        }
        label = f"Performance profiles over all tasks: {', '.join(methods)}"
        drawing = figures.profile(scores, styles, f"normalised {SCORES[score]}", label)
    what = (
        "Scores are normalised by the references of each task."
        if normalized
        else "Without references of every task there is no mean return."
    )
    return {
        "about": f"Of the methods that have a finished run on each of the {len(study.tasks)} tasks. {what}",
        "table": table,
        "profile": drawing,
        "drawn": methods,
        "caption": "Share of runs whose normalised score is above τ, mean of the tasks; with a 95 % bootstrap interval at each τ.",
        "legend": "In square brackets: a 95 % bootstrap interval, in which the runs of each task are drawn from that task.",
    }


def _cell(item: CellResult, score: str, folder: Path) -> dict[str, Any]:
    trained = item.result["steps"] if item.finished else int(item.episodes[-1, 0]) if len(item.episodes) else 0
    return {
        "method": item.cell.method,
        "seed": item.cell.seed,
        "status": item.status,
        "score": number(item.result[score]) if item.finished else "",
        "steps": steps(trained) if item.finished else f"{steps(trained)} of {steps(item.cell.config.steps)}" if trained else "",
        "time": _duration(item.result["seconds"]) if item.finished else "",
        "directory": item.cell.path.name,
        "link": _link(item.cell.path, folder) + "/" if item.cell.path.is_dir() else "",
    }


def _failure(item: CellResult, folder: Path) -> dict[str, Any]:
    log = CellState(item.cell.path).log
    return {
        "label": item.cell.label,
        "status": item.status,
        "about": f"failed {item.tries} time{'s' * (item.tries != 1)}" if item.tries else "its training ended, but its numbers are none",
        "log": _link(log, folder) if log.is_file() else "",
        "error": item.error,
    }


def _configuration(items: Sequence[CellResult]) -> tuple[bool, str]:
    """Whether a run has begun, and what the configurations of all runs have in common."""
    runs = [run for item in items if (run := RunDirectory(item.cell.path)).config.is_file()]
    config = read_json(runs[0].config) if runs else items[0].cell.config.to_dict()
    return bool(runs), "\n".join(_lines({key: value for key, value in config.items() if key not in ("about", "out", "seed")}))


def _lines(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """``key = value``, nested keys with dots."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} = {json.dumps(value, ensure_ascii=False)}"


def _facts(results: Results, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    machines = ["; ".join(f"{key} {value}" for key, value in machine.items()) for machine in document["machines"] if machine]
    facts = [("written in", results.study.source), ("directory", str(results.study.directory)), *document["versions"].items()]
    return facts + [("machine", machine) for machine in machines]


def _parts(cell: str) -> tuple[str, str]:
    """The number of a cell of a table, and the rest of its text."""
    main, _, detail = re.sub(r", | (?=[\[(])", "\0", cell, count=1).partition("\0")
    return main, detail


def _link(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
