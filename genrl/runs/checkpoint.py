"""The checkpoint of a run: written while it trains, read when it goes on."""

from __future__ import annotations

import warnings
from typing import Any

from genrl.errors import RunError, one_line
from genrl.files import load_state, save_state
from genrl.reading import read_json
from genrl.runs.callbacks.recorder import Recorder
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.result import is_complete, write_artefacts
from genrl.runs.session import Session
from genrl.sb3.learner import parameters_are_finite
from genrl.sb3.log import RunLogger

__all__ = ["keep_rows", "last_checkpoint", "load_checkpoint", "save_checkpoint"]


def save_checkpoint(run: RunDirectory, session: Session, recorder: Recorder, log: RunLogger) -> None:
    """The state as one file, written whole; then, for use without genrl's resume, the model and its companions.

    The rows that it counts are on the disk before it is.

    Raises:
        FloatingPointError: the learner has diverged, so that its state is not worth keeping.
    """
    learner = session.learner
    if not parameters_are_finite(learner):
        raise FloatingPointError(f"the parameters of {type(learner).__name__} became NaN or infinite before step {learner.num_timesteps}")
    state, recorded = session.state_dict(), recorder.state_dict() | {"log": log.state_dict()}
    run.sync()
    save_state(run.checkpoint, state | {"recorder": recorded})
    recorder.saved = learner.num_timesteps, recorded
    write_artefacts(session, run, recorder, state)


def last_checkpoint(run: RunDirectory, config: RunConfig) -> dict[str, Any] | None:
    """The state that ``save_checkpoint`` wrote last; ``None`` for a run that has done nothing yet, so that it can begin again.

    Raises:
        RunError: the checkpoint is missing or broken, or the run has all its steps and its whole result.
    """
    try:
        if run.checkpoint.is_file():
            run.checkpoint.open("rb").close()  # safetensors does not say why it can't open a file
        checkpoint = load_state(run.checkpoint)
        done = int(checkpoint["learner"]["counters"]["num_timesteps"])
    except FileNotFoundError as error:
        if run.nothing_is_done() and "about" in read_json(run.config):  # a configuration that a run wrote down, whole
            return None
        advice = f"restore {run.checkpoint.name} from a copy, or delete the run and start again with `genrl {config.command}`"
        raise RunError(f"{run.path} was stopped before its first checkpoint, or has lost it; {advice}") from error
    except OSError as error:
        raise RunError(f"{run.checkpoint} can't be opened ({error.strerror}); see whose file it is and what it permits") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    except (KeyError, TypeError, IndexError) as error:
        raise RunError(f"{run.checkpoint} is no checkpoint of a learner (it lacks {one_line(error)}); restore it from a copy") from error
    if done >= config.steps and is_complete(run, done, config):
        further = config.typed("resume", "--steps", 2 * done or type(config)(learner=config.learner).steps)  # of cloning alone: the default
        raise RunError(f"{run.path} has all its {done:,} steps; go further with `{further}`")
    return checkpoint


def load_checkpoint(session: Session, run: RunDirectory, recorder: Recorder, checkpoint: dict[str, Any]) -> None:
    """Put the session and the recorder into the state of a checkpoint; a warning tells where new episodes begin.

    Raises:
        RunError: it is the checkpoint of another run, such as one with another learner.
    """
    try:
        exact = session.load_state_dict(checkpoint)
        recorder.load_state_dict(checkpoint["recorder"])
        recorder.saved = session.learner.num_timesteps, checkpoint["recorder"]
    except Exception as error:  # whatever a part raises that is given the state of another one
        raise RunError(f"{run.path} can't go on from its {run.checkpoint.name}: {type(error).__name__}: {one_line(error)}") from error
    if not exact and 0 < session.learner.num_timesteps < session.config.steps:
        words = "does not repeat an episode from its seed and actions, so new episodes begin here"
        warnings.warn(f"{session.config.env} {words}", stacklevel=3)


def keep_rows(run: RunDirectory, state: dict[str, Any]) -> None:
    """Cut the two CSV files to the rows that a recorder's saved state has counted."""
    run.keep_rows(run.episodes, state["episodes"])
    run.keep_rows(run.progress, state["log"]["rows"])
