"""One run from its configuration to its result, and the rest of a run that was stopped."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from genrl.errors import RunError, StepTimeout, one_line
from genrl.files import write_json
from genrl.reading import find_demonstrations, read_json
from genrl.runs.building import build, warn_of_idleness
from genrl.runs.callbacks.checkpoints import Checkpointer, Restore
from genrl.runs.callbacks.evaluations import with_evaluations
from genrl.runs.callbacks.finite import CheckFinite
from genrl.runs.callbacks.progress import Progress
from genrl.runs.callbacks.recorder import Recorder
from genrl.runs.callbacks.tracking import check_tracker, trackers
from genrl.runs.checkpoint import keep_rows, last_checkpoint, load_checkpoint, save_checkpoint
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import ExploreConfig, RunConfig
from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory
from genrl.runs.directory import about as _about
from genrl.runs.environments.step_limit import StepLimit
from genrl.runs.imitation.demonstrations import with_task
from genrl.runs.interrupt import Interrupt
from genrl.runs.opening import load_config
from genrl.runs.result import (
    Ending,
    begin_imitation,
    check_same_demonstrations,
    evaluate_clone,
    finish_result,
    trained_result,
    write_result,
)
from genrl.runs.session import Session
from genrl.sb3.learner import close, parameters_are_finite
from genrl.sb3.log import RunLogger, log_the_rest

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
        RunError: the run is not possible; nothing was trained and nothing was written.
    """
    config = with_task(config)
    run = RunDirectory(config.directory)
    run.check_new(config.imports)
    check_tracker(config)
    torch.set_num_threads(config.threads)
    with StepLimit(config.step_timeout, config.n_envs) as limit:
        session, interrupt = with_evaluations(build(config), run), Interrupt()
        warn_of_idleness(session)
        try:
            session.config.to_dict()  # refuses what no file brings back, before there is a folder
            with interrupt, run.writing():  # before anything is written, so that a Ctrl-C leaves nothing behind or a run that goes on
                run.check_new(config.imports)  # another process may have begun one in the meantime
                run.discard()
                try:
                    write_json(run.config, session.config.to_dict() | {"about": _about() | session.eyes.keep(run)})
                    return _Training(session, run, None, interrupt, quiet).go()
                except (Exception, KeyboardInterrupt) as error:
                    refused = isinstance(error, RunError) and not run.checkpoint.is_file()
                    if refused or not run.config.is_file():  # or stopped before there was a run
                        run.discard()
                    raise
        finally:
            close(session.env, interrupt.impatient or limit.passed)


