"""How each image model is fitted where nothing else is said: what it sees of the images, its sizes, and the settings of the fit.

A table of plain values; torch is imported only when a model is built. Which models there are is in :mod:`genrl.roles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genrl.roles import MODELS

__all__ = ["RECIPES", "FitPlan", "Recipe", "Shape", "flag_defaults", "recipe_of"]

Shape = tuple[int, int, int]
"""Channels, height, width."""

SMALL = 32
"""Most pixels a side of grey images that are taken for drawings, such as digits, which lose little in black and white."""


@dataclass(frozen=True)
class FitPlan:
    """Numbers of a fit that do well with one model."""

    steps: int
    """Number of steps; the epochs are as many as come nearest to it."""
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class Recipe:
    """How one model is trained by `genrl generate`."""

    drawing: FitPlan = FitPlan(5_000, 64, 1e-3)
    """Fit to black and white images."""
    picture: FitPlan = FitPlan(5_000, 64, 1e-3)
    """Fit to images of more levels."""
    levels_of_drawing: int = 2
    """Equally spaced levels that the model sees of small grey images; 2 for black and white."""
    levels_of_picture: int = 256
    """Levels that it sees of other images."""
    fewest_levels: int = 2
    """Fewest levels that the model takes."""
    most_levels: int = 256
    """Most levels that the model takes."""
    largest: int = 64
    """Pixels a side of the largest images that the model is given; larger images are resized."""
    colour: bool = True
    """Whether the model takes three channels; otherwise images are turned grey."""
    fit: Mapping[str, Any] = field(default_factory=lambda: {"anneal": True, "warmup": 100})
    """Further arguments of :func:`genrl.models.training.fit`."""
    sized: Callable[[Shape, int], dict[str, Any]] = lambda shape, levels: {"levels": levels}
    """Function from the shape and the levels of the images to default arguments of the constructor. Arguments that the constructor does not
    have are left out; ``first`` is the first argument, where that is not the shape."""
    by_images: tuple[str, ...] = ()
    """Names of those arguments that differ from one kind of images to another."""
    completes: bool = False
    """Whether the model makes what is wanted of an image from what is given, instead of images from nothing."""
    classes: bool = False
    """Whether the model is told the number of classes, where images have labels."""
    needs_labels: bool = False
    """Whether the model needs labels."""
    few_labels: bool = False
    """Whether the model learns from a few images with labels and many without."""
    counts: bool = False
    """Whether the model is fitted by one pass of counting."""
    always: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the constructor for which this recipe has other defaults."""

    def plan(self, levels: int) -> FitPlan:
        """The fit to images of so many levels."""
        return self.drawing if levels == 2 else self.picture

    def levels(self, shape: Shape) -> int:
        """Levels that the model sees of images that had this shape."""
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
    "drawing": FitPlan(5_600, 64, 4e-4),
    "picture": FitPlan(5_000, 64, 4e-4),
    "levels_of_drawing": 256,
    "fit": {"anneal": True},
}

_PACE: dict[str, Any] = {"generator_pace": 5.0}
"""The generator learns faster than the discriminator, which runs ahead at an equal pace with networks of these sizes."""
_CODES: dict[str, Any] = {"categories": (10,), "continuous": 2, "information": 0.5, "distortion": 1.0}

RECIPES: Mapping[str, Recipe] = {
    "naive-bayes": Recipe(
        drawing=FitPlan(1, 1000, 1.0),
        picture=FitPlan(1, 1000, 1.0),
        levels_of_picture=2,
        most_levels=2,
        classes=True,
        counts=True,
    ),
    "vae": Recipe(
        drawing=FitPlan(9_400, 128, 2e-3),
        picture=FitPlan(2_000, 64, 1e-3),
        sized=_vae,
        by_images=("channels", "hidden"),
    ),
    "pixelcnn": Recipe(
        drawing=FitPlan(3_750, 32, 1e-3),
        picture=FitPlan(2_000, 32, 1e-3),
        levels_of_picture=8,
        largest=32,
        colour=False,
        fit={"anneal": True, "max_grad_norm": 1.0},
    ),
    "realnvp": Recipe(
        drawing=FitPlan(3_750, 32, 2e-3),
        picture=FitPlan(3_750, 32, 2e-3),
        levels_of_drawing=256,
        fewest_levels=3,
        largest=32,
        fit={"anneal": True, "max_grad_norm": 100.0},
        always={"dequantization": "variational"},
    ),
    "conditional-vae": Recipe(
        drawing=FitPlan(2_350, 256, 2e-3),
        picture=FitPlan(2_350, 256, 2e-3),
        levels_of_picture=2,
        most_levels=2,
        largest=32,
        completes=True,
    ),
    "gan": Recipe(**_GAN, always=_PACE | {"networks": "dense"}),
    "dcgan": Recipe(**_GAN, always=_PACE),
    "conditional-gan": Recipe(**_GAN, always=_PACE, classes=True, needs_labels=True),
    "infogan": Recipe(**_GAN, always=_PACE | _CODES),
    "semi-supervised": Recipe(
        **{**_GAN, **dict.fromkeys(("drawing", "picture"), FitPlan(4_200, 100, 2e-3))},
        fewest_levels=256,
        classes=True,
        needs_labels=True,
        few_labels=True,
        always={"networks": "convolutional", "dense": 256, "jitter": 0.2, "entropy": 0.5, "generator_pace": 2.0},
    ),
    "diffusion": Recipe(
        drawing=FitPlan(5_000, 64, 2e-3),
        picture=FitPlan(5_000, 64, 2e-3),
        levels_of_drawing=256,
        fit={"anneal": True, "warmup": 200},
        classes=True,
    ),
    "energy": Recipe(
        drawing=FitPlan(4_000, 64, 1e-3),
        picture=FitPlan(4_000, 64, 1e-3),
        levels_of_drawing=256,
        fit={"max_grad_norm": 1.0, "average": 0.99},
        always={"restart": 0.2, "tie": 0.0},
    ),
    "mae": Recipe(picture=FitPlan(3_000, 64, 1e-3), levels_of_drawing=256),
    "jepa": Recipe(picture=FitPlan(2_000, 64, 1e-3), levels_of_drawing=256, by_images=("action",)),
    "pca": Recipe(levels_of_drawing=256, counts=True),
    "random": Recipe(levels_of_drawing=256, counts=True),
    "vq-vae": Recipe(
        drawing=FitPlan(5_600, 64, 1e-3),
        picture=FitPlan(3_000, 64, 1e-3),
        levels_of_drawing=256,
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
