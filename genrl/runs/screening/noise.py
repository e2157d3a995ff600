"""Whether a task needs curiosity: how far action noise alone gets, without any learner."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from genrl.errors import RunError, StepTimeout, did_you_mean, one_line
from genrl.policies.sequences import HeldSequence, NoiseSequence, PinkSequence, pink_length
from genrl.runs.coverage import Coverage
from genrl.runs.environments.make import column, coverage_names, getattr_or, make_env
from genrl.runs.screening.state_noise import StateNoise

__all__ = [
    "NOISES",
    "Look",
    "Reach",
    "begin_episode",
    "check_noise_can_act",
    "count_visits",
    "make_step",
    "noise_sequence",
    "noisy_action",
    "progress_of",
    "screen",
]

NOISES = ("white", "held-8", "held-16", "held-32", "pink", "gsde-16")
"""Noises that a task is screened with."""


@dataclass
class Reach:
    """What one noise reached."""

    steps: int = 0
    episodes: int = 0
    """Episodes, the last of which may not have ended."""
    rewarded_episodes: int = 0
    """Episodes with a reward above 0."""
    first_reward: int | None = None
    """The step of the first reward above 0, from 1."""
    best_return: float = -np.inf
    """The highest return of an episode; of one that has not ended only if no step of it was charged for (an archive leaves its episodes
    early), or if none has ended."""
    best_progress: float | None = None
    """The highest `progress()` of a task that has it, in the units of its threshold."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest value of each of the two things whose visited area is counted."""
    visited: int = 0
    """Bins of that area, as wide for one noise as for another."""
    about_zero: bool = True
    """Whether the noise is about the action 0, as a fresh policy's is: the middle of the task's bounds."""
    policy_std: float | None = None
    """Standard deviation, in the task's units, of a policy that acts by this noise; none where actions have ranges of several widths."""

    def count_step(self, reward: float, progress: float | None) -> None:
        """Count one more step, which paid ``reward`` and led to this ``progress()``, if the task has it."""
        self.steps += 1
        if reward > 0 and self.first_reward is None:
            self.first_reward = self.steps
        if progress is not None:
            self.best_progress = progress if self.best_progress is None else max(self.best_progress, progress)


def screen(
    env_id: str,
    steps: int = 20_000,
    noises: Sequence[str] = NOISES,
    *,
    std: float = 1.0,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    coverage: tuple[str, str] | None = None,
) -> dict[str, Reach]:
    """Act by noise alone and see how far each noise gets.

    An action is ``std`` times a noise of variance 1, clipped to [-1, 1] and scaled to the task's bounds: with the default, what a fresh
    policy of PPO does where these bounds are -1 and 1 (its noise is in the task's units: with bounds of ±0.4 it is that of ``std=2.5``).
    A noise that is rewarded often is a baseline that a bonus has to beat; a task on which none is rewarded, but a good
    policy is, needs curiosity.

    Args:
        env_id: the task, as in `genrl explore --env`.
        steps: environment steps for each noise.
        noises: `white`, drawn anew at every step; `held-8`, held for 8 steps (or any number); `pink`, a sequence for each episode;
            `gsde-16`, a function of the state that is drawn anew every 16 steps (or any number), as by a fresh policy with gSDE.
        std: standard deviation of the noise, for actions in [-1, 1]; of gSDE, that of the function's weights.
        seed: of the noise and of the task; every noise has the same.
        env_kwargs: keywords of the task.
        coverage: two names of observations, indices or keys of ``info`` whose visited area is counted; by default the task's own.

    Returns:
        What each noise reached, by its name.

    Raises:
        RunError: no such task or noise, actions other than a bounded ``Box``, or numbers out of their ranges.

    Example:
        >>> reached = screen("genrl/SparseMountainCar-v0", steps=2000, noises=("white", "held-16"))
        >>> reached["white"].rewarded_episodes, reached["held-16"].rewarded_episodes > 0
        (0, True)
    """
    if steps < 1 or not (np.isfinite(std) and std > 0):
        raise RunError(f"a screen needs at least one step and a positive, finite std, but was given steps {steps} and std {std}")
    if not noises or seed < 0:
        raise RunError(f"a screen needs at least one noise and a seed from 0 on, but was given {len(noises)} noises and seed {seed}")
    env = make_env(env_id, env_kwargs or {})
    try:
        check_noise_can_act(env)
        look = Look(env, coverage)
        walks = {noise: _Walk(env, look, _source(noise, env, std, seed), std, seed) for noise in noises}
        reached = {noise: walk.take(steps) for noise, walk in walks.items()}
    finally:
        env.close()
    count_visits(reached, {noise: np.array(walk.points) for noise, walk in walks.items()}, look.names)
    return reached


class _Source(Protocol):
    """Decides what is done, each number within [-1, 1] or clipped to it."""

    def restart(self) -> None:
        """An episode begins."""

    def __call__(self, obs: Any) -> np.ndarray: ...


class _Blind:
    """Noise that does not look at the state."""

    def __init__(self, sequence: NoiseSequence, std: float) -> None:
        self.sequence, self.std = sequence, std

    def restart(self) -> None:
        self.sequence.restart([0])

    def __call__(self, obs: Any) -> np.ndarray:
        return self.std * self.sequence()[0]


def _source(noise: str, env: gymnasium.Env[Any, Any], std: float, seed: int) -> _Source:
    if found := re.fullmatch(r"gsde-([1-9]\d*)", noise):
        return StateNoise(env, int(found[1]), std, seed)
    return _Blind(noise_sequence(noise, env, seed), std)


