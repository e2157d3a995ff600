"""Results of the demos: a demo writes one JSON file in demos/results, and `python -m demos.tables` makes tables of them."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrl.files import write_whole
from genrl.runs.directory import about

RESULTS = Path(__file__).parent / "results"


def read(name: str) -> dict[str, Any]:
    """What demos/results/NAME.json says was found; nothing if there is no such file."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {key: value for key, value in found.items() if key != "about"}


def write(name: str, found: Mapping[str, Any]) -> None:
    """Write demos/results/NAME.json with the command, the versions and the machine that found it, and print it."""
    command = shlex.join(["python", f"demos/{Path(sys.argv[0]).name}", *map(without_this_machine, sys.argv[1:])])
    made_by = {"command": command, **{key: about()[key] for key in ("versions", "machine")}}
    text = json.dumps({**found, "about": made_by}, indent=1) + "\n"
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    print(text)


def without_this_machine(word: str) -> str:
    """A word of a command, in which a path from the root is one from the project's root, or its last name where it leads elsewhere.

    Example:
        >>> without_this_machine(str(RESULTS)), without_this_machine("/usr/bin/python"), without_this_machine("--peer")
        ('demos/results', 'python', '--peer')
    """
    path, root = Path(word), RESULTS.parents[1]
    near = path.is_absolute() and any(path.is_relative_to(folder) for folder in (root, root.parent / "shared"))
    return os.path.relpath(path, root) if near else path.name if path.is_absolute() else word


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min_max": [min(values), max(values)]}


def score(entry: dict[str, Any] | None, digits: int = 0, key: str = "evaluation_return") -> str:
    """A return, by default the deterministic one: median of the runs, smallest and largest."""
    value = None if entry is None else entry.get(key)
    if value is None:
        return "–"
    middle, low, high = (f"{value[name]:,.{digits}f}" for name in ("median", "min", "max"))
    return middle if value["n"] == 1 else f"{middle} ({low} to {high})"


def most_steps(about: Mapping[str, Any]) -> int:
    """Environment steps of a task's runs; those of a method that only clones are none."""
    steps = about["steps"]
    return max(steps) if isinstance(steps, list) else int(steps)
