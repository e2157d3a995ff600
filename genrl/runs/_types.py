"""Whether a value fits a type annotation, and the annotation in words: for values that come from a file instead of a command line."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["fits", "in_words"]

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", type(None): "nothing", Path: "a path"}


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is what ``hint`` says; an integer is a float, a list is a tuple, a bool is neither number.

    Example:
        >>> fits(3, float | None), fits("3", float | None), fits([64, 64], tuple[int, ...]), fits(True, int)
        (True, False, True, False)
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, member) for member in args)
    if origin is Literal:
        return value in args
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        members = args[:1] * len(value) if args[-1:] == (Ellipsis,) else args
        return len(members) == len(value) and all(map(fits, value, members))
    if origin is Mapping or hint is Mapping:
        return isinstance(value, Mapping)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def in_words(hint: Any) -> str:
    """An annotation for a person.

    Example:
        >>> in_words(tuple[int, ...] | None)
        'a list of whole numbers, or nothing'
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return ", or ".join(map(in_words, args))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        return f"a list of {in_words(args[0]).removeprefix('a ')}s"
    if origin is Mapping:
        return "a table"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
