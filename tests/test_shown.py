"""What a user prints says what it is and what it was given."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.data import Demonstrations, Episode
from genrl.encoders import EncodedVecEnv
from genrl.policies import CriticWarmUp, DemonstratedStarts, HeldNoise, Mixing, PinkNoise, PolicyAverage
from genrl.rewards import RND, AutoWeight, RewardCallback, TransitionPool, Transitions
from genrl.worlds import DreamVecEnv, Ensemble, Imagination, Practice, Record
from tests.encoders.eyes import picture_clocks, reader

OBS, ACT = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,))
LAST = np.arange(8) == 7


def record() -> Record:
    found = Record()
    found.add(np.zeros((2, 3)), np.zeros((2, 1)), np.zeros((2, 3)), np.zeros(2, bool), np.zeros(2))
    return found


def pool() -> TransitionPool:
    found = TransitionPool(1000)
    found.add(Transitions(torch.zeros(5, 3), torch.zeros(5, 1), torch.zeros(5, 3), torch.zeros(5, dtype=torch.bool)))
    return found


def demos() -> Demonstrations:
    return Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), LAST & False, LAST)])


SHOWN: dict[str, Callable[[], object]] = {
    "RewardCallback(RND, weight=0.5, extrinsic_weight=1.0)": lambda: RewardCallback(RND(OBS, ACT), weight=0.5),
    "RewardCallback(RND, weight=AutoWeight(target=0.3, start=0.01, step_size=0.3), extrinsic_weight=1.0)": lambda: RewardCallback(
        RND(OBS, ACT), weight=AutoWeight(target=0.3, start=0.01, step_size=0.3)
    ),
    "Mixing(8 pairs, share=0.5)": lambda: Mixing(demos()),
    "HeldNoise(steps=8, std=None)": lambda: HeldNoise(8),
    "PinkNoise(beta=0.5, length=None, std=0.3)": lambda: PinkNoise(0.5, std=0.3),
    "CriticWarmUp(steps=100)": lambda: CriticWarmUp(100),
    "PolicyAverage(0 policies, since=64, every=1)": lambda: PolicyAverage(64, every=1),
    "Imagination(Ensemble, share=0.9, every=250, horizon=1)": lambda: Imagination(Ensemble(OBS, ACT)),
    "Practice(Ensemble, dreamed_steps=150000, every=500)": lambda: Practice(Ensemble(OBS, ACT)),
    "DreamVecEnv(Ensemble, no starts, n_envs=4, horizon=5)": lambda: DreamVecEnv(Ensemble(OBS, ACT), n_envs=4, horizon=5),
    "Record(2 transitions of 2 environments)": record,
    "TransitionPool(5 of at most 1,000 transitions)": pool,
    "<DemonstratedStarts<TimeLimit<OrderEnforcing<PassiveEnvChecker<InvertedPendulumEnv<InvertedPendulum-v5>>>>>>": lambda: (
        DemonstratedStarts(gymnasium.make("InvertedPendulum-v5"), np.zeros((1, 4)))
    ),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_what_is_printed_says_what_it_is(shown: str) -> None:
    assert repr(SHOWN[shown]()) == shown


def test_environments_of_codes_say_how_many_numbers_they_show() -> None:
    env = EncodedVecEnv(picture_clocks(2), reader(), history=2)
    assert repr(env) == "EncodedVecEnv(2 environments that observe 6 numbers)"
