"""What judges an imitation without the task's reward: episodes that are nearer to the demonstrations cost less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.data import Demonstrations, Episode
from genrl.runs.imitation.cost import Judge
from genrl.transitions import Transitions

OBS, ACT = spaces.Box(-100, 100, (1,), np.float64), spaces.Box(-1, 1, (1,), np.float64)


def demonstrations(*lengths: int, ends: bool = False) -> Demonstrations:
    """An expert that steps from 0 to 1 and back, for so many steps in each episode."""
    episodes = []
    for n in lengths:
        last = np.arange(n) == n - 1
        stops = ends and n < max(lengths)
        where = (np.arange(n + 1) % 2.0)[:, None]
        episodes.append(Episode(where, np.zeros((n, 1)), np.ones(n), last & stops, last & (not stops)))
    return Demonstrations.from_episodes(episodes)


def path(length: int, *, ends: bool) -> Transitions:
    """An episode of the same steps."""
    where = torch.arange(length + 1, dtype=torch.float64)[:, None] % 2
    terminated = torch.zeros(length, dtype=torch.bool)
    terminated[-1] = ends
    return Transitions(where[:-1], torch.zeros(length, 1, dtype=torch.float64), where[1:], terminated)


def judge(demos: Demonstrations) -> Judge:
    return Judge(demos, OBS, ACT)


def test_two_of_the_experts_pairs_are_a_standard_deviation_apart() -> None:
    assert judge(demonstrations(40)).apart == pytest.approx(1.0)  # half of the pairs are 0 apart, half of them 2 deviations


@pytest.mark.parametrize(("length", "cost"), [(40, 0.0), (30, 0.25), (10, 0.75), (4, 0.9)])
def test_an_episode_that_falls_costs_the_time_for_which_it_is_absent(length: int, cost: float) -> None:
    assert judge(demonstrations(40)).cost(path(length, ends=True)) == pytest.approx(cost, abs=1e-6)


def test_a_time_limit_is_no_end() -> None:
    assert judge(demonstrations(40)).cost(path(10, ends=False)) == pytest.approx(0, abs=1e-6)


def test_one_that_lives_longer_than_the_expert_is_not_absent() -> None:
    assert judge(demonstrations(40)).cost(path(60, ends=True)) == pytest.approx(0, abs=1e-6)


def test_an_expert_that_ends_early_is_absent_too() -> None:
    demos = demonstrations(40, 20, ends=True)  # it is over for a quarter of the time
    assert judge(demos).cost(path(30, ends=True)) == pytest.approx(0, abs=1e-6)
    assert judge(demos).cost(path(20, ends=True)) == pytest.approx(0.25, abs=1e-6)
    assert judge(demos).cost(path(40, ends=True)) == pytest.approx(0.25, abs=1e-6)


def test_a_few_of_its_steps_tell_how_long_it_went_on() -> None:
    some = demonstrations(40).subsample(every=5, offset=0)
    assert judge(some).cost(path(20, ends=True)) == pytest.approx(0.5, abs=0.01)


def test_distances_of_many_pairs_are_those_of_some() -> None:
    assert judge(demonstrations(4001)).apart == pytest.approx(1.0, abs=0.01)
