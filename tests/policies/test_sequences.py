"""Coloured noise: its spectrum, variance and autocorrelation are what the formula says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genrl.policies.sequences import HeldSequence, PinkSequence, coloured

LENGTHS = [499, 500]


def draws(length: int, beta: float, channels: int = 20_000) -> np.ndarray:
    return coloured(length, channels, beta, np.random.default_rng(0))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
def test_power_falls_as_frequency_to_the_minus_beta(length: int, beta: float) -> None:
    power = np.mean(np.abs(np.fft.rfft(draws(length, beta, 4000))) ** 2, axis=0)
    frequency = np.arange(1, len(power) - 1)
    slope = np.polyfit(np.log(frequency), np.log(power[1:-1]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.02)


@pytest.mark.parametrize("length", [1, 2, 3, *LENGTHS])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_every_step_is_standard_normal(length: int, beta: float) -> None:
    x = draws(length, beta)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=0.04)
    np.testing.assert_allclose(x.var(axis=0), 1.0, atol=0.06)
    assert np.mean(x[:, 0] ** 4) == pytest.approx(3.0, abs=0.25)  # Gaussian


@pytest.mark.parametrize("length", LENGTHS)
def test_its_autocorrelation_is_the_transform_of_its_power(length: int) -> None:
    """By Wiener and Khinchin: r(τ) = Σ_k w_k cos(2πkτ/T) / Σ_k w_k, over all T frequencies."""
    x, lags = draws(length, 1.0), np.array([1, 5, 20, 100, length // 2])
    k = np.arange(length)
    weight = 1 / np.maximum(np.minimum(k, length - k), 1)
    expected = [np.sum(weight * np.cos(2 * np.pi * k * lag / length)) / weight.sum() for lag in lags]
    measured = [np.mean(x[:, 0] * x[:, lag]) for lag in lags]
    np.testing.assert_allclose(measured, expected, atol=0.03)
    assert measured[0] > 0.7 > measured[1] > 0.3  # far from white


def test_channels_are_independent() -> None:
    x = coloured(500, 200, 1.0, np.random.default_rng(0))
    others = [np.mean(x[i] * x[j]) for i, j in itertools.combinations(range(200), 2)]
    assert np.mean(others) == pytest.approx(0.0, abs=0.01)


def pink(length: int = 6, envs: int = 2, seed: int = 0) -> PinkSequence:
    rng = np.random.default_rng(seed)
    return PinkSequence(length, (envs, 3), 1.0, lambda: int(rng.integers(2**31)))


def steps(sequence: PinkSequence | HeldSequence, count: int) -> np.ndarray:
    return np.stack([sequence().copy() for _ in range(count)])


def test_an_environment_steps_through_one_sequence_and_then_another() -> None:
    sequence = pink()
    x = steps(sequence, 6)
    np.testing.assert_array_equal(x, np.moveaxis(sequence.noise, 2, 0))
    seeds = sequence.seeds.copy()
    steps(sequence, 1)
    assert (sequence.seeds != seeds).all()
    assert x.dtype == np.float32 and x.shape == (6, 2, 3)


def test_only_the_environment_whose_episode_ended_starts_anew() -> None:
    plain, restarted = pink(), pink()
    steps(plain, 2), steps(restarted, 2)
    restarted.restart([1])
    a, b = steps(plain, 4), steps(restarted, 4)
    np.testing.assert_array_equal(a[:, 0], b[:, 0])
    assert (a[:, 1] != b[:, 1]).all()
    np.testing.assert_array_equal(b[:, 1], np.moveaxis(restarted.noise[1, :, :4], 1, 0))


def test_a_restored_sequence_goes_on_bit_for_bit() -> None:
    first, second = pink(), pink(seed=1)
    steps(first, 4)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(steps(first, 2), steps(second, 2))


def test_held_noise_is_drawn_every_few_steps() -> None:
    rng = np.random.default_rng(0)
    held = HeldSequence(3, (2, 1), rng.standard_normal)
    x = steps(held, 7)
    assert (x[0] == x[1]).all() and (x[1] == x[2]).all() and (x[2] != x[3]).all() and (x[5] != x[6]).all()
