import json
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC

from genrl.errors import RunError
from genrl.files import load_state, write_json
from genrl.policies import PinkNoise
from genrl.runs import ExploreConfig, RunDirectory, explore, resume
from genrl.runs.building import build
from genrl.runs.callbacks.checkpoints import Checkpointer
from genrl.runs.config.commands import config_from
from genrl.runs.directory import read_csv
from genrl.runs.interrupt import Interrupt
from genrl.runs.opening import load_config
from tests.runs.tiny import assert_equal, config

MACHINE = ("seconds", "steps_per_second", "peak_rss_mb")
TIMES = {"seconds", "time/fps", "time/time_elapsed"}
SURPRISE = "tests.runs.tiny:Surprise"


def without_times(path):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_csv(path)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished PPO run with a bonus, normalised observations and two environments."""
    out = tmp_path_factory.mktemp("run") / "ppo"
    explore(config(out, reward=SURPRISE, normalize_obs=True, n_envs=2, steps=512, pictures=True), quiet=True)
    return RunDirectory(out)


class TestARunDirectory:
    def test_has_every_file(self, run):
        names = {path.name for path in run.path.iterdir()}
        pictures = {f"{name}.{kind}" for name in ("learning_curve", "bonus", "coverage") for kind in ("png", "svg")}
        assert names == pictures | {
            "config.json", "progress.csv", "episodes.csv", "coverage.npz", "model.zip", "reward.safetensors", "vecnormalize.safetensors",
            "checkpoint.safetensors", "result.json",
        }  # fmt: skip

    def test_config_is_fully_resolved_and_loads_again(self, run):
        content = json.loads(run.config.read_text())
        about = content.pop("about")
        assert content["learner_kwargs"]["gamma"] == 0.99
        assert content["reward_kwargs"] == {"rate": 0.5}
        assert content["policy"] == "MlpPolicy"
        assert about["versions"]["torch"]
        assert about["machine"]["threads"] == 1
        assert config_from(content).to_dict() == content

    def test_result_counts_what_was_done(self, run):
        result = json.loads(run.result.read_text())
        assert (result["status"], result["steps"], result["episodes"]) == ("finished", 512, 2)
        assert result["training_return"] == pytest.approx(np.mean([float(row["return"]) for row in run.read_episodes()]))
        assert result["evaluation_return"] == result["evaluation_returns"][0] < 0
        assert result["first_reward_step"] is None
        assert result["bonus_mean"] > 0

    def test_columns_of_the_log_are_sorted(self, run):
        columns = run.progress.read_text().splitlines()[0].split(",")
        assert columns == sorted(columns)
        assert {"rollout/ep_rew_mean", "reward/bonus_mean", "train/loss"} <= set(columns)

    def test_every_step_is_in_the_visited_histogram(self, run):
        with np.load(run.coverage, allow_pickle=False) as file:
            assert file["counts"].sum() == 512

    def test_the_reward_file_holds_the_reward_model_and_not_its_memory(self, run):
        state = load_state(run.path / "reward.safetensors")
        assert_equal(state, load_state(run.checkpoint)["plugs"]["reward"]["reward"])
        reward = build(load_config(run, ("tests.runs.tiny",))).callbacks[0].reward
        reward.load_state_dict(state)
        assert (reward.mean == state["mean"]).all()

    def test_model_loads_and_predicts_where_genrl_cannot_be_imported(self, run):
        code = (
            "import sys; sys.modules['genrl'] = None; sys.modules['genrl_envs'] = None\n"
            "from stable_baselines3 import PPO\n"
            f"model = PPO.load({str(run.model)!r})\n"
            "print(model.predict([[1.0, 0.0, 0.0]], deterministic=True)[0].shape)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "(1, 1)"


class TestRepeatability:
    @pytest.mark.parametrize(("learner", "steps"), [("ppo", 256), ("sac", 250)])
    def test_one_seed_repeats_a_run_bit_for_bit(self, tmp_path, learner, steps):
        runs = [RunDirectory(tmp_path / name) for name in "ab"]
        for run in runs:
            explore(config(run.path, learner, reward=SURPRISE, steps=steps), quiet=True)
        a, b = runs
        assert without_times(a.progress) == without_times(b.progress)
        assert without_times(a.episodes) == without_times(b.episodes)
        assert (a.path / "reward.safetensors").read_bytes() == (b.path / "reward.safetensors").read_bytes()
        assert a.coverage.read_bytes() == b.coverage.read_bytes()

    def test_another_seed_gives_another_run(self, tmp_path):
        a, b = RunDirectory(tmp_path / "a"), RunDirectory(tmp_path / "b")
        explore(config(a.path), quiet=True)
        explore(config(b.path, seed=1), quiet=True)
        assert without_times(a.episodes) != without_times(b.episodes)

    def test_the_run_is_the_one_that_the_learner_makes_by_itself(self, tmp_path):
        cell = config(tmp_path / "a", reward="none")
        explore(cell, quiet=True)
        kwargs = {name: value for name, value in cell.learner_kwargs.items() if name != "net_arch"}
        alone = PPO("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **kwargs).learn(256)
        saved = load_state(RunDirectory(tmp_path / "a").checkpoint)["learner"]["parameters"]["policy"]
        for name, value in alone.policy.state_dict().items():
            assert (saved[name] == value).all(), name


class TestFailures:
    @pytest.mark.parametrize("at", [95, 100], ids=["within an episode", "at its end"])
    @pytest.mark.parametrize(
        ("what", "normalize", "reward"), [("reward", False, "none"), ("observation", True, "none"), ("reward", True, SURPRISE)]
    )
    def test_a_nan_stops_at_its_step_and_names_it(self, tmp_path, what, normalize, reward, at):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"what": what, "at": at}, reward=reward)
        result = explore(replace(cell, normalize_obs=normalize, n_envs=1), quiet=True)
        assert result["status"] == "failed"
        assert result["error"].startswith("environment 0 gave a")
        assert f"{what} of nan" in result["error"]
        assert f"step {at}" in result["error"]
        assert result["steps"] == at

    def test_the_model_of_a_failed_run_is_the_last_good_one(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"at": 150}, normalize_obs=True)
        explore(cell, quiet=True)
        run = RunDirectory(tmp_path / "run")
        assert load_state(run.checkpoint)["learner"]["counters"]["num_timesteps"] == 128
        assert np.isfinite(load_state(run.vecnormalize)["obs"]["mean"].numpy()).all()
        assert np.isfinite(PPO.load(run.model).predict(np.zeros(2, np.float32))[0]).all()

    def test_a_dead_environment_process_is_named_and_does_not_hang(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"what": "exit", "at": 70}, subproc=True)
        result = explore(cell, quiet=True)
        assert result["error"] == "the process of an environment died at step 69; run with --no-subproc to see why"

    def test_what_the_reward_refuses_when_training_starts_leaves_no_directory(self, tmp_path):
        cell = config(tmp_path / "run", "sb3_contrib:ARS", reward=SURPRISE, learner_kwargs={})
        with pytest.raises(RunError, match="use PPO, TRPO, SAC or another learner"):
            explore(cell, quiet=True)
        assert not (tmp_path / "run").exists()

    def test_a_value_error_of_the_first_step_is_a_failure_and_not_a_refusal(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"what": "error", "at": 1})
        result = explore(cell, quiet=True)
        assert (result["status"], result["error"]) == ("failed", "ValueError at step 0: broken at step 1")
        assert RunDirectory(cell.directory).checkpoint.is_file()

    def test_what_the_first_reset_refuses_leaves_no_file(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"what": "error", "at": 0}, tensorboard=True)
        with pytest.raises(RunError, match="broken at step 0"):
            explore(cell, quiet=True)
        assert not (tmp_path / "run").exists()

    def test_a_failed_evaluation_loses_nothing_and_resume_does_it_again(self, tmp_path, monkeypatch):
        def broken(*_):
            raise RuntimeError("no display")

        cell = config(tmp_path / "run", steps=64)
        with monkeypatch.context() as patch:
            patch.setattr("genrl.runs.result.evaluate", broken)
            first = explore(cell, quiet=True)
        assert (first["status"], first["steps"], first["evaluation_return"]) == ("finished", 64, None)
        assert first["evaluation_error"] == "the evaluation failed (RuntimeError: no display)"
        saved = RunDirectory(cell.directory).checkpoint.read_bytes()
        second = resume(cell.directory, quiet=True)
        assert second == explore(replace(cell, out=tmp_path / "whole"), quiet=True) | {name: first[name] for name in MACHINE}
        assert RunDirectory(cell.directory).checkpoint.read_bytes() == saved
        with pytest.raises(RunError, match="has all its 64 steps"):
            resume(cell.directory, quiet=True)

    @pytest.mark.parametrize("former", [None, {"status": "finished", "steps": 32, "evaluation_returns": [1.0]}])
    def test_a_run_killed_before_its_result_gets_it_by_resume(self, tmp_path, former):
        cell = config(tmp_path / "run", steps=64)
        result = explore(cell, quiet=True)
        run = RunDirectory(cell.directory)
        run.result.unlink()
        run.model.unlink()
        if former is not None:  # of a shorter run, that was resumed to more steps
            write_json(run.result, former)
        again = resume(cell.directory, quiet=True)
        assert {**again, **{name: result[name] for name in MACHINE}} == result
        assert PPO.load(run.model).num_timesteps == 64


class TestOptions:
    @pytest.mark.parametrize("learner", ["RecurrentPPO", "td3", "crossq"])
    def test_learners_of_both_packages_train_and_are_evaluated(self, tmp_path, learner):
        small = {"RecurrentPPO": {"n_steps": 32, "batch_size": 16}, "td3": {"learning_starts": 40, "action_noise": 0.1}}
        kwargs = small.get(learner, {"learning_starts": 40, "batch_size": 8})
        result = explore(config(tmp_path / "run", learner, steps=64, learner_kwargs=kwargs), quiet=True)
        assert result["status"] == "finished", result["error"]

    def test_coverage_takes_indices_and_keys_of_info(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"at": -1}, coverage=("speed", "1"))
        result = explore(cell, quiet=True)
        assert result["coverage"]["names"] == ["speed", "1"]
        assert result["coverage"]["bins"] == 4

    def test_coverage_counts_the_last_state_of_an_episode_and_not_the_next_reset(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"at": -1}, normalize_obs=True)
        explore(cell, quiet=True)  # every state is (0.5, 0.5), every reset is (0, 0)
        with np.load(tmp_path / "run" / "coverage.npz", allow_pickle=False) as file:
            assert file["counts"].tolist() == [[256]]

    def test_flags_of_the_reward_and_of_the_noise_reach_them(self, tmp_path):
        cell = config(tmp_path / "run", reward=SURPRISE, seed=7, update_every=5, memory_size=9, noise="held-3", noise_std=0.2)
        session = build(config_from(cell.to_dict()))
        seeded = torch.Generator().manual_seed(7)
        noise, reward = session.callbacks
        assert (reward.update_every, reward.pool.capacity) == (5, 9)
        assert (reward._generator.get_state() == seeded.get_state()).all()
        assert (noise.steps, noise.std) == (3, 0.2)

    def test_pink_noise_reaches_the_learner_and_a_noise_that_is_none_is_refused(self, tmp_path):
        (noise,) = build(config(tmp_path / "run", noise="pink", noise_std=0.2)).callbacks
        assert (type(noise), noise.std) == (PinkNoise, 0.2)
        with pytest.raises(RunError, match="must be own, pink, or held-N"):
            config(tmp_path / "run", noise="held-0")
        with pytest.raises(RunError, match="add --noise pink"):
            config(tmp_path / "run", noise_std=0.2)
        with pytest.raises(RunError, match="PinkNoise is Gaussian and needs Box actions"):
            build(config(tmp_path / "run", env="CartPole-v1", noise="pink"))

    def test_what_a_task_counts_by_itself_is_in_the_result_and_the_log(self, tmp_path):
        cell = config(tmp_path / "run", env="tests.runs.tiny:tests/Breaks-v0", env_kwargs={"what": "counts"}, n_envs=2)
        assert explore(cell, quiet=True)["task_coverage"] == 0.128  # 128 steps of each environment, a thousandth each
        assert float(read_csv(tmp_path / "run" / "progress.csv")[-1]["rollout/task_coverage"]) == 0.128

    def test_a_discrete_observation_has_no_map(self, tmp_path):
        cell = config(tmp_path / "run", env="FrozenLake-v1", steps=64)
        assert explore(cell, quiet=True)["coverage"] is None

    def test_action_noise_and_net_arch_reach_the_learner(self, tmp_path):
        cell = config(tmp_path / "run", "sac", steps=64)
        explore(replace(cell, learner_kwargs={**cell.learner_kwargs, "activation": "tanh"}), quiet=True)
        model = SAC.load(tmp_path / "run" / "model.zip")
        assert "Tanh" in str(model.actor)
        assert model.actor.mu.in_features == 8


@pytest.mark.parametrize(("every", "took", "saves"), [(0.0, 1.0, 100), (10.0, 0.1, 10), (1.0, 1.0, 5)])
def test_a_slow_checkpoint_makes_the_next_one_wait(monkeypatch, every, took, saves):
    """A rollout a second, for 100 seconds: a save of one second is followed by 20 without."""
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    saved = []

    def save():
        nonlocal now
        saved.append(now)
        now += took

    checkpointer = Checkpointer(save, every, Interrupt())
    for second in range(100):
        now = max(now, float(second))
        checkpointer._on_rollout_start()
    assert len(saved) == saves


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Dict({"a": spaces.Dict({"b": spaces.Box(0, 1, (2,))})}), "test/Observes-v0 observes Dict as 'a', which no learner takes"),
        (
            spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3))),
            "test/Observes-v0 observes Tuple, which no learner takes; wrap the task in",
        ),
        (spaces.Text(5), "test/Observes-v0 observes Text, which no learner takes"),
        (spaces.Sequence(spaces.Box(0, 1, (2,))), "test/Observes-v0 observes Sequence, which no learner takes"),
        (spaces.Box(0, 1, ()), r"test/Observes-v0 observes Box, a number by itself; give it as a Box of shape \(1,\)"),
    ],
    ids=lambda item: type(item).__name__,
)
@pytest.mark.parametrize("subproc", [False, True])
def test_observations_that_no_learner_takes_are_refused_before_anything_is_written(space, said, subproc, tmp_path):
    class Observes(gymnasium.Env):
        observation_space, action_space = space, spaces.Box(-1, 1, (1,))

    gymnasium.register("test/Observes-v0", Observes)
    try:
        with pytest.raises(RunError, match=said):
            explore(config(tmp_path / "run", env="test/Observes-v0", reward="vime", subproc=subproc), quiet=True)
    finally:
        del gymnasium.registry["test/Observes-v0"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 32}, "--learner.learning-starts is 32, but --steps is 32, so sac learns nothing; type --learner.learning-starts 3"),
        (
            {"steps": 40, "reward": "rnd", "update_every": 41},
            "RND learns every 41 environment steps, but there are 40, so it learns nothing; take update_every=4 (--update-every 4)",
        ),
        ({"steps": 40, "reward": "rnd", "update_every": 40}, ""),
        ({"steps": 40}, ""),
    ],
)
def test_a_run_that_ends_before_it_has_learned_says_so(values, said, tmp_path, recwarn):
    explore(config(tmp_path / "run", "sac", **{"eval_episodes": 0} | values), quiet=True)
    told = [str(item.message) for item in recwarn if "learns nothing" in str(item.message)]
    assert len(told) == bool(said)
    assert said in "".join(told)


@pytest.mark.parametrize(
    ("learner", "values", "told"),
    [
        ("td3", {}, True),
        ("ddpg", {}, True),
        ("td3", {"noise": "pink"}, False),
        ("td3", {"learner_kwargs": {"action_noise": 0.1, "learning_starts": 10}}, False),
        ("sac", {}, False),
    ],
)
def test_a_learner_that_explores_by_nothing_says_so(learner, values, told, tmp_path, recwarn):
    small = {"steps": 12, "eval_episodes": 0, "learner_kwargs": {"learning_starts": 10}}
    explore(config(tmp_path / "run", learner, **small | values), quiet=True)
    said = [str(item.message) for item in recwarn if "explores by nothing" in str(item.message)]
    cure = "so after 10 random steps it explores by nothing; type --learner.action-noise 0.1, as in the paper on TD3, or --noise pink"
    assert said == [f"{learner} draws no noise of its own, {cure}"] * told


def test_a_weight_that_is_held_against_a_reward_that_counts_for_nothing_is_refused():
    with pytest.raises(RunError, match="--weight auto weighs the bonus against the task's own reward, but --extrinsic-weight is 0"):
        ExploreConfig(weight="auto", extrinsic_weight=0.0)


class Shop(gymnasium.Env[np.ndarray, int]):
    """A task of one step, which pays 1 and has a word of its own for something else."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, True, False, {"paid": 0}


gymnasium.register("tests/Shop-v0", entry_point=Shop)


def test_the_first_reward_is_the_task_s_whatever_it_tells_beside(tmp_path):
    """A dream says in its infos what the task pays, without the weighed uncertainty; a task's own word for a price was taken for that."""
    result = explore(config(tmp_path / "run", env="tests/Shop-v0", reward="none", steps=64, eval_episodes=0), quiet=True)
    assert result["first_reward_step"] == 1
