"""The model of a run, built from its configuration and its images; and the configuration with all that was decided."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from genrl.errors import RunError
from genrl.generation.config import AUTO, GenerateConfig
from genrl.generation.recipes import Shape, recipe_of
from genrl.generation.source import Source
from genrl.models.base import ImageModel
from genrl.models.training import faster_precision
from genrl.roles import MODELS
from genrl.runs.hyperparameters import hyperparameters, resolve_kwargs

__all__ = ["build"]


def build(config: GenerateConfig, source: Source) -> tuple[ImageModel, GenerateConfig]:
    """The model, and the configuration with every value that it was built and will be fitted with.

    Raises:
        RunError: arguments that the model refuses, images that it can't take, labels that it needs and that are missing, a batch that is
            too small for it.
    """
    recipe, cls, shape = recipe_of(config.model), MODELS.load(config.model), source.data.train.shape
    assert cls is not None
    flags, given = hyperparameters(cls), {name: value for name, value in config.model_kwargs.items() if value is not None}

    def made(shape: Shape) -> tuple[ImageModel, dict[str, Any]]:
        """Of images of that shape, with the values of its flags."""
        decided = {**recipe.sized(shape, config.levels), **recipe.always}
        kwargs = resolve_kwargs(cls, {name: value for name, value in decided.items() if name in flags} | given, "model")
        if recipe.needs_labels:
            _ = source.data.train.needed_labels
        if source.data.train.labels is not None and recipe.classes:
            decided["n_classes"] = _classes(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return cls(decided.pop("first", shape), **decided | kwargs), kwargs

    try:
        model, kwargs = made(shape)
    except RunError:
        raise
    except ValueError as error:
        raise RunError(f"--model {config.model} on {config.data}: {error}{_other_size(made, shape, recipe.largest)}") from error
    images = len(source.data.train)
    config = _resolved(replace(config, model_kwargs=kwargs), images)
    least = images if recipe.counts else images // math.ceil(images / config.batch_size)  # batches are equal parts
    if least < recipe.fewest_in_a_batch:
        raise RunError(
            f"--batch-size {config.batch_size} makes batches of {least} of {images} images, but --model {config.model} "
            f"needs at least {recipe.fewest_in_a_batch}; give another --batch-size"
        )
    return model, config


def _other_size(made: Callable[[Shape], object], shape: Shape, largest: int) -> str:
    """The flag that helps, if it is the size of images that a model refuses."""
    side = max(shape[1:])
    for size in (max(8, 4 * round(side / 4)), max(8, 8 * round(side / 8)), largest):
        try:
            made((shape[0], size, size))
        except ValueError:
            continue
        return f"; --size {size} would do"
    return ""


def _classes(source: Source) -> int:
    """How many there are, in all the images.

    Raises:
        ValueError: test images without labels.
    """
    train, test = source.data.train, source.data.test
    if test.labels is None:
        raise ValueError("the training images have labels, but the test images have none; give both, or neither")
    return max(train.n_classes, test.n_classes)


def _resolved(config: GenerateConfig, images: int) -> GenerateConfig:
    """With the settings of the fit."""
    config = replace(config, precision=faster_precision(config.precision))
    if recipe_of(config.model).counts:
        return replace(config, epochs=1)
    settings = recipe_of(config.model).settings(config.levels)
    values: dict[str, Any] = {"batch_size": settings.batch_size, "learning_rate": settings.learning_rate}
    config = replace(config, **{name: value for name, value in values.items() if getattr(config, name) == AUTO})
    if config.epochs == AUTO:
        config = replace(config, epochs=max(1, round(settings.steps / math.ceil(images / config.batch_size))))
    return config
