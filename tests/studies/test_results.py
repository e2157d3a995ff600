"""What is read from the files of a study, and the numbers that it claims, on studies whose numbers are known."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genrl.files import write_json
from genrl.reading import read_json
from genrl.runs.directory import RunDirectory
from genrl.studies import read_study
from genrl.studies.cells import CellState
from genrl.studies.results import CellResult, Results, cell_progress
from genrl.studies.summary import common_bins, summarize, write_results
from genrl.studies.tables import score_table
from tests.studies.synthetic import make_study


def with_returns(item: CellResult, returns: list[float], every: int = 10) -> CellResult:
    """As if its episodes had ended every ten steps."""
    steps = every * np.arange(1, len(returns) + 1)
    return CellResult(item.cell, "finished", episodes=np.stack([steps, returns], axis=1).astype(float))


@pytest.fixture
def one(tmp_path: Path) -> CellResult:
    make_study(tmp_path / "study", tasks=("car",), methods=("none",), seeds=1)
    return read_study(tmp_path / "study").cells[0]


class TestARun:
    def test_its_return_at_a_step_is_the_mean_of_the_last_20_episodes_until_then(self, one):
        item = with_returns(one, [float(i) for i in range(30)])
        assert item.return_at(5) is None
        assert item.return_at(10) == 0.0
        assert item.return_at(59) == pytest.approx(np.mean(range(5)))
        assert item.return_at(10**9) == pytest.approx(np.mean(range(10, 30)))

    def test_has_no_return_at_a_step_that_it_never_came_to(self, one):
        steps = one.result["steps"]
        assert one.return_at(steps) == pytest.approx(one.result["training_return"], abs=1e-6)
        assert one.return_at(steps + 1) is None

    def test_has_no_best_model_of_other_evaluations_than_the_study_asks_for(self, one):
        run = RunDirectory(one.cell.path)
        write_json(run.result, read_json(run.result) | {"best_return": 7.0})
        folder = one.cell.path.parent.parent
        assert read_study(folder).cells[0].result["best_return"] == 7.0
        write_json(run.config, read_json(run.config) | {"eval_every": 10})
        assert "best_return" not in read_study(folder).cells[0].result

    def test_that_somebody_has_made_longer_than_the_study_asks_for_is_not_averaged_with_the_others(self, one):
        """`genrl resume CELL --steps 2 * STEPS`: its return is that of a run with twice the experience."""
        run, twice = RunDirectory(one.cell.path), 2 * one.cell.config.steps
        write_json(run.config, read_json(run.config) | {"steps": twice})
        write_json(run.result, read_json(run.result) | {"steps": twice})
        found = read_study(one.cell.path.parent.parent).cells[0]
        assert (found.status, found.result) == ("failed", {})
        assert found.error is not None and f"was made to go on to {twice} steps, but the study asks for {twice // 2}" in found.error
        assert cell_progress(one.cell, 3).status == "failed"

    def test_its_time_to_a_threshold_needs_20_episodes(self, one):
        assert with_returns(one, [1.0] * 19).time_to(0.9) is None
        assert with_returns(one, [1.0] * 20).time_to(0.9) == 200
        assert with_returns(one, [0.0] * 5 + [1.0] * 30).time_to(0.9) == 230  # of episodes 4 to 23, two have failed
        assert with_returns(one, [0.0] * 40).time_to(0.9) is None

    @pytest.mark.parametrize("level", [0.95, 0.9, -0.1, 199.7])
    def test_its_mean_of_equal_returns_is_that_return(self, one, level):
        """A task that pays no more than its threshold is solved as soon as 20 episodes are."""
        item = with_returns(one, [level] * 300)
        assert (item.smooth == level).all()
        assert item.time_to(level) == 200

    def test_its_mean_outlives_a_very_large_return(self, one):
        item = with_returns(one, [-1e18] + [1.0] * 30)
        assert item.smooth[20:].tolist() == [1.0] * 11
        assert item.return_at(310) == 1.0
        assert item.time_to(1.0) == 210

    def test_its_status_is_that_of_its_files(self, tmp_path):
        wanted = {"none": "finished", "vime": "failed", "rnd": "stopped", "icm": "waiting", "counts": "running"}
        study = make_study(tmp_path / "study", ("car",), tuple(wanted), 1, status=lambda cell: wanted[cell.method])
        assert {item.cell.method: item.status for item in read_study(tmp_path / "study").cells} == wanted
        assert {item.cell.method: item.status for item in (cell_progress(cell, study.settings.tries) for cell in study.cells)} == wanted

    def test_with_a_nan_is_failed(self, tmp_path):
        make_study(tmp_path / "study", ("car",), ("none", "vime"), 5, status=lambda cell: "nan" if cell.seed == 2 else "finished")
        results = read_study(tmp_path / "study")
        bad = [item for item in results.cells if not item.finished]
        assert {(item.cell.seed, item.status) for item in bad} == {(2, "failed")}
        assert all("nan" in (item.error or "") for item in bad)
        entry = summarize(results)["tasks"]["car"]["methods"]["vime"]
        assert (entry["runs"], entry["failed"], entry["training_return"]["n"]) == (4, 1, 4)

    def test_whose_evaluation_is_not_finite_is_failed(self, one):
        run = RunDirectory(one.cell.path)
        write_json(run.result, read_json(run.result) | {"evaluation_returns": [1.0, float("nan")]})
        item = read_study(one.cell.path.parent.parent).cells[0]
        assert (item.status, item.error) == ("failed", "the return of its evaluation episode 1 is not finite")

    def test_that_was_killed_before_its_evaluation_is_not_finished(self, one):
        run = RunDirectory(one.cell.path)
        write_json(run.result, read_json(run.result) | {"evaluation_returns": [], "evaluation_error": "it is not evaluated yet"})
        assert read_study(one.cell.path.parent.parent).cells[0].status == "stopped"

    def test_with_a_line_that_a_kill_cut_is_read_without_it(self, one):
        with RunDirectory(one.cell.path).episodes.open("a") as file:
            file.write("99999,0,12")
        assert len(read_study(one.cell.path.parent.parent).cells[0].episodes) == len(one.episodes)

    def test_that_is_running_says_how_far_it_is(self, tmp_path):
        study = make_study(tmp_path / "study", ("car",), ("none",), 1, status=lambda cell: "stopped")
        run = RunDirectory(study.cells[0].path)
        run.episodes.write_text("step,env,return,length,seconds\n100,0,1.0,100,0.5\n400,0,1.0,100,2.0\n")
        seen = cell_progress(study.cells[0], 3)
        assert (seen.steps, seen.steps_per_second) == (400, 200.0)
        assert seen.seconds_left == pytest.approx((study.cells[0].config.steps - 400) / 200)
        run.progress.write_text("time/time_elapsed,time/total_timesteps\n8,2000\n")
        assert cell_progress(study.cells[0], 3).steps == 2000


class TestTheSummary:
    def test_has_hand_computed_numbers(self, tmp_path):
        make_study(tmp_path / "study", ("car",), ("none", "vime"), 8)
        results = read_study(tmp_path / "study")
        values = {"none": [0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 9.0, 9.0], "vime": [20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 90.0, 99.0]}
        first = {"none": [None] * 5 + [300, 200, 100], "vime": [10, 20, 30, 40, 50, 60, 70, None]}
        cells = [
            replace(item, result=item.result | {
                "training_return": values[item.cell.method][item.cell.seed], "first_reward_step": first[item.cell.method][item.cell.seed],
            }) for item in results.cells
        ]  # fmt: skip
        entries = summarize(Results(results.study, tuple(cells)))["tasks"]["car"]["methods"]
        assert entries["none"]["training_return"]["iqm"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.4) / 4)
        assert entries["none"]["training_return"]["median"] == pytest.approx(0.25)
        assert entries["vime"]["training_return"]["iqm"] == pytest.approx((22 + 23 + 24 + 25) / 4)
        low, high = entries["vime"]["training_return"]["iqm_95"]
        assert 20 <= low < 23.5 < high <= 99
        assert entries["none"]["first_reward"] == {"solved": 3, "n": 8, "median": None, "min": 100, "max": 300}
        assert entries["vime"]["first_reward"] == {"solved": 7, "n": 8, "median": 45, "min": 10, "max": 70}
        assert entries["vime"]["training_return_reaches"] == 8
        assert entries["none"]["training_return_reaches"] == 2  # of 0.9

    def test_its_table_of_runs_counts_the_same_bins_as_the_document(self, tmp_path):
        study = make_study(tmp_path / "study", ("car",), ("none",), 2)
        for cell, width, counts in zip(study.cells, (0.5, 1.0), ([3, 9, 0, 1], [2, 0]), strict=True):
            edges = np.arange(len(counts) + 1) * width
            np.savez_compressed(cell.path / "coverage.npz", counts=np.array(counts), names=np.array(["x"]), edges_x=edges)
            coverage = {"names": ["x"], "bins": int(np.count_nonzero(counts)), "bin_widths": [width]}
            path = cell.path / "result.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"coverage": coverage}))
        results = read_study(tmp_path / "study")
        document = summarize(results)
        write_results(results, document, tmp_path / "out")
        assert [row["visited_bins"] for row in csv.DictReader((tmp_path / "out.csv").open())] == ["2", "1"]  # of 1, not of 0.5
        assert document["tasks"]["car"]["methods"]["none"]["coverage"]["max"] == 2

    def test_bins_along_other_axes_are_not_compared(self, tmp_path):
        study = make_study(tmp_path / "study", ("car",), ("none", "vime"), 2)
        assert summarize(read_study(tmp_path / "study"))["tasks"]["car"]["methods"]["vime"]["coverage"] is not None
        path = study.cells[0].path / "result.json"
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"coverage": result["coverage"] | {"names": ["x", "speed"]}}))
        assert summarize(read_study(tmp_path / "study"))["tasks"]["car"]["methods"]["vime"]["coverage"] is None

    @pytest.mark.parametrize(("key", "name"), [("averaged_return", "mean of last policies"), ("best_return", "best model")])
    def test_another_policy_of_a_run_has_a_column_where_runs_have_one(self, tmp_path, key, name):
        make_study(tmp_path / "study", ("car",), ("none", "vime"), 3)
        results = read_study(tmp_path / "study")
        write_results(results, summarize(results), tmp_path / "plain")
        assert key not in (tmp_path / "plain.csv").read_text()
        for item in results.cells:
            if item.cell.method == "vime":
                path = item.cell.path / "result.json"
                path.write_text(json.dumps(json.loads(path.read_text()) | {key: float(item.cell.seed + 1)}))
        results = read_study(tmp_path / "study")
        entries = summarize(results)["tasks"]["car"]["methods"]
        assert entries["none"][key] is None
        assert entries["vime"][key] == {"n": 3, "median": 2.0, "min": 1.0, "max": 3.0}
        assert entries["vime"][f"{key}_reaches"] == 3
        write_results(results, summarize(results), tmp_path / "with")
        rows = list(csv.DictReader((tmp_path / "with.csv").open()))
        assert [row[key] for row in rows] == ["", "1.0", "", "2.0", "", "3.0"]
        assert score_table(summarize(results), "car").header.count(name) == 1

    def test_a_method_is_compared_with_the_baseline_only(self, tmp_path):
        make_study(tmp_path / "study", ("car",), ("none", "vime"), 8)
        entries = summarize(read_study(tmp_path / "study"))["tasks"]["car"]["methods"]
        assert "against_baseline" not in entries["none"]
        assert entries["vime"]["against_baseline"]["verdict"] in {"better", "worse", "inside the noise"}

    def test_three_runs_are_too_few_for_an_interval_and_for_a_verdict(self, tmp_path):
        make_study(tmp_path / "study", ("car",), ("none", "vime"), 3)
        entry = summarize(read_study(tmp_path / "study"))["tasks"]["car"]["methods"]["vime"]
        assert "iqm_95" not in entry["training_return"]
        assert entry["against_baseline"]["verdict"] == "too few runs"

    def test_tasks_are_averaged_only_between_references(self, tmp_path):
        for name, reference in (("without", None), ("with", (0.0, 2.0))):
            make_study(tmp_path / name, ("car", "pole"), ("none", "vime"), 5, reference=reference)
        without, with_them = (summarize(read_study(tmp_path / name))["all_tasks"] for name in ("without", "with"))
        assert "iqm" not in without["methods"]["vime"]
        assert 0 < with_them["methods"]["vime"]["iqm"][0] < 1
        assert without["methods"]["vime"]["probability_of_improvement"] == with_them["methods"]["vime"]["probability_of_improvement"]

    def test_few_runs_have_no_interval_over_all_tasks_either(self, tmp_path):
        for seeds in (2, 5):
            make_study(tmp_path / str(seeds), ("car", "pole"), ("none", "vime"), seeds, reference=(0.0, 2.0))
        two, five = (summarize(read_study(tmp_path / seeds))["all_tasks"]["methods"]["vime"] for seeds in ("2", "5"))
        for key in ("iqm", "median_of_tasks", "probability_of_improvement"):
            assert two[key][1:] == [None, None]
            assert five[key][1] <= five[key][0] <= five[key][2]

    def test_failures_are_listed_with_their_last_error(self, tmp_path):
        study = make_study(tmp_path / "study", ("car",), ("none",), 2, status=lambda cell: "failed" if cell.seed else "finished")
        CellState(study.cells[1].path).change(failures=["first", "last"], refused=True)
        found = summarize(read_study(tmp_path / "study"))["failures"]
        assert found == [{"task": "car", "method": "none", "seed": 1, "tries": 2, "error": "last"}]

    def test_is_written_as_json_and_a_row_for_each_run(self, tmp_path):
        make_study(tmp_path / "study", ("car",), ("none", "vime"), 3, milestones=(10_000,))
        results = read_study(tmp_path / "study")
        document = summarize(results)
        paths = write_results(results, document, tmp_path / "results")
        assert json.loads(paths[0].read_text()) == json.loads(json.dumps(document))
        rows = list(csv.DictReader(paths[1].open()))
        assert [(row["method"], row["seed"]) for row in rows] == [(item.cell.method, str(item.cell.seed)) for item in results.cells]
        assert float(rows[3]["return_at_10000"]) == pytest.approx(results.cells[3].return_at(10_000))


def test_histograms_are_added_on_bins_of_one_width():
    fine = np.array([[1, 2], [0, 4]]), [np.array([0.0, 0.5, 1.0]), np.array([-1.0, -0.5, 0.0])]
    coarse = np.array([[3]]), [np.array([1.0, 2.0]), np.array([0.0, 1.0])]
    total, edges = common_bins([fine, coarse], np.array([1.0, 1.0]))
    np.testing.assert_array_equal(total, [[7, 0], [0, 3]])
    np.testing.assert_array_equal(edges[0], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(edges[1], [-1.0, 0.0, 1.0])
