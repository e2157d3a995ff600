"""The reward socket of off-policy learners, against ground truth that the environments logged themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from genrl.files import load_state, save_state
from genrl.rewards import RewardCallback
from genrl.transitions import Transitions
from tests.rewards.clock import OFF_POLICY, PROCESSES, ClockReward, Spy, Step, clock_learner, logs, reward_of, same, score, true_transitions

WEIGHT, EXTRINSIC = 3.0, 0.5


def env_reward(model: Any, step: Step) -> float:
    normalize = model.get_vec_normalize_env()
    return step.reward if normalize is None else float(normalize.normalize_reward(np.array([step.reward]))[0])


def naive_return(model: Any, log: list[Step], start: int, weight: float, extrinsic: float) -> float:
    """Σ_k γ^k (extrinsic · env + weight · score) up to n steps, the episode's end, a reset or the newest step, one step at a time."""
    total = 0.0
    for k in range(model.n_steps):
        step = log[start + k]
        total += model.gamma**k * (extrinsic * env_reward(model, step) + weight * float(score(true_transitions([step]))[0]))
        if step.terminated or step.truncated or start + k + 1 == len(log) or (log[start + k + 1].obs != step.next_obs).any():
            break
    return total


class Sampled:
    """Stands before a live buffer's ``sample`` and compares every batch that the learner draws with the logs."""

    def __init__(self, model: Any, weight: float, extrinsic: float) -> None:
        self.model, self.weight, self.extrinsic, self.batches = model, weight, extrinsic, 0

    def __enter__(self) -> Sampled:
        self.model.replay_buffer.sample = self.sample
        return self

    def __exit__(self, *_: object) -> None:
        del self.model.replay_buffer.sample

    def sample(self, batch_size: int, env: Any = None) -> Any:
        buffer, logged = self.model.replay_buffer, logs(self.model.env)
        before = np.random.get_state()  # noqa: NPY002 (what SB3 draws from)
        batch = type(buffer).sample(buffer, batch_size, env=env)
        after = np.random.get_state()  # noqa: NPY002
        np.random.set_state(before)  # noqa: NPY002
        rows = np.random.randint(0, buffer.size(), size=batch_size)  # noqa: NPY002
        envs = np.random.randint(0, buffer.n_envs, size=batch_size)  # noqa: NPY002
        np.random.set_state(after)  # noqa: NPY002
        ages = (buffer.pos - 1 - rows) % buffer.buffer_size
        expected = [
            naive_return(self.model, logged[i], len(logged[i]) - 1 - age, self.weight, self.extrinsic)
            for i, age in zip(envs, ages, strict=True)
        ]
        assert batch.rewards.dtype == torch.float32
        np.testing.assert_allclose(batch.rewards.numpy()[:, 0], expected, rtol=1e-6, atol=1e-4)
        self.batches += 1
        return batch


def stored_steps(model: Any) -> list[list[Step]]:
    """Per row of the buffer, oldest first, the logged step of each environment."""
    size = model.replay_buffer.size()
    return [list(row) for row in zip(*(log[len(log) - size :] for log in logs(model.env)), strict=True)]


