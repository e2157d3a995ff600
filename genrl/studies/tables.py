"""The numbers of a study in words: one table for the HTML report, the terminal and a README."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import rich.table

__all__ = ["SCORES", "Table", "all_tasks_table", "legend", "markdown", "number", "only", "rich_table", "score_table", "steps"]

NOTHING, TOO_FEW = "–", "too few runs"

SCORES = {
    "training_return": "training return",
    "evaluation_return": "deterministic return",
    "averaged_return": "mean of last policies",
    "best_return": "best model",
}
"""What a run is measured by, in the words of a table; the last two are deterministic returns of the average of its last policies, and of
the model that ``--eval-every`` kept, in other episodes than it was chosen by."""

Entry = Mapping[str, Any]
"""What :func:`genrl.studies.summary.summarize` says of a task and a method."""


class Table(NamedTuple):
    """Words in rows; the first column names the method."""

    header: list[str]
    rows: list[list[str]]


def score_table(document: Mapping[str, Any], task: str) -> Table:
    """A row for every method of a task, a column for everything that one of them has a value of.

    Args:
        document: from :func:`genrl.studies.summary.summarize`.
        task: one of its tasks.
    """
    about = document["tasks"][task]
    columns: dict[str, Callable[[Entry], str]] = {"runs": _runs, "first reward": lambda entry: _times(entry["first_reward"])}
    if about["threshold"] is not None:
        columns[f"reaches {about['threshold']:g}"] = lambda entry: _times(entry.get("threshold"))
    for key, name in SCORES.items():
        columns[name] = lambda entry, key=key: _score(entry, key, about["threshold"])  # type: ignore[misc]
    for step in _milestones(about):
        columns[f"at {steps(int(step))}"] = lambda entry, step=step: _interval(entry["at"][step], entry["runs"])  # type: ignore[misc]
    columns[f"against {document['baseline']}"] = lambda entry: _verdict(entry.get("against_baseline"))
    columns["visited bins"] = lambda entry: _interval(entry["coverage"], entry["runs"])
    columns["steps/s"] = lambda entry: NOTHING if entry["steps_per_second"] is None else f"{entry['steps_per_second']:,.0f}"
    methods = about["methods"]
    cells = {name: [column(entry) for entry in methods.values()] for name, column in columns.items()}
    if not any((entry["first_reward"] or {}).get("solved") for entry in methods.values()):
        del cells["first reward"]
    return _table({"method": list(methods)} | {name: column for name, column in cells.items() if set(column) != {NOTHING}})


def only(table: Table, *names: str) -> Table:
    """The columns whose header begins with one of ``names``, in the table's order.

    Example:
        >>> only(Table(["method", "runs", "steps/s"], [["vime", "3 of 3", "900"]]), "method", "steps")
        Table(header=['method', 'steps/s'], rows=[['vime', '900']])
    """
    kept = [i for i, name in enumerate(table.header) if name.startswith(names)]
    return Table([table.header[i] for i in kept], [[row[i] for i in kept] for row in table.rows])


def all_tasks_table(document: Mapping[str, Any]) -> Table | None:
    """A row for every method that has a run on each task; ``None`` if there is one task only, or no such method."""
    about = document["all_tasks"]
    if not about or not about["methods"]:
        return None
    methods = about["methods"]
    cells = {"method": list(methods), "runs": [str(entry["runs"]) for entry in methods.values()]}
    for name, key in (
        ("normalised score, IQM", "iqm"),
        ("median of tasks", "median_of_tasks"),
        (f"P(better than {document['baseline']})", "probability_of_improvement"),
    ):
        column = [_bracketed(*entry[key]) if key in entry else NOTHING for entry in methods.values()]
        cells |= {name: column} if set(column) != {NOTHING} else {}
    return _table(cells)


def legend(score: str, *tables: Table) -> str:
    """What brackets, parentheses and counts in tables of :func:`score_table` mean; only those that these have.

    Args:
        score: what runs are compared by, a key of :data:`SCORES`.
        tables: the tables that are shown, each with all its columns or some of them.
    """
    columns = [(name, [row[i] for row in table.rows]) for table in tables for i, name in enumerate(table.header) if i]
    values = [cell for name, cells in columns for cell in cells if not name.startswith("against ")]
    counts = [cell for name, cells in columns for cell in cells if name.startswith(("first reward", "reaches ")) and cell != NOTHING]
    kind = "deterministic" if score == "evaluation_return" else "training"
    sentences = (
        (any("[" in cell for cell in values), "In square brackets: the 95 % bootstrap interval of the interquartile mean of the runs."),
        (
            any(" … " in cell for cell in values),
            "In parentheses: smallest and largest run, with the median, where there are fewer than 5 runs.",
        ),
        (
            any(not cell.startswith("0 ") for cell in counts),
            "A step is the median of all runs, one that never got there being later than any; it is left out if the median never did.",
        ),
        (
            any("≥" in cell for cell in values) or any(name.startswith("reaches ") for name, _ in columns),
            "A run reaches the threshold when the mean of 20 episodes does; ≥ counts the runs whose return is there at the end.",
        ),
        (
            any("P = " in cell for name, cells in columns for cell in cells if name.startswith("against ")),
            f"P is the probability that a run has a higher {kind} return than one of the baseline; a method is better or worse if the "
            "intervals of P and of the difference agree.",
        ),
        (any(name == "visited bins" for name, _ in columns), "Bins are equally wide for all runs of a task."),
    )
    return " ".join(sentence for applies, sentence in sentences if applies)


def markdown(table: Table) -> str:
    r"""The table in Markdown.

    Example:
        >>> print(markdown(Table(["method", "runs"], [["a|b", "3 of 3"]])))
        | method | runs |
        | --- | --- |
        | a\|b | 3 of 3 |
    """
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)


def rich_table(table: Table, title: str = "") -> rich.table.Table:
    """The table for a terminal, at least as wide as its title; nothing in it is markup."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    heading, width = (Text(title), cell_len(title) + 1) if title else (None, None)
    made = RichTable(title=heading, box=box.SIMPLE, title_justify="left", padding=(0, 1), min_width=width)
    for i, name in enumerate(table.header):
        made.add_column(Text(name), overflow="fold", no_wrap=i == 0)
    for row in table.rows:
        made.add_row(*map(Text, row))
    return made


