from __future__ import annotations

import math

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from genrl.rewards.icm import ICM
from genrl.rewards.inverse import inverse_loss
from genrl.rewards.memory import TransitionPool
from genrl.rewards.prediction_error import PredictionError
from genrl.transitions import Transitions

OBS = spaces.Box(-1, 1, (3,))


def noisy_television(n: int, seed: int) -> Transitions:
    """The action moves the first component; the other two are noise that nobody controls."""
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(n, 3, generator=generator)
    action = torch.randint(2, (n,), generator=generator)
    next_obs = torch.randn(n, 3, generator=generator)
    next_obs[:, 0] = obs[:, 0] * 0.5 + (2.0 * action - 1.0)
    return Transitions(obs, action, next_obs, torch.zeros(n, dtype=torch.bool))


def test_uncontrollable_noise_fades_from_the_bonus_but_not_from_prediction_error() -> None:
    def remaining(cls: type[ICM] | type[PredictionError]) -> Tensor:
        reward, pool = cls(OBS, spaces.Discrete(2), normalize=False), TransitionPool(4000)
        bonus = []
        for seed in range(25):
            data = noisy_television(1024, seed)
            bonus.append(reward(data).mean())
            pool.add(data)
            reward.update(pool)
        return bonus[-1] / bonus[0]

    curiosity, error = remaining(ICM), remaining(PredictionError)
    assert error > 0.4
    assert curiosity < 0.5 * error


def test_the_inverse_model_recovers_the_action() -> None:
    reward, pool = ICM(OBS, spaces.Discrete(2)), TransitionPool(4000)
    for seed in range(25):
        data = noisy_television(1024, seed)
        reward(data)
        pool.add(data)
        log = reward.update(pool)
    assert log["inverse_loss"] < 0.2 * math.log(2)


@pytest.mark.parametrize(
    ("action_space", "nats"),
    [
        (spaces.Discrete(3, start=5), math.log(3)),
        (spaces.MultiDiscrete([2, 5]), math.log(2) + math.log(5)),
        (spaces.MultiBinary(4), 4 * math.log(2)),
        (spaces.Box(-1, 1, (2,)), 1.0),
    ],
)
def test_a_blind_inverse_model_pays_the_entropy_of_a_uniform_action(action_space: spaces.Space, nats: float) -> None:
    reward = ICM(OBS, action_space)
    action_space.seed(0)
    flat = reward.flat_action(torch.stack([torch.as_tensor(action_space.sample()) for _ in range(50)]))
    if isinstance(action_space, spaces.Box):
        reward.action_stats.update(flat)
        flat = reward.action_stats(flat)
    loss = inverse_loss(action_space, torch.zeros_like(flat), flat)
    torch.testing.assert_close(loss, torch.tensor(nats))


def test_eta_scales_the_bonus_also_when_it_is_normalised() -> None:
    data = noisy_television(64, 0)
    for normalize in (True, False):
        one, three = (ICM(OBS, spaces.Discrete(2), eta=eta, normalize=normalize)(data) for eta in (1.0, 3.0))
        torch.testing.assert_close(three, 3 * one)


def test_the_bonus_predicts_the_features_of_the_next_observation_from_those_of_the_last() -> None:
    reward = ICM(OBS, spaces.Discrete(2), hidden=(), features=3, normalize=False).eval()
    with torch.no_grad():
        for (layer,), weight in ((reward.encoder, torch.eye(3)), (reward.forward_model, torch.eye(3, 5) * 2)):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    obs, next_obs = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[2.0, 3.0, 0.0]])
    bonus = reward(Transitions(obs, torch.tensor([0]), next_obs, torch.zeros(1, dtype=torch.bool)))
    torch.testing.assert_close(bonus, torch.tensor([(0.0**2 + 3.0**2 + 4.0**2) / 2]))


def test_the_forward_error_is_half_the_squared_distance_of_features() -> None:
    reward = ICM(OBS, spaces.Discrete(2), hidden=(), features=2)
    with torch.no_grad():
        (layer,) = reward.forward_model
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
        error = reward._forward_error(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[4.0, 6.0]]))
    torch.testing.assert_close(error, torch.tensor([(3.0**2 + 4.0**2) / 2]))
