"""The demonstrations of this project's own, in demos/."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from genrl.data import Demonstrations

LEVELS = {"halfcheetah": 4000, "hopper": 3000, "invertedpendulum": 1000}
FILES = [Path(__file__).parents[2] / "demos" / f"{name}.hdf5" for name in LEVELS]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
class TestShippedDemonstrations:
    def test_are_an_experts_and_small(self, file):
        assert file.stat().st_size < 2_000_000
        assert Demonstrations.load(file).returns.mean() >= LEVELS[file.stem]

    def test_fit_their_task_and_happen_again(self, file):
        demos = Demonstrations.load(file)
        env = gymnasium.make(demos.env_id, **demos.env_kwargs)
        assert demos.fitted(env.observation_space, env.action_space)[1] == 0  # no action is outside the task's box
        episode = demos.episodes[-1]
        obs, _ = env.reset(seed=episode.seed)
        for t, action in enumerate(episode.actions[:100]):
            np.testing.assert_allclose(episode.observations[t], obs, rtol=1e-4, atol=1e-4)
            obs, *_ = env.step(action)
