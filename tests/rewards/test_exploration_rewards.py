"""Laws that every exploration reward keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.files import load_state, save_state
from genrl.rewards.base import RewardModel
from genrl.rewards.counts import SimHashCounts
from genrl.rewards.disagreement import Disagreement
from genrl.rewards.episodic import E3B, NGU
from genrl.rewards.icm import ICM
from genrl.rewards.memory import TransitionPool
from genrl.rewards.prediction_error import PredictionError
from genrl.rewards.rnd import RND
from genrl.rewards.scale import BonusScale
from genrl.rewards.state_entropy import StateEntropy
from genrl.transitions import Transitions

OBS = spaces.Box(-np.inf, np.inf, (3,))
LEARNED = [PredictionError, ICM, RND, Disagreement]
CASES: list[tuple[type[RewardModel], dict[str, Any]]] = [
    *((cls, {}) for cls in LEARNED),
    (RND, {"predictor_proportion": 0.25}),
    (StateEntropy, {"memory_size": 70}),
    (SimHashCounts, {"warmup": 50}),
    (SimHashCounts, {"bits": 24}),
    (E3B, {}),
    (NGU, {}),
]
ACTIONS = [spaces.Box(-2, 2, (2,)), spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)]
every_reward = pytest.mark.parametrize(("cls", "keywords"), CASES)


def batch(n: int, action_space: spaces.Space[Any], seed: int, center: float = 0.0) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    obs = center + torch.randn(n, 3, generator=generator)
    action_space.seed(seed)
    action = torch.as_tensor(np.stack([action_space.sample() for _ in range(n)]))
    next_obs = obs + (2 * obs).sin() + 0.1 * torch.randn(n, 3, generator=generator)
    return Transitions(obs, action, next_obs, torch.zeros(n, dtype=torch.bool))


def score_and_learn(reward: RewardModel, pool: TransitionPool, transitions: Transitions) -> tuple[torch.Tensor, dict[str, float]]:
    bonus = reward(transitions)
    pool.add(transitions)
    return bonus, reward.update(pool)


def flatten(state: Any, name: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        return {key: leaf for k, item in state.items() for key, leaf in flatten(item, f"{name}/{k}").items()}
    if isinstance(state, list | tuple):
        return {key: leaf for i, item in enumerate(state) for key, leaf in flatten(item, f"{name}/{i}").items()}
    return {name: state.clone() if isinstance(state, torch.Tensor) else state}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a)


@every_reward
@pytest.mark.parametrize("action_space", ACTIONS, ids=lambda space: type(space).__name__)
def test_any_action_space_gives_one_finite_nonnegative_bonus_per_row(
    cls: type[RewardModel], keywords: dict[str, Any], action_space: spaces.Space[Any]
) -> None:
    reward, pool = cls(OBS, action_space, **keywords), TransitionPool(500)
    for seed in range(2):
        bonus, log = score_and_learn(reward, pool, batch(130, action_space, seed))
        assert bonus.shape == (130,) and bonus.dtype == torch.float32 and not bonus.requires_grad
        assert torch.isfinite(bonus).all() and (bonus >= 0).all()
        assert all(isinstance(value, float) and np.isfinite(value) for value in log.values())


@every_reward
def test_scoring_in_evaluation_mode_changes_nothing(cls: type[RewardModel], keywords: dict[str, Any]) -> None:
    reward, pool = cls(OBS, ACTIONS[0], **keywords), TransitionPool(500)
    score_and_learn(reward, pool, batch(130, ACTIONS[0], 0))
    before = flatten(reward.state_dict())
    reward.eval()
    first, second = (reward(batch(40, ACTIONS[0], 1, center=3.0)) for _ in range(2))
    assert torch.equal(first, second)
    assert same(before, flatten(reward.state_dict()))


@every_reward
def test_scoring_in_training_mode_keeps_statistics(cls: type[RewardModel], keywords: dict[str, Any]) -> None:
    reward = cls(OBS, ACTIONS[0], **keywords)
    before = flatten(reward.state_dict())
    reward(batch(40, ACTIONS[0], 1))
    assert not same(before, flatten(reward.state_dict()))


@every_reward
@pytest.mark.parametrize("action_space", ACTIONS[:2], ids=lambda space: type(space).__name__)
def test_a_restored_reward_goes_on_bit_for_bit(
    cls: type[RewardModel], keywords: dict[str, Any], action_space: spaces.Space[Any], tmp_path: Path
) -> None:
    reward, pool = cls(OBS, action_space, seed=1, **keywords), TransitionPool(500, seed=5)
    score_and_learn(reward, pool, batch(130, action_space, 0))
    save_state(tmp_path / "reward", {"reward": reward.state_dict(), "pool": pool.state_dict()})
    state = load_state(tmp_path / "reward")
    restored, restored_pool = cls(OBS, action_space, seed=2, **keywords), TransitionPool(500)
    restored.load_state_dict(state["reward"])
    restored_pool.load_state_dict(state["pool"])
    for seed in (1, 2):
        bonus, log = score_and_learn(reward, pool, batch(130, action_space, seed))
        restored_bonus, restored_log = score_and_learn(restored, restored_pool, batch(130, action_space, seed))
        assert torch.equal(bonus, restored_bonus) and log == restored_log
    assert same(flatten(reward.state_dict()), flatten(restored.state_dict()))


@every_reward
def test_the_seed_decides_everything_and_the_global_generator_nothing(cls: type[RewardModel], keywords: dict[str, Any]) -> None:
    def run(seed: int, global_seed: int) -> torch.Tensor:
        torch.manual_seed(global_seed)
        reward, pool = cls(OBS, ACTIONS[0], seed=seed, normalize=False, **keywords), TransitionPool(500)
        untouched = torch.get_rng_state()
        score_and_learn(reward, pool, batch(130, ACTIONS[0], 0))
        bonus, _ = score_and_learn(reward, pool, batch(130, ACTIONS[0], 1))
        assert torch.equal(untouched, torch.get_rng_state())
        return bonus

    assert torch.equal(run(0, 0), run(0, 1))
    assert not torch.equal(run(0, 0), run(1, 0))


@pytest.mark.parametrize("cls", LEARNED)
def test_the_bonus_falls_where_it_was_seen_and_stays_high_far_away(cls: type[RewardModel]) -> None:
    reward, pool = cls(OBS, ACTIONS[0], normalize=False), TransitionPool(2000)
    scores = [score_and_learn(reward, pool, batch(512, ACTIONS[0], seed))[0].mean() for seed in range(16)]
    reward.eval()
    seen, far = reward(batch(512, ACTIONS[0], 99)).mean(), reward(batch(512, ACTIONS[0], 99, center=4.0)).mean()
    assert seen < 0.5 * scores[0]
    assert far > 3 * seen


@pytest.mark.parametrize("cls", LEARNED)
def test_every_trainable_parameter_learns_and_every_frozen_one_stays(cls: type[RewardModel]) -> None:
    reward, pool = cls(OBS, ACTIONS[0]), TransitionPool(500)
    before = {name: parameter.detach().clone() for name, parameter in reward.named_parameters()}
    score_and_learn(reward, pool, batch(300, ACTIONS[0], 0))
    for name, parameter in reward.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad, name


@pytest.mark.parametrize("cls", LEARNED)
def test_learning_works_inside_no_grad(cls: type[RewardModel]) -> None:
    reward, pool = cls(OBS, ACTIONS[0]), TransitionPool(500)
    with torch.no_grad():
        score_and_learn(reward, pool, batch(130, ACTIONS[0], 0))


@every_reward
def test_the_unit_of_the_observations_does_not_matter(cls: type[RewardModel], keywords: dict[str, Any]) -> None:
    metres = batch(130, ACTIONS[0], 0)
    feet = metres._replace(obs=metres.obs * 3.28 + 7, next_obs=metres.next_obs * 3.28 + 7)
    torch.testing.assert_close(cls(OBS, ACTIONS[0], **keywords)(metres), cls(OBS, ACTIONS[0], **keywords)(feet), rtol=1e-3, atol=1e-4)


@every_reward
def test_the_first_batch_has_root_mean_square_one(cls: type[RewardModel], keywords: dict[str, Any]) -> None:
    bonus = cls(OBS, ACTIONS[0], **keywords)(batch(130, ACTIONS[0], 0))
    torch.testing.assert_close(bonus.square().mean().sqrt(), torch.tensor(1.0))


def test_the_scale_is_the_root_mean_square_of_all_bonuses_so_far() -> None:
    scale = BonusScale()
    torch.testing.assert_close(scale(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 12.5**0.5)
    torch.testing.assert_close(scale(torch.tensor([5.0, 0.0])), torch.tensor([5.0, 0.0]) / 12.5**0.5)
    scale.eval()
    torch.testing.assert_close(scale(torch.tensor([100.0])), torch.tensor([100.0]) / 12.5**0.5)


def test_a_bonus_that_does_not_vary_is_one_and_one_that_is_zero_stays_zero() -> None:
    torch.testing.assert_close(BonusScale()(torch.full((4,), 7.0)), torch.ones(4))
    assert torch.equal(BonusScale()(torch.zeros(4)), torch.zeros(4))
    assert torch.equal(BonusScale(enabled=False)(torch.full((4,), 7.0)), torch.full((4,), 7.0))


@pytest.mark.parametrize(
    ("cls", "keywords"),
    [
        *((cls, {"learning_rate": -1e-3}) for cls in LEARNED),
        *((cls, {"batch_size": 0}) for cls in LEARNED),
        *((cls, {"hidden": (64, 0)}) for cls in LEARNED),
        (PredictionError, {"gradient_steps": 0}),
        (ICM, {"beta": 1.0}),
        (ICM, {"eta": 0.0}),
        (ICM, {"epochs": 0}),
        (RND, {"predictor_proportion": 0.0}),
        (RND, {"predictor_proportion": 1.5}),
        (RND, {"clip_obs": float("nan")}),
        (Disagreement, {"members": 1}),
        (StateEntropy, {"k": 0}),
        (StateEntropy, {"memory_size": -1}),
        (SimHashCounts, {"bits": 0}),
        (SimHashCounts, {"offset": -1.0}),
    ],
)
def test_a_bad_keyword_is_refused_with_what_to_type(cls: Callable[..., RewardModel], keywords: dict[str, Any]) -> None:
    (name,) = keywords
    with pytest.raises(ValueError, match=rf"needs .*{name}|needs .*members") as error:
        cls(OBS, ACTIONS[0], **keywords)
    assert f"type {name}=" in str(error.value)
