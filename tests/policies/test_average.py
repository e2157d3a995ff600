"""The mean of the last policies: of parameters, over the right steps, beside a learner that does not know of it."""

from __future__ import annotations

import pytest
import torch
from sb3_contrib import CrossQ
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback

from genrl.files import load_state, save_state
from genrl.policies import PolicyAverage

KWARGS = {
    PPO: {"n_steps": 64, "batch_size": 64, "n_epochs": 1},
    SAC: {"learning_starts": 10, "batch_size": 8, "buffer_size": 500},
    CrossQ: {"learning_starts": 10, "batch_size": 8, "buffer_size": 500},
}


class Keep(BaseCallback):
    """Copies the policy at the start of each rollout, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, dict[str, torch.Tensor]] = {}

    def _on_rollout_start(self) -> None:
        self.seen[self.num_timesteps] = {name: value.clone() for name, value in self.model.policy.state_dict().items()}

    def _on_step(self) -> bool:
        return True

    _on_training_end = _on_rollout_start


def made(cls):
    return cls("MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [8]}, **KWARGS[cls])


@pytest.mark.parametrize(
    ("cls", "steps", "average", "counted"),
    [
        (PPO, 256, PolicyAverage(since=100, every=50), [128, 192, 256]),
        (SAC, 60, PolicyAverage(since=30, every=10), [30, 40, 50, 60]),
        (CrossQ, 45, PolicyAverage(since=20, every=15), [20, 35, 45]),
    ],
)
def test_is_the_mean_of_the_policies_that_count(cls, steps, average, counted):
    model, keep = made(cls), Keep()
    model.learn(steps, callback=[keep, average])
    assert average.count == len(counted)
    for name, value in average.mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([keep.seen[step][name] for step in counted]).mean(0))


def test_changes_nothing_of_the_training():
    alone = made(SAC).learn(40)  # SB3's constructor seeds torch for all
    beside = made(SAC).learn(40, callback=PolicyAverage(since=0, every=1))
    for one, other in zip(alone.policy.state_dict().values(), beside.policy.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_is_the_policy_where_it_is_applied_and_nowhere_else():
    model, average = made(SAC), PolicyAverage(since=20, every=5)
    model.learn(40, callback=average)
    obs = model.observation_space.sample()
    before = model.predict(obs, deterministic=True)[0]
    with pytest.raises(KeyError), average.applied(model):
        assert torch.equal(model.policy.state_dict()["actor.mu.weight"], average.mean["actor.mu.weight"])
        assert model.predict(obs, deterministic=True)[0] != before
        raise KeyError
    assert model.predict(obs, deterministic=True)[0] == before


def test_goes_on_after_it_was_restored(tmp_path):
    model, average = made(PPO), PolicyAverage(since=0)
    model.learn(128, callback=average)
    save_state(tmp_path / "average.safetensors", average.state_dict())
    other = PolicyAverage(since=0)
    other.load_state_dict(load_state(tmp_path / "average.safetensors"))
    model.learn(64, callback=[average, other], reset_num_timesteps=False)
    assert average.count == other.count > 2
    assert all(torch.equal(average.mean[name], other.mean[name]) for name in average.mean)


@pytest.mark.parametrize("other", [False, True])
def test_of_a_learn_that_counts_its_steps_from_0_again_begins_anew(other):
    model, average = made(PPO), PolicyAverage(since=64)
    model.learn(192, callback=average)
    second = made(PPO) if other else model
    second.learn(128, callback=[kept := Keep(), average])
    assert average.count == 2  # at 64 and 128 steps
    mean = (kept.seen[64]["action_net.weight"] + kept.seen[128]["action_net.weight"]) / 2
    assert torch.allclose(average.mean["action_net.weight"], mean, atol=1e-6)


def test_of_another_learner_that_is_further_begins_anew():
    first, second, average = made(PPO), made(PPO).learn(256), PolicyAverage(since=0)
    first.learn(64, callback=average)
    second.learn(64, callback=[kept := Keep(), average], reset_num_timesteps=False)
    assert average.count == 2  # at 256 and 320 steps
    mean = (kept.seen[256]["action_net.weight"] + kept.seen[320]["action_net.weight"]) / 2
    assert torch.allclose(average.mean["action_net.weight"], mean, atol=1e-6)


@pytest.mark.parametrize(("since", "counted"), [(192, [192, 256]), (100, [128, 192, 256])])
def test_of_a_state_with_policies_from_before_its_first_step_begins_anew(since, counted):
    """A run of 128 steps, whose policies of 64 and 128 steps were averaged, goes on to 256."""
    model, shorter, longer = made(PPO), PolicyAverage(since=64, every=1), PolicyAverage(since=since, every=1)
    model.learn(128, callback=shorter)
    longer.load_state_dict(shorter.state_dict())
    model.learn(128, callback=[kept := Keep(), longer], reset_num_timesteps=False)
    assert longer.count == len(counted)
    mean = torch.stack([kept.seen[step]["action_net.weight"] for step in counted]).mean(0)
    assert torch.allclose(longer.mean["action_net.weight"], mean, atol=1e-6)


def test_that_was_restored_follows_the_learner_to_its_device():
    """A state is read on the CPU; torch's device without values refuses what lies elsewhere, as a GPU does."""
    model, average = made(PPO), PolicyAverage(since=0)
    model.learn(64, callback=average)
    average.load_state_dict(average.state_dict())
    model.policy.to("meta")
    average._add()
    assert {value.device.type for value in average.mean.values()} == {"meta"}


def test_of_no_policy_is_not_applied():
    model = made(PPO)
    with pytest.raises(ValueError, match="averaged no policy yet, but begins after 500 steps"), PolicyAverage(since=500).applied(model):
        pass


@pytest.mark.parametrize(("given", "name"), [({"since": -1}, "since"), ({"since": 0, "every": 0}, "every")])
def test_of_numbers_that_can_not_be_is_refused(given, name):
    with pytest.raises(ValueError, match=f"PolicyAverage needs {name}"):
        PolicyAverage(**given)
