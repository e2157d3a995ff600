"""Settings of a run in words: as TOML, and as the flags of a command."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from genrl.errors import RunError, flag_of

__all__ = ["as_toml", "flags_of"]


def as_toml(content: Mapping[str, Any]) -> str:
    """Plain values as TOML.

    Example:
        >>> print(as_toml({"steps": 100, "learner_kwargs": {"gamma": 0.9, "net_arch": [64, 64]}, "env": "Pendulum-v1"}))
        steps = 100
        env = "Pendulum-v1"
        [learner_kwargs]
        gamma = 0.9
        net_arch = [64, 64]
    """
    return "\n".join(_lines(content, ""))


def _lines(table: Mapping[str, Any], above: str) -> list[str]:
    lines = [f"{_key(name)} = {_value(value)}" for name, value in table.items() if not isinstance(value, Mapping) and value is not None]
    for name, value in table.items():
        if isinstance(value, Mapping):
            path = f"{above}{_key(name)}"
            lines += [f"[{path}]", *_lines(value, f"{path}.")]
    return lines


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _string(text: str) -> str:
    """Characters stay as they are: JSON would write some in two halves, which TOML does not take."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, bool | int | float | str):
        raise RunError(f"a {type(value).__name__}, {value}, is no value of a run; it takes numbers, strings, lists and tables")
    return _string(value) if isinstance(value, str) else json.dumps(value)  # JSON's numbers and booleans are TOML's


def flags_of(values: Mapping[str, Any]) -> list[object]:
    """The words of a command that say ``values``.

    Example:
        >>> flags_of({"normalize_obs": False, "steps": 100, "learner_kwargs": {"net_arch": [8, 8]}})
        ['--no-normalize-obs', '--steps', 100, '--learner.net-arch', 8, 8]
    """
    words: list[object] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            owner = name.removesuffix("_kwargs")
            for key, item in value.items():
                words += _words(key, item, owner)
        else:
            words += _words(name, value)
    return words


def _words(name: str, value: Any, owner: str = "") -> list[object]:
    if isinstance(value, bool) and owner != "env":  # a task's keywords are of no known type, so each is followed by its value
        return [flag_of(name if value else f"no_{name}", owner)]
    return [flag_of(name, owner), *(value if isinstance(value, list | tuple) else [value])]
