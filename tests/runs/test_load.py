"""A run loaded as an object acts as its own evaluation did, and so does what is exported of it."""

from __future__ import annotations

import importlib
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import PendulumEnv
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import genrl
from genrl.errors import RunError
from genrl.generation import GenerateConfig, generate
from genrl.models import VAE
from genrl.rewards import RND
from genrl.runs import explore
from genrl.runs.play import play
from genrl.runs.uses.export import export_sb3, export_torchscript
from genrl.sb3.learner import load_parameters
from genrl.sb3.predict import renew_noise
from tests.runs.tiny import SMALL, config

CASES = {
    "ppo": {"learner": "ppo", "env": "Pendulum-v1", "normalize_obs": True, "normalize_reward": True},
    "ppo, a step in each": {"learner": "ppo", "env": "Pendulum-v1", "n_envs": 4, "learner_kwargs": {"n_steps": 1, "batch_size": 4}},
    "sac": {"learner": "sac", "env": "Pendulum-v1", "normalize_obs": True},
    "td3": {"learner": "td3", "env": "Pendulum-v1", "learner_kwargs": {"learning_starts": 32, "batch_size": 16}},
    "dqn": {"learner": "dqn", "env": "CartPole-v1", "learner_kwargs": {"learning_starts": 32, "batch_size": 16}, "normalize_obs": True},
    "recurrentppo": {"learner": "recurrentppo", "env": "Pendulum-v1", "learner_kwargs": {"n_steps": 64, "batch_size": 32}},
}


def trained(tmp_path: Path, name: str, **learner_kwargs: object):
    given = {"learner_kwargs": SMALL.get(name, {}), "reward": "none", "reward_kwargs": {}, "steps": 128, "eval_episodes": 2} | CASES[name]
    given["learner_kwargs"] = given["learner_kwargs"] | learner_kwargs
    directory = tmp_path / name
    explore(config(directory, **given), quiet=True)
    return genrl.load(directory)


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_run_gives_the_returns_of_its_own_evaluation(tmp_path, name):
    run = trained(tmp_path, name)
    assert run.evaluate(2) == run.result["evaluation_returns"]
    env, state, start, total = run.make_env(), None, np.array([True]), 0.0
    obs, _ = env.reset(seed=10_000)
    done = False
    while not done:
        action, state = run.predict(obs, state, start)
        obs, reward, terminated, truncated, _ = env.step(action if np.ndim(action) else action.item())
        total, done, start = total + float(reward), terminated or truncated, np.array([False])
    assert total == run.result["evaluation_returns"][0]


@pytest.mark.parametrize("learner", [PPO, SAC])
def test_noise_that_is_a_function_of_the_state_is_as_wide_as_the_loaded_policy_s(tmp_path, learner):
    saved, fresh = (learner("MlpPolicy", "Pendulum-v1", use_sde=True, seed=seed) for seed in range(2))
    log_std = (saved.policy if learner is PPO else saved.actor).log_std
    log_std.data.fill_(-9.0)
    saved.save(tmp_path / "model.zip")
    load_parameters(fresh, tmp_path / "model.zip")
    drawn = (fresh.policy if learner is PPO else fresh.actor).action_dist.exploration_mat
    assert 0 < drawn.abs().max() < 10 * np.exp(-9)


def test_drawn_episodes_each_have_noise_of_their_own_where_it_is_a_function_of_the_state(tmp_path):
    run = trained(tmp_path, "ppo", use_sde=True)
    matrices = []
    for seed in (0, 0, 1):
        steps = play(run.learner, run.normalize, run.make_env(), seed, deterministic=False)
        next(steps)
        matrices.append(run.learner.policy.action_dist.exploration_mat)
        next(steps)
        assert run.learner.policy.action_dist.exploration_mat is matrices[-1]
    assert len({float(matrix.detach().sum()) for matrix in matrices}) == 3
    kept = run.learner.policy.action_dist.exploration_mat
    next(play(run.learner, run.normalize, run.make_env(), 0))
    assert run.learner.policy.action_dist.exploration_mat is kept


@pytest.mark.parametrize(
    ("learner", "given", "steps"),
    [
        (SAC, {}, list(range(12))),
        (SAC, {"train_freq": 5}, [0, 5, 10]),
        (SAC, {"train_freq": 5, "sde_sample_freq": 3}, [0, 3, 5, 8, 10]),
        (SAC, {"train_freq": (1, "episode")}, [0]),
        (A2C, {"n_steps": 5}, [0, 5, 10]),
        (PPO, {}, [0]),
    ],
)
def test_noise_that_is_a_function_of_the_state_is_drawn_anew_as_often_as_in_training(learner, given, steps):
    model = learner("MlpPolicy", "Pendulum-v1", use_sde=True, **given)
    noise = (model.actor if learner is SAC else model.policy).action_dist

    class Drawn(BaseCallback):
        """The steps for which the training has drawn it, of its first 12."""

        def _on_training_start(self):
            self.last, self.found = None, []

        def _on_step(self):
            self.found += [self.n_calls - 1] if noise.exploration_mat is not self.last else []
            self.last = noise.exploration_mat
            return self.n_calls < 12

    training = Drawn()
    model.learn(12, callback=training)
    assert training.found == steps
    drawn = []
    for step in range(12):
        before = noise.exploration_mat
        renew_noise(model, step)
        drawn += [step] if noise.exploration_mat is not before else []
    assert drawn == steps


