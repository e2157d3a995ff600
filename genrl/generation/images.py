"""The images of a run as its model sees them: loaded or recorded, resized, turned grey, rounded to levels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from genrl.data import ImageData, ImageError, Images, load_images
from genrl.data.image_files import check_root
from genrl.encoders import Preprocessing
from genrl.errors import RunError
from genrl.generation.config import GenerateConfig, Given, settled
from genrl.generation.frames_file import load_frames
from genrl.generation.probe import balanced
from genrl.generation.recipes import recipe_of
from genrl.models.capabilities import Batch, Source, Transform
from genrl.models.corruptions import Corruption, named
from genrl.models.pixels import to_levels
from genrl.models.semi_supervised import with_labelled
from genrl.models.sources import TensorSource
from genrl.roles import MODELS

NO_CROP = (0, 0, 0, 0)
GIVEN: Given = "quadrants-1"
"""What a model that completes images is given by default."""
CHANGE = 12
"""Difference of a byte from one frame to the next above which a pixel has changed."""

__all__ = ["GIVEN", "RunImages", "images_of"]


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
    preprocessing: Preprocessing | None = None
    """What was done to the images as they came in."""
    moving: float = 0.0
    """Additional weight of an error where a frame has changed."""
    notes: tuple[str, ...] = ()
    """Sentences that say what was done to the images."""

    @property
    def transform(self) -> Transform:
        """The transform of the fit, from grey levels to what the model learns."""
        if self.labelled is not None:
            return with_labelled(self.labelled.batch(), self.labelled.needed_labels, self.data.train)
        if self.moving:
            return self._weighed
        return self.levelled if self.corruption is None else self._corrupted

    def to_learn(self, images: Images, pairs: bool) -> Source:
        """What a fit draws of ``images``: themselves; frames, actions and the next frames; or frames and where they have changed."""
        if images.walk is None or not (pairs or self.moving):
            return images
        before, after = images.walk.stacks(2).unbind(1)
        if pairs:
            return TensorSource(images.pixels[before], images.walk.action[before], images.pixels[after])
        changed = torch.zeros_like(images.pixels)
        changed[after] = 255 * ((images.pixels[after].int() - images.pixels[before].int()).abs() > CHANGE).byte()
        return TensorSource(images.pixels, changed)

    def _weighed(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Frames, and the weight of the error of each pixel."""
        x, changed = batch
        return self.levelled(x, generator), 1 + self.moving * changed

    def levelled(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Grey levels as the model sees them."""
        return to_levels(x, self.levels, generator)

    def levelled_pairs(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The transform of a fit to frames, the actions that follow, and the next frames."""
        before, action, after = batch
        return self.levelled(before, generator), action, self.levelled(after, generator)

    def _corrupted(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        assert self.corruption is not None
        return self.corruption(self.levelled(x, generator), generator)

    def seen(self, images: Images, seed: int) -> Tensor:
        """All of ``images`` as the model sees them, ``(image, channel, height, width)``."""
        return self.levelled(images.batch(), torch.Generator().manual_seed(seed))

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
        RunError: there are no such images, or they are broken; a task that can't be drawn; ``data_root`` of no named data set.
    """
    try:
        check_root(config.data, config.data_root)
        recorded = _recorded(config, quiet) if config.task is not None and frames is None else None
        data = recorded or (load_images(config.data, config.data_root) if frames is None else load_frames(frames))
        data = _some(config, data)
        config = _sized(config, data)
        train, test = (_preprocessing(config, data.train.shape).images(part) for part in (data.train, data.test))
        config, corruption = _corrupting(config, train)
        config, labelled = _few_labels(config, train)
        whole = _preprocessing(config, data.train.shape if train.walk is None else train.walk.source, config.crop)
        notes = _notes(config, data.train.shape if train.walk is not None else replace(whole, size=0, grey=False).shape, train.shape)
        images = ImageData(config.subject, train, test)
        return RunImages(images, settled(config.levels), recorded, corruption, labelled, whole, config.moving, notes), config
    except ImageError as error:
        raise RunError(str(error)) from error


def _some(config: GenerateConfig, data: ImageData) -> ImageData:
    """The data with ``config.images`` of its training images, drawn at random; all of them by default."""
    if config.images is None:
        return data
    if config.images > (most := len(data.train)):
        raise RunError(f"--images is {config.images}, but {config.data} has {most} to learn from; give at most {most}")
    drawn = torch.randperm(most, generator=torch.Generator().manual_seed(config.seed))[: config.images]
    return replace(data, train=data.train[drawn])


def _sized(config: GenerateConfig, data: ImageData) -> GenerateConfig:
    """``config`` with the size and the levels of these images."""
    recipe, size, levels, shape = recipe_of(config.model), config.size, config.levels, data.train.shape
    if size is None:
        walk = data.train.walk
        as_they_are = walk is not None and shape == Preprocessing(walk.source, config.crop or NO_CROP).shape
        size = recipe.largest if (config.task is not None and not as_they_are) or max(shape[1:]) > recipe.largest else 0
    if levels is None:
        levels = recipe.levels_of_picture if config.task is not None else recipe.levels(shape)
    return replace(config, size=size, levels=levels)


def _preprocessing(config: GenerateConfig, shape: tuple[int, int, int], crop: tuple[int, int, int, int] | None = None) -> Preprocessing:
    """What is done to images of that shape; frames were cut when they were recorded."""
    cut = config.crop if config.task is None else crop
    grey = shape[0] == 3 and (config.grey or not recipe_of(config.model).colour)
    return Preprocessing(shape, cut or NO_CROP, settled(config.size), grey, settled(config.levels))


def _corrupting(config: GenerateConfig, images: Images) -> tuple[GenerateConfig, Corruption | None]:
    """What is given to a model that completes images; it is tried on one image, before anything is written."""
    if not recipe_of(config.model).completes:
        return config, None
    given, sides = config.given or GIVEN, images.shape[1:]
    corruption = named(given, *sides)
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
    """What was done to images that had the shape ``before`` after they were cut."""
    notes = []
    if before[0] != after[0]:
        coloured = recipe_of(config.model).colour
        why = "--grey was given" if coloured else f"{config.model} models one channel"
        notes.append(f"{why}, so colours are turned grey" + ("" if coloured else "; for colours type --model vae"))
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
        crop=config.crop or NO_CROP,
        size=recipe_of(config.model).largest if config.size is None else config.size,
        only_larger=config.size is None,
        every=1 if config.every is None and getattr(MODELS.load(config.model), "pairs", False) else config.every,
        archive=config.archive,
        quiet=quiet,
    )
