"""A study: tasks × methods × seeds, each cell an ordinary run; executors, statistics and a report. Imported when first used."""

from typing import Any

from genrl.lazy import public

_MODULES = {
    "Cell": "genrl.studies.matrix",
    "InProcess": "genrl.studies.executors",
    "Processes": "genrl.studies.executors",
    "Ray": "genrl.studies.executors",
    "Study": "genrl.studies.matrix",
    "WorkerDied": "genrl.studies.executors",
    "read_study": "genrl.studies.results",
    "run_study": "genrl.studies.running",
    "write_report": "genrl.studies.report",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    return public(__name__, _MODULES, name)
