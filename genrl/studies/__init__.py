"""A study: tasks × methods × seeds, each cell an ordinary run; executors, statistics and a report. Imported when first used."""

from importlib import import_module
from typing import Any

_MODULES = {
    "Cell": "matrix",
    "InProcess": "executors",
    "Processes": "executors",
    "Ray": "executors",
    "Study": "matrix",
    "WorkerDied": "executors",
    "read_study": "results",
    "run_study": "running",
    "write_report": "report",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): `genrl study --help` needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
