from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import CallbackList, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from genrl.files import load_state, save_state
from genrl.policies import CriticWarmUp, HeldNoise
from genrl.rewards import RND, RewardCallback
from genrl.worlds import Ensemble, Practice, Record
from tests.rewards.clock import Spy, equal_parameters, parameters
from tests.worlds.test_imagination import WIDE, Known, Task

SMALL: dict[str, Any] = {"dreamed_steps": 64, "n_envs": 8, "n_steps": 4, "horizon": 4, "batch_size": 16, "every": 60}


def learner(kind: Any = PPO, normalize: bool = False, n_envs: int = 1, **kwargs: Any) -> Any:
    env = make_vec_env(Task, n_envs, seed=0)
    env = VecNormalize(env) if normalize else env
    policy = "MlpLstmPolicy" if kind is RecurrentPPO else "MlpPolicy"
    kwargs |= {} if kind is A2C else {"batch_size": 10}
    return kind(policy, env, n_steps=60, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu", **kwargs)


def practice(model: Any, **kwargs: Any) -> Practice:
    return Practice(Known(action_space=model.action_space), **SMALL | kwargs)


def test_it_practises_before_every_rollout_but_the_first_and_after_the_last() -> None:
    model = learner()
    added = practice(model)
    fitted: list[int] = []
    model.learn(180, callback=[added, Spy(lambda spy: fitted.append(getattr(added.dynamics, "fitted", 0)))])
    assert fitted == [0] * 60 + [1] * 60 + [2] * 60
    assert added.dynamics.fitted == 3
    assert added.dream.counters["steps"] == 3 * 64
    assert model.num_timesteps == 180  # real steps alone


def test_it_waits_for_enough_new_steps() -> None:
    model = learner()
    added = practice(model, every=100)
    fitted: list[int] = []
    model.learn(240, callback=[added, Spy(lambda spy: fitted.append(getattr(added.dynamics, "fitted", 0)))])
    assert fitted == [0] * 120 + [1] * 120


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_model_is_fitted_to_the_real_transitions_as_the_task_made_them(normalize: bool, n_envs: int) -> None:
    model = learner(normalize=normalize, n_envs=n_envs)
    added = practice(model)
    model.learn(120, callback=added)
    transitions, reward = added.dynamics.rows
    assert transitions.batch_size == len(added.record) == model.num_timesteps
    said = Task().model.step(transitions.obs, transitions.action)
    torch.testing.assert_close(transitions.next_obs, said.next_obs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(reward, said.reward, rtol=1e-5, atol=1e-5)
    assert (transitions.action.abs() <= 3).all()
    assert not transitions.terminated.any()  # all episodes were cut
    goes_on = (transitions.obs[1:] == transitions.next_obs[:-1]).all(1)
    assert int((~goes_on).sum()) == model.num_timesteps // 10 - 1  # episodes of ten steps, one environment after the other


@pytest.mark.parametrize("kind", [PPO, A2C, TRPO, RecurrentPPO], ids=lambda kind: kind.__name__)
def test_the_dream_teaches_the_learners_own_policy(kind: Any) -> None:
    model = learner(kind, learning_rate=1e-2)
    seen: list[Any] = []
    added = practice(model)
    practise = added._practise

    def watched() -> None:
        seen.append((model.policy, parameters(model)))
        practise()
        seen.append((model.policy, parameters(model)))

    added._practise = watched  # type: ignore[method-assign]
    model.learn(60, callback=added)
    (before, old), (after, new) = seen
    assert before is after
    assert any((a != b).any() for a, b in zip(old, new, strict=True))


def test_a_practice_has_the_learners_settings() -> None:
    model = learner(gamma=0.8, ent_coef=0.01, n_epochs=3, clip_range=0.1)
    added = practice(model)
    added.init_callback(model)
    inner = added._second(0)
    assert (inner.gamma, inner.ent_coef, inner.n_epochs, inner.clip_range(1)) == (0.8, 0.01, 3, 0.1)
    assert (inner.n_steps, inner.batch_size, inner.n_envs) == (4, 16, 8)


def test_a_falling_learning_rate_falls_over_the_real_steps_and_stays_within_a_practice() -> None:
    model = learner(learning_rate=LinearSchedule(1e-2, 0.0, 1.0), clip_range=LinearSchedule(0.3, 0.1, 1.0))
    added, second, seen = practice(model), Practice._second, []

    def watched(seed: int) -> Any:
        seen.append(second(added, seed))
        return seen[-1]

    added._second = watched  # type: ignore[method-assign]
    model.learn(240, callback=added)
    assert [each.lr_schedule(0.5) for each in seen] == pytest.approx([7.5e-3, 5e-3, 2.5e-3, 2.5e-3])  # 60, 120, 180; the last one as before
    assert [each.clip_range(0.5) for each in seen] == pytest.approx([0.25, 0.2, 0.15, 0.15])


@pytest.mark.parametrize("margin", [0.0, 100.0])
def test_a_practice_leaves_what_was_seen_as_far_as_its_margin(margin: float) -> None:
    model = learner()
    added = practice(model, margin=margin)
    added.dynamics.low, added.dynamics.high = torch.full((2,), -0.1), torch.full((2,), 0.1)
    model.learn(60, callback=added)
    assert (added.dream.counters["clipped"] > 0) == (margin == 0)


def test_a_dream_is_normalised_as_the_task_is() -> None:
    model = learner(normalize=True)
    added = practice(model)
    model.learn(60, callback=added)
    own, dream = model.get_vec_normalize_env(), added._normalized()
    count = own.obs_rms.count
    assert dream.obs_rms is own.obs_rms
    assert dream.ret_rms is own.ret_rms
    dream.reset()
    dream.step(np.zeros((8, 1), dtype=np.float32))
    assert own.obs_rms.count == count  # dreams leave the statistics alone


def test_its_draws_are_its_own() -> None:
    """With a policy that learns nothing, the real steps are those of the learner alone."""
    first: list[Any] = []
    for callbacks in ([], [practice(learner())]):
        model = learner(learning_rate=0.0)
        actions: list[Any] = []
        model.learn(180, callback=[*callbacks, Spy(lambda spy, kept=actions: kept.append(spy.locals["actions"].copy()))])
        first.append(np.concatenate(actions))
    np.testing.assert_array_equal(*first)


def test_practising_repeats_bit_for_bit_and_goes_on_from_its_state(tmp_path: Any) -> None:
    def added(model: Any, seed: int = 0) -> Practice:
        world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,), seed=seed)
        return Practice(world, fit={"max_steps": 5}, **SMALL)

    runs, callbacks = [], []
    for _ in range(2):
        runs.append(learner())  # which seeds torch and numpy
        callbacks.append(added(runs[-1]))
        runs[-1].learn(120, callback=callbacks[-1])
    assert equal_parameters(*runs)
    save_state(tmp_path / "practice.safetensors", callbacks[0].state_dict())
    other = added(runs[0], seed=7)
    other.load_state_dict(load_state(tmp_path / "practice.safetensors"))
    other.init_callback(runs[0])
    callbacks[0]._practise()
    ours = parameters(runs[0])
    runs[0].policy.load_state_dict(runs[1].policy.state_dict())
    runs[0].policy.optimizer.load_state_dict(runs[1].policy.optimizer.state_dict())
    other._practise()
    assert all(torch.equal(a, b) for a, b in zip(ours, parameters(runs[0]), strict=True))


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_noise_that_is_held_in_the_task_is_not_held_in_the_dream(first: bool, n_envs: int) -> None:
    """One sequence of the task's environments would move all rows of a dream alike, or would not fit them; and the dream would age it."""
    model, held, ages = learner(n_envs=n_envs), HeldNoise(4), []
    callbacks = [held, practice(model)] if first else [practice(model), held]
    model.learn(180 * n_envs, callback=[*callbacks, Spy(lambda spy: ages.append(held._noise.sequence.age))])
    assert ages == [*range(1, 61)] * 3


