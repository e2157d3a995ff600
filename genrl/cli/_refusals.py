"""Refusals of what was typed: one sentence in place of tyro's boxes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tyro

from genrl.errors import RunError, did_you_mean, flag_of
from genrl.roles import ROLES

__all__ = ["one_sentence"]


@contextmanager
def one_sentence(kind: Any, argv: Sequence[str], prog: str) -> Iterator[None]:
    """Turn tyro's boxes about ``argv`` into a RunError.

    ``tyro._errors`` is tyro's unstable hook (tyro 1.0, _errors.py): where a version lacks it, tyro's own box appears instead.
    """
    errors = getattr(tyro, "_errors", None)
    if errors is None:
        yield
        return

    def refuse(event: Any) -> None:
        if message := _sentence(event, errors, kind, argv):
            raise RunError(f"{message}; see `{prog} --help`")

    with errors.on_parse_error(refuse):
        yield


def _sentence(event: Any, errors: Any, kind: Any, argv: Sequence[str]) -> str | None:
    if isinstance(event, errors.UnrecognizedArgs):
        return _unknown(event.tokens[0].split("=")[0], _known_flags(kind), argv)
    if isinstance(event, errors.InvalidChoice):
        return f"{_flag(event.argument)} takes one of {', '.join(event.choices)}, but was given {event.value!r}"
    if isinstance(event, errors.BadValue):
        return f"{_flag(event.argument)} needs a value of the form {_form(event.argument)}"
    if isinstance(event, errors.InstantiationFailure):
        if event.argument is None:
            return str(event.message).split(": ", 1)[-1]
        given = re.fullmatch(r"no type matching .* could be instantiated from \[(.*?)\]\..*", str(event.message), re.DOTALL)
        said = f", but was given {given[1]}" if given else f" ({event.message})"
        return f"{_flag(event.argument)} needs a value of the form {_form(event.argument)}{said}"
    if isinstance(event, errors.MissingArgs):
        return f"{', '.join(_flag(item.arg) for item in event.missing_arguments)} must be given"
    return None


def _unknown(flag: str, known: list[str], argv: Sequence[str]) -> str:
    if not flag.startswith("-"):
        return _unknown_word(flag, argv)
    role = flag.removeprefix("--").split(".")[0]
    owned = [name for name in known if name.startswith(f"--{role}.")] if "." in flag else known
    if "." in flag and role in ROLES:
        own = f"--{flag.partition('.')[2]}"
        close = f"; did you mean {own}" if own in known else did_you_mean(flag, owned).rstrip("?")
        return f"the chosen {role} has no {flag}{close}"
    return f"there is no flag {flag}{did_you_mean(flag, owned).rstrip('?')}"


def _unknown_word(word: str, argv: Sequence[str]) -> str:
    """Say what to type in place of ``--pictures False`` or ``--pictures=False``: a switch takes no value."""
    words = [part for typed in argv for part in (typed.split("=", 1) if typed.startswith("--") else [typed])]
    place = words.index(word) if word in words else 0
    if word.lower() not in ("true", "false") or not place or not words[place - 1].startswith("--"):
        return f"nothing takes the word {word!r}"
    on = re.sub(r"^(--|--.*\.)no-", r"\1", words[place - 1])
    off = re.sub(r"^--(.*\.)?", r"--\1no-", on)
    return f"{words[place - 1]} takes no value, but was given {word}; type {on} or {off}"


def _flag(argument: Any) -> str:
    return str(argument.display_name()).replace("run", "RUN") if argument.is_positional() else str(argument.display_name())


def _form(argument: Any) -> str:
    return str(argument.lowered.metavar or "VALUE").removeprefix("{None}|")


def _known_flags(kind: Any) -> list[str]:
    flags = []
    for item in dataclasses.fields(kind):
        nested = item.default_factory if dataclasses.is_dataclass(item.default_factory) else None
        role = item.name.removesuffix("_kwargs")
        if nested is not None:
            flags += [flag_of(inner.name, role) for inner in dataclasses.fields(nested)]
        elif role == item.name:
            flags.append(flag_of(item.name))
    return flags
