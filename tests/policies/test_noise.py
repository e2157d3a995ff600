"""Exploration noise that is held for exactly n steps, or pink for an episode: only in rollouts, and for one learn."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback, EveryNTimesteps
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.noise import NormalActionNoise
from torch.distributions import Normal

from genrl.policies import CriticWarmUp, HeldNoise, PinkNoise, PolicyAverage, sequences
from genrl.policies.sequences import pink_length
from genrl.worlds import DreamVecEnv
from tests.rewards.clock import N_STEPS, PROCESSES, Spy, clock_learner, equal_parameters
from tests.worlds.analytic import LinearGaussian

ON_POLICY = ["PPO", "A2C", "TRPO", "RecurrentPPO"]
OFF_POLICY = ["SAC", "TD3", "DDPG", "TQC", "CrossQ"]
LENGTH = 2 * 40


def centred(name: str) -> Any:
    """An on-policy learner whose mean action is 0, so that its actions are its noise."""
    model = clock_learner(name)
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.zero_()
    return model


def runs(noise: np.ndarray) -> list[int]:
    """Lengths of the stretches in which a sequence ``(time, env, act)`` stays as it is, all environments at once."""
    changes = [t for t in range(1, len(noise)) if not np.array_equal(noise[t], noise[t - 1])]
    assert all((noise[t] != noise[t - 1]).all() for t in changes)
    return np.diff([0, *changes, len(noise)]).tolist()


class Rollouts(Spy):
    """Keeps the actions and log-probabilities of every rollout, before SB3 flattens them."""

    def __init__(self, look: Any = None) -> None:
        super().__init__(look, self.keep)
        self.actions: list[np.ndarray] = []
        self.log_probs: list[np.ndarray] = []

    def keep(self, _: Spy) -> None:
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.actions.append(buffer.actions.copy())
        self.log_probs.append(buffer.log_probs.copy())


class TestOnPolicy:
    @pytest.mark.parametrize("name", ON_POLICY)
    def test_noise_is_held_for_exactly_n_steps_and_drawn_anew_in_a_new_rollout(self, name: str) -> None:
        model, rollouts = centred(name), Rollouts()
        model.train = lambda: None  # the mean stays 0
        model.learn(N_STEPS * 4, callback=[HeldNoise(5), rollouts])
        first, second = rollouts.actions
        assert runs(first) == [5, 5, 5, 1]
        assert runs(second) == [5, 5, 5, 1]
        assert (first[-1] != second[0]).all()
        assert (first[:, 0] != first[:, 1]).all()  # another noise for each environment

    @pytest.mark.parametrize("name", ON_POLICY)
    @pytest.mark.parametrize("std", [None, 0.3])
    def test_the_density_is_that_of_the_marginal_gaussian(self, name: str, std: float | None) -> None:
        model, rollouts = centred(name), Rollouts()
        model.learn(N_STEPS * 2, callback=[HeldNoise(4, std), rollouts])
        actions, log_probs = torch.as_tensor(rollouts.actions[0]), rollouts.log_probs[0]
        torch.testing.assert_close(torch.as_tensor(log_probs), Normal(0.0, std or 1.0).log_prob(actions).sum(-1))
        assert 0.4 * (std or 1.0) < actions.std() < 2 * (std or 1.0)

    def test_the_loss_sees_the_density_that_the_rollout_had(self) -> None:
        model = clock_learner("PPO")
        ratios = []

        def compare(spy: Spy) -> None:
            buffer = spy.model.rollout_buffer  # type: ignore[attr-defined]
            obs, actions = (torch.as_tensor(field).flatten(0, 1) for field in (buffer.observations, buffer.actions))
            policy: Any = spy.model.policy
            log_probs = policy.evaluate_actions(obs, actions)[1]
            ratios.append(torch.exp(log_probs - torch.as_tensor(buffer.log_probs).flatten()))

        model.learn(N_STEPS * 2, callback=[HeldNoise(4, std=0.3), Spy(at_end=compare)])
        torch.testing.assert_close(ratios[0], torch.ones_like(ratios[0]), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("name", ON_POLICY)
    def test_held_for_one_step_it_is_the_plain_run_bit_for_bit(self, name: str) -> None:
        models = [clock_learner(name) for _ in range(2)]
        for model, callback in zip(models, (HeldNoise(1), None), strict=True):
            model.set_random_seed(1)
            model.learn(LENGTH, callback=callback)
        assert equal_parameters(*models)

    def test_predict_neither_sees_nor_disturbs_what_is_held(self) -> None:
        model, obs = centred("PPO"), np.zeros((2, 3), dtype=np.float32)

        def predict(spy: Spy) -> None:
            first, second = (spy.model.predict(obs, deterministic=False)[0] for _ in range(2))
            assert (first != second).any()
            np.testing.assert_array_equal(spy.model.predict(obs, deterministic=True)[0], np.zeros((2, 2)))

        rollouts = Rollouts(predict)
        model.learn(N_STEPS * 2, callback=[HeldNoise(5), rollouts])
        assert runs(rollouts.actions[0]) == [5, 5, 5, 1]

    @pytest.mark.parametrize("held_again", [False, True])
    @pytest.mark.parametrize("crash", [False, True])
    def test_it_ends_with_its_learn(self, crash: bool, held_again: bool) -> None:
        def look(spy: Spy) -> None:
            if crash and spy.n_calls == 7:
                raise KeyboardInterrupt

        model, rollouts = centred("PPO"), Rollouts()
        try:
            model.learn(N_STEPS * 2, callback=[HeldNoise(5), Spy(look)])
        except KeyboardInterrupt:
            assert crash
        if held_again:
            model.learn(N_STEPS * 2, callback=HeldNoise(5))
            assert type(model.policy.action_dist) is DiagGaussianDistribution
        model.learn(N_STEPS * 2, callback=rollouts)
        assert runs(rollouts.actions[0]) == [1] * N_STEPS
        assert type(model.policy.action_dist) is DiagGaussianDistribution
        assert not model.policy._forward_hooks
        assert not model.policy._forward_pre_hooks


def record(noise: list[np.ndarray]) -> Spy:
    """Keeps each step's noise, after it checked that the action is the policy's own plus this noise, clipped."""

    def look(spy: Spy) -> None:
        noise.append(spy.locals["action_noise"].noise.copy())
        model: Any = spy.model
        proposed = model.policy.scale_action(model.predict(model._last_obs, deterministic=True)[0])
        np.testing.assert_allclose(spy.locals["buffer_actions"], np.clip(proposed + noise[-1], -1, 1), atol=1e-6)

    return Spy(look)


class TestOffPolicy:
    @pytest.mark.parametrize("n_envs", [1, 3])
    @pytest.mark.parametrize("name", ["TD3", "DDPG"])
    def test_noise_on_the_action_is_held_for_exactly_n_steps(self, name: str, n_envs: int) -> None:
        noise: list[np.ndarray] = []
        model = clock_learner(name, n_envs, learning_starts=0)
        model.learn(22 * n_envs, callback=[HeldNoise(5), record(noise)])
        assert runs(np.stack(noise)) == [5, 5, 5, 5, 4]
        assert noise[0].shape == (n_envs, 2)
        assert len(np.unique(noise[0])) == 2 * n_envs

    @pytest.mark.parametrize("name", OFF_POLICY)
    def test_every_learner_takes_it_and_gets_its_own_noise_back(self, name: str) -> None:
        model = clock_learner(name, action_noise=NormalActionNoise(np.zeros(2), np.ones(2)))
        seen: list[np.ndarray] = []
        model.learn(LENGTH, callback=[HeldNoise(4, 0.2), Spy(lambda spy: seen.append(spy.locals["action_noise"].noise.copy()))])
        assert runs(np.stack(seen)) == [4] * 10
        assert [type(noise) for noise in model.action_noise.noises] == [NormalActionNoise] * 2

    def test_what_is_held_is_held_on_after_a_restore(self) -> None:
        noise: list[np.ndarray] = []
        model = clock_learner("TD3", learning_starts=0)
        first, second = HeldNoise(5), HeldNoise(5)
        model.learn(16, callback=[first, record(noise)])  # one rollout of 8 steps
        second.load_state_dict(first.state_dict())
        model.learn(16, callback=[second, record(noise)], reset_num_timesteps=False)
        assert runs(np.stack(noise)) == [5, 5, 5, 1]

    def test_its_autocorrelation_falls_in_a_line_to_zero_at_n_steps(self) -> None:
        model = clock_learner("SAC")
        noise: list[np.ndarray] = []

        def draw(spy: Spy) -> None:
            if not noise:
                noise.extend(spy.locals["action_noise"]() for _ in range(40_000))

        model.learn(LENGTH, callback=[HeldNoise(8, 0.4), Spy(draw)])
        x = np.stack(noise)[:, 0, 0]
        assert x.std() == pytest.approx(0.4, rel=0.05)
        for lag in (1, 4, 8, 12):
            assert np.corrcoef(x[lag:], x[:-lag])[0, 1] == pytest.approx(max(0, 1 - lag / 8), abs=0.05)

    @pytest.mark.parametrize("former", [None, NormalActionNoise(np.zeros(2), np.ones(2))])
    @pytest.mark.parametrize("n_envs", [1, 2])
    def test_it_ends_with_its_learn_also_when_training_crashed(self, former: Any, n_envs: int) -> None:
        models = []
        for callback in (HeldNoise(4), None):
            model = clock_learner("TD3", n_envs, action_noise=former)
            model.train = _interrupted
            with pytest.raises(KeyboardInterrupt):
                model.learn(40 * n_envs, callback=callback)
            del model.train
            model.replay_buffer.reset()
            model.set_random_seed(2)
            model.learn(40 * n_envs)
            models.append(model)
        assert type(models[0].action_noise) is type(models[1].action_noise)
        assert equal_parameters(*models)


class TestPink:
    """With ramps in place of random sequences: the n-th one drawn is 1000 n + 0, 1, 2, …"""

    @pytest.fixture(autouse=True)
    def ramps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[int] = []

        def ramp(length: int, channels: int, beta: float, rng: np.random.Generator) -> np.ndarray:
            drawn.append(length)
            return 1000 * len(drawn) + np.tile(np.arange(length), (channels, 1))

        monkeypatch.setattr(sequences, "coloured", ramp)

    @staticmethod
    def check(noise: np.ndarray, starts: np.ndarray) -> None:
        """``noise`` ``(time, env, act)`` counts from 0 in every episode, on another sequence each time."""
        assert starts[0].all() and starts[1:].any()
        assert (noise[..., 0] == noise[..., 1]).all()
        sequence, age = np.divmod(noise[..., 0], 1000)
        assert (age[starts] == 0).all()
        assert (np.diff(age, axis=0)[~starts[1:]] == 1).all()
        assert (np.diff(sequence, axis=0)[~starts[1:]] == 0).all()
        assert len(np.unique(sequence[starts])) == starts.sum()

    @pytest.mark.parametrize("name", ON_POLICY)
    def test_an_episode_has_a_sequence_also_across_rollouts(self, name: str) -> None:
        model, rollouts, starts = centred(name), Rollouts(), []
        model.train = lambda: None
        keep = Spy(at_end=lambda spy: starts.append(spy.model.rollout_buffer.episode_starts.copy()))  # type: ignore[attr-defined]
        model.learn(N_STEPS * 4, callback=[PinkNoise(length=50, std=1.0), rollouts, keep])
        self.check(np.concatenate(rollouts.actions), np.concatenate(starts).astype(bool))

    @pytest.mark.parametrize("n_envs", [1, 3])
    @pytest.mark.parametrize("name", OFF_POLICY)
    def test_off_policy_too(self, name: str, n_envs: int) -> None:
        model, noise, dones = clock_learner(name, n_envs), [], []

        def look(spy: Spy) -> None:
            noise.append(spy.locals["action_noise"].noise.copy())
            dones.append(spy.locals["dones"].copy())

        model.learn(30 * n_envs, callback=[PinkNoise(length=50, std=1.0), Spy(look)])
        starts = np.concatenate([np.ones((1, n_envs), dtype=bool), dones[:-1]])
        self.check(np.stack(noise), starts)

    def test_an_episode_without_end_goes_from_sequence_to_sequence(self) -> None:
        model, noise = clock_learner("SAC", 1), []
        model.learn(12, callback=[PinkNoise(length=2, std=1.0), Spy(lambda spy: noise.append(spy.locals["action_noise"].noise[0, 0]))])
        assert [value % 1000 for value in noise[:3]] == [0, 1, 0]


def test_a_sequence_is_as_long_as_the_tasks_time_limit() -> None:
    model = PPO("MlpPolicy", "MountainCarContinuous-v0", n_steps=8, batch_size=8)
    callback = PinkNoise()
    model.learn(8, callback=callback)
    assert callback._noise.sequence.length == 999  # type: ignore[union-attr]
    callback = PinkNoise()
    clock_learner("PPO").learn(N_STEPS, callback=callback)
    assert callback._noise.sequence.length == 1000  # type: ignore[union-attr]


def test_the_time_limit_is_known_of_tasks_in_processes_that_cannot_send_what_made_them() -> None:
    gymnasium.register("Script/Pendulum-v0", entry_point=lambda **kwargs: PendulumEnv(**kwargs), max_episode_steps=30)
    env = PROCESSES([partial(gymnasium.make, "Script/Pendulum-v0")] * 2)
    callback = PinkNoise()
    try:
        PPO("MlpPolicy", env, n_steps=8, batch_size=8).learn(16, callback=callback)
    finally:
        for process in env.processes:
            process.kill()
        del gymnasium.registry["Script/Pendulum-v0"]
    assert callback._noise.sequence.length == 30  # type: ignore[union-attr]


@pytest.mark.parametrize(("limit", "length"), [(1, 2), (2, 2), (300, 300), (10**9, 65_536), (None, 1000)])
def test_a_sequence_is_neither_too_short_to_be_noise_nor_too_long_to_be_kept(limit: int | None, length: int) -> None:
    assert pink_length(limit) == length


def test_pink_noise_in_a_dream_lasts_to_its_horizon() -> None:
    callback = PinkNoise()
    env = DreamVecEnv(LinearGaussian(), np.zeros((1, 2), np.float32), n_envs=2, horizon=7)
    PPO("MlpPolicy", env, n_steps=8, batch_size=8).learn(16, callback=callback)
    assert callback._noise.sequence.length == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_pink_noise_goes_on_after_a_restore(name: str) -> None:
    first, second = PinkNoise(length=50), PinkNoise(length=50)
    clock_learner(name).learn(N_STEPS * 2, callback=first)
    second.load_state_dict(first.state_dict())
    clock_learner(name).learn(0, callback=second)
    before, after = first._noise.sequence, second._noise.sequence  # type: ignore[union-attr]
    np.testing.assert_array_equal(before(), after())


def _interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_a_model_saved_during_or_after_learn_knows_nothing_of_it(name: str, tmp_path: Path) -> None:
    model = clock_learner(name)

    def save_at_the_end(spy: Spy) -> None:
        spy.model.save(tmp_path / f"end_{spy.num_timesteps}.zip")

    model.learn(LENGTH, callback=[Spy(at_end=save_at_the_end), HeldNoise(4), CheckpointCallback(20, str(tmp_path))])
    model.save(tmp_path / "last.zip")
    assert len(list(tmp_path.iterdir())) > 3
    for file in tmp_path.iterdir():
        with zipfile.ZipFile(file) as archive:
            assert not any(b"genrl" in archive.read(member) for member in archive.namelist())


@pytest.mark.parametrize("steps", [0, -3, 1.5, "8"])  # 1.5 would hold for 3
def test_steps_that_are_no_whole_number_from_1_are_refused(steps: object) -> None:
    with pytest.raises(ValueError, match="steps of at least 1"):
        HeldNoise(steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_std_that_is_none_is_refused(std: float) -> None:
    for noise in (lambda: HeldNoise(8, std), lambda: PinkNoise(std=std)):
        with pytest.raises(ValueError, match="positive, finite std"):
            noise()


@pytest.mark.parametrize(
    ("keywords", "reason"), [({"beta": -1.0}, "beta of at least 0"), ({"beta": float("nan")}, "beta"), ({"length": 1}, "2 steps")]
)
def test_a_spectrum_that_can_not_be_is_refused(keywords: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PinkNoise(**keywords)


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("DQN", {}, f"HeldNoise is Gaussian and needs Box actions, but DQN has {spaces.Discrete(4)}"),
        ("MaskablePPO", {}, "needs Box actions"),
        ("PPO", {"use_sde": True}, "use_sde=False"),
        ("SAC", {"use_sde": True}, "use_sde=False"),
    ],
)
def test_learners_whose_noise_is_another_are_refused_before_the_first_step(name: str, kwargs: dict[str, Any], reason: str) -> None:
    model = clock_learner(name, **kwargs)
    for noise in (HeldNoise(8), PinkNoise()):
        with pytest.raises(ValueError) as refusal:
            model.learn(LENGTH, callback=noise)
        assert reason.replace("HeldNoise", type(noise).__name__) in str(refusal.value)
        assert model.num_timesteps == 0


def _keep_position(positions: list[float], spy: Spy) -> None:
    positions.append(spy.locals["new_obs"][0, 0])


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_two_noises_of_one_learn_are_refused_before_the_first_step(name: str) -> None:
    model = clock_learner(name)
    before = vars(model).get("action_noise"), getattr(model.policy, "action_dist", None)
    with pytest.raises(ValueError, match="HeldNoise makes the noise of this learn already; give learn\\(\\) PinkNoise or the other"):
        model.learn(10, callback=[HeldNoise(2), PinkNoise()])
    model.learn(10, callback=PinkNoise())
    assert (vars(model).get("action_noise"), getattr(model.policy, "action_dist", None)) == before


def test_it_gets_further_up_the_hill_of_mountain_car_than_independent_noise() -> None:
    reached = {}
    for name, noise in {"independent": HeldNoise(1), "held": HeldNoise(8), "pink": PinkNoise()}.items():
        model = PPO(
            "MlpPolicy",
            "MountainCarContinuous-v0",
            n_steps=2000,
            batch_size=500,
            n_epochs=1,
            policy_kwargs={"net_arch": [8]},
            seed=0,
            device="cpu",
        )
        positions: list[float] = []
        model.learn(2000, callback=[noise, Spy(partial(_keep_position, positions))])
        reached[name] = max(positions)
    assert reached["held"] > reached["independent"] + 0.2
    assert reached["pink"] > reached["independent"] + 0.1


@pytest.mark.parametrize("make", [lambda: HeldNoise(8), PinkNoise, lambda: PolicyAverage(0), lambda: CriticWarmUp(8)])
@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: CallbackList([callback])])
def test_what_needs_every_rollout_is_refused_inside_a_callback_that_leaves_some_out(make: Any, wrap: Any) -> None:
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
    with pytest.raises(ValueError, match=r"is inside EveryNTimesteps and would miss steps; give it to learn\(\) itself"):
        model.learn(64, callback=EveryNTimesteps(10, wrap(make())))
    assert model.num_timesteps == 0
