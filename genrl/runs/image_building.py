"""The model of a run, built from its configuration and its images; and the configuration with all that was decided."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from genrl.models.base import ImageModel
from genrl.runs.errors import RunError
from genrl.runs.generate_config import AUTO, GenerateConfig
from genrl.runs.hyperparameters import hyperparameters, resolve_kwargs
from genrl.runs.image_source import Source
from genrl.runs.recipes import model_class, recipe_of

__all__ = ["build"]


def build(config: GenerateConfig, source: Source) -> tuple[ImageModel, GenerateConfig]:
    """The model, and the configuration with every value that it was built and will be fitted with.

    Raises:
        RunError: arguments that the model refuses, images that it can't take, labels that it needs and that are missing, a batch that is
            too small for it.
    """
    recipe, cls, shape = recipe_of(config.model), model_class(config.model), source.data.train.shape
    decided = {**recipe.sized(shape, config.levels), **recipe.always}
    flags, given = hyperparameters(cls), {name: value for name, value in config.model_kwargs.items() if value is not None}
    kwargs = resolve_kwargs(cls, {name: value for name, value in decided.items() if name in flags} | given, "model")
    try:
        if recipe.needs_labels:
            _ = source.data.train.needed_labels
        if source.data.train.labels is not None and recipe.classes:
            decided["n_classes"] = _classes(source)
        first = decided.pop("first", shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = cls(first, **decided | kwargs)
    except ValueError as error:
        raise RunError(f"--model {config.model} on {config.data}: {error}") from error
    images = len(source.data.train)
    config = _resolved(replace(config, model_kwargs=kwargs), images)
    least = images // math.ceil(images / config.batch_size)  # batches are equal parts
    if least < recipe.fewest_in_a_batch:
        raise RunError(
            f"--batch-size {config.batch_size} makes batches of {least} of {images} images, but --model {config.model} "
            f"needs at least {recipe.fewest_in_a_batch}; give another --batch-size"
        )
    return model, config


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
    settings = recipe_of(config.model).settings(config.levels)
    values: dict[str, Any] = {"batch_size": settings.batch_size, "learning_rate": settings.learning_rate}
    config = replace(config, **{name: value for name, value in values.items() if getattr(config, name) == AUTO})
    if config.precision == "auto":
        config = replace(config, precision="bfloat16" if _is_made_for_bfloat16() else "float32")
    if config.epochs == AUTO:
        config = replace(config, epochs=max(1, round(settings.steps / math.ceil(images / config.batch_size))))
    return config


def _is_made_for_bfloat16() -> bool:
    """Whether Linux says so of the processor; elsewhere half the bits may be slower than all."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & words)
