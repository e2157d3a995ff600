"""A run that was stopped and resumed gives, number by number, what it would have given without the stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import genrl  # registers its tasks  # noqa: F401
from genrl.files import load_state
from genrl.reading import read_json
from genrl.runs import ExploreConfig, RunDirectory, explore, resume
from genrl.runs import training as training_module
from genrl.runs.environments.make import MakeEnv
from genrl.runs.environments.rewind import Rewindable, episodes, rewind
from genrl.runs.interrupt import Interrupt
from tests.runs.same_directory import assert_same_directory
from tests.runs.tiny import SMALL, config

TINY = ("tests.runs.tiny",)


class StopAt(Interrupt):
    """As if Ctrl-C had come at a step."""

    step = 0

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    @property
    def requested(self) -> bool:
        self.asked += 1
        return self.asked > StopAt.step

    @requested.setter
    def requested(self, value: bool) -> None: ...


def stopped_and_resumed(cell: ExploreConfig, after: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """``after`` boundaries of rollouts."""
    StopAt.step = after
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "Interrupt", StopAt)
        result = explore(cell, quiet=True)
    assert result["status"] == "interrupted"
    assert 0 < result["steps"] < cell.steps
    return resume(cell.directory, imports=TINY, quiet=True)


CASES: dict[str, dict[str, Any]] = {
    "ppo": {},
    "ppo, normalised": {"normalize_obs": True, "normalize_reward": True, "n_envs": 2},
    "ppo, gSDE": {"learner_kwargs": SMALL["ppo"] | {"use_sde": True, "sde_sample_freq": 5}},
    "ppo, held noise": {"noise": "held-5"},
    "ppo, pink noise": {"noise": "pink", "n_envs": 2},
    "ppo, own processes": {"subproc": True, "n_envs": 2},
    "ppo, vime": {"reward": "vime", "normalize_obs": True, "env": "genrl/SparseMountainCar-v0"},
    "trpo, rnd": {"learner": "trpo", "reward": "rnd", "env": "genrl/SparseHalfCheetah-v0", "learner_kwargs": {"n_steps": 64}},
    "recurrentppo": {"learner": "recurrentppo", "learner_kwargs": SMALL["ppo"], "n_envs": 2},
    "ppo, dictionaries": {"env": "tests/Dictionaries-v0", "policy": "MultiInputPolicy"},
    "sac": {"learner": "sac"},
    "ppo, pictures": {"reward": "rnd", "pictures": True},
    "ppo, icm": {"reward": "icm", "n_envs": 2},
    "sac, disagreement": {"learner": "sac", "reward": "disagreement", "update_every": 50},
    "sac, vime": {"learner": "sac", "reward": "vime", "normalize_obs": True, "update_every": 50},
    "sac, n steps": {"learner": "sac", "learner_kwargs": SMALL["sac"] | {"n_steps": 3}},
    "sac, gSDE": {"learner": "sac", "learner_kwargs": SMALL["sac"] | {"use_sde": True}},
    "sac, held noise": {"learner": "sac", "noise": "held-5"},
    "sac, pink noise": {"learner": "sac", "noise": "pink"},
    "td3": {"learner": "td3", "learner_kwargs": SMALL["sac"] | {"action_noise": 0.1}},
    "dqn": {"learner": "dqn", "env": "CartPole-v1", "learner_kwargs": SMALL["sac"] | {"train_freq": 4}},
    "ppo, many kinds": {"env": "tests/Many-kinds-v0", "normalize_reward": True, "n_envs": 2},
    "sac, many kinds": {"learner": "sac", "env": "tests/Many-kinds-v0", "normalize_reward": True, "reward": "rnd", "update_every": 50},
    "ppo, a curriculum": {"env": "tests/Curriculum-v0", "normalize_reward": True, "n_envs": 2},
    "tqc, evaluated": {"learner": "tqc", "learner_kwargs": SMALL["sac"] | {"use_sde": True}, "eval_every": 150, "normalize_obs": True},
}


class Dictionaries(gymnasium.ObservationWrapper):
    def __init__(self) -> None:
        super().__init__(gymnasium.make("Pendulum-v1"))
        self.observation_space = gymnasium.spaces.Dict({"all": self.env.observation_space})

    def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        return {"all": observation}


gymnasium.register("tests/Dictionaries-v0", entry_point=Dictionaries)


class ManyKinds(gymnasium.Env):
    """Observes a large double, bytes and whole numbers; acts in a lopsided Box of doubles; ends at random."""

    observation_space = gymnasium.spaces.Dict(
        {
            "place": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "bytes": gymnasium.spaces.Box(0, 255, (3,), np.uint8),
            "mode": gymnasium.spaces.Discrete(3),
            "dials": gymnasium.spaces.MultiDiscrete([2, 3]),
        }
    )
    action_space = gymnasium.spaces.Box(-2, 5, (2,), np.float64)

    def _observe(self) -> dict[str, Any]:
        noise = self.np_random.integers(0, 256, 3).astype(np.uint8)
        dials = np.array([self.time % 2, self.time % 3])
        return {"place": 1e6 + self.place, "bytes": noise, "mode": np.int64(self.time % 3), "dials": dials}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time, self.place = 0, self.np_random.normal(size=2)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> Any:
        self.time += 1
        self.place = self.place + 0.1 * action + self.np_random.normal(size=2)
        return self._observe(), -float(np.abs(self.place).sum()), bool(self.np_random.random() < 0.05), self.time == 40, {"a": 1.0}


gymnasium.register("tests/Many-kinds-v0", entry_point=ManyKinds)


class Curriculum(gymnasium.Wrapper):
    """Pays more, and takes longer, with each episode; it offers what it counts, among other things."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("Pendulum-v1").unwrapped)
        self.level = self.time = 0

    def reset(self, **keywords: Any) -> Any:
        self.level, self.time = self.level + 1, 0
        return self.env.reset(**keywords)

    def step(self, action: Any) -> Any:
        obs, reward, *_ = self.env.step(action)
        self.time += 1
        return obs, reward * self.level, False, self.time >= 20 + self.level % 3, {"level": self.level}

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level, "deep": {"array": np.arange(self.level), "list": [1, 2.5, None, True, "word"]}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["deep"]["array"].tolist() == list(range(state["level"]))
        assert state["deep"]["list"] == [1, 2.5, None, True, "word"]
        self.level = state["level"]


