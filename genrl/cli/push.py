"""`genrl push RUN USER/NAME`: send a run to the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import parse
from genrl.cli._words import say
from genrl.errors import command, extra, flags

__all__ = ["main"]


@dataclass(frozen=True)
class PushFlags:
    """Send a run to the Hugging Face hub: safetensors, configuration, numbers, pictures, film and a card; never a pickle."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    repository: tyro.conf.Positional[str]
    """Where to: user/name."""
    public: bool = False
    """Let everybody see a repository that is made now; by default it is private."""
    best: bool = False
    """Send the best model of a run that was started with --eval-every, instead of the last one."""
    average: bool = False
    """Send the mean of the last policies, of an imitation with --average, instead of the last one."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, pack, send."""
    asked = parse(PushFlags, argv, "genrl push")
    extra("huggingface_hub", "hub", "genrl push")
    from genrl.runs.directory import film_name
    from genrl.runs.uses.hub import push

    say(push(asked.run, asked.repository, public=asked.public, best=asked.best, average=asked.average, imports=asked.imports))
    if not any((asked.run / name).is_file() for name in (f"{film_name(asked.best, asked.average)}.gif", "model.safetensors")):
        again = command("watch", asked.run, *flags(best=asked.best, average=asked.average, imports=asked.imports))
        say(f"it has no film; make one, and push again: {again}")
    return 0
