"""`genrl imitate`: train a learner to do as demonstrations do."""

from __future__ import annotations

from genrl.cli._flags import parse_run
from genrl.runs.config.imitate import ImitateConfig

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Parse, train, report."""
    config = parse_run(ImitateConfig, argv)
    from genrl.cli._ending import report
    from genrl.runs import imitate

    return report(imitate(config), config.directory)
