"""A run as an object: its policy with all that belongs to it, for one's own scripts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from genrl.encoders import ImageEncoder
from genrl.errors import RunError, command
from genrl.files import load_state
from genrl.models.base import ImageModel, load_model
from genrl.reading import read_json
from genrl.rewards import RewardModel
from genrl.runs.building import build
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.environments.make import make_env
from genrl.runs.opening import for_one_environment, load_config, trained, with_model
from genrl.runs.play import EVALUATION_SEED, episode_returns
from genrl.runs.session import Session

__all__ = ["LoadedRun", "load"]

REWARD = "reward.safetensors"


def load(path: str | Path, imports: Collection[str] = (), best: bool = False, average: bool = False) -> LoadedRun | ImageModel:
    """The trained policy of a run, or the model of a run of `genrl generate`; only tensors are loaded, no code runs.

    Args:
        path: the run directory.
        imports: modules that the run may import for a task, learner or reward of your own; a file alone imports nothing.
        best: take the model of the best evaluation, of a run that was trained with ``eval_every``, instead of the last one.
        average: take the mean of the last policies, of an imitation that was trained with ``average``, instead of the last one.

    Raises:
        RunError: there is no run, it has no such model, or it names a module that is not among ``imports``.

    Example:
        >>> import genrl
        >>> run = genrl.load("runs/mine")  # doctest: +SKIP
        >>> env = run.make_env()  # doctest: +SKIP
        >>> obs, _ = env.reset(seed=0)  # doctest: +SKIP
        >>> action, _ = run.predict(obs)  # doctest: +SKIP
        >>> run.evaluate(episodes=10)  # doctest: +SKIP
    """
    run = RunDirectory.open(path)
    if read_json(run.config).get("command") == "generate":
        weights = run.path / "model.safetensors"
        if not weights.is_file():
            raise RunError(f"{run.path} has no model yet; go on with: {command('resume', run.path)}")
        return load_model(weights)
    config = load_config(run, imports)
    return LoadedRun(with_model(run, config, best, average), config)


class LoadedRun:
    """The policy of a run with its normalisation and its encoder; :func:`load` makes it.

    ``predict`` takes what the environments of :meth:`make_env` give: raw observations, or codes where the run has an encoder.
    """

    def __init__(self, run: RunDirectory, config: RunConfig) -> None:
        self.path, self.config, self.model_file, self.statistics_file = run.path, config, run.model, run.vecnormalize
        self._run = run
        with trained(run, config) as session:
            self._session: Session = session

    @property
    def learner(self) -> BaseAlgorithm:
        """The Stable-Baselines3 learner; its own ``predict`` expects observations that are normalised already."""
        return self._session.learner

    @property
    def encoder(self) -> ImageEncoder | None:
        """The encoder through which the run sees images, if it has one."""
        return self._session.eyes.encoder

    @property
    def normalize(self) -> VecNormalize | None:
        """The running normalisation of observations or rewards, if the run has one."""
        return self._session.normalize

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """What the policy takes: the task's own observations, or codes where the run has an encoder."""
        return self.learner.observation_space

    @property
    def result(self) -> dict[str, Any]:
        """What result.json says: returns, steps, seconds.

        Raises:
            RunError: the run has not ended yet.
        """
        return read_json(self._run.result)

    @cached_property
    def reward(self) -> RewardModel | None:
        """The model that scored transitions, with its weights, in evaluation mode; ``None`` for a run without one.

        Raises:
            RunError: it needs demonstrations that are no longer where they were.
        """
        if "reward" not in self.config.roles or not (self.path / REWARD).is_file():
            return None
        session = build(replace(self.config, **for_one_environment(self.config)))
        session.env.close()
        callback: Any = next(plug.state for plug in session.plugs if plug.name == "reward")
        reward: RewardModel = callback.reward
        reward.load_state_dict(load_state(self.path / REWARD))
        return reward.eval()

    def make_env(self, **kwargs: Any) -> gymnasium.Env[Any, Any]:
        """One environment of the run's task, seen through the run's encoder.

        Args:
            kwargs: further keywords of ``gymnasium.make``, such as ``render_mode="human"``.
        """
        return self._session.eyes.wrap_one(make_env(self.config.env, self.config.env_kwargs, **kwargs))

    def predict(self, obs: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True, **kwargs: Any) -> tuple[Any, Any]:
        """An action in the environment's units, and the next state of a recurrent policy.

        Args:
            obs: one observation, or a batch of them, as :meth:`make_env` gives them.
            state: what the call before gave, for a recurrent policy.
            episode_start: whether an episode begins, ``(batch,)``, for a recurrent policy.
            deterministic: take the most likely action instead of drawing one.
            kwargs: for MaskablePPO, ``action_masks``.
        """
        seen = self.normalize.normalize_obs(obs) if self.normalize is not None else obs
        return self.learner.predict(seen, state=state, episode_start=episode_start, deterministic=deterministic, **kwargs)

    def evaluate(self, episodes: int = 10, seed: int = EVALUATION_SEED) -> list[float]:
        """Returns of deterministic episodes with seeds from ``seed`` on; by default those of the run's own evaluation."""
        if episodes < 1:
            raise ValueError(f"evaluate needs at least 1 episode, but was given {episodes}")
        return episode_returns(self._session, episodes, seed)

    def __repr__(self) -> str:
        steps = self.result.get("steps") if self._run.result.is_file() else "?"
        return f"LoadedRun({str(self.path)!r}, {self.config.learner} on {self.config.env}, {steps} steps)"
