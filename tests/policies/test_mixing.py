"""Demonstrations in a learner's batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrl.data import DemonstrationError, Demonstrations, Episode
from genrl.files import load_state, save_state
from genrl.policies import Mixing
from genrl.rewards import SQIL, RewardCallback
from genrl.sb3.hooks import attached, buffer_of
from tests.rewards.clock import ON_POLICY, Spy, clock_learner, reward_of, score

N = 50


def demonstrations(width: int = 3) -> Demonstrations:
    rng = np.random.default_rng(0)
    last = np.arange(N) == N - 1
    actions = rng.uniform([-2, 0], [3, 0.5], (N, 2)).astype(np.float32)
    return Demonstrations.from_episodes([Episode(rng.integers(5000, 9000, (N + 1, width)), actions, np.arange(N), last & False, last)])


def drawn(model: Any, callbacks: list[Any], at: int = 24) -> Any:
    """The batch of eight that a learner draws at a step."""
    found: list[Any] = []

    def look(spy: Spy) -> None:
        if spy.n_calls == at:
            found.append(buffer_of(model).sample(8))

    model.learn(60, callback=[*callbacks, Spy(look)])
    return found[0]


def test_a_share_of_a_batch_is_demonstrated_with_its_recorded_reward() -> None:
    model, demos = clock_learner("SAC", 2), demonstrations()
    batch = drawn(model, [Mixing(demos, 0.5)])
    known = demos.transitions()
    for row in range(4, 8):
        place = known.obs.tolist().index(batch.observations[row].tolist())
        assert float(batch.rewards[row]) == place  # episode.rewards counts
        assert batch.next_observations[row].tolist() == known.next_obs[place].tolist()
        low, high = (torch.from_numpy(bound) for bound in (model.action_space.low, model.action_space.high))
        torch.testing.assert_close((batch.actions[row] + 1) / 2 * (high - low) + low, known.action[place])
    assert (batch.observations[:4, 0] < 5000).all()


def test_the_rewards_in_force_pay_it() -> None:
    model, demos = clock_learner("SAC", 2), demonstrations()
    batch = drawn(model, [Mixing(demos, 0.25), RewardCallback(reward_of(model), 2.0, extrinsic_weight=0.0)])
    known = demos.transitions()
    places = [known.obs.tolist().index(row) for row in batch.observations[6:].tolist()]
    torch.testing.assert_close(batch.rewards[6:, 0], 2 * score(known.rows(torch.tensor(places))))


@pytest.mark.parametrize("first", [True, False])
def test_sqil_is_served_in_either_order(first: bool) -> None:
    model = clock_learner("SAC", 2)
    callbacks = [Mixing(demonstrations(), 0.5), RewardCallback(reward_of(model, SQIL), extrinsic_weight=0.0)]
    assert drawn(model, callbacks[:: 1 if first else -1]).rewards[:, 0].tolist() == [0.0] * 4 + [1.0] * 4


def test_its_draws_are_its_own_and_are_restored(tmp_path: Path) -> None:
    rows = []
    for state in (None, None, "saved"):
        mixing = Mixing(demonstrations(), 0.5, seed=3)
        if state:
            mixing.load_state_dict(load_state(tmp_path / "mixing.safetensors"))
        before = torch.get_rng_state()
        rows.append(drawn(clock_learner("SAC", 2), [mixing], at=8).observations[4:])
        save_state(tmp_path / "mixing.safetensors", mixing.state_dict())
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[1], rows[2])
    assert before.shape == torch.get_rng_state().shape


def test_the_buffer_is_plain_afterwards() -> None:
    model = clock_learner("SAC", 2, n_steps=3)
    plain = type(model.replay_buffer)
    drawn(model, [Mixing(demonstrations())])
    assert type(model.replay_buffer) is plain
    assert attached(model.replay_buffer) == []


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"Mixing needs share to be in \(0, 1\), but was given .*; type share=0.5 for the default"):
        Mixing(demonstrations(), share)


@pytest.mark.parametrize("name", ON_POLICY)
def test_a_learner_without_a_replay_buffer_is_refused_before_the_first_step(name: str) -> None:
    model = clock_learner(name)
    with pytest.raises(ValueError, match=f"^{name} has no replay buffer into whose batches demonstrations could go; use SAC"):
        model.learn(60, callback=Mixing(demonstrations()))
    assert model.num_timesteps == 0


def test_demonstrations_of_another_task_are_refused_before_the_first_step() -> None:
    model = clock_learner("SAC")
    with pytest.raises(DemonstrationError):
        model.learn(60, callback=Mixing(demonstrations(width=4)))
    assert model.num_timesteps == 0
