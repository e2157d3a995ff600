"""A run that exists, opened for use: its configuration, the model that is asked for, and its trained learner."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from genrl.errors import RunError
from genrl.files import load_state
from genrl.reading import read_json
from genrl.roles import NONE, ROLES
from genrl.runs.building import build
from genrl.runs.config.base import is_there
from genrl.runs.config.commands import config_from
from genrl.runs.config.run import ExploreConfig, RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.session import Session
from genrl.runs.vision import kept_encoder
from genrl.sb3.learner import load_parameters
from genrl.sb3.state import load_vecnormalize_state

__all__ = ["for_one_environment", "load_config", "read_config", "trained", "with_model"]


def load_config(run: RunDirectory, imports: Collection[str] = ()) -> RunConfig:
    """The resolved configuration of an existing run, wherever its directory is now.

    Raises:
        RunError: it is of a generative model, or it names a module that is not among ``imports``: a file that somebody sent must not
            decide what is imported.
    """
    config, about = _read(run)
    try:
        config.check_imports(imports)
    except RunError as error:
        raise RunError(f"{run.config} says {error}") from error
    return kept_encoder(config, run, about)


def read_config(run: RunDirectory) -> RunConfig:
    """What config.json says, of a run that somebody has already allowed to be used; :func:`load_config` asks whether it is.

    Raises:
        RunError: it is of a generative model, or no configuration.
    """
    return _read(run)[0]


def _read(run: RunDirectory) -> tuple[RunConfig, dict[str, Any]]:
    values = read_json(run.config)
    about = values.pop("about", {})
    if values.get("command") == "generate":
        raise RunError(f"{run.path} is the run of a generative model, which has no learner and no policy; look at its pictures")
    return replace(config_from(values), out=run.path), about


def with_model(run: RunDirectory, config: RunConfig, best: bool = False, average: bool = False) -> RunDirectory:
    """The run with the model that is asked for: its last one, its best one, or the mean of its last policies.

    Raises:
        RunError: it has none yet, or two were asked for.
    """
    if best and average:
        raise RunError("the best policy and the average of the last ones were asked for; leave out --best or --average")
    share, every, again = getattr(config, "average", 0.0), config.eval_every, config.typed("resume")
    trains = run.model.suffix == ".zip"  # one from the hub does not
    if average and share and trains and not run.average.is_file():
        since = int((1 - share) * config.steps)
        raise RunError(f"{run.path} has no {run.average.name} yet, which begins at step {since:,}; let it train, or go on with `{again}`")
    if best and every is not None and trains and not run.best.is_file():
        raise RunError(f"{run.path} has no {run.best.name} yet, which begins at step {every:,}; let it train, or go on with `{again}`")
    if best:
        return run.with_best()
    if average:
        return run.with_average()
    if not run.model.is_file():
        raise RunError(f"{run.path} has no {run.model.name} yet; let it train for a moment, or go on with `{again}`")
    return run


def for_one_environment(config: RunConfig) -> dict[str, Any]:
    """Fields of ``config`` to replace for a look at its policy, by name: one environment, a device that is here, hardly any replay memory.

    The one environment makes rollouts as long as those of all environments together were, so that minibatches still divide them.
    """
    kwargs = config.learner_kwargs
    changed = {}
    if "buffer_size" in kwargs:
        changed = {"buffer_size": 1}
    elif "n_steps" in kwargs:
        changed = {"n_steps": kwargs["n_steps"] * config.n_envs}
    return {
        "n_envs": 1,
        "subproc": False,
        "steps": max(1, config.steps),
        "device": config.device if is_there(config.device) else "cpu",
        "learner_kwargs": {**kwargs, **changed},
    }


@contextmanager
def trained(run: RunDirectory, config: RunConfig) -> Iterator[Session]:
    """The trained learner of a run and its normalisation, on one environment and without its reward; only tensors are loaded.

    Args:
        run: names the model file, see :func:`with_model`.
        config: the run's configuration, from :func:`load_config`.
    """
    changes = for_one_environment(config)
    for role in (ROLES[name] for name in ExploreConfig.roles):
        changes |= {role.name: NONE, f"{role.name}_kwargs": {}} if role.optional else {}
    session = build(ExploreConfig(**{name: getattr(config, name) for name in ExploreConfig.fields()} | changes))
    try:
        load_parameters(session.learner, run.model)
        if session.normalize is not None:
            load_vecnormalize_state(session.normalize, load_state(run.vecnormalize))
        yield session
    finally:
        session.env.close()
