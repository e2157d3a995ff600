"""`genrl pull USER/NAME`: fetch a run from the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import parse
from genrl.cli._words import say
from genrl.errors import command, extra

__all__ = ["main"]


@dataclass(frozen=True)
class PullFlags:
    """Fetch a run from the Hugging Face hub into a new directory. Nothing in it is run; what is no file of a run stays there."""

    repository: tyro.conf.Positional[str]
    """Where from: user/name."""
    out: Path | None = None
    """The new directory; by default runs/name."""
    revision: str | None = None
    """A commit, a branch or a tag; by default the newest."""


def main(argv: list[str]) -> int:
    """Parse, fetch, and name the next useful command."""
    flags = parse(PullFlags, argv, "genrl pull")
    extra("huggingface_hub", "hub", "genrl pull")
    from genrl.reading import read_json
    from genrl.runs.uses.hub import pull, used_by

    path = pull(flags.repository, flags.out, flags.revision)
    used = used_by(read_json(path / "config.json"))
    say(f"{'watch it' if used == 'watch' else 'draw images'}: {command(used, path)}" if used else str(path))
    return 0
