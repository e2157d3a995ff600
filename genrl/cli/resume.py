"""`genrl resume RUN`: go on with a run that was stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import parse

__all__ = ["main"]


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint, to the numbers that it would have had without the stop."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    steps: int | None = None
    """Go on until this many environment steps; by default until those that the run was started with."""
    demos: Path | None = None
    """Where the demonstrations of an imitation are now, if no longer where they were."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, train the rest, report."""
    flags = parse(Resume, argv, "genrl resume")
    from genrl.cli._report import report
    from genrl.runs import resume

    return report(resume(flags.run, steps=flags.steps, demos=flags.demos, imports=flags.imports), flags.run)
