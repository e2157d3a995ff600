"""How near a policy's episodes are to the demonstrations: what judges an imitation without the task's reward."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from genrl.data import Demonstrations
from genrl.rewards import PWIL
from genrl.runs.environments.make import make_env
from genrl.runs.play import play
from genrl.runs.session import Session
from genrl.sb3.observations import seen_by_learner
from genrl.transitions import Transitions, exact

__all__ = ["Judge", "judge_of", "returns_and_costs"]

MOST = 1000
"""Pairs of the expert whose distances are averaged, at most."""


class KeptPairs(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the observations and actions of the running episode."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        self.observations, self.actions, self.terminated = [np.array(obs)], list[np.ndarray](), False
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.observations.append(np.array(obs))
        self.actions.append(np.array(action))
        self.terminated = terminated
        return obs, reward, terminated, truncated, info

    def pairs(self) -> Transitions:
        """The episode so far; ``terminated`` at its last step if it ended there."""
        obs, action = exact(np.stack(self.observations)), torch.as_tensor(np.stack(self.actions))
        action = action.float() if action.is_floating_point() else action.long()
        terminated = torch.zeros(len(action), dtype=torch.bool)
        terminated[-1] = self.terminated
        return Transitions(obs[:-1], action, obs[1:], terminated)


class Judge:
    """What it costs to carry an episode to the demonstrations, in standard deviations.

    Episodes are as long as the longest demonstration. One that ends early is absent for the rest, as a demonstration may be. As much of
    the time as both are there is carried at the cost of :meth:`genrl.rewards.PWIL.cost`; that in which one is absent and the other is not
    costs what two of the expert's pairs, drawn at random, are apart. Without it an agent that falls after a good first step would be as
    near to an expert that repeats this step as one that walks on.

    Args:
        demonstrations: the demonstrations; single pairs, without an order, tell no ends.
        observation_space, action_space: the task's, as the learner sees them.

    Raises:
        ValueError: a space that PWIL can't take.
    """

    def __init__(self, demonstrations: Demonstrations, observation_space: Any, action_space: Any) -> None:
        self.transport = PWIL(demonstrations, observation_space, action_space, horizon=1)  # which a cost does not read; pairs have none
        episodes = [episode for episode in demonstrations.episodes if episode.ordered]
        self.longest = max(map(len, episodes), default=0)
        self.expert_absent = float(np.mean([self._absent(len(episode), episode.terminated) for episode in episodes] or [0.0]))
        some = self.transport.expert[:: -(-len(self.transport.expert) // MOST)]
        self.apart = float(torch.cdist(some, some).mean())

    def _absent(self, length: int, terminated: bool) -> float:
        """Share of the longest demonstration's time for which an episode is over."""
        return max(0.0, 1 - length / self.longest) if terminated and self.longest else 0.0

    def cost(self, episode: Transitions) -> float:
        """The cost of one whole episode."""
        absent = self._absent(episode.batch_size, bool(episode.terminated[-1]))
        present = 1 - max(absent, self.expert_absent)
        return present * self.transport.cost(episode) + abs(absent - self.expert_absent) * self.apart


def returns_and_costs(session: Session, episodes: int, seed: int) -> tuple[list[float], list[float]]:
    """Returns of deterministic episodes, and the cost of each by :class:`Judge`.

    Costs are measured only for an imitation that the task does not pay; otherwise there are none.

    Args:
        session: the learner, its normalisation and, of an imitation, the demonstrations that it learns from.
        episodes: number of episodes.
        seed: seed of the first episode; each further one has the next number.
    """
    env = KeptPairs(session.eyes.wrap_one(make_env(session.config.env, session.config.env_kwargs)))
    judge, returns, costs = judge_of(session, env), list[float](), list[float]()
    try:
        for i in range(episodes):
            returns.append(sum(play(session.learner, session.normalize, env, seed + i)))
            if judge is not None:
                costs.append(judge.cost(env.pairs()))
    finally:
        env.close()
    return returns, costs


def judge_of(session: Session, env: gymnasium.Env[Any, Any]) -> Judge | None:
    """The judge of an imitation; ``None`` where the return judges, or where observations are images."""
    if session.sees_returns or session.loaded is None:
        return None
    try:
        return Judge(session.loaded.demonstrations, seen_by_learner(env.observation_space), env.action_space)
    except ValueError:
        return None
