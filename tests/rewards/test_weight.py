"""A weight that tunes itself: where it moves, where it stays, and that the learner is paid with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback

from genrl.files import load_state, save_state
from genrl.rewards import AutoWeight, Constant, RewardCallback
from genrl.runs import ExploreConfig
from genrl.runs.config.commands import config_from
from genrl.sb3.hooks import buffer_of

ONES, COSTS = np.ones(4), np.full(4, -0.25)
PENDULUM = spaces.Box(-1, 1, (3,)), spaces.Box(-2, 2, (1,))


def told(weight: AutoWeight, rewards: np.ndarray, bonus: np.ndarray, decay: float = 1.0) -> float:
    weight.paid(rewards)
    return weight.update(bonus, decay)


class TestTheWeight:
    def test_it_moves_by_the_exponential_of_what_the_share_lacks(self):
        weight = AutoWeight(target=0.5, start=1.0, step_size=2.0)
        assert told(weight, COSTS, ONES) == pytest.approx(0.8)  # 4 / (1 + 4)
        assert weight.value == pytest.approx(math.exp(2 * (0.5 - 0.8)))

    def test_it_falls_above_the_target_and_rises_below_it(self):
        weight = AutoWeight(target=0.5, start=1.0)
        told(weight, COSTS, ONES)
        assert weight.value < 1
        weight = AutoWeight(target=0.5, start=0.1)
        told(weight, COSTS, ONES)
        assert weight.value > 0.1

    @pytest.mark.parametrize("target", [0.1, 0.5, 0.9])
    def test_it_ends_where_the_share_is_the_target(self, target):
        """w · 4 / (1 + w · 4) = target."""
        weight = AutoWeight(target=target)
        for _ in range(400):
            share = told(weight, COSTS, ONES)
        assert share == pytest.approx(target, abs=1e-3)
        assert weight.value == pytest.approx(target / (1 - target) / 4, rel=1e-2)

    def test_it_stays_where_the_task_or_the_model_has_paid_nothing(self):
        weight = AutoWeight()
        assert told(weight, 0 * ONES, ONES) == 1.0
        assert told(weight, ONES, 0 * ONES) == 0.0
        assert weight.value == weight.start

    def test_all_steps_since_the_last_update_count_and_no_others(self):
        weight = AutoWeight(start=1.0)
        for _ in range(4):
            weight.paid(ONES)
        assert weight.update(ONES) == pytest.approx(4 / 20)
        weight.value = 1.0
        assert told(weight, ONES, ONES) == 0.5

    def test_it_stays_positive_and_bounded(self):
        weight = AutoWeight(target=0.999, step_size=1000.0)
        for scale in (1e-12, 1e12, 1e-12):
            told(weight, ONES, scale * ONES)
            assert 0.999e-6 < weight.value < 1.001e3

    def test_a_decayed_target_is_a_lower_one(self):
        whole, half = AutoWeight(target=0.8, start=1.0), AutoWeight(target=0.4, start=1.0)
        told(whole, ONES, ONES, decay=0.5)
        told(half, ONES, ONES)
        assert whole.value == half.value < 1

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_not_finite_is_refused_and_moves_nothing(self, bad):
        weight = AutoWeight()
        with pytest.raises(FloatingPointError, match="finite"):
            weight.paid(np.array([1.0, bad]))
        weight.paid(ONES)
        with pytest.raises(FloatingPointError, match="finite"):
            weight.update(np.array([1.0, bad]))
        assert weight.value == weight.start
        assert weight.update(ONES) == pytest.approx(0.1 / 1.1)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"target": 1.0}, r"target to be in \(0, 1\)"),
            ({"start": 0.0}, "start to be in"),
            ({"start": -1.0}, "start to be in"),
            ({"step_size": math.nan}, "step_size to be above 0"),
        ],
    )
    def test_impossible_ones_are_refused(self, keywords, message):
        with pytest.raises(ValueError, match=message):
            AutoWeight(**keywords)


class Weights(BaseCallback):
    """Keeps the weight at every step."""

    def __init__(self, callback: RewardCallback) -> None:
        super().__init__()
        self.callback, self.seen = callback, []

    def _on_step(self) -> bool:
        self.seen.append(self.callback.applied_weight)
        return True


class Paid(BaseCallback):
    """Keeps what the rollout buffer holds when it is full."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.rewards = buffer_of(self.model).rewards.copy()


