"""A television in the observation: novelty without end, and nothing to learn from it."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs

from ._validate import number
from .mountain_car import SparseMountainCarEnv


class NoisyTV(gymnasium.Wrapper, RecordConstructorArgs):
    """Append noise to the observation, and to the action a remote control that changes it.

    A reward for what a model can't predict keeps an agent before this screen; a reward for what it can still learn should not.

    | | |
    | --- | --- |
    | observation | the task's, then `n_channels` numbers drawn from N(0, std²) |
    | action | the task's, then one in [-1, 1]: above 0 is a press of the remote, which draws all numbers anew |
    | reward | the task's |
    | end | the task's |
    | source | Burda et al. 2018: there a picture in a maze, here numbers |

    The screen is drawn anew at each reset, with the environment's own generator. `info["tv_pressed"]` tells whether the remote was
    pressed in this step.

    Args:
        env: a task with a flat `Box` observation and a flat `Box` action.
        n_channels: numbers on the screen.
        std: their standard deviation; take the scale of the task's observations.
        always: draw anew in each step, whatever the action. The action keeps its last component, which then does nothing, so one
            policy fits both.

    Raises:
        ValueError: a task whose spaces are no flat boxes, no channel, or a `std` that is no positive, finite number.

    References:
        Burda et al., Large-Scale Study of Curiosity-Driven Learning, 2018, arXiv:1808.04355, section 5.
    """

    def __init__(self, env: gymnasium.Env, n_channels: int = 4, std: float = 1.0, always: bool = False):
        RecordConstructorArgs.__init__(self, n_channels=n_channels, std=std, always=always)
        gymnasium.Wrapper.__init__(self, env)
        for name, space in (("observation", env.observation_space), ("action", env.action_space)):
            if not isinstance(space, Box) or len(space.shape) != 1:
                raise ValueError(f"NoisyTV needs a flat Box {name}, got {space}.")
        if n_channels < 1:
            raise ValueError(f"n_channels must be at least 1, got {n_channels}.")
        self.n_channels, self.always = n_channels, always
        self.std = number("std", std, 0, float("inf"))
        self.observation_space = _extended(env.observation_space, n_channels, np.inf)
        self.action_space = _extended(env.action_space, 1, 1.0)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The task's names (`obs_0`, … if it has none) and `tv_0`, …"""
        if self.env.has_wrapper_attr("observation_names"):
            names = self.env.get_wrapper_attr("observation_names")
        else:
            names = tuple(f"obs_{i}" for i in range(self.env.observation_space.shape[0]))
        return (*names, *(f"tv_{i}" for i in range(self.n_channels)))

    @property
    def coverage_names(self) -> tuple[str, str]:
        """The task's."""
        return self.env.get_wrapper_attr("coverage_names")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(seed=seed, options=options)
        self.screen = self._draw()
        return np.concatenate((obs, self.screen)), {**info, "tv_pressed": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action[:-1])
        pressed = bool(action[-1] > 0)
        if pressed or self.always:
            self.screen = self._draw()
        return np.concatenate((obs, self.screen)), reward, terminated, truncated, {**info, "tv_pressed": pressed}

    def _draw(self) -> np.ndarray:
        return self.np_random.normal(0.0, self.std, self.n_channels).astype(self.observation_space.dtype)


def _extended(space: Box, n: int, bound: float) -> Box:
    """`space` with `n` more dimensions in [-bound, bound]."""
    extra = np.full(n, bound, space.dtype)
    return Box(np.concatenate((space.low, -extra)), np.concatenate((space.high, extra)), dtype=space.dtype)


def noisy_tv_mountain_car(n_channels: int = 4, std: float = 1.0, always: bool = False, **kwargs: Any) -> NoisyTV:
    """`genrl/NoisyTVMountainCar-v0`: a `NoisyTV` on `SparseMountainCarEnv`, which takes the other keywords."""
    return NoisyTV(SparseMountainCarEnv(**kwargs), n_channels, std, always)


# `gymnasium.make` reads an entry point's metadata to find out how it can be shown to a human.
noisy_tv_mountain_car.metadata = SparseMountainCarEnv.metadata
