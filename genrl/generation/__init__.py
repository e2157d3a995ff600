"""`genrl generate`: images, a recipe for each model, its fit, what is measured of it, and pictures. Imported when first used."""

from typing import Any

from genrl.lazy import public

_MODULES = {
    "Balance": "genrl.generation.balance",
    "Classifier": "genrl.generation.classifier",
    "GenerateConfig": "genrl.generation.config",
    "LinearProbe": "genrl.generation.probe",
    "compare": "genrl.generation.metrics",
    "generate": "genrl.generation.running",
    "judge": "genrl.generation.classifier",
    "record_frames": "genrl.generation.frames",
    "resume_generation": "genrl.generation.running",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    return public(__name__, _MODULES, name)
