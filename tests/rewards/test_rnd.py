from __future__ import annotations

import torch
from gymnasium import spaces

from genrl.rewards.memory import TransitionPool
from genrl.rewards.rnd import RND
from genrl.transitions import Transitions

OBS = spaces.Box(-1, 1, (3,))


def batch(n: int, seed: int = 0) -> Transitions:
    obs = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return Transitions(obs, torch.zeros(n), obs.roll(1, 0), torch.zeros(n, dtype=torch.bool))


def test_the_bonus_is_the_distance_to_the_target_on_next_observations_that_include_this_batch() -> None:
    reward, data = RND(OBS, spaces.Discrete(2), normalize=False), batch(50)
    obs = (data.next_obs - data.next_obs.mean(0)) / data.next_obs.std(0, unbiased=False)
    expected = (reward.predictor(obs) - reward.target(obs)).square().mean(1)
    torch.testing.assert_close(reward(data), expected)


def test_observations_are_clipped_at_five_standard_deviations() -> None:
    reward = RND(OBS, spaces.Discrete(2))
    reward(batch(50))
    reward.eval()
    far = batch(2)._replace(next_obs=torch.tensor([[1e3, 1e3, 1e3], [1e6, 1e6, 1e6]]))
    near, further = reward(far)
    assert near == further


def test_the_target_is_not_the_predictor() -> None:
    reward = RND(OBS, spaces.Discrete(2), normalize=False)
    assert (reward(batch(50)) > 0).all()


def test_the_bonus_lasts_longer_with_a_smaller_predictor_proportion() -> None:
    def loss(proportion: float) -> float:
        reward, pool = RND(OBS, spaces.Discrete(2), predictor_proportion=proportion, normalize=False), TransitionPool(512)
        used = []
        reward.predictor.register_forward_pre_hook(lambda _, args: used.append(len(args[0])))
        pool.add(batch(512))
        reward.update(pool)
        return sum(used) / 512

    assert loss(1.0) == 1.0
    assert loss(0.25) == 0.25
