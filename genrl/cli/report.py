"""`genrl report DIR`: one HTML page of a study, also while it is running."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import parse
from genrl.cli._words import say

__all__ = ["main"]


@dataclass(frozen=True)
class ReportFlags:
    """Write a study as one self-contained HTML page, also while it is running."""

    run: tyro.conf.Positional[Path]
    """The directory of the study."""
    out: Path | None = None
    """The page; by default report.html in that directory."""
    results: Path | None = None
    """Also write the numbers into this folder: <study>.json, and <study>.csv with a row for each run."""
    markdown: bool = False
    """Print the tables as Markdown, one for each task, and nothing else on stdout."""


def main(argv: list[str]) -> int:
    """Parse, read, write."""
    flags = parse(ReportFlags, argv, "genrl report")
    from genrl.studies.report import write_report
    from genrl.studies.results import read_study
    from genrl.studies.summary import summarize, write_results
    from genrl.studies.tables import markdown, score_table

    page = write_report(flags.run, flags.out)
    if flags.results is not None or flags.markdown:
        results = read_study(flags.run)
        document = summarize(results)
        if flags.results is not None:
            flags.results.mkdir(parents=True, exist_ok=True)
            say("\n".join(map(str, write_results(results, document, flags.results / document["study"]))))
        if flags.markdown:
            say("\n\n".join(f"## {task}\n\n{markdown(score_table(document, task))}" for task in document["tasks"]))
    say(f"open it: {page}", sys.stderr if flags.markdown else sys.stdout)  # so that the tables can go into a file
    return 0
