"""A step or reset that takes longer than --step-timeout ends the run, in whatever the environment hangs and wherever it is."""

from __future__ import annotations

import collections
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from genrl.cli import main
from genrl.errors import RunError, StepTimeout
from genrl.files import load_state
from genrl.runs import DreamConfig, ExploreConfig, RunDirectory, dream, explore, resume
from genrl.runs.environments import step_limit as module
from genrl.runs.environments.make import make_env
from genrl.runs.environments.step_limit import StepLimit
from tests.runs.same_directory import assert_same_directory
from tests.runs.tiny import config

HERE = "tests.runs.test_step_limit"
TASK = f"{HERE}:tests/Hangs-in-v0"
LIMIT = 2.0
"""Seconds within which a step that does not hang is over, also where many processes share a processor."""
SOON = 600
"""Seconds: far less than the hour for which a step hangs, and enough to start a run where many processes share a processor."""


class HangsIn(gymnasium.Env[np.ndarray, np.ndarray]):
    """Hangs in its step, or reset, with this number: in Python, or in C that lets nobody else compute.

    ``only`` is the seed of the one that hangs; ``once`` names a file: only the first life hangs, which leaves its process there.
    """

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, how: str = "sleep", step: int = 0, reset: int = 0, only: int = -1, once: str = "") -> None:
        self.how, self.at, self.only, self.once = how, {"step": step, "reset": reset}, only, once
        self.steps = self.resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.resets += 1
        self._hang(self.resets == self.at["reset"])
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self._hang(self.steps == self.at["step"])
        return np.full(2, 0.5, np.float32), 1.0, False, self.steps % 20 == 0, {}

    def _hang(self, now: bool) -> None:
        if not now or self.only not in (-1, self.np_random_seed) or (self.once and Path(self.once).is_file()):
            return
        if self.once:
            Path(self.once).write_text(str(os.getpid()))
        if self.how == "lock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        if self.how == "C":
            collections.deque(itertools.count(), maxlen=0)
        while self.how == "catches":
            try:
                time.sleep(3600)
            except Exception as error:
                print("caught", error)
        time.sleep(3600)