gymnasium.register("tests/Curriculum-v0", entry_point=Curriculum)


@pytest.mark.parametrize("case", list(CASES))
def test_a_resumed_run_is_the_run_that_was_never_stopped(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"steps": 512} | CASES[case]
    cell = config(tmp_path / "whole", values.pop("learner", "ppo"), **values)
    cell = replace(cell, checkpoint_every=60.0)
    explore(cell, quiet=True)
    off_policy = cell.learner in ("sac", "td3", "dqn", "tqc")
    stopped_and_resumed(replace(cell, out=tmp_path / "stopped"), 101 if off_policy else 2, monkeypatch)
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")


def test_a_checkpoint_from_before_a_kill_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "whole", reward="rnd", steps=512, checkpoint_every=60.0)
    explore(cell, quiet=True)
    killed = replace(cell, out=tmp_path / "killed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        calls = []

        def kill(*arguments: Any) -> None:
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt  # nothing after the first checkpoint, at step 0, is saved
            save(*arguments)

        save = training_module.save_checkpoint
        patch.setattr(training_module, "save_checkpoint", kill)
        explore(killed, quiet=True)
    resume(killed.directory, quiet=True)
    assert_same_directory(tmp_path / "whole", tmp_path / "killed")


class Drifts(gymnasium.Wrapper):
    """Its episodes differ although seed and actions are the same."""

    drift = 0.0

    def step(self, action: Any) -> Any:
        Drifts.drift += 1.0
        obs, *rest = self.env.step(action)
        return np.float32(obs + Drifts.drift), *rest


gymnasium.register("tests/Drifts-v0", entry_point=lambda: Drifts(gymnasium.make("Pendulum-v1").unwrapped), max_episode_steps=20)


def test_a_task_that_does_not_repeat_itself_begins_new_episodes_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "run", env="tests/Drifts-v0", steps=512)
    with pytest.warns(
        UserWarning, match="tests/Drifts-v0 does not repeat an episode from its seed and actions, so new episodes begin here"
    ):
        result = stopped_and_resumed(cell, 2, monkeypatch)
    assert (result["status"], result["steps"]) == ("finished", 512)


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
@pytest.mark.parametrize("task", ["Pendulum-v1", "HalfCheetah-v5", "Ant-v5", "genrl/SwimmerGather-v0", "FrozenLake-v1"])
def test_the_middle_of_an_episode_comes_back(task: str, kind: type) -> None:
    if kind is SubprocVecEnv and task != "Pendulum-v1":
        pytest.skip("one task tells whether processes are reached")
    makers = [MakeEnv(task, {})] * 2
    first, second = kind(makers), kind(makers)
    first.seed(3)
    first.reset()
    first.action_space.seed(0)
    rng = [first.action_space.sample() for _ in range(2 * 130)]
    for i in range(0, 2 * 110, 2):
        obs, *_ = first.step(np.array(rng[i : i + 2]))
    assert rewind(second, episodes(first), obs)
    for i in range(2 * 110, 2 * 130, 2):
        one, two = (env.step(np.array(rng[i : i + 2])) for env in (first, second))
        for a, b in zip(one[:3], two[:3], strict=True):
            np.testing.assert_array_equal(a, b)
    first.close()
    second.close()


