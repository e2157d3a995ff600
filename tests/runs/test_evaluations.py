"""Evaluations while a run trains, and the model of the best one."""

import csv
from statistics import fmean

import numpy as np
import pytest
import torch

import genrl
from genrl.cli import main
from genrl.data import Demonstrations
from genrl.errors import RunError
from genrl.files import write_json
from genrl.reading import read_json
from genrl.rewards import PWIL, Transitions
from genrl.runs import ImitateConfig, explore, imitate, record, resume
from genrl.runs.callbacks.evaluations import SEED
from genrl.runs.directory import RunDirectory
from genrl.runs.opening import with_model
from tests.runs.same_directory import assert_same_directory
from tests.runs.tiny import SMALL, config

STEPS = {"ppo": 256, "sac": 220, "RecurrentPPO": 256}


def begin(out, learner, **changes):
    kwargs = {"env_kwargs": {"max_episode_steps": 20}, "normalize_obs": True, "steps": STEPS[learner], "reward": "rnd", "eval_episodes": 2}
    if learner == "RecurrentPPO":
        kwargs["learner_kwargs"] = SMALL["ppo"]
    cell = config(out, learner, **kwargs | changes)
    explore(cell, quiet=True)
    return RunDirectory(out)


def rows(run):
    return [(int(row["step"]), float(row["return"]), row["best"]) for row in csv.DictReader(run.evaluations.open())]


@pytest.fixture(scope="module", params=["ppo", "sac"])
def run(request, tmp_path_factory):
    return begin(tmp_path_factory.mktemp("best") / "run", request.param, eval_every=60)


def test_it_is_evaluated_each_time_that_the_steps_have_passed_a_multiple(run):
    steps = [step for step, _, _ in rows(run)]
    if read_json(run.config)["learner"] == "ppo":
        assert steps == [64, 128, 192, 256]  # the first rollout's end behind 60, 120 and 180, and the end
    else:
        assert steps == [60, 120, 180, 220]


def test_the_best_is_the_first_of_the_highest(run):
    found, highest = rows(run), -np.inf
    for _, value, best in found:
        assert best == ("1" if value > highest else "0")
        highest = max(highest, value)
    step, value, _ = max(found, key=lambda row: row[1])
    assert read_json(run.result)["best"] == {"step": step, "return": value}


def test_the_kept_model_gives_the_return_that_it_was_chosen_for(run):
    best = genrl.load(run.path, best=True)
    assert np.mean(best.evaluate(2, seed=SEED)) == pytest.approx(read_json(run.result)["best"]["return"], abs=1e-12)


def test_the_kept_model_is_judged_at_the_end_by_other_episodes_than_it_was_chosen_by(run):
    result = read_json(run.result)
    assert result["best_returns"] == genrl.load(run.path, best=True).evaluate(2)
    assert result["best_return"] == fmean(result["best_returns"]) != result["best"]["return"]


@pytest.mark.parametrize("learner", list(STEPS))
def test_it_changes_nothing_of_the_training(tmp_path, learner):
    with_it, without = (begin(tmp_path / str(every), learner, eval_every=every) for every in (50, None))
    for name in ("evaluations.csv", "best.zip", "best_vecnormalize.safetensors"):
        (with_it.path / name).unlink()
    content = with_it.progress.read_text().splitlines()
    header, *values = (line.split(",") for line in content)
    place = header.index("eval/mean_reward")
    with_it.progress.write_text("\n".join(",".join(row[:place] + row[place + 1 :]) for row in (header, *values)) + "\n")
    for run in (with_it, without):
        for path, names in ((run.result, ["best", "best_return", "best_returns"]), (run.config, ["eval_every"])):
            write_json(path, {key: value for key, value in read_json(path).items() if key not in names})
        (run.path / "checkpoint.safetensors").unlink()  # which also has the evaluations; the model is compared
    assert_same_directory(with_it.path, without.path)


@pytest.mark.parametrize("learner", ["ppo", "sac"])
def test_a_resumed_run_has_the_evaluations_and_the_best_model_of_one_that_never_stopped(tmp_path, learner, monkeypatch):
    whole = begin(tmp_path / "whole", learner, eval_every=60)
    from genrl.runs.callbacks.checkpoints import Checkpointer

    stop_at, begun = {"ppo": 128, "sac": 130}[learner], Checkpointer._on_rollout_start

    def stopping(self):
        self._interrupt.requested = self._interrupt.requested or self.num_timesteps >= stop_at
        begun(self)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "_on_rollout_start", stopping)
        stopped = begin(tmp_path / "stopped", learner, eval_every=60)
    assert read_json(stopped.result)["status"] == "interrupted"
    resume(stopped.path, quiet=True)
    assert_same_directory(stopped.path, whole.path)


def test_a_run_that_takes_another_course_after_a_kill_says_which_model_it_has_kept(tmp_path, monkeypatch):
    from genrl.runs.callbacks.checkpoints import Checkpointer

    begun = Checkpointer._on_rollout_start

    def stopping(self):
        self._interrupt.requested = self._interrupt.requested or self.num_timesteps >= 64
        begun(self)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "_on_rollout_start", stopping)
        run = begin(tmp_path / "run", "ppo", steps=192, eval_every=60, normalize_obs=False)
    with run.evaluations.open("a") as file:
        file.write("128,1000.0,,1\n")  # it had gone on, without another checkpoint
    run.best.write_bytes(b"of step 128")
    monkeypatch.setattr("genrl.runs.result._of_others", lambda session, run, interrupt: iter(()))
    result = resume(run.path, quiet=True)
    assert run.best.read_bytes() == b"of step 128"
    assert [(step, best) for step, _, best in rows(run)] == [(64, "1"), (128, "1"), (128, "0"), (192, "0")]
    assert result["best"] == {"step": 128, "return": 1000.0}


