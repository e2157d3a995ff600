"""The images of a run as its model sees them: loaded or recorded, resized, turned grey, rounded to levels."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genrl.data import ImageData, ImageError, Images, load_images
from genrl.errors import RunError
from genrl.files import write_whole
from genrl.generation.config import GenerateConfig, known
from genrl.generation.probe import balanced
from genrl.generation.recipes import recipe_of
from genrl.models.capabilities import Transform
from genrl.models.corruptions import Corruption, coarse, hole, noisy, quadrants
from genrl.models.pixels import to_levels
from genrl.models.semi_supervised import with_labelled

__all__ = ["RunImages", "images_of", "save_frames"]


@dataclass(frozen=True)
class RunImages:
    """The images of a run, and how its model sees them."""

    data: ImageData
    levels: int
    """Levels of grey or colour; with 2, zeros and ones are drawn with the grey levels as probabilities."""
    recorded: ImageData | None = None
    """Frames of a task as they were recorded just now."""
    corruption: Corruption | None = None
    """What is given of an image to a model that completes it, and what is wanted."""
    labelled: Images | None = None
    """The few images whose labels a semi-supervised model is told."""
    notes: tuple[str, ...] = ()
    """Sentences that say what was done to the images."""

    @property
    def transform(self) -> Transform:
        """The transform of the fit, from grey levels to what the model learns."""
        if self.labelled is not None:
            return with_labelled(self.labelled.batch(), self.labelled.needed_labels, self.data.train)
        return self._levelled if self.corruption is None else self._corrupted

    def _levelled(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return to_levels(x, self.levels, generator)

    def _corrupted(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        assert self.corruption is not None
        return self.corruption(self._levelled(x, generator), generator)

    def seen(self, images: Images, seed: int) -> Tensor:
        """All of ``images`` as the model sees them, ``(image, channel, height, width)``."""
        return self._levelled(images.batch(), torch.Generator().manual_seed(seed))

    def __str__(self) -> str:
        channels, height, width = self.data.train.shape
        kind = "black and white" if self.levels == 2 else f"{self.levels} levels of {'grey' if channels == 1 else 'each colour'}"
        return f"{len(self.data.train):,} images to learn from, {len(self.data.test):,} to test on; {height} × {width}, {kind}"

    def checksum(self) -> str:
        """Checksum of all pixels and labels."""
        digest = hashlib.sha256()
        for part in (self.data.train, self.data.test):
            digest.update(part.pixels.numpy().tobytes())
            digest.update(b"" if part.labels is None else part.labels.numpy().tobytes())
        return digest.hexdigest()


def images_of(config: GenerateConfig, frames: Path | None = None, *, quiet: bool = False) -> tuple[RunImages, GenerateConfig]:
    """The images that ``config`` asks for, and ``config`` with all that depends on them: size, levels, what is given, labels.

    Args:
        config: the run.
        frames: a file of :func:`save_frames`, instead of recording frames.
        quiet: show no progress on stderr.

    Raises:
        RunError: there are no such images, or they are broken; a task that can't be drawn.
    """
    try:
        recorded = _recorded(config, quiet) if config.task is not None and frames is None else None
        data = recorded or load_images(frames or config.data, config.data_root)
        config = _sized(config, data.train.shape)
        train, test = (_as_asked(config, part) for part in (data.train, data.test))
        config, corruption = _corrupting(config, train)
        config, labelled = _few_labels(config, train)
        notes = _notes(config, data.train.shape, train.shape)
        return RunImages(ImageData(config.subject, train, test), known(config.levels), recorded, corruption, labelled, notes), config
    except ImageError as error:
        raise RunError(str(error)) from error


def _sized(config: GenerateConfig, shape: tuple[int, int, int]) -> GenerateConfig:
    """``config`` with the size and the levels of images that have this shape."""
    recipe, size, levels = recipe_of(config.model), config.size, config.levels
    if size is None:
        size = recipe.largest if config.task is not None or max(shape[1:]) > recipe.largest else 0
    if levels is None:
        levels = recipe.levels_of_picture if config.task is not None else recipe.levels(shape)
    return replace(config, size=size, levels=levels)


def _as_asked(config: GenerateConfig, images: Images) -> Images:
    """Images in the colours and the size of the run."""
    coloured = images if recipe_of(config.model).colour else images.grey()
    return coloured.resized(config.size) if config.size else coloured


def _corrupting(config: GenerateConfig, images: Images) -> tuple[GenerateConfig, Corruption | None]:
    """What is given to a model that completes images; it is tried on one image, before anything is written.

    A hole is three sevenths of a side, noise half of the range.
    """
    if not recipe_of(config.model).completes:
        return config, None
    given, sides = config.given or "quadrants-1", images.shape[1:]
    whole = {"hole": hole(max(1, 3 * min(sides) // 7)), "noise": noisy(0.5), "coarse": coarse(2)}
    corruption = quadrants(int(given[-1])) if given.startswith("quadrants") else whole[given]
    try:
        corruption(images.batch(slice(0, 1)), torch.Generator())
    except ValueError as error:
        even = max(sides) + max(sides) % 2
        raise RunError(f"--given {given} on {config.data}: {error}; --size {even} would do") from error
    return replace(config, given=given), corruption


def _few_labels(config: GenerateConfig, images: Images) -> tuple[GenerateConfig, Images | None]:
    """The images whose labels a semi-supervised model is told, drawn by the seed, equally many of each class."""
    if not recipe_of(config.model).few_labels:
        return config, None
    try:
        counts = images.needed_labels.bincount()
    except ValueError as error:
        raise RunError(f"--model {config.model} on {config.data}: {error}") from error
    classes, least = int((counts > 0).sum()), int(counts[counts > 0].min())
    asked = min(10, least) * classes if config.labels is None else config.labels
    each = min(max(1, round(asked / classes)), least)
    if asked != each * classes:
        raise RunError(
            f"--labels is {asked}, but {classes} classes, the smallest of {least} images, must share them equally; "
            f"type --labels {each * classes}"
        )
    some = balanced(images.needed_labels, asked, torch.Generator().manual_seed(config.seed))
    return replace(config, labels=asked), images[some]


def _notes(config: GenerateConfig, before: tuple[int, int, int], after: tuple[int, int, int]) -> tuple[str, ...]:
    notes = []
    if before[0] != after[0]:
        notes.append(f"{config.model} models one channel, so colours are turned grey; for colours type --model vae")
    if before[1:] != after[1:]:
        sizes = [" × ".join(map(str, shape[1:])) for shape in (before, after)]
        notes.append(f"images of {sizes[0]} pixels are resized to {sizes[1]}; --size 0 leaves them as they are")
    return tuple(notes)


def _recorded(config: GenerateConfig, quiet: bool) -> ImageData:
    from genrl.generation.frames import record_frames

    assert config.task is not None
    return record_frames(
        config.task,
        config.frames,
        env_kwargs=config.env_kwargs,
        policy=config.policy,
        imports=config.imports,
        seed=config.seed,
        size=recipe_of(config.model).largest if config.size is None else config.size,
        quiet=quiet,
    )


def save_frames(path: Path, data: ImageData) -> None:
    """Write an npz that :func:`genrl.data.load_images` reads, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, x_train=_channels_last(data.train), x_test=_channels_last(data.test))
    write_whole(path, buffer.getvalue())


def _channels_last(images: Images) -> np.ndarray:
    return images.pixels.permute(0, 2, 3, 1).numpy()
