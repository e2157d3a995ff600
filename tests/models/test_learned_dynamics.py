"""What both models of dynamics take from the rows that they are fitted to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gymnasium import spaces

from genrl.models.bayesian_dynamics import BayesianDynamics
from genrl.models.ensemble import Ensemble
from genrl.models.resampling import held_out
from genrl.transitions import Transitions


@pytest.fixture(params=[Ensemble, BayesianDynamics])
def fitted(request: Any) -> tuple[Any, Transitions]:
    """A model after two gradient steps, and its rows."""
    generator = torch.Generator().manual_seed(0)
    obs, action = 5 + 3 * torch.randn(200, 3, generator=generator), 2 * torch.rand(200, 2, generator=generator) - 1
    rows = Transitions(obs, action, obs + 0.1 * torch.randn(200, 3, generator=generator), torch.zeros(200, dtype=torch.bool))
    model = request.param(spaces.Box(-50, 50, (3,)), spaces.Box(-1, 1, (2,)), members=2, hidden=(8,), reward=lambda s, a, n: s[:, 0])
    model.fit(rows, max_steps=2)
    return model, rows


def test_a_fit_remembers_the_range_of_what_was_seen(fitted: tuple[Any, Transitions]) -> None:
    model, rows = fitted
    both = torch.cat([rows.obs, rows.next_obs])
    assert torch.equal(model.low, both.min(0).values)
    assert torch.equal(model.high, both.max(0).values)


def test_statistics_are_those_of_the_rows_that_are_fitted_to_and_of_no_held_out_row(fitted: tuple[Any, Transitions]) -> None:
    model, rows = fitted
    held = held_out(rows, 0.1)
    assert 0 < held.sum() < len(held)
    torch.testing.assert_close(model.standardizer.obs.mean.float(), rows.obs[~held].mean(0), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model.standardizer.obs.mean.float(), rows.obs.mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_rows_are_taken_to_the_models_dtype(kind: Any) -> None:
    obs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    rows = Transitions(obs, torch.zeros(200, 2), 0.9 * obs, torch.zeros(200, dtype=torch.bool))
    model = kind(spaces.Box(-50, 50, (3,)), spaces.Box(-1, 1, (2,)), members=2, hidden=(8,)).double()
    report = model.fit(rows, obs[:, 0], max_steps=2)
    assert report.rows + report.held_out_rows == 200
    assert model.predict(obs.double(), rows.action.double()).mean.dtype == torch.float64


@pytest.mark.parametrize("first", ["reward", "end"])
@pytest.mark.parametrize("kind", [Ensemble, BayesianDynamics])
def test_a_first_reward_or_end_that_is_held_out_neither_ends_a_fit_nor_blurs_its_loss(kind: Any, first: str) -> None:
    generator = torch.Generator().manual_seed(0)
    obs, action, never = torch.randn(400, 3, generator=generator), torch.zeros(400, 2), torch.zeros(400, dtype=torch.bool)
    held = int(held_out(Transitions(obs, action, 0.9 * obs, never), 0.1).nonzero()[0])
    there = torch.arange(400) == held
    rows = Transitions(obs, action, 0.9 * obs, there if first == "end" else never)
    model = kind(spaces.Box(-50, 50, (3,)), spaces.Box(-1, 1, (2,)), members=2, hidden=(8,))
    report = model.fit(rows, there.float() if first == "reward" else 0 * obs[:, 0], max_steps=1000)
    assert report.steps == 1000
    assert report.held_out_loss < 1


@pytest.mark.parametrize("name", ["reward", "termination"])
@pytest.mark.parametrize(("given", "said"), [(lambda n: torch.ones(n, 1), r"shape \(4, 1\)"), (lambda n: 1.0, "a float")])
def test_a_function_that_gives_no_value_for_each_row_is_refused(name: str, given: Any, said: str) -> None:
    model: Any = Ensemble(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), members=2, hidden=(8,), **{name: lambda s, a, n: given(len(s))})
    with pytest.raises(ValueError, match=rf"the {name} function of Ensemble gave {said} for 4 rows; it needs a tensor of shape \(4,\)"):
        model.step(torch.zeros(4, 3), torch.zeros(4, 2))


def test_ends_are_taken_as_numbers_too_and_actions_that_are_none_are_named() -> None:
    obs, action, ends = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(60, 2), torch.zeros(60)
    model = Ensemble(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), members=2, hidden=(8,), termination=lambda s, a, n: 0 * n[:, 0] + 1)
    model.fit(Transitions(obs, action, obs, ends), obs[:, 0], max_steps=2)  # type: ignore[arg-type]
    assert model.step(obs, action).terminated.all()
    with pytest.raises(ValueError, match="given actions that are NaN or infinite"):
        model.fit(Transitions(obs, action / 0, obs, ends.bool()), obs[:, 0])


@pytest.mark.parametrize(("offset", "told"), [(0.0, False), (1e3, False), (1e7, True)])
def test_differences_that_float32_has_lost_are_told_of_once(
    fitted: tuple[Any, Transitions], offset: float, told: bool, recwarn: Any
) -> None:
    other, rows = fitted
    model = type(other)(other.observation_space, other.action_space, members=2, hidden=(8,), reward=other.reward)
    far = torch.tensor([0.0, offset, 0.0], dtype=torch.float64)
    for k in (1, 2):
        model.fit(rows._replace(obs=(rows.obs + k * far).float(), next_obs=(rows.next_obs + k * far).float()), max_steps=2)
    said = [str(warning.message) for warning in recwarn if "apart" in str(warning.message)]
    assert len(said) == told  # once, at the first fit
    assert all(f"{type(model).__name__} can't tell observations apart: entry 1 is near 1e+07" in words for words in said)
