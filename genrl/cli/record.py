"""`genrl record --run RUN --out FILE`: demonstrations by the trained policy of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genrl.cli._flags import check_seed, parse, task_words
from genrl.cli._words import say
from genrl.errors import RunError, command
from genrl.errors import flags as flags_of

__all__ = ["main"]


@dataclass(frozen=True)
class RecordFlags:
    """Record episodes of the trained policy of a run as demonstrations, in Minari's layout."""

    run: Path
    """The run directory."""
    out: Path
    """The file, x.hdf5 or x.npz; or for Minari a folder, such as halfcheetah/expert-v0."""
    episodes: int = 25
    """Number of episodes."""
    stochastic: bool = False
    """Draw actions as in training, instead of taking the most likely ones."""
    seed: int = 1000
    """Seed of the first episode; the others follow."""
    step_timeout: float | None = None
    """Seconds that a step or a reset of the task may take. By default it is waited for."""
    best: bool = False
    """Record the policy of the best evaluation, of a run with --eval-every, instead of the last one."""
    average: bool = False
    """Record the mean of the last policies, of an imitation with --average, instead of the last one."""
    disturb: float = 0.0
    """Standard deviation of noise on the actions that the task executes, as a share of half their range, such as 0.5; recorded is what the
    policy meant. Few episodes then show what to do off the policy's path, and can be cloned."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, record, say what there is."""
    flags = parse(RecordFlags, argv, "genrl record")
    if flags.episodes < 1:
        raise RunError(f"--episodes is {flags.episodes}, but must be at least 1")
    check_seed(flags.seed)
    from genrl.runs import RunDirectory, record
    from genrl.runs.environments.step_limit import StepLimit
    from genrl.runs.opening import read_config

    settings = {name: getattr(flags, name) for name in ("episodes", "stochastic", "seed", "best", "average", "disturb", "imports")}
    with StepLimit(flags.step_timeout):
        made = record(flags.run, flags.out, **settings)
    say(str(made))
    config = read_config(RunDirectory.open(flags.run))
    encoder = None if config.encoder is None else flags.run  # demonstrations are of images, and a run keeps its encoder
    eyes = flags_of(encoder=encoder, history=config.history, past_actions=config.past_actions)
    say(f"imitate it: {command('imitate', '--demos', flags.out, *eyes, *task_words(config.env, config.env_kwargs))}")
    return 0
