"""What RewardCallback promises beside the right numbers: it leaves nothing behind, ends with its learn, and refuses what can't be right."""

from __future__ import annotations

import copy
import csv
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback, EvalCallback, EveryNTimesteps
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from genrl.rewards import RewardCallback, RewardModel
from genrl.transitions import Transitions
from tests.rewards.clock import (
    N_STEPS,
    OFF_POLICY,
    ON_POLICY,
    Clock,
    ClockReward,
    Spy,
    Zero,
    clock_learner,
    clocks,
    equal_parameters,
    learner,
    logs,
    reward_of,
)

LEARNERS = [*ON_POLICY, *OFF_POLICY]
LENGTH = 2 * 40


def buffer_of(model: Any) -> Any:
    return model.rollout_buffer if hasattr(model, "rollout_buffer") else model.replay_buffer


def three_steps(name: str) -> dict[str, Any]:
    """Returns of three steps for a learner from a replay buffer."""
    return {"n_steps": 3} if name in OFF_POLICY else {}


def is_plain(model: Any) -> bool:
    """Whether neither the learner nor its environments show a trace of a callback."""
    env, shadowed = model.env, []
    while env is not None:
        shadowed += [key for key in ("step_wait", "step", "reset", "step_async") if key in vars(env)]
        env = getattr(env, "venv", None)
    shadowed += [key for key in ("predict", "train", "learn", "collect_rollouts") if key in vars(model)]
    return not shadowed and not type(buffer_of(model)).__qualname__.startswith("_") and not hasattr(type(buffer_of(model)), "_genrl_parts")


class Crash(Spy):
    """Raises at a step."""

    def __init__(self, step: int, error: type[BaseException]) -> None:
        def look(spy: Spy) -> None:
            if spy.n_calls == step:
                raise error

        super().__init__(look)


