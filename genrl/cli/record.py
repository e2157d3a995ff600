"""`genrl record --run RUN --out FILE`: demonstrations by the trained policy of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genrl.cli._flags import parse
from genrl.cli._words import say
from genrl.errors import RunError, command

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
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, record, say what there is."""
    flags = parse(RecordFlags, argv, "genrl record")
    if flags.episodes < 1:
        raise RunError(f"--episodes is {flags.episodes}, but must be at least 1")
    from genrl.runs import record

    made = record(flags.run, flags.out, episodes=flags.episodes, stochastic=flags.stochastic, seed=flags.seed, imports=flags.imports)
    say(str(made))
    say(f"imitate it: {command('imitate', '--demos', flags.out)}")
    return 0
