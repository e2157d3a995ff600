"""Rows that a source lends to a learner's batches, against hand-computed returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genrl.rewards import RewardCallback, Transitions
from genrl.sb3.batches import Rows, sizes
from genrl.sb3.hooks import LendingPart, attached, buffer_of
from genrl.sb3.plugged import PluggedCallback
from tests.rewards.clock import OFF_POLICY, ClockReward, Spy, Zero, clock_learner, equal_parameters, reward_of, score

BATCH = 8
LENGTH = 2 * 40


class Lender(PluggedCallback):
    """Lends what ``rows`` makes, and keeps it."""

    def __init__(self, share: float, rows: Any, name: str = "lender") -> None:
        super().__init__()
        self.share, self.rows, self.name = share, rows, name
        self.lent: list[Rows | None] = []

    def _part(self) -> LendingPart:
        return LendingPart(self.name, self.share, self._draw)

    def _draw(self, n: int) -> Rows | None:
        self.lent.append(self.rows(self.model, n))
        return self.lent[-1]


class Draw(Spy):
    """Draws one batch at step 30, as the learner would; and asks then what ``expect`` says."""

    def __init__(self, expect: Callable[[Any], Any] = lambda model: None) -> None:
        self.batch: Any = None
        self.expected: Any = None

        def look(spy: Spy) -> None:
            if spy.n_calls == 30:
                self.batch = buffer_of(spy.model).sample(BATCH, spy.model._vec_normalize_env)
                self.expected = expect(spy.model)

        super().__init__(look)


def steps(model: Any, n: int, time: int | None = None, seed: int = 0) -> tuple[Transitions, torch.Tensor]:
    """Made-up transitions in the environment's units, and rewards."""
    rng = np.random.default_rng(seed)
    lead = (n,) if time is None else (time, n)
    box = hasattr(model.action_space, "low")
    action = rng.uniform(model.action_space.low, model.action_space.high, (*lead, 2)) if box else rng.integers(4, size=lead)
    obs, next_obs = (torch.from_numpy(rng.integers(0, 300, (*lead, 3))).float() for _ in range(2))
    kind = torch.float32 if box else torch.int64
    rewards = torch.from_numpy(rng.uniform(1, 5, lead)).float()
    return Transitions(obs, torch.from_numpy(action).to(kind), next_obs, torch.zeros(lead, dtype=torch.bool)), rewards


def single(model: Any, n: int) -> Rows:
    transitions, rewards = steps(model, n)
    return Rows(transitions._replace(terminated=torch.arange(n) % 2 == 0), rewards)


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize(("normalize", "n_steps"), [("", 1), ("", 3), ("obs reward", 1), ("obs reward", 3)])
@pytest.mark.parametrize("rewarded", [False, True])
def test_lent_rows_stand_behind_the_learners_own_in_its_form_and_its_pay(name: str, normalize: str, n_steps: int, rewarded: bool) -> None:
    def expect(model: Any) -> tuple[Any, ...]:
        rows = single(model, 2)
        obs, next_obs, paid = (value.numpy() for value in (rows.transitions.obs, rows.transitions.next_obs, rows.rewards))
        if normalize:  # as it is at this step
            return model.env.normalize_obs(obs), model.env.normalize_obs(next_obs), model.env.normalize_reward(paid)
        return obs, next_obs, paid

    model = clock_learner(name, 2, normalize, n_steps=n_steps)
    draw, rows = Draw(expect), single(model, 2)
    rewards = [RewardCallback(reward_of(model), 3.0, 0.5)] if rewarded else []
    model.learn(LENGTH, callback=[Lender(0.25, single), *rewards, draw])
    batch, (obs, next_obs, paid) = draw.batch, draw.expected
    if rewarded:
        paid = 0.5 * paid + 3 * score(rows.transitions).numpy()
    assert len(batch.rewards) == BATCH
    np.testing.assert_allclose(batch.rewards[-2:, 0], paid, rtol=1e-6)
    np.testing.assert_allclose(batch.observations[-2:], obs, rtol=1e-6)
    np.testing.assert_allclose(batch.next_observations[-2:], next_obs, rtol=1e-6)
    assert batch.dones[-2:, 0].tolist() == [1, 0]
    stored = rows.transitions.action.numpy()
    low, high = getattr(model.action_space, "low", 0), getattr(model.action_space, "high", 0)
    expected = 2 * (stored - low) / (high - low) - 1 if hasattr(model.action_space, "low") else stored[:, None]
    np.testing.assert_allclose(batch.actions[-2:], expected, rtol=1e-5)
    if n_steps == 1:
        assert batch.discounts is None
    else:
        assert batch.discounts[-2:, 0].tolist() == pytest.approx([model.gamma] * 2)


