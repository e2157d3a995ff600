"""What a run keeps when it is stopped, killed or disturbed at any moment."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import genrl.files as files
from genrl.cli._words import in_one_sentence
from genrl.errors import RunError
from genrl.files import load_state, save_state, sweep, write_whole
from genrl.reading import read_json
from genrl.runs import DreamConfig, RunConfig, RunDirectory, dream, explore, resume, train
from genrl.runs import training as training_module
from genrl.runs.callbacks import recorder
from genrl.runs.directory import LOCK
from genrl.runs.dreams.comparison import compare
from genrl.sb3 import log
from tests.runs.same_directory import assert_same_directory
from tests.runs.test_dreams import PPO as PPO_DREAM
from tests.runs.test_dreams import SMALL as SMALL_DREAM
from tests.runs.test_impatience import imitation
from tests.runs.test_vision import TASK as PIXELS
from tests.runs.test_vision import saved
from tests.runs.tiny import config

TINY = ("tests.runs.tiny", "tests.runs.test_nothing_is_lost")


class Hangs(gymnasium.Env[np.ndarray, np.ndarray]):
    """Sleeps for an hour at step ``at``; ``file`` says when and in which process."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, at: int = 100, file: str = os.devnull) -> None:
        self.at, self.file, self.steps = at, Path(file), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == self.at:
            self.file.write_text(str(os.getpid()))
            time.sleep(3600)
        return np.full(2, 0.5, np.float32), 1.0, False, self.steps % 20 == 0, {}


gymnasium.register("tests/Hangs-v0", entry_point=Hangs)


def begun(out: Path, *words: str, env: str = "Pendulum-v1") -> subprocess.Popen[str]:
    """A long run in a process of its own."""
    command = [
        sys.executable,
        "-c",
        "import sys; from genrl.cli import main; sys.exit(main())",
        "explore",
        "--env",
        env,
        "--learner",
        "ppo",
    ]
    command += [
        "--reward",
        "none",
        "--steps",
        "1_000_000",
        "--learner.n-steps",
        "64",
        "--learner.batch-size",
        "32",
        "--learner.n-epochs",
        "1",
    ]
    command += ["--checkpoint-every", "0", "--no-pictures", "--eval-episodes", "0", "--out", str(out), *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(process: subprocess.Popen[str], path: Path) -> None:
    for _ in range(1200):
        if path.is_file() and path.stat().st_size:
            return
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


# --- one writer ---


def test_a_run_directory_has_one_writer_also_where_it_was_stopped_by_ctrl_z(tmp_path: Path) -> None:
    process = begun(tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    try:
        wait_for(process, run.progress)
        os.kill(process.pid, signal.SIGSTOP)
        before = {path.name: path.read_bytes() for path in run.path.iterdir()}
        with pytest.raises(RunError, match=rf"another process writes to {run.path}; wait for its end or end it"):
            resume(run.path)
        with pytest.raises(RunError, match="already holds a run"):
            explore(config(run.path), quiet=True)
        assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
    finally:
        process.kill()
        process.communicate()
    done = load_state(run.checkpoint)["learner"]["counters"]["num_timesteps"]
    assert resume(run.path, steps=done + 64, quiet=True)["status"] == "finished"  # a lock dies with its process


def test_of_two_runs_that_begin_in_one_directory_one_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.writing(), pytest.raises(RunError, match="another process writes to"):
        explore(config(run.path, steps=64), quiet=True)
    assert not run.path.exists()
    assert explore(config(run.path, steps=64), quiet=True)["status"] == "finished"


# --- loading comes first ---


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    cell = config(tmp_path / "run", steps=128)
    explore(cell, quiet=True)
    explore(config(tmp_path / "other", steps=128, learner_kwargs={"n_steps": 64, "net_arch": (16,)}), quiet=True)
    run = RunDirectory(cell.directory)
    run.checkpoint.write_bytes(RunDirectory(tmp_path / "other").checkpoint.read_bytes())
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunError, match=r"can't go on from its checkpoint.safetensors: RuntimeError: .*size mismatch"):
        resume(run.path, steps=256)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


@pytest.mark.parametrize("content", [{"learner": {}}, {"fit": {"rows": []}}, {"learner": 3}])
def test_the_checkpoint_of_something_else_is_one_sentence(content: dict[str, Any], tmp_path: Path) -> None:
    cell = config(tmp_path / "run", steps=64)
    explore(cell, quiet=True)
    save_state(RunDirectory(cell.directory).checkpoint, content)
    with pytest.raises(RunError, match=r"is no checkpoint of a learner .*; restore it from a copy"):
        resume(cell.directory, steps=128)


def test_a_checkpoint_of_another_user_is_not_a_lost_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "run", steps=64)
    explore(cell, quiet=True)
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "checkpoint.safetensors":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match=r"checkpoint.safetensors can't be opened \(Permission denied\); see whose file it is"):
        resume(cell.directory, steps=128)


