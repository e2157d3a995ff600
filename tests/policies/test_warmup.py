"""A policy held still while its critic learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sb3_contrib import TQC, TRPO, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from torch import Tensor

from genrl.policies import CriticWarmUp

SMALL: dict[Any, dict[str, Any]] = {
    PPO: {"n_steps": 16, "batch_size": 16, "n_epochs": 2},
    A2C: {"n_steps": 16},
    RecurrentPPO: {"n_steps": 16, "batch_size": 16, "n_epochs": 1},
    **{kind: {"learning_starts": 1, "batch_size": 8, "buffer_size": 100} for kind in (SAC, TQC, TD3, DDPG, CrossQ)},
}


def learner(kind: Any) -> Any:
    return kind(
        f"{'MlpLstm' if kind is RecurrentPPO else 'Mlp'}Policy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [8]}, **SMALL[kind]
    )


def of_the_policy(model: Any) -> list[Tensor]:
    """Parameters and statistics that decide what is done."""
    policy = model.policy
    if hasattr(policy, "actor"):
        return [item.detach().clone() for item in policy.actor.state_dict().values()]
    parts = [policy.action_net, policy.mlp_extractor.policy_net, *([policy.lstm_actor] if hasattr(policy, "lstm_actor") else [])]
    return [policy.log_std.detach().clone(), *(item.detach().clone() for part in parts for item in part.parameters())]


def of_the_critic(model: Any) -> list[Tensor]:
    policy = model.policy
    part = policy.critic if hasattr(policy, "actor") else policy.value_net
    return [item.detach().clone() for item in part.parameters()]


def same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", list(SMALL), ids=lambda kind: kind.__name__)
def test_the_critic_learns_alone_then_both_do(kind):
    model = learner(kind)
    policy, critic = of_the_policy(model), of_the_critic(model)
    model.learn(48, callback=CriticWarmUp(48))
    assert same(policy, of_the_policy(model))
    assert not same(critic, of_the_critic(model))
    model.learn(32, callback=CriticWarmUp(48), reset_num_timesteps=False)
    assert not same(policy, of_the_policy(model))
    assert all(parameter.requires_grad for parameter in model.policy.parameters())


def test_all_of_a_recurrent_critic_learns():
    """Without a memory of its own it has a layer in the place of one."""
    policy = {"net_arch": [8], "lstm_hidden_size": 8, "enable_critic_lstm": False}
    model = RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", seed=0, policy_kwargs=policy, **SMALL[RecurrentPPO])
    before = model.policy.critic.weight.detach().clone()
    model.learn(16, callback=CriticWarmUp(16))
    assert not torch.equal(model.policy.critic.weight, before)


def test_the_critic_learns_as_it_does_without():
    """Of PPO's networks each has a part of the loss of its own; its first epoch shows that holding one changes nothing for the other."""
    critics = []
    for callback in (None, CriticWarmUp(100)):
        model = PPO("MlpPolicy", "Pendulum-v1", seed=0, n_steps=16, batch_size=16, n_epochs=1, max_grad_norm=1e9)
        model.learn(16, callback=callback)
        critics.append(of_the_critic(model))
    assert same(*critics)


@pytest.mark.parametrize("kind", [SAC, TQC, CrossQ])
def test_the_entropy_coefficient_is_not_tuned_to_a_policy_that_is_held(kind):
    model = learner(kind)
    before = model.log_ent_coef.detach().clone()
    model.learn(30, callback=CriticWarmUp(30))
    assert torch.equal(model.log_ent_coef, before)
    model.learn(10, callback=CriticWarmUp(30), reset_num_timesteps=False)
    assert not torch.equal(model.log_ent_coef, before)


def test_what_was_frozen_before_stays_frozen():
    model = learner(PPO)
    model.policy.log_std.requires_grad_(False)
    model.learn(32, callback=CriticWarmUp(16))
    assert [name for name, item in model.policy.named_parameters() if not item.requires_grad] == ["log_std"]


def test_a_crash_while_collecting_leaves_nothing_held():
    model = learner(PPO)

    def crash(local: Any, _: Any) -> bool:
        if model.num_timesteps == 20:
            raise RuntimeError("crash")
        return True

    with pytest.raises(RuntimeError, match="crash"):
        model.learn(64, callback=[CriticWarmUp(64), *_callbacks(crash)])
    assert all(item.requires_grad for item in model.policy.parameters())


def _callbacks(function: Any) -> list[Any]:
    from stable_baselines3.common.callbacks import ConvertCallback

    return [ConvertCallback(function)]


@pytest.mark.parametrize(("kind", "env"), [(DQN, "CartPole-v1"), (TRPO, "Pendulum-v1")])
def test_learners_whose_critic_can_not_learn_alone_are_refused(kind, env):
    with pytest.raises(ValueError, match=f"{kind.__name__} can't learn its critic alone; use CriticWarmUp with PPO"):
        kind("MlpPolicy", env).learn(10, callback=CriticWarmUp(10))


def test_steps_below_zero_are_refused():
    with pytest.raises(ValueError, match="steps of at least 0, but was given -1"):
        CriticWarmUp(-1)
