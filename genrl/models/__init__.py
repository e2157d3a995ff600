"""Generative models, torch only: what fills the sockets, usable without reinforcement learning. Nothing is imported before it is used."""

from typing import Any

from genrl.lazy import public
from genrl.roles import image_models

_MODULES = {name: path.partition(":")[0] for name, path in image_models().items()} | {
    "Decoder": "genrl.models.capabilities",
    "Density": "genrl.models.capabilities",
    "Encoder": "genrl.models.capabilities",
    "ImageModel": "genrl.models.base",
    "Sampler": "genrl.models.capabilities",
    "TensorSource": "genrl.models.sources",
    "VectorFlow": "genrl.models.vector_flow",
    "binarize": "genrl.models.pixels",
    "bits_per_dim": "genrl.models.pixels",
    "fit": "genrl.models.training",
    "load_model": "genrl.models.base",
    "quantize": "genrl.models.pixels",
    "resize": "genrl.models.pixels",
    "save_model": "genrl.models.base",
    "with_labelled": "genrl.models.semi_supervised",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    return public(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__
