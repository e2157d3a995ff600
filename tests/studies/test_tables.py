"""Numbers of a study in words."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from genrl.studies.tables import Table, all_tasks_table, legend, markdown, only, rich_table, score_table

TEN = {"n": 10, "median": 0.9, "min": 0.0, "max": 1.0, "iqm": 0.95, "iqm_95": [0.7, 1.0], "median_95": [0.5, 1.0]}
THREE = {"n": 3, "median": -1163.4, "min": -1200.2, "max": -1009.9}


def entry(**changes: Any) -> dict[str, Any]:
    """Ten finished runs without anything else."""
    nothing = ("training_return", "evaluation_return", "first_reward", "coverage", "steps_per_second")
    return {"learner": "trpo", "runs": 10, "planned": 10, "failed": 0, "at": {}, **dict.fromkeys(nothing)} | changes


def document(threshold: float | None = None, **methods: dict[str, Any]) -> dict[str, Any]:
    """A study of one task."""
    tasks = {"car": {"threshold": threshold, "methods": methods}}
    return {"baseline": next(iter(methods)), "score": "training_return", "tasks": tasks, "all_tasks": None}


def column(content: dict[str, Any], name: str) -> list[str]:
    table = score_table(content, "car")
    return [row[table.header.index(name)] for row in table.rows]


class TestScoreTable:
    def test_has_only_columns_that_say_something(self) -> None:
        assert score_table(document(none=entry()), "car") == Table(["method", "runs"], [["none", "10 of 10"]])

    def test_counts_failed_runs_beside_the_finished(self) -> None:
        assert column(document(none=entry(runs=9, failed=1)), "runs") == ["9 of 10, 1 failed"]

    def test_a_step_that_the_median_run_never_reached_is_left_out(self) -> None:
        found = {"solved": 10, "n": 10, "median": 8200.0, "min": 100, "max": 9000}
        never = {"solved": 3, "n": 10, "median": None, "min": 100, "max": 9000}
        content = document(0.9, a=entry(first_reward=found, threshold=never), b=entry(first_reward=never, threshold=found))
        assert column(content, "first reward") == ["10 of 10, step 8.2k", "3 of 10"]
        assert column(content, "reaches 0.9") == ["3 of 10", "10 of 10, step 8.2k"]

    def test_a_reward_that_nobody_found_is_no_column(self) -> None:
        never = {"solved": 0, "n": 10, "median": None, "min": None, "max": None}
        assert "first reward" not in score_table(document(none=entry(first_reward=never)), "car").header

    def test_many_runs_have_an_interval_and_few_a_range(self) -> None:
        content = document(a=entry(training_return=TEN), b=entry(runs=3, training_return=THREE))
        assert column(content, "training return") == ["0.95 [0.70, 1.00]", "-1,163 (-1,200 … -1,010)"]

    def test_one_run_is_a_number(self) -> None:
        one = {"n": 1, "median": -42.125, "min": -42.125, "max": -42.125}
        assert column(document(a=entry(runs=1, training_return=one)), "training return") == ["-42.1"]

    def test_runs_above_the_threshold_are_counted_at_the_end(self) -> None:
        content = document(0.9, a=entry(evaluation_return=TEN, evaluation_return_reaches=7))
        assert column(content, "deterministic return") == ["0.95 [0.70, 1.00], 7 of 10 ≥ 0.9"]

    def test_says_where_a_number_is_of_fewer_runs(self) -> None:
        fewer = TEN | {"n": 8}
        content = document(a=entry(training_return=fewer, at={"10000": fewer}, coverage=fewer))
        for name in ("training return", "at 10k", "visited bins"):
            assert column(content, name) == ["0.95 [0.70, 1.00], of 8 runs"]

    def test_milestones_have_a_column_each(self) -> None:
        table = score_table(document(a=entry(at={"10000": TEN, "250000": None})), "car")
        assert table.header == ["method", "runs", "at 10k"]  # of 250,000 steps there is nothing to say

    def test_the_verdict_comes_with_its_probability(self) -> None:
        better = {"verdict": "better", "difference": [1, 0, 2], "probability_of_improvement": [0.85, 0.7, 1.0]}
        few = {"verdict": "too few runs", "difference": [1, None, None], "probability_of_improvement": [1.0, None, None]}
        content = document(none=entry(), a=entry(against_baseline=better), b=entry(against_baseline=few), c=entry(against_baseline=None))
        assert column(content, "against none") == ["–", "better, P = 0.85 [0.70, 1.00]", "too few runs", "–"]

    def test_numbers_are_short(self) -> None:
        content = document(a=entry(runs=3, coverage={"n": 3, "median": 1580.5, "min": 246.0, "max": 1625.0}, steps_per_second=3391.23))
        assert (column(content, "visited bins"), column(content, "steps/s")) == (["1,580 (246 … 1,625)"], ["3,391"])


class TestLegend:
    def test_explains_only_what_is_there(self) -> None:
        none, many, few = (
            score_table(document(a=entry(**found)), "car") for found in ({}, {"training_return": TEN}, {"training_return": THREE})
        )
        assert legend("training_return", none) == ""
        assert "square brackets" in legend("training_return", many) and "parentheses" not in legend("training_return", many).lower()
        assert "parentheses" in legend("training_return", few).lower() and "square brackets" not in legend("training_return", few)

    def test_explains_every_kind_of_column(self) -> None:
        better = {"verdict": "better", "difference": [1, 0, 2], "probability_of_improvement": [0.85, 0.7, 1.0]}
        times = {"solved": 10, "n": 10, "median": 8200.0, "min": 100, "max": 9000}
        found = {"training_return": TEN, "training_return_reaches": 7, "first_reward": times, "threshold": times, "coverage": THREE}
        table = score_table(document(0.9, none=entry(), a=entry(against_baseline=better, **found)), "car")
        begins = ["In square", "In parentheses", "A step", "A run reaches", "P is the probability that a run has a higher training", "Bins"]
        told = legend("training_return", table)
        assert [told.index(begin) for begin in begins] == sorted(told.index(begin) for begin in begins)

    def test_is_silent_on_columns_that_are_left_out(self) -> None:
        """The verdict has brackets of its own, a name may have some, too, and the maps and times of the page are not in the terminal."""
        better = {"verdict": "better", "difference": [1, 0, 2], "probability_of_improvement": [0.85, 0.7, 1.0]}
        times = {"solved": 10, "n": 10, "median": 8200.0, "min": 100, "max": 9000}
        methods = {"[none]": entry(), "a": entry(against_baseline=better, first_reward=times, coverage=TEN)}
        shown = only(score_table(document(**methods), "car"), "method", "against")
        assert legend("training_return", shown).startswith("P is the probability")


class TestAllTasks:
    def test_one_task_has_no_table(self) -> None:
        assert all_tasks_table(document(none=entry())) is None

    def test_has_an_interval_for_every_statistic(self) -> None:
        scores = {"iqm": [0.9, 0.8, 1.0], "median_of_tasks": [0.8, 0.7, 0.9]}
        methods = {"none": {"runs": 20} | scores, "vime": {"runs": 20, "probability_of_improvement": [0.75, 0.6, 0.9]} | scores}
        table = all_tasks_table(document(none=entry()) | {"all_tasks": {"normalized": True, "methods": methods}})
        assert table is not None
        assert table.header == ["method", "runs", "normalised score, IQM", "median of tasks", "P(better than none)"]
        assert table.rows[1] == ["vime", "20", "0.90 [0.80, 1.00]", "0.80 [0.70, 0.90]", "0.75 [0.60, 0.90]"]

    def test_returns_without_a_reference_are_not_averaged(self) -> None:
        methods = {"none": {"runs": 20}, "vime": {"runs": 20, "probability_of_improvement": [0.75, None, None]}}
        table = all_tasks_table(document(none=entry()) | {"all_tasks": {"normalized": False, "methods": methods}})
        assert table == Table(["method", "runs", "P(better than none)"], [["none", "20", "–"], ["vime", "20", "0.75"]])


class TestElsewhere:
    HOSTILE = Table(["method"], [["a|b"], ["<script>"], ["[bold]x"], ["two\nlines"]])

    def test_markdown_keeps_a_name_in_its_cell(self) -> None:
        assert markdown(self.HOSTILE).splitlines()[2:] == ["| a\\|b |", "| &lt;script> |", "| [bold]x |", "| two lines |"]

    def test_a_name_is_no_markup_on_the_terminal(self) -> None:
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(rich_table(self.HOSTILE, title="[red]task"))
        text = console.export_text()
        assert "[bold]x" in text and "[red]task" in text

    def test_a_title_stays_on_its_line_above_narrow_columns(self) -> None:
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(rich_table(Table(["method"], [["vime"]]), title="CartpoleSwingupSparse"))
        assert console.export_text().splitlines()[0].rstrip() == "CartpoleSwingupSparse"