def test_inside_a_callback_that_leaves_steps_out_is_refused() -> None:
    model = learner()
    with pytest.raises(ValueError, match="Practice is inside EveryNTimesteps and would miss steps"):
        model.learn(60, callback=EveryNTimesteps(10, practice(model)))


def test_one_that_is_twice_in_a_list_is_refused_before_the_first_step_and_serves_a_learn_after_it() -> None:
    model = learner()
    added = practice(model)
    with pytest.raises(ValueError, match="the same Practice is twice in the list"):
        model.learn(120, callback=[added, added])
    model.learn(120, callback=added)
    assert len(added.record) == model.num_timesteps == 120


def test_an_off_policy_learner_is_told_to_imagine() -> None:
    model = SAC("MlpPolicy", make_vec_env(Task, 1), seed=0)
    with pytest.raises(ValueError, match="use Imagination in place of Practice"):
        model.learn(8, callback=practice(model))
    assert model.num_timesteps == 0


def test_a_learner_that_needs_masks_is_refused() -> None:
    model = MaskablePPO("MlpPolicy", make_vec_env(lambda: Task(spaces.Discrete(3)), 1), n_steps=60, batch_size=10)
    with pytest.raises(ValueError, match="needs the masks of the task"):
        practice(model).check(model)


def test_a_world_of_another_task_is_refused_before_the_first_step() -> None:
    model = learner()
    with pytest.raises(ValueError, match="Ensemble was made for observations"):
        model.learn(20, callback=Practice(Ensemble(spaces.Box(-1, 1, (5,)), WIDE, members=2, hidden=(8,)), **SMALL))
    assert model.num_timesteps == 0


