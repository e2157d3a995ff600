"""VIME, Disagreement and PredictionError give the numbers that they gave before they shared their regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from genrl.rewards import VIME, Disagreement, PredictionError, RewardModel
from genrl.rewards.memory import TransitionPool
from genrl.transitions import Transitions

OBS = spaces.Box(-np.inf, np.inf, (3,))
ACTIONS = {"box": spaces.Box(-1, 1, (2,)), "discrete": spaces.Discrete(4)}


def linear(seed: int, n: int, kind: str) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(n, 3, generator=generator) * 3 + 1
    action = torch.rand(n, 2, generator=generator) * 2 - 1 if kind == "box" else torch.randint(4, (n,), generator=generator)
    push = action if kind == "box" else F.one_hot(action, 4)[:, :2].float()
    noise = 0.01 * torch.randn(n, 3, generator=generator)
    return Transitions(obs, action, obs + 0.1 * torch.cat([push, push.sum(1, keepdim=True)], 1) + noise, torch.zeros(n, dtype=torch.bool))


@pytest.mark.parametrize(
    ("reward", "kind", "seed", "kwargs", "recorded"),
    [
        (VIME, "box", 1, {"gain": "realised"}, [941.198, 286.022, 490.86, 0.691508, 0.00591693]),
        (VIME, "discrete", 2, {"gain": "realised"}, [1128.61, 366.714, 592.891, 0.677393, 0.00438838]),
        (VIME, "box", 1, {"preset": "released", "n_updates": 40}, [1097.2, 223.345, 631.901, 10.5719, 111.894]),
        (
            VIME,
            "box",
            1,
            {"gain": "realised", "hidden": (16, 8), "learn_likelihood": False, "fan_in": False, "n_draws": 3},
            [594.632, 94.0792, 795.055, 33863.8, 4.37462],
        ),
        (Disagreement, "box", 1, {}, [208.907, 27.0969, 0.368232]),
        (Disagreement, "discrete", 2, {}, [197.396, 24.1633, 0.419238]),
        (
            Disagreement,
            "box",
            1,
            {"members": 3, "hidden": (16,), "epochs": 3, "normalize": False, "clip_obs": 1.0},
            [198.223, 27.8728, 0.460802],
        ),
        (Disagreement, "box", 1, {"hidden": (), "batch_size": 37}, [472.861, 82.9794, 1.41417]),
        (PredictionError, "box", 1, {}, [9.45639, 1.20339, 0.000172946]),
        (PredictionError, "discrete", 2, {}, [10.4921, 1.03419, 8.01148e-05]),
        (
            PredictionError,
            "box",
            1,
            {"hidden": (16,), "gradient_steps": 7, "batch_size": 33, "normalize": False},
            [34.6538, 4.80629, 0.0527701],
        ),
        (PredictionError, "box", 1, {"clip_obs": 1.0, "learning_rate": 0.01}, [10.0237, 1.56326, 0.000117379]),
    ],
)
def test_the_numbers_are_those_recorded(reward: type[RewardModel], kind: str, seed: int, kwargs: dict, recorded: list[float]) -> None:
    """Sums of the third bonus in training mode and of one in evaluation mode, then the last update's log, by name."""
    model, pool = reward(OBS, ACTIONS[kind], seed=seed, **kwargs), TransitionPool(5000, seed)
    for iteration in range(3):
        newest = linear(seed * 10 + iteration, 600, kind)
        pool.add(newest)
        bonus, log = model.train()(newest), model.update(pool)
        unseen = model.eval()(linear(99, 100, kind))  # after every update, for it draws from the model's generator
    given = [float(bonus.double().sum()), float(unseen.double().sum()), *(value for _, value in sorted(log.items()))]
    assert given == pytest.approx(recorded, rel=2e-3)  # other processors sum in another order
