"""Results of the demos: a demo writes one JSON file in demos/results, and `python -m demos.tables` makes tables of them."""

from __future__ import annotations

import json
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
    command = shlex.join(["python", f"demos/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    made_by = {"command": command, **{key: about()[key] for key in ("versions", "machine")}}
    text = json.dumps({**found, "about": made_by}, indent=1) + "\n"
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    print(text)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min_max": [min(values), max(values)]}
