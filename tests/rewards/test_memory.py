"""The pool that on-policy rewards learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces

from genrl.files import load_state, save_state
from genrl.rewards import SQIL, Constant, RewardCallback, RewardModel, SimHashCounts, StateEntropy, TransitionPool
from genrl.transitions import Transitions


def batch(start: int, size: int) -> Transitions:
    x = torch.arange(start, start + size)
    return Transitions(x.float()[:, None], x, x.float()[:, None] + 1, x % 2 == 0)


def kept(pool: TransitionPool) -> list[int]:
    """What a pool holds, found by drawing from it."""
    drawn = pool.sample(200 * len(pool))
    assert torch.equal(drawn.obs[:, 0].long(), drawn.action)  # the fields of a row stay together
    assert torch.equal(drawn.next_obs, drawn.obs + 1)
    assert torch.equal(drawn.terminated, drawn.action % 2 == 0)
    return sorted(set(drawn.action.tolist()))


def filled(capacity: int, *sizes: int) -> TransitionPool:
    pool, start = TransitionPool(capacity), 0
    for size in sizes:
        pool.add(batch(start, size))
        start += size
    return pool


@pytest.mark.parametrize(
    ("sizes", "expected"), [((3,), 3), ((3, 4), 7), ((3, 4, 2), 8), ((8,), 8), ((5, 5, 5), 8), ((20,), 8), ((3, 20), 8)]
)
def test_it_keeps_the_newest_transitions_up_to_its_capacity(sizes: tuple[int, ...], expected: int) -> None:
    pool, total = filled(8, *sizes), sum(sizes)
    assert len(pool) == expected
    assert kept(pool) == list(range(total - expected, total))


def test_latest_is_the_whole_last_batch_also_if_it_does_not_fit() -> None:
    assert filled(4, 3, 10).latest.action.tolist() == list(range(3, 13))


def test_sampling_is_uniform_and_its_own_business() -> None:
    pool = filled(10, 10)
    before = torch.get_rng_state()
    counts = pool.sample(20_000).action.bincount(minlength=10)
    assert torch.equal(torch.get_rng_state(), before)
    assert (counts.float() / 2000 - 1).abs().max() < 0.1
    assert torch.equal(filled(10, 10).sample(9).action, filled(10, 10).sample(9).action)


def test_an_empty_pool_says_so() -> None:
    pool = TransitionPool(4)
    assert len(pool) == 0
    with pytest.raises(IndexError, match="the pool is empty"):
        pool.sample(1)
    with pytest.raises(IndexError, match="the pool is empty"):
        _ = pool.latest
    with pytest.raises(ValueError, match="at least 1"):
        TransitionPool(0)


@pytest.mark.parametrize("sizes", [(), (3,), (8,), (5, 6)])
def test_a_restored_pool_goes_on_exactly(sizes: tuple[int, ...], tmp_path: Path) -> None:
    pool, other = filled(8, *sizes), TransitionPool(8, seed=5)
    save_state(tmp_path / "pool", pool.state_dict())
    other.load_state_dict(load_state(tmp_path / "pool"))
    for p in (pool, other):
        p.add(batch(100, 3))
    assert len(pool) == len(other)
    for a, b in zip(pool.sample(50), other.sample(50), strict=True):
        assert torch.equal(a, b)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("sizes", [(5, 6), (8,)])
def test_a_larger_pool_takes_a_saved_one_and_forgets_the_oldest_first(sizes: tuple[int, ...]) -> None:
    pool, larger = filled(8, *sizes), TransitionPool(10)
    larger.load_state_dict(pool.state_dict())
    total = sum(sizes)
    assert kept(larger) == list(range(total - 8, total))
    larger.add(batch(total, 4))
    assert kept(larger) == list(range(total - 6, total + 4))


def test_a_smaller_pool_refuses_a_saved_one() -> None:
    with pytest.raises(ValueError, match="8 saved transitions do not fit a pool of 4"):
        TransitionPool(4).load_state_dict(filled(8, 8).state_dict())


def test_a_saved_state_is_a_copy() -> None:
    pool = filled(4, 4)
    state: dict[str, Any] = pool.state_dict()
    pool.add(batch(50, 4))
    assert state["transitions"][1].tolist() == [0, 1, 2, 3]


def test_follows_a_reward_to_another_device(tmp_path: Path) -> None:
    """As where it was restored, on the CPU, for a reward on a GPU; torch's device without values refuses what lies elsewhere."""
    pool = TransitionPool(8)
    pool.load_state_dict(filled(8, 5).state_dict())
    pool.add(batch(5, 3).to(torch.device("meta")))
    assert len(pool) == 8
    assert {field.device.type for field in pool.sample(4)} == {"meta"}


@pytest.mark.parametrize("reward", [SimHashCounts, StateEntropy, SQIL, Constant])
def test_nothing_is_kept_for_a_reward_that_does_not_learn(reward: type[RewardModel]) -> None:
    """A hundred thousand transitions of a humanoid are 280 MB, in the memory and in each checkpoint."""
    box = spaces.Box(-1, 1, (1,))
    callback = RewardCallback(reward(box, spaces.Discrete(2)))
    callback.pool.add(batch(0, 500))
    assert len(callback.pool) == 1
    callback.reward.update(callback.pool)
