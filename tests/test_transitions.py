"""Transitions, the true next observation of a vectorised step, and the refusal of non-finite numbers, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from genrl.transitions import Transitions, check_finite, true_next_obs


def batch(start: int, size: int) -> Transitions:
    x = torch.arange(start, start + size).float()
    return Transitions(x[:, None], x.long(), x[:, None] + 1, x > 2)


def test_the_successor_of_a_last_step_is_its_terminal_observation() -> None:
    new_obs = np.array([[1.0, 2.0], [0.0, 0.0], [5.0, 6.0]])  # environment 1 shows its next episode's first observation
    infos: list[dict[str, Any]] = [{}, {"terminal_observation": np.array([8.0, 9.0])}, {}]
    next_obs = true_next_obs(new_obs, np.array([False, True, False]), infos)
    np.testing.assert_array_equal(next_obs, [[1, 2], [8, 9], [5, 6]])
    np.testing.assert_array_equal(new_obs[1], [0, 0])  # what the learner goes on from is not touched


def test_without_an_end_the_successor_is_the_new_observation_itself() -> None:
    new_obs = np.ones((2, 3))
    assert true_next_obs(new_obs, np.zeros(2, dtype=bool), [{"terminal_observation": np.zeros(3)}, {}]) is new_obs


def test_the_dtype_of_the_observations_stays() -> None:
    for dtype in (np.uint8, np.float32, np.float64):
        next_obs = true_next_obs(np.zeros((1, 2), dtype), np.array([True]), [{"terminal_observation": np.array([3, 4])}])
        assert next_obs.dtype == dtype


def test_a_lost_successor_is_refused_with_its_environment() -> None:
    with pytest.raises(KeyError, match="environment 1 is done but its info has no 'terminal_observation'"):
        true_next_obs(np.zeros((2, 1)), np.array([True, True]), [{"terminal_observation": np.zeros(1)}, {}])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_number_is_named_with_environment_entry_and_step(bad: float) -> None:
    obs, rewards = np.zeros((3, 4)), np.zeros(3)
    check_finite(obs, rewards, 7)
    obs[2, 1] = bad
    with pytest.raises(FloatingPointError, match=rf"environment 2 gave an observation of {bad}, entry 1 at step 7;"):
        check_finite(obs, rewards, 7)
    rewards[1] = bad  # the reward comes first: it is one number
    with pytest.raises(FloatingPointError, match=rf"environment 1 gave a reward of {bad} at step 7;"):
        check_finite(obs, rewards, 7)


def test_an_entry_of_an_image_is_named_by_all_its_indices() -> None:
    obs = np.zeros((2, 3, 4))
    obs[1, 2, 3] = np.nan
    with pytest.raises(FloatingPointError, match=r"environment 1 gave an observation of nan, entry \(2, 3\) at step 0"):
        check_finite(obs, np.zeros(2), 0)


def test_integers_are_finite() -> None:
    check_finite(np.zeros((2, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64), 0)


def test_rows_and_concatenation_keep_the_fields_together() -> None:
    whole = Transitions.concatenate([batch(0, 2), batch(2, 3)])
    assert whole.batch_size == 5
    for field, expected in zip(whole, batch(0, 5), strict=True):
        assert torch.equal(field, expected)
    picked = whole.rows(torch.tensor([4, 1]))
    assert (picked.obs[:, 0].tolist(), picked.action.tolist(), picked.terminated.tolist()) == ([4, 1], [4, 1], [True, False])
    assert whole.rows(slice(-2, None)).next_obs[:, 0].tolist() == [4, 5]