def untouched_rewards(model: Any) -> bool:
    buffer = model.replay_buffer
    stored = np.roll(buffer.rewards[: buffer.size()], -buffer.pos if buffer.full else 0, axis=0)
    return np.array_equal(stored, [[step.reward for step in row] for row in stored_steps(model)])


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize(
    ("n_envs", "normalize", "n_steps"), [(3, "", 1), (2, "", 3), (1, "obs reward", 1), (2, "obs reward clip", 3), (2, "reward", 1)]
)
def test_a_batch_has_the_environments_reward_and_the_score_of_its_own_rows(name: str, n_envs: int, normalize: str, n_steps: int) -> None:
    model = clock_learner(name, n_envs, normalize, n_steps=n_steps, gradient_steps=2)
    reward = reward_of(model)
    with Sampled(model, WEIGHT, EXTRINSIC) as sampled:
        model.learn(40 * n_envs, callback=RewardCallback(reward, WEIGHT, EXTRINSIC, update_every=24 * n_envs))
    assert sampled.batches >= 4
    assert reward.updates == 1
    assert untouched_rewards(model)
    assert same(reward.scored()[0], true_transitions([step for row in stored_steps(model)[:24] for step in row]))


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("normalize", ["", "obs clip"])
def test_a_buffer_that_wraps_around_forgets_with_its_rows(n_steps: int, normalize: str) -> None:
    model = clock_learner("SAC", 2, normalize, buffer_size=2 * 13, n_steps=n_steps)
    reward = reward_of(model)
    with Sampled(model, WEIGHT, 1.0) as sampled:
        callback = RewardCallback(reward, WEIGHT, update_every=40 * 2)
        model.learn(100 * 2, callback=callback)
        assert sampled.batches >= 5
    assert untouched_rewards(model)
    newest = [step for log in zip(*(log[80 - 13 : 80] for log in logs(model.env)), strict=True) for step in log]
    assert same(reward.scored()[-1], true_transitions(newest))  # an update hears of 40 rows, of which 13 are left
    assert callback.last_bonus.shape == (13, 2)


def test_rows_that_are_not_yet_written_are_not_scored() -> None:
    class Strict(ClockReward):
        def forward(self, transitions: Transitions) -> torch.Tensor:
            if self.events and (transitions.next_obs[:, 0] == 0).any():  # no step leads there; the first call is the probe of zeros
                raise AssertionError("an unwritten row was scored")
            return super().forward(transitions)

    model = clock_learner("DQN", 1, n_steps=3)
    with Sampled(model, WEIGHT, 1.0):
        model.learn(40, callback=RewardCallback(reward_of(model, Strict), WEIGHT))


def test_training_by_episodes_and_by_single_steps_works() -> None:
    for train_freq in ((1, "episode"), (1, "step")):
        model = clock_learner("TD3", 1, train_freq=train_freq, gradient_steps=1)
        reward = reward_of(model)
        with Sampled(model, WEIGHT, EXTRINSIC) as sampled:
            model.learn(40, callback=RewardCallback(reward, WEIGHT, EXTRINSIC, update_every=5))
        assert sampled.batches >= 3
        assert sum(t.batch_size for t in reward.scored()) <= 50
        assert same(
            Transitions.concatenate(reward.scored()),
            true_transitions(logs(model.env)[0][: sum(t.batch_size for t in reward.scored())]),
        )


def test_a_step_at_a_time_every_new_transition_is_scored_in_training_mode_once() -> None:
    model = clock_learner("SAC", 3, train_freq=(1, "step"))
    reward = reward_of(model)
    model.learn(40 * 3, callback=RewardCallback(reward, update_every=15))
    new = Transitions.concatenate(reward.scored())
    assert same(new, true_transitions([step for row in stored_steps(model) for step in row]))
    assert {transitions.batch_size for transitions in reward.scored()} == {15}


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("normalize", ["", "obs reward clip"])
def test_a_second_learn_knows_the_rows_of_the_first(reset: bool, normalize: str) -> None:
    model = clock_learner("SAC", 2, normalize, n_steps=3)
    callback = RewardCallback(reward_of(model), WEIGHT, update_every=60)
    with Sampled(model, WEIGHT, 1.0) as sampled:
        for _ in range(2):
            model.learn(40 * 2, callback=callback, reset_num_timesteps=reset)
    assert sampled.batches >= 4
    assert callback.reward.updates == 2  # 80 transitions of 160 are heard of after 64, the rest counts on


