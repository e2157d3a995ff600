from __future__ import annotations

import torch
from gymnasium import spaces

from genrl.rewards.prediction_error import PredictionError
from genrl.transitions import Transitions


def test_the_bonus_is_the_mean_squared_error_of_the_normalised_next_observation() -> None:
    reward = PredictionError(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), hidden=(), normalize=False).eval()
    (layer,) = reward.model
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, 3] = 2.0  # action 1 moves the second component by 2
        layer.bias.zero_()
    obs = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    next_obs = torch.tensor([[1.0, 4.0], [1.0, 4.0]])
    bonus = reward(Transitions(obs, torch.tensor([1, 0]), next_obs, torch.zeros(2, dtype=torch.bool)))
    torch.testing.assert_close(bonus, torch.tensor([(3.0 - 2.0) ** 2 / 2, 3.0**2 / 2]))
