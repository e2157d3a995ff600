"""`genrl screen --env TASK`: how far action noise alone gets, before any learner is trained."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrl.cli._flags import env_words, parse, split_env, task_words
from genrl.cli._words import say
from genrl.errors import RunError, command

if TYPE_CHECKING:
    from genrl.data import Demonstrations
    from genrl.runs.screening.noise import Reach

__all__ = ["main"]

WIDTH = 110
"""Columns of the table where the terminal has fewer: rather broken lines than broken words."""


@dataclass(frozen=True)
class Screen:
    """Act on a task by noise alone and say how far each noise gets: does the task need curiosity, or only noise that is correlated?"""

    env: str = "genrl/SparseMountainCar-v0"
    """Any registered Gymnasium task with continuous actions. `module:Id-v0` imports the module that registers it first."""
    steps: int = 20_000
    """Environment steps for each noise."""
    noises: tuple[str, ...] = ("white", "held-8", "held-16", "held-32", "pink", "gsde-16")
    """`white` is drawn anew at every step, `held-8` is held for 8 steps (or any other number), `pink` is a sequence for each episode,
    `gsde-16` is a function of the state that is drawn anew every 16 steps (or any other number), as by a fresh policy with gSDE."""
    std: float = 1.0
    """Standard deviation of the noise, for actions scaled to [-1, 1]. The default is what a fresh policy of PPO has on a task whose actions
    go from -1 to 1; where they go to 0.4, 2.5 is."""
    seed: int = 0
    """Seed of the noise and of the task."""
    coverage: tuple[str, str] | None = None
    """Two quantities whose visited area is counted: names of observations, indices, or keys of `info`. By default the task chooses."""
    step_timeout: float | None = None
    """Seconds that a step or a reset of the task may take. By default it is waited for."""
    archive: Path | None = None
    """Also explore by an archive of places, which are gone back to by living their actions again, and left by noise; write the episodes in
    which it found a reward into this new file of demonstrations (.hdf5 or .npz). For tasks that repeat after a reset with a seed."""
    archive_starts: int = 1
    """Starts of the task, by as many seeds from --seed on, among which the archive's steps are divided. What it finds from one is a way
    from there; ways from ten are what a policy for all starts can be made of."""
    out: Path | None = None
    """Also write the numbers into this JSON file, which must be new."""


def main(argv: list[str]) -> int:
    """Parse, act, show a table and what to do next."""
    argv, env_kwargs = split_env(argv)
    flags = parse(Screen, argv, "genrl screen", f"{Screen.__doc__}\n\nKeywords of the task itself: --env.NAME VALUE.")
    _check(flags)
    from genrl.files import write_together
    from genrl.runs.environments.step_limit import StepLimit

    options: dict[str, Any] = {"std": flags.std, "seed": flags.seed, "env_kwargs": env_kwargs, "coverage": flags.coverage}
    with StepLimit(flags.step_timeout):
        reached, found = _reached(flags, options)
    _show(flags.env, reached)
    if flags.out is not None:
        content = {"env": flags.env, "steps": flags.steps, **options, "noises": {name: asdict(reach) for name, reach in reached.items()}}
        write_together({flags.out: (json.dumps(content, indent=1) + "\n").encode()})
    archived = reached.pop("archive", None)
    if found is not None:
        found.save(str(flags.archive))
        say(f"the archive found a reward; a policy from its episodes: {_imitate(flags, env_kwargs)}")
    elif archived is not None:
        say(f"the archive found no reward, so {flags.archive} was not written")
    if found is None or any(reach.rewarded_episodes for reach in reached.values()):  # a noise that gets there costs less than an archive
        say(_advice(command("explore", "--env", flags.env, *env_words(env_kwargs)), reached))
    return 0


def _check(flags: Screen) -> None:
    """Refuse what can be refused before any noise is tried."""
    from genrl.files import check_new

    if flags.archive_starts < 1:
        raise RunError(f"--archive-starts is {flags.archive_starts}, but must be at least 1")
    if flags.archive_starts > 1 and flags.archive is None:
        raise RunError("--archive-starts was given, but there is no archive; add --archive FILE")
    if flags.archive_starts > max(1, flags.steps):
        raise RunError(f"--archive-starts is {flags.archive_starts}, but must be at most --steps {flags.steps}, one step for each start")
    for file in filter(None, (flags.out, flags.archive)):
        check_new(file)
    if flags.archive is None:
        return
    if flags.out is not None and flags.out.resolve() == flags.archive.resolve():
        raise RunError(f"--out and --archive are both {flags.out}; give each a file of its own")
    from genrl.data import DemonstrationError, Demonstrations

    try:
        Demonstrations.check_path(flags.archive)
    except DemonstrationError as error:
        raise RunError(f"--archive: {error}") from error


def _reached(flags: Screen, options: Mapping[str, Any]) -> tuple[dict[str, Reach], Demonstrations | None]:
    """How far each noise gets, and the archive if there is one; the rewarded episodes that the archive found.

    Raises:
        RunError: the task can't be screened, or the archive fails on it, after a table of the noises.
    """
    from genrl.runs.screening.archive import check_task, explore_by_archive
    from genrl.runs.screening.noise import screen

    if flags.archive is not None:
        check_task(flags.env, options["env_kwargs"], flags.coverage)
    say(f"{flags.env}: {flags.steps:,} steps of each of {', '.join(flags.noises)}", sys.stderr)
    reached = screen(flags.env, flags.steps, flags.noises, **options)
    if flags.archive is None:
        return reached, None
    try:
        reached["archive"], found = explore_by_archive(flags.env, flags.steps, starts=flags.archive_starts, **options)
    except RunError:
        _show(flags.env, reached)
        raise
    return reached, found


def _imitate(flags: Screen, env_kwargs: Mapping[str, Any]) -> str:
    """What makes a policy of the episodes: the task's reward, and starts all along them, from which it is soon met."""
    task = task_words(flags.env, env_kwargs)
    return command("imitate", "--demos", flags.archive, *task, "--reward", "none", "--demonstrated-starts", 0.5)


