"""What a helper leaves behind in a learner, its environments and its normaliser: nothing but what it is for."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.data import Demonstrations, Episode
from genrl.policies import CriticWarmUp, clone, dagger
from tests.runs.tiny import assert_equal

pytestmark = pytest.mark.usefixtures("unchecked_annotations")  # Python's generator is among what must be left as it was

KINDS = [PPO, A2C, TRPO, SAC, TD3, DDPG, TQC, CrossQ, DQN, QRDQN]
CHANGED = {  # by the names of policy.state_dict(): what a clone is for
    **dict.fromkeys(("PPO", "A2C", "TRPO"), ("mlp_extractor.policy_net", "action_net", "log_std")),
    **dict.fromkeys(("SAC", "TD3", "DDPG", "TQC", "CrossQ"), ("actor",)),
    "DQN": ("q_net",),
    "QRDQN": ("quantile_net",),
}


def task(kind: Any) -> str:
    return "CartPole-v1" if kind in (DQN, QRDQN) else "Pendulum-v1"


def learner(kind: Any) -> Any:
    """In the middle of its learning, with one frozen parameter."""
    on_policy = {"n_steps": 16, **({} if kind is A2C else {"batch_size": 16})}
    off_policy = {"learning_starts": 8, "batch_size": 8, "buffer_size": 100}
    own: Any = on_policy if kind in (PPO, A2C, TRPO) else off_policy
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make(task(kind))]), norm_reward=True, clip_reward=7.0)
    model = kind("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [8]}, **own)
    model.learn(48)
    next(model.policy.parameters()).requires_grad_(False)
    return model


def demonstrations(kind: Any, n: int = 60) -> Demonstrations:
    generator = np.random.default_rng(0)
    obs = generator.normal(size=(n + 1, 4 if task(kind) == "CartPole-v1" else 3)).astype(np.float32)
    actions = generator.integers(0, 2, n) if task(kind) == "CartPole-v1" else generator.uniform(-2, 2, (n, 1)).astype(np.float32)
    return Demonstrations.from_episodes([Episode(obs, actions, np.zeros(n), np.zeros(n, bool), np.arange(n) == n - 1)])


def everything(model: Any) -> dict[str, Any]:
    """All state of a learner, its normaliser and the generators but for what a clone is to change."""
    normalize, policy, name = model.get_vec_normalize_env(), model.policy, type(model).__name__
    optimizers = {key: value.state_dict() for key, value in vars(model).items() if isinstance(value, torch.optim.Optimizer)}
    for part in (policy, *policy.children()):
        optimizers |= {f"{type(part).__name__}": part.optimizer.state_dict()} if hasattr(part, "optimizer") and part.optimizer else {}
    return {
        "others": {key: value.clone() for key, value in policy.state_dict().items() if not key.startswith(CHANGED[name])},
        "optimizers": optimizers,
        "modes": [module.training for module in policy.modules()],
        "gradients": [None if item.grad is None else item.grad.clone() for item in policy.parameters()],
        "frozen": [item.requires_grad for item in policy.parameters()],
        "entropy": getattr(model, "log_ent_coef", None),
        "flags": [normalize.training, normalize.norm_obs, normalize.norm_reward, normalize.clip_reward, normalize.clip_obs],
        "statistics": [(rms.mean.copy(), rms.var.copy(), rms.count) for rms in (normalize.obs_rms, normalize.ret_rms)],
        "returns": [normalize.returns.copy(), normalize.old_reward.copy(), normalize.old_obs.copy()],
        "last": [model._last_obs.copy(), model._last_episode_starts.copy(), model.num_timesteps, model._n_updates],
        "environment": [model.get_env().get_attr("np_random")[0].bit_generator.state, model.get_env().envs[0].unwrapped.state],
        "generators": [torch.get_rng_state(), np.random.get_state()[1], random.getstate()],  # noqa: NPY002
        "dist": type(getattr(policy, "action_dist", None)),
        "attributes": sorted(vars(model)),
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_clone_changes_the_policy_and_nothing_else(kind: Any) -> None:
    model = learner(kind)
    before, policy = everything(model), {key: value.clone() for key, value in model.policy.state_dict().items()}
    clone(model, demonstrations(kind), epochs=3)
    assert_equal(before, everything(model))
    assert any(not torch.equal(policy[key], value) for key, value in model.policy.state_dict().items())


@pytest.mark.parametrize("kind", [PPO, SAC, DQN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_clone_that_an_error_ends_leaves_the_policy_of_before_too(kind: Any, error: type[BaseException], monkeypatch: Any) -> None:
    from genrl.policies import cloning

    model, steps = learner(kind), []
    before, policy = everything(model), {key: value.clone() for key, value in model.policy.state_dict().items()}
    real = cloning.gradient_step

    def crash(*arguments: Any) -> None:
        real(*arguments)
        steps.append(1)
        if len(steps) == 5:
            raise error

    monkeypatch.setattr(cloning, "gradient_step", crash)
    with pytest.raises(error):
        clone(model, demonstrations(kind), epochs=30, batch_size=16)
    assert_equal(before, everything(model))
    assert_equal(policy, dict(model.policy.state_dict()))


def test_a_loss_that_is_no_number_is_an_error_and_leaves_the_policy_of_before() -> None:
    model = learner(PPO)
    policy = {key: value.clone() for key, value in model.policy.state_dict().items()}
    with pytest.raises(FloatingPointError, match=r"the loss of cloning is .* after epoch .*; lower learning_rate"):
        clone(model, demonstrations(PPO), epochs=100, learning_rate=1e30)
    assert_equal(policy, dict(model.policy.state_dict()))


@pytest.mark.parametrize("kind", [PPO, SAC, DQN], ids=lambda kind: kind.__name__)
def test_dagger_changes_the_policy_and_nothing_else(kind: Any) -> None:
    model = learner(kind)
    before = everything(model)
    expert = (lambda obs: 1) if kind is DQN else (lambda obs: np.zeros(1, np.float32))
    dagger(model, expert, gymnasium.make(task(kind)), rounds=2, episodes=1, epochs=1)
    assert_equal(before, everything(model))


def test_dagger_does_not_play_in_an_environment_that_the_learner_is_in_the_middle_of() -> None:
    model = learner(PPO)
    with pytest.raises(ValueError, match="this env is one of the learner's own, which is in the middle of an episode; make another"):
        dagger(model, lambda obs: np.zeros(1), model.get_env().envs[0])


class Costly(gymnasium.Env[np.ndarray, np.ndarray]):
    """Rewards from -110 to -150, as the case that was reported."""

    observation_space = gymnasium.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return np.full(3, self.time, np.float32), -100.0 - 10 * self.time, self.time >= 5, False, {}


def test_rewards_go_on_being_normalised_after_a_clone_and_observations_stay_as_they_were_demonstrated() -> None:
    seen, rewards = [], []
    for cloned in (False, True):
        normalize = VecNormalize(DummyVecEnv([Costly]))
        model = PPO("MlpPolicy", normalize, n_steps=64, batch_size=32, seed=0)
        if cloned:
            clone(model, demonstrations(PPO), epochs=1)
            obs = demonstrations(PPO).transitions().obs.numpy()
            seen.append(normalize.normalize_obs(obs))
        model.learn(256)
        rewards.append((model.rollout_buffer.rewards.copy(), normalize.ret_rms.var, normalize.ret_rms.count))
    assert_equal(*rewards)
    assert len(np.unique(rewards[1][0])) > 10
    np.testing.assert_array_equal(normalize.normalize_obs(obs), seen[0])
    np.testing.assert_allclose(normalize.obs_rms.mean, obs.mean(0), atol=1e-6)
    assert normalize.training


def test_statistics_that_were_there_before_a_clone_go_on_moving() -> None:
    model = learner(PPO)
    rms = model.get_vec_normalize_env().obs_rms
    clone(model, demonstrations(PPO), epochs=1)
    count = rms.count
    model.learn(16, reset_num_timesteps=False)
    assert rms.count == pytest.approx(count + 16, abs=1)


@pytest.mark.parametrize("kind", [PPO, SAC], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_while_training_leaves_nothing_held(kind: Any, error: type[BaseException]) -> None:
    model = learner(kind)
    model.policy.requires_grad_(True)
    entropy = None if kind is PPO else model.log_ent_coef.detach().clone()
    attributes = sorted(vars(model))
    optimizer = model.policy.optimizer if kind is PPO else model.critic.optimizer
    optimizer.register_step_post_hook(lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(error):
        model.learn(64, callback=CriticWarmUp(1000), reset_num_timesteps=False)
    assert all(item.requires_grad for item in model.policy.parameters())
    assert entropy is None or torch.equal(model.log_ent_coef, entropy)
    assert sorted(vars(model)) == attributes
