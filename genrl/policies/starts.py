"""Episodes that begin where a demonstration was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from genrl.data import Episode
from genrl.errors import require, task_name

__all__ = ["DemonstratedStarts"]


class DemonstratedStarts(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begins episodes at demonstrated states for a share of the steps, and the others where the task does (reference state initialisation).

    A policy that falls in its first steps sees little of what an expert does later; so it practises every part of it from the first
    episode on. The share is one of steps, not of episodes: once it goes on from a demonstrated state to the time limit, but still falls
    after a start of the task's own, many such starts follow each of those long episodes.

    Given observations, it puts the task there. That must be one of Gymnasium's MuJoCo whose observation begins with the positions, but for
    the first few, and goes on with the speeds: the cheetah, the hopper, the walker, the swimmer, the ant, the humanoid and the inverted
    pendulum. Such a task begins at ``init_qpos`` and ``init_qvel`` and adds noise of its own; both are a demonstrated state for that reset,
    so the noise comes to it too. Hidden positions, such as how far it has come, stay those of the task.
    The hopper and the walker show no speed beyond 10, so a part of the body that was faster begins at 10.

    Given episodes, it lives one again, up to a step that is drawn of those that are kept. That takes a task that repeats an episode from
    its seed and its actions, and brings the whole state, hidden parts and the time that is left with it, which matters where the task's
    reward is learned from. What is paid on the way does not count, and its steps are made beside those of the training.

    The draws come from the task's own generator, after a reset, so the same seed and steps give the same episodes.

    Args:
        env: one environment.
        demonstrated: observations ``(n, columns)`` in the task's units, such as ``demonstrations.transitions().obs.numpy()``, or episodes
            with their seeds, such as ``demonstrations.episodes``.
        share: share of the steps that are made in episodes from a demonstrated state, in (0, 1].

    Raises:
        ValueError: a share outside (0, 1]; nothing demonstrated; observations that are not finite; an episode without a seed or an order;
            at the first reset, a task that can't be put there; at any reset, one that does not repeat.

    References:
        Ecoffet, Huizinga, Lehman, Stanley, Clune, "First return, then explore", 2021, arXiv:2004.12919.
        Peng, Abbeel, Levine, van de Panne, "DeepMimic: Example-Guided Deep Reinforcement Learning of Physics-Based Character Skills", 2018,
        arXiv:1804.02717.

    Example:
        >>> import gymnasium
        >>> seen = np.array([[0.5, 0.1, -1.0, 2.0]])  # the cart's position, the pole's angle, and their speeds
        >>> env = DemonstratedStarts(gymnasium.make("InvertedPendulum-v5", reset_noise_scale=0.0), seen, share=1.0)
        >>> env.reset(seed=0)[0].tolist()
        [0.5, 0.1, -1.0, 2.0]
    """

    def __init__(self, env: gymnasium.Env[Any, Any], demonstrated: np.ndarray | Sequence[Episode], share: float = 0.5) -> None:
        super().__init__(env)
        require(DemonstratedStarts, ("share", share, 0 < share <= 1, "in (0, 1]"))
        self.share = share
        self._rows, self._episodes = np.zeros((0, 0)), list[Episode]()
        if isinstance(demonstrated, Sequence) and len(demonstrated) and isinstance(demonstrated[0], Episode):
            self._episodes = [episode for episode in demonstrated if len(episode.steps)]
            if any(episode.seed is None or not episode.ordered for episode in self._episodes):
                raise ValueError(
                    "DemonstratedStarts can't live episodes again that have no seed or no order; record them by `genrl record`"
                )
        else:
            self._rows = rows = np.asarray(demonstrated)  # shared by all environments of a run, not copied
            if rows.ndim != 2 or not len(rows) or rows.dtype.kind not in "biuf":
                given = f"an array of shape {rows.shape}" if rows.ndim else f"{type(demonstrated).__name__}"
                raise ValueError(
                    "DemonstratedStarts needs at least one row of numbers, (n, columns), or one episode, but was given "
                    f"{given}; give Demonstrations.load(FILE).episodes, or the observations, .transitions().obs.numpy()"
                )
            if not np.isfinite(rows).all():  # MuJoCo would put the whole state back to zeros, with a warning
                raise ValueError("DemonstratedStarts needs finite observations, but was given NaN or infinite ones; leave those rows out")
        self._hidden: int | None = None
        self._demonstrated = False
        self._steps = {"own": 0, "demonstrated": 0}
        """Steps of finished and running episodes from either start."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the task, and count the step for the start of its episode."""
        self._steps["demonstrated" if self._demonstrated else "own"] += 1
        return self.env.step(action)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, at a demonstrated state or where the task begins."""
        obs, info = self.env.reset(seed=seed, options=options)
        if self._hidden is None and not self._episodes:
            self._hidden = self._find_hidden(obs)
        self._demonstrated = self._steps["demonstrated"] <= self.share * sum(self._steps.values())
        if not self._demonstrated:
            return obs, info
        if self._hidden is not None:
            return self._put(self._hidden, options)
        draws = self.unwrapped.np_random
        episode = self._episodes[int(draws.integers(len(self._episodes)))]
        return self._live_again(episode, int(episode.steps[draws.integers(len(episode.steps))]), options)

    def check(self) -> None:
        """Live episodes again up to their last kept steps, all of them or some thirty evenly spaced, to see that the task repeats.

        Raises:
            ValueError: it does not.
        """
        for episode in self._episodes[:: max(1, len(self._episodes) // 30)]:
            self._live_again(episode, int(episode.steps[-1]))

    def _put(self, hidden: int, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode at a demonstrated state, of which the first ``hidden`` positions are the task's own."""
        task: Any = self.unwrapped
        row = self._rows[task.np_random.integers(len(self._rows))].astype(np.float64)
        shown = task.data.qpos.size - hidden
        own = task.init_qpos, task.init_qvel
        task.init_qpos = np.concatenate([task.init_qpos[:hidden], row[:shown]])
        task.init_qvel = row[shown : shown + task.data.qvel.size]
        try:
            return self.env.reset(options=options)
        finally:
            task.init_qpos, task.init_qvel = own

    def _live_again(self, episode: Episode, there: int, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode by its seed, and go to its step ``there`` by its actions."""
        before = self.unwrapped.np_random.bit_generator.state
        obs, info = self.env.reset(seed=episode.seed, options=options)
        ended = False
        for action in episode.actions[:there]:
            if not ended:
                obs, _, terminated, truncated, info = self.env.step(action)
                ended = terminated or truncated
        self.unwrapped.np_random.bit_generator.state = before  # the episode's seed must not decide what comes after it
        same = np.shape(obs) == episode.observations[there].shape
        if ended or not same or not np.allclose(obs, episode.observations[there], rtol=1e-4, atol=1e-4):
            raise ValueError(
                f"{task_name(self)} does not repeat step {there} of a demonstrated episode from its seed, {episode.seed}, so it can't "
                "begin there; leave demonstrated starts out"
            )
        return obs, info

    def state_dict(self) -> dict[str, Any]:
        """What it keeps across episodes: the steps from either start."""
        return dict(self._steps)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps = {name: int(state[name]) for name in self._steps}

    def _find_hidden(self, obs: np.ndarray) -> int:
        """How many of the first positions the observation leaves out."""
        task: Any = self.unwrapped
        if hasattr(task, "init_qpos") and np.shape(obs) == self._rows.shape[1:]:
            positions, speeds = task.data.qpos, task.data.qvel
            for hidden in range(len(positions)):
                state = np.concatenate([positions[hidden:], speeds])
                if len(state) <= len(obs) and np.allclose(obs[: len(state)], state, rtol=1e-5, atol=1e-5):
                    return hidden
        raise ValueError(
            f"{task_name(self)} can't be put at a demonstrated state, which takes a MuJoCo task whose observations begin with positions "
            "and speeds, and demonstrations of their size, or episodes that were recorded with their seeds; leave demonstrated starts out"
        )