def number(value: float | None) -> str:
    """A number for a person: about three digits.

    Example:
        >>> [number(value) for value in (0.95, 1163.44851, -42.13, 0.000123, 2e12, 0, None)]
        ['0.95', '1,163', '-42.1', '0.00012', '2e+12', '0', '–']
    """
    return NOTHING if value is None else _together(value)[0]


def steps(value: float) -> str:
    """Environment steps in short.

    Example:
        >>> [steps(value) for value in (812, 8200, 12_345, 999_999, 2_500_000)]
        ['812', '8.2k', '12.3k', '1M', '2.5M']
    """
    rounded = float(f"{value:.3g}")
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= size:
            return f"{rounded / size:g}{unit}"
    return f"{rounded:g}"


def _table(cells: Mapping[str, Sequence[str]]) -> Table:
    return Table(list(cells), [list(row) for row in zip(*cells.values(), strict=True)])


def _milestones(about: Mapping[str, Any]) -> list[str]:
    return list(next(iter(about["methods"].values()))["at"])


def _runs(entry: Entry) -> str:
    return f"{entry['runs']} of {entry['planned']}" + (f", {entry['failed']} failed" if entry["failed"] else "")


def _times(times: Mapping[str, Any] | None) -> str:
    if times is None:
        return NOTHING
    return f"{times['solved']} of {times['n']}" + (f", step {steps(times['median'])}" if times["median"] is not None else "")


def _score(entry: Entry, key: str, threshold: float | None) -> str:
    found = entry.get(key)
    if found is None:
        return NOTHING
    reaches = f", {entry[f'{key}_reaches']} of {found['n']} ≥ {threshold:g}" if threshold is not None else ""
    return _interval(found, entry["runs"]) + reaches


def _interval(found: Mapping[str, Any] | None, runs: int | None = None) -> str:
    """An interval of the document in words; says how many of the ``runs`` it is of, unless all."""
    if found is None:
        return NOTHING
    if "iqm" in found:
        text = _bracketed(found["iqm"], *found["iqm_95"])
    else:
        middle, low, high = _together(found["median"], found["min"], found["max"])
        text = middle if found["n"] == 1 else f"{middle} ({low} … {high})"
    return text + (f", of {found['n']} runs" if runs is not None and found["n"] != runs else "")


def _verdict(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOTHING
    if found["verdict"] == TOO_FEW:
        return str(found["verdict"])
    return f"{found['verdict']}, P = {_bracketed(*found['probability_of_improvement'])}"


def _bracketed(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return _together(value)[0]
    value_text, low_text, high_text = _together(value, low, high)
    return f"{value_text} [{low_text}, {high_text}]"


def _together(*values: float) -> list[str]:
    """Numbers that are compared with each other: as many decimals for each as give the largest three digits, or two below 1."""
    largest = max(map(abs, values))
    if largest and not 1e-4 <= largest < 1e9:
        return [f"{value:.3g}" for value in values]
    whole = all(value == int(value) for value in values)
    decimals = 0 if whole else max(0, 2 - math.floor(math.log10(largest))) - (largest < 1)
    return [f"{value:z,.{decimals}f}" for value in values]


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
