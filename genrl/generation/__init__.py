"""`genrl generate`: images, a recipe for each model, its fit, what is measured of it, and pictures. Imported when first used."""

from importlib import import_module
from typing import Any

_MODULES = {
    "Balance": "balance",
    "Classifier": "classifier",
    "GenerateConfig": "config",
    "LinearProbe": "probe",
    "compare": "metrics",
    "generate": "running",
    "judge": "classifier",
    "record_frames": "frames",
    "resume_generation": "running",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): `genrl --help` needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