def test_watch_export_and_record_take_it(run, tmp_path, capsys):
    assert main(["export", str(run.path), "--best", "--sb3", str(tmp_path / "sb3")]) == 0
    assert (tmp_path / "sb3/model.zip").read_bytes() == run.best.read_bytes()
    made = [record(run.path, tmp_path / f"{best}.npz", episodes=1, best=best) for best in (True, False)]
    policies = [genrl.load(run.path, best=best) for best in (True, False)]
    for demos, policy in zip(made, policies, strict=True):
        assert demos.returns[0] == pytest.approx(policy.evaluate(1, seed=1000)[0], rel=1e-5)
    steps = [read_json(run.result)["best"]["step"], read_json(run.result)["steps"]]
    counts = [policy.normalize.obs_rms.count for policy in policies]
    assert counts == pytest.approx([step + 1 for step in steps], abs=1e-3)  # and the first reset


def test_the_end_of_a_run_tells_what_it_is_worth_and_how_to_take_it(run, capsys):
    from genrl.cli._ending import report

    result = read_json(run.result)
    report(result, run.path)
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f"watch it: genrl watch {run.path}", f"watch the best model: genrl watch {run.path} --best"]
    low, high = (f"{value:.4g}" for value in (min(result["best_returns"]), max(result["best_returns"])))
    row = next(" ".join(line.split()) for line in said if line.startswith("the best model"))
    assert row == f"the best model {result['best_return']:.4g} (2 deterministic episodes, {low} to {high})"


def test_a_run_without_it_says_what_keeps_it(tmp_path):
    begin(tmp_path / "run", "ppo", steps=64)
    with pytest.raises(RunError, match=r"has no best.zip; a run that is started with --eval-every STEPS keeps its best model"):
        genrl.load(tmp_path / "run", best=True)
    with pytest.raises(RunError, match="--eval-every was given, but --eval-episodes is 0"):
        config(tmp_path, eval_every=100, eval_episodes=0)


def test_a_run_that_has_not_come_so_far_says_when_it_will(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(RunError, match=r"has no best.zip yet, which begins at step 100; let it train, or go on with `genrl resume .*run`"):
        with_model(run, config(run.path, eval_every=100), best=True)
    averaged = ImitateConfig(demos=tmp_path / "x.npz", steps=1000, average=0.25, out=run.path)
    with pytest.raises(RunError, match=r"has no average.safetensors yet, which begins at step 750"):
        with_model(run, averaged, average=True)


class TestOfAnImitation:
    """It is chosen by how near its episodes are to the demonstrations, and not by a return that an imitator can't see."""

    def begin(self, tmp_path, **changes):
        demos = tmp_path / "demos.hdf5"
        begin(tmp_path / "expert", "ppo")
        record(tmp_path / "expert", demos, episodes=3)
        small = {"learner": "ppo", "steps": 256, "n_envs": 1, "clone": 0, "eval_episodes": 2, "pictures": False, "eval_every": 60}
        small |= {"learner_kwargs": SMALL["ppo"] | {"net_arch": (8,)}, "reward_kwargs": {"updates": 2, "batch_size": 16}}
        cell = ImitateConfig(**small | {"demos": demos, "out": tmp_path / "run"} | changes)
        return imitate(cell, quiet=True), RunDirectory(cell.directory)

    def test_the_best_is_the_first_of_the_least_cost_whatever_its_return(self, tmp_path, monkeypatch):
        told = iter([([5.0], [2.0]), ([9.0], [3.0]), ([1.0], [1.0]), ([8.0], [1.0])])
        monkeypatch.setattr("genrl.runs.callbacks.evaluations.returns_and_costs", lambda session, episodes, seed: next(told))
        result, run = self.begin(tmp_path)
        assert [(row["cost"], row["best"]) for row in csv.DictReader(run.evaluations.open())] == [
            ("2.0", "1"), ("3.0", "0"), ("1.0", "1"), ("1.0", "0"),
        ]  # fmt: skip
        assert (result["best"]["return"], result["best"]["cost"]) == (1.0, 1.0)
        assert result["best_returns"] == genrl.load(run.path, best=True).evaluate(2)

    def test_the_cost_is_that_of_the_kept_models_own_episodes(self, tmp_path):
        result, run = self.begin(tmp_path)
        best = genrl.load(run.path, best=True)
        env, demos = best.make_env(), Demonstrations.load(tmp_path / "demos.hdf5")
        judge, costs = PWIL(demos, env.observation_space, env.action_space), []
        for seed in (SEED, SEED + 1):
            obs, _ = env.reset(seed=seed)
            seen, done = [], False
            while not done:
                action = best.predict(obs)[0]
                new, _, terminated, truncated, _ = env.step(action)
                fields = (torch.as_tensor(np.array([value]), dtype=torch.float32) for value in (obs, action, new))
                seen.append(Transitions(*fields, torch.zeros(1, dtype=torch.bool)))
                obs, done = new, terminated or truncated
            costs.append(judge.cost(Transitions.concatenate(seen)))
        assert np.mean(costs) == pytest.approx(result["best"]["cost"], rel=1e-4)
