"""The tables of the image models, from demos/results/images."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from demos.measured import RESULTS, read
from genrl.studies.tables import Table

GUESS = ("plain network", "psnr_guess")
PLAIN = "InfoGAN, information 1, 6 passes"
DISTORTED = "InfoGAN, categories read in distorted images, information 0.5, 4 passes"


def seeds(name: str) -> list[dict[str, Any]]:
    """What the fits of one name found, a dictionary for each seed."""
    return [read(f"images/{path.stem}") for path in sorted((RESULTS / "images").glob(f"{name}-[0-9]*.json"))]


def value(fits: list[dict[str, Any]], key: str, digits: int) -> str:
    """One number; of several seeds the median, smallest and largest."""
    numbers = [fit[key] for fit in fits]
    text, low, high = (f"{number:.{digits}f}" for number in (statistics.median(numbers), min(numbers), max(numbers)))
    return text if low == high else f"{text} ({low} to {high})"


def likelihoods() -> Table:
    """A row for each fit that is there."""
    floors = read("images/floors")
    nats = f"independent pixels {floors['mnist_independent_nats']:.1f}, ten classes {floors['mnist_ten_classes_nats']:.1f}"
    bits = f"independent pixels {floors['mnist_256_levels_bits_per_dim']:.3f}"
    causal = f"table of six neighbours {floors['fashion_4_levels_bits_per_dim']['6']:.3f}"
    rows = []
    for name, model, data, key, unit, floor in (
        ("vae_diagonal", "VAE, IWAE bound of 500 samples, 1,000 images", "MNIST, binary", "nats", "nats", nats),
        ("vae_iaf", "VAE with inverse autoregressive flow, the same bound", "MNIST, binary", "nats", "nats", nats),
        ("pixelcnn_binary", "PixelCNN, 10 passes", "MNIST, binary", "nats", "nats", nats),
        ("pixelcnn_binary_more", "the same, 4 passes more", "MNIST, binary", "nats", "nats", nats),
        ("pixelcnn_fashion", "PixelCNN", "Fashion-MNIST, 16 × 16, 4 levels", "bits_per_dim", "bits a pixel", causal),
        ("pixelcnn_mixture", "PixelCNN, logistic mixture", "MNIST, 256 levels", "bits_per_dim", "bits a pixel", bits),
        ("realnvp", "RealNVP, variational dequantisation, 20 draws", "MNIST, 256 levels", "bits_per_dim", "bits a pixel", bits),
        ("vqvae_prior", "VQ-VAE and its prior, the bound of one code grid", "MNIST, 256 levels", "bits_per_dim", "bits a pixel", bits),
        ("quadrants_1", "conditional VAE, one quadrant given", "MNIST, binary", "nats", "nats", "plain network"),
        ("quadrants_2", "conditional VAE, two given", "MNIST, binary", "nats", "nats", "plain network"),
        ("quadrants_3", "conditional VAE, three given", "MNIST, binary", "nats", "nats", "plain network"),
    ):
        if fits := seeds(name):
            beside = f"{floor} {value(fits, 'nats_of_guess', 1)}" if "nats_of_guess" in fits[0] else floor
            number = value(fits, key, 2 if unit == "nats" else 3)
            number += f" ± {fits[0]['standard_error']:.2f}" if "standard_error" in fits[0] else ""  # of the few images, not of the seeds
            rows.append([model, data, f"{number} {unit}", beside, str(len(fits)), value(fits, "minutes", 0)])
    return Table(["model", "data", "test set", "floor", "seeds", "minutes"], rows)


def restorations() -> Table:
    rows = []
    for name, task, others in (
        (
            "denoise",
            "noise of standard deviation 0.5",
            (("noisy", "psnr_given"), ("3 × 3 median", "psnr_median"), GUESS),
        ),
        ("inpaint", "a hole of 12 × 12", (("black", "psnr_given"), ("mean image", "psnr_mean_fill"), GUESS)),
        ("super_resolve", "14 × 14 to 28 × 28", (("nearest", "psnr_given"), ("bicubic", "psnr_bicubic"), GUESS)),
    ):
        if (fits := seeds(name)) and "psnr_guess" in fits[0]:
            beside = ", ".join(f"{words} {value(fits, key, 1)}" for words, key in others)
            rows.append([task, f"{value(fits, 'psnr', 1)} dB", beside, value(fits, "minutes", 0)])
    return Table(["given", "conditional VAE, PSNR", "others", "minutes"], rows)


def features() -> Table:
    rows = []
    for name, entry in read("images/probe").items():
        if isinstance(entry, dict):
            cells = [f"{entry[n]['linear']:.1%} ± {entry[n]['linear_std']:.1%}" for n in ("100", "1000")]
            rows.append([name.replace("_", " "), *cells, f"{entry['100']['nearest']:.1%}"])
    return Table(["features", "linear, 100 labels", "1,000 labels", "nearest neighbour, 100 labels"], rows)


def samples() -> Table:
    rows = []
    for name, fits in read("images/fid").items():
        if isinstance(fits, list) and fits:
            words = "training images (the floor)" if name == "floor" else name.replace("_", " ")
            columns = (("fid", 2), ("kid", 4), ("precision", 2), ("recall", 2))
            rows.append([words, *(value(fits, column, digits) for column, digits in columns), str(len(fits))])
    return Table(["10,000 samples against the test set", "FID", "KID", "precision", "recall", "seeds"], rows)


def samplers() -> Table:
    """A row for each fit that is there."""
    rows = []
    for name, words, data in (
        ("dcgan_mnist", "DCGAN", "MNIST"),
        ("conditional_gan", "conditional GAN", "MNIST"),
        ("infogan_plain", PLAIN, "MNIST"),
        ("infogan", DISTORTED, "MNIST"),
        ("diffusion", "diffusion, DDIM in 50 steps", "MNIST"),
        ("energy_mnist", "energy, its replayed chains", "MNIST"),
        ("dcgan_fashion", "DCGAN", "Fashion-MNIST"),
        ("vae_fashion", "VAE", "Fashion-MNIST"),
        ("energy_fashion", "energy, its replayed chains", "Fashion-MNIST"),
    ):
        if fits := seeds(name):
            cells = [value(fits, column, digits) for column, digits in (("fid", 2), ("precision", 2), ("recall", 2))]
            rows.append([words, data, *cells, str(len(fits)), value(fits, "minutes", 0)])
    return Table(["model", "data", "FID", "precision", "recall", "seeds", "minutes"], rows)


def answers() -> Table:
    """What the same models are for, beside their pictures."""
    rows = []
    if fits := seeds("conditional_gan"):
        real = f"50,000 real ones {fits[0]['error_of_real']:.2%}"
        rows.append(["conditional GAN", "errors of the nearest of 50,000 drawn digits", _each(fits, "error"), real])
    for name, words in (("infogan_plain", PLAIN), ("infogan", DISTORTED)):
        if fits := seeds(name):
            rows.append([words, "test digits that the code names", _each(fits, "code_accuracy"), "chance 10 %"])
    if fits := seeds("semi_supervised"):
        together, probe = read("images/ensemble"), read("images/probe")
        beside = [f"nearest labelled image {probe['pixels']['100']['nearest']:.1%}"] if probe else []
        if together:
            beside.append(f"the {len(together['members'])} together, each with its own 100 labels, {together['accuracy']:.2%}")
        rows.append(["semi-supervised GAN", "test digits named, 100 labels", _each(fits, "accuracy", statistics.mean), "; ".join(beside)])
    if fits := seeds("diffusion"):
        speed = f"{value(fits, 'images_per_second', 1)} a second, with a second fit on the machine"
        rows.append(["diffusion", "images, DDIM in 50 steps, one thread", speed, ""])
    for name, known, new in (("energy_mnist", "MNIST", "Fashion-MNIST"), ("energy_fashion", "Fashion-MNIST", "MNIST")):
        if fits := seeds(name):
            distance = f"distance of its features {value(fits, 'auroc_features', 4)}"
            rows.append([f"energy of {known}", f"AUROC of {new}", value(fits, "auroc_energy", 4), distance])
    return Table(["model", "test set", "found", "beside"], rows)


def _each(fits: list[dict[str, Any]], key: str, middle: Callable[[list[float]], float] = statistics.median) -> str:
    """The middle of a share, and that of every seed."""
    numbers = [fit[key] for fit in fits]
    each = f" ({', '.join(f'{number:.2%}' for number in numbers)})" if len(numbers) > 1 else ""
    name = f"{middle.__name__} " if each else ""
    return f"{name}{middle(numbers):.2%}{each}"


def techniques() -> Table:
    """Each technique of Improved GAN against the plain GAN."""
    rows = []
    for name in ("plain", "feature_matching", "minibatch", "historical", "smoothing", "virtual"):
        if fits := seeds(f"gan_{name}"):
            cells = [value(fits, column, digits) for column, digits in (("fid", 2), ("precision", 2), ("recall", 2), ("modes", 0))]
            rows.append([name.replace("_", " "), *cells, str(len(fits)), value(fits, "minutes", 1)])
    return Table(["technique", "FID", "precision", "recall", "classes drawn", "seeds", "minutes"], rows)


def novelty() -> Table:
    rows = []
    for name, entry in read("images/novelty").items():
        if isinstance(entry, dict):
            rows.append([name, *(f"{entry[key]:.2f}" for key in ("likelihood", "excess_nats", "feature_distance"))])
    return Table(["PixelCNN, AUROC", "likelihood", "less a compressor's length", "feature distance"], rows)


TABLES = {
    "likelihoods": likelihoods,
    "restorations": restorations,
    "features": features,
    "samples": samples,
    "samplers": samplers,
    "answers": answers,
    "techniques": techniques,
    "novelty": novelty,
}
