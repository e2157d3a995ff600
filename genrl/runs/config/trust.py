"""What a configuration would import, read or write outside of genrl and its run: a file that somebody sent decides none of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from genrl.errors import RunError
from genrl.roles import is_own
from genrl.runs.config.base import fits

__all__ = ["check_imports", "foreign_keywords", "foreign_words", "outside"]

NAMES_CODE = re.compile(r"(.*_)?(id|entry_point|import|imports|module|plugin|class|cls|file|path|dir|folder)")
"""Keywords of tasks that name another task, code or a file."""


def check_imports(values: Mapping[str, Any], roles: Collection[str], allowed: Collection[str] = ()) -> None:
    """Refuse values of a configuration that would import or read something that nobody asked for.

    Args:
        values: of the configuration, by name.
        roles: names of those that name a part, such as `reward`.
        allowed: words of `--imports`: a module, or the value of a task's keyword.

    Raises:
        RunError: a `module:Name` whose module is not allowed, or such a keyword.
    """
    for said, word in _foreign(values, roles):
        if word not in allowed and word.rpartition(":")[0] not in allowed:
            raise RunError(f"{said}; if you trust it, add --imports {shlex.quote(word)}, or imports=[{word!r}] in Python")


def foreign_words(values: Mapping[str, Any], roles: Collection[str]) -> tuple[str, ...]:
    """What `--imports` must name before :func:`check_imports` passes these values."""
    return tuple(dict.fromkeys(word for _, word in _foreign(values, roles)))


def _foreign(values: Mapping[str, Any], roles: Collection[str]) -> Iterator[tuple[str, str]]:
    """What the values would import or read that is not genrl's, in words, and the word of `--imports` that allows it."""
    for role in ("env", *roles):
        name = values.get(role)
        module = str(name).rpartition(":")[0] if is_own(name) else ""
        if module and module != "genrl_envs":
            yield f"{role} {name} would import {module}", module
    for name, value in foreign_keywords(values.get("env_kwargs", {})):
        yield f"--env.{name} {value} could import a module or read a file", value


def foreign_keywords(env_kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keywords of a task, and their values, that could make it import a module or read a file: a `module:Name`, a path, or `env_id`.

    Example:
        >>> list(foreign_keywords({"threshold": 0.5, "maze": ["large", 3], "xml_file": "ant.xml", "inner": {"make": "evil:Task-v0"}}))
        [('xml_file', 'ant.xml'), ('inner', 'evil:Task-v0')]
    """
    for name, value in env_kwargs.items():
        for word in _strings(value):
            if NAMES_CODE.fullmatch(name) or {":", "/", "\\"} & set(word):
                yield name, word


def _strings(value: Any) -> Iterator[str]:
    """All strings in nested plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*_strings(key), *_strings(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def outside(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, str]:
    """Paths that lie outside of the current folder, by name: a file that names them does not decide that they are read or written.

    Args:
        values: of a configuration, by name.
        hints: the type of each name that it may have.
    """
    paths = [name for name, hint in hints.items() if isinstance(values.get(name), str) and fits(Path(), hint)]
    return {name: values[name] for name in paths if not Path(values[name]).resolve().is_relative_to(Path.cwd())}
