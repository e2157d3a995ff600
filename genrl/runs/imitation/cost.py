"""How near a policy's episodes are to the demonstrations: what judges an imitation without the task's reward."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from genrl.rewards import PWIL
from genrl.runs.environments.make import make_env
from genrl.runs.play import play
from genrl.runs.session import Session
from genrl.sb3.observations import seen_by_learner
from genrl.transitions import Transitions, exact

__all__ = ["returns_and_costs"]


class KeptPairs(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the observations and actions of the running episode."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        self.observations, self.actions = [np.array(obs)], list[np.ndarray]()
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.observations.append(np.array(obs))
        self.actions.append(np.array(action))
        return obs, reward, terminated, truncated, info

    def pairs(self) -> Transitions:
        """The episode so far."""
        obs, action = exact(np.stack(self.observations)), torch.as_tensor(np.stack(self.actions))
        action = action.float() if action.is_floating_point() else action.long()
        return Transitions(obs[:-1], action, obs[1:], torch.zeros(len(action), dtype=torch.bool))


def returns_and_costs(session: Session, episodes: int, seed: int) -> tuple[list[float], list[float]]:
    """Returns of deterministic episodes, and the cost of each: the transport to the demonstrations (:meth:`genrl.rewards.PWIL.cost`).

    Costs are in standard deviations per step. They are measured only for an imitation that the task does not pay; otherwise there are none.
    An episode that ends early can't carry its mass to all that the expert does later, so it costs more.

    Args:
        session: the learner, its normalisation and, of an imitation, the demonstrations that it learns from.
        episodes: number of episodes.
        seed: seed of the first episode; each further one has the next number.
    """
    env = KeptPairs(session.eyes.wrap_one(make_env(session.config.env, session.config.env_kwargs)))
    judge, returns, costs = _judge(session, env), list[float](), list[float]()
    try:
        for i in range(episodes):
            returns.append(sum(play(session.learner, session.normalize, env, seed + i)))
            if judge is not None:
                costs.append(judge.cost(env.pairs()))
    finally:
        env.close()
    return returns, costs


def _judge(session: Session, env: gymnasium.Env[Any, Any]) -> PWIL | None:
    """The transport to the demonstrations; ``None`` where the return judges, or where observations are images."""
    if session.sees_returns or session.loaded is None:
        return None
    try:
        space = seen_by_learner(env.observation_space)
        return PWIL(session.loaded.demonstrations, space, env.action_space, horizon=1)  # which a cost does not read; pairs have none
    except ValueError:
        return None