gymnasium.register("tests/Hangs-in-v0", entry_point=HangsIn)


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Gives a folder for temporary files of commands; neither there nor of this process may marks be left. (Of others there may be.)"""
    made: list[str] = []
    mkstemp = tempfile.mkstemp

    def remembered(*arguments: Any, **keywords: Any) -> Any:
        found = mkstemp(*arguments, **keywords)
        made.append(found[1])
        return found

    monkeypatch.setattr(tempfile, "mkstemp", remembered)
    with tempfile.TemporaryDirectory() as folder:  # a socket's path in it must be short, so not tmp_path
        yield Path(folder)
        assert not multiprocessing.active_children()
        assert module._in_force is None
        assert not [path for path in map(Path, made) if path.name.startswith("genrl-steps-") and path.exists()]
        assert not list(Path(folder).glob("genrl-steps-*"))


def hanging(out: Path, **changes: Any) -> ExploreConfig:
    return config(out, **{"env": TASK, "steps": 256, "step_timeout": LIMIT} | changes)


@pytest.mark.parametrize("how", ["sleep", "lock"])
@pytest.mark.parametrize(("subproc", "n_envs"), [(False, 1), (True, 2)], ids=["here", "own processes"])
def test_a_run_whose_step_hangs_ends_with_a_sentence_and_its_last_checkpoint(how: str, subproc: bool, n_envs: int, tmp_path: Path) -> None:
    cell = hanging(tmp_path / "run", env_kwargs={"how": how, "step": 100}, subproc=subproc, n_envs=n_envs)
    begun = time.monotonic()
    result = explore(cell, quiet=True)
    assert time.monotonic() - begun < SOON
    assert (result["status"], result["diverged"]) == ("failed", False)
    assert result["error"] == f"environment 0 took longer than the {LIMIT:g} s of --step-timeout for a step, at step {99 * n_envs}"
    assert load_state(RunDirectory(cell.directory).checkpoint)["learner"]["counters"]["num_timesteps"] == 64 * n_envs


def test_the_environment_that_hangs_is_named(tmp_path: Path) -> None:
    cell = hanging(tmp_path / "run", env_kwargs={"step": 100, "only": 2}, n_envs=3)
    assert explore(cell, quiet=True)["error"].startswith("environment 2 took longer")
    subproc = replace(cell, out=tmp_path / "subproc", subproc=True)
    assert explore(subproc, quiet=True)["error"].startswith("environment 2 took longer")


@pytest.mark.parametrize("subproc", [False, True], ids=["here", "own processes"])
def test_a_reset_that_hangs_ends_the_run_too(subproc: bool, tmp_path: Path) -> None:
    result = explore(hanging(tmp_path / "run", env_kwargs={"reset": 3}, subproc=subproc), quiet=True)
    assert result["error"] == f"environment 0 took longer than the {LIMIT:g} s of --step-timeout for a reset, at step 39"


def test_a_run_goes_on_when_the_cause_is_gone_as_one_that_never_hung(tmp_path: Path) -> None:
    once = tmp_path / "hung"
    cell = hanging(tmp_path / "whole", env_kwargs={"step": 100, "once": str(once)}, step_timeout=60.0)
    stopped = replace(cell, out=tmp_path / "stopped", step_timeout=LIMIT)
    assert explore(stopped, quiet=True)["status"] == "failed"
    assert resume(stopped.directory, step_timeout=60.0, imports=(HERE, str(once)), quiet=True)["status"] == "finished"
    explore(cell, quiet=True)
    assert_same_directory(cell.directory, stopped.directory)


def test_all_workers_that_hang_are_ended(tmp_path: Path) -> None:
    cell = hanging(tmp_path / "run", env_kwargs={"step": 70}, subproc=True, n_envs=3)
    assert explore(cell, quiet=True)["status"] == "failed"


@pytest.mark.parametrize(("how", "command"), [("C", "explore"), ("catches", "dream")])
def test_code_that_cannot_be_interrupted_is_ended_with_its_process(how: str, command: str, tmp_path: Path, nothing_stays: Path) -> None:
    words = [command, "--env", TASK, "--env.how", how, "--env.step", "100", "--learner", "ppo", "--learner.n-steps", "64", "--out", "run"]
    words += ["--step-timeout", f"{LIMIT}", "--checkpoint-every", "0", "--reward", "none"]
    done = run_command(words, tmp_path, nothing_stays)
    assert done.returncode == -signal.SIGKILL
    said = (
        f"environment 0 took longer than the {LIMIT:g} s of --step-timeout for a step and could not be interrupted; its process was ended"
    )
    assert f"genrl: {said}, the last checkpoint is kept\n" in done.stderr
    assert load_state(tmp_path / "run" / "checkpoint.safetensors")["learner"]["counters"]["num_timesteps"] == 64


def run_command(words: list[str], folder: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from genrl.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=variables(temporary),
        timeout=SOON,
        check=False,
    )


def variables(temporary: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary)}


def test_an_evaluation_that_hangs_keeps_the_training(tmp_path: Path) -> None:
    cell = hanging(tmp_path / "run", env_kwargs={"step": 1, "only": 10_000, "once": str(tmp_path / "hung")}, steps=128)
    result = explore(cell, quiet=True)
    assert result["status"] == "finished"
    assert result["evaluation_error"] == (
        f"the evaluation failed (StepTimeout: the environment took longer than the {LIMIT:g} s of --step-timeout for a step)"
    )
    assert resume(cell.directory, imports=(HERE, str(tmp_path / "hung")), quiet=True)["evaluation_error"] is None


def test_commands_that_only_act_take_a_limit_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env", TASK, "--env.step", "30", "--steps", "100", "--coverage", "0", "1", "--step-timeout", f"{LIMIT}"]
    assert main(["screen", *words]) == 1
    begun, *said = capsys.readouterr().err.splitlines()
    assert begun.startswith(f"{TASK}: 100 steps of each of white")
    assert said == [f"genrl: the environment took longer than the {LIMIT:g} s of --step-timeout for a step"]
    explore(hanging(tmp_path / "run", steps=64), quiet=True)
    values = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(values | {"env_kwargs": {"step": 15}}))
    words = ["record", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "demos.npz")]
    assert main([*words, "--step-timeout", f"{LIMIT}", "--imports", HERE]) == 1
    assert f"took longer than the {LIMIT:g} s of --step-timeout" in capsys.readouterr().err


def test_a_dream_run_is_limited_as_well(tmp_path: Path) -> None:
    small = {"fit_steps": 5, "world_kwargs": {"members": 2, "hidden": (8,)}, "dream_every": 64, "dreamed_steps": 64, "eval_episodes": 0}
    learner = {"n_steps": 64, "batch_size": 32, "net_arch": (8,)}
    cell = DreamConfig(
        env=TASK,
        env_kwargs={"step": 100},
        steps=256,
        step_timeout=LIMIT,
        learner_kwargs=learner,
        out=tmp_path / "run",
        pictures=False,
        **small,
    )
    assert dream(cell, quiet=True)["error"] == f"environment 0 took longer than the {LIMIT:g} s of --step-timeout for a step, at step 99"


def test_steps_within_the_limit_and_time_between_steps_are_not_touched() -> None:
    with StepLimit(LIMIT):
        env = make_env(TASK, {})
        env.reset(seed=0)
        for _ in range(5):
            env.step(env.action_space.sample())
            time.sleep(LIMIT / 2)
        time.sleep(1.5 * LIMIT)
        env.step(env.action_space.sample())
    assert "Watched" not in str(env.spec)


def test_a_run_that_is_stopped_by_ctrl_z_is_not_taken_for_one_that_hangs(nothing_stays: Path) -> None:
    code = (
        "import time; from genrl.runs.environments.step_limit import StepLimit; from genrl.runs.environments.make import make_env\n"
        f"with StepLimit({LIMIT}):\n  env = make_env({TASK!r}, {{}}); env.reset()\n  print('on', flush=True)\n"
        "  for _ in range(300):\n    env.step(env.action_space.sample()); time.sleep(0.01)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=variables(nothing_stays),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(3 * LIMIT)
    os.killpg(process.pid, signal.SIGCONT)
    _, err = process.communicate(timeout=SOON)
    assert (process.returncode, err) == (0, "")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for seconds in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(RunError, match=r"--step-timeout is .*, but must be positive and finite"):
            hanging(tmp_path, step_timeout=seconds)
    found: list[BaseException] = []

    def elsewhere() -> None:
        try:
            explore(hanging(tmp_path / "run"), quiet=True)
        except RunError as error:
            found.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "works in the main thread alone" in str(found[0])
    assert not (tmp_path / "run").exists()


def test_a_worker_that_hangs_ends_with_its_run(tmp_path: Path, nothing_stays: Path) -> None:
    words = ["explore", "--env", TASK, "--env.step", "70", "--env.once", str(tmp_path / "worker"), "--learner", "ppo", "--reward", "none"]
    words += ["--learner.n-steps", "64", "--n-envs", "2", "--subproc", "--out", "run"]
    code = "import sys; from genrl.cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=tmp_path, stderr=subprocess.DEVNULL, env=variables(nothing_stays))
    while not (tmp_path / "worker").is_file() or not (tmp_path / "worker").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    worker = Path("/proc") / (tmp_path / "worker").read_text()
    deadline = time.monotonic() + SOON
    while worker.exists() and "zombie" not in (worker / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_exception_is_one_sentence() -> None:
    with StepLimit(0.2), pytest.raises(StepTimeout, match=r"^the environment took longer than the 0.2 s of --step-timeout for a reset$"):
        make_env(TASK, {"reset": 1}).reset()