class TestNothingIsLeftBehind:
    @pytest.mark.parametrize("name", LEARNERS)
    def test_in_the_learner_and_its_environments(self, name: str) -> None:
        model = clock_learner(name, 2, "obs reward")
        plain = type(buffer_of(model))
        model.learn(LENGTH, callback=RewardCallback(reward_of(model)))
        assert type(buffer_of(model)) is plain
        assert is_plain(model)

    @pytest.mark.parametrize("name", ["PPO", "RecurrentPPO", "SAC", "DQN"])
    def test_in_files_also_when_they_are_saved_during_learn(self, name: str, tmp_path: Path) -> None:
        model = clock_learner(name, 2, "obs reward", **three_steps(name))
        checkpoint = CheckpointCallback(20, str(tmp_path), save_replay_buffer=True, save_vecnormalize=True)
        model.learn(LENGTH, callback=[RewardCallback(reward_of(model)), checkpoint])
        model.save(tmp_path / "last.zip")
        files = list(tmp_path.iterdir())
        assert {file.suffix for file in files} == {".zip", ".pkl"}
        for file in files:
            if file.suffix == ".zip":
                with zipfile.ZipFile(file) as archive:
                    assert not any(b"genrl" in archive.read(member) for member in archive.namelist())
            else:
                assert b"genrl" not in file.read_bytes()

    def test_so_that_files_load_where_genrl_is_not_installed(self, tmp_path: Path) -> None:
        for name in ("PPO", "SAC"):
            model = clock_learner(name, **three_steps(name))
            checkpoint = CheckpointCallback(30, str(tmp_path), name, save_replay_buffer=True)
            model.learn(LENGTH, callback=[RewardCallback(reward_of(model)), checkpoint])
        script = f"""
import sys; sys.modules["genrl"] = None
from stable_baselines3 import PPO, SAC
PPO.load(r"{tmp_path / "PPO_60_steps.zip"}")
model = SAC.load(r"{tmp_path / "SAC_60_steps.zip"}")
model.load_replay_buffer(r"{tmp_path / "SAC_replay_buffer_60_steps.pkl"}")
print(type(model.replay_buffer).__name__, model.replay_buffer.size(), model.replay_buffer.sample(4).rewards.shape[0])
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.stdout.split() == ["NStepReplayBuffer", "29", "4"], done.stderr

    @pytest.mark.parametrize("name", ["PPO", "RecurrentPPO", "SAC"])
    def test_in_copies_of_a_live_buffer(self, name: str) -> None:
        model = clock_learner(name)
        plain, copies = type(buffer_of(model)), []

        def look(spy: Spy) -> None:
            if spy.n_calls == 10:
                live = buffer_of(spy.model)
                copies.extend([copy.deepcopy(live), copy.copy(live), pickle.loads(pickle.dumps(live))])

        model.learn(LENGTH, callback=[RewardCallback(reward_of(model)), Spy(look)])
        assert [type(other) for other in copies] == [plain] * 3
        assert len({other.pos for other in copies}) == 1

    @pytest.mark.parametrize("name", ["PPO", "SAC"])
    def test_when_another_callback_ends_the_training(self, name: str) -> None:
        class Stop(Spy):
            def _on_step(self) -> bool:
                return self.n_calls < 25

        model = clock_learner(name, 2, "obs")
        model.learn(LENGTH, callback=[RewardCallback(reward_of(model)), Stop()])
        assert model.num_timesteps == 50
        assert is_plain(model)


class TestTheRewardEndsWithItsLearn:
    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("PPO", KeyboardInterrupt),
            ("RecurrentPPO", RuntimeError),
            ("A2C", RuntimeError),
            ("SAC", KeyboardInterrupt),
            ("DQN", RuntimeError),
        ],
    )
    @pytest.mark.parametrize("normalize", ["", "obs reward"])
    def test_also_when_it_crashed(self, name: str, error: type[BaseException], normalize: str) -> None:
        models = []
        for rewarded in (True, False):  # the crash comes before the first update, after it the runs would differ by right
            model = clock_learner(name, 2, normalize)
            callbacks = [RewardCallback(reward_of(model), 5.0)] if rewarded else []
            with pytest.raises(error):
                model.learn(LENGTH, callback=[*callbacks, Crash(4, error)])
            model.learn(LENGTH)
            models.append(model)
        assert equal_parameters(*models)
        assert is_plain(models[0])

    @pytest.mark.parametrize("name", ["PPO", "SAC"])
    def test_and_the_same_callback_serves_again_after_a_crash(self, name: str) -> None:
        models = []
        for crashed in (True, False):
            model = clock_learner(name, 2, "obs clip")
            callback = RewardCallback(reward_of(model), 5.0)
            with pytest.raises(RuntimeError):
                model.learn(LENGTH, callback=[*([callback] if crashed else []), Crash(4, RuntimeError)])
            if not crashed:
                callback = RewardCallback(reward_of(model), 5.0)
            model.learn(LENGTH, callback=callback)
            models.append(model)
            assert is_plain(model)
        assert equal_parameters(*models)

    def test_and_another_learner_on_the_same_environments_is_free_of_a_crashed_one(self) -> None:
        first = clock_learner("PPO", 2, "obs")
        with pytest.raises(RuntimeError):
            first.learn(LENGTH, callback=[RewardCallback(reward_of(first)), Crash(4, RuntimeError)])
        second = learner("PPO", first.env)
        second.learn(LENGTH, callback=RewardCallback(reward_of(second)))
        assert is_plain(second)

    def test_and_a_reward_that_fails_leaves_the_next_learn_alone(self) -> None:
        class Breaks(Zero):
            def update(self, memory: Any) -> dict[str, float]:
                raise RuntimeError("no more")

        for name in ("PPO", "SAC"):
            model = clock_learner(name)
            with pytest.raises(RuntimeError, match="no more"):
                model.learn(LENGTH, callback=RewardCallback(reward_of(model, Breaks), update_every=16))
            model.learn(LENGTH)
            assert is_plain(model)

    def test_and_one_callback_serves_another_learner(self) -> None:
        model = clock_learner("PPO")
        reward = reward_of(model)
        callback = RewardCallback(reward, update_every=32)
        for name in ("PPO", "SAC", "TRPO", "TD3"):
            updates, other = reward.updates, clock_learner(name)
            other.learn(2 * N_STEPS * 2, callback=callback)
            assert reward.updates == updates + 2
            assert is_plain(other)


class TestTheSocketIsTransparent:
    @pytest.mark.parametrize("name", LEARNERS)
    @pytest.mark.parametrize("normalize", ["", "obs reward"])
    def test_a_reward_of_zero_or_without_weight_is_the_run_without_a_callback_bit_for_bit(self, name: str, normalize: str) -> None:
        models = []
        for kind in ("none", "zero", *(["weightless"] if normalize else [])):
            model = clock_learner(name, 2, normalize, **three_steps(name))
            callback = {
                "none": lambda model: None,
                "weightless": lambda model: RewardCallback(reward_of(model), weight=0),
                "zero": lambda model: RewardCallback(reward_of(model, Zero), update_every=10),
            }[kind](model)
            model.learn(LENGTH, callback=callback)
            models.append(model)
        assert all(equal_parameters(models[0], model) for model in models[1:])

    def test_without_weight_the_reward_is_never_asked(self) -> None:
        model = clock_learner("PPO")
        reward = reward_of(model)
        model.learn(LENGTH, callback=RewardCallback(reward, weight=0))
        assert reward.events == []

    @pytest.mark.parametrize("name", ["PPO", "SAC"])
    def test_a_weight_may_change_during_learn_also_to_zero(self, name: str) -> None:
        model = clock_learner(name)
        callback = RewardCallback(reward_of(model), update_every=10)

        def anneal(spy: Spy) -> None:
            callback.weight = max(0.0, 1 - spy.n_calls / 10)

        model.learn(LENGTH, callback=[callback, Spy(anneal)])
        assert callback.weight == 0
        assert is_plain(model)

    @pytest.mark.parametrize("name", ["PPO", "SAC"])
    def test_the_environments_own_return_is_what_training_and_evaluation_report(self, name: str, tmp_path: Path) -> None:
        rows = {}
        for weight in (0.0, 1e-3):
            model = clock_learner(name)
            model.set_logger(configure(str(tmp_path / str(weight)), ["csv"]))
            evaluation = EvalCallback(clocks(1), n_eval_episodes=3, eval_freq=15, verbose=0, deterministic=True)
            model.learn(LENGTH, callback=[RewardCallback(reward_of(model), weight, update_every=10), evaluation], log_interval=1)
            with (tmp_path / str(weight) / "progress.csv").open() as file:
                rows[weight] = list(csv.DictReader(file))
            assert evaluation.last_mean_reward == np.mean([sum(range(2, 2 + 3 + k % 4)) for k in range(4, 7)])  # 3 was begun only
        own, bonus = rows[0.0], rows[1e-3]
        assert [row["rollout/ep_rew_mean"] for row in own] == [row["rollout/ep_rew_mean"] for row in bonus]
        assert float(next(row["rollout/ep_rew_mean"] for row in bonus if row["rollout/ep_rew_mean"])) < 40
        logged = {key for key in bonus[0] if key.startswith("reward/")}
        assert logged == {"reward/bonus_mean", "reward/bonus_std", "reward/bonus_max", "reward/updates"}
        assert not any(key.startswith("reward/") for key in own[0])


class Goals(gymnasium.Env[dict[str, np.ndarray], Any]):
    def __init__(self) -> None:
        self.observation_space: Any = spaces.Dict(
            {key: spaces.Box(-1, 1, (3,)) for key in ("observation", "achieved_goal", "desired_goal")}
        )
        self.action_space = spaces.Box(-1, 1, (2,))

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return np.zeros(len(achieved))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        raise AssertionError("a step was made")


def with_kind(kind: str) -> tuple[Any, Callable[[Any], Any]]:
    """A learner that a reward can't serve, or a callback that is wrongly given."""

    def plain(model: Any) -> RewardCallback:
        return RewardCallback(reward_of(model))

    def of_space(observation: Any, action: Any) -> Callable[[Any], Any]:
        return lambda model: RewardCallback(Zero(observation or model.observation_space, action or model.action_space))

    def giving(forward: Callable[[Transitions], Any]) -> Callable[[Any], Any]:
        class Given(Zero):
            def forward(self, transitions: Transitions) -> Any:
                return forward(transitions)

        return lambda model: RewardCallback(reward_of(model, Given))

    flat, box = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))
    no_timeouts = {"handle_timeout_termination": False}
    cases: dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]] = {
        "memory": lambda: (clock_learner("SAC", optimize_memory_usage=True, replay_buffer_kwargs=no_timeouts), plain),
        "timeouts": lambda: (clock_learner("SAC", replay_buffer_kwargs=no_timeouts), plain),
        "her": lambda: (
            SAC("MultiInputPolicy", Goals(), replay_buffer_class=HerReplayBuffer, buffer_size=100),
            lambda model: RewardCallback(Zero(flat, box)),
        ),
        "dict": lambda: (PPO("MultiInputPolicy", Goals()), lambda model: RewardCallback(Zero(flat, box))),
        "framestack": lambda: (learner("PPO", VecFrameStack(VecNormalize(clocks(2)), 1)), plain),
        "normalised twice": lambda: (learner("PPO", VecNormalize(VecNormalize(clocks(2), norm_reward=False), norm_obs=False)), plain),
        "ars": lambda: (ARS("LinearPolicy", clocks(1), n_delta=1), plain),
        "every": lambda: (clock_learner("PPO"), lambda model: EveryNTimesteps(8, plain(model))),
        "best": lambda: (clock_learner("PPO"), lambda model: EvalCallback(clocks(1), callback_on_new_best=plain(model))),
        "after": lambda: (clock_learner("SAC"), lambda model: EvalCallback(clocks(1), callback_after_eval=plain(model))),
        "list in every": lambda: (clock_learner("PPO"), lambda model: EveryNTimesteps(8, CallbackList([plain(model)]))),
        "list in best": lambda: (
            clock_learner("PPO"),
            lambda model: [EvalCallback(clocks(1), callback_on_new_best=CallbackList([plain(model)]))],
        ),
        "column": lambda: (clock_learner("PPO", 2, "obs"), giving(lambda t: torch.zeros(t.batch_size, 1))),
        "scalar": lambda: (clock_learner("SAC", 2, "obs"), giving(lambda t: torch.tensor(0.0))),
        "float": lambda: (clock_learner("SAC"), giving(lambda t: 0.0)),
        "no forward": lambda: (clock_learner("PPO"), lambda model: RewardCallback(reward_of(model, RewardModel))),
        "observation shape": lambda: (clock_learner("PPO"), of_space(spaces.Box(-1, 1, (4,)), None)),
        "action shape": lambda: (clock_learner("SAC"), of_space(None, spaces.Box(-1, 1, (1,)))),
        "action kind": lambda: (clock_learner("DQN"), of_space(None, box)),
        "fewer actions": lambda: (clock_learner("DQN"), of_space(None, spaces.Discrete(3))),
    }
    return cases[kind]()