def _show(env: str, reached: Mapping[str, Reach]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from genrl.runs.coverage import axis_name

    console = Console()
    console.width = max(console.width, WIDTH)
    first = next(iter(reached.values()))
    table = Table(title=escape(f"{env}, {first.steps:,} steps of each noise"), box=None, padding=(0, 2, 0, 0), title_justify="left")
    names = [axis_name(name) for name in first.ranges]
    progress = ["furthest"] if first.best_progress is not None else []
    for name in ("noise", "rewarded", "first at", "best return", *progress, *names, "visited bins"):
        table.add_column(name, justify="left" if name == "noise" else "right", no_wrap=True)
    for noise, reach in reached.items():
        table.add_row(
            noise,
            f"{reach.rewarded_episodes} of {reach.episodes}",
            "–" if reach.first_reward is None else f"{reach.first_reward:,}",
            f"{reach.best_return:.4g}",
            *([f"{reach.best_progress:.3g}"] if progress else []),
            *(f"{low:.3g} … {high:.3g}" for low, high in reach.ranges.values()),
            f"{reach.visited:,}",
        )
    console.print(table)


def _advice(explore: str, reached: Mapping[str, Reach]) -> str:
    best = max(reached, key=lambda noise: reached[noise].rewarded_episodes / reached[noise].episodes)
    share = reached[best].rewarded_episodes / reached[best].episodes
    if share == 0:
        charged = any(reach.best_return < 0 for reach in reached.values())
        alone = (
            f"rewards were below 0: where they lead to the goal, a learner alone may do: {explore} --reward none; where they only charge"
        )
        return f"no noise was rewarded above 0; {f'{alone} for acting, ' if charged else ''}try a bonus: {explore}"
    noise = _flags(best, reached[best].policy_std)
    said = f"{best} is rewarded in {share:.0%} of its episodes"
    if not reached[best].about_zero:
        said += (
            ", about the middle of the actions, but a fresh policy acts about 0, so screen the task again in a "
            "gymnasium.wrappers.RescaleAction(env, -1, 1)"
        )
    return f"{said}; try it before a bonus: {explore} --reward none {noise}"


def _flags(noise: str, std: float | None) -> str:
    """What gives a policy of PPO the noise that was screened; a fresh one's standard deviation is 1 in the task's units."""
    if std is not None and math.isclose(std, 1, rel_tol=1e-6):  # bounds are float32
        std = None
    if noise.startswith("held-") or noise == "pink":
        return f"--noise {noise}" + ("" if std is None else f" --noise-std {std:.3g}")
    own = "--noise own"
    if noise.startswith("gsde-"):
        own = f"--normalize-obs --learner.use-sde --learner.sde-sample-freq {noise.removeprefix('gsde-')}"
    return own + ("" if std is None else f" --learner.log-std-init {math.log(std):.3g}")
