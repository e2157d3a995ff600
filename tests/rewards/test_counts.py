from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from genrl.rewards.counts import SimHashCounts
from genrl.transitions import Transitions

OBS, ACTION = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)


def transitions(next_obs: Tensor) -> Transitions:
    n = len(next_obs)
    return Transitions(torch.zeros(n, 2), torch.zeros(n), next_obs, torch.zeros(n, dtype=torch.bool))


def counter(**keywords: float) -> SimHashCounts:
    """One whose normaliser is already fixed, at mean 0 and standard deviation 1."""
    reward = SimHashCounts(OBS, ACTION, normalize=False, **keywords)
    reward.obs_stats.count.fill_(1e9)
    return reward


east, west = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])


@pytest.mark.parametrize("bits", [8, 20, 64])
def test_the_bonus_is_one_over_the_square_root_of_the_count_with_this_batch(bits: int) -> None:
    reward = counter(bits=bits)
    bonus = reward(transitions(torch.stack([east, west, east, east])))
    torch.testing.assert_close(bonus, torch.tensor([3.0, 1.0, 3.0, 3.0]).rsqrt())
    torch.testing.assert_close(reward(transitions(torch.stack([east, west]))), torch.tensor([4.0, 2.0]).rsqrt())


def test_evaluation_scores_without_counting_and_the_unseen_gets_one() -> None:
    reward = counter()
    reward(transitions(east.repeat(4, 1)))
    reward.eval()
    for _ in range(2):
        assert reward(transitions(torch.stack([east, west]))).tolist() == [0.5, 1.0]


def test_the_code_is_the_signs_of_random_projections() -> None:
    reward, obs = counter(bits=10), torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    codes = [sum(2**i for i, bit in enumerate(row) if bit) for row in (obs @ reward.projection > 0).tolist()]
    assert reward._keys(obs).tolist() == [codes]


def test_long_codes_are_counted_modulo_six_primes_without_overflow() -> None:
    reward, obs = counter(bits=100), torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    codes = [sum(2**i for i, bit in enumerate(row) if bit) for row in (obs @ reward.projection > 0).tolist()]
    assert reward._keys(obs).tolist() == [[code % p for code in codes] for p in reward.moduli.tolist()]


def test_counts_of_long_codes_are_the_least_over_the_tables() -> None:
    reward = counter(bits=32)
    keys = reward._keys(east[None])
    for table, key, n in zip(reward.counts, keys, [9, 7, 4, 8, 6, 5], strict=True):
        table[key] = n
    assert reward.eval()(transitions(east[None])).item() == 0.5


def test_codes_never_change_after_the_warmup() -> None:
    reward, obs = SimHashCounts(OBS, ACTION, warmup=100), torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    reward(transitions(obs))
    early = reward.obs_stats.mean.clone()
    reward(transitions(obs + 1))
    fixed = reward._keys(obs)
    assert not torch.equal(early, reward.obs_stats.mean)
    reward(transitions(100 * obs + 50))
    assert torch.equal(fixed, reward._keys(obs))


def test_only_an_offset_tells_observations_in_the_same_direction_apart() -> None:
    plain, shifted = counter(bits=16), counter(bits=16, offset=1.0)
    ray = torch.stack([east, 4 * east])
    assert plain(transitions(ray)).tolist() == pytest.approx([0.5**0.5] * 2)
    assert shifted(transitions(ray)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("seen", [0, 1], ids=["never", "once"])
def test_a_flag_that_the_warmup_hardly_saw_does_not_make_one_cell_of_all_states(seen: int) -> None:
    reward, generator = SimHashCounts(OBS, ACTION, normalize=False, seed=1), torch.Generator().manual_seed(0)
    place = torch.linspace(-2, 2, 2048)[torch.randperm(2048, generator=generator)]
    up = torch.zeros(2048)
    up[:seen] = 1.0
    reward(transitions(torch.stack([place, up], 1)))
    west, east = reward._keys(torch.tensor([[-2.0, 1.0], [2.0, 1.0]])).T.tolist()
    assert west != east


def test_entries_are_clipped_so_that_an_outlier_leaves_the_others_their_say() -> None:
    reward = counter(clip_obs=3.0)
    far, clipped = torch.tensor([[1e6, 1.0], [1e6, -1.0]]), torch.tensor([[3.0, 1.0], [3.0, -1.0]])
    assert torch.equal(reward._keys(far), reward._keys(clipped))
    assert not torch.equal(*reward._keys(far)[0])
