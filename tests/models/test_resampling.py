from __future__ import annotations

import torch

from genrl.models.resampling import bootstrap, follows, held_out, row_hash, windows
from genrl.transitions import Transitions


def walk(n: int, seed: int = 0, ends: tuple[int, ...] = ()) -> Transitions:
    """One environment in the order of time; an episode ends by termination after each of the rows ``ends``."""
    generator = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, n, 3, generator=generator)
    next_obs[:-1] = obs[1:]
    terminated = torch.zeros(n, dtype=torch.bool)
    terminated[list(ends)] = True
    return Transitions(obs, torch.rand(n, 2, generator=generator), next_obs, terminated)


def test_a_row_keeps_its_place_in_every_bootstrap_whatever_is_added_or_moved() -> None:
    rows = walk(500)
    counts = bootstrap(row_hash(rows), 5)
    more = Transitions.concatenate([walk(300, seed=1), rows])
    assert torch.equal(bootstrap(row_hash(more), 5)[:, 300:], counts)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bootstrap(row_hash(rows.rows(order)), 5), counts[:, order])


def test_members_have_bootstraps_of_their_own_with_each_row_once_on_average() -> None:
    counts = bootstrap(row_hash(walk(20_000)), 4).double()
    assert (counts.mean(1) - 1).abs().max() < 0.03
    assert ((counts == 0).double().mean(1) - 0.368).abs().max() < 0.015
    assert (torch.corrcoef(counts) - torch.eye(4)).abs().max() < 0.03
    assert not torch.equal(counts, bootstrap(row_hash(walk(20_000)), 4, seed=1))


def test_held_out_rows_are_stretches_and_stay_held_out() -> None:
    rows = walk(5000)
    held = held_out(rows, 0.1, length=10)
    assert 0.06 < held.double().mean() < 0.14
    assert len(windows(rows, 10, among=held)) > 20
    assert torch.equal(held_out(Transitions.concatenate([rows, walk(100, seed=1)]), 0.1)[:5000], held)


def test_in_a_task_of_few_transitions_every_member_is_fitted_to_each_of_them_and_each_is_held_out_at_some_visits() -> None:
    action = torch.randint(2, (4000,), generator=torch.Generator().manual_seed(0))
    cell = torch.cat([torch.zeros(1, dtype=torch.long), (2 * action - 1).cumsum(0)]) % 8  # a ring, walked one way or the other
    obs, which = torch.eye(8)[cell], 2 * cell[:-1] + action
    rows = Transitions(obs[:-1], action, obs[1:], torch.zeros(4000, dtype=torch.bool))
    held, counts = held_out(rows, 0.1), bootstrap(row_hash(rows), 5).double()
    for each in range(16):
        assert 0.02 < held[which == each].double().mean() < 0.25
        assert (counts[:, which == each].mean(1) - 1).abs().max() < 0.35


def test_rows_follow_each_other_until_an_episode_ends() -> None:
    rows = Transitions.concatenate([walk(4, ends=(1,)), walk(2, seed=1)])
    assert follows(rows).tolist() == [False, True, False, True, False, True]
    assert windows(rows, 2).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert windows(rows, 3).tolist() == []
    among = torch.tensor([True, True, False, True, True, True])
    assert windows(rows, 2, among).tolist() == [[0, 1], [4, 5]]
