"""What every image model has in common: it knows what it was built with, so that a file of weights is enough to build it again."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genrl.files import load_state, save_state

__all__ = ["ImageModel", "evaluating", "load_model", "model_of", "model_state", "save_model"]

_CLASSES = {
    "ConditionalVAE": "conditional_vae",
    "Diffusion": "diffusion",
    "GAN": "gan",
    "SemiSupervisedGAN": "semi_supervised",
    "EnergyModel": "energy",
    "NaiveBayes": "naive_bayes",
    "PixelCNN": "pixelcnn",
    "RealNVP": "realnvp",
    "VAE": "vae",
    "JEPA": "jepa",
    "MAE": "mae",
    "PCA": "pca",
    "RandomNetwork": "random_network",
    "VQVAE": "vqvae",
    "CodePrior": "vqvae",
}
"""The module of each class that a file may name; nothing else is ever imported for one."""


class ImageModel(nn.Module):
    """A module that remembers its constructor's arguments, in ``settings``: plain values that JSON keeps.

    Example:
        >>> class Blank(ImageModel):
        ...     def __init__(self, image_shape: tuple[int, int, int], *, grey: float = 0.5) -> None:
        ...         super().__init__()
        >>> Blank((1, 2, 2)).settings
        {'image_shape': (1, 2, 2), 'grey': 0.5}
    """

    settings: dict[str, Any]
    image_shape: tuple[int, int, int]
    """Channels, height, width."""

    def __new__(cls, *args: Any, **kwargs: Any) -> ImageModel:
        model = super().__new__(cls)
        if args or kwargs:  # a copy is made without; it gets the settings of its original
            given = inspect.signature(cls).bind(*args, **kwargs)
            given.apply_defaults()
            object.__setattr__(model, "settings", dict(given.arguments))
        return model

    def _dtype(self, otherwise: torch.dtype = torch.float32) -> torch.dtype:
        """That of its numbers, in which it computes; or of a model without any."""
        return next((item.dtype for item in chain(self.parameters(), self.buffers()) if item.is_floating_point()), otherwise)

    def _refuse(self, *checks: tuple[str, object, bool, str]) -> None:
        """Raise a ValueError for the first argument that is not fine: of each its name, its value, whether it is, and what it has to be."""
        for name, value, fine, need in checks:
            if not fine:
                raise ValueError(f"{type(self).__name__} needs {name} to be {need}, but was given {value!r}")

    def _refuse_shape(self, image_shape: tuple[int, int, int]) -> None:
        """Raise a ValueError for what is no shape of images."""
        fine = len(image_shape) == 3 and all(isinstance(size, int) and size >= 1 for size in image_shape)
        self._refuse(("image_shape", image_shape, fine, "(channels, height, width)"))

    def _refuse_samples(self, samples: int) -> None:
        """Raise a ValueError for what is no number of draws."""
        self._refuse(("samples", samples, isinstance(samples, int) and samples >= 1, "a whole number, at least 1"))

    def transform(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """What the model learns of grey levels in [0, 1], such as zeros and ones drawn with their probabilities; here they themselves."""
        return x

    def checked(self, x: Tensor) -> Tensor:
        """``x``, if it is a batch of images of this model's shape and floating type with values in [0, 1].

        Raises:
            ValueError: it is not.
        """
        name = type(self).__name__
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(f"{name} models images of shape {self.image_shape}, but was given {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"{name} models grey levels in [0, 1] as floats, but was given {str(x.dtype).removeprefix('torch.')}")
        own = self._dtype(x.dtype)
        if x.dtype != own:
            give = "x.float()" if own == torch.float32 else f"x.to({own})"
            given, needed = (str(dtype).removeprefix("torch.") for dtype in (x.dtype, own))
            raise ValueError(f"this {name} computes in {needed}, but was given images in {given}; give {give}")
        if len(x) and not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(f"{name} models grey levels in [0, 1], but was given {float(x.min()):.3g} to {float(x.max()):.3g}")
        return x


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode while the block runs: what it draws depends on no batch, and leaves its batch norm as it is."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def save_model(path: str | Path, model: ImageModel) -> None:
    """Save a model: what it was built with, and its weights. One safetensors file, whole or not at all.

    Raises:
        TypeError: a class that :func:`load_model` would not know.
    """
    save_state(path, model_state(model))


def load_model(path: str | Path) -> ImageModel:
    """The model that :func:`save_model` saved, in evaluation mode; no code runs, and only genrl's own classes are built.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken, or holds no model.
    """
    return model_of(load_state(path), path)


def model_state(model: ImageModel) -> dict[str, Any]:
    """What :func:`model_of` builds a model of: the name of its class, its settings and its weights.

    Raises:
        TypeError: a class that :func:`model_of` would not know.
    """
    name = type(model).__name__
    if name not in _CLASSES:
        raise TypeError(f"load_model knows {', '.join(_CLASSES)}, but not {name}; save its state_dict by save_state instead")
    return {"model": name, "settings": model.settings, "weights": model.state_dict()}


def model_of(saved: Mapping[str, Any], path: str | Path) -> ImageModel:
    """The inverse of :func:`model_state`, in evaluation mode; ``path`` names the file in a refusal.

    Raises:
        ValueError: there is no model in it, or one of another version.
    """
    name = saved.get("model")
    if name not in _CLASSES or not {"settings", "weights"} <= saved.keys():
        raise ValueError(f"{path} holds no image model; give a file that save_model wrote, such as model.safetensors of a run")
    try:
        with torch.random.fork_rng(devices=[]):  # building draws weights that are replaced
            model = _build(getattr(import_module(f"genrl.models.{_CLASSES[name]}"), name), saved["settings"])
        model.load_state_dict(saved["weights"])
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} holds a {name} of another version ({str(error).splitlines()[0]}); fit it again") from error
    return model.eval()


def _build(cls: type[ImageModel], settings: dict[str, Any]) -> ImageModel:
    return cls(**_tuples(settings))


def _tuples(value: Any) -> Any:
    """Lists, which JSON has instead of tuples, as tuples again."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
