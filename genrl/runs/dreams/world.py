"""The socket of worlds: the model of a run's task, and the callback that lets the learner learn in it."""

from __future__ import annotations

from typing import Any

from genrl.errors import RunError, one_line
from genrl.files import load_state
from genrl.models.dynamics import Dynamics
from genrl.roles import WORLDS
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.run import is_off_policy
from genrl.runs.directory import RunDirectory
from genrl.runs.dreams.offline import Offline, recorded_steps
from genrl.runs.session import Session
from genrl.runs.sockets import Plug, Setting
from genrl.worlds import Imagination, Practice

__all__ = ["kept_model", "world"]


def world(setting: Setting) -> Plug | None:
    """The model of the task, and the callback that lets the learner learn in it."""
    config, cls = setting.config, setting.classes.get("world")
    if cls is None or not isinstance(config, DreamConfig):
        return None
    common: dict[str, Any] = {"eta": config.eta, "stop_quantile": config.stop_quantile, "seed": config.seed}
    common |= {"fit": {"max_steps": config.fit_steps}}
    callback: Imagination | Practice
    try:
        model = _model(config, cls, setting.observation_space, setting.action_space)
        if model.members == 1 and (config.eta or config.stop_quantile is not None) and ":" not in config.world:
            given, cure = (f"--eta {config.eta:g}", "type --eta 0") if config.eta else ("--stop-quantile", "leave it out")
            raise ValueError(f"{given} needs members that can disagree, but there is one; give more by --world.members, or {cure}")
        if config.demos is not None:
            return _offline(setting, model, common)
        common |= {"every": config.dream_every, "name": "dream"}
        if is_off_policy(config.learner):
            rows = max(config.dreamed_steps // config.horizon, 1)  # type: ignore[operator]  # they have their defaults now
            start = max(config.dream_every, 250)  # type: ignore[type-var]
            callback = Imagination(model, config.share, start=start, branches=rows, horizon=config.horizon, **common)  # type: ignore[arg-type]
        else:
            common |= {"n_envs": config.rows, "batch_size": config.dream_batch, "margin": config.margin}
            callback = Practice(model, config.dreamed_steps, horizon=config.horizon, **common)  # type: ignore[arg-type]
    except RunError:
        raise
    except ValueError as error:
        raise RunError(f"--world {config.world} on {config.env}: {one_line(error)}") from error
    return Plug(
        "world",
        [callback],
        callback,
        check=callback.check,
        files=lambda: {"world.safetensors": model.state_dict()},
        words=lambda: f"model skill {callback.report.skill:.3g}" if callback.report else "",
    )


def _offline(setting: Setting, model: Dynamics, common: dict[str, Any]) -> Plug:
    """The dream of recorded steps that takes the place of the environments."""
    config = setting.config
    assert isinstance(config, DreamConfig)
    rows, reward = recorded_steps(config, setting.env)
    found = Offline(model, rows, reward, n_envs=config.n_envs, horizon=config.horizon, margin=config.margin, **common)
    return Plug(
        "world",
        state=found,
        task=found.make,
        files=lambda: {"world.safetensors": model.state_dict()},
        words=lambda: f"model skill {found.report.skill:.3g}",
    )


def _model(config: DreamConfig, cls: type[Any], observation_space: Any, action_space: Any) -> Any:
    return cls(observation_space=observation_space, action_space=action_space, seed=config.seed, **config.world_kwargs)


def kept_model(run: RunDirectory, config: DreamConfig, session: Session) -> Dynamics:
    """The model of a run as it was saved last."""
    cls = WORLDS.load(config.world)
    assert cls is not None
    model: Dynamics = _model(config, cls, session.env.observation_space, session.env.action_space)
    model.load_state_dict(load_state(run.path / "world.safetensors"))
    return model