@pytest.mark.parametrize("task", ["tests/Dictionaries-v0", "Pendulum-v1"])
def test_an_episode_comes_back_in_doubles_where_the_space_has_floats(task: str) -> None:
    """The environments' own array is of the space's dtype, whatever the task gives."""

    class Doubles(gymnasium.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            obs, *rest = self.env.step(action)
            whole = {key: value / np.float64(3) for key, value in obs.items()} if isinstance(obs, dict) else obs / np.float64(3)
            return whole, *rest

    first, second = (DummyVecEnv([lambda: Rewindable(Doubles(gymnasium.make(task)))]) for _ in range(2))
    first.seed(3)
    first.reset()
    obs, *_ = first.step(np.ones((1, 1), np.float32))
    assert rewind(second, episodes(first), obs)


def test_an_episode_is_forgotten_when_it_grows_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrl.runs.environments.rewind.LONGEST", 3)
    env = Rewindable(gymnasium.make("Pendulum-v1"))
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
        assert env.episode() is not None
    env.step(env.action_space.sample())
    assert env.episode() is None


def assert_lasting_state_comes_back(cell: ExploreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    explore(cell, quiet=True)
    stopped_and_resumed(replace(cell, out=tmp_path / "stopped"), 4, monkeypatch)
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")
    whole, stopped = (read_json(run.result) for run in (RunDirectory(cell.directory), RunDirectory(tmp_path / "stopped")))
    assert whole["task_coverage"] == stopped["task_coverage"]
    return whole


def test_a_maze_knows_the_cells_that_were_visited_before_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium_robotics")
    cell = config(tmp_path / "whole", env="genrl/PointMaze-v0", steps=1024, n_envs=2, noise="held-64")
    result = assert_lasting_state_comes_back(cell, tmp_path, monkeypatch)
    assert result["task_coverage"] > 1 / 7  # more than the start cell, so that there is something to forget


gymnasium.register("tests/Normalised-v0", entry_point=lambda: NormalizeReward(NormalizeObservation(gymnasium.make("Pendulum-v1"))))


def test_the_statistics_of_gymnasium_s_wrappers_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "whole", env="tests/Normalised-v0", steps=512)
    assert_lasting_state_comes_back(cell, tmp_path, monkeypatch)


@pytest.mark.parametrize("subproc", [False, True])
def test_a_task_that_counts_across_episodes_without_offering_it_is_told_of(subproc: bool, tmp_path: Path) -> None:
    makers = [MakeEnv("tests.runs.tiny:tests/Breaks-v0", {"what": "counts"}, subproc)] * 2
    kind = SubprocVecEnv if subproc else DummyVecEnv
    first, second = kind(makers), kind(makers)
    first.reset()
    for _ in range(30):
        obs, *_ = first.step(np.zeros((2, 1), np.float32))
    with pytest.warns(UserWarning, match=r"coverage: not the same .* unless it offers state_dict\(\)"):
        assert rewind(second, episodes(first), obs)
    first.close()
    second.close()


class Level(gymnasium.Wrapper):
    """A curriculum: each episode is harder than the one before, and this decides its first observation."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("Pendulum-v1").unwrapped)
        self.level = np.zeros(1)

    def reset(self, **kwargs: Any) -> Any:
        self.level = self.level + 1
        obs, info = self.env.reset(**kwargs)
        return np.float32(obs * self.level), info

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.level = state["level"]


gymnasium.register("tests/Level-v0", entry_point=Level, max_episode_steps=20)


def test_a_curriculum_that_offers_its_level_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "whole", env="tests/Level-v0", steps=512)
    assert_lasting_state_comes_back(cell, tmp_path, monkeypatch)
    [state] = load_state(RunDirectory(cell.directory).checkpoint)["lasting"][0].values()
    assert float(state["level"]) == 512 // 20 + 1
