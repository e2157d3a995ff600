"""A run: its resolved configuration, its directory, its training, its resumption. Nothing here is imported before it is used."""

from typing import Any

from genrl.lazy import public

_MODULES = {
    "DreamConfig": "genrl.runs.dream_config",
    "ExploreConfig": "genrl.runs.config",
    "ImitateConfig": "genrl.runs.imitate_config",
    "RunConfig": "genrl.runs.config",
    "RunDirectory": "genrl.runs.directory",
    "dream": "genrl.runs.dreams",
    "explore": "genrl.runs.training",
    "imitate": "genrl.runs.training",
    "load": "genrl.runs.loading",
    "train": "genrl.runs.training",
    "record": "genrl.runs.recording",
    "resume": "genrl.runs.training",
    "watch": "genrl.runs.film",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    return public(__name__, _MODULES, name)
