"""The model of a run, built from its configuration and its images."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from genrl.errors import RunError
from genrl.generation.config import GenerateConfig, settled
from genrl.generation.images import RunImages
from genrl.generation.kept_encoder import encodes
from genrl.generation.recipes import Shape, recipe_of
from genrl.generators import forked_generators
from genrl.models.base import ImageModel
from genrl.models.capabilities import Sampler
from genrl.models.training import faster_precision
from genrl.roles import MODELS
from genrl.runs.config.base import device_of
from genrl.runs.config.hyperparameters import hyperparameters, resolve_kwargs

__all__ = ["build", "check_takes"]


def build(config: GenerateConfig, source: RunImages) -> tuple[ImageModel, GenerateConfig]:
    """The model of a run, and its configuration with nothing left to decide.

    Raises:
        RunError: arguments that the model refuses, images that it can't take, labels that it needs and that are missing, a batch that is
            too small for it, ``code`` where it leaves no encoder.
    """
    shape = source.data.train.shape
    try:
        kwargs = _arguments(config, source, shape)
        model = _made(config, shape, kwargs)
    except RunError:
        raise
    except ValueError as error:
        raise RunError(f"--model {config.model} on {config.data}: {error}{_other_size(config, source)}") from error
    flags = hyperparameters(type(model))
    own = {name: value for name, value in kwargs.items() if name in flags}
    if config.code != GenerateConfig.code and not encodes(model):
        raise RunError(f"--code is {config.code}, but --model {config.model} on {config.data} leaves no encoder; leave --code out")
    _check_history(config, source)
    config = _planned(replace(config, model_kwargs=own), len(source.data.train))
    _check_batch(config, model, len(source.data.train))
    return model, config


def check_takes(config: GenerateConfig) -> None:
    """Refuse what the model has no use for, before its images are read or recorded.

    Raises:
        RunError: ``moving`` is not 0, and the loss takes no ``weight``; ``judge_samples``, and there is no bound that takes samples;
            ``samples``, and the model draws none.
    """
    if config.samples != GenerateConfig.samples and not issubclass(_class(config), Sampler):
        raise RunError(f"--samples is {config.samples}, but --model {config.model} draws none; leave --samples out")
    if config.judge_samples is not None and _class(config).bound_samples is ImageModel.bound_samples:
        raise RunError(
            f"--judge-samples is {config.judge_samples}, but --model {config.model} has no bound that takes samples; leave "
            "--judge-samples out"
        )
    loss = getattr(_class(config), "loss", None)  # principal components and naive Bayes have none
    if config.moving and (loss is None or "weight" not in inspect.signature(loss).parameters):
        raise RunError(f"--moving is {config.moving}, but the error of --model {config.model} has no weights; write --model vae")


def _arguments(config: GenerateConfig, source: RunImages, shape: Shape) -> dict[str, Any]:
    """Arguments of the model's constructor for images of that shape: its flags, and what the images decide."""
    recipe, cls = recipe_of(config.model), _class(config)
    decided = {**recipe.sized(shape, settled(config.levels)), **recipe.always}
    if recipe.needs_labels:
        _ = source.data.train.needed_labels
    if source.data.train.labels is not None and recipe.classes:
        decided["n_classes"] = _classes(source)
    if config.moving and source.data.train.walk is None:
        raise RunError(f"--moving is {config.moving}, but --data {config.data} has no frames in a row; write --data frames:TASK")
    if cls.pairs:
        decided["action"] = _action_size(config, source)
    flags, given = hyperparameters(cls), {name: value for name, value in config.model_kwargs.items() if value is not None}
    own = resolve_kwargs(cls, {name: value for name, value in decided.items() if name in flags} | given, "model")
    takes = inspect.signature(cls).parameters
    return {name: value for name, value in decided.items() if name in takes or name == "first"} | own


def _action_size(config: GenerateConfig, source: RunImages) -> int:
    walk = source.data.train.walk
    if walk is None:
        raise RunError(f"--model {config.model} learns from frames and the actions between them; write --data frames:TASK")
    if not len(walk.stacks(2)):
        raise RunError(
            f"--model {config.model} learns from two frames of one episode, but no two of {config.data} are of one; type --every 1, "
            "--frames 40 or more, or --model vae, which learns from single ones"
        )
    return walk.action.shape[1]


def _made(config: GenerateConfig, shape: Shape, arguments: Mapping[str, Any]) -> ImageModel:
    rest = dict(arguments)
    with forked_generators():
        torch.manual_seed(config.seed)
        return _class(config)(rest.pop("first", shape), **rest)


def _class(config: GenerateConfig) -> type[Any]:
    cls = MODELS.load(config.model)
    assert cls is not None
    return cls


def _other_size(config: GenerateConfig, source: RunImages) -> str:
    """The flag that helps, where it is the size of images that a model refuses."""
    channels, *sides = source.data.train.shape
    for size in (max(8, 4 * round(max(sides) / 4)), max(8, 8 * round(max(sides) / 8)), recipe_of(config.model).largest):
        shape = (channels, size, size)
        try:
            _made(config, shape, _arguments(config, source, shape))
        except ValueError:
            continue
        return f"; --size {size} would do"
    return ""


def _classes(source: RunImages) -> int:
    """Number of classes in all images.

    Raises:
        ValueError: test images without labels.
    """
    train, test = source.data.train, source.data.test
    if test.labels is None:
        raise ValueError("the training images have labels, but the test images have none; give both, or neither")
    return max(train.n_classes, test.n_classes)


def _planned(config: GenerateConfig, images: int) -> GenerateConfig:
    """``config`` with the numbers of the fit."""
    recipe = recipe_of(config.model)
    if recipe.counts:
        return replace(config, epochs=1, precision="float32")
    config = replace(config, precision=faster_precision(config.precision, torch.device(device_of(config.device)).type))
    plan = recipe.plan(settled(config.levels))
    batch_size = plan.batch_size if config.batch_size is None else config.batch_size
    rate = plan.learning_rate if config.learning_rate is None else config.learning_rate
    epochs = max(1, round(plan.steps / math.ceil(images / batch_size))) if config.epochs is None else config.epochs
    return replace(config, batch_size=batch_size, learning_rate=rate, epochs=epochs)


def _check_history(config: GenerateConfig, source: RunImages) -> None:
    """Refuse to probe more frames in a row than the episodes have, which would fail after the fit."""
    walk = source.data.test.walk
    if walk is None or walk.state is None or len(walk.stacks(config.history)) > 1:
        return
    longest = max(k for k in range(1, len(walk) + 1) if k == 1 or len(walk.stacks(k)) > 1)
    raise RunError(
        f"--history is {config.history}, but no episode that is kept back has so many frames; record more by --frames, or give at most "
        f"{longest}"
    )


def _check_batch(config: GenerateConfig, model: ImageModel, images: int) -> None:
    """Refuse batches that are too small for the model; all are equal parts of the images."""
    if recipe_of(config.model).counts:
        return
    made = images // math.ceil(images / settled(config.batch_size))
    if made < model.fewest_in_a_batch:
        raise RunError(
            f"--batch-size {config.batch_size} makes batches of {made} of {images} images, but --model {config.model} "
            f"needs at least {model.fewest_in_a_batch}; give another --batch-size"
        )
