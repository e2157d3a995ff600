"""`genrl complete RUN --images …`: what the model of a run makes of given images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from genrl.cli._flags import check_seed, parse
from genrl.cli._words import say
from genrl.errors import RunError

__all__ = ["main"]


@dataclass(frozen=True)
class CompleteFlags:
    """Make of images what the trained generative model of a run can, into a grid and an npz that are named by `--how`."""

    run: tyro.conf.Positional[Path]
    """The run directory."""
    images: str
    """The images: a picture, a folder of them, an npz, or the test images of mnist or fashion-mnist."""
    how: Literal["reconstruct", "interpolate", "inpaint", "denoise", "enlarge"] | None = None
    """What is made: reconstruct (decode the code of an image), interpolate (from each image to the next), inpaint (draw what is left out),
    denoise (the images are noisy as they are), or enlarge (images of half the size; others are made coarse first). By default the first
    that the model can."""
    given: Literal["quadrants-1", "quadrants-2", "quadrants-3", "hole"] | None = None
    """The part of an image that is kept to inpaint the rest, by default quadrants-2; a conditional-vae keeps what it was trained with."""
    n: int = 20
    """Number of images that are taken, the first ones, at most 1,000."""
    seed: int = 0
    """Seed of whatever is drawn."""
    data_root: Path | None = None
    """Folder that holds the folders mnist and fashion-mnist; by default the one that GENRL_DATA names, then the user's cache."""
    out: Path | None = None
    """Folder of the two files; by default the run directory. Files of these names that are there already are refused."""


def main(argv: list[str]) -> int:
    """Parse, make, name what was written."""
    flags = parse(CompleteFlags, argv, "genrl complete")
    if not 1 <= flags.n <= 1000:
        raise RunError(f"--n is {flags.n}, but must be between 1 and 1,000")
    check_seed(flags.seed)
    from genrl.data.image_files import images_at
    from genrl.data.images import ImageError
    from genrl.generation.uses import write_completions

    try:
        images = images_at(flags.images, flags.data_root)[: flags.n]
    except ImageError as error:
        raise RunError(str(error)) from error
    say("\n".join(map(str, write_completions(flags.run, images, flags.out, flags.how, flags.given, flags.seed))))
    return 0
