"""Unit noise that is correlated over time, for several environments at once: numpy alone, for learners and without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

__all__ = ["HeldSequence", "NoiseSequence", "PinkSequence", "coloured", "pink_length"]

USUAL, LONGEST = 1000, 2**16
"""Steps of a sequence of pink noise for a task without a time limit, and of any at most: it is drawn, and kept, whole."""


def coloured(length: int, channels: int, beta: float, rng: np.random.Generator) -> np.ndarray:
    r"""Gaussian sequences whose power falls with frequency as :math:`f^{-\beta}`, each step with mean 0 and variance 1.

    Fourier coefficients are drawn at the frequencies :math:`f_k = k / T` and transformed back:

    .. math:: X_k = f_k^{-\beta/2} (a_k + i b_k), \qquad a_k, b_k \sim \mathcal N(0, 1), \qquad x = \mathrm{irfft}(X) / \sigma,

    where the mean's frequency counts as the lowest one, :math:`1 / T`, and σ follows from the coefficients.

    Args:
        length: T, in steps.
        channels: number of independent sequences.
        beta: 0 is white, 1 pink, 2 red noise.
        rng: where the coefficients are drawn from.

    Returns:
        ``(channels, length)``, float64.

    References:
        Timmer and König, On Generating Power Law Noise, 1995.

    Example:
        >>> coloured(500, 2, 1.0, np.random.default_rng(0)).shape
        (2, 500)
    """
    frequencies = np.maximum(np.arange(length // 2 + 1), 1)
    amplitude = frequencies ** (-beta / 2)
    real, imaginary = rng.standard_normal((2, channels, len(amplitude)))
    once = np.zeros(len(amplitude), dtype=bool)  # coefficients that are real, and that stand for one frequency instead of two
    once[0] = True
    once[-1] |= length % 2 == 0
    spectrum = amplitude * np.where(once, np.sqrt(2) * real, real + 1j * imaginary)
    variance = np.sum(np.where(once, 2, 4) * amplitude**2) / length**2
    return np.fft.irfft(spectrum, length) / np.sqrt(variance)


class NoiseSequence(Protocol):
    """Noise ``(env, act)`` of mean 0 and variance 1 at each call, one call a step."""

    def __call__(self) -> np.ndarray: ...

    def restart(self, envs: Sequence[int] | np.ndarray) -> None:
        """An episode begins in these environments."""

    def rollout(self) -> None:
        """A rollout of an on-policy learner begins."""

    def state_dict(self) -> dict[str, np.ndarray]: ...

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None: ...


def pink_length(limit: int | None) -> int:
    """Steps of a sequence of pink noise for a task with this time limit: those of an episode, and 1,000 without a limit."""
    return min(max(limit or USUAL, 2), LONGEST)


class HeldSequence:
    """Gaussian noise that stays the same for ``steps`` steps, whatever episodes do.

    Args:
        steps: how long; 1 is independent noise.
        shape: environments and dimensions of an action.
        normal: draws an array of a shape from a standard normal distribution.
    """

    def __init__(self, steps: int, shape: tuple[int, ...], normal: Callable[[tuple[int, ...]], np.ndarray]) -> None:
        self.steps, self.shape, self.normal = steps, shape, normal
        self.age, self.noise = 0, np.zeros(shape)

    def __call__(self) -> np.ndarray:
        if self.age % self.steps == 0:
            self.noise = self.normal(self.shape)
        self.age += 1
        return self.noise

    def restart(self, envs: Sequence[int] | np.ndarray) -> None:
        """The noise outlives an episode."""

    def rollout(self) -> None:
        """Draw anew at the next step."""
        self.age = 0

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"age": np.array(self.age), "noise": self.noise}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.age, self.noise = int(state["age"]), state["noise"].copy()


class PinkSequence:
    """A sequence of :func:`coloured` noise for each episode; one that outlives its sequence goes on with a new one.

    Args:
        length: steps of a sequence.
        shape: environments and dimensions of an action.
        beta: the exponent of its spectrum.
        seed: draws the seed of a sequence.
    """

    def __init__(self, length: int, shape: tuple[int, int], beta: float, seed: Callable[[], int]) -> None:
        self.length, self.beta, self.seed = length, beta, seed
        self.seeds = np.zeros(shape[0], dtype=np.int64)
        self.ages = np.full(shape[0], length)
        self.noise = np.zeros((shape[0], shape[1], length), dtype=np.float32)

    def __call__(self) -> np.ndarray:
        for env in np.flatnonzero(self.ages >= self.length).tolist():
            self.seeds[env], self.ages[env] = self.seed(), 0
            self._fill(env)
        now = self.noise[np.arange(len(self.ages)), :, self.ages]
        self.ages += 1
        return now

    def _fill(self, env: int) -> None:
        self.noise[env] = coloured(self.length, self.noise.shape[1], self.beta, np.random.default_rng(self.seeds[env]))

    def restart(self, envs: Sequence[int] | np.ndarray) -> None:
        """A new sequence at their next step."""
        self.ages[envs] = self.length

    def rollout(self) -> None:
        """A sequence spans rollouts."""

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"seeds": self.seeds.copy(), "ages": self.ages.copy()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.seeds, self.ages = state["seeds"].copy(), state["ages"].copy()
        for env in range(len(self.seeds)):
            self._fill(env)
