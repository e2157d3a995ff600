"""A study trains what is missing, loses nothing to a kill, and never lets one cell stop the others."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from genrl.cli import main
from genrl.errors import RunError
from genrl.runs import explore
from genrl.studies import InProcess, Processes, Study, read_study, run_study
from genrl.studies import cells as cells_module
from genrl.studies.cells import PRELOAD, CellOutcome, CellState, Job, run_cell, unpack
from genrl.studies.directory import open_directory
from genrl.studies.executors import WorkerDied
from tests.runs import tiny as tasks
from tests.studies import tiny

assert tasks.Breaks  # registered by its module
ROOT = Path(__file__).parents[2]
BREAKS = """
[study]
seeds = 1
tries = 2
[run]
steps = 256
learner = "ppo"
reward = "none"
learner_kwargs = { n_steps = 64, batch_size = 32, n_epochs = 1, net_arch = [8] }
eval_episodes = 0
[tasks.good]
env = "Pendulum-v1"
[tasks.bad]
env = "tests/Breaks-v0"
env_kwargs = { what = "WHAT", at = 150 }
[methods.none]
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The study of tests.studies.tiny, trained here, one cell after the other."""
    directory = tmp_path_factory.mktemp("alone") / "study"
    assert run_study(tiny.study(directory), InProcess())
    return directory


class TestATrainedStudy:
    def test_holds_ordinary_runs(self, alone, tmp_path):
        cell = tiny.study(alone).cells[1]
        bare = explore(replace(cell.config, out=tmp_path / "bare"), quiet=True)
        kept = json.loads((cell.path / "result.json").read_text())
        same = [key for key in kept if "second" not in key and key != "peak_rss_mb"]
        assert {key: kept[key] for key in same} == {key: bare[key] for key in same}

    def test_has_the_same_numbers_under_worker_processes(self, alone, tmp_path):
        assert run_study(tiny.study(tmp_path / "study"), Processes(2, preload=PRELOAD))
        assert tiny.numbers(tmp_path / "study") == tiny.numbers(alone)

    def test_is_not_trained_again(self, alone):
        before = {path: path.stat().st_mtime_ns for path in alone.rglob("result.json")}
        tried: list[str] = []
        assert run_study(tiny.study(alone), InProcess(), ended=lambda cell, outcome: tried.append(cell.label))
        assert not tried
        assert {path: path.stat().st_mtime_ns for path in alone.rglob("result.json")} == before

    def test_a_changed_hyperparameter_is_a_new_cell_and_the_others_stay(self, alone, tmp_path):
        directory = tmp_path / "study"
        os.system(f"cp -r {alone} {directory}")
        tried: list[str] = []
        changed = tiny.study(directory, tiny.TOML.replace('reward = "rnd"', 'reward = "rnd"\nreward_kwargs = { learning_rate = 0.01 }'))
        assert run_study(changed, InProcess(), ended=lambda cell, outcome: tried.append(cell.label))
        assert tried == ["pendulum, rnd, seed 0", "pendulum, rnd, seed 1"]
        assert [item.status for item in read_study(directory).cells] == ["finished"] * 4


class TestABadCell:
    def train(self, directory: Path, what: str, tries: int = 2) -> dict[str, CellOutcome]:
        self.outcomes: list[CellOutcome] = []
        text = BREAKS.replace("WHAT", what).replace("tries = 2", f"tries = {tries}")
        assert run_study(tiny.study(directory, text), InProcess(), ended=lambda cell, outcome: self.outcomes.append(outcome))
        return {item.cell.task: item for item in read_study(directory).cells}

    def test_does_not_stop_the_others_and_is_failed_with_its_last_error(self, tmp_path):
        found = self.train(tmp_path / "study", "error")
        assert found["good"].status == "finished"
        assert (found["bad"].status, found["bad"].tries) == ("failed", 2)
        assert "broken at step 150" in found["bad"].error

    def test_with_a_nan_is_failed_at_once_because_the_same_run_would_meet_it_again(self, tmp_path):
        found = self.train(tmp_path / "study", "reward")
        assert (found["bad"].status, found["bad"].tries) == ("failed", 1)
        assert "nan" in found["bad"].error.lower()

    def test_is_tried_again_only_when_asked(self, tmp_path):
        self.train(tmp_path / "study", "error")
        study = tiny.study(tmp_path / "study", BREAKS.replace("WHAT", "error"))
        outcomes: list[CellOutcome] = []
        run_study(study, InProcess(), ended=lambda cell, outcome: outcomes.append(outcome))
        assert not outcomes
        run_study(study, InProcess(), retry=True, ended=lambda cell, outcome: outcomes.append(outcome))
        assert [outcome.status for outcome in outcomes] == ["failed", "failed"]

    def test_whose_worker_died_is_tried_again_and_goes_on(self, tmp_path):
        class DiesOnce(InProcess):
            died = False

            def map(self, function, items):
                for item in items:
                    if not self.died:
                        self.died = True
                        yield item, WorkerDied("its process was ended by SIGKILL")
                    else:
                        yield item, function(item)

        study = tiny.study(tmp_path / "study")
        assert run_study(study, DiesOnce())
        found = read_study(tmp_path / "study").cells
        assert [(item.status, item.tries) for item in found] == [("finished", 1)] + 3 * [("finished", 0)]

    def test_that_is_refused_is_not_tried_again(self, tmp_path):
        text = tiny.TOML.replace('learner = "ppo"', 'learner = "dqn"').replace("learner_kwargs", "env_kwargs = {}\n#")
        study = tiny.study(tmp_path / "study", text)
        assert run_study(study, InProcess())
        found = read_study(tmp_path / "study").cells
        assert {(item.status, item.tries) for item in found} == {("failed", 1)}
        assert "DQN" in found[0].error


class TestTheLockOfACell:
    def test_keeps_a_second_study_out(self, tmp_path):
        study = tiny.study(tmp_path / "study")
        job = Job(study.cells[0].config, open_directory(study))
        state = CellState(job.path)
        state.path.parent.mkdir(parents=True)
        with state.lock:
            assert run_cell(job) == CellOutcome("busy")
            assert not job.path.exists()
        assert run_cell(job).status == "finished"

    def test_is_waited_for_and_the_cell_is_not_trained_twice(self, tmp_path, alone):
        directory, folder = tmp_path / "study", os.environ | {"PYTHONPATH": str(ROOT)}
        (tmp_path / "tiny.toml").write_text(tiny.TOML)
        command = [sys.executable, "-m", "genrl", "study", str(tmp_path / "tiny.toml"), "--out", str(directory), "--executor", "here"]
        both = [subprocess.Popen(command, cwd=ROOT, env=folder, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        logs = [process.communicate()[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], logs
        assert tiny.numbers(directory) == tiny.numbers(alone)

    def test_is_free_after_a_kill(self, tmp_path):
        study = tiny.study(tmp_path / "study")
        token = open_directory(study)
        state = CellState(study.cells[0].path)
        state.path.parent.mkdir(parents=True)
        code = "import sys, time; from filelock import FileLock; FileLock(sys.argv[1]).acquire(); print('held', flush=True); time.sleep(60)"
        holder = subprocess.Popen([sys.executable, "-c", code, str(state.lock.lock_file)], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        state.change(runner={"host": "elsewhere", "pid": holder.pid})
        holder.kill()
        holder.wait()
        assert run_cell(Job(study.cells[0].config, token)).status == "finished"
        assert not state.is_running()


@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments_lose_nothing(seed: int, alone: Path, tmp_path: Path):
    """kill -9 of the study, and of its workers, then start it again: every finished cell is kept, and the numbers are the same."""
    moments = random.Random(seed)
    (tmp_path / "tiny.toml").write_text(tiny.TOML.replace("seeds = 2", "seeds = 2\ntries = 100"))
    directory = tmp_path / "study"
    command = [sys.executable, "-m", "genrl", "study", str(tmp_path / "tiny.toml"), "--out", str(directory), "--workers", "2"]
    kept: dict[Path, bytes] = {}
    for _ in range(4):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(1.0, 6.0))
        runners = [json.loads(path.read_text())["runner"] for path in directory.glob("state/*.json")]
        if runners and (worker := next((runner for runner in runners if runner), None)):
            with contextlib.suppress(ProcessLookupError):  # it may have finished just now
                os.kill(worker["pid"], signal.SIGKILL)
            time.sleep(moments.uniform(0.0, 1.0))
        process.kill()
        process.wait()
        now = {path: path.read_bytes() for path in directory.rglob("result.json")}
        for path, content in kept.items():
            assert now[path] == content, f"{path} was finished, and changed"
        kept |= {
            path: content
            for path, content in now.items()
            if json.loads(content)["status"] == "finished" and json.loads(content)["evaluation_returns"]
        }
        for path in directory.rglob("*.json"):
            if not path.name.startswith("."):
                json.loads(path.read_text())
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert tiny.numbers(directory) == tiny.numbers(alone)


class TestTheDirectory:
    def test_of_something_else_is_refused(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(RunError, match="holds something that is no study; choose another --out"):
            open_directory(tiny.study(tmp_path))

    def test_of_another_version_is_refused(self, tmp_path):
        (tmp_path / "study.json").write_text('{"format": 99}')
        for act in (lambda: open_directory(tiny.study(tmp_path)), lambda: read_study(tmp_path)):
            with pytest.raises(RunError, match="holds a study of format 99, this version of genrl has format 1"):
                act()

    def test_that_is_not_there_has_no_study(self, tmp_path):
        (tmp_path / "mountain").mkdir()
        (tmp_path / "mountain" / "study.json").write_text("{}")
        with pytest.raises(RunError, match=r"holds no study; did you mean .*mountain"):
            read_study(tmp_path / "mountian")


def test_a_worker_on_another_machine_sends_its_files(tmp_path):
    study = tiny.study(tmp_path / "study")
    job = Job(study.cells[0].config, open_directory(study))
    outcome = run_cell(replace(job, study="another machine's"))
    assert outcome.status == "finished"
    assert not job.path.exists()
    unpack(job, outcome.files)
    assert read_study(tmp_path / "study").cells[0].status == "finished"


def test_an_interrupt_is_not_a_try(tmp_path, monkeypatch):
    study = tiny.study(tmp_path / "study")
    monkeypatch.setattr(cells_module, "_train", lambda job: CellOutcome("interrupted"))
    assert not run_study(study, InProcess())
    assert {item.tries for item in read_study(tmp_path / "study").cells} == {0}
    assert isinstance(study, Study)


def test_a_cell_that_died_in_its_evaluation_is_not_finished(tmp_path, monkeypatch):
    study = tiny.study(tmp_path / "study")
    job = Job(study.cells[0].config, open_directory(study))

    def die(*arguments: object) -> None:
        raise SystemExit  # as a kill: nothing after it is written

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("genrl.runs.result.evaluate", die)
        run_cell(job)
    assert read_study(tmp_path / "study").cells[0].status != "finished"
    assert run_cell(job).status == "finished"
    assert read_study(tmp_path / "study").cells[0].result["evaluation_returns"]


def test_a_study_tells_of_its_own_runs_though_another_was_begun_in_its_directory(tmp_path, monkeypatch, capsys):
    text, directory = tiny.TOML.replace("1024", "256").replace("seeds = 2", "seeds = 1\nfilms = true"), tmp_path / "study"
    (tmp_path / "tiny.toml").write_text(text)
    other = tiny.study(directory, text.replace("tasks.pendulum", "tasks.other"))

    def meanwhile(study: Study, *args: object, **keywords: object) -> bool:
        decided = run_study(study, *args, **keywords)  # type: ignore[arg-type]
        open_directory(other)
        return decided

    filmed: list[Path] = []
    monkeypatch.setattr("genrl.studies.running.run_study", meanwhile)
    monkeypatch.setattr("genrl.studies.running._film", lambda job: (filmed.append(job[0]), CellOutcome("finished"))[1])
    assert main(["study", str(tmp_path / "tiny.toml"), "--out", str(directory), "--executor", "here"]) == 0
    told = capsys.readouterr()
    assert "pendulum" in told.out and "another study was begun in" in told.err
    assert {path.name.split("-")[0] for path in filmed} == {"Pendulum"} and len(filmed) == 2
    assert not (directory / "results.json").exists()  # which would be taken for the other's


def test_a_study_in_which_no_episode_ended_shows_how_many_runs_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.toml").write_text(tiny.TOML.replace("steps = 1024", "steps = 128").replace("milestones = [256]", ""))
    assert main(["study", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "study"), "--executor", "here"]) == 0
    told = capsys.readouterr().out
    assert told.count("2 of 2") == 2  # none, rnd: the terminal of the tests is too narrow for this column in other tables
    assert "Bins" not in told and "In parentheses" not in told  # of what the page alone shows
