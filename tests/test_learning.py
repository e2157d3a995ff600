"""Learning: minutes each, marked slow; the numbers are in demos/results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genrl.runs import ExploreConfig, explore

BASE = ExploreConfig(
    env="genrl/SparseMountainCar-v0",
    learner="trpo",
    steps=30_000,
    weight=1e-3,
    n_envs=8,
    normalize_obs=True,
    pictures=False,
    learner_kwargs={"n_steps": 128, "gae_lambda": 0.98},
)


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["vime", "rnd", "state-entropy"])
def test_a_bonus_finds_the_goal_and_keeps_it(tmp_path, reward):
    result = explore(replace(BASE, reward=reward, out=tmp_path / "run"), quiet=True)
    assert result["first_reward_step"] is not None
    assert result["first_reward_step"] < 20_000
    assert result["training_return"] >= 0.9


@pytest.mark.slow
def test_trpo_alone_finds_nothing(tmp_path):
    result = explore(replace(BASE, reward="none", weight=0.0, out=tmp_path / "run"), quiet=True)
    assert result["first_reward_step"] is None
