"""Generative models, torch only: what fills the sockets, usable without reinforcement learning. Nothing is imported before it is used."""

from importlib import import_module
from typing import Any

_MODULES = {
    "CodePrior": "vqvae",
    "ConditionalVAE": "conditional_vae",
    "Decoder": "capabilities",
    "Density": "capabilities",
    "Diffusion": "diffusion",
    "Encoder": "capabilities",
    "EnergyModel": "energy",
    "GAN": "gan",
    "ImageModel": "base",
    "JEPA": "jepa",
    "MAE": "mae",
    "NaiveBayes": "naive_bayes",
    "PCA": "pca",
    "PixelCNN": "pixelcnn",
    "RandomNetwork": "random_network",
    "RealNVP": "realnvp",
    "Sampler": "capabilities",
    "SemiSupervisedGAN": "semi_supervised",
    "VAE": "vae",
    "VQVAE": "vqvae",
    "VectorFlow": "vector_flow",
    "binarize": "pixels",
    "bits_per_dim": "pixels",
    "fit": "training",
    "load_model": "base",
    "quantize": "pixels",
    "resize": "pixels",
    "save_model": "base",
    "with_labelled": "semi_supervised",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
