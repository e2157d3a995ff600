"""The log of a run, sent to a tracker; trackers are stand-ins with the interface that wandb and trackio have."""

import csv
import random
import sys
from types import ModuleType

import pytest
import torch

from genrl.cli import main
from genrl.errors import RunError
from genrl.files import write_json
from genrl.reading import read_json
from genrl.runs import explore, resume
from genrl.runs.directory import RunDirectory
from tests.runs.same_directory import assert_same_directory
from tests.runs.tiny import config


class StandIn(ModuleType):
    """Keeps what it is given, draws random numbers as it likes, and fails at one of its three functions if it is told to."""

    def __init__(self, name, fails=""):
        super().__init__(name)
        self.fails, self.calls = fails, []

    def _called(self, function, *what):
        random.seed(7)
        torch.rand(3)
        self.calls.append((function, *what))
        if function == self.fails:
            raise ConnectionError("the network\nis away")

    def init(self, **about):
        self._called("init", about)

    def log(self, row, step):
        self._called("log", step, row)

    def finish(self):
        self._called("finish")


@pytest.fixture
def tracker(monkeypatch):
    def make(name, fails=""):
        module = StandIn(name, fails)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_each_number_of_each_row_is_sent(tracker, tmp_path, name):
    module = tracker(name)
    explore(config(tmp_path / "run", track=name, reward="rnd"), quiet=True)
    (begun, about), *logged, (ended,) = module.calls
    assert (begun, ended) == ("init", "finish")
    assert (about["project"], about["name"], about["config"]["env"]) == ("genrl", "run", "Pendulum-v1")
    rows = list(csv.DictReader((tmp_path / "run/progress.csv").open()))
    assert [step for _, step, _ in logged] == [int(row["time/total_timesteps"]) for row in rows] == [64, 128, 192, 256]
    for row, (_, _, sent) in zip(rows, logged, strict=True):
        assert sent == pytest.approx({key: float(value) for key, value in row.items() if value}, rel=1e-6)


def test_a_resumed_run_goes_on_in_the_same_run_of_the_tracker(tracker, tmp_path):
    first = tracker("wandb")
    explore(config(tmp_path / "run", track="wandb"), quiet=True)
    second = tracker("wandb")
    resume(tmp_path / "run", steps=320, quiet=True)
    assert first.calls[0][1]["id"] == second.calls[0][1]["id"]
    assert [call[1] for call in second.calls if call[0] == "log"] == [320]
    explore(config(tmp_path / "other", track="wandb"), quiet=True)
    assert second.calls[-2][0] == "log" and first.calls[0][1]["id"] != next(c[1]["id"] for c in second.calls[2:] if c[0] == "init")


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_told_of_once_and_stops_no_run(tracker, tmp_path, fails):
    module = tracker("wandb", fails)
    with pytest.warns(UserWarning, match=r"wandb has failed \(the network is away\); the run goes on without it") as told:
        result = explore(config(tmp_path / "run", track="wandb"), quiet=True)
    assert (result["status"], len(told)) == ("finished", 1)
    assert [call[0] for call in module.calls].count(fails) == 1


def test_what_a_tracker_draws_changes_nothing_of_the_training(tracker, tmp_path):
    tracker("trackio")
    for name, track in (("with", "trackio"), ("without", None)):
        explore(config(tmp_path / name, track=track, reward="rnd"), quiet=True)
        run = RunDirectory(tmp_path / name)
        write_json(run.config, read_json(run.config) | {"track": None})
    assert_same_directory(tmp_path / "with", tmp_path / "without")


def test_a_missing_tracker_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(RunError, match=r"--track wandb needs wandb, which is not installed; type: pip install 'genrl-toolkit\[wandb\]'"):
        explore(config(tmp_path / "run", track="wandb"), quiet=True)
    assert not (tmp_path / "run").exists()
    assert main(["explore", "--track", "mlflow", "--out", str(tmp_path / "run")]) == 2
    assert "--track takes one of" in capsys.readouterr().err
