"""Rows of an earlier result file as cells of a study."""

import csv
import json

import pytest

from demos.earlier import plant
from genrl.errors import RunError
from genrl.studies.matrix import Study
from genrl.studies.results import read_study
from genrl.studies.summary import summarize, write_results

TEXT = """
[study]
seeds = 2
[run]
learner = "sac"
steps = 1000
[tasks.Swing]
env = "Pendulum-v1"
[methods.none]
reward = "none"
[methods.rnd]
reward = "rnd"
"""
ROW = "Swing,none,1,30,,-190.5,-140.25,77,1000,12.5,80.0,300.0"
HEADER = (
    "task,method,seed,first_reward_step,threshold_step,training_return,evaluation_return,visited_bins,"
    "steps,seconds,steps_per_second,peak_rss_mb"
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "swing.toml").write_text(TEXT)
    source = tmp_path / "found.csv"
    source.write_text(f"{HEADER}\n{ROW}\nSwing,gone,1,,,1,1,1,1000,1,1,1\n")
    source.with_suffix(".json").write_text(json.dumps({"versions": {"torch": "9.9"}, "machines": [{"system": "another", "cpus": 3}]}))
    return tmp_path / "swing.toml", source


def test_a_row_is_a_finished_cell_with_its_numbers_and_says_where_they_are_from(files, tmp_path):
    assert plant(*files) == ["none, seed 1"]
    results = read_study("runs/swing")
    assert [item.status for item in results.cells] == ["waiting", "waiting", "finished", "waiting"]
    found = results.cells[2].result
    assert (found["training_return"], found["evaluation_return"], found["first_reward_step"]) == (-190.5, -140.25, 30)
    assert found["taken_from"].endswith("found.csv")
    document = summarize(results)
    assert document["versions"] == {"torch": "9.9"} and document["machines"] == [{"system": "another", "cpus": 3}]
    write_results(results, document, tmp_path / "again")
    (row,) = csv.DictReader((tmp_path / "again.csv").open())
    kept = {name: value for name, value in zip(HEADER.split(","), ROW.split(","), strict=True) if name != "visited_bins"}
    assert row | kept == row


def test_what_needs_the_episodes_of_a_run_is_refused(files):
    files[0].write_text(TEXT.replace('"Pendulum-v1"', '"Pendulum-v1"\nthreshold = -150'))
    with pytest.raises(RunError, match=r"swing.toml has milestones or a threshold"):
        plant(*files)


def test_a_cell_that_is_there_is_left_alone(files):
    (cell,) = [cell for cell in Study.load(files[0]).cells if cell.label == "Swing, none, seed 1"]
    cell.path.mkdir(parents=True)
    (cell.path / "config.json").write_text("{}")
    (cell.path.parent.parent / "study.json").write_text('{"format": 1, "token": "a", "name": "swing"}')
    assert plant(*files) == []
    assert not (cell.path / "result.json").exists()