REASONS = {
    "memory": "optimize_memory_usage=True overwrites .* use optimize_memory_usage=False",
    "timeouts": "does not tell a time limit from a termination; drop handle_timeout_termination=False",
    "her": "HerReplayBuffer relabels goals",
    "dict": "made for observation space Box.* but PPO has Dict",
    "framestack": "make VecNormalize the outermost wrapper",
    "normalised twice": "a VecNormalize under another has normalised the observations, .*; take one VecNormalize for both",
    "ars": "ARS keeps no rollout or replay buffer",
    "every": "inside EveryNTimesteps and would miss steps",
    "best": "inside EvalCallback and would miss steps",
    "after": "inside EvalCallback and would miss steps",
    "list in every": "inside EveryNTimesteps and would miss steps",
    "list in best": "inside EvalCallback and would miss steps",
    "column": r"gave shape \(64, 1\) for 64 transitions; it needs \(64,\)",
    "scalar": r"gave shape \(\) for 64 transitions",
    "float": "gave a float for 64 transitions",
    "no forward": r"RewardModel has no forward, .*; write `def forward\(self, transitions\)`",
    "observation shape": r"observation space .*\(4,\).* but PPO has .*\(3,\)",
    "action shape": r"action space .*\(1,\).* but SAC has .*\(2,\)",
    "action kind": r"action space Box.* but DQN has Discrete\(4\)",
    "fewer actions": r"action space Discrete\(3\) but DQN has Discrete\(4\)",
}


