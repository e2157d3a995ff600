"""A run whose learner also learns in a model of its task: the socket of worlds, and dream against reality at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from genrl.errors import RunError, one_line
from genrl.files import load_state
from genrl.models.dynamics import Dynamics
from genrl.roles import WORLDS
from genrl.runs.config import DreamConfig, is_off_policy
from genrl.runs.directory import RunDirectory
from genrl.runs.environments import make_env
from genrl.runs.interrupt import terminable
from genrl.runs.pictures import draw_dream
from genrl.runs.play import trained
from genrl.runs.result import EVALUATION_INTERRUPTED
from genrl.runs.session import Session
from genrl.runs.sockets import Plug, Setting
from genrl.runs.step_limit import StepLimit
from genrl.runs.training import train
from genrl.transitions import Transitions
from genrl.worlds import DreamVecEnv, Imagination, Practice, Record, measure_quality

__all__ = ["compare", "dream", "world"]

JUDGED_EPISODES, LONGEST = 10, 1000
SEED = 20_000
"""Seed of the first episode in which dream and reality are compared; those of training and evaluation are others."""


def world(setting: Setting) -> Plug | None:
    """The model of the task, and the callback that lets the learner learn in it."""
    config, cls = setting.config, setting.classes.get("world")
    if cls is None or not isinstance(config, DreamConfig):
        return None
    common: dict[str, Any] = {"eta": config.eta, "stop_quantile": config.stop_quantile, "seed": config.seed}
    common |= {"fit": {"max_steps": config.fit_steps}, "every": config.dream_every, "name": "dream"}
    callback: Imagination | Practice
    try:
        model = _model(config, cls, setting.observation_space, setting.action_space)
        if is_off_policy(config.learner):
            rows = max(config.dreamed_steps // config.horizon, 1)  # type: ignore[operator]  # they have their defaults now
            start = max(config.dream_every, 250)  # type: ignore[type-var]
            callback = Imagination(model, config.share, start=start, branches=rows, horizon=config.horizon, **common)  # type: ignore[arg-type]
        else:
            callback = Practice(model, config.dreamed_steps, horizon=config.horizon, **common)  # type: ignore[arg-type]
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


def _model(config: DreamConfig, cls: type[Any], observation_space: Any, action_space: Any) -> Any:
    return cls(observation_space=observation_space, action_space=action_space, seed=config.seed, **config.world_kwargs)


def dream(config: DreamConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train a learner that also learns in a model of its task, as :func:`~genrl.runs.train`; then compare the dream with reality.

    Example:
        >>> from genrl.runs import DreamConfig, dream
        >>> result = dream(DreamConfig(env="Pendulum-v1", steps=2000), quiet=True)  # doctest: +SKIP
    """
    return compare(config.directory, train(config, quiet=quiet))


def compare(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Measure the model of a finished run on new episodes of its policy, into dream.json and dream.png; what fails is an
    ``evaluation_error`` of the result."""
    run = RunDirectory(path)
    content = run.read_json(run.config)
    stopped = EVALUATION_INTERRUPTED in (result["evaluation_error"] or "")
    if result["status"] != "finished" or stopped or WORLDS.is_empty(content.get("world")):
        return result
    about = content.pop("about", None)
    config = DreamConfig.from_dict(content)
    assert isinstance(config, DreamConfig)
    assert about is not None
    with run.writing():
        try:
            with terminable(), StepLimit(config.step_timeout), trained(run, config) as session:
                found = _compared(run, config, session)
            run.write_json(run.path / "dream.json", found)
            if config.pictures:
                draw_dream(run, found)
            result = result | {"dream": {name: found[name] for name in ("real_return", "dream_return")}}
        except KeyboardInterrupt:
            result = result | {"evaluation_error": "the comparison of dream and reality was interrupted"}
        except Exception as failure:
            result = result | {"evaluation_error": f"dream and reality could not be compared: {one_line(failure)}"}
        run.write_json(run.result, result)
    return result


def _compared(run: RunDirectory, config: DreamConfig, session: Session) -> dict[str, Any]:
    """Quality of the model on new episodes, and the return of each in reality and in the dream."""
    cls = WORLDS.load(config.world)
    assert cls is not None
    model: Dynamics = _model(config, cls, session.env.observation_space, session.env.action_space)
    model.load_state_dict(load_state(run.path / "world.safetensors"))
    env = session.eyes.wrap_one(make_env(config.env, config.env_kwargs))
    try:
        episodes = [_episode(session, env, SEED + index) for index in range(JUDGED_EPISODES)]
    finally:
        env.close()
    whole = [record.transitions() for record in episodes]
    test, reward = Transitions.concatenate([rows for rows, _ in whole]), torch.cat([reward for _, reward in whole])
    real = [float(reward.sum()) for _, reward in whole]
    dreamed = [_dreamed_return(session, model, rows) for rows, _ in whole]
    return {
        "quality": measure_quality(model, test, reward).to_dict(),
        "real_returns": real,
        "dream_returns": dreamed,
        "real_return": float(np.mean(real)),
        "dream_return": float(np.mean(dreamed)),
    }


def _act(session: Session, obs: np.ndarray) -> np.ndarray:
    normalize, space = session.normalize, session.env.action_space
    action, _ = session.learner.predict(normalize.normalize_obs(obs) if normalize is not None else obs, deterministic=True)
    return np.clip(action, space.low, space.high) if isinstance(space, gymnasium.spaces.Box) else action


def _episode(session: Session, env: gymnasium.Env[Any, Any], seed: int) -> Record:
    """One real episode of the trained policy."""
    record, (obs, _) = Record(), env.reset(seed=seed)
    for _ in range(LONGEST):
        action = _act(session, obs)
        next_obs, reward, terminated, truncated, _ = env.step(action if np.ndim(action) else action.item())
        row = (obs, action, next_obs, terminated, reward)
        record.add(*(np.asarray(value)[None] for value in row))
        obs = next_obs
        if terminated or truncated:
            break
    return record


def _dreamed_return(session: Session, model: Dynamics, rows: Transitions) -> float:
    """Mean return over the members of the policy in the dream, from the start of a real episode, for at most as long."""
    length = rows.batch_size
    env = DreamVecEnv(model, rows.rows(slice(1)), model.members, length + 1, margin=10.0)  # a bad dream shall show
    obs, alive, total = env.reset(), np.ones(model.members, dtype=bool), np.zeros(model.members)
    for _ in range(length):
        env.step_async(_act(session, obs))
        obs, reward, done, _ = env.step_wait()
        total += reward * alive
        alive &= ~done
    return float(total.mean())
