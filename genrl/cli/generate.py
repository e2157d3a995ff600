"""`genrl generate`: train a generative model on images, and measure it."""

from __future__ import annotations

from genrl.cli._flags import parse_run
from genrl.generation.config import GenerateConfig

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Parse, train, report."""
    config = parse_run(GenerateConfig, argv)
    from genrl.cli._ending import report_generation
    from genrl.generation import generate

    return report_generation(generate(config), config.directory)