def test_a_loaded_dqn_draws_as_at_the_end_of_its_training(tmp_path):
    run = trained(tmp_path, "dqn", exploration_final_eps=0.5)
    obs = run.make_env().reset(seed=0)[0]
    best = run.predict(obs)[0]
    others = np.mean([run.predict(obs, deterministic=False)[0] != best for _ in range(400)])
    assert 0.15 < others < 0.35  # a half of its actions are drawn, and a half of those are the other one of two


@pytest.mark.parametrize(("name", "learner"), [("ppo", PPO), ("sac", SAC)])
def test_stable_baselines3_alone_acts_the_same_on_what_is_exported_for_it(tmp_path, name, learner):
    run = trained(tmp_path, name)
    export_sb3(run, tmp_path / "out")
    model = learner.load(tmp_path / "out/model.zip")
    statistics = VecNormalize.load(str(tmp_path / "out/vecnormalize.pkl"), DummyVecEnv([run.make_env]))
    assert not statistics.training
    for obs in (run.observation_space.sample() for _ in range(20)):
        assert np.array_equal(model.predict(statistics.normalize_obs(obs), deterministic=True)[0], run.predict(obs)[0])
    with pytest.raises(RunError, match="not an empty folder"):
        export_sb3(run, tmp_path / "out")
    with pytest.raises(RunError, match="can't be written"):
        export_sb3(run, "/proc/nowhere")
    run.normalize.save = lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # type: ignore[union-attr,method-assign]
    with pytest.raises(OSError, match="No space left"):
        export_sb3(run, tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", name]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["ppo", "sac", "td3", "dqn"])
def test_torch_alone_acts_the_same_on_what_is_exported_for_it(tmp_path, name):
    run = trained(tmp_path, name)
    module = torch.jit.load(str(export_torchscript(run, tmp_path / "policy.pt")))
    run.observation_space.seed(0)
    obs = np.stack([run.observation_space.sample() for _ in range(33)])
    expected, _ = run.predict(obs)
    np.testing.assert_allclose(module(torch.as_tensor(obs)).numpy(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(RunError, match=r"policy.pt exists; choose another --torchscript"):
        export_torchscript(run, tmp_path / "policy.pt")


@pytest.mark.parametrize(("limit", "steps"), [(40, 40), (3, 3), (None, 20)])
def test_an_episode_goes_on_to_the_time_limit_of_its_task(monkeypatch, limit, steps):
    """One of a task without a limit, which Pendulum itself is, is left."""
    monkeypatch.setattr(importlib.import_module("genrl.policies.dagger"), "LONGEST_EPISODE", 20)
    env = PendulumEnv() if limit is None else gymnasium.make("Pendulum-v1", max_episode_steps=limit)
    learner = PPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]})
    assert len(list(play(learner, None, env, seed=0))) == steps


def test_a_policy_with_a_memory_is_not_frozen(tmp_path):
    with pytest.raises(RunError, match="has a memory"):
        export_torchscript(trained(tmp_path, "recurrentppo"), tmp_path / "policy.pt")


def test_the_reward_of_a_run_has_its_weights(tmp_path):
    explore(config(tmp_path / "run", learner="ppo", env="Pendulum-v1", reward="rnd", reward_kwargs={}, steps=128), quiet=True)
    run = genrl.load(tmp_path / "run")
    assert isinstance(run.reward, RND)
    assert not run.reward.training
    saved = genrl.load(tmp_path / "run").reward.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in run.reward.state_dict().items() if torch.is_tensor(value))
    fresh = RND(run.observation_space, run.learner.action_space)
    assert any(not torch.equal(a, b) for a, b in zip(run.reward.parameters(), fresh.parameters(), strict=True))


def test_the_model_of_a_generative_run_is_loaded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=pixels, x_test=pixels[:20])
    generate(GenerateConfig(model="vae", data=str(tmp_path / "images.npz"), epochs=1, out=tmp_path / "vae", pictures=False), quiet=True)
    assert isinstance(genrl.load(tmp_path / "vae"), VAE)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError):
        genrl.load(tmp_path)
