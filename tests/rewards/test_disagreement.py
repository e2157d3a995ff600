from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from genrl.models.nn import ensemble_mlp, minibatches
from genrl.rewards.disagreement import Disagreement
from genrl.rewards.memory import TransitionPool
from genrl.rewards.prediction_error import PredictionError
from genrl.transitions import Transitions

OBS = spaces.Box(-1, 1, (2,))


def noise(n: int, seed: int) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(n, 2, generator=generator), torch.randn(n, 2, generator=generator)
    return Transitions(obs, torch.randint(2, (n,), generator=generator), next_obs, torch.zeros(n, dtype=torch.bool))


def test_pure_noise_is_left_alone_while_prediction_error_stays() -> None:
    def learn(cls: type[Disagreement] | type[PredictionError]) -> list[float]:
        reward, pool = cls(OBS, spaces.Discrete(2), normalize=False), TransitionPool(20 * 1024)
        bonus = []
        for seed in range(20):
            data = noise(1024, seed)
            bonus.append(reward(data).mean().item())
            pool.add(data)
            reward.update(pool)
        return bonus

    error, disagreement = learn(PredictionError), learn(Disagreement)
    assert 0.9 < error[-1] < 1.1  # the variance of the noise
    assert disagreement[0] > 0.5
    assert disagreement[-1] < 0.05


def test_the_bonus_is_the_variance_over_members_averaged_over_components() -> None:
    reward = Disagreement(OBS, spaces.Discrete(2), members=2, hidden=(), normalize=False).eval()
    (layer,) = reward.ensemble
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([[[1.0, 0.0]], [[5.0, 0.0]]]))
    torch.testing.assert_close(reward(noise(3, 0)), torch.full((3,), (4.0 + 0.0) / 2))


def test_a_member_learns_from_its_own_bootstrap() -> None:
    reward, pool = Disagreement(OBS, spaces.Discrete(2), members=3, epochs=2), TransitionPool(256)
    data = noise(256, 0)
    pool.add(data)
    seen: list[Tensor] = []
    reward.ensemble.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    reward.update(pool)
    inputs = torch.cat(seen, dim=1)
    unique = [len(member.unique(dim=0)) for member in inputs]
    assert inputs.shape[1] == 2 * 256
    # 1 − 1/e of the rows are in a bootstrap; two passes over the same one add none.
    assert all(0.55 * 256 < n < 0.71 * 256 for n in unique)
    assert not torch.equal(inputs[0].unique(dim=0), inputs[1].unique(dim=0))


def test_the_batched_ensemble_is_each_member_by_itself() -> None:
    torch.manual_seed(0)
    network, x = ensemble_mlp(4, [3, 8, 2]), torch.randn(4, 5, 3)
    first, _, second = network
    for m in range(4):
        by_hand = torch.relu(x[m] @ first.weight[m] + first.bias[m]) @ second.weight[m] + second.bias[m]
        torch.testing.assert_close(network(x)[m], by_hand)
    assert not torch.equal(first.weight[0], first.weight[1])


def test_minibatches_cover_each_epoch_once_in_equal_parts() -> None:
    parts = list(minibatches(10, 4, 2, torch.Generator().manual_seed(0)))
    assert [len(part) for part in parts] == [4, 3, 3, 4, 3, 3]
    for epoch in (parts[:3], parts[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert list(minibatches(0, 4, 2, torch.Generator())) == []
