"""How each image model is fitted where nothing else is said: what it sees of the images, its sizes, and the settings of the fit.

A table of plain values; torch is imported only when a model is built. Which models there are is in :mod:`genrl.roles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genrl.roles import MODELS

__all__ = ["RECIPES", "Recipe", "Settings", "flag_defaults", "recipe_of"]

Shape = tuple[int, int, int]
"""Channels, height, width."""

SMALL = 32
"""Images of one channel and at most so many pixels a side are taken for drawings, such as digits: black and white does them justice."""


@dataclass(frozen=True)
class Settings:
    """Of a fit; the number of epochs is what comes nearest to ``steps``."""

    steps: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class Recipe:
    """One model."""

    drawing: Settings = Settings(5_000, 64, 1e-3)
    """For black and white images."""
    picture: Settings = Settings(5_000, 64, 1e-3)
    """For images of more levels."""
    levels_of_drawing: int = 2
    levels_of_picture: int = 256
    """What it sees: so many equally spaced levels of grey or colour, 2 for black and white."""
    fewest_levels: int = 2
    most_levels: int = 256
    largest: int = 64
    """Pixels a side of the images that it is given; larger ones are resized to so many."""
    colour: bool = True
    """Whether it takes three channels; otherwise images are turned grey."""
    draws_levels: bool = True
    """Whether samples are like the levelled images that it learns; otherwise they are means, as a decoder gives them."""
    fit: Mapping[str, Any] = field(default_factory=lambda: {"anneal": True, "warmup": 100})
    """Further arguments of :func:`genrl.models.training.fit`."""
    sized: Callable[[Shape, int], dict[str, Any]] = lambda shape, levels: {"levels": levels}
    """Arguments of the constructor for images of a shape with so many levels, where the user gives none; ``first`` is the first of them,
    if that is not the shape."""
    by_images: tuple[str, ...] = ()
    """Those of them that differ from one kind of images to another."""
    judge_samples: int | None = None
    """Draws for each image in its bound; by default 500, or 100 for large images."""
    completes: bool = False
    """Whether it makes what is wanted of an image from what is given, instead of images from nothing."""
    classes: bool = False
    """Whether it is given the number of classes, where images have labels."""
    needs_labels: bool = False
    """Whether it can't do without them."""
    few_labels: bool = False
    """Whether it learns from images without labels and a few with them."""
    counts: bool = False
    """Whether it is fitted by one pass of counting."""
    fewest_in_a_batch: int = 1
    """Images that a step needs."""
    always: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the constructor that are always others than its own defaults."""

    def settings(self, levels: int) -> Settings:
        """What does well with images of so many levels."""
        return self.drawing if levels == 2 else self.picture

    def levels(self, shape: Shape) -> int:
        """What it sees of images that had this shape."""
        return self.levels_of_drawing if shape[0] == 1 and max(shape[1:]) <= SMALL else self.levels_of_picture


def _vae(shape: Shape, levels: int) -> dict[str, Any]:
    """Convolutions that halve images to 4 to 7 pixels a side, where their sizes allow it; otherwise dense layers."""
    height, width = shape[1:]
    halvings = 0
    while min(height, width) >= 8 and height % 2 == 0 and width % 2 == 0:
        height, width, halvings = height // 2, width // 2, halvings + 1
    channels = tuple(min(32 * 2**i, 128) for i in range(halvings))
    pixels = {"pixels": "bernoulli"} if levels == 2 else {"pixels": "logistic", "levels": levels}
    return {"channels": channels, "hidden": (256,) if channels else (500, 500), **pixels}


def _vqvae(shape: Shape, levels: int) -> dict[str, Any]:
    pixels = {"pixels": "bernoulli"} if levels == 2 else {"pixels": "logistic", "levels": levels}
    halvings = 2 if max(shape[1:]) <= SMALL else 3
    return {"first": {"image_shape": shape, "downsample": halvings, **pixels}}


_GAN: Mapping[str, Any] = {
    "drawing": Settings(5_600, 64, 4e-4),
    "picture": Settings(5_000, 64, 4e-4),
    "fewest_in_a_batch": 2,
    "levels_of_drawing": 256,
    "fit": {"anneal": True},
    "sized": lambda shape, levels: {},
}

_PACE: dict[str, Any] = {"generator_pace": 5.0}
"""At an equal pace the discriminators of these sizes run ahead."""
_CODES: dict[str, Any] = {"categories": (10,), "continuous": 2, "information": 0.5, "distortion": 1.0}

RECIPES: Mapping[str, Recipe] = {
    "naive-bayes": Recipe(
        drawing=Settings(1, 1000, 1.0),
        picture=Settings(1, 1000, 1.0),
        levels_of_picture=2,
        most_levels=2,
        classes=True,
        counts=True,
        sized=lambda shape, levels: {},
    ),
    "vae": Recipe(
        drawing=Settings(9_400, 128, 2e-3),
        picture=Settings(2_000, 64, 1e-3),
        draws_levels=False,
        sized=_vae,
        by_images=("channels", "hidden"),
    ),
    "pixelcnn": Recipe(
        drawing=Settings(3_750, 32, 1e-3),
        picture=Settings(2_000, 32, 1e-3),
        levels_of_picture=8,
        largest=32,
        colour=False,
        fit={"anneal": True, "max_grad_norm": 1.0},
    ),
    "realnvp": Recipe(
        drawing=Settings(3_750, 32, 2e-3),
        picture=Settings(3_750, 32, 2e-3),
        levels_of_drawing=256,
        fewest_levels=3,
        largest=32,
        fit={"anneal": True, "max_grad_norm": 100.0},
        always={"dequantization": "variational"},
        judge_samples=10,
    ),
    "conditional-vae": Recipe(
        drawing=Settings(2_350, 256, 2e-3),
        picture=Settings(2_350, 256, 2e-3),
        levels_of_picture=2,
        most_levels=2,
        largest=32,
        completes=True,
        sized=lambda shape, levels: {},
    ),
    "gan": Recipe(**_GAN, always=_PACE | {"networks": "dense"}),
    "dcgan": Recipe(**_GAN, always=_PACE),
    "conditional-gan": Recipe(**_GAN, always=_PACE, classes=True, needs_labels=True),
    "infogan": Recipe(**_GAN, always=_PACE | _CODES),
    "semi-supervised": Recipe(
        **{**_GAN, **dict.fromkeys(("drawing", "picture"), Settings(4_200, 100, 2e-3))},
        fewest_levels=256,
        classes=True,
        needs_labels=True,
        few_labels=True,
        always={"networks": "convolutional", "dense": 256, "jitter": 0.2, "entropy": 0.5, "generator_pace": 2.0},
    ),
    "diffusion": Recipe(
        drawing=Settings(5_000, 64, 2e-3),
        picture=Settings(5_000, 64, 2e-3),
        levels_of_drawing=256,
        fit={"anneal": True, "warmup": 200},
        sized=lambda shape, levels: {},
        classes=True,
    ),
    "energy": Recipe(
        drawing=Settings(4_000, 64, 1e-3),
        picture=Settings(4_000, 64, 1e-3),
        levels_of_drawing=256,
        fit={"max_grad_norm": 1.0, "average": 0.99},
        sized=lambda shape, levels: {},
        always={"restart": 0.2, "tie": 0.0},
    ),
    "vq-vae": Recipe(
        drawing=Settings(5_600, 64, 1e-3),
        picture=Settings(3_000, 64, 1e-3),
        levels_of_drawing=256,
        draws_levels=False,
        fit={"anneal": True, "warmup": 100, "max_grad_norm": 1.0},
        sized=_vqvae,
        always={"frozen": False, "depth": 3},
    ),
}


def recipe_of(name: str) -> Recipe:
    """The recipe of a model by its name on the command line, in any spelling; a model without a row here has the values of `Recipe`.

    Raises:
        RunError: no such model.
    """
    return RECIPES.get(MODELS.part(name).name, Recipe())


def flag_defaults(name: str) -> dict[str, Any]:
    """Defaults of a model's flags where they are not its constructor's; ``None`` is what fits the images."""
    recipe = recipe_of(name)
    return dict(recipe.always) | dict.fromkeys(recipe.by_images)
