"""Recording, and runs that imitate what was recorded."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback

import genrl
from genrl.cli import main
from genrl.data import Demonstrations, Episode
from genrl.errors import RunError
from genrl.files import load_state, write_json
from genrl.reading import read_json
from genrl.runs import ExploreConfig, ImitateConfig, RunDirectory, explore, imitate, pictures, record, resume, watch
from genrl.runs import result as result_module
from genrl.runs.building import build, resolve
from genrl.runs.directory import read_csv
from genrl.runs.environments.make import make_env
from genrl.runs.imitation.demonstrations import fingerprint, load, with_task
from genrl.runs.pictures import draw
from genrl.runs.session import Session
from genrl.studies import InProcess, Study, read_study, run_study
from genrl.transitions import Transitions
from tests.runs.same_directory import assert_same_directory
from tests.runs.tiny import SMALL, Surprise, config


@pytest.mark.parametrize(("asked", "gamma"), [({}, 0.9), ({"gamma": 0.99}, 0.99), ({"gamma": 0.5}, 0.5)])
def test_airl_has_the_learner_s_discount_unless_one_is_asked_for(asked, gamma):
    resolved, _ = resolve(ImitateConfig(env="Pendulum-v1", reward="airl", reward_kwargs=asked, learner_kwargs={"gamma": 0.9}))
    assert resolved.reward_kwargs["gamma"] == gamma


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of PPO on a pendulum, hardly trained."""
    out = tmp_path_factory.mktemp("expert") / "run"
    explore(config(out, normalize_obs=True), quiet=True)
    return out


@pytest.fixture(scope="module")
def demos(expert: Path) -> Path:
    """Three episodes of it."""
    file = expert.parent / "pendulum.hdf5"
    record(expert, file, episodes=3)
    return file


def imitation(demos: Path, out: Path, learner: str = "ppo", **changes: Any) -> ImitateConfig:
    values: dict[str, Any] = {
        "demos": demos, "out": out, "learner": learner, "steps": 256, "n_envs": 2, "clone": 3, "eval_episodes": 1, "pictures": False,
        "learner_kwargs": SMALL.get(learner, {}) | {"net_arch": (8,)}, "reward_kwargs": {"updates": 2, "batch_size": 16},
    }  # fmt: skip
    return ImitateConfig(**values | changes)


