"""A NaN that ends a ``learn`` leaves statistics that the next one can learn with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.models.ensemble import Ensemble
from genrl.rewards import RND, RewardCallback
from genrl.runs import explore, training
from genrl.runs.building import build
from genrl.worlds import Practice
from tests.runs.tiny import Breaks, config


@pytest.mark.parametrize("what", ["reward", "observation"])
@pytest.mark.parametrize("kind", [PPO, SAC])
def test_a_nan_does_not_stay_in_the_statistics(kind: type, what: str) -> None:
    env = VecNormalize(DummyVecEnv([lambda: Breaks(what, at=100)]))
    kwargs = {"n_steps": 64, "batch_size": 32} if kind is PPO else {"learning_starts": 32, "batch_size": 16}
    model = kind("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [8]}, **kwargs)
    callback = RewardCallback(RND(model.observation_space, model.action_space))
    with pytest.raises(FloatingPointError, match="step 100"):
        model.learn(256, callback=callback)
    assert all(np.isfinite([env.ret_rms.mean, env.ret_rms.var, *env.obs_rms.mean, *env.obs_rms.var, *env.returns]))
    assert env.ret_rms.count > 60  # those of the rollouts before are kept
    model.learn(128, callback=callback)
    assert all(np.isfinite(parameter.detach().numpy()).all() for parameter in model.policy.parameters())


def test_nor_does_one_of_the_very_first_observation() -> None:
    class Born(Breaks):
        def reset(self, **keywords: Any) -> Any:
            obs, info = super().reset(**keywords)
            return obs * (np.nan if self.what == "born" else 1), info

    inner = Born("born")
    env = VecNormalize(DummyVecEnv([lambda: inner]))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=32, seed=0, policy_kwargs={"net_arch": [8]})
    callback = RewardCallback(RND(model.observation_space, model.action_space))
    with pytest.raises(FloatingPointError, match="environment 0 gave an observation of nan, entry 0 at step 0"):
        model.learn(128, callback=callback)
    inner.what = "none"
    model.learn(128, callback=callback)
    assert np.isfinite(env.obs_rms.mean).all()


@pytest.mark.parametrize("learner", ["ppo", "sac"])
@pytest.mark.parametrize("what", ["reward", "observation", "infinity"])
def test_a_run_without_a_reward_of_its_own_keeps_its_statistics_too(learner: str, what: str, tmp_path: Path) -> None:
    cell = config(tmp_path / "run", learner, env="tests/Breaks-v0", env_kwargs={"what": what}, normalize_obs=True, normalize_reward=True)
    kept: list[VecNormalize] = []

    def remember(*arguments: Any) -> Any:
        session = build(*arguments)
        kept.append(session.normalize)
        return session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build", remember)
        result = explore(cell, quiet=True)
    assert (result["status"], result["diverged"]) == ("failed", True)
    said = {"reward": "a reward of nan", "observation": "an observation of nan", "infinity": "an observation of inf"}[what]
    assert f"gave {said}" in result["error"]
    assert "at step 100" in result["error"]
    (env,) = kept
    assert all(np.isfinite([env.ret_rms.mean, env.ret_rms.var, *env.obs_rms.mean, *env.obs_rms.var, *env.returns]))
    assert env.ret_rms.count == pytest.approx(99, abs=0.01)


def test_a_practice_in_dreams_keeps_the_statistics_of_the_real_task() -> None:
    env = VecNormalize(DummyVecEnv([lambda: Breaks("observation", at=100)]))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=32, seed=0, policy_kwargs={"net_arch": [8]})
    world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
    practice = Practice(world, dreamed_steps=64, every=50, horizon=4, fit={"max_steps": 5})
    with pytest.raises(FloatingPointError, match="step 100"):
        model.learn(256, callback=practice)
    assert all(np.isfinite([env.ret_rms.mean, env.ret_rms.var, *env.obs_rms.mean, *env.obs_rms.var, *env.returns]))
    assert "step_wait" not in vars(env.venv)
