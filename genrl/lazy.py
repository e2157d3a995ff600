"""Public names of a package that are imported when they are first used, so that `genrl --help` needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["public"]


def public(package: str, modules: Mapping[str, str], name: str) -> Any:
    """What a package's ``__getattr__`` (PEP 562) gives.

    Args:
        package: the package's ``__name__``.
        modules: the dotted module of each public name.
        name: the attribute that was asked for.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(modules[name]), name)
