"""`genrl explore`: train a learner on a task with an exploration bonus."""

from __future__ import annotations

from genrl.cli._flags import parse_run
from genrl.runs.config.run import ExploreConfig

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Parse, train, report."""
    config = parse_run(ExploreConfig, argv)
    from genrl.cli._ending import report
    from genrl.runs import explore

    return report(explore(config), config.directory)
