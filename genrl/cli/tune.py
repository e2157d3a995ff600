"""`genrl tune FILE.toml`: search for hyperparameters."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from genrl.cli._flags import parse, typed_again
from genrl.cli._words import say
from genrl.cli.study import check_executor, executor_of
from genrl.errors import RunError, command, extra, flags

if TYPE_CHECKING:
    from genrl.studies.tuning import Trial, Tuning

__all__ = ["main"]

SHOWN = 5
"""Trials in the table at the end."""
BEST = "best.toml"


@dataclass(frozen=True)
class TuneFlags:
    """Search for the hyperparameters of a run; every trial is kept as an ordinary run. Stop and start it at any time."""

    file: tyro.conf.Positional[Path]
    """The search, a TOML file with [tune], [run] (what all trials share) and [search] (what is searched)."""
    out: Path | None = None
    """The directory of the search; by default runs/<name of the file>."""
    executor: Literal["processes", "here", "ray"] = "processes"
    """Where the trials are trained: in worker processes, one after the other in this one, or on Ray."""
    workers: int | None = None
    """Runs at a time; by default one for each core. A running Ray cluster has its own number."""
    address: str | None = None
    """A running Ray cluster, such as `auto`; by default one is started on this machine."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the runs may import, where a task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, check, search, and print the best trial as a command."""
    asked = parse(TuneFlags, argv, "genrl tune")
    check_executor(asked)
    extra("optuna", "tune", "genrl tune")
    from genrl.studies.tuning import Tuning, tune

    tuning = Tuning.load(asked.file, asked.out)
    threads = tuning.run.get("threads", 1)
    executor = executor_of(asked, threads if isinstance(threads, int) else 1)
    tuning.check(asked.imports)
    from genrl.cli._board import watched

    trials = tune(tuning, executor, imports=asked.imports, watched=watched)
    if trials is None:
        say(f"interrupted; go on with: {command('tune', asked.file, *typed_again(asked, 'file'))}", sys.stderr)
        return 130
    return _report(tuning, trials, asked.imports)


def _report(tuning: Tuning, trials: list[Trial], imports: tuple[str, ...]) -> int:
    from genrl.files import write_whole
    from genrl.runs.config.commands import COMMANDS
    from genrl.runs.config.trust import outside
    from genrl.studies.tuning import best
    from genrl.studies.wording import as_toml, flags_of

    ranked, silent = best(trials), sum(trial.silent for trial in trials)
    failed = sum(trial.score is None for trial in trials) - silent
    longer = 'no episode ended in a run; give [run] more steps, or write score = "evaluation_return" under [tune]'
    if not ranked and not silent:
        raise RunError(f"no trial of {tuning.directory} has finished; see why: {command('report', tuning.directory)}")
    if not ranked:
        raise RunError(f"no trial of {tuning.directory} has a {tuning.score}, since {longer}")
    for trial in ranked[:SHOWN]:
        settings = [f"{name.replace('_kwargs.', '.')} {value}" for name, value in trial.values.items()]
        say(f"{trial.score:12.5g}  {', '.join(settings)}")
    for count, why in ((failed, "a run failed; the report says why"), (silent, longer)):
        if count:
            say(f"{count} of {len(trials)} trials {'has' if count == 1 else 'have'} no score, since {why}", sys.stderr)
    values = tuning.values(ranked[0])
    write_whole(tuning.directory / BEST, (as_toml(values) + "\n").encode())
    say(f"see every trial: {command('report', tuning.directory)}")
    trusted = flags(**outside(values, COMMANDS[tuning.command].fields()), imports=imports)
    say(f"the best one, longer or with other seeds: {command(tuning.command, '--config', tuning.directory / BEST, *trusted)}")
    say(f"or, with all that is set: {command(tuning.command, *flags_of(values))}")
    return 0
