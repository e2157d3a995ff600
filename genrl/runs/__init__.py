"""A run: its resolved configuration, its directory, its training, its resumption. Nothing here is imported before it is used."""

from importlib import import_module
from typing import Any

_MODULES = {
    "DreamConfig": "config",
    "ExploreConfig": "config",
    "ImitateConfig": "config",
    "RunConfig": "config",
    "RunDirectory": "directory",
    "dream": "dreams",
    "explore": "training",
    "imitate": "training",
    "load": "loading",
    "train": "training",
    "record": "recording",
    "resume": "training",
    "watch": "film",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562): `genrl --help` needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
