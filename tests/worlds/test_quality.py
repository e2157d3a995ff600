from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from genrl.models.bayesian_dynamics import BayesianDynamics
from genrl.transitions import Transitions
from genrl.worlds import Ensemble, measure_quality
from genrl.worlds.quality import end_auroc
from tests.worlds.analytic import ClockDynamics, LinearGaussian


def episode(model, n, seed=0, start=(0.5, -1.0)):
    """Real steps of analytic dynamics, in the order of time."""
    generator = torch.Generator().manual_seed(seed)
    obs, rows = torch.tensor([start]), []
    for _ in range(n):
        action = torch.rand(1, 1, generator=generator) * 2 - 1
        outcome = model.step(obs, action, generator)
        rows.append((obs, action, *outcome))
        obs = outcome.next_obs
    obs, action, next_obs, reward, terminated = (torch.cat(field) for field in zip(*rows, strict=True))
    return Transitions(obs, action, next_obs, terminated), reward


def test_the_true_model_has_no_error_at_any_horizon_and_explains_the_reward() -> None:
    model = LinearGaussian()
    found = measure_quality(model, *episode(model, 200), fitted=LinearGaussian(std=0.01).rows(500)[0])
    assert max(found.error["model"]) < 1e-4
    assert found.reward_r2 == pytest.approx(1)
    assert max(found.error["ridge"]) < 0.1 < found.error["persistence"][1]  # the task is linear
    assert math.isnan(found.end_auroc)


def test_errors_after_k_steps_are_those_by_hand() -> None:
    clock = ClockDynamics()
    test, reward = episode(clock, 10, start=(0.0, 0.0))
    std = torch.cat([test.obs, test.next_obs]).std(0)[0]
    found = measure_quality(clock, test, reward, horizons=(1, 3, 50))
    # The clock moves by one a step and its other entry stays: half of the entries are wrong by k.
    np.testing.assert_allclose(found.error["persistence"][:2], [1 / std / 2, 3 / std / 2], rtol=1e-5)
    assert found.error["constant velocity"][:2] == [0, 0]
    assert math.isnan(found.error["model"][2])

    wrong = LinearGaussian()
    wrong.predict = lambda obs, action: clock.predict(obs, action)._replace(mean=(obs + torch.tensor([1.5, 0.0]))[None])
    found = measure_quality(wrong, test, reward, horizons=(1, 3))
    np.testing.assert_allclose(found.worst_error, [0.5 / std, 1.5 / std], rtol=1e-4)
    assert found.worst_entry == [0, 0]


@pytest.mark.parametrize("drift", [5e-7, 2.0])
def test_an_entry_that_never_changes_is_measured_in_its_own_units(drift: float) -> None:
    """A fitted model is wrong there by less than a millionth, which is no worst of all entries; in steps of rounding it would be."""
    clock, wrong = ClockDynamics(), LinearGaussian()
    test, reward = episode(clock, 10, start=(0.0, 0.0))
    wrong.predict = lambda obs, action: clock.predict(obs, action)._replace(mean=(obs + torch.tensor([1.0, drift]))[None])
    found = measure_quality(wrong, test, reward, horizons=(1, 3))
    np.testing.assert_allclose(found.worst_error, [drift, 3 * drift], rtol=1e-4)
    np.testing.assert_allclose(found.error["model"], [drift / 2, 3 * drift / 2], rtol=1e-4)


def test_ends_that_are_known_as_a_function_are_told_apart_by_it() -> None:
    clock = ClockDynamics(end=6)
    test, reward = episode(clock, 10, start=(0.0, 0.0))
    assert test.terminated.sum() == 5
    assert measure_quality(clock, test, reward).end_auroc == 1.0
    late = test._replace(terminated=test.obs[:, 0] >= 7)  # of the 7 rows that go on, two are said to end; the 3 that end are among those
    assert measure_quality(clock, late, reward).end_auroc == pytest.approx((5 + 2 / 2) / 7)


def test_a_reward_that_only_rounding_changes_is_not_explained() -> None:
    model = LinearGaussian()
    test, _ = episode(model, 50)
    assert math.isnan(measure_quality(model, test, 1 + 1e-7 * torch.randn(50)).reward_r2)


def test_a_model_of_shuffled_actions_is_noticed() -> None:
    model = LinearGaussian()
    (rows, reward), (test, paid) = episode(model, 800), episode(model, 200, seed=1)
    shuffled = rows._replace(action=rows.action[torch.randperm(800, generator=torch.Generator().manual_seed(0))])
    found, losses = [], []
    for data in (rows, shuffled):
        world = Ensemble(model.observation_space, model.action_space, members=3, hidden=(32,), targets="delta")
        losses.append(world.fit(data, reward, max_steps=400).held_out_loss)
        found.append(measure_quality(world, test, paid, horizons=(1, 10)))
    assert losses[1] > losses[0] + 0.3
    assert min(wrong / right for right, wrong in zip(found[0].error["model"], found[1].error["model"], strict=True)) > 2


def test_intervals_of_the_right_width_cover_what_they_say_and_narrow_ones_less() -> None:
    test, reward = episode(LinearGaussian(std=0.2), 3000)
    right = measure_quality(LinearGaussian(std=0.2), test, reward).coverage
    assert right == pytest.approx({"50%": 0.5, "90%": 0.9}, abs=0.03)
    assert measure_quality(LinearGaussian(std=0.1), test, reward).coverage["90%"] < 0.7


def test_auroc_counts_pairs() -> None:
    label = torch.tensor([True, False, True, False, False])
    score = torch.tensor([3.0, 1.0, 1.0, 2.0, 0.0])
    pairs = [(p > n) + 0.5 * (p == n) for p in score[label].tolist() for n in score[~label].tolist()]
    assert end_auroc(score, label) == pytest.approx(sum(pairs) / len(pairs))
    assert math.isnan(end_auroc(score, label | True))


def test_it_prints_and_saves() -> None:
    model = LinearGaussian()
    found = measure_quality(model, *episode(model, 20))
    assert "k = 50" in found.table()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["error"]["model"][-1] is None


@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_rewards_are_taken_as_arrays_too(kind: Any) -> None:
    truth = LinearGaussian()
    rows, reward = episode(truth, 100)
    worlds = [kind(truth.observation_space, truth.action_space, members=2, hidden=(8,)) for _ in range(2)]
    reports = [world.fit(rows, given, max_steps=5) for world, given in zip(worlds, (reward, reward.numpy()), strict=True)]
    assert reports[0] == reports[1]
    assert measure_quality(worlds[0], rows, reward.numpy()).reward_r2 == measure_quality(worlds[0], rows, reward).reward_r2


def test_what_cannot_be_measured_is_refused() -> None:
    model = LinearGaussian()
    test, reward = episode(model, 20)
    with pytest.raises(ValueError, match=r"reward to be one for each transition, of shape \(20,\)"):
        measure_quality(model, test, reward[:, None])
    with pytest.raises(ValueError, match="at least 2 test transitions"):
        measure_quality(model, *episode(model, 1))
    with pytest.raises(ValueError, match="horizons to be numbers of steps from 1 on"):
        measure_quality(model, *episode(model, 20), horizons=(0,))
