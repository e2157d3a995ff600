"""Layer normalisation in a learner's networks, by the policy's keywords alone."""

from __future__ import annotations

import pytest
import torch
from sb3_contrib import TQC
from stable_baselines3 import SAC, TD3
from torch import nn

from genrl.sb3.learner import NormedReLU, constructor_kwargs


def made(cls, activation):
    from gymnasium import make

    env = make("Pendulum-v1")
    kwargs = constructor_kwargs({"activation": activation, "net_arch": (16, 16)}, env.action_space)
    return cls("MlpPolicy", env, buffer_size=10, seed=0, **kwargs)


@pytest.mark.parametrize("cls", [SAC, TD3, TQC])
def test_is_in_actor_and_critics(cls):
    policy = made(cls, "normed-relu").policy
    for network in (policy.actor, policy.critic, policy.critic_target):
        kinds = [type(layer) for layer in network.modules()]
        assert kinds.count(NormedReLU) >= 2
        assert nn.ReLU not in kinds


@pytest.mark.parametrize("cls", [SAC, TD3])
def test_a_value_does_not_grow_with_the_distance_from_what_was_seen(cls):
    """Without it the value of what no batch has is linear in how far away it is."""
    obs, action = torch.randn(1, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1)
    growth = {}
    for activation in ("relu", "normed-relu"):
        critic = made(cls, activation).policy.critic
        with torch.no_grad():
            near, far = (critic(scale * obs, action)[0].item() for scale in (1e3, 1e6))
        growth[activation] = abs(far / near)
    assert growth["relu"] > 500
    assert growth["normed-relu"] == pytest.approx(1, abs=0.05)


def test_is_saved_and_loaded_by_sb3(tmp_path):
    model = made(SAC, "normed-relu")
    model.save(tmp_path / "model.zip")
    loaded = SAC.load(tmp_path / "model.zip")
    obs = model.observation_space.sample()
    assert (loaded.predict(obs, deterministic=True)[0] == model.predict(obs, deterministic=True)[0]).all()


def test_keeps_the_parameters_of_the_network_as_they_are():
    assert list(made(SAC, "relu").policy.state_dict()) == list(made(SAC, "normed-relu").policy.state_dict())
