"""`genrl list`: the tasks, learners, rewards, worlds, image models and encoders that can be chosen by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from genrl.cli._flags import parse
from genrl.cli._words import say
from genrl.errors import RunError, did_you_mean
from genrl.roles import MODELS, ROLES, Role

__all__ = ["KINDS", "main", "tasks"]

KINDS = ("tasks", *(f"{name}s" for name in ROLES), "encoders")


@dataclass(frozen=True)
class ListFlags:
    """List what can be chosen by name, each in one line."""

    kind: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="KIND")] = "all"
    """tasks, learners, rewards, worlds, models, encoders, or all."""


def main(argv: list[str]) -> int:
    """Parse, list."""
    kind = parse(ListFlags, argv, "genrl list").kind
    if kind not in (*KINDS, "all"):
        choices = f"; choose one of {', '.join(KINDS)}, or all"
        raise RunError(f"there is no list of {kind!r}{did_you_mean(kind, KINDS) or choices}")
    blocks = []
    for name in KINDS if kind == "all" else (kind,):
        rows = list(_ROWS[name]() if name in _ROWS else _parts(ROLES[name.removesuffix("s")]))
        width = max(len(row[0]) for row in rows) if rows else 0
        blocks.append("\n".join([f"{name}:", *(f"  {word:<{width}}  {about}" for word, about in rows)]))
    say("\n\n".join(blocks))
    return 0


def _parts(role: Role) -> Iterator[tuple[str, str]]:
    """Name of each part, and what it is and needs."""
    for part in role.parts:
        yield part.name, part.about + (f" (needs {' and '.join(part.needs)})" if part.needs else "")


def tasks() -> Iterator[tuple[str, str]]:
    """The tasks of genrl, with the words of the table in their package's docstring."""
    import genrl_envs

    for ids, about, reward in re.findall(r"^\| (`.*) \| (.*) \| (.*) \|$", genrl_envs.__doc__ or "", flags=re.M):
        for name in re.findall(r"`(.*?)`", ids):
            yield name, f"{about}; reward {reward}".replace("`", "").replace("\\", "")
    yield "any other", "task that is registered with Gymnasium, such as CartPole-v1"


def _encoders() -> Iterator[tuple[str, str]]:
    """Image models whose runs are encoders."""
    yield "a run of", "`genrl generate --model` with one of these, for --encoder RUN"
    yield from _parts(replace(MODELS, parts=tuple(part for part in MODELS.parts if part.encodes)))


_ROWS = {"tasks": tasks, "encoders": _encoders}
