"""The reward socket of on-policy learners, against ground truth that the environments logged themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from genrl.rewards import RewardCallback
from tests.rewards.clock import (
    N_STEPS,
    ON_POLICY,
    PROCESSES,
    ClockReward,
    Spy,
    Step,
    clock_learner,
    clocks,
    learner,
    logs,
    reward_of,
    same,
    score,
    true_transitions,
)

WEIGHT, EXTRINSIC = 3.0, 0.5


def rollout_steps(model: Any) -> list[Step]:
    """The newest rollout from the environments' logs, all environments of a step together."""
    return [step for row in zip(*(log[-N_STEPS:] for log in logs(model.env)), strict=True) for step in row]


def naive_gae(rewards: np.ndarray, values: np.ndarray, last_values: np.ndarray, ends: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """Σ_k (γλ)^k δ_{t+k} up to the episode's end, one sum for each step."""
    n_steps, n_envs = rewards.shape
    advantages = np.zeros_like(rewards)
    for env in range(n_envs):
        for start in range(n_steps):
            for t in range(start, n_steps):
                after = 0.0 if ends[t, env] else (last_values[env] if t + 1 == n_steps else values[t + 1, env])
                advantages[start, env] += (gamma * lam) ** (t - start) * (rewards[t, env] + gamma * after - values[t, env])
                if ends[t, env]:
                    break
    return advantages


class Witness(Spy):
    """Keeps what the learner read and computed in the newest rollout: its rewards, its values, and each value that it bootstrapped with."""

    def __init__(self) -> None:
        super().__init__(self.see, self.finish)
        self.env_rewards: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []

    def _on_rollout_start(self) -> None:
        self.env_rewards, self.predicted = [], []
        policy: Any = self.model.policy

        def predict_values(*args: Any) -> torch.Tensor:
            values: torch.Tensor = type(policy).predict_values(policy, *args)
            self.predicted.append(values.numpy().reshape(-1).copy())
            return values

        policy.predict_values = predict_values

    def see(self, _: Spy) -> None:
        self.env_rewards.append(np.array(self.locals["rewards"], dtype=np.float64))

    def finish(self, _: Spy) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.rewards, self.returns, self.advantages, self.values = (
            np.array(field, dtype=np.float64) for field in (buffer.rewards, buffer.returns, buffer.advantages, buffer.values)
        )
        del self.model.policy.predict_values


def check_rollout(model: Any, witness: Witness, weight: float, extrinsic: float) -> None:
    steps = rollout_steps(model)
    shape = (N_STEPS, model.n_envs)
    timeouts = np.array([step.truncated and not step.terminated for step in steps]).reshape(shape)
    ends = np.array([step.terminated or step.truncated for step in steps]).reshape(shape)
    *terminal_values, last_values = witness.predicted
    bootstrap = np.zeros(shape)
    bootstrap[timeouts] = model.gamma * np.concatenate(terminal_values)
    bonus = score(true_transitions(steps)).numpy().astype(np.float64).reshape(shape)
    expected = extrinsic * np.stack(witness.env_rewards) + weight * bonus + bootstrap
    np.testing.assert_allclose(witness.rewards, expected, rtol=3e-7, atol=3e-5)
    advantages = naive_gae(expected, witness.values, last_values.astype(np.float64), ends, model.gamma, model.gae_lambda)
    np.testing.assert_allclose(witness.advantages, advantages, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(witness.returns, advantages + witness.values, rtol=1e-5, atol=1e-3)
    assert timeouts.any()
    assert (ends & ~timeouts).any()


@pytest.mark.parametrize("name", ON_POLICY)
@pytest.mark.parametrize(("n_envs", "normalize"), [(3, ""), (1, "obs reward"), (2, "obs clip"), (2, "reward")])
def test_returns_and_advantages_are_those_of_the_true_transitions(name: str, n_envs: int, normalize: str) -> None:
    model = clock_learner(name, n_envs, normalize)
    reward, witness = reward_of(model), Witness()
    model.learn(2 * N_STEPS * n_envs, callback=[witness, RewardCallback(reward, WEIGHT, EXTRINSIC)])
    check_rollout(model, witness, WEIGHT, EXTRINSIC)
    assert same(reward.scored()[-1], true_transitions(rollout_steps(model)))
    assert len(reward.scored()) == reward.updates == 2


def test_the_socket_is_the_same_over_processes() -> None:
    model = clock_learner("PPO", 2, "obs reward clip", PROCESSES)
    try:
        reward, witness = reward_of(model), Witness()
        model.learn(N_STEPS * 2, callback=[RewardCallback(reward, WEIGHT, EXTRINSIC), witness])
        check_rollout(model, witness, WEIGHT, EXTRINSIC)
        assert same(reward.scored()[-1], true_transitions(rollout_steps(model)))
    finally:
        model.env.close()


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("normalize", ["", "obs clip"])
def test_a_second_learn_starts_from_the_true_observation(reset: bool, normalize: str) -> None:
    model = clock_learner("PPO", 2, normalize)
    reward, witness = reward_of(model), Witness()
    callback = RewardCallback(reward, WEIGHT, EXTRINSIC)
    for _ in range(2):
        model.learn(N_STEPS * 2, callback=[callback, witness], reset_num_timesteps=reset)
        check_rollout(model, witness, WEIGHT, EXTRINSIC)
        assert same(reward.scored()[-1], true_transitions(rollout_steps(model)))


@pytest.mark.parametrize("name", ON_POLICY)
def test_a_loaded_learner_goes_on_with_the_same_callback(name: str, tmp_path: Any) -> None:
    model = clock_learner(name)
    reward, witness = reward_of(model), Witness()
    callback = RewardCallback(reward, WEIGHT)
    model.learn(N_STEPS * 2, callback=callback)
    model.save(tmp_path / "model.zip")
    loaded = ON_POLICY[name].load(tmp_path / "model.zip", env=model.env)
    loaded.learn(N_STEPS * 2, callback=[callback, witness], reset_num_timesteps=False)
    check_rollout(loaded, witness, WEIGHT, 1.0)
    assert reward.updates == 2


@pytest.mark.parametrize("actions", ["discrete", "multidiscrete", "multibinary"])
def test_discrete_actions_of_every_kind_arrive_as_executed(actions: str) -> None:
    model = learner("PPO", clocks(2, actions=actions))
    reward = reward_of(model)
    model.learn(N_STEPS * 2, callback=RewardCallback(reward))
    (scored,), truth = reward.scored(), true_transitions(rollout_steps(model))
    assert torch.equal(scored.action, truth.action)
    assert scored.action.shape == (N_STEPS * 2, *model.action_space.shape)
    assert reward.flat_action(scored.action).shape == (N_STEPS * 2, reward.action_dim)


def test_double_observations_arrive_in_the_dtype_of_the_model() -> None:
    model = learner("PPO", clocks(2, dtype=np.float64))
    reward = reward_of(model)
    model.learn(N_STEPS * 2, callback=RewardCallback(reward))
    assert reward.scored()[-1].obs.dtype == torch.float32
    assert same(reward.scored()[-1], true_transitions(rollout_steps(model)))
    doubles = reward_of(model)
    doubles.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    model.learn(N_STEPS * 2, callback=RewardCallback(doubles))
    assert {field.dtype for field in doubles.scored()[-1]} == {torch.float64, torch.bool}


def test_no_weight_on_the_environment_leaves_the_bonus_and_the_bootstrap() -> None:
    model, witness = clock_learner("PPO"), Witness()
    model.learn(N_STEPS * 2, callback=[RewardCallback(reward_of(model), WEIGHT, extrinsic_weight=0), witness])
    check_rollout(model, witness, WEIGHT, 0.0)


@pytest.mark.parametrize("swap", [False, True])
def test_two_rewards_add_up_in_either_order(swap: bool) -> None:
    model, witness = clock_learner("PPO"), Witness()
    callbacks = [RewardCallback(reward_of(model), 2.0, 0.5), RewardCallback(reward_of(model), -0.5, 0.5, name="second")]
    model.learn(N_STEPS * 2, callback=[*(callbacks[::-1] if swap else callbacks), witness])
    check_rollout(model, witness, 1.5, 0.25)


@pytest.mark.parametrize("first", [False, True])
def test_a_reward_learns_before_or_after_it_scores_as_it_asks(first: bool) -> None:
    model = clock_learner("PPO")
    reward = reward_of(model, ClockReward, first=first)
    model.learn(N_STEPS * 2, callback=RewardCallback(reward))
    assert [kind for kind, _ in reward.events[1:]] == (["update", "score"] if first else ["score", "update"])
    assert same(reward.events[1][1], reward.events[2][1])  # `latest` is the rollout


def test_the_last_bonus_is_a_time_by_environment_table() -> None:
    model = clock_learner("PPO", 3)
    callback = RewardCallback(reward_of(model), WEIGHT)
    model.learn(N_STEPS * 3, callback=callback)
    bonus = score(true_transitions(rollout_steps(model))).reshape(N_STEPS, 3)
    np.testing.assert_array_equal(callback.last_bonus, bonus.numpy())


def test_a_venv_may_reuse_its_arrays() -> None:
    class Reusing(DummyVecEnv):
        def _obs_from_buf(self) -> np.ndarray:
            return self.buf_obs[None]  # type: ignore[index]

    model = clock_learner("PPO", 2, "", Reusing)
    reward = reward_of(model)
    model.learn(N_STEPS * 2, callback=RewardCallback(reward))
    assert same(reward.scored()[-1], true_transitions(rollout_steps(model)))
