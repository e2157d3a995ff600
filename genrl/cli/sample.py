"""`genrl sample RUN`: images drawn by the model of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from genrl.cli._flags import check_seed, parse
from genrl.cli._words import say
from genrl.errors import RunError

__all__ = ["main"]


@dataclass(frozen=True)
class SampleFlags:
    """Draw images by the trained generative model of a run, into drawn.png (a grid) and drawn.npz (which `--data` takes)."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    n: int = 64
    """Number of images, at most 10,000."""
    label: int | None = None
    """Class of all images, where the model was told classes."""
    labels: tuple[int, ...] | None = None
    """Classes of the images, in turn, where the model was told classes."""
    seed: int = 0
    """Seed of the draws."""
    out: Path | None = None
    """Folder of the two files; by default the run directory. Files of these names that are there already are refused."""


def main(argv: list[str]) -> int:
    """Parse, draw, name what was written."""
    flags = parse(SampleFlags, argv, "genrl sample")
    if not 1 <= flags.n <= 10_000:
        raise RunError(f"--n is {flags.n}, but must be between 1 and 10,000")
    check_seed(flags.seed)
    if flags.label is not None and flags.labels is not None:
        raise RunError("--label and --labels were both given; leave one out")
    if flags.labels == ():
        raise RunError("--labels names no class; write such as --labels 0 1 2")
    from genrl.generation.uses import write_samples

    labels = flags.labels if flags.label is None else (flags.label,)
    say("\n".join(map(str, write_samples(flags.run, flags.out, flags.n, labels, flags.seed))))
    return 0
