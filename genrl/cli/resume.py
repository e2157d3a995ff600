"""`genrl resume RUN`: go on with a run that was stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import parse
from genrl.errors import RunError, flag_of
from genrl.reading import read_json

__all__ = ["main"]


@dataclass(frozen=True)
class ResumeFlags:
    """Go on with a run from its last checkpoint, to the numbers that it would have had without the stop."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    steps: int | None = None
    """Go on until this many environment steps; by default until those that the run was started with."""
    epochs: int | None = None
    """Go on until this many epochs (generative models); by default until those that the run was started with."""
    demos: Path | None = None
    """Where the demonstrations of an imitation are now, if no longer where they were."""
    device: str | None = None
    """Device of the learner, or of the model, from now on; by default the one that the run was started with."""
    step_timeout: float | None = None
    """Seconds that a step of an environment may take from now on; by default as the run was started."""
    data: Path | None = None
    """Where the images of a generative model are now, an npz or a folder, if no longer where they were."""
    data_root: Path | None = None
    """Where the folders mnist and fashion-mnist are now, if no longer where they were."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


LEARNERS, GENERATORS = ("steps", "demos", "device", "step_timeout", "imports"), ("epochs", "data", "data_root", "device")
"""Flags of the two kinds of runs."""


def main(argv: list[str]) -> int:
    """Parse, train the rest, report."""
    flags = parse(ResumeFlags, argv, "genrl resume")
    from genrl.runs import RunDirectory

    run = RunDirectory.open(flags.run)
    if read_json(run.config).get("command") == "generate":
        _refuse(flags, LEARNERS, GENERATORS, "a generative model")
        from genrl.cli._ending import report_generation
        from genrl.generation import resume_generation

        result = resume_generation(flags.run, **{name: getattr(flags, name) for name in GENERATORS})
        return report_generation(result, flags.run)
    _refuse(flags, GENERATORS, LEARNERS, "a learner")
    from genrl.cli._ending import report
    from genrl.runs import resume

    asked = {name: getattr(flags, name) for name in LEARNERS}
    result = resume(flags.run, **asked)
    if read_json(run.config).get("command") == "dream":
        from genrl.runs.dreams.comparison import compare

        result = compare(flags.run, result)
    return report(result, flags.run)


def _refuse(flags: ResumeFlags, names: tuple[str, ...], others: tuple[str, ...], kind: str) -> None:
    for name in [name for name in names if name not in others]:
        if getattr(flags, name) not in (None, ()):
            known = ", ".join(flag_of(other) for other in others)
            raise RunError(f"{flags.run} is the run of {kind}, which has no {flag_of(name)}; it has {known}")
