"""One run from its configuration to its result, and the rest of a run that was stopped."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from genrl.errors import RunError, command, one_line
from genrl.files import load_state, save_state
from genrl.runs.callbacks import CheckFinite, Checkpointer, Recorder, Restore
from genrl.runs.config import ExploreConfig, ImitateConfig, RunConfig
from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory
from genrl.runs.directory import about as _about
from genrl.runs.imitation import completed
from genrl.runs.interrupt import Interrupt
from genrl.runs.play import load_config
from genrl.runs.progress import Progress
from genrl.runs.result import (
    Ending,
    begin_imitation,
    check_same_demonstrations,
    finish_result,
    is_complete,
    trained_result,
    write_artefacts,
    write_result,
)
from genrl.runs.session import Session, build
from genrl.sb3.learner import close, log_the_rest, make_logger, parameters_are_finite

__all__ = ["explore", "imitate", "resume", "train"]


def explore(config: ExploreConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train a learner with an exploration bonus; as :func:`train`.

    Example:
        >>> from genrl.runs import ExploreConfig, explore
        >>> config = ExploreConfig(env="Pendulum-v1", learner="ppo", reward="none", steps=256, learner_kwargs={"n_steps": 128})
        >>> result = explore(config, quiet=True)  # doctest: +SKIP
    """
    return train(config, quiet=quiet)


