"""`genrl watch RUN`: film the trained policy of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import check_seed, parse
from genrl.cli._words import say

__all__ = ["main"]


@dataclass(frozen=True)
class WatchFlags:
    """Film the trained policy of a run into RUN/watch.mp4 and RUN/watch.gif, or show it in a window."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    live: bool = False
    """Show it in a window, on a machine with a display, instead of filming it; --fps and --size have no say."""
    episodes: int = 1
    """Episodes, at most."""
    steps: int = 1000
    """Environment steps in all, at most; each is a frame."""
    fps: int = 30
    """Frames a second."""
    size: int = 480
    """Width of the film in pixels; the GIF is smaller."""
    stochastic: bool = False
    """Draw actions as in training, instead of taking the most likely ones; not beside a dream."""
    seed: int = 20_000
    """Seed of the first episode."""
    dream: bool = False
    """Show the model of a run of `genrl dream` beside reality, from the same starts, in RUN/watch-dream.mp4 and RUN/watch-dream.gif."""
    step_timeout: float | None = None
    """Seconds that a step or a reset of the task may take. By default it is waited for."""
    best: bool = False
    """Film the policy of the best evaluation, of a run with --eval-every, instead of the last one, into RUN/watch-best.mp4 and .gif."""
    average: bool = False
    """Film the mean of the last policies, of an imitation with --average, instead of the last one, into RUN/watch-average.mp4 and .gif."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run may import, where its task, learner or reward is a `module:Name`."""


def main(argv: list[str]) -> int:
    """Parse, film, say where it is."""
    flags = parse(WatchFlags, argv, "genrl watch")
    from genrl.errors import RunError
    from genrl.runs.environments.step_limit import StepLimit
    from genrl.runs.uses.watch import watch, watch_live

    for name in ("episodes", "steps", "fps", "size"):
        if getattr(flags, name) < (16 if name == "size" else 1):
            raise RunError(f"--{name} is {getattr(flags, name)}, but must be at least {16 if name == 'size' else 1}")
    check_seed(flags.seed)
    if flags.live and flags.dream:
        raise RunError("--live and --dream were given, but reality and the dream are filmed side by side; leave one of them out")
    settings = {name: getattr(flags, name) for name in ("episodes", "steps", "stochastic", "seed", "best", "average", "imports")}
    with StepLimit(flags.step_timeout):
        if flags.live:
            say(f"return {_numbers(watch_live(flags.run, **settings))}")
            return 0
        film = watch(flags.run, fps=flags.fps, size=flags.size, dream=flags.dream, quiet=False, **settings)
    say(f"{film.frames} frames, return {_numbers(film.returns)}: {' and '.join(str(path) for path in film.paths)}")
    return 0


def _numbers(returns: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in returns)
