import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genrl.errors import RunError
from genrl.files import load_state, write_json
from genrl.reading import read_json
from genrl.runs import RunDirectory, explore, resume
from genrl.runs.building import build
from genrl.runs.directory import read_csv
from genrl.runs.opening import load_config
from genrl.sb3.learner import load_parameters
from tests.runs.tiny import assert_equal, config

SURPRISE = "tests.runs.tiny:Surprise"
TINY = ("tests.runs.tiny",)


@pytest.mark.parametrize("learner", ["ppo", "sac", "td3", "dqn"])
def test_a_restored_session_is_in_the_saved_state(tmp_path, learner):
    env, kwargs = ("CartPole-v1", {}) if learner == "dqn" else ("Pendulum-v1", {"reward": SURPRISE, "normalize_obs": True})
    cell = config(tmp_path / "run", learner, env=env, steps=130, **kwargs)
    if learner in ("td3", "dqn"):
        cell = replace(cell, learner_kwargs={"learning_starts": 32, "buffer_size": 100, "batch_size": 16})
    explore(cell, quiet=True)
    run = RunDirectory(cell.directory)
    saved = load_state(run.checkpoint)
    session = build(load_config(run, TINY))
    session.load_state_dict(saved)
    again = session.state_dict()
    for state in (saved, again):  # where the interrupted episode was cut
        if state["learner"]["replay"]:
            state["learner"]["replay"]["arrays"].pop("timeouts")
    saved.pop("recorder")
    assert_equal(saved, again)
    assert session.learner.num_timesteps == saved["learner"]["counters"]["num_timesteps"] >= 130


def test_resume_goes_on_to_the_target_with_the_schedule_where_it_was(tmp_path):
    cell = config(tmp_path / "run", reward=SURPRISE)
    explore(replace(cell, steps=128), quiet=True)
    result = resume(cell.directory, steps=256, imports=TINY, quiet=True)
    run = RunDirectory(cell.directory)
    assert (result["status"], result["steps"]) == ("finished", 256)
    assert load_state(run.checkpoint)["learner"]["counters"]["_current_progress_remaining"] == 0
    assert [int(row["time/total_timesteps"]) for row in read_csv(run.progress)] == [64, 128, 192, 256]
    assert load_config(run, TINY).steps == 256


def test_a_resumed_run_that_begins_new_episodes_does_not_repeat_the_first_ones(tmp_path):
    cell = config(tmp_path / "run", steps=64)
    first = build(cell).env.reset()
    explore(cell, quiet=True)
    session = build(cell)
    assert not session.load_state_dict(load_state(RunDirectory(cell.directory).checkpoint) | {"episodes": None})
    assert not np.array_equal(session.env.reset(), first)


def test_a_resumed_run_that_begins_new_episodes_remembers_none_of_those_that_ran(tmp_path):
    """A new episode may begin where one of them stood, as in a maze of cells."""
    cell = config(tmp_path / "run", steps=64, reward="e3b", n_envs=2)
    explore(cell, quiet=True)
    state = load_state(RunDirectory(cell.directory).checkpoint)
    for episodes, kept in ((state["episodes"], 2), (None, 0)):
        session = build(cell)
        assert session.load_state_dict(state | {"episodes": episodes}) is bool(kept)
        (callback,) = session.callbacks
        assert len(callback.reward._running) == kept


def test_n_step_returns_do_not_cross_the_cut_before_new_episodes(tmp_path):
    cell = config(tmp_path / "run", "sac", steps=40)
    explore(replace(cell, learner_kwargs={**cell.learner_kwargs, "n_steps": 3}), quiet=True)
    run = RunDirectory(cell.directory)
    session = build(load_config(run, TINY))
    assert not session.load_state_dict(load_state(run.checkpoint) | {"episodes": None})
    buffer = session.learner.replay_buffer
    assert buffer.timeouts[buffer.pos - 1].all()
    assert not buffer.dones[buffer.pos - 1].any()


def test_the_zip_of_a_saved_model_is_never_unpickled(tmp_path, monkeypatch):
    cell = config(tmp_path / "run", steps=64)
    explore(cell, quiet=True)

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    monkeypatch.setattr("stable_baselines3.common.save_util.json_to_data", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    resume(cell.directory, steps=128, quiet=True)
    session = build(load_config(RunDirectory(cell.directory)))
    load_parameters(session.learner, RunDirectory(cell.directory).model)


def test_resume_refuses_what_is_done_and_what_is_broken(tmp_path):
    cell = config(tmp_path / "run", steps=64)
    explore(cell, quiet=True)
    with pytest.raises(RunError, match=r"has all its 64 steps; go further with `genrl resume .* --steps 128`"):
        resume(cell.directory)
    checkpoint = RunDirectory(cell.directory).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(RunError, match="is not a whole safetensors file"):
        resume(cell.directory, steps=128)
    checkpoint.unlink()
    with pytest.raises(RunError, match="was stopped before its first checkpoint"):
        resume(cell.directory, steps=128)


COMMAND = [
    sys.executable, "-c", "import sys; from genrl.cli import main; sys.exit(main())", "explore", "--env", "CartPole-v1", "--learner", "ppo",
    "--reward", SURPRISE, "--steps", "1_000_000", "--learner.n-steps", "64", "--learner.batch-size", "32", "--learner.n-epochs", "1",
    "--checkpoint-every", "0", "--no-pictures", "--eval-episodes", "0",
]  # fmt: skip


def start(out):
    """A long run in a process of its own, once it has saved a few checkpoints."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen([*COMMAND, "--out", str(out)], stderr=subprocess.PIPE, text=True, env=environment)
    progress = RunDirectory(out).progress
    for _ in range(600):
        if progress.is_file() and len(read_csv(progress)) > 4:
            return process
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise AssertionError("the run did not start")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_says_how_to_go_on(tmp_path, number):
    process = start(tmp_path / "run")
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one
    _, err = process.communicate(timeout=60)
    run = RunDirectory(tmp_path / "run")
    result = read_json(run.result)
    assert process.returncode == 130, err
    assert (
        err.strip().splitlines()[-1]
        == f"interrupted at step {result['steps']:,}; go on with: genrl resume {tmp_path / 'run'} --imports tests.runs.tiny"
    )
    assert result["status"] == "interrupted"
    assert load_state(run.checkpoint)["learner"]["counters"]["num_timesteps"] == result["steps"]


def test_a_killed_run_goes_on_without_double_rows(tmp_path):
    process = start(tmp_path / "run")
    process.kill()
    process.communicate()
    run = RunDirectory(tmp_path / "run")
    with run.episodes.open("a") as file:
        file.write("999999,0,1")  # a line that the kill cut in half
    done = load_state(run.checkpoint)["learner"]["counters"]["num_timesteps"]
    result = resume(run.path, steps=done + 128, imports=TINY, quiet=True)
    assert result["status"] == "finished"
    steps = [int(row["step"]) for row in run.read_episodes()]
    assert steps == sorted(set(steps))
    logged = [int(row["time/total_timesteps"]) for row in read_csv(run.progress)]
    assert logged == list(range(64, done + 129, 64))


def test_a_file_does_not_decide_what_is_imported(tmp_path, monkeypatch):
    cell = config(tmp_path / "run", steps=64)
    explore(cell, quiet=True)
    run = RunDirectory(cell.directory)
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    write_json(run.config, read_json(run.config) | {"reward": "evil:Reward"})
    with pytest.raises(RunError, match="would import evil; if you trust it, add --imports evil"):
        resume(cell.directory, steps=128)
