from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import ConvertCallback
from torch import Tensor

from genrl.data import Demonstrations, Episode
from genrl.policies import Mixing
from genrl.rewards import RewardCallback
from genrl.rewards.state_entropy import StateEntropy, neighbor_distance
from genrl.transitions import Transitions

OBS = spaces.Box(-1, 1, (3,))


def transitions(next_obs: Tensor) -> Transitions:
    n = len(next_obs)
    return Transitions(torch.zeros(n, 3), torch.zeros(n), next_obs, torch.zeros(n, dtype=torch.bool))


def brute_force(points: Tensor, rows: int, k: int) -> Tensor:
    distances = []
    for i in range(rows):
        others = torch.cat([points[:i], points[i + 1 :]])
        distances.append((others - points[i]).double().norm(dim=1).sort().values[k - 1])
    return torch.stack(distances).float()


@pytest.mark.parametrize("chunk", [1, 7, 40, 100])
@pytest.mark.parametrize("k", [1, 3])
def test_neighbor_distance_agrees_with_brute_force_in_any_chunks(k: int, chunk: int) -> None:
    points = 1000 + torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(neighbor_distance(points, 25, k, chunk), brute_force(points, 25, k))


def test_distances_on_a_line_by_hand() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    assert neighbor_distance(points, 4, 1).tolist() == [1.0, 1.0, 2.0, 7.0]
    assert neighbor_distance(points, 4, 3).tolist() == [10.0, 9.0, 7.0, 10.0]


def test_copies_are_neighbors_at_distance_exactly_zero() -> None:
    points = torch.tensor([[0.3, 7.0]]).repeat(4, 1)
    assert neighbor_distance(points, 4, 3).tolist() == [0.0] * 4


def test_the_bonus_is_the_log_distance_of_encoded_next_observations() -> None:
    reward, obs = StateEntropy(OBS, spaces.Discrete(2), normalize=False), torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    encoded = reward.encoder((obs - obs.mean(0)) / obs.std(0, unbiased=False))
    torch.testing.assert_close(reward(transitions(obs)), (1 + brute_force(encoded, 30, 3)).log())


def test_a_lonely_observation_gets_more_than_a_crowded_one() -> None:
    obs = 0.1 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    obs[0] = 3.0
    bonus = StateEntropy(OBS, spaces.Discrete(2))(transitions(obs))
    assert bonus[0] > 3 * bonus[1:].max()


def test_the_memory_keeps_the_last_observations_and_they_are_references() -> None:
    reward = StateEntropy(OBS, spaces.Discrete(2), memory_size=5, k=1, normalize=False)
    parts = torch.arange(27.0).reshape(9, 3).split([3, 4, 2])
    for part in parts:
        reward(transitions(part))
    kept = torch.cat(parts)[-5:]
    assert sorted(reward.memory.tolist()) == sorted(kept.tolist())
    reward.eval()
    assert reward(transitions(kept[:1])).item() == pytest.approx(0.0, abs=1e-5)


def test_a_batch_larger_than_the_memory_leaves_its_end_there() -> None:
    reward, obs = StateEntropy(OBS, spaces.Discrete(2), memory_size=4), torch.randn(10, 3)
    reward(transitions(obs))
    assert sorted(reward.memory.tolist()) == sorted(obs[-4:].tolist())


def test_a_batch_without_a_kth_neighbor_is_refused() -> None:
    reward = StateEntropy(OBS, spaces.Discrete(2), k=3)
    with pytest.raises(ValueError, match=r"more than k=3 observations .* given 3; .*smaller k"):
        reward(transitions(torch.randn(3, 3)))
    assert reward(transitions(torch.randn(4, 3))).shape == (4,)


def test_whether_there_is_a_kth_neighbor_is_asked_of_the_batches_of_the_learner() -> None:
    def ask(model: BaseAlgorithm, k: int, update_every: int = 1000) -> None:
        RewardCallback(StateEntropy(model.observation_space, model.action_space, k=k), update_every=update_every).check(model)

    ask(PPO("MlpPolicy", "Pendulum-v1", n_steps=128), 100)
    ask(PPO("MlpPolicy", "Pendulum-v1", n_steps=2048), 1500)
    ask(SAC("MlpPolicy", "Pendulum-v1", buffer_size=200), 100)  # batches of 256
    with pytest.raises(ValueError, match=r"k=100 observations .* given 10; .*buffer_size"):
        ask(SAC("MlpPolicy", "Pendulum-v1", buffer_size=10), 100)
    with pytest.raises(ValueError, match=r"k=3 observations .* given 2; .*update_every"):
        ask(SAC("MlpPolicy", "Pendulum-v1"), 3, update_every=2)
    with pytest.raises(ValueError, match=r"k=200 observations .* given 128"):
        ask(PPO("MlpPolicy", "Pendulum-v1", n_steps=128), 200)
    with pytest.raises(ValueError, match=r"k=10 observations .* given 5"):
        ask(A2C("MlpPolicy", "Pendulum-v1"), 10)  # rollouts of 5


def test_with_a_memory_the_first_few_earn_nothing_and_are_neighbors_of_the_next() -> None:
    """As the refusal advises: memory_size=1000."""
    reward = StateEntropy(OBS, spaces.Discrete(2), k=3, memory_size=1000)
    assert reward(transitions(torch.randn(2, 3))).tolist() == [0.0, 0.0]
    assert (reward(transitions(torch.randn(2, 3))) > 0).all()


def test_a_young_replay_buffer_without_a_kth_neighbor_pays_nothing_and_the_learner_goes_on() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=0, batch_size=16, policy_kwargs={"net_arch": [4]}, seed=0, device="cpu")
    callback = RewardCallback(StateEntropy(model.observation_space, model.action_space), extrinsic_weight=0.0, update_every=8)
    paid = []

    def look(*_: Any) -> bool:
        held = model.replay_buffer.size()  # type: ignore[union-attr]
        paid.append(float(model.replay_buffer.sample(16).rewards.abs().max()) if held else 0.0)  # type: ignore[union-attr]
        return True

    model.learn(20, callback=[callback, ConvertCallback(look)])
    assert paid[:4] == [0.0] * 4  # of three rows at most
    assert paid[19] > 0.0


def test_lent_rows_which_would_be_compared_among_themselves_are_refused_before_the_first_step() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", batch_size=16, policy_kwargs={"net_arch": [4]}, device="cpu")
    last = np.arange(8) == 7
    lender = Mixing(Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)]))
    alone = StateEntropy(model.observation_space, model.action_space)
    with pytest.raises(ValueError, match=r"'mixing' lends and the learner's own are scored apart.*memory_size=1000"):
        model.learn(4, callback=[RewardCallback(alone), lender])
    assert model.num_timesteps == 0
    model.learn(4, callback=[RewardCallback(StateEntropy(model.observation_space, model.action_space, memory_size=1000)), lender])