def share_paid(callback: RewardCallback, paid: Paid) -> float:
    """The share of a bonus of 1 a step in what the rollout buffer holds."""
    bonus = callback.weight * paid.rewards.size
    return bonus / (bonus + np.abs(paid.rewards - callback.weight).sum())


class Ending(BaseCallback):
    """Ends the training after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.steps


class TestInALearner:
    @pytest.mark.parametrize("learner", ["ppo", "sac"])
    def test_the_share_goes_to_its_target(self, learner):
        """On Pendulum, which pays some -6 a step, beside a bonus of 1."""
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, seed=0) if learner == "ppo" else SAC("MlpPolicy", "Pendulum-v1", seed=0)
        callback = RewardCallback(Constant(*PENDULUM), AutoWeight(0.5, step_size=2.0), update_every=32)
        weights = Weights(callback)
        model.learning_starts = 10_000
        model.learn(1024, callback=[callback, weights])
        assert weights.seen[0] == 0.1
        assert 2.0 < weights.seen[-1] < 16.0

    def test_a_replay_buffer_that_holds_fewer_steps_than_an_update_waits_for_changes_no_share(self):
        """CartPole pays 1 a step, and so does the model."""
        model = DQN("MlpPolicy", "CartPole-v1", buffer_size=32, learning_starts=10_000)
        callback = RewardCallback(Constant(model.observation_space, model.action_space), AutoWeight(start=0.1), update_every=64)
        model.learn(64, callback=callback)
        assert callback._metrics["share"] == pytest.approx(0.1 / 1.1)

    def test_the_rollout_is_paid_with_it(self):
        model = PPO("MlpPolicy", "MountainCarContinuous-v0", n_steps=32, seed=0)
        callback, paid = RewardCallback(Constant(model.observation_space, model.action_space), "auto"), Paid()
        model.learn(96, callback=[callback, paid])
        costs = paid.rewards - callback.weight
        assert callback.weight != 0.1
        assert costs.min() >= -0.1
        assert costs.max() <= 1e-6

    @pytest.mark.parametrize("weight", [1.0, "auto"])
    def test_a_weight_or_a_share_halves_with_the_steps(self, weight):
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64, seed=0)
        callback = RewardCallback(Constant(*PENDULUM), weight, half_life=64)
        model.learn(128, callback=callback)
        assert callback.decay == 0.25
        if weight == "auto":
            assert callback.applied_weight == callback.weight
        else:
            assert (callback.weight, callback.applied_weight) == (1.0, 0.25)

    def test_it_does_not_touch_what_is_not_asked_for(self):
        callback = RewardCallback(Constant(*PENDULUM), 0.5)
        assert (callback.auto, callback.weight, callback.applied_weight, callback.decay) == (None, 0.5, 0.5, 1.0)

    def test_it_is_in_a_checkpoint_with_what_it_has_summed(self, tmp_path):
        def made() -> RewardCallback:
            return RewardCallback(Constant(*PENDULUM), AutoWeight(start=2.0))

        first, second = made(), made()
        told(first.auto, ONES, ONES)
        first.weight = first.auto.value
        first.auto.paid(COSTS)
        save_state(tmp_path / "state.safetensors", first.state_dict())
        second.load_state_dict(load_state(tmp_path / "state.safetensors"))
        assert second.weight == first.weight != 2.0
        assert second.auto.update(ONES) == first.auto.update(ONES)

    def test_two_callbacks_that_are_given_the_same_hold_a_share_each(self):
        """As two that are given one each; with one between them, the second would see none of what the environment paid."""
        found = []
        for first, second in ((given := AutoWeight(), given), (AutoWeight(), AutoWeight())):
            model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, seed=0)
            callbacks = [RewardCallback(Constant(*PENDULUM), auto, name=name) for auto, name in ((first, "one"), (second, "other"))]
            model.learn(96, callback=callbacks)
            found.append([callback.weight for callback in callbacks])
        assert found[0] == found[1] and 0.1 not in found[0]
        assert given.value == 0.1

    def test_beside_no_reward_of_the_environment_is_refused(self):
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32)
        with pytest.raises(ValueError, match=r"but extrinsic_weight is 0; take weight=1\.0"):
            model.learn(32, callback=RewardCallback(Constant(*PENDULUM), "auto", extrinsic_weight=0.0))

    def test_beside_another_callback_it_weighs_against_what_that_leaves_of_the_environments_reward(self):
        """Extrinsic weights multiply: a tenth of the reward is paid, against a bonus of 1 a step."""
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, n_epochs=1, seed=0)
        auto = RewardCallback(Constant(*PENDULUM), AutoWeight(start=1.0), name="auto")
        other, paid = RewardCallback(Constant(*PENDULUM), 0.0, extrinsic_weight=0.1), Paid()
        model.learn(32, callback=[other, auto, paid])
        assert auto.weight != 1.0
        assert auto._metrics["share"] == pytest.approx(share_paid(auto, paid), rel=1e-4)

    def test_steps_of_a_rollout_that_was_broken_off_weigh_in_no_share(self):
        """A learn that ends after half a rollout leaves no bonus of those steps, and so nothing of what they were paid."""
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, n_epochs=1, seed=0)
        auto, paid = RewardCallback(Constant(*PENDULUM), AutoWeight(start=1.0)), Paid()
        model.learn(32, callback=[auto, paid, Ending(16)])
        assert model.num_timesteps == 16 and not auto._metrics
        model.learn(32, callback=[auto, paid], reset_num_timesteps=False)
        assert auto._metrics["share"] == pytest.approx(share_paid(auto, paid), rel=1e-4)

    def test_beside_a_callback_that_leaves_nothing_of_it_is_refused_before_the_first_step(self):
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32)
        alone, auto = RewardCallback(Constant(*PENDULUM), extrinsic_weight=0.0), RewardCallback(Constant(*PENDULUM), "auto", name="auto")
        with pytest.raises(ValueError, match=r"but extrinsic_weight is 0 in another callback of this learn; take weight=1\.0"):
            model.learn(32, callback=[auto, alone])
        assert model.num_timesteps == 0

    @pytest.mark.parametrize("weight", ["Auto", None])
    def test_a_weight_that_is_no_number_is_refused(self, weight):
        with pytest.raises(ValueError, match=f"RewardCallback needs weight to be a number, or 'auto'.*, but was given {weight!r}"):
            RewardCallback(Constant(*PENDULUM), weight)

    def test_one_that_tunes_itself_is_not_set_below_0(self):
        callback = RewardCallback(Constant(*PENDULUM), "auto")
        with pytest.raises(ValueError, match="RewardCallback needs weight to be at least 0, as one that tunes itself, but was given -1"):
            callback.weight = -1.0
        callback.extrinsic_weight = -1.0
        RewardCallback(Constant(*PENDULUM), 1.0).weight = -1.0

    @pytest.mark.parametrize("half_life", [0, -1.0, math.nan])
    def test_a_half_life_that_cannot_be_is_refused(self, half_life):
        with pytest.raises(ValueError, match="half_life"):
            RewardCallback(Constant(*PENDULUM), half_life=half_life)


class TestInAConfiguration:
    def test_auto_comes_back_from_its_file(self):
        config = ExploreConfig(weight="auto", weight_half_life=1e5)
        assert config_from(config.to_dict()) == ExploreConfig(weight="auto", weight_half_life=1e5, out=config.directory)

    @pytest.mark.parametrize(("given", "message"), [({"weight": "car"}, "a number, or auto"), ({"weight_half_life": -1.0}, "positive")])
    def test_impossible_ones_are_refused(self, given, message):
        with pytest.raises(Exception, match=message):
            config_from({"command": "explore", **given})
