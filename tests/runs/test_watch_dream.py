"""The film of a dream beside reality."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

from genrl.errors import RunError
from genrl.runs import DreamConfig, dream, watch
from genrl.runs.uses.watch_dream import Painter
from tests.runs.test_dreams import PPO, SMALL


@pytest.mark.parametrize(
    "name", ["Pendulum-v1", "CartPole-v1", "InvertedPendulum-v5", "HalfCheetah-v5", "Hopper-v5", "Ant-v5", "Swimmer-v5"]
)
def test_a_task_is_drawn_in_the_state_that_the_dream_says(name: str) -> None:
    real, drawn = gymnasium.make(name), gymnasium.make(name)
    obs, _ = real.reset(seed=1)
    drawn.reset(seed=1)
    painter = Painter(drawn, name, obs)
    for _ in range(5):
        obs, *_ = real.step(real.action_space.sample())
        painter.place(obs)
        np.testing.assert_allclose(np.exp(1j * painter.state()), np.exp(1j * _at(real, painter).state()), atol=1e-4)  # angles turn
    if name == "HalfCheetah-v5":  # which hides how far it went: the sum of its velocities
        assert painter.task.data.qpos[0] == pytest.approx(real.unwrapped.data.qpos[0], abs=0.02)


def _at(env: gymnasium.Env, painter: Painter) -> Painter:
    """A painter of ``env`` as it is."""
    other = copy(painter)
    other.task = env.unwrapped
    return other


@pytest.mark.parametrize("name", ["InvertedDoublePendulum-v5", "Reacher-v5", "Acrobot-v1"])
def test_a_task_whose_observations_are_not_its_state_is_refused(name: str) -> None:
    env = gymnasium.make(name)
    obs, _ = env.reset(seed=1)
    with pytest.raises(RunError, match="can't be drawn from its observations"):
        Painter(env, name, obs)


def test_a_task_of_ones_own_is_told_that_it_keeps_no_state() -> None:
    """It was told that its observations are not its whole state, which they may well be."""

    class Place(gymnasium.Env):
        def reset(self, *, seed=None, options=None):
            self.x = np.zeros(2, np.float32)
            return self.x, {}

    env = Place()
    obs, _ = env.reset()
    with pytest.raises(RunError, match=r"Place-v0 can't be drawn in the state of a dream: its class needs an attribute state,"):
        Painter(env, "Place-v0", obs)
    env.state = obs  # what it is told to add
    painter = Painter(env, "Place-v0", obs)
    painter.place(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(env.state, [1, 2])


def test_a_run_is_filmed_in_reality_and_in_its_dream(tmp_path: Path) -> None:
    dream(DreamConfig(env="InvertedPendulum-v5", out=tmp_path / "run", steps=100, **SMALL | PPO), quiet=True)
    try:
        film = watch(tmp_path / "run", dream=True, size=64)
    except RunError as error:
        pytest.skip(f"nothing can be drawn here: {error}")
    assert [path.name for path in film.paths] == ["watch-dream.mp4", "watch-dream.gif"]
    with Image.open(film.paths[1]) as gif:
        width, height = gif.size
        first = np.asarray(gif.convert("RGB")).astype(int)
    assert width > 1.8 * height
    half = first.shape[1] // 2
    below = slice(first.shape[0] // 3, None)
    assert np.abs(first[below, :half] - first[below, half : 2 * half]).mean() < 30  # the same start


def test_a_run_without_a_model_is_refused(tmp_path: Path) -> None:
    dream(
        DreamConfig(env="Pendulum-v1", out=tmp_path / "run", steps=100, **SMALL | PPO | {"world": "none", "world_kwargs": {}}), quiet=True
    )
    with pytest.raises(RunError, match="has no model of its task"):
        watch(tmp_path / "run", dream=True)