def noise_sequence(noise: str, env: gymnasium.Env[Any, Any], seed: int) -> NoiseSequence:
    """Noise of variance 1 for the actions of one environment, by its name: white, pink or held-N.

    Raises:
        RunError: there is no noise of that name.
    """
    rng, size = np.random.default_rng(seed), int(np.prod(env.action_space.shape or ()))
    if noise == "pink":
        length = pink_length(getattr(env.spec, "max_episode_steps", None))
        return PinkSequence(length, (1, size), 1.0, lambda: int(rng.integers(2**31)))
    if noise != "white" and not re.fullmatch(r"held-[1-9]\d*", noise):
        instead = did_you_mean(noise, NOISES) or "; choose white, pink, held-N, such as held-8, or gsde-N"
        raise RunError(f"there is no noise {noise!r}{instead}")
    return HeldSequence(1 if noise == "white" else int(noise.removeprefix("held-")), (1, size), rng.standard_normal)


def check_noise_can_act(env: gymnasium.Env[Any, Any]) -> None:
    """Refuse a task on which no noise can act.

    Raises:
        RunError: its actions are no bounded ``Box``.
    """
    space = env.action_space
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        raise RunError(f"noise needs bounded Box actions, but {env.spec.id if env.spec else env} has {space}")


def noisy_action(env: gymnasium.Env[Any, Any], noise: np.ndarray) -> np.ndarray:
    """``noise`` as an action: clipped to [-1, 1] and scaled to the task's bounds."""
    space: Any = env.action_space
    unit = np.clip(noise, -1, 1).reshape(space.shape)
    return np.asarray((space.low + (unit + 1) / 2 * (space.high - space.low)).astype(space.dtype))


class Look:
    """Reads the two numbers whose visited area is counted."""

    def __init__(self, env: gymnasium.Env[Any, Any], asked: tuple[str, str] | None) -> None:
        self.names = coverage_names(env, asked)
        self.columns = [column(name, getattr_or(env, "observation_names", ())) for name in self.names]

    def __call__(self, obs: Any, info: Mapping[str, Any]) -> list[float]:
        return [float(np.ravel(obs)[key] if isinstance(key, int) else info[key]) for key in self.columns]


def progress_of(env: gymnasium.Env[Any, Any]) -> Callable[[], Any] | None:
    """The method by which a task says how far it has come; what can't be called is a number of the task's own."""
    found = getattr_or(env, "progress", None)
    return found if callable(found) else None


def begin_episode(env: gymnasium.Env[Any, Any], seed: int | None) -> Any:
    """The first observation of a new episode.

    Raises:
        RunError: the task fails.
    """
    with _told(env, "can't begin an episode"):
        return env.reset(seed=seed)[0]


def make_step(env: gymnasium.Env[Any, Any], action: np.ndarray, look: Look, number: int) -> tuple[Any, list[float], float, bool]:
    """The next observation, where the step led, what it paid, and whether the episode ended.

    Raises:
        RunError: the task fails, or gives what is no number; the step has this ``number``.
    """
    with _told(env, f"failed at step {number}"):
        obs, paid, terminated, truncated, info = env.step(action)
        point, reward = look(obs, info), float(paid)
    for what, value in (("reward", reward), *zip(look.names, point, strict=True)):
        if not np.isfinite(value):
            raise RunError(f"{_name(env)} gave {value} as its {what} at step {number}; check the task, or end its episode before")
    return obs, point, reward, bool(terminated or truncated)


@contextmanager
def _told(env: gymnasium.Env[Any, Any], what: str) -> Iterator[None]:
    """Whatever a task raises as one sentence."""
    try:
        yield
    except (RunError, StepTimeout):
        raise
    except Exception as error:
        raise RunError(f"{_name(env)} {what}: {one_line(error)}") from error


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else str(env)


class _Walk:
    """Episodes in which one noise acts, and what it reached."""

    def __init__(self, env: gymnasium.Env[Any, Any], look: Look, source: _Source, std: float, seed: int) -> None:
        self.env, self.look, self.source, self.seed = env, look, source, seed
        self.points: list[list[float]] = []
        low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
        widths, about_zero = set(((high - low) / 2).flatten().tolist()), bool((high == -low).all())
        self.reach, self.ended = Reach(about_zero=about_zero, policy_std=std * widths.pop() if len(widths) == 1 else None), False

    def take(self, steps: int) -> Reach:
        """Act for so many steps in all; what was reached."""
        while self.reach.steps < steps:
            rewards = list(self._episode(steps))
            self.reach.episodes += 1
            self.reach.rewarded_episodes += any(reward > 0 for reward in rewards)
            if self.ended or self.reach.episodes == 1 or min(rewards) >= 0:
                self.reach.best_return = max(self.reach.best_return, sum(rewards))
        return self.reach

    def _episode(self, steps: int) -> Iterator[float]:
        """The rewards of one episode, which is left when ``steps`` were made in all."""
        obs = begin_episode(self.env, None if self.reach.steps else self.seed)
        self.source.restart()
        self.ended, progress = False, progress_of(self.env)
        while not self.ended and self.reach.steps < steps:
            action = noisy_action(self.env, self.source(obs))
            obs, point, reward, self.ended = make_step(self.env, action, self.look, self.reach.steps)
            self.reach.count_step(reward, None if progress is None else float(progress()))
            self.points.append(point)
            yield reward


def count_visits(reached: Mapping[str, Reach], points: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Ranges and visited bins, which are those of a map that holds what all noises reached."""
    if not names:
        return
    everywhere = Coverage(tuple(names))
    everywhere.add(np.concatenate(list(points.values())))
    for noise, reach in reached.items():
        reach.visited = len(np.unique(np.floor(points[noise] / everywhere.width), axis=0))
        lows, highs = points[noise].min(axis=0).tolist(), points[noise].max(axis=0).tolist()
        reach.ranges = {name: (low, high) for name, low, high in zip(names, lows, highs, strict=True)}
