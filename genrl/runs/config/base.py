"""What every configuration of a run can do: name its directory, become JSON, and come back from it. Imports no torch."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from genrl.errors import RunError, flag_of

__all__ = ["FRAMES", "Config", "check_device", "check_positive", "device_of", "fits", "in_words", "is_there"]

FRAMES = "frames:"
"""Prefix of the ``data`` of `genrl generate` where the images are frames of a task."""


class Config:
    """Base of the frozen dataclasses that are a command's configuration, its help and its flags."""

    command: ClassVar[str]
    """`genrl` and this word start such a run."""
    roles: ClassVar[tuple[str, ...]]
    """Parts whose constructor has flags of its own, such as `--learner.gamma`: each has a field, and another with `_kwargs`."""
    kwargs_help: ClassVar[str]
    """What `--env.NAME VALUE` is for."""
    out: Path | None

    @property
    def directory(self) -> Path:
        """Where the run is kept."""
        return self.out if self.out is not None else Path("runs") / self.name

    @property
    def name(self) -> str:
        """The run in words that a file name can hold."""
        raise NotImplementedError

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Names and types of what can be configured. (A command line adds fields of its own to a subclass of its own.)"""
        return dict(_fields(next(item for item in cls.__mro__ if "command" in vars(item))))

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, for JSON.

        Raises:
            RunError: a value that JSON does not bring back.
        """
        values = {name: getattr(self, name) for name in self.fields()}
        plain: dict[str, Any] = _plain(values | {"out": str(self.directory)})
        return {"command": self.command} | plain

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, for one class, without the command.

        Raises:
            RunError: a name that it has not, or a value of the wrong type.
        """
        values, known = dict(values), cls.fields()
        if unknown := set(values) - set(known):
            raise RunError(f"the configuration has {', '.join(sorted(unknown))}, which this version of genrl does not know")
        for name, hint in known.items():
            if isinstance(values.get(name), str) and fits(Path(), hint):
                values[name] = Path(values[name])
            if isinstance(values.get(name), float) and not math.isfinite(values[name]):
                raise RunError(f"{flag_of(name)} is {values[name]}, but must be finite")
            if name in values and not fits(values[name], hint):
                raise RunError(f"{flag_of(name)} is {values[name]!r}, but must be {in_words(hint)}")
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        return cls(**values)

    def check_least(self, **least: float) -> None:
        """Refuse a field below its least value; ``None`` is decided later.

        Raises:
            RunError: one is.
        """
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                raise RunError(f"{flag_of(name)} is {given}, but must be at least {value}")

    def check_most(self, **most: int) -> None:
        """Refuse a field above its largest value; ``None`` is decided later.

        Raises:
            RunError: one is.
        """
        for name, value in most.items():
            given = getattr(self, name)
            if given is not None and given > value:
                raise RunError(f"{flag_of(name)} is {given}, but must be at most {value:,}")


@lru_cache
def _fields(owner: Any) -> dict[str, Any]:
    """Evaluates the annotations, which takes milliseconds; a study asks for each of its cells."""
    hints = get_type_hints(owner)
    return {item.name: hints[item.name] for item in dataclasses.fields(owner)}


def check_device(name: str) -> None:
    """Refuse a device that torch does not know or that is not there: SB3 would take the CPU in its place without a word.

    Raises:
        RunError: says what to type.
    """
    if not is_there(name):
        raise RunError(f"--device is {name}, but torch finds no such device here; type --device cpu")


def check_positive(**values: float | None) -> None:
    """Refuse the value of a flag, named as its field, that is not positive and finite; ``None`` is decided later.

    Raises:
        RunError: one is not.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise RunError(f"{flag_of(name)} is {value}, but must be positive and finite")


def device_of(name: str) -> str:
    """The device that a learner takes by this name: `auto` is a GPU, or the CPU where there is none."""
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def is_there(device: str) -> bool:
    """Whether torch can compute on ``device``; `auto`, which is SB3's word for a GPU or else the CPU, always is.

    Raises:
        RunError: it is no device.
    """
    import torch

    try:
        known = torch.device("cpu" if device == "auto" else device)
    except RuntimeError as error:
        raise RunError(f"--device is {device!r}, which torch does not know; type cpu, cuda, cuda:1, mps or auto") from error
    backend = getattr(torch, known.type, None) if known.type != "mps" else torch.backends.mps
    count = getattr(backend, "device_count", lambda: 1)
    return known.type == "cpu" or (backend is not None and backend.is_available() and (known.index or 0) < count())


def _plain(value: Any, name: str = "the configuration") -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
        raise RunError(f"{name} is {value}, which a run does not keep; give a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RunError(f"the configuration holds a {type(value).__name__}, {value!r}; it takes numbers, strings, lists and dictionaries")


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
        return f"one of {', '.join(map(str, args))}" if args[1:] else str(args[0])
    if origin is tuple:
        return f"a list of {in_words(args[0]).removeprefix('a ')}s"
    if origin is Mapping:
        return "a table"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
