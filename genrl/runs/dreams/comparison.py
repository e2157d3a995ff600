"""`genrl dream`: train a learner that also learns in a model of its task, then compare the dream with reality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from genrl.errors import one_line
from genrl.files import write_json
from genrl.reading import read_json
from genrl.roles import WORLDS
from genrl.runs.config.commands import config_from
from genrl.runs.config.dream import DreamConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.dreams.world import kept_model
from genrl.runs.environments.make import make_env
from genrl.runs.environments.step_limit import StepLimit
from genrl.runs.interrupt import terminable
from genrl.runs.opening import trained
from genrl.runs.pictures import draw_dream
from genrl.runs.result import EVALUATION_INTERRUPTED
from genrl.runs.session import Session
from genrl.runs.training import train
from genrl.transitions import Transitions
from genrl.worlds import blurred, measure_agreement, measure_quality
from genrl.worlds.agreement import dreamed_anew, real_episode

__all__ = ["LONGEST", "Acting", "compare", "dream"]

JUDGED_EPISODES, LONGEST = 10, 1000
SHARES, BLURRED_EPISODES, BLURRED_LONGEST = tuple(step / 10 for step in range(11)), 2, 200
"""Shares of random actions of the eleven policies between the trained one and chance, the episodes of each, and their steps at most."""
SEED = 20_000
"""Seed of the first episode in which dream and reality are compared; those of training and evaluation are others."""


def dream(config: DreamConfig, *, quiet: bool = False) -> dict[str, Any]:
    """Train a learner that also learns in a model of its task, as :func:`~genrl.runs.train`; then compare the dream with reality.

    Example:
        >>> from genrl.runs import DreamConfig, dream
        >>> result = dream(DreamConfig(env="Pendulum-v1", steps=2000), quiet=True)  # doctest: +SKIP
    """
    return compare(config.directory, train(config, quiet=quiet), quiet=quiet)


def compare(path: Path, result: dict[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Measure the model of a finished run on new episodes of its policy, into dream.json and dream.png; what fails is an
    ``evaluation_error`` of the result."""
    run = RunDirectory(path)
    content = read_json(run.config)
    stopped = EVALUATION_INTERRUPTED in (result["evaluation_error"] or "")
    if result["status"] != "finished" or stopped or WORLDS.is_empty(content.get("world")):
        return result
    about = content.pop("about", None)
    config = config_from(content)
    assert isinstance(config, DreamConfig)
    assert about is not None
    if not quiet:
        print("comparing the dream with reality ...", file=sys.stderr, flush=True)
    with run.writing():
        try:
            with terminable(), StepLimit(config.step_timeout), trained(run, config) as session:
                found = _compared(run, config, session)
            write_json(run.path / "dream.json", found)
            if config.pictures:
                draw_dream(run, found)
            told = {name: found[name] for name in ("real_return", "dream_return")}
            result = result | {"dream": told | {"rank_correlation": found["policies"]["rank_correlation"]}}
        except KeyboardInterrupt:
            result = result | {"evaluation_error": "the comparison of dream and reality was interrupted"}
        except Exception as failure:
            result = result | {"evaluation_error": f"dream and reality could not be compared: {one_line(failure)}"}
        write_json(run.result, result)
    return result


def _compared(run: RunDirectory, config: DreamConfig, session: Session) -> dict[str, Any]:
    """Quality of the model on new episodes, and the return of each in reality and in the dream."""
    model, policy = kept_model(run, config, session), Acting(session)
    env = session.eyes.wrap_one(make_env(config.env, config.env_kwargs))
    policies = {f"{share:.0%} random": blurred(policy, env.action_space, share) for share in SHARES}
    try:
        whole = [real_episode(env, policy, SEED + index, LONGEST).transitions() for index in range(JUDGED_EPISODES)]
        dreamed = [dreamed_anew(model, policy, rows, env, LONGEST) for rows, _ in whole]
        agreement = measure_agreement(model, policies, env, episodes=BLURRED_EPISODES, seed=SEED, longest=BLURRED_LONGEST)
    finally:
        env.close()
    test, reward = Transitions.concatenate([rows for rows, _ in whole]), torch.cat([reward for _, reward in whole])
    real = [float(reward.sum()) for _, reward in whole]
    return {
        "quality": measure_quality(model, test, reward).to_dict(),
        "real_returns": real,
        "dream_returns": dreamed,
        "real_return": float(np.mean(real)),
        "dream_return": float(np.mean(dreamed)),
        "policies": agreement.to_dict(),
    }


class Acting:
    """The trained policy's most likely actions, as the task takes them; a recurrent policy remembers until ``reset``."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state: tuple[np.ndarray, ...] | None = None

    def reset(self) -> None:
        """An episode begins."""
        self.state = None

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        normalize, space = self.session.normalize, self.session.env.action_space
        seen = normalize.normalize_obs(obs) if normalize is not None else obs
        action, self.state = self.session.learner.predict(seen, state=self.state, deterministic=True)
        return np.clip(action, space.low, space.high) if isinstance(space, gymnasium.spaces.Box) else action
