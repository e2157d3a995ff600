"""A NaN that ends a ``learn`` leaves statistics that the next one can learn with."""

from __future__ import annotations

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.rewards import RND, RewardCallback
from tests.runs.tiny import Breaks


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