# --- the first checkpoint, and the one before the last ---


def test_the_first_checkpoint_is_there_before_the_first_step(tmp_path: Path) -> None:
    cell = config(tmp_path / "run", env="tests/Breaks-v0", env_kwargs={"what": "error", "at": 1}, checkpoint_every=60.0)
    assert explore(cell, quiet=True)["status"] == "failed"
    assert load_state(RunDirectory(cell.directory).checkpoint)["learner"]["counters"]["num_timesteps"] == 0


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "whole", steps=128)
    explore(cell, quiet=True)
    killed = replace(cell, out=tmp_path / "killed")
    for place in ("begin_imitation", "_about"):  # with its config.json, and before there is one
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(training_module, place, kill)
            explore(killed, quiet=True)
        if place == "_about":
            explore(killed, quiet=True)
        else:
            resume(killed.directory, quiet=True)
        assert_same_directory(cell.directory, killed.directory)
        for path in killed.directory.iterdir():
            path.unlink()


class Killed(BaseException):
    """As if the process had ended here."""


def kill(*arguments: Any, **keywords: Any) -> Any:
    raise Killed


def test_a_file_that_is_read_back_as_something_else_does_not_take_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    write_whole(path, b"before")
    synced = os.fsync

    def corrupt(number: int) -> None:
        os.pwrite(number, b"X", 0)
        synced(number)

    monkeypatch.setattr(files.os, "fsync", corrupt)
    with pytest.raises(OSError, match="was read back as something else"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


# --- rows ---


def test_rows_go_as_far_as_the_checkpoint_and_lost_ones_are_told_of(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    cell = config(tmp_path / "whole", env="CartPole-v1", steps=256)
    explore(cell, quiet=True)
    part = replace(cell, out=tmp_path / "part")
    explore(replace(part, steps=128), quiet=True)
    run = RunDirectory(part.directory)
    whole = run.episodes.read_bytes()
    run.episodes.write_bytes(whole + b"130,0,9.0,9,1.0\n131,0,\0\0\0")  # rows after the checkpoint, and one that a kill cut
    resume(run.path, steps=256, quiet=True)
    assert not [str(warning.message) for warning in recwarn if "lost" in str(warning.message)]
    assert [row["step"] for row in run.read_episodes()] == [row["step"] for row in RunDirectory(cell.directory).read_episodes()]


@pytest.mark.parametrize("tear", [lambda text: text[: len(text) // 2], lambda text: text[: len(text) // 2] + b"\0" * 64 + b"\n"])
def test_a_torn_or_shorter_file_is_noticed(tear: Any, tmp_path: Path) -> None:
    cell = config(tmp_path / "run", env="CartPole-v1", steps=128)
    explore(cell, quiet=True)
    run = RunDirectory(cell.directory)
    for path in (run.episodes, run.progress):
        path.write_bytes(tear(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"(episodes|progress).csv is torn or was cut: [\d,]+ of its [\d,]+ rows are lost") as told:
        assert resume(cell.directory, steps=256, quiet=True)["status"] == "finished"
    assert len([warning for warning in told if "lost" in str(warning.message)]) == 2
    assert all(row["seconds"] for row in run.read_episodes())


def test_rows_are_on_the_disk_before_the_checkpoint_that_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def remember(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink().name)
        fsync(number)

    monkeypatch.setattr(os, "fsync", remember)
    explore(config(tmp_path / "run", steps=64), quiet=True)
    checkpoints = [i for i, name in enumerate(synced) if name.startswith(".checkpoint")]
    assert synced[checkpoints[0] - 1] == "episodes.csv"  # of the first one: there is no other row yet
    assert all(synced[i - 2 : i] == ["episodes.csv", "progress.csv"] for i in checkpoints[1:])


# --- faults inside a write ---

PLACES = ["before the fsync", "half written", "after the rename"]


def fail_at(patch: pytest.MonkeyPatch, place: str, number: int) -> list[int]:
    """The process is killed inside its write with this number: no handler runs, so the temporary file stays."""
    count, fsync, rename, unlink = [0], os.fsync, Path.replace, Path.unlink

    def at_fsync(handle: int) -> None:
        if not Path(f"/proc/self/fd/{handle}").readlink().name.startswith("."):
            return fsync(handle)
        count[0] += 1
        if count[0] == number and place != PLACES[2]:
            if place == PLACES[1]:
                os.truncate(handle, os.fstat(handle).st_size // 2)
            raise Killed
        return fsync(handle)

    def at_rename(path: Path, target: Any) -> Path:
        moved = rename(path, target)
        if count[0] == number and place == PLACES[2]:
            raise Killed
        return moved

    patch.setattr(files.os, "fsync", at_fsync)
    patch.setattr(Path, "replace", at_rename)

    def unlink_what_is_whole(path: Path, missing_ok: bool = False) -> None:
        if path.name != LOCK and not files.LEFT_OVER.fullmatch(path.name):
            unlink(path, missing_ok)

    patch.setattr(Path, "unlink", unlink_what_is_whole)
    return count


def cell_of(case: str, folder: Path) -> RunConfig:
    """A small run of each kind, which saves after each rollout or step."""
    out = folder / "whole"
    if case == "dream":
        return DreamConfig(env="Pendulum-v1", out=out, steps=200, checkpoint_every=0.0, **SMALL_DREAM | PPO_DREAM)
    if case == "imitation":
        return imitation(out)
    if case == "encoder":
        return replace(config(out, env=PIXELS, encoder=saved(folder / "eyes"), steps=128), checkpoint_every=0.0)
    cell = config(out, case, steps=128, reward="rnd", normalize_obs=True, pictures=False, checkpoint_every=0.0)
    return replace(cell, steps=40, update_every=16) if case == "sac" else cell


def begin(cell: RunConfig) -> None:
    dream(cell, quiet=True) if isinstance(cell, DreamConfig) else train(cell, quiet=True)


def go_on(cell: RunConfig) -> None:
    result = resume(cell.directory, quiet=True)
    if isinstance(cell, DreamConfig):
        compare(cell.directory, result)


SLOW = {"sac", "imitation", "encoder", "dream"}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(SLOW))])
def test_a_kill_inside_any_write_of_a_run_leaves_nothing_behind(
    case: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrl.runs.dreams.comparison.JUDGED_EPISODES", 1)
    cell = cell_of(case, tmp_path)
    with monkeypatch.context() as patch:
        writes = fail_at(patch, place, -1)
        begin(cell)
    (cell.directory / LOCK).unlink()
    for number in kill_points(writes[0]):
        killed = replace(cell, out=tmp_path / f"killed{number}")
        with monkeypatch.context() as patch, suppress(Killed):  # not `raises`, which would check annotations from then on
            fail_at(patch, place, number)
            begin(killed)
            pytest.fail("it was not killed")
        run = RunDirectory(killed.directory)
        try:
            go_on(killed)
        except RunError as error:
            if "has all its" not in str(error):  # the last write was whole
                assert "holds no run" in str(error)
                begin(killed)
        assert_same_directory(cell.directory, killed.directory)
        assert not [path for path in run.path.iterdir() if files.LEFT_OVER.fullmatch(path.name)]


def kill_points(writes: int) -> list[int]:
    """The first writes, those in the middle that belong together, and the last ones."""
    return sorted({1, 2, 3, 4, 5, writes // 2, writes // 2 + 1, writes // 2 + 2, writes - 1, writes} & set(range(1, writes + 1)))


class FullDisk:
    """Each write fails from the one with this number on, until the disk is ``freed``; of a row that is appended a half is written."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int) -> None:
        self.count, self.number = 0, number
        patch.setattr(files.os, "fsync", self._fsync)
        for module in (recorder, log):
            patch.setattr(module, "open_appending", self._open)

    def _check(self, half: Any = lambda: None) -> None:
        self.count += 1
        if 0 < self.number <= self.count:
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _fsync(self, handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name.startswith("."):
            self._check()

    @contextmanager
    def _open(self, path: Path) -> Iterator[Any]:
        with path.open("ab") as file:
            write = file.write

            def full(content: bytes) -> int:
                self._check(lambda: (write(content[: len(content) // 2]), file.flush()))
                return write(content)

            yield SimpleNamespace(write=full)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("case", ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(SLOW))])
def test_a_disk_that_is_full_at_any_of_twenty_moments_is_one_sentence_and_costs_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrl.runs.dreams.comparison.JUDGED_EPISODES", 1)
    cell = cell_of(case, tmp_path)
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, 0)
        begin(cell)
    moments = sorted({round(1 + k * (disk.count - 1) / 19) for k in range(20)})
    assert len(moments) == 20 or len(moments) == disk.count
    for number in moments:
        stopped = replace(cell, out=tmp_path / f"stopped{number}")
        with monkeypatch.context() as patch:
            FullDisk(patch, number)
            try:
                begin(stopped)
                pytest.fail("a disk that is full to the end was not noticed")
            except OSError as error:
                code, said = in_one_sentence(error)
        assert (code, "\n" in said) == (1, False)
        assert "No space left on device" in said
        try:
            go_on(stopped)
        except RunError as error:
            assert "holds no run" in str(error)
            begin(stopped)
        assert_same_directory(cell.directory, stopped.directory)
        assert not [path for path in stopped.directory.iterdir() if files.LEFT_OVER.fullmatch(path.name)]


def test_a_run_that_could_not_write_its_configuration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of("encoder", tmp_path)
    FullDisk(monkeypatch, 2)  # after its encoder
    with pytest.raises(OSError, match="No space left on device"):
        begin(cell)
    assert not cell.directory.exists()


def test_what_is_refused_after_the_training_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RunError("the evaluation is refused")

    monkeypatch.setattr(training_module, "finish_result", refuse)
    with pytest.raises(RunError, match="refused"):
        explore(config(tmp_path / "run"), quiet=True)
    assert load_state(tmp_path / "run" / "checkpoint.safetensors")["learner"]["counters"]["num_timesteps"] > 0
    assert (tmp_path / "run" / "config.json").is_file()


def test_what_others_have_put_beside_the_lock_of_a_killed_run_stays(tmp_path: Path) -> None:
    for name in (LOCK, "episodes.csv", "my_notes.csv", "my_weights.safetensors"):
        (tmp_path / name).write_text("")
    RunDirectory(tmp_path).discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((LOCK, "my_notes.csv", "my_weights.safetensors"))


def test_only_left_over_files_are_swept(tmp_path: Path) -> None:
    kept = [".hidden", "checkpoint.safetensors", ".checkpoint.safetensors.bak", LOCK]
    for name in [*kept, ".checkpoint.safetensors.a1b2c3d4", ".result.json._x3k9abc"]:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


# --- impatience ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [(), ("--subproc", "--n-envs", "2")], ids=["here", "own processes"])
def test_a_second_signal_ends_a_hung_run_at_once(words: tuple[str, ...], number: signal.Signals, tmp_path: Path) -> None:
    task = "tests.runs.test_nothing_is_lost:tests/Hangs-v0"
    process = begun(tmp_path / "run", "--env.at", "100", "--env.file", str(tmp_path / "hangs"), *words, env=task)
    wait_for(process, tmp_path / "hangs")
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(number)
    start = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - start < 20
    run = RunDirectory(tmp_path / "run")
    steps = load_state(run.checkpoint)["learner"]["counters"]["num_timesteps"]
    assert read_json(run.result)["steps"] == steps == 64 * (2 if words else 1)
    assert f"interrupted at step {steps}; go on with: genrl resume" in err
    assert all(int(row["step"]) <= steps for row in run.read_episodes())
    worker = int((tmp_path / "hangs").read_text())
    assert not Path(f"/proc/{worker}").exists() or worker == process.pid


class Impatient(training_module.Interrupt):
    """As if a second Ctrl-C had come."""

    def __init__(self) -> None:
        super().__init__()
        self.impatient = True


def interrupted(*arguments: Any, **keywords: Any) -> Any:
    raise KeyboardInterrupt


def test_a_second_ctrl_c_in_the_evaluation_keeps_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "run", steps=64)
    with monkeypatch.context() as patch:
        patch.setattr("genrl.runs.result.evaluate", interrupted)
        result = explore(cell, quiet=True)
    assert (result["status"], result["evaluation_error"]) == ("finished", "the evaluation was interrupted")
    assert resume(cell.directory, quiet=True)["evaluation_error"] is None


def test_a_second_ctrl_c_in_cloning_leaves_a_run_that_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = config(tmp_path / "run", steps=64)
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "Interrupt", Impatient)
        patch.setattr(training_module, "begin_imitation", interrupted)
        result = explore(cell, quiet=True)
    assert (result["status"], result["steps"]) == ("interrupted", 0)
    assert resume(cell.directory, quiet=True)["status"] == "finished"


def test_no_worker_stays_that_does_not_listen(tmp_path: Path) -> None:
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from genrl.runs.environments.make import MakeEnv
    from genrl.sb3.learner import close

    env = SubprocVecEnv([MakeEnv("tests.runs.test_nothing_is_lost:tests/Hangs-v0", {"at": 1, "file": str(tmp_path / "hangs")}, True)])
    env.reset()
    env.step_async(np.zeros((1, 1), np.float32))
    while not (tmp_path / "hangs").is_file():
        time.sleep(0.05)
    start = time.monotonic()
    close(env, at_once=True)
    assert time.monotonic() - start < 10
    assert not multiprocessing.active_children()
