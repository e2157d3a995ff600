"""Exploration without a learner: an archive of places that were reached, gone back to, and left by noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from genrl.data import Demonstrations, Episode
from genrl.errors import RunError
from genrl.roles import without_module
from genrl.runs.coverage import Coverage
from genrl.runs.environments.make import make_env
from genrl.runs.screening.noise import (
    Look,
    Reach,
    begin_episode,
    check_noise_can_act,
    count_visits,
    make_step,
    noise_sequence,
    noisy_action,
    progress_of,
)

__all__ = ["Archive", "check_task", "explore_by_archive"]

NO_WAY_BACK = "the task does not repeat after a reset with the same seed, so an archive can't go back to what it found"


def check_task(env_id: str, env_kwargs: Mapping[str, Any], coverage: tuple[str, str] | None) -> None:
    """Refuse a task that an archive can't explore, as far as can be seen before a step.

    Raises:
        RunError: no such task, actions other than a bounded ``Box``, or no two numbers that tell places apart.
    """
    env = make_env(env_id, env_kwargs)
    try:
        Archive(env, Look(env, coverage), "white", 1.0, 0)
    finally:
        env.close()


def explore_by_archive(
    env_id: str,
    steps: int,
    *,
    noise: str = "held-8",
    std: float = 1.0,
    seed: int = 0,
    starts: int = 1,
    env_kwargs: Mapping[str, Any] | None = None,
    coverage: tuple[str, str] | None = None,
) -> tuple[Reach, Demonstrations | None]:
    """Explore a task by an :class:`Archive` of each of its first few starts.

    Args:
        env_id, steps, std, seed, env_kwargs, coverage: as for :func:`~genrl.runs.screening.noise.screen`; the steps on the way back count.
        noise: how a place is left, such as `held-8`.
        starts: starts, by as many seeds from ``seed`` on, among which the steps are divided.

    Returns:
        What it reached, and the best of the episodes that were rewarded, ten in all and at least one of each start that has one, as
        demonstrations; ``None`` if there are none.

    Raises:
        RunError: as ``screen``; a task without two numbers that tell places apart; a task that does not repeat after a reset with a seed.
    """
    if not 1 <= starts <= steps:
        raise RunError(f"an archive needs at least one step for each of {starts} starts, but was given {steps}")
    reach, points, episodes = Reach(), list[list[float]](), list[Episode]()
    env = make_env(env_id, env_kwargs or {})
    try:
        look = Look(env, coverage)
        for i in range(starts):
            archive = Archive(env, look, noise, std, seed + i, reach, points)
            archive.explore(steps * (i + 1) // starts)
            episodes += [archive.live(actions) for actions in archive.best()[: max(1, Archive.kept // starts)]]
        count_visits({"archive": reach}, {"archive": np.array(points)}, look.names)
    finally:
        env.close()
    found = Demonstrations.from_episodes(episodes, without_module(env_id), env_kwargs) if episodes else None
    return reach, found


class Archive:
    """The shortest way to each place that was reached; goes back to one that was seldom gone back to, and acts from there by noise.

    Places are the bins of a :class:`~genrl.runs.coverage.Coverage` of the task's two numbers. One is chosen with a probability that falls
    as the root of how often it was chosen. To go back is to live its actions again after a reset with the same seed, so the task must
    repeat; nothing else is asked of the simulator. This is exploration of one start: what it finds is a demonstration from there, not a
    policy.

    Args:
        env: the task.
        look: reads the two numbers.
        noise: how a place is left.
        std: standard deviation of the noise.
        seed: of the start, the noise and the choices.
        reach: what the archives of other starts reached, to be added to.
        points: where they were, to be added to.

    References:
        Ecoffet, Huizinga, Lehman, Stanley, Clune, "First return, then explore", 2021, arXiv:2004.12919.
    """

    burst = 64
    """Steps from a place before another one is chosen."""
    kept = 10
    """Episodes with a reward that are kept, those with the largest return."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        look: Look,
        noise: str,
        std: float,
        seed: int,
        reach: Reach | None = None,
        points: list[list[float]] | None = None,
    ) -> None:
        if not look.names:
            raise RunError("an archive needs two numbers that tell places apart; name them: --coverage NAME NAME")
        check_noise_can_act(env)
        self.env, self.look, self.std, self.seed = env, look, std, seed
        self.sequence, self.rng = noise_sequence(noise, env, seed), np.random.default_rng(seed)
        self.reach, self.points = reach or Reach(), [] if points is None else points
        self.map = Coverage(look.names, bins=32)
        self.ways: dict[tuple[int, ...], list[np.ndarray]] = {}
        """Actions that lead to each place."""
        self.places: dict[tuple[int, ...], list[float]] = {}
        self.chosen: dict[tuple[int, ...], int] = {}
        self.rewarded: list[tuple[float, list[np.ndarray]]] = []
        self._best_whole = self._best_cut = -np.inf
        """The highest return of an episode that ended, and of one that was left before."""
        self._best_before = self.reach.best_return

    def explore(self, steps: int) -> None:
        """Go back and act, until so many steps were made in all."""
        self._act([], [], steps)
        while self.reach.steps < steps:
            self._act(*(self._choose() if self.ways else ([], [])), steps)
        best = self._best_whole if np.isfinite(self._best_whole) else self._best_cut
        self.reach.best_return = max(self._best_before, best)

    def best(self) -> list[np.ndarray]:
        """Actions of the episodes with the largest returns, ``(steps, *act)`` each."""
        return [np.array(actions) for _, actions in self.rewarded]

    def live(self, actions: np.ndarray) -> Episode:
        """The episode that these actions make.

        Raises:
            RunError: it is another one than before: the task does not repeat.
        """
        rows: list[tuple[Any, ...]] = [(np.array(begin_episode(self.env, self.seed)), 0.0, False, False)]
        for action in actions:
            obs, *outcome = self.env.step(action)[:4]
            rows.append((np.array(obs), *outcome))  # a copy: a task may observe in one array all the time
        obs, rewards, terminations, truncations = (np.array(field) for field in zip(*rows, strict=True))
        if not (rewards > 0).any():
            raise RunError(NO_WAY_BACK)
        return Episode(obs, actions, rewards[1:].astype(float), terminations[1:], truncations[1:], seed=self.seed)

    def _choose(self) -> tuple[list[np.ndarray], list[float]]:
        """The way to a place, and the point where it ended."""
        places = sorted(self.ways)
        odds = np.array([1 / np.sqrt(1 + self.chosen.get(place, 0)) for place in places])
        place = places[int(self.rng.choice(len(places), p=odds / odds.sum()))]
        self.chosen[place] = self.chosen.get(place, 0) + 1
        return self.ways[place], self.places[place]

    def _act(self, way: list[np.ndarray], there: list[float], steps: int) -> None:
        """Go back, then act for a burst or until the episode ends.

        Raises:
            RunError: the way does not lead ``there`` again.
        """
        begin_episode(self.env, self.seed)
        self.sequence.restart([0])
        self.reach.episodes += 1
        lived: list[np.ndarray] = []
        total, rewarded, charged, ended = 0.0, False, False, False
        progress = progress_of(self.env)
        while not ended and self.reach.steps < steps and len(lived) < len(way) + self.burst:
            back = len(lived) < len(way)
            action = way[len(lived)] if back else noisy_action(self.env, self.std * self.sequence()[0])
            _, point, paid, ended = make_step(self.env, action, self.look, self.reach.steps)
            lived.append(action)
            self.reach.count_step(paid, None if progress is None else float(progress()))
            total, rewarded, charged = total + paid, rewarded or paid > 0, charged or paid < 0
            self.points.append(point)
            if back and (ended or (len(lived) == len(way) and not np.allclose(point, there))):
                raise RunError(NO_WAY_BACK)
            if not back and not ended:
                self._remember(point, lived)
        if ended or not charged:  # one that was left was charged for fewer steps than an episode has
            self._best_whole = max(self._best_whole, total)
        else:
            self._best_cut = max(self._best_cut, total)
        self.reach.rewarded_episodes += rewarded
        if rewarded:
            ranked = sorted([*self.rewarded, (total, lived)], key=lambda found: (-found[0], len(found[1])))
            self.rewarded = ranked[: self.kept]

    def _remember(self, point: list[float], lived: list[np.ndarray]) -> None:
        """Keep the way to this point's place, if it is the first or the shortest."""
        width = self.map.width.copy()
        self.map.add(np.array([point]))
        if (width != self.map.width).any():  # places have merged
            ways, places, chosen = self.ways, self.places, self.chosen
            self.ways, self.places, self.chosen = {}, {}, {}
            for old, way in ways.items():
                self._keep(places[old], way, chosen.get(old, 0))
        self._keep(point, lived, 0)

    def _keep(self, point: list[float], way: list[np.ndarray], chosen: int) -> None:
        place = tuple(np.floor(np.array(point) / self.map.width).astype(int).tolist())
        if place not in self.ways or len(way) < len(self.ways[place]):
            self.ways[place], self.places[place] = list(way), point
        self.chosen[place] = self.chosen.get(place, 0) + chosen
