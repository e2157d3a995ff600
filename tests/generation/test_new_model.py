"""A new image model is one file and one row: it trains, is measured, drawn, saved, loaded and resumed."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genrl import models
from genrl.generation import GenerateConfig, generate, resume_generation
from genrl.generation.recipes import RECIPES
from genrl.models import load_model
from genrl.models.base import ImageModel
from genrl.roles import MODELS, Part, image_models
from genrl.runs.config.hyperparameters import hyperparameters


class Blurred(ImageModel):
    """Independent pixels around a learned mean image.

    Args:
        image_shape: channels, height, width.
        spread: standard deviation of each pixel.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, spread: float = 0.1) -> None:
        super().__init__()
        self.image_shape, self.spread = image_shape, spread
        self.mean = nn.Parameter(torch.full(image_shape, 0.5))

    def loss(self, x: Tensor) -> Tensor:
        return (self.checked(x) - self.mean).square().sum((1, 2, 3)).mean()

    def sample(self, n: int) -> Tensor:
        return (self.mean.detach() + self.spread * torch.randn(n, *self.image_shape)).clamp(0, 1)


@pytest.fixture
def row():
    """One row of the table of roles, as if it were in genrl/roles.py."""
    before = MODELS.parts
    object.__setattr__(MODELS, "parts", (*before, Part("blurred", f"{__name__}:Blurred", "independent pixels around a mean image")))
    yield
    object.__setattr__(MODELS, "parts", before)


def test_a_new_model_is_one_file_and_one_row(row, tmp_path):
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8))
    config = GenerateConfig(
        model="Blurred", data=str(tmp_path / "images.npz"), out=tmp_path / "run", epochs=2, judge_images=10, model_kwargs={"spread": 0.2}
    )
    result = generate(config, quiet=True)
    assert (result["status"], result["judging_error"], result["likelihood"]) == ("finished", None, None)
    assert (tmp_path / "run" / "samples.png").is_file()
    loaded = load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(loaded, Blurred)
    assert loaded.settings == {"image_shape": (1, 8, 8), "spread": 0.2}
    assert resume_generation(tmp_path / "run", epochs=3, quiet=True)["epochs"] == 3


def test_every_recipe_has_its_row():
    assert set(RECIPES) <= set(MODELS.names)


@pytest.mark.parametrize("name", MODELS.names)
def test_a_row_is_a_class_whose_files_load_and_whose_flags_have_help(name):
    cls = MODELS.load(name)
    assert issubclass(cls, ImageModel)
    assert image_models()[cls.__name__] == MODELS.part(name).path
    assert getattr(models, cls.__name__) is cls
    assert not [flag for flag, item in hyperparameters(cls).items() if not item.help]


@pytest.mark.parametrize("name", sorted(image_models()))
def test_every_keyword_of_a_model_is_explained_in_its_docstring_or_a_bases(name):
    cls = getattr(models, name)
    pages = "\n".join(base.__doc__ or "" for base in cls.__mro__ if issubclass(base, ImageModel))
    assert not [keyword for keyword in inspect.signature(cls).parameters if f"        {keyword}: " not in pages]
