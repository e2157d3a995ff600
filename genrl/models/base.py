"""What all image models share: each remembers what it was built with, so that a file of its weights is enough to build it again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from genrl.errors import Check, one_line
from genrl.files import load_state, save_state
from genrl.generators import forked_generators
from genrl.models.nn import device_of, dtype_of
from genrl.roles import image_models
from genrl.spaces import CHANNELS_FIRST

__all__ = [
    "ImageModel",
    "evaluating",
    "load_model",
    "model_of",
    "model_state",
    "samples_check",
    "save_model",
    "shape_check",
]


def shape_check(image_shape: tuple[int, int, int]) -> Check:
    """Check for :func:`genrl.errors.require`: three whole numbers, at least 1 each."""
    fine = len(image_shape) == 3 and all(isinstance(size, int) and size >= 1 for size in image_shape)
    return "image_shape", image_shape, fine, "(channels, height, width)"


def samples_check(samples: int) -> Check:
    """Check for :func:`genrl.errors.require`: a number of draws."""
    return "samples", samples, isinstance(samples, int) and samples >= 1, "a whole number, at least 1"


class ImageModel(nn.Module):
    """A model of images that remembers its constructor's arguments, in ``settings``: plain values that JSON keeps.

    NumPy numbers and lists among the arguments become plain numbers and tuples before the constructor sees them.

    Example:
        >>> class Blank(ImageModel):
        ...     def __init__(self, image_shape: tuple[int, int, int], *, grey: float = 0.5) -> None:
        ...         super().__init__()
        >>> Blank([1, 2, 2]).settings
        {'image_shape': (1, 2, 2), 'grey': 0.5}
    """

    settings: dict[str, Any]
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    conditional: bool = False
    """Whether the loss and the samples take labels."""
    pairs: ClassVar[bool] = False
    """Whether it learns from frames, the actions that follow, and the next frames."""
    adversarial: ClassVar[bool] = False
    """Whether it is a generator and a discriminator, whose losses say nothing about quality."""
    draws_levels: ClassVar[bool] = True
    """Whether samples have the levels of the images that it learns; otherwise they are means, as a decoder gives them."""
    exact_inverse: ClassVar[bool] = False
    """Whether ``decode`` of ``encode`` gives the image itself, so that a picture of reconstructions shows nothing."""
    fewest_in_a_batch: ClassVar[int] = 1
    """Images that a step of training needs."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]

    def bound_samples(self) -> int | None:
        """Importance samples per image with which ``log_prob`` is reported; ``None`` for a model whose ``log_prob`` takes none."""
        return None

    @property
    def dtype(self) -> torch.dtype:
        """Dtype in which it computes."""
        return self._dtype()

    def _dtype(self, otherwise: torch.dtype = torch.float32) -> torch.dtype:
        """Dtype of the parameters, or ``otherwise`` for a model without any."""
        return dtype_of(self, otherwise)

    def _device(self) -> torch.device:
        """Device of the parameters; torch's default one for a model without any."""
        return device_of(self)

    def _require_batch(self, x: Tensor) -> None:
        """Refuse a batch of training that is too small."""
        if len(x) < self.fewest_in_a_batch:
            name, least = type(self).__name__, self.fewest_in_a_batch
            raise ValueError(f"{name} needs batches of at least {least} images, but was given {len(x)}; raise batch_size")

    def transform(self, x: Any, generator: torch.Generator) -> Any:
        """What the model learns from images.

        Args:
            x: grey levels in [0, 1], ``(batch, channel, height, width)``.
            generator: for whatever is drawn.

        Returns:
            By default ``x`` itself; a model of black and white pixels returns zeros and ones drawn with these probabilities.
        """
        return x

    def checked(self, x: Shaped[Tensor, "batch *image"]) -> Float[Tensor, "batch *image"]:
        """``x`` itself, if it is a batch of images in [0, 1] of this model's shape and dtype.

        Raises:
            ValueError: it is not.
        """
        name = type(self).__name__
        if x.ndim != 4 or tuple(x.shape[1:]) != self.image_shape:
            last = x.ndim == 4 and (x.shape[3], *x.shape[1:3]) == self.image_shape
            cure = f"; {CHANNELS_FIRST}" if last else ""
            raise ValueError(f"{name} models images of shape {self.image_shape}, but was given {tuple(x.shape)}{cure}")
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
    """Keep the model in evaluation mode while the block runs, so that no result depends on the rest of a batch, and batch norm rests."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def save_model(path: str | Path, model: ImageModel) -> None:
    """Save a model: what it was built with, and its weights. One safetensors file, whole or not at all.

    Raises:
        TypeError: a class that :func:`load_model` would not know; the model and the path in torch's order.
    """
    if isinstance(path, nn.Module):
        raise TypeError("save_model takes the path first, then the model: save_model('model.safetensors', model)")
    save_state(path, model_state(model))


def load_model(path: str | Path) -> ImageModel:
    """The model that :func:`save_model` saved, of its dtype and in evaluation mode; no code runs, and only genrl's own classes are built.

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
    name, known = type(model).__name__, image_models()
    if name not in known:
        raise TypeError(f"load_model knows {', '.join(known)}, but not {name}; save its state_dict by save_state instead")
    return {"model": name, "settings": model.settings, "weights": model.state_dict()}