def test_rows_of_several_steps_are_summed_and_bootstrapped_as_the_learners_own() -> None:
    def several(model: Any, n: int) -> Rows:
        transitions, rewards = steps(model, n, time=4)
        length = torch.tensor([4, 2])
        ended = torch.zeros(4, n, dtype=torch.bool)
        ended[1, 1] = True
        nothing = torch.arange(4)[:, None] >= length  # what does not count is never read
        transitions = transitions._replace(obs=transitions.obs.masked_fill(nothing[..., None], torch.nan), terminated=ended)
        return Rows(transitions, rewards, length)

    model = clock_learner("SAC", 2)
    lender, draw = Lender(0.25, several), Draw()
    rewards = [RewardCallback(reward_of(model), 2.0, 0.5), RewardCallback(reward_of(model), -0.25, 0.5, name="second")]
    model.learn(LENGTH, callback=[*rewards, lender, draw])
    rows, g = several(model, 2), model.gamma

    def paid(time: int, row: int) -> float:
        step = Transitions(*(field[time, row : row + 1] for field in rows.transitions))
        return 0.25 * float(rows.rewards[time, row]) + (2 - 0.25) * float(score(step)[0])

    expected = [sum(g**t * paid(t, 0) for t in range(4)), paid(0, 1) + g * paid(1, 1)]
    assert draw.batch.rewards[-2:, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert draw.batch.discounts[-2:, 0].tolist() == pytest.approx([g**4, g**2])
    assert draw.batch.discounts[:-2, 0].tolist() == pytest.approx([g] * 6)  # the learner's own, of one step
    assert draw.batch.dones[-2:, 0].tolist() == [0, 1]
    assert torch.equal(draw.batch.next_observations[-2:], torch.stack([rows.transitions.next_obs[3, 0], rows.transitions.next_obs[1, 1]]))
    assert torch.equal(draw.batch.observations[-2:], rows.transitions.obs[0])


def test_several_sources_compose() -> None:
    def marked(value: float) -> Any:
        return lambda model, n: single(model, n)._replace(rewards=torch.full((n,), value))

    model = clock_learner("DQN", 2)
    draw = Draw()
    model.learn(LENGTH, callback=[Lender(0.5, marked(-1.0)), Lender(0.25, marked(-2.0), "other"), draw])
    assert draw.batch.rewards[2:, 0].tolist() == [-1.0] * 4 + [-2.0] * 2
    assert (draw.batch.rewards[:2] > 0).all()


@pytest.mark.parametrize("name", ["SAC", "DQN"])
def test_a_source_that_has_nothing_yet_changes_nothing(name: str) -> None:
    models, lender = [], Lender(0.5, lambda model, n: None)
    for callback in (lender, None):
        model = clock_learner(name, 2, "obs reward", n_steps=3)
        model.learn(LENGTH, callback=callback)
        models.append(model)
    assert lender.lent
    assert equal_parameters(*models)


def test_a_source_may_lend_fewer_rows_than_its_share() -> None:
    model = clock_learner("SAC", 2)
    draw = Draw()
    model.learn(LENGTH, callback=[Lender(0.5, lambda model, n: single(model, 1)), draw])
    assert len(draw.batch.rewards) == BATCH
    assert float(draw.batch.rewards[-1]) == float(single(model, 1).rewards[0])


def test_shares_that_leave_nothing_to_the_learner_are_refused() -> None:
    model = clock_learner("SAC", 2)
    with pytest.raises(ValueError, match=r"shares of 0.5, 0.5 leave nothing .*; lower them"):
        model.learn(LENGTH, callback=[Lender(0.5, single), Lender(0.5, single, "other")])
    assert model.num_timesteps == 0


@given(st.integers(1, 512), st.lists(st.floats(0, 1), max_size=4))
def test_one_row_of_a_batch_is_always_the_learners_own(batch_size: int, shares: list[float]) -> None:
    given_ = sizes(batch_size, shares)
    assert len(given_) == len(shares)
    assert min(given_, default=0) >= 0
    assert batch_size - sum(given_) >= 1
    if sum(shares) < 0.9 and batch_size > 40:
        assert all(abs(n - share * batch_size) <= 0.5 for n, share in zip(given_, shares, strict=True))


class TestAfterAnException:
    """Within the ``except`` that caught it, before anything else has happened."""

    @pytest.mark.parametrize("name", ["SAC", "DQN", "PPO", "RecurrentPPO"])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_the_buffer_is_its_plain_self_at_once(self, name: str, error: type[BaseException]) -> None:
        model = clock_learner(name, 2, "obs")
        plain = type(buffer_of(model))

        def look(spy: Spy) -> None:
            if spy.n_calls == 24:
                assert len(attached(buffer_of(model))) == 1
                raise error

        reward = reward_of(model)
        try:
            model.learn(LENGTH, callback=[RewardCallback(reward, 5.0), Spy(look)])
        except error:
            events = len(reward.events)
            assert attached(buffer_of(model)) == []
            if hasattr(model, "replay_buffer"):
                drawn = model.replay_buffer.sample(32).rewards
                assert set(drawn.flatten().tolist()) <= {float(1 + time + 3 * index) for time in range(8) for index in range(2)}
            else:
                model.rollout_buffer.compute_returns_and_advantage(torch.zeros(2), np.zeros(2))
            assert type(buffer_of(model)) is plain
            model.env.reset()
            model.env.step(np.array([model.action_space.sample() for _ in range(2)]))
            assert "step_wait" not in vars(model.env.venv)
            assert len(reward.events) == events

    def test_lent_rows_are_gone_too(self) -> None:
        def look(spy: Spy) -> None:
            if spy.n_calls == 24:
                raise RuntimeError

        model = clock_learner("SAC", 2)
        lender = Lender(0.5, single)
        with pytest.raises(RuntimeError):
            model.learn(LENGTH, callback=[lender, Spy(look)])
        n = len(lender.lent)
        model.replay_buffer.sample(8)
        model.learn(LENGTH)
        assert len(lender.lent) == n


def test_two_callbacks_of_one_name_are_refused_before_the_first_step() -> None:
    for name in ("PPO", "SAC"):
        model = clock_learner(name)
        with pytest.raises(
            ValueError, match="two callbacks are named 'reward' and would log over each other; give one of them another name"
        ):
            model.learn(LENGTH, callback=[RewardCallback(reward_of(model, Zero)), RewardCallback(reward_of(model, ClockReward))])
        assert model.num_timesteps == 0


@pytest.mark.parametrize("weight", ["weight", "extrinsic_weight"])
def test_a_weight_that_becomes_nan_during_learn_is_refused(weight: str) -> None:
    model = clock_learner("SAC")
    callback = RewardCallback(reward_of(model))
    with pytest.raises(ValueError, match=f"RewardCallback needs {weight} to be finite, but was given nan"):
        model.learn(LENGTH, callback=[callback, Spy(lambda spy: setattr(callback, weight, float("nan")))])
    assert model.num_timesteps == 2


def test_an_extrinsic_weight_may_change_during_learn() -> None:
    model = clock_learner("DQN", 2)
    callback = RewardCallback(reward_of(model, Zero), extrinsic_weight=0.5)
    draw = Draw()
    model.learn(LENGTH, callback=[callback, Spy(lambda spy: setattr(callback, "extrinsic_weight", -1.0)), draw])
    assert (draw.batch.rewards < 0).all()
