"""Behaviour cloning into the policies of Stable-Baselines3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, CrossQ, RecurrentPPO
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.data import DemonstrationError, Demonstrations, Episode
from genrl.models.nn import minibatches
from genrl.policies import CriticWarmUp, clone, cloning

ON_POLICY: dict[str, Any] = {"n_steps": 16, "batch_size": 16}
OFF_POLICY: dict[str, Any] = {"buffer_size": 10}


def demonstrations(discrete: bool = False, n: int = 600) -> Demonstrations:
    """An expert whose action is a known function of the observation."""
    obs = np.random.default_rng(0).normal(size=(n + 1, 4 if discrete else 3)).astype(np.float32)
    actions = (obs[:-1, 0] > 0).astype(np.int64) if discrete else np.clip(obs[:-1, :1] - 0.5 * obs[:-1, 1:2], -1.9, 1.9)
    return Demonstrations.from_episodes([Episode(obs, actions, np.zeros(n), np.zeros(n, bool), np.arange(n) == n - 1)])


def error(model: Any, demos: Demonstrations, normalize: VecNormalize | None = None) -> float:
    """Mean absolute difference of deterministic actions, in the task's units; of discrete ones the share that is wrong."""
    pairs = demos.transitions()
    obs = pairs.obs.numpy() if normalize is None else normalize.normalize_obs(pairs.obs.numpy())
    actions, _ = model.predict(obs, deterministic=True)
    return float(np.abs(actions.reshape(len(obs), -1) - pairs.action.numpy().reshape(len(obs), -1)).mean())


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [(PPO, ON_POLICY), (SAC, OFF_POLICY), (TQC, OFF_POLICY), (TD3, OFF_POLICY), (DDPG, OFF_POLICY), (CrossQ, OFF_POLICY)],
)
def test_a_policy_of_continuous_actions_does_as_the_expert_does(kind, kwargs):
    model = kind("MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [64]}, **kwargs)
    before = error(model, demonstrations())
    metrics = clone(model, demonstrations(), epochs=150, patience=50)
    assert error(model, demonstrations()) < min(0.2, before / 4)
    assert metrics["held_out_loss"] < float("inf")


@pytest.mark.parametrize(("kind", "kwargs"), [(PPO, ON_POLICY), (DQN, OFF_POLICY), (QRDQN, OFF_POLICY)])
def test_a_policy_of_discrete_actions_does_as_the_expert_does(kind, kwargs):
    model = kind("MlpPolicy", "CartPole-v1", seed=0, policy_kwargs={"net_arch": [64]}, **kwargs)
    clone(model, demonstrations(discrete=True), epochs=60)
    assert error(model, demonstrations(discrete=True)) < 0.05


def test_the_parameters_of_the_best_epoch_are_kept():
    model = PPO("MlpPolicy", "Pendulum-v1", seed=0, **ON_POLICY)
    noise = np.random.default_rng(1).uniform(-1, 1, (40, 1)).astype(np.float32)  # actions that follow from nothing
    demos = Demonstrations.from_episodes([replace(demonstrations(n=40).episodes[0], actions=noise)])
    metrics = clone(model, demos, epochs=400, patience=400, held_out=0.3, seed=1)
    assert metrics["epochs"] < 300
    assert metrics["loss"] < metrics["held_out_loss"]
    _, rest = demos.split(0.3, 1)
    pairs = rest.transitions()
    with torch.no_grad():
        loss = -model.policy.evaluate_actions(pairs.obs, pairs.action)[1].mean()
    assert float(loss) == pytest.approx(metrics["held_out_loss"], rel=1e-5)


def test_it_stops_when_nothing_improves(monkeypatch):
    epochs: list[int] = []
    monkeypatch.setattr(cloning, "minibatches", lambda *arguments: (epochs.append(1), minibatches(*arguments))[1])
    model = PPO("MlpPolicy", "Pendulum-v1", seed=0, **ON_POLICY)
    metrics = clone(model, demonstrations(n=20), epochs=10_000, patience=5)
    assert len(epochs) == metrics["epochs"] + 5 < 10_000


@pytest.mark.parametrize(
    ("kind", "task", "name"), [(TD3, "Pendulum-v1", "actor"), (DDPG, "Pendulum-v1", "actor"), (DQN, "CartPole-v1", "q_net")]
)
def test_target_networks_begin_where_what_they_follow_is(kind, task, name):
    model = kind("MlpPolicy", task, seed=0, **OFF_POLICY)
    clone(model, demonstrations(discrete=task == "CartPole-v1"), epochs=2)
    online, target = getattr(model.policy, name).state_dict(), getattr(model.policy, f"{name}_target").state_dict()
    assert all(torch.equal(online[key], target[key]) for key in online)


def test_the_normalisation_starts_with_the_demonstrations():
    normalize = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), norm_reward=False)
    model = PPO("MlpPolicy", normalize, seed=0, policy_kwargs={"net_arch": [64]}, **ON_POLICY)
    clone(model, demonstrations(), epochs=60)
    obs = demonstrations().transitions().obs.numpy()
    np.testing.assert_allclose(normalize.obs_rms.mean, obs.mean(0), atol=1e-3)
    assert error(model, demonstrations(), normalize) < 0.15