def model_of(saved: Mapping[str, Any], path: str | Path) -> ImageModel:
    """The inverse of :func:`model_state`, in evaluation mode; ``path`` names the file in a refusal.

    Raises:
        ValueError: there is no model in it, or one of another version.
    """
    name, known = saved.get("model"), image_models()
    if not isinstance(name, str) or name not in known or not {"settings", "weights"} <= saved.keys():
        raise ValueError(f"{path} holds no image model; give a file that save_model wrote, such as model.safetensors of a run")
    try:
        with forked_generators():  # building draws weights that are replaced
            module, _, cls_name = known[name].partition(":")
            cls: type[ImageModel] = getattr(import_module(module), cls_name)
            _check_size(cls, saved)
            model = cls(**saved["settings"])
        _as_precise(model, saved["weights"]).load_state_dict(saved["weights"])
    except (RuntimeError, TypeError, AttributeError, ValueError, MemoryError) as error:
        raise ValueError(f"{path} holds a {name} of another version ({one_line(error)[:200]}); fit it again") from error
    return model.eval()


def _as_precise(model: ImageModel, weights: Mapping[str, Tensor]) -> ImageModel:
    """The model in the dtype of its weights, if that is another; what it computes in float64 anyway stays so."""
    own = model.state_dict()
    here = [(value.dtype, own[name].dtype) for name, value in weights.items() if name in own and value.is_floating_point()]
    dtype = next((saved for saved, built in here if saved != built), None)
    return model if dtype is None else model.to(dtype)


def _check_size(cls: type[ImageModel], saved: Mapping[str, Any]) -> None:
    """Refuse settings of a model that is larger than the weights beside them, before there is memory for it."""
    try:
        with torch.device("meta"):
            declared = cls(**saved["settings"]).state_dict()
    except Exception:  # a constructor that computes with its tensors: building says what is wrong
        return
    if sum(value.numel() for value in declared.values()) > sum(value.numel() for value in saved["weights"].values()):
        raise ValueError("its settings are of a larger model than its weights")


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that is given plain values, and keeps them in ``settings``."""

    @functools.wraps(init)
    def remembering(self: ImageModel, *args: Any, **kwargs: Any) -> None:
        args, kwargs = _plain(args), _plain(kwargs)
        if "settings" not in vars(self):  # not in a constructor of a base class
            given = inspect.signature(init).bind(self, *args, **kwargs)
            given.apply_defaults()
            object.__setattr__(self, "settings", dict(list(given.arguments.items())[1:]))
        init(self, *args, **kwargs)

    return remembering


def _plain(value: Any) -> Any:
    """Lists, which JSON has instead of tuples, as tuples, and NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