class TestRefusals:
    @pytest.mark.parametrize("kind", REASONS)
    def test_come_before_the_first_step_with_the_reason_and_the_way_out(self, kind: str) -> None:
        model, callback = with_kind(kind)
        with pytest.raises((ValueError, FloatingPointError), match=REASONS[kind]) as refusal:
            model.learn(LENGTH, callback=callback(model))
        assert "\n" not in str(refusal.value)
        assert model.num_timesteps == 0
        if kind not in {"her", "dict", "ars"}:
            assert not any(logs(model.env))
            assert is_plain(model)

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"weight": np.nan}, "weight to be finite"),
            ({"extrinsic_weight": np.inf}, "extrinsic_weight to be finite"),
            ({"update_every": 0}, "at least 1"),
        ],
    )
    def test_of_impossible_arguments_come_at_construction(self, wrong: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            RewardCallback(Zero(spaces.Box(-1, 1, (3,)), spaces.Discrete(2)), **wrong)

    def test_the_bounds_of_a_box_are_no_reason(self) -> None:
        model = clock_learner("PPO")
        model.learn(32, callback=RewardCallback(Zero(spaces.Box(-1, 1, (3,)), spaces.Box(-9, 9, (2,)))))

    def test_a_weight_that_appears_only_during_learn_is_refused(self) -> None:
        model = clock_learner("PPO")
        callback = RewardCallback(reward_of(model), weight=0)

        def appear(spy: Spy) -> None:
            callback.weight = 1.0

        with pytest.raises(RuntimeError, match="not active when the training started"):
            model.learn(LENGTH, callback=[Spy(appear), callback])


class TestNonFiniteNumbers:
    """Step 11 of environment 1 of 3 is 33 environment steps in."""

    @pytest.mark.parametrize("name", ["PPO", "SAC"])
    @pytest.mark.parametrize("normalize", ["", "obs reward"])
    @pytest.mark.parametrize("fault", ["obs", "reward"])
    def test_of_an_environment_are_traced_to_it_and_to_the_step(self, name: str, normalize: str, fault: str) -> None:
        def make(index: int) -> Callable[[], Clock]:
            return lambda: Clock(index, bad={11: fault} if index == 1 else None)

        env: Any = DummyVecEnv([make(index) for index in range(3)])
        model = learner(name, VecNormalize(env) if normalize else env)
        kind = {"obs": "an observation", "reward": "a reward"}[fault]
        with pytest.raises(FloatingPointError, match=f"environment 1 gave {kind} of nan.* at step 33"):
            model.learn(LENGTH, callback=RewardCallback(reward_of(model)))

    @pytest.mark.parametrize("name", ["PPO", "SAC"])
    def test_of_a_reward_are_traced_to_the_environment_and_the_step(self, name: str) -> None:
        model = clock_learner(name, 3)

        class Infinite(ClockReward):
            def forward(self, transitions: Transitions) -> torch.Tensor:
                step = logs(model.env)[1][10].next_obs if len(logs(model.env)[1]) > 10 else np.full(3, np.nan)
                return torch.where((transitions.next_obs == torch.as_tensor(step)).all(1), torch.inf, 0.0)

        with pytest.raises(FloatingPointError, match="Infinite gave the reward inf to what environment 1 did at step 33"):
            model.learn(LENGTH * 2, callback=RewardCallback(reward_of(model, Infinite), update_every=3 * 16))

    def test_of_a_reward_in_a_replayed_batch_are_traced_too(self) -> None:
        model = clock_learner("SAC", 3, train_freq=(1, "step"))

        class Infinite(ClockReward):
            def forward(self, transitions: Transitions) -> torch.Tensor:
                self.seen = (transitions.obs[0, 0], transitions.obs[0, 1])
                return torch.full((transitions.batch_size,), 0.0 if len(logs(model.env)[0]) < 11 else torch.inf)

        reward = reward_of(model, Infinite)
        with pytest.raises(FloatingPointError) as error:
            model.learn(LENGTH, callback=RewardCallback(reward))
        env = int(reward.seen[1])
        step = next(i for i, step in enumerate(logs(model.env)[env]) if step.obs[0] == reward.seen[0]) + 1
        assert f"environment {env} did at step {3 * step};" in str(error.value)