def resume(
    path: str | Path,
    *,
    steps: int | None = None,
    demos: str | Path | None = None,
    device: str | None = None,
    step_timeout: float | None = None,
    imports: Collection[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Go on with a run from its last checkpoint to ``steps`` (by default those of its configuration).

    A run with all its steps, but without its whole result (the evaluation failed, or was stopped), is evaluated and drawn again.

    This is exact: a run that was stopped gives the same numbers as one that was not. The environments repeat their running episodes from
    the seed and the actions (see :mod:`genrl.runs.environments.rewind`); a task that does not repeat begins new ones, with a warning.
    Everything is loaded before anything in the directory is changed. A run that was stopped before its first checkpoint begins again.

    Args:
        path: the run directory.
        steps: go on until this many environment steps.
        demos: where the demonstrations of an imitation are now, if they moved.
        device: where the learner is to compute from now on; by default as before.
        step_timeout: seconds that a step of an environment may take from now on; by default as before.
        imports: modules that the run may import for a task, learner or reward of your own; a file alone imports nothing.
        quiet: no progress on stderr.

    Raises:
        RunError: there is no run, no checkpoint or one that does not fit, nothing left to do, another process that writes to it, a module
            that is not among ``imports``, or other demonstrations than those that the run began with.
    """
    run = RunDirectory.open(path)
    asked = {"steps": steps, "device": device, "step_timeout": step_timeout}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    known = load_config(run, imports)
    if isinstance(known, ImitateConfig) and not known.steps:
        changes["critic_warmup"] = known.critic_warmup or None  # the default, which is another one where cloning is not all
    config = _as_asked(run, replace(known, **changes), demos)
    check_tracker(config)
    with run.writing(), StepLimit(config.step_timeout, config.n_envs) as limit:
        checkpoint = last_checkpoint(run, config)
        torch.set_num_threads(config.threads)
        session, interrupt = with_evaluations(build(config), run), Interrupt()
        try:
            check_same_demonstrations(session, run)
            with interrupt:
                return _Training(session, run, checkpoint, interrupt, quiet).go()
        finally:
            close(session.env, interrupt.impatient or limit.passed)


def _as_asked(run: RunDirectory, config: RunConfig, demos: str | Path | None) -> RunConfig:
    """The configuration of the rest of a run, whose demonstrations may have moved."""
    if isinstance(config, ImitateConfig | DreamConfig) and (isinstance(config, ImitateConfig) or config.demos is not None):
        config = replace(config, demos=_demonstrations(config, demos))
    elif demos is not None:
        raise RunError(f"{run.path} imitates nothing; leave --demos out")
    return config


def _demonstrations(config: ImitateConfig | DreamConfig, moved: str | Path | None) -> Path | None:
    demos = config.demos if moved is None else Path(moved)
    if demos is not None and not find_demonstrations(demos).exists():
        again = config.typed("resume", "--demos", "FILE")
        raise RunError(f"there are no demonstrations at {demos}; say where they are now: {again}")
    return demos


class _Training:
    """What is left of a run: trained from a checkpoint on, or from the beginning where there is none, then evaluated and drawn."""

    def __init__(self, session: Session, run: RunDirectory, checkpoint: dict[str, Any] | None, interrupt: Interrupt, quiet: bool) -> None:
        self.session, self.run, self.checkpoint, self.interrupt, self.quiet = session, run, checkpoint, interrupt, quiet
        coverage = Coverage(session.coverage_names) if session.coverage_names else None
        self.recorder = Recorder(run, coverage, session.observation_names)

    def go(self) -> dict[str, Any]:
        """Train what is left to train, then evaluate and draw. All that is there is loaded before the directory is touched."""
        try:
            self._begin()
            result = self._trained()
        except KeyboardInterrupt:
            if not self.interrupt.impatient:
                raise
            return self._stopped_now("interrupted")
        except StepTimeout as failure:  # before the training: in the evaluation of a cloned policy
            return self._stopped_now("failed", one_line(failure))
        return finish_result(self.session, self.run, result, self.interrupt)

    def _begin(self) -> None:
        session, run, checkpoint = self.session, self.run, self.checkpoint
        if checkpoint is None:
            run.create()
            if session.choice and not self.quiet:
                print(session.choice, file=sys.stderr, flush=True)
            self.recorder.spent(begin_imitation(session, run, self.interrupt))
        else:
            load_checkpoint(session, run, self.recorder, checkpoint)
            keep_rows(run, checkpoint["recorder"])
            write_json(run.config, session.config.to_dict() | {"about": read_json(run.config).get("about")})
            evaluate_clone(session, run, self.interrupt)

    def _trained(self) -> dict[str, Any]:
        """The result of the training, before anything is evaluated."""
        started_at = self.session.learner.num_timesteps
        if started_at < self.session.config.steps:
            ending = self._train()
            return write_result(self.session, self.run, self.recorder, ending, ending.steps - started_at)
        if (known := trained_result(self.run, started_at)) is not None:
            return known
        # Cloning alone, or stopped between the last checkpoint and its companions.
        log = RunLogger(self.run.path, self.run.progress)
        if self.checkpoint is not None:
            log.load_state_dict(self.checkpoint["recorder"]["log"])
        save_checkpoint(self.run, self.session, self.recorder, log)
        return write_result(self.session, self.run, self.recorder, Ending("finished", started_at), 0)

    def _stopped_now(self, status: str, error: str | None = None) -> dict[str, Any]:
        """The result of a run that can't wait for the next checkpoint: what the last one holds."""
        step = 0
        if self.recorder.saved is not None:
            step, state = self.recorder.saved
            self.recorder.load_state_dict(state)
            keep_rows(self.run, state)
        return write_result(self.session, self.run, self.recorder, Ending(status, step, error), 0)

    def _train(self) -> Ending:
        """One ``learn``."""
        session, config, learner = self.session, self.session.config, self.session.learner
        started_at = learner.num_timesteps
        log = RunLogger(self.run.path, self.run.progress, config.tensorboard, trackers(config, self.run))
        learner.set_logger(log)

        def save() -> None:
            save_checkpoint(self.run, session, self.recorder, log)

        def restore() -> None:
            if self.checkpoint is not None:
                session.restore_draws(self.checkpoint)
                log.load_state_dict(self.checkpoint["recorder"]["log"])

        progress = Progress(config, [plug.words for plug in session.plugs], self.quiet)
        checkpointer = Checkpointer(save, config.checkpoint_every, self.interrupt)
        callbacks: list[BaseCallback] = [Restore(restore), CheckFinite(), *session.callbacks, self.recorder, progress, checkpointer]
        try:
            learner.learn(config.steps - started_at, callback=callbacks, reset_num_timesteps=self.checkpoint is None)
            if checkpointer.stopped:
                return Ending("interrupted", checkpointer.saved_step)
            log_the_rest(learner)
            save()
        except Exception as failure:
            if isinstance(failure, ValueError) and not checkpointer.started:
                raise RunError(one_line(failure)) from failure  # a part that refuses the others when it sees them
            return Ending("failed", learner.num_timesteps, *_explain(failure, session))
        finally:
            progress.stop()
            log.close()
        return Ending("finished", learner.num_timesteps)


def _explain(failure: Exception, session: Session) -> tuple[str, bool]:
    """What stopped the training, in one sentence, and whether it was a NaN."""
    step = session.learner.num_timesteps
    if isinstance(failure, FloatingPointError):
        return one_line(failure), True
    if isinstance(failure, EOFError | BrokenPipeError | ConnectionResetError):
        return f"the process of an environment died at step {step}; run with --no-subproc to see why", False
    if isinstance(failure, StepTimeout):
        return f"{one_line(failure)}, at step {step}", False
    if not parameters_are_finite(session.learner):
        return f"the parameters of {type(session.learner).__name__} became NaN or infinite at step {step}", True
    return f"{type(failure).__name__} at step {step}: {one_line(failure)}", False