def test_a_learner_with_another_number_of_environments_is_refused_before_the_first_step() -> None:
    added, other = practice(learner()), learner(n_envs=2)
    learner().learn(60, callback=added)
    with pytest.raises(ValueError, match="recorded steps of 1 environments, but PPO has 2"):
        other.learn(60, callback=added)
    assert other.num_timesteps == 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_reward_that_dreams_would_not_pay_is_refused_before_the_first_step(order: int) -> None:
    model = learner()
    reward = RewardCallback(RND(model.observation_space, model.action_space))
    with pytest.raises(ValueError, match="not in the dreams of Practice; give Practice eta=1"):
        model.learn(60, callback=[practice(model), reward][::order])
    assert model.num_timesteps == 0
    assert type(model.rollout_buffer) is RolloutBuffer


def test_two_of_one_name_are_refused_before_the_first_step() -> None:
    model = learner()
    with pytest.raises(ValueError, match="two callbacks are named 'practice' and would log over each other"):
        model.learn(60, callback=[practice(model), CallbackList([practice(model)])])
    assert model.num_timesteps == 0
    model.learn(60, callback=[practice(model), practice(model, name="other")])


def test_a_policy_that_shall_be_held_still_is_not_practised() -> None:
    model = learner()
    with pytest.raises(ValueError, match="CriticWarmUp holds the policy still for 60 steps, but Practice trains it in its dreams"):
        model.learn(60, callback=[practice(model), CriticWarmUp(60)])
    assert model.num_timesteps == 0


def test_a_keyword_that_the_fit_does_not_take_is_refused_when_it_is_made() -> None:
    world = Ensemble(spaces.Box(-1, 1, (2,)), WIDE, members=2, hidden=(8,))
    with pytest.raises(
        ValueError, match=r"Ensemble.fit can't be called with fit=\{'max_step': 5\}.*; it takes max_steps, batch_size, share"
    ):
        Practice(world, fit={"max_step": 5})


@pytest.mark.parametrize(("every", "told"), [(360, False), (362, True)])
def test_a_learn_that_ends_before_the_first_practice_is_told_of(recwarn: Any, every: int, told: bool) -> None:
    model = learner()
    added = practice(model, every=every)
    model.learn(150, callback=added)  # three rollouts, 180 steps
    assert (not hasattr(added.dynamics, "fitted")) == told == any("so nothing is practised" in str(item.message) for item in recwarn)


def test_a_record_without_steps_says_so() -> None:
    with pytest.raises(ValueError, match="no real steps were taken yet"):
        Record().transitions()


@pytest.mark.parametrize("kwargs", [{"horizon": 0}, {"dreamed_steps": 0}, {"batch_size": 0}, {"n_envs": 0}, {"every": 10}])
def test_values_that_cannot_be_name_their_keyword(kwargs: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Practice(Known(), **kwargs)


@pytest.mark.slow
def test_pendulum_is_swung_up_after_2000_real_steps() -> None:
    env = VecNormalize(make_vec_env("Pendulum-v1", 1, seed=0), norm_obs=False, norm_reward=True, gamma=0.95)
    model = PPO("MlpPolicy", env, n_steps=500, batch_size=100, gamma=0.95, learning_rate=1e-3, seed=0, device="cpu")
    world = Ensemble(model.observation_space, model.action_space)
    model.learn(2000, callback=Practice(world, horizon=60))
    returns, _ = evaluate_policy(model, make_vec_env("Pendulum-v1", 1, seed=100), 10, return_episode_rewards=True)
    assert np.mean(returns) > -300  # alone it has about -1,200 by then
