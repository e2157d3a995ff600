"""`genrl dream`: train a learner that also learns in a model of its task."""

from __future__ import annotations

from genrl.cli._flags import parse_run
from genrl.runs.config.dream import DreamConfig

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Parse, train, compare the dream with reality, report."""
    config = parse_run(DreamConfig, argv)
    from genrl.cli._ending import report
    from genrl.runs.dreams.comparison import dream

    return report(dream(config), config.directory)
