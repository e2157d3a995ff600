"""One Ctrl-C is waited for, and what it left undone is done by the resume; a second one ends at once, and no process stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrl.errors import RunError
from genrl.files import load_state
from genrl.reading import read_json
from genrl.runs import DreamConfig, ImitateConfig, RunDirectory, dream, imitate, resume
from genrl.runs import result as result_module
from genrl.runs.dreams import comparison
from genrl.runs.dreams.comparison import compare
from genrl.runs.interrupt import Interrupt
from tests.runs.same_directory import assert_same_directory
from tests.runs.test_dreams import PPO
from tests.runs.test_dreams import SMALL as SMALL_DREAM

ROOT = Path(__file__).parents[2]
ON = ["--no-pictures", "--learner", "ppo", "--learner.net-arch", "8"]
HANGS = "tests.runs.test_step_limit:tests/Hangs-in-v0"
TWO = ["--n-envs", "2", "--subproc"]


def words_of(phase: str, marker: Path) -> list[str]:
    """A command that stays in ``phase`` for minutes."""
    if phase == "cloning":
        demos = ["--demos", str(ROOT / "demos" / "halfcheetah.hdf5")]
        return ["imitate", *demos, *ON, "--clone", "100000", "--learner.net-arch", "256", "256", "--learner.learning-rate", "1e-6", *TWO]
    if phase == "a rollout":
        steps = ["--learner.n-steps", "20000", "--steps", "200000"]
        return ["explore", "--env", "Pendulum-v1", "--reward", "none", *ON, *steps, *TWO]
    if phase == "the evaluation":
        hangs = ["--env.step", "1", "--env.only", "10000", "--env.once", str(marker)]
        return ["explore", "--env", HANGS, "--reward", "none", *ON, *hangs, "--learner.n-steps", "64", "--steps", "128", *TWO]
    model = ["--fit-steps", "100000000", "--dream-every", "64", "--world.members", "2"]
    return ["dream", "--env", "Pendulum-v1", *ON, *model, "--learner.n-steps", "64", "--checkpoint-every", "0", *TWO]


def begun(phase: str, run: RunDirectory, marker: Path) -> bool:
    """Whether a run is in the phase."""
    if phase == "cloning":
        return run.episodes.is_file()
    if phase == "a rollout":
        return run.model.is_file()
    return marker.is_file() if phase == "the evaluation" else run.progress.is_file()


def living(session: int) -> list[str]:
    """Commands of the processes of a session of processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, *numbers = (path / "stat").read_text().rpartition(")")[2].split()
            if int(numbers[2]) == session and state not in "ZX":
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.parametrize("phase", ["cloning", "a rollout", "the evaluation", "a model's fit"])
def test_a_second_signal_ends_a_run_at_once_wherever_it_is(phase: str, tmp_path: Path) -> None:
    run, marker = RunDirectory(tmp_path / "run"), tmp_path / "marker"
    number = signal.SIGINT if phase in ("cloning", "the evaluation") else signal.SIGTERM
    code = "import sys; from genrl.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, *words_of(phase, marker), "--out", str(run.path)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    while not begun(phase, run, marker):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(number)
    start = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert process.returncode == 130, err
    result = read_json(run.result)
    if phase == "the evaluation":
        assert (result["status"], result["evaluation_error"]) == ("finished", "the evaluation was interrupted")
    else:
        assert result["status"] == "interrupted"
        assert f"interrupted at step {result['steps']:,}; go on with: genrl resume {run.path}" in err
        assert run.checkpoint.is_file() == (phase != "cloning")
    if run.checkpoint.is_file():
        assert load_state(run.checkpoint)["learner"]["counters"]["num_timesteps"] == result["steps"]
    deadline = time.monotonic() + 10
    while left := living(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


# --- what one Ctrl-C leaves undone ---


def imitation(out: Path, **changes: Any) -> ImitateConfig:
    values: dict[str, Any] = {
        "demos": ROOT / "demos" / "invertedpendulum.hdf5", "episodes": 2, "out": out, "learner": "ppo", "steps": 128, "n_envs": 2,
        "clone": 3, "critic_warmup": 0, "eval_episodes": 2, "pictures": False, "checkpoint_every": 0.0,
        "learner_kwargs": {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "net_arch": (8,)},
        "reward_kwargs": {"updates": 2, "batch_size": 16},
    }  # fmt: skip
    return ImitateConfig(**values | changes)


def in_the_first_evaluation(patch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C comes when a policy is evaluated."""
    evaluate = result_module.evaluate

    def interrupted(session: Any, interrupt: Interrupt) -> list[float]:
        interrupt.requested = True
        return evaluate(session, interrupt)

    patch.setattr(result_module, "evaluate", interrupted)


@pytest.mark.parametrize("learner", ["ppo", "sac"])
@pytest.mark.parametrize("steps", [0, 128])
def test_a_cloned_policy_whose_evaluation_was_interrupted_is_evaluated_by_the_resume(
    learner: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"steps": steps}
    if learner == "sac":
        changes |= {"learner": "sac", "learner_kwargs": {"learning_starts": 32, "batch_size": 16, "buffer_size": 500, "net_arch": (8,)}}
    cell = imitation(tmp_path / "whole", **changes)
    whole = imitate(cell, quiet=True)
    assert whole["imitation"]["cloned_return"] is not None
    stopped = replace(cell, out=tmp_path / "stopped")
    with monkeypatch.context() as patch:
        in_the_first_evaluation(patch)
        assert imitate(stopped, quiet=True)["imitation"]["cloned_return"] is None
    result = resume(stopped.directory, quiet=True)
    assert result["imitation"]["cloned_return"] == whole["imitation"]["cloned_return"]
    assert_same_directory(cell.directory, stopped.directory)


def test_a_cloned_policy_that_can_not_be_evaluated_is_trained_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = result_module.evaluate

    def breaks(session: Any, interrupt: Interrupt) -> list[float]:
        if session.learner.num_timesteps == 0:
            raise ValueError("no display")
        return evaluate(session, interrupt)

    monkeypatch.setattr(result_module, "evaluate", breaks)
    with pytest.warns(UserWarning, match=r"the cloned policy could not be evaluated \(ValueError: no display\)"):
        result = imitate(imitation(tmp_path / "run"), quiet=True)
    assert (result["status"], result["imitation"]["cloned_return"], result["evaluation_error"]) == ("finished", None, None)


def dreaming(out: Path) -> DreamConfig:
    return DreamConfig(env="Pendulum-v1", out=out, steps=200, **SMALL_DREAM | PPO)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError("no display")])
def test_a_comparison_of_dream_and_reality_that_was_stopped_is_done_by_the_resume(
    stop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dream(dreaming(tmp_path / "whole"), quiet=True)
    with monkeypatch.context() as patch:

        def stopped(*arguments: Any) -> Any:
            raise stop

        patch.setattr(comparison, "_compared", stopped)
        result = dream(dreaming(tmp_path / "stopped"), quiet=True)
    said = "was interrupted" if stop is KeyboardInterrupt else "could not be compared: no display"
    assert said in result["evaluation_error"]
    again = compare(tmp_path / "stopped", resume(tmp_path / "stopped", quiet=True))
    assert (again["evaluation_error"], again["dream"]) == (None, whole["dream"])
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_that_was_killed_before_its_comparison_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dream(dreaming(tmp_path / "whole"), quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "compare", lambda path, result, quiet: result)
        dream(dreaming(tmp_path / "killed"), quiet=True)
    assert compare(tmp_path / "killed", resume(tmp_path / "killed", quiet=True))["dream"] == whole["dream"]
    assert_same_directory(tmp_path / "whole", tmp_path / "killed")
    with pytest.raises(RunError, match="has all its 200 steps"):
        resume(tmp_path / "killed")


def test_an_interrupted_evaluation_is_not_followed_by_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        in_the_first_evaluation(patch)
        result = dream(dreaming(tmp_path / "run"), quiet=True)
    assert "the evaluation was interrupted" in result["evaluation_error"]
    assert "dream" not in result
    assert "dream" in compare(tmp_path / "run", resume(tmp_path / "run", quiet=True))