@pytest.mark.parametrize("name", ["SAC", "DQN"])
@pytest.mark.parametrize("normalize", ["", "obs clip"])
def test_a_reward_goes_on_exactly_after_save_and_load(name: str, normalize: str, tmp_path: Any) -> None:
    model = clock_learner(name, 2, normalize)
    callback = RewardCallback(reward_of(model), WEIGHT, update_every=60)
    model.learn(40 * 2, callback=callback)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    save_state(tmp_path / "reward.safetensors", callback.state_dict())

    loaded = OFF_POLICY[name].load(tmp_path / "model.zip", env=model.env)
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")  # type: ignore[attr-defined]
    other = RewardCallback(reward_of(loaded), WEIGHT, update_every=60)
    other.load_state_dict(load_state(tmp_path / "reward.safetensors"))
    save_state(tmp_path / "again.safetensors", other.state_dict())
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "reward.safetensors").read_bytes()
    with Sampled(loaded, WEIGHT, 1.0) as sampled:
        loaded.learn(40 * 2, callback=other, reset_num_timesteps=False)
    assert sampled.batches >= 2
    assert untouched_rewards(loaded)


def test_the_socket_is_the_same_over_processes() -> None:
    model = clock_learner("SAC", 2, "obs clip", PROCESSES, n_steps=3)
    try:
        reward = reward_of(model)
        with Sampled(model, WEIGHT, EXTRINSIC) as sampled:
            model.learn(80, callback=RewardCallback(reward, WEIGHT, EXTRINSIC, update_every=80))
        assert sampled.batches >= 2
        assert same(reward.scored()[0], true_transitions([step for row in stored_steps(model) for step in row]))
    finally:
        model.env.close()


@pytest.mark.parametrize("swap", [False, True])
def test_two_rewards_add_up_in_either_order(swap: bool) -> None:
    model = clock_learner("SAC", 2, "reward", n_steps=3)
    callbacks = [RewardCallback(reward_of(model), 2.0, 0.5), RewardCallback(reward_of(model), -0.5, 0.5, name="second")]
    with Sampled(model, 1.5, 0.25) as sampled:
        model.learn(80, callback=callbacks[::-1] if swap else callbacks)
    assert sampled.batches


def test_no_weight_on_the_environment_leaves_the_bonus() -> None:
    model = clock_learner("SAC")
    with Sampled(model, WEIGHT, 0.0) as sampled:
        model.learn(80, callback=RewardCallback(reward_of(model), WEIGHT, extrinsic_weight=0))
    assert sampled.batches


@pytest.mark.parametrize("first", [False, True])
def test_a_reward_learns_before_or_after_it_scores_as_it_asks(first: bool) -> None:
    model = clock_learner("SAC")
    reward = reward_of(model, ClockReward, first=first)
    model.learn(80, callback=RewardCallback(reward, update_every=64))
    kinds = [kind for kind, _ in reward.events if kind != "replay"]
    assert kinds == (["update", "score"] if first else ["score", "update"])


def test_the_memory_is_the_replay_buffer_itself() -> None:
    model = clock_learner("SAC")

    class Sampler(ClockReward):
        def update(self, memory: Any) -> dict[str, float]:
            self.sample, self.kept = memory.sample(200), len(memory)
            return super().update(memory)

    reward = reward_of(model, Sampler)
    model.learn(80, callback=RewardCallback(reward, update_every=64))
    truth = true_transitions([step for row in stored_steps(model)[:32] for step in row])
    known = {tuple(row) for row in torch.cat([truth.obs, truth.action, truth.next_obs], 1).tolist()}
    drawn = {tuple(row) for row in torch.cat([reward.sample.obs, reward.sample.action, reward.sample.next_obs], 1).tolist()}
    assert reward.kept == 64
    assert drawn <= known
    assert len(drawn) > 50


def test_the_buffer_is_live_only_within_the_learn() -> None:
    model = clock_learner("SAC")
    kinds: list[str] = []
    spy = Spy(lambda spy: kinds.append(type(spy.model.replay_buffer).__mro__[1].__name__))  # type: ignore[attr-defined]
    model.learn(60, callback=[RewardCallback(reward_of(model), WEIGHT), spy])
    assert set(kinds) == {"ReplayBuffer"}
    assert type(model.replay_buffer) is ReplayBuffer
    with Sampled(model, 0.0, 1.0):
        model.replay_buffer.sample(32)
    n_step = clock_learner("SAC", n_steps=3)
    n_step.learn(60, callback=RewardCallback(reward_of(n_step), WEIGHT))
    assert type(n_step.replay_buffer) is NStepReplayBuffer