def test_the_normalisation_stays_so_that_the_policy_does_what_it_was_taught():
    normalize = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), norm_reward=False)
    model = PPO("MlpPolicy", normalize, seed=0, **ON_POLICY)
    clone(model, demonstrations(), epochs=2)
    obs = demonstrations().transitions().obs.numpy()
    before = model.predict(normalize.normalize_obs(obs), deterministic=True)[0]
    model.learn(256, callback=CriticWarmUp(256))
    np.testing.assert_array_equal(model.predict(normalize.normalize_obs(obs), deterministic=True)[0], before)


def test_the_global_generator_is_left_alone():
    model = PPO("MlpPolicy", "Pendulum-v1", seed=0, **ON_POLICY)
    before = torch.get_rng_state()
    clone(model, demonstrations(), epochs=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_actions_outside_the_box_are_clipped():
    obs = np.zeros((51, 3), np.float32)
    episode = Episode(obs, np.full((50, 1), 9.0, np.float32), np.zeros(50), np.zeros(50, bool), np.arange(50) == 49)
    model = SAC("MlpPolicy", "Pendulum-v1", seed=0, **OFF_POLICY)
    clone(model, Demonstrations.from_episodes([episode]), epochs=60)
    assert model.predict(obs[0], deterministic=True)[0][0] == pytest.approx(2.0, abs=0.1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DemonstrationError):
        clone(PPO("MlpPolicy", "Pendulum-v1", **ON_POLICY), demonstrations(discrete=True))
    with pytest.raises(ValueError, match="RecurrentPPO has a memory, which single pairs can't teach; clone into PPO instead"):
        clone(RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", **ON_POLICY), demonstrations())


@pytest.mark.parametrize(("width", "told"), [(1000.0, True), (10.0, False)])
def test_a_policy_that_did_not_come_near_is_told_of(width, told, recwarn):
    space = gymnasium.spaces.Box(-width, width, (1,), np.float32)
    env = gymnasium.wrappers.TransformAction(gymnasium.make("Pendulum-v1"), lambda action: action, space)
    episode = replace(demonstrations(n=200).episodes[0], actions=np.full((200, 1), width / 5, np.float32))
    clone(PPO("MlpPolicy", env, seed=0, **ON_POLICY), Demonstrations.from_episodes([episode]), epochs=60, learning_rate=1e-2)
    sentence = "away from the demonstrated actions, further than their mean is; give clone more epochs or a larger learning_rate"
    sentence += " (genrl imitate: --clone EPOCHS), or the environment"
    assert any(sentence in str(warning.message) for warning in recwarn) == told