class TestRecord:
    def test_keeps_what_the_trained_policy_did(self, expert, demos):
        recorded = Demonstrations.load(demos)
        assert (recorded.n_episodes, recorded.n_steps, recorded.env_id) == (3, 600, "Pendulum-v1")
        assert [episode.seed for episode in recorded.episodes] == [1000, 1001, 1002]
        assert all(episode.truncated and not episode.terminated for episode in recorded.episodes)
        assert recorded.metadata["env_spec"]["additional_wrappers"] == []

    def test_its_actions_give_the_same_episode_again(self, demos):
        env = make_env("Pendulum-v1", {})
        episode = Demonstrations.load(demos).episodes[1]
        obs, _ = env.reset(seed=episode.seed)
        np.testing.assert_array_equal(obs, episode.observations[0])
        for t, action in enumerate(episode.actions):
            obs, reward, *_ = env.step(action)
            np.testing.assert_array_equal(obs, episode.observations[t + 1])
            assert np.float32(reward) == episode.rewards[t]

    def test_refuses_a_file_that_is_there_and_a_run_that_is_not(self, expert, demos):
        with pytest.raises(RunError, match=r"pendulum\.hdf5 exists; choose another --out"):
            record(expert, demos)
        with pytest.raises(RunError, match="holds no run"):
            record(expert.parent / "nothing", demos.with_name("other.hdf5"))
        with pytest.raises(RunError, match=r"is no run, but holds \d+; name one of them, such as "):
            record(expert.parent, demos.with_name("other.hdf5"))

    @pytest.mark.parametrize("name", ["a.csv", "expert", "/proc/nowhere/a.hdf5"])
    def test_what_it_can_not_write_is_refused_before_it_records(self, expert, tmp_path, monkeypatch, name):
        monkeypatch.setattr("genrl.runs.uses.record.acted", lambda *arguments: pytest.fail("it has begun to record"))
        with pytest.raises(RunError, match=r"a.csv ends in .csv|can't be a Minari data set|can't be written"):
            record(expert, tmp_path / name)
        assert not (tmp_path / name).exists()

    def test_an_episode_of_drawn_actions_follows_from_its_own_seed(self, expert, tmp_path):
        """So two recordings with other seeds have other noise, too: it had come from the seed of the run."""
        two = record(expert, tmp_path / "a.npz", episodes=2, seed=3, stochastic=True).episodes
        (alone,) = record(expert, tmp_path / "b.npz", episodes=1, seed=4, stochastic=True).episodes
        np.testing.assert_array_equal(two[1].actions, alone.actions)
        noise = [episode.actions - genrl.load(expert).predict(np.asarray(episode.observations[:-1]))[0] for episode in two]
        assert np.abs(noise[0] - noise[1]).max() > 0.1

    @pytest.mark.parametrize(
        "use", [lambda run, file: record(run, file, episodes=1, stochastic=True), lambda run, _: watch(run, stochastic=True)]
    )
    def test_refuses_to_draw_actions_of_a_policy_that_draws_none(self, demos, tmp_path, use):
        """TD3 and DDPG take the same action with and without: its file would have looked like one of drawn actions."""
        imitate(imitation(demos, tmp_path / "run", "ddpg", steps=0, clone=1), quiet=True)
        with pytest.raises(RunError, match=r"--stochastic was given, but a policy of DDPG has one action for each state .*; leave it out"):
            use(tmp_path / "run", tmp_path / "a.npz")
        assert not (tmp_path / "a.npz").exists()

    def test_of_a_disturbed_policy_keeps_what_it_meant_where_the_noise_has_brought_it(self, expert, tmp_path):
        once, again = (record(expert, tmp_path / name, episodes=2, disturb=0.2) for name in ("a.npz", "b.npz"))
        assert (Demonstrations.load(tmp_path / "a.npz").metadata["disturb"], once.metadata["disturb"]) == (0.2, 0.2)
        policy = genrl.load(expert)
        for episode, same in zip(once.episodes, again.episodes, strict=True):
            meant = policy.predict(np.asarray(episode.observations[:-1]))[0]
            np.testing.assert_allclose(episode.actions, meant.clip(-2, 2), atol=1e-5)
            np.testing.assert_array_equal(episode.observations, same.observations)
            _, sin, speed = np.asarray(episode.observations, np.float64).T
            felt = (np.diff(speed) / 0.05 - 15 * sin[:-1]) / 3  # Gymnasium's Pendulum: speed' = speed + (15 sin + 3 torque) 0.05
            free = (np.abs(speed[1:]) < 7.9) & (np.abs(felt) < 1.99)
            noise = (felt - episode.actions[:, 0])[free]
            assert 0.34 < noise.std() < 0.46  # a fifth of half the width, which is 2

    def test_says_that_returns_are_of_a_disturbed_expert(self, expert, tmp_path, capsys):
        words = f"record --run {expert} --out {tmp_path / 'a.hdf5'} --episodes 2 --disturb 0.5"
        assert main(words.split()) == 0
        assert "of disturbed steps" in capsys.readouterr().out
        words = f"imitate --demos {tmp_path / 'a.hdf5'} --steps 0 --clone 1 --eval-episodes 1 --no-pictures --out {tmp_path / 'run'}"
        assert main(words.split()) == 0
        assert "the expert's, disturbed" in capsys.readouterr().out

    def test_warns_where_a_critic_would_learn_from_actions_that_were_not_executed(self, expert, tmp_path):
        record(expert, tmp_path / "a.npz", episodes=1, disturb=0.5)
        with pytest.warns(UserWarning, match=r"a.npz has the actions that a policy meant.*--expert-fraction 0"):
            imitate(imitation(tmp_path / "a.npz", tmp_path / "run", "sac", steps=8, n_envs=1, clone=0, eval_episodes=0), quiet=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*that a policy meant")  # cloning alone has no critic
            imitate(imitation(tmp_path / "a.npz", tmp_path / "cloned", "sac", steps=0, n_envs=1, eval_episodes=0), quiet=True)

    def test_refuses_to_disturb_what_has_no_box(self, expert, tmp_path):
        explore(config(tmp_path / "run", env="CartPole-v1", steps=64, eval_episodes=0), quiet=True)
        with pytest.raises(RunError, match=r"--disturb adds noise to actions in a box .*takes Discrete\(2\); type --stochastic"):
            record(tmp_path / "run", tmp_path / "a.npz", disturb=0.5)
        with pytest.raises(RunError, match=r"--disturb is -1, but must be at least 0"):
            record(expert, tmp_path / "a.npz", disturb=-1)
        assert not (tmp_path / "a.npz").exists()

    def test_is_a_command(self, expert, tmp_path, capsys):
        assert main(["record", "--run", str(expert), "--out", str(tmp_path / "a.npz"), "--episodes", "2"]) == 0
        printed = capsys.readouterr().out
        assert "Pendulum-v1" in printed
        assert printed.splitlines()[-1] == f"imitate it: genrl imitate --demos {tmp_path / 'a.npz'}"


class TestAnImitation:
    @pytest.mark.parametrize("changes", [{"extrinsic_weight": 1.0}, {"steps": 0}, {"reward": "constant"}, {"reward": "my_rewards:Own"}])
    def test_is_not_paid_by_novelty_alone(self, tmp_path, changes):
        """A bonus that sees no demonstrations was all that paid, without a word."""
        with pytest.raises(RunError, match=r"--reward vime sees nothing of the demonstrations .* novelty alone pays"):
            imitation(tmp_path / "a.npz", tmp_path / "run", reward="vime")
        imitation(tmp_path / "a.npz", tmp_path / "run", **{"reward": "vime"} | changes)

    @pytest.mark.parametrize("reward", ["gail", "gaifo", "airl", "vail", "diffail", "pwil", "constant"])
    def test_trains_with_every_reward(self, demos, tmp_path, reward):
        kwargs = {} if reward in ("constant", "pwil") else {"updates": 2, "batch_size": 16}
        result = imitate(imitation(demos, tmp_path / "run", reward=reward, reward_kwargs=kwargs), quiet=True)
        assert (result["status"], result["steps"], result["env"]) == ("finished", 256, "Pendulum-v1")

    def test_trains_off_policy_with_demonstrations_in_the_batches(self, demos, tmp_path):
        for reward, kwargs in (("gail", {"updates": 2}), ("sqil", {})):
            cell = imitation(demos, tmp_path / reward, "sac", reward=reward, reward_kwargs=kwargs, expert_fraction=0.5, update_every=50)
            assert imitate(cell, quiet=True)["status"] == "finished"

    def test_is_measured_by_the_expert_and_by_cloning(self, demos, tmp_path):
        result = imitate(imitation(demos, tmp_path / "run", episodes=2, every=20, steps=512, pictures=True), quiet=True)
        known = result["imitation"]
        assert (known["episodes"], known["pairs"]) == (2, 20)
        order = np.random.RandomState(0).permutation(3)
        returns = Demonstrations.load(demos).returns[order[:2]]
        assert known["expert_return"] == pytest.approx(returns.mean())
        assert known["expert_return_min_max"] == pytest.approx([returns.min(), returns.max()])
        assert known["demos_seed"] == 0
        assert known["cloned_return"] is not None
        assert {path.name for path in (tmp_path / "run").glob("*.png")} >= {"learning_curve.png", "bonus.png", "discriminator.png"}

    def test_of_no_steps_is_cloning_alone(self, demos, tmp_path):
        result = imitate(imitation(demos, tmp_path / "run", steps=0), quiet=True)
        assert (result["status"], result["steps"], result["episodes"]) == ("finished", 0, 0)
        assert result["evaluation_returns"] == [pytest.approx(result["imitation"]["cloned_return"])]
        assert record(tmp_path / "run", tmp_path / "cloned.npz", episodes=1).n_episodes == 1

    def test_of_no_steps_goes_on_as_one_that_was_to_train(self, demos, tmp_path):
        imitate(imitation(demos, tmp_path / "run", steps=0, clone=1, average=0.5, reward="airl"), quiet=True)
        with pytest.raises(RunError, match=r"has all its 0 steps; go further with `genrl resume .* --steps 300000`"):
            resume(tmp_path / "run")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*does not repeat an episode")
            assert resume(tmp_path / "run", steps=64, quiet=True)["status"] == "finished"
        found = read_json(tmp_path / "run/config.json")
        assert found["critic_warmup"] == imitation(demos, tmp_path, reward="airl").critic_warmup == 20_480
        assert found["reward_kwargs"]["absorbing"]  # as for any logit of a task that never ends

    def test_of_single_pairs_in_its_batches_is_refused_before_its_policy_is_cloned(self, demos, tmp_path, monkeypatch):
        recorded = Demonstrations.load(demos).transitions()
        np.savez(tmp_path / "pairs.npz", observations=recorded.obs.numpy(), actions=recorded.action.numpy())
        monkeypatch.setattr(Session, "clone", lambda session: pytest.fail("it was cloned"))
        with pytest.raises(RunError, match=r"does not tell what followed an action.*--expert-fraction 0"):
            imitate(imitation(tmp_path / "pairs.npz", tmp_path / "run", "sac", env="Pendulum-v1", n_envs=1), quiet=True)

    def test_logs_the_accuracy_on_demonstrations_that_it_has_not_learnt_from(self, demos, tmp_path):
        imitate(imitation(demos, tmp_path / "run", every=20), quiet=True)
        header = RunDirectory(tmp_path / "run").progress.read_text().splitlines()[0]
        assert "reward/held_out_accuracy" in header

    @pytest.mark.parametrize(("learner", "reward"), [("ppo", "gail"), ("sac", "gail"), ("ppo", "pwil"), ("sac", "pwil")])
    def test_goes_on_after_a_stop_as_if_there_had_been_none(self, demos, tmp_path, learner, reward, monkeypatch):
        from tests.runs.test_rewind import StopAt, training_module

        mixing = {"expert_fraction": 0.5, "update_every": 50} if learner == "sac" else {}
        kwargs = {"beta": 0.01} if reward == "pwil" else {"updates": 2, "batch_size": 16}
        cell = imitation(
            demos, tmp_path / "whole", learner, steps=512, critic_warmup=256, reward=reward, reward_kwargs=kwargs, every=20, **mixing
        )
        imitate(cell, quiet=True)
        StopAt.step = 300 if learner == "sac" else 202  # of the evaluation of the cloned policy too
        with monkeypatch.context() as patch:
            patch.setattr(training_module, "Interrupt", StopAt)
            result = imitate(replace(cell, out=tmp_path / "stopped"), quiet=True)
        assert 0 < result["steps"] < 512
        resume(tmp_path / "stopped", quiet=True)
        assert_same_directory(tmp_path / "whole", tmp_path / "stopped")

    def test_goes_on_with_the_same_demonstrations_wherever_they_are(self, demos, tmp_path, monkeypatch):
        from tests.runs.test_rewind import StopAt, training_module

        moved, other = tmp_path / "moved.npz", tmp_path / "other.npz"
        here = tmp_path / "here.hdf5"
        here.write_bytes(demos.read_bytes())
        StopAt.step = 202
        with monkeypatch.context() as patch:
            patch.setattr(training_module, "Interrupt", StopAt)
            imitate(imitation(here, tmp_path / "run", steps=512), quiet=True)
        Demonstrations.load(here).save(moved)
        Demonstrations.load(here).subsample(episodes=2).save(other)
        here.unlink()
        with pytest.raises(RunError, match=r"no demonstrations at .*here.hdf5; say where they are now: genrl resume .* --demos FILE"):
            resume(tmp_path / "run", quiet=True)
        with pytest.raises(RunError, match=r"other.npz holds other demonstrations than .* began with"):
            resume(tmp_path / "run", demos=other, quiet=True)
        assert resume(tmp_path / "run", demos=moved, quiet=True)["status"] == "finished"

    @pytest.mark.parametrize("learner", ["ppo", "sac"])
    def test_averages_its_last_policies_where_it_is_asked_to(self, demos, tmp_path, learner, monkeypatch):
        from tests.runs.test_rewind import StopAt, training_module

        cell = imitation(demos, tmp_path / "whole", learner, steps=512, average=0.75, clone=0)
        result = imitate(cell, quiet=True)
        kept = load_state(tmp_path / "whole" / "average.safetensors")["policy"]
        model = {"ppo": PPO, "sac": SAC}[learner].load(RunDirectory(tmp_path / "whole").model)
        assert kept.keys() == model.policy.state_dict().keys()
        assert any(not torch.equal(kept[name], value) for name, value in model.policy.state_dict().items())
        assert len(result["averaged_returns"]) == 1
        StopAt.step = {"ppo": 2, "sac": 200}[learner]
        with monkeypatch.context() as patch:
            patch.setattr(training_module, "Interrupt", StopAt)
            assert 0 < imitate(replace(cell, out=tmp_path / "stopped"), quiet=True)["steps"] < 512
        assert resume(tmp_path / "stopped", quiet=True)["averaged_returns"] == result["averaged_returns"]
        assert_same_directory(tmp_path / "whole", tmp_path / "stopped")

    def test_that_goes_on_beyond_its_end_leaves_no_average_of_before(self, demos, tmp_path, monkeypatch):
        from tests.runs.test_rewind import StopAt, training_module

        run = RunDirectory(tmp_path / "run")
        imitate(imitation(demos, run.path, steps=256, average=0.5, clone=0), quiet=True)
        assert run.average.is_file()
        StopAt.step = 2
        with monkeypatch.context() as patch:
            patch.setattr(training_module, "Interrupt", StopAt)
            assert 256 < resume(run.path, steps=2048, quiet=True)["steps"] < 1024
        assert not run.average.is_file()
        assert resume(run.path, quiet=True)["averaged_returns"] and run.average.is_file()

    def test_evaluates_the_average_again_where_that_was_interrupted(self, demos, tmp_path, monkeypatch):
        cell = imitation(demos, tmp_path / "whole", steps=512, average=0.75, clone=0)
        whole = imitate(cell, quiet=True)
        asked = iter([False, True])
        with monkeypatch.context() as patch:
            patch.setattr(result_module, "evaluate", lambda *_: [] if next(asked) else [-1.0])
            stopped = imitate(replace(cell, out=tmp_path / "stopped"), quiet=True)
        assert (stopped["status"], stopped["averaged_return"]) == ("finished", None)
        assert stopped["evaluation_error"] == "the evaluation was interrupted at the last policies' mean"
        assert resume(tmp_path / "stopped", quiet=True)["averaged_returns"] == whole["averaged_returns"]

    def test_normalises_by_the_demonstrations_where_they_are_in_the_batches(self, demos, tmp_path):
        """A running statistic would begin with what an untrained agent sees, and move under the demonstrations of every batch."""
        imitate(imitation(demos, tmp_path / "run", "sac", clone=0, expert_fraction=0.5), quiet=True)
        imitate(imitation(demos, tmp_path / "control", "sac", clone=0, expert_fraction=0.0), quiet=True)
        obs = Demonstrations.load(demos).transitions().obs.numpy()
        mean = load_state(tmp_path / "run" / "vecnormalize.safetensors")["obs"]["mean"]
        np.testing.assert_allclose(mean, obs.mean(axis=0, dtype=np.float64), atol=1e-6)
        assert not np.allclose(load_state(tmp_path / "control" / "vecnormalize.safetensors")["obs"]["mean"], mean, atol=1e-3)


class TestTheDemonstrationsOfARun:
    def test_say_which_task_it_is(self, tmp_path):
        episode = Episode(np.zeros((4, 3)), np.zeros((3, 1)), np.zeros(3), np.zeros(3, bool), np.arange(3) == 2)
        Demonstrations.from_episodes([episode], "Pendulum-v1", {"g": 5.0}).save(tmp_path / "a.hdf5")
        found = with_task(ImitateConfig(demos=tmp_path / "a.hdf5", env_kwargs={"render_mode": None}))
        assert (found.env, found.env_kwargs) == ("Pendulum-v1", {"g": 5.0, "render_mode": None})
        assert found.directory == Path("runs/a-ppo-gail-seed0")

    def test_two_data_sets_of_one_version_name_have_a_directory_each(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for given, name in (
            ("walker2d/stochastic-v0", "walker2d-stochastic-v0"),
            ("D4RL/door/human-v2", "door-human-v2"),
            ("stochastic-v0", f"{tmp_path.name}-stochastic-v0"),
            ("walker2d/a.hdf5", "a"),
        ):
            assert ImitateConfig(demos=Path(given)).directory == Path(f"runs/{name}-ppo-gail-seed0")
        assert ImitateConfig(demos=Path("walker2d/stochastic-v0"), env="Walker2d-v5").directory == Path("runs/Walker2d-v5-ppo-gail-seed0")

    def test_do_not_decide_what_is_imported(self, tmp_path):
        episode = Episode(np.zeros((4, 3)), np.zeros((3, 1)), np.zeros(3), np.zeros(3, bool), np.arange(3) == 2)
        Demonstrations.from_episodes([episode], "evil:Pendulum-v1").save(tmp_path / "a.npz")
        with pytest.raises(RunError, match="names the task evil:Pendulum-v1, which would import a module; name the task by --env yourself"):
            with_task(ImitateConfig(demos=tmp_path / "a.npz"))

    def test_are_part_of_what_a_cell_of_a_study_is(self, demos, tmp_path):
        from genrl.studies.matrix import _digest, identity

        file = tmp_path / "a.hdf5"
        file.write_bytes(demos.read_bytes())
        before = identity(ImitateConfig(demos=file))
        file.write_bytes(demos.read_bytes() + b" ")
        _digest.cache_clear()
        assert identity(ImitateConfig(demos=file)) != before

    def test_hold_out_other_episodes_or_else_the_steps_between(self, demos):
        env = make_env("Pendulum-v1", {})
        some = load(ImitateConfig(demos=demos, episodes=1), env.observation_space, env.action_space)
        assert (some.demonstrations.n_steps, some.held_out.n_steps) == (200, 400)
        between = load(ImitateConfig(demos=demos, every=20), env.observation_space, env.action_space)
        assert (between.demonstrations.n_steps, between.held_out.n_steps) == (30, 570)
        assert load(ImitateConfig(demos=demos), env.observation_space, env.action_space).held_out is None

    def test_outside_the_box_are_clipped_with_a_count(self, tmp_path):
        actions = np.array([[5.0], [0.0], [-3.0]], np.float32)
        episode = Episode(np.zeros((4, 3), np.float32), actions, np.zeros(3), np.zeros(3, bool), np.arange(3) == 2)
        Demonstrations.from_episodes([episode], "Pendulum-v1").save(tmp_path / "a.npz")
        env = make_env("Pendulum-v1", {})
        with pytest.warns(
            UserWarning, match="a.npz has 2 of 3 components of actions outside the task's box, which are clipped; are they in"
        ):
            found = load(ImitateConfig(demos=tmp_path / "a.npz", env="Pendulum-v1"), env.observation_space, env.action_space)
        assert found.demonstrations.transitions().action.flatten().tolist() == [2.0, 0.0, -2.0]

    def test_are_drawn_by_the_seed_of_the_run_unless_another_one_is_given(self, demos):
        env = make_env("Pendulum-v1", {})

        def drawn(**values: Any) -> str:
            chosen = ImitateConfig(demos=demos, **{"episodes": 2, "every": 20} | values)
            return fingerprint(load(chosen, env.observation_space, env.action_space).demonstrations)

        assert drawn(seed=1) == drawn(seed=1) == drawn(seed=5, demos_seed=1) == drawn(seed=1, learner="sac")
        assert len({drawn(seed=seed) for seed in range(8)}) == 8
        assert len({drawn(seed=seed, every=1) for seed in range(8)}) > 1  # other episodes
        assert len({drawn(seed=seed, episodes=None) for seed in range(8)}) == 8  # other offsets
        assert len({drawn(seed=seed, episodes=None, every=1) for seed in range(8)}) == 1

    def test_that_are_held_out_are_those_that_were_not_drawn(self, demos):
        env, whole = make_env("Pendulum-v1", {}), Demonstrations.load(demos)
        for seed in range(4):
            used, rest = load(ImitateConfig(demos=demos, episodes=1, seed=seed), env.observation_space, env.action_space)
            assert sorted(float(item) for item in (*used.returns, *rest.returns)) == sorted(map(float, whole.returns))

    def test_used_whole_leave_nothing_to_draw(self, demos, tmp_path):
        sentence = "--demos-seed is 3, but all steps of all 3 episodes are used, so nothing is drawn; add --episodes N or --every N"
        with pytest.raises(RunError, match=sentence):
            imitate(imitation(demos, tmp_path / "run", demos_seed=3), quiet=True)
        with pytest.raises(RunError, match=sentence):
            imitate(imitation(demos, tmp_path / "run", demos_seed=3, episodes=3), quiet=True)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("learner", "values"),
    [
        ("ppo", (300_000, 16, 500, 20_480, 0.0, 0.05)),
        ("trpo", (300_000, 16, 500, 0, 0.0, 0.05)),
        ("SAC", (50_000, 1, 0, 0, 0.5, 0.1)),
        ("qr-dqn", (50_000, 1, 0, 0, 0.5, 0.1)),
        ("recurrentppo", (300_000, 16, 0, 0, 0.0, 0.05)),
        ("module:Learner", (300_000, 16, 500, 0, 0.0, 0.05)),
    ],
)
def test_what_is_not_said_is_what_does_well_with_the_learner(learner, values):
    chosen = ImitateConfig(learner=learner)
    assert (chosen.steps, chosen.n_envs, chosen.clone, chosen.critic_warmup, chosen.expert_fraction, chosen.weight) == values
    control = ImitateConfig(learner=learner, reward="constant")
    assert (control.clone, control.critic_warmup, control.expert_fraction) == (0, 0, 0.0)
    cloned = ImitateConfig(learner=learner, reward="constant", clone=500)
    assert cloned.critic_warmup == values[3]  # a control of a cloned policy begins as what it controls
    assert ImitateConfig(learner=learner, clone=0).critic_warmup == 0
    assert ImitateConfig(learner=learner, steps=0).clone == 500
    with pytest.raises(RunError, match="--steps is 0 and --clone is 0, so there is nothing to do"):
        ImitateConfig(learner=learner, steps=0, clone=0)
    said = ImitateConfig(learner=learner, steps=0, n_envs=2, clone=7, expert_fraction=0.25, weight=0.5)
    assert (said.steps, said.n_envs, said.clone, said.expert_fraction, said.weight) == (0, 2, 7, 0.25, 0.5)


def test_a_reward_without_the_demonstrated_batches_that_it_needs_is_refused_before_anything_is_cloned(demos, tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "clone", lambda session: pytest.fail("it cloned"))
    with pytest.raises(RunError, match="SQIL needs demonstrations in the batches of an off-policy learner"):
        imitate(imitation(demos, tmp_path / "run", reward="sqil", reward_kwargs={}), quiet=True)


class Column(Surprise):
    """A reward whose shape is wrong."""

    def forward(self, transitions: Transitions) -> torch.Tensor:
        return super().forward(transitions)[:, None]


def test_a_reward_of_a_wrong_shape_is_refused_before_anything_is_cloned(demos, tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "clone", lambda session: pytest.fail("it cloned"))
    with pytest.raises(RunError, match=r"gave shape \((\d+), 1\) for \1 transitions"):
        imitate(imitation(demos, tmp_path / "run", reward="tests.runs.test_imitate:Column", reward_kwargs={}), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_weight_that_tunes_itself_beside_the_tasks_own_reward_goes_on(demos, tmp_path):
    tuned = imitation(demos, tmp_path / "run", weight="auto", extrinsic_weight=1.0)
    imitate(tuned, quiet=True)
    assert resume(tmp_path / "run", steps=512, quiet=True)["status"] == "finished"
    assert float(read_csv(RunDirectory(tmp_path / "run").progress)[-1]["reward/share"]) > 0


class TestPaidByTheTask:
    """`--reward none`: the task's own reward, and demonstrations that help."""

    def test_the_batches_hold_recorded_rewards_beside_the_learner_s_own(self, demos, tmp_path):
        session = build(
            imitation(
                demos, tmp_path / "run", "sac", env="Pendulum-v1", reward="none", reward_kwargs={}, n_envs=1, clone=0, expert_fraction=0.5
            )
        )
        seen: list[np.ndarray] = []

        class Reads(BaseCallback):
            def _on_step(self) -> bool:
                buffer: Any = self.model.replay_buffer
                if self.num_timesteps == 60:
                    seen.append(buffer.sample(64).rewards.numpy()[:, 0])
                    seen.append(buffer.rewards[: buffer.pos, 0])
                return True

        session.learner.learn(61, callback=[*session.callbacks, Reads()])
        recorded = np.concatenate([episode.rewards for episode in Demonstrations.load(demos).episodes])
        of_the_expert = np.isin(seen[0], recorded.astype(np.float32))
        assert (of_the_expert.sum(), np.isin(seen[0], seen[1]).sum()) == (32, 32)
        assert [plug.name for plug in session.plugs] == ["mixing"]

    def test_the_return_judges_it(self, demos, tmp_path):
        file = imitation(
            demos, tmp_path / "run", "sac", env="Pendulum-v1", reward="none", reward_kwargs={}, n_envs=1, clone=0, steps=64, eval_every=32
        )
        result = imitate(file, quiet=True)
        rows = read_csv(tmp_path / "run" / "evaluations.csv")
        assert [row["cost"] for row in rows] == ["", ""]
        assert result["best"]["return"] == max(float(row["return"]) for row in rows)
        assert result["bonus_mean"] is None

    def test_a_cloned_policy_goes_on_by_the_task_s_reward(self, demos, tmp_path):
        result = imitate(
            imitation(demos, tmp_path / "run", env="Pendulum-v1", reward="none", reward_kwargs={}, critic_warmup=128), quiet=True
        )
        assert (result["status"], result["imitation"]["cloning"]["epochs"]) == ("finished", 3)
        assert resume(tmp_path / "run", steps=512, quiet=True)["status"] == "finished"

    def test_says_when_it_first_met_a_reward(self, tmp_path):
        explore(config(tmp_path / "pole", env="CartPole-v1", steps=64, eval_episodes=0), quiet=True)
        record(tmp_path / "pole", tmp_path / "pole.npz", episodes=1)
        paid = imitation(tmp_path / "pole.npz", tmp_path / "run", reward="none", reward_kwargs={}, steps=128, n_envs=1, critic_warmup=0)
        assert imitate(paid, quiet=True)["first_reward_step"] == 1  # each step of a cart-pole pays

    def test_its_defaults_and_its_name(self):
        paid, imitates = ImitateConfig(env="Pendulum-v1", reward="none"), ImitateConfig(env="Pendulum-v1")
        assert (paid.extrinsic_weight, imitates.extrinsic_weight) == (1.0, 0.0)
        assert paid.name == "Pendulum-v1-ppo-demos-seed0"  # `genrl explore --reward none` is Pendulum-v1-ppo-none-seed0

    def test_where_nothing_pays_or_nothing_is_learnt_from_it_says_so(self, demos, tmp_path):
        with pytest.raises(RunError, match=r"--reward is none and --extrinsic-weight is 0, so nothing pays; leave --extrinsic-weight out"):
            ImitateConfig(env="Pendulum-v1", reward="none", extrinsic_weight=0.0)
        bare = Demonstrations.load(demos)
        unpaid = [replace(episode, rewards=np.full_like(episode.rewards, np.nan)) for episode in bare.episodes]
        Demonstrations.from_episodes(unpaid, "Pendulum-v1").save(tmp_path / "unpaid.npz")
        with pytest.raises(RunError, match=r"has no rewards, which --reward none needs; type --reward gail, or type --expert-fraction 0"):
            build(
                imitation(
                    tmp_path / "unpaid.npz", tmp_path / "run", "sac", env="Pendulum-v1", reward="none", reward_kwargs={}, n_envs=1, clone=0
                )
            )
        with pytest.warns(UserWarning, match=r"ppo is paid by the task alone, and nothing is learnt from .*; type --clone 500"):
            build(imitation(demos, tmp_path / "run", env="Pendulum-v1", reward="none", reward_kwargs={}, clone=0, critic_warmup=0))


def test_a_run_of_cloning_alone_is_named_after_what_it_does():
    assert ImitateConfig(env="Pendulum-v1", steps=0).name == "Pendulum-v1-ppo-cloned-seed0"
    assert ImitateConfig(env="Pendulum-v1").name == "Pendulum-v1-ppo-gail-seed0"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "an imitation needs demonstrations; add --demos FILE"),
        ("--demos nothing.hdf5", "there are no demonstrations at nothing.hdf5; make some with `genrl record --run RUN --out nothing.hdf5`"),
        ("--demos {demos} --env CartPole-v1", "observation"),
        ("--demos {demos} --env Pendulun-v1", "there is no task 'Pendulun-v1'; did you mean Pendulum-v1"),
        ("--demos {demos} --episodes 99", "has 3 episodes, but 99 are asked for"),
        ("--demos {demos} --every 2 --demos-seed -1", "--demos-seed is -1, but must be at least 0"),
        ("--demos {demos} --episodes 0", "--episodes is 0, but must be at least 1"),
        ("--demos {demos} --reward none --extrinsic-weight 0", "so nothing pays; leave --extrinsic-weight out, or type --steps 0"),
        ("--demos {demos} --reward sqil", "SQIL needs demonstrations in the batches of an off-policy learner"),
        ("--demos {demos} --learner recurrentppo --clone 5", "has a memory, which single pairs can't teach"),
        ("--demos {demos} --critic-warmup -2", "--critic-warmup is -2, but must be at least 0"),
        ("--demos {demos} --learner trpo --critic-warmup 64", "TRPO can't learn its critic alone"),
        ("--demos {demos} --expert-fraction 1", "--expert-fraction is 1"),
        ("--demos {demos} --demonstrated-starts 1.5", "--demonstrated-starts is 1.5, but must be a share of the steps, such as 0.5"),
        ("--demos {seedless} --demonstrated-starts 0.5", "--demonstrated-starts: Pendulum-v1 can't be put at a demonstrated state"),
        ("--demos {demos} --average 1.5", "--average is 1.5, but must be a share of the steps, such as 0.2"),
    ],
)
def test_what_can_not_be_imitated_is_refused_before_it_is_cloned(demos, tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.setattr("genrl.policies.cloning._best", lambda *_: pytest.fail("it has begun to clone"))
    out, seedless = tmp_path / "run", tmp_path / "seedless.npz"
    Demonstrations.from_episodes([replace(one, seed=None) for one in Demonstrations.load(demos).episodes], "Pendulum-v1").save(seedless)
    assert main(["imitate", *words.format(demos=demos, seedless=seedless).split(), "--out", str(out), "--steps", "100"]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert sentence in printed[-1]
    assert not out.exists()


def test_a_reward_that_needs_demonstrations_is_refused_elsewhere(tmp_path):
    with pytest.raises(RunError, match="learns from demonstrations; type: genrl imitate --reward gail --env Pendulum-v1 --demos FILE"):
        explore(ExploreConfig(env="Pendulum-v1", learner="ppo", reward="gail", out=tmp_path / "run"), quiet=True)


def test_a_study_of_imitations(demos, tmp_path):
    text = f"""
    [study]
    command = "imitate"
    seeds = 1
    [run]
    steps = 256
    n_envs = 2
    learner_kwargs = {{ n_steps = 64, batch_size = 32, n_epochs = 1, net_arch = [8] }}
    eval_episodes = 1
    [tasks.pendulum]
    demos = "{demos}"
    [methods.cloned]
    steps = 0
    [methods.gail]
    reward = "gail"
    reward_kwargs = {{ updates = 2 }}
    """
    study = Study.parse(text, "imitations", tmp_path / "study")
    study.check()
    assert run_study(study, InProcess())
    assert [item.status for item in read_study(tmp_path / "study").cells] == ["finished", "finished"]


@pytest.mark.parametrize("learner", ["ppo", "dqn"])
def test_a_task_of_discrete_observations_can_be_cloned_by_the_command(learner, tmp_path):
    n = 480
    obs = np.arange(n + 1) % 16
    episode = Episode(obs, obs[:-1] % 4, np.zeros(n), np.zeros(n, bool), np.arange(n) == n - 1)
    Demonstrations.from_episodes([episode], "FrozenLake-v1").save(tmp_path / "lake.npz")
    words = f"imitate --demos {tmp_path / 'lake.npz'} --learner {learner} --steps 0 --clone 300 --no-pictures"
    assert main([*words.split(), "--eval-episodes", "1", "--out", str(tmp_path / "run")]) == 0
    policy = {"ppo": PPO, "dqn": DQN}[learner].load(RunDirectory(tmp_path / "run").model)
    assert [int(policy.predict(np.array(state), deterministic=True)[0]) for state in range(16)] == [state % 4 for state in range(16)]


def test_demonstrations_of_another_version_are_refused_unless_one_insists(demos, tmp_path, capsys):
    recorded = Demonstrations.load(demos)
    Demonstrations.from_episodes(recorded.episodes, "Pendulum-v0").save(tmp_path / "old.npz")
    words = ["imitate", "--demos", str(tmp_path / "old.npz"), "--env", "Pendulum-v1", "--steps", "0", "--clone", "1", "--no-pictures"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "old.npz was recorded on Pendulum-v0, but the task is Pendulum-v1; give demonstrations of Pendulum-v1, or take these" in (
        capsys.readouterr().err
    )
    assert main([*words, "--any-task", "--eval-episodes", "1", "--out", str(tmp_path / "run")]) == 0


class FromOne(gymnasium.Env[np.ndarray, int]):
    """A task whose actions are 1, 2 and 3."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3, start=1)


gymnasium.register("tests/FromOne-v0", entry_point=FromOne)


class Still(FromOne):
    """It ends after two steps, without having moved."""

    def reset(self, **keywords: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**keywords)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, self.steps == 2, False, {}


def _shifted(task: type[FromOne], by: int) -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TransformAction(task(), lambda action: action + by, gymnasium.spaces.Discrete(3))


gymnasium.register("tests/Shifted-v0", entry_point=partial(_shifted, Still), kwargs={"by": np.int64(1)})


def test_a_task_that_json_has_no_words_for_is_recorded(tmp_path):
    """By the wrapper that is advised where actions count from one, registered as no function and with a keyword that is no plain number."""
    explore(config(tmp_path / "run", env="tests/Shifted-v0", reward="none", steps=64, eval_episodes=0), quiet=True)
    record(tmp_path / "run", tmp_path / "a.hdf5", episodes=3)
    recorded = Demonstrations.load(tmp_path / "a.hdf5")
    assert (recorded.env_id, recorded.env_kwargs, recorded.n_steps) == ("tests/Shifted-v0", {}, 6)
    assert recorded.metadata["env_spec"]["entry_point"] is None


def test_a_task_whose_actions_count_from_one_is_refused_before_it_runs(tmp_path):
    with pytest.raises(RunError, match="PPO executes actions that count from 0, but the environment takes Discrete"):
        explore(config(tmp_path / "run", env="tests/FromOne-v0", reward="none"), quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_steps_of_ppo_fall_linearly_to_zero(demos, tmp_path):
    imitate(imitation(demos, tmp_path / "run", steps=1024, clone=0), quiet=True)
    rates = [float(row["train/learning_rate"]) for row in read_csv(tmp_path / "run" / "progress.csv") if row["train/learning_rate"]]
    rollouts = 8  # of 2 environments and 64 steps; the row of the last is written before it is learnt from
    assert rates == pytest.approx([6e-4 * (1 - (k + 1) / rollouts) for k in range(rollouts - 1)])


def test_the_picture_of_a_discriminator_shows_what_a_short_run_has_measured_once(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_json(run.config, {"env": "a/Task-v0", "learner": "sac", "reward": "gail", "seed": 0})
    run.progress.write_text("time/total_timesteps,reward/expert_accuracy,reward/agent_accuracy,reward/loss\n600,0.8,0.9,0.7\n")
    draw(run)
    assert "fill: #1f5fa8" in (tmp_path / "discriminator.svg").read_text()  # a point; a line of one point has no length


@pytest.mark.parametrize(("returned", "panels"), [("", 2), ("-3.5", 3)])
def test_the_discriminators_picture_compares_with_the_return_where_there_is_one(expert, tmp_path, monkeypatch, returned, panels):
    run = RunDirectory(tmp_path)
    run.config.write_bytes(RunDirectory(expert).config.read_bytes())
    names = "time/total_timesteps,reward/expert_accuracy,reward/agent_accuracy,reward/loss,reward/bonus_mean,rollout/ep_rew_mean"
    run.progress.write_text("\n".join([names, f"100,0.6,0.7,1.2,0.5,{returned}", f"200,0.7,0.8,1.1,0.6,{returned}", ""]))
    drawn = {}
    monkeypatch.setattr(pictures, "save_figure", lambda run, name, figure: drawn.update({name: figure}))
    draw(run)
    axes = [axes for axes in drawn["discriminator"].axes if axes.get_label() != "<colorbar>"]
    assert len(axes) == panels


def test_the_discriminators_picture_compares_held_out_demonstrations_with_those_that_are_learnt_from(expert, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    run.config.write_bytes(RunDirectory(expert).config.read_bytes())
    names = "time/total_timesteps,reward/expert_accuracy,reward/agent_accuracy,reward/loss,reward/expert_loss,reward/held_out_loss"
    run.progress.write_text("\n".join([names, "100,0.6,0.7,1.2,0.5,0.6", "200,0.7,0.8,0.9,0.3,0.8", ""]))
    drawn = {}
    monkeypatch.setattr(pictures, "save_figure", lambda run, name, figure: drawn.update({name: figure}))
    draw(run)
    lines = {str(line.get_label()): list(line.get_ydata()) for line in drawn["discriminator"].axes[0].lines}
    assert lines["demonstrations"] == [0.5, 0.3]
    assert lines["held-out ones"] == [0.6, 0.8]
    flat = [line.get_ydata()[0] for line in drawn["discriminator"].axes[0].lines if line.get_linestyle() == ":"]
    assert flat == pytest.approx([math.log(2), 2 * math.log(2)])
