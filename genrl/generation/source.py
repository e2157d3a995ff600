"""The images of a run as its model sees them: loaded or recorded, resized, turned grey, in so many levels."""

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
from genrl.generation.config import AUTO, GenerateConfig, Given
from genrl.generation.probe import balanced
from genrl.generation.recipes import recipe_of
from genrl.models.capabilities import Transform
from genrl.models.corruptions import Task, coarse, hole, noisy, quadrants
from genrl.models.pixels import to_levels
from genrl.models.semi_supervised import with_labelled

__all__ = ["Source", "images_of", "save_frames"]


@dataclass(frozen=True)
class Source:
    """Images, and what a model sees of them."""

    data: ImageData
    levels: int
    """Of grey or colour; 2 draws zeros and ones with the grey levels as probabilities."""
    recorded: ImageData | None = None
    """Frames of a task as they were recorded just now."""
    task: Task | None = None
    """What is given of an image to a model that completes it."""
    labelled: Images | None = None
    """The few whose labels a semi-supervised model is told."""
    notes: tuple[str, ...] = ()
    """What was done to the images, a sentence each."""

    @property
    def transform(self) -> Transform:
        """From grey levels to what the model learns."""
        if self.labelled is not None:
            return with_labelled(self.labelled.batch(), self.labelled.needed_labels, self.data.train)
        return self._levelled if self.task is None else self._completed

    def _levelled(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return to_levels(x, self.levels, generator)

    def _completed(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        assert self.task is not None
        return self.task(self._levelled(x, generator), generator)

    def seen(self, images: Images, seed: int) -> Tensor:
        """All of them as the model sees them, ``(image, channel, height, width)``."""
        return self._levelled(images.batch(), torch.Generator().manual_seed(seed))

    def __str__(self) -> str:
        channels, height, width = self.data.train.shape
        kind = "black and white" if self.levels == 2 else f"{self.levels} levels of {'grey' if channels == 1 else 'each colour'}"
        return f"{len(self.data.train):,} images to learn from, {len(self.data.test):,} to test on; {height} × {width}, {kind}"

    def checksum(self) -> str:
        """Of all pixels and labels."""
        digest = hashlib.sha256()
        for part in (self.data.train, self.data.test):
            digest.update(part.pixels.numpy().tobytes())
            digest.update(b"" if part.labels is None else part.labels.numpy().tobytes())
        return digest.hexdigest()


def images_of(config: GenerateConfig, frames: Path | None = None, *, quiet: bool = False) -> tuple[Source, GenerateConfig]:
    """The images that ``config`` asks for, and ``config`` with what was decided by them: size and levels.

    Args:
        config: the run.
        frames: a file of :func:`save_frames`, instead of recording them.
        quiet: no progress on stderr.

    Raises:
        RunError: there are no such images, or they are broken; a task that can't be drawn.
    """
    recipe = recipe_of(config.model)
    if config.task is not None and config.size == AUTO:
        config = replace(config, size=recipe.largest)
    try:
        recorded = _recorded(config, quiet) if config.task is not None and frames is None else None
        data = recorded or load_images(frames or config.data, config.data_root)
        shape = data.train.shape
        if config.size == AUTO:
            config = replace(config, size=recipe.largest if max(shape[1:]) > recipe.largest else 0)
        if config.levels == AUTO:
            config = replace(config, levels=recipe.levels_of_picture if config.task is not None else recipe.levels(shape))
        train, test = (part if recipe.colour else part.grey() for part in (data.train, data.test))
        if config.size:
            train, test = train.resized(config.size), test.resized(config.size)
        if recipe.completes:
            config = replace(config, given=config.given or "quadrants-1")
        task = None if config.given is None else _task(config, config.given, train)
        config, labelled = _few_labels(config, train) if recipe.few_labels else (config, None)
        notes = _notes(config, shape, train.shape)
        return Source(ImageData(config.subject, train, test), config.levels, recorded, task, labelled, notes), config
    except ImageError as error:
        raise RunError(str(error)) from error


def _task(config: GenerateConfig, given: Given, images: Images) -> Task:
    """A hole is three sevenths of a side, noise half of the range; tried on an image, before anything is written."""
    sides = images.shape[1:]
    whole = {"hole": hole(max(1, 3 * min(sides) // 7)), "noise": noisy(0.5), "coarse": coarse(2)}
    task = quadrants(int(given[-1])) if given.startswith("quadrants") else whole[given]
    try:
        task(images.batch(slice(0, 1)), torch.Generator())
    except ValueError as error:
        even = max(sides) + max(sides) % 2
        raise RunError(f"--given {given} on {config.data}: {error}; --size {even} would do") from error
    return task


def _few_labels(config: GenerateConfig, images: Images) -> tuple[GenerateConfig, Images]:
    """Those with labels, drawn by the seed, and how many: by default ten of each class, or as many as the smallest has."""
    try:
        counts = images.needed_labels.bincount()
    except ValueError as error:
        raise RunError(f"--model {config.model} on {config.data}: {error}") from error
    classes, least = int((counts > 0).sum()), int(counts[counts > 0].min())
    if config.labels == AUTO:
        config = replace(config, labels=min(10, least) * classes)
    each = min(max(1, round(config.labels / classes)), least)
    if config.labels != each * classes:
        raise RunError(
            f"--labels is {config.labels}, but {classes} classes, the smallest of {least} images, must share them equally; "
            f"type --labels {each * classes}"
        )
    return config, images[balanced(images.needed_labels, config.labels, torch.Generator().manual_seed(config.seed))]


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
        size=config.size,
        quiet=quiet,
    )


def save_frames(path: Path, data: ImageData) -> None:
    """An npz that :func:`genrl.data.load_images` reads, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, x_train=_last(data.train), x_test=_last(data.test))
    write_whole(path, buffer.getvalue())


def _last(images: Images) -> np.ndarray:
    return images.pixels.permute(0, 2, 3, 1).numpy()