def imitate(config: ImitateConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train a learner to do as demonstrations do; as :func:`train`.

    Example:
        >>> from genrl.runs import ImitateConfig, imitate
        >>> result = imitate(ImitateConfig(demos=Path("demos/halfcheetah.hdf5"), steps=1_000_000))  # doctest: +SKIP
    """
    return train(config, quiet=quiet)


def train(config: RunConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train ``config`` from its beginning in a new run directory.

    A failure while training (a NaN, a crashed environment) and an interrupt are results, not exceptions: look at ``status``. So is a
    failure of what follows, the evaluation and the pictures: look at ``evaluation_error``.

    Args:
        config: the run; ``config.threads`` becomes torch's number of threads in this process.
        quiet: no progress on stderr.

    Returns:
        The content of result.json.

    Raises:
        RunError: a run that can't be; nothing was trained and nothing written.
    """
    config = completed(config)
    run = RunDirectory(config.directory)
    run.check_new()
    torch.set_num_threads(config.threads)
    session = build(config)
    try:
        with Interrupt() as interrupt:  # before anything is written, so that a Ctrl-C leaves nothing behind or a run that goes on
            run.create()
            run.write_json(run.config, session.config.to_dict() | {"about": _about() | session.eyes.keep(run)})
            try:
                return _run(session, run, None, interrupt, quiet)
            except RunError:
                run.discard()
                raise
    finally:
        close(session.env)


def resume(
    path: str | Path,
    *,
    steps: int | None = None,
    demos: str | Path | None = None,
    device: str | None = None,
    imports: Collection[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Go on with a run from its last checkpoint to ``steps`` (by default those of its configuration).

    A run with all its steps, but without its whole result (the evaluation failed, or was stopped), is evaluated and drawn again.

    Exact: the environments live their running episodes again (see :mod:`genrl.runs.rewind`), and a run that was stopped gives what it would
    have given without, number by number. A task that does not repeat an episode from its seed and actions begins new ones, with a warning.

    Args:
        path: the run directory.
        steps: go on until this many environment steps.
        demos: where the demonstrations of an imitation are now, if they moved.
        device: where the learner is to compute from now on; by default as before.
        imports: modules that the run may import for a task, learner or reward of your own; a file alone imports nothing.
        quiet: no progress on stderr.

    Raises:
        RunError: there is no run, no checkpoint, nothing left to do, a module that is not among ``imports``, or other demonstrations than
            those that the run began with.
    """
    run = RunDirectory.open(path)
    config = load_config(run, imports)
    if steps is not None:
        config = replace(config, steps=steps)
    if device is not None:
        config = replace(config, device=device)
    if isinstance(config, ImitateConfig):
        config = replace(config, demos=_demonstrations(config, demos))
    elif demos is not None:
        raise RunError(f"{run.path} imitates nothing; leave --demos out")
    try:
        checkpoint = load_state(run.checkpoint)
        done = int(checkpoint["learner"]["counters"]["num_timesteps"])
    except FileNotFoundError as error:
        advice = f"delete it and start again with `genrl {config.command}`"
        raise RunError(f"{run.path} was stopped before its first checkpoint; {advice}") from error
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.checkpoint} is no checkpoint of a learner (it lacks {one_line(error)}); restore it from a copy") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    if done >= config.steps and is_complete(run, done, config.eval_episodes):
        raise RunError(f"{run.path} has all its {done:,} steps; go further with `{command('resume', run.path, '--steps', 2 * done)}`")
    torch.set_num_threads(config.threads)
    session = build(config)
    try:
        check_same_demonstrations(session, run)
        with Interrupt() as interrupt:
            if done < config.steps:
                run.truncate_episodes(done)
                run.truncate_progress(done)
                run.write_json(run.config, session.config.to_dict() | {"about": run.read_json(run.config).get("about")})
            return _run(session, run, checkpoint, interrupt, quiet)
    finally:
        close(session.env)


def _demonstrations(config: ImitateConfig, moved: str | Path | None) -> Path | None:
    demos = config.demos if moved is None else Path(moved)
    if demos is not None and not demos.exists():
        again = command("resume", config.directory, "--demos", "FILE")
        raise RunError(f"there are no demonstrations at {demos}; say where they are now: {again}")
    return demos


def _run(session: Session, run: RunDirectory, checkpoint: dict[str, Any] | None, interrupt: Interrupt, quiet: bool) -> dict[str, Any]:
    """Train what is left to train, then evaluate and draw."""
    config, learner = session.config, session.learner
    recorder = Recorder(run, Coverage(session.coverage_names) if session.coverage_names else None, session.observation_names)
    if checkpoint is None:
        recorder.spent(begin_imitation(session, run, interrupt))
    else:
        try:
            exact = session.load_state_dict(checkpoint)
            recorder.load_state_dict(checkpoint["recorder"])
        except Exception as error:  # whatever a part raises that is given the state of another one
            raise RunError(f"{run.path} can't go on from its {run.checkpoint.name}: {type(error).__name__}: {one_line(error)}") from error
        if not exact and learner.num_timesteps < config.steps:
            warnings.warn(f"{config.env} does not repeat an episode from its seed and actions, so new episodes begin here", stacklevel=2)
    started_at = learner.num_timesteps
    if started_at < config.steps:
        ending = _train(session, run, recorder, checkpoint, interrupt, quiet)
        result = write_result(session, run, recorder, ending, ending.steps - started_at)
    elif (known := trained_result(run, started_at)) is not None:
        result = known
    else:  # cloning alone, or stopped between the last checkpoint and its companions
        save_checkpoint(run, session, recorder)
        result = write_result(session, run, recorder, Ending("finished", started_at), 0)
    return finish_result(session, run, result, interrupt)


def _train(
    session: Session, run: RunDirectory, recorder: Recorder, checkpoint: dict[str, Any] | None, interrupt: Interrupt, quiet: bool
) -> Ending:
    """One ``learn``."""
    config, learner = session.config, session.learner
    started_at = learner.num_timesteps
    learner.set_logger(make_logger(run.path, run.progress, config.tensorboard))

    def save() -> None:
        save_checkpoint(run, session, recorder)

    progress = Progress(config, [plug.words for plug in session.plugs], quiet)
    checkpointer = Checkpointer(save, config.checkpoint_every, interrupt)
    restore = [Restore(partial(session.restore_draws, checkpoint))] if checkpoint is not None else []
    callbacks: list[BaseCallback] = [*restore, CheckFinite(), *session.callbacks, recorder, progress, checkpointer]
    try:
        learner.learn(config.steps - started_at, callback=callbacks, reset_num_timesteps=checkpoint is None)
        log_the_rest(learner)
        if checkpointer.stopped:
            return Ending("interrupted", checkpointer.saved_step)
        save()
    except Exception as failure:
        if isinstance(failure, ValueError) and not checkpointer.started:
            raise RunError(one_line(failure)) from failure  # a part that refuses the others when it sees them
        return Ending("failed", learner.num_timesteps, *_explain(failure, session))
    finally:
        progress.stop()
    return Ending("finished", learner.num_timesteps)


def save_checkpoint(run: RunDirectory, session: Session, recorder: Recorder) -> None:
    """The state as one file, written whole; then, for use without genrl's resume, the model and its companions.

    Raises:
        FloatingPointError: the learner has diverged, so that its state is not worth keeping.
    """
    learner = session.learner
    if not parameters_are_finite(learner):
        raise FloatingPointError(f"the parameters of {type(learner).__name__} became NaN or infinite before step {learner.num_timesteps}")
    state = session.state_dict()
    save_state(run.checkpoint, state | {"recorder": recorder.state_dict()})
    write_artefacts(session, run, recorder, state)


def _explain(failure: Exception, session: Session) -> tuple[str, bool]:
    """What stopped the training, in one sentence, and whether it was a NaN."""
    step = session.learner.num_timesteps
    if isinstance(failure, FloatingPointError):
        return one_line(failure), True
    if isinstance(failure, EOFError | BrokenPipeError | ConnectionResetError):
        return f"the process of an environment died at step {step}; run with --no-subproc to see why", False
    if not parameters_are_finite(session.learner):
        return f"the parameters of {type(session.learner).__name__} became NaN or infinite at step {step}", True
    return f"{type(failure).__name__} at step {step}: {one_line(failure)}", False
