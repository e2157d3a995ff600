"""DAgger: the learner acts, the expert says what it would have done there."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

from genrl.data import Demonstrations, Episode
from genrl.policies import clone, dagger


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point on a line, pushed by the action; an episode begins close to zero and has 30 steps."""

    observation_space = spaces.Box(-100, 100, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.x = 0, self.np_random.uniform(-0.05, 0.05, 1).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.x = (1.2 * self.x + action).astype(np.float32)  # unstable: small errors grow
        return self.x.copy(), -abs(float(self.x[0])), False, self.steps >= 30, {}


def expert(obs: np.ndarray) -> np.ndarray:
    return np.clip(-1.2 * obs, -1, 1)


def learner() -> PPO:
    return PPO("MlpPolicy", Line(), n_steps=16, batch_size=16, seed=0, policy_kwargs={"net_arch": [16]})


def distance(model: PPO) -> float:
    """Mean |x| of five episodes."""
    env, total = Line(), 0.0
    for seed in range(100, 105):
        obs, _ = env.reset(seed=seed)
        for _ in range(30):
            obs, reward, *_ = env.step(model.predict(obs, deterministic=True)[0])
            total -= reward / 150
    return total


def test_labels_are_the_experts_and_states_the_learners():
    known = dagger(learner(), expert, Line(), rounds=3, episodes=2, epochs=2)
    assert known.n_episodes == 6
    for episode in known.episodes:
        np.testing.assert_allclose(episode.actions, expert(episode.observations[:-1]), atol=1e-6)
    first, last = known.episodes[0], known.episodes[-1]
    np.testing.assert_allclose(first.observations[1:], 1.2 * first.observations[:-1] + first.actions, atol=1e-5)  # the expert acted
    assert not np.allclose(last.observations[1:], 1.2 * last.observations[:-1] + last.actions, atol=1e-3)  # the learner did


def test_recovers_where_cloning_drifts_away():
    cloned, asked = learner(), learner()
    only_expert = dagger(learner(), expert, Line(), rounds=1, episodes=12, epochs=1)
    clone(cloned, only_expert, epochs=60)
    dagger(asked, expert, Line(), rounds=6, episodes=2, epochs=60)
    assert distance(asked) < distance(cloned) / 2


def test_goes_on_from_demonstrations():
    start = dagger(learner(), expert, Line(), rounds=1, episodes=1, epochs=1)
    known = dagger(learner(), expert, Line(), rounds=1, episodes=1, epochs=1, demonstrations=start)
    assert known.n_episodes == 2
    np.testing.assert_array_equal(known.episodes[0].actions, start.episodes[0].actions)


@pytest.mark.parametrize(("observed", "acted"), [(np.float32, np.uint8), (np.float32, np.int32), (np.float64, np.int64)])
def test_demonstrations_have_the_dtypes_that_the_task_itself_gives_and_takes(observed, acted):
    """Files hold bytes and singles, and a task may give doubles for a Box of floats."""
    task = gymnasium.make("CartPole-v1", max_episode_steps=9)
    env = gymnasium.wrappers.TransformObservation(task, lambda obs: obs.astype(observed), None)
    last = np.arange(8) == 7
    start = Episode(np.ones((9, 4), np.float32), np.ones(8, acted), np.zeros(8), last & False, last)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, policy_kwargs={"net_arch": [4]})
    known = dagger(model, lambda obs: 0, env, rounds=1, episodes=1, epochs=1, demonstrations=Demonstrations.from_episodes([start]))
    assert [set(episode.actions.tolist()) for episode in known.episodes] == [{1}, {0}]


def test_episodes_in_which_the_learner_acted_say_so_and_which_task_they_are_of(tmp_path):
    env = gymnasium.make("Pendulum-v1", g=9.0, render_mode="rgb_array")
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, policy_kwargs={"net_arch": [4]})
    for rounds, theirs in ((1, False), (2, True)):
        known = dagger(model, lambda obs: np.zeros(1), env, rounds=rounds, episodes=1, epochs=1)
        known.save(tmp_path / f"{rounds}.hdf5")
        found = Demonstrations.load(tmp_path / f"{rounds}.hdf5")
        assert (found.env_id, found.env_kwargs) == ("Pendulum-v1", {"g": 9.0})
        assert ("disturb" in found.metadata) == theirs  # as of `genrl record --disturb`: the critic and dreams are warned of it


def test_what_cloning_warns_of_points_at_the_line_that_called_dagger(recwarn):
    wide = spaces.Box(-1000.0, 1000.0, (1,), np.float32)
    env = gymnasium.wrappers.TransformAction(Line(), lambda action: action / 1000, wide)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, policy_kwargs={"net_arch": [16]})
    dagger(model, lambda obs: np.full(1, 500.0, np.float32), env, rounds=1, episodes=1, epochs=1)
    (told,) = [warning for warning in recwarn if "away from the demonstrated actions" in str(warning.message)]
    assert told.filename == __file__


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="dagger needs at least one round and one episode, but was given rounds=0 and episodes=2"):
        dagger(learner(), expert, Line(), rounds=0)


def test_an_episode_goes_on_to_the_time_limit_of_the_task(monkeypatch):
    monkeypatch.setattr(importlib.import_module("genrl.policies.dagger"), "LONGEST_EPISODE", 20)
    env = gymnasium.make("Pendulum-v1", max_episode_steps=40)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, policy_kwargs={"net_arch": [4]})
    known = dagger(model, lambda obs: np.zeros(1, np.float32), env, rounds=1, episodes=1, epochs=1)
    assert known.lengths.tolist() == [40]
