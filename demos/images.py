"""The numbers of the image models: fit each as stated here, measure it on the test set, write demos/results/images/NAME-SEED.json.

    python demos/images.py pixelcnn_binary --seed 0

A fit is checkpointed every epoch and goes on where it stopped. One thread; run two at a time.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genrl.data import ImageData, load_images
from genrl.models.base import ImageModel, load_model, save_model
from genrl.models.capabilities import Transform
from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.corruptions import coarse, hole, noisy, quadrants
from genrl.models.pixelcnn import PixelCNN
from genrl.models.pixels import binarize, bits_per_dim, quantize, resize
from genrl.models.realnvp import RealNVP, dequantize_to_logits
from genrl.models.training import faster_precision, fit, held_out_loss
from genrl.models.vae import VAE
from genrl.models.vqvae import VQVAE, CodePrior

RESULTS = Path(__file__).parent / "results" / "images"
ROOT = Path("../shared/data/images")
MNIST = (1, 28, 28)


@dataclass
class Fit:
    """A model, its data, and how it is fitted."""

    model: Callable[[], ImageModel]
    data: str = "mnist"
    transform: Transform | None = None
    task: Callable[[ImageData, int], Transform] | None = None
    """Instead, where it depends on the data and the seed."""
    begins_with: str | None = None
    """Another fit, the model of which is this one's attribute of that name, or else this one, which goes on."""
    settings: dict[str, Any] = field(default_factory=dict)
    measure: Callable[[Fitted], dict[str, Any]] = lambda fitted: {}
    held_out: bool = True
    """Measure the last 1,000 images of the training set after every epoch, and do not learn from them."""


@dataclass
class Fitted:
    """A model to be measured."""

    model: Any
    data: ImageData
    transform: Transform | None
    seed: int
    runs: Path
    data_root: Path


def likelihood(fitted: Fitted) -> dict[str, float]:
    """Nats an image and bits a pixel, of the whole test set; a random transform with one fixed seed."""
    nats = held_out_loss(fitted.model, fitted.data.test, fitted.transform, seed=12345)
    return {"nats": nats, "bits_per_dim": bits_per_dim(nats, fitted.model.image_shape)}


def invertible(fitted: Fitted) -> dict[str, float]:
    """The bound with 20 draws of the noise and with one, and how far logits are from themselves after the flow and its inverse."""
    model, test = fitted.model, fitted.data.test
    x = test.batch(torch.arange(1000))
    y, _ = dequantize_to_logits(x, torch.full_like(x, 0.5))
    errors = [float((net.inverse(net(z)[0]) - z).abs().max()) for net, z in ((model, y), (copy.deepcopy(model).double(), y.double()))]
    torch.manual_seed(12345)
    with torch.no_grad():
        parts = [model.log_prob(test.batch(index), samples=20) for index in torch.arange(len(test)).split(50)]
    nats = -float(torch.cat(parts).mean())
    one = held_out_loss(model, test, fitted.transform, seed=12345)
    bits = {"bits_per_dim": bits_per_dim(nats, MNIST), "bits_per_dim_of_one_draw": bits_per_dim(one, MNIST)}
    return {"nats": nats, **bits, "inverse_error": errors[0], "inverse_error_in_float64": errors[1]}


def weighted_bound(fitted: Fitted) -> dict[str, float]:
    """The importance-weighted bound with 500 samples, of every tenth image of the test set, and the evidence lower bound of all."""
    model, test = fitted.model, fitted.data.test
    torch.manual_seed(12345)
    some = test[::10]
    generator = torch.Generator().manual_seed(12345)
    parts = [model.log_prob(binarize(some.batch(index), generator), samples=500) for index in torch.arange(len(some)).split(500)]
    bound = torch.cat(parts)
    return {
        "nats": -float(bound.mean()),
        "images": len(some),
        "standard_error": float(bound.std() / len(bound) ** 0.5),
        "elbo": held_out_loss(model, test, fitted.transform, seed=12345),
    }


def conditional(fitted: Fitted) -> dict[str, float]:
    """The importance-weighted bound of the wanted quadrants with 100 samples, of the whole test set, and of the plain guess."""
    model, test = fitted.model, fitted.data.test
    torch.manual_seed(12345)
    generator = torch.Generator().manual_seed(12345)
    parts = []
    for index in torch.arange(len(test)).split(1000):
        task = fitted.transform(test.batch(index), generator)  # type: ignore[misc]
        parts.append(torch.stack([model.log_prob(*task, samples=100), model.log_prob_of_guess(*task)]))
    nats, guess = (-torch.cat(parts, dim=1).mean(1)).tolist()
    return {"nats": nats, "nats_of_guess": guess}


def restored(fitted: Fitted) -> dict[str, float]:
    """PSNR of the mean squared error of the whole test set, dB, beside that of what is given and of simple fills."""
    model, test = fitted.model, fitted.data.test
    torch.manual_seed(12345)
    generator = torch.Generator().manual_seed(12345)
    sums: dict[str, float] = {}
    mean = fitted.data.train.batch().mean(0)
    for index in torch.arange(len(test)).split(1000):
        target, given, wanted = fitted.transform(test.batch(index), generator)  # type: ignore[misc]
        value, known = given.chunk(2, dim=1)
        small = nn.functional.avg_pool2d(target, 2)
        fills = {
            "psnr": model.complete(given, samples=20),
            "psnr_guess": torch.where(wanted > 0, model.guess(given.flatten(1)).sigmoid().view_as(target), target),
            "psnr_given": torch.where(known > 0, value, 0.0).clamp(0, 1),
            "psnr_mean_fill": torch.where(wanted > 0, mean.expand_as(target), target),
            "psnr_bicubic": nn.functional.interpolate(small, scale_factor=2, mode="bicubic").clamp(0, 1),
            "psnr_median": nn.functional.unfold(value, 3, padding=1).unflatten(1, (1, 9)).median(2).values.view_as(target).clamp(0, 1),
        }
        for name, image in fills.items():
            sums[name] = sums.get(name, 0.0) + float((image - target).double().square().mean()) * len(index)
    return {name: -10 * math.log10(value / len(test)) for name, value in sums.items()}


def quadrant(given: int) -> Fit:
    return Fit(
        lambda: ConditionalVAE(MNIST),
        transform=quadrants(given, binarize),
        settings={"epochs": 10, "batch_size": 256, "learning_rate": 2e-3, "anneal": True, "precision": "auto"},
        measure=conditional,
    )


def restore(task: Transform) -> Fit:
    return Fit(
        lambda: ConditionalVAE(MNIST),
        transform=task,
        settings={"epochs": 6, "batch_size": 256, "learning_rate": 2e-3, "anneal": True, "precision": "auto"},
        measure=restored,
    )


def vae(posterior: str) -> Fit:
    return Fit(
        lambda: VAE(MNIST, latent=32, channels=(32, 64), hidden=(256,), posterior=posterior),
        transform=binarize,
        settings={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3, "anneal": True, "precision": "auto"},
        measure=weighted_bound,
    )


def codes(fitted: Fitted) -> dict[str, float]:
    """Share of the codebook that the test set uses, and the squared error of its reconstructions."""
    model, test = fitted.model, fitted.data.test
    error = 0.0
    with torch.no_grad():
        for index in torch.arange(len(test)).split(500):
            x = test.batch(index)
            error += float((model.decode(model.encode(x)) - x).square().mean()) * len(index)
    return {"codes_used": model.codes_used(test), "squared_error": error / len(test)}


def bound(fitted: Fitted) -> dict[str, float]:
    """The bound of log p(image) that the codes and their prior give."""
    model, test = fitted.model, fitted.data.test
    parts = [model.log_prob(test.batch(index)) for index in torch.arange(len(test)).split(250)]
    nats = -float(torch.cat(parts).mean())
    return {"nats": nats, "bits_per_dim": bits_per_dim(nats, model.image_shape)}


FITS = {
    "vqvae": Fit(
        lambda: VQVAE(MNIST),
        settings={"epochs": 5, "batch_size": 128, "anneal": True, "precision": "auto"},
        measure=codes,
    ),
    "vqvae_prior": Fit(
        lambda: CodePrior(VQVAE(MNIST), depth=3),
        begins_with="vqvae",
        settings={"epochs": 3, "batch_size": 64, "anneal": True, "max_grad_norm": 1.0, "precision": "auto"},
        measure=bound,
    ),
    "quadrants_1": quadrant(1),
    "quadrants_2": quadrant(2),
    "quadrants_3": quadrant(3),
    "denoise": restore(noisy(0.5)),
    "inpaint": restore(hole(12)),
    "super_resolve": restore(coarse(2)),
    "realnvp": Fit(
        lambda: RealNVP(MNIST, width=64, dequantization="variational"),
        settings={
            "epochs": 8,
            "batch_size": 16,
            "learning_rate": 5e-3,
            "warmup": 200,
            "anneal": True,
            "max_grad_norm": 100.0,
            "precision": "auto",
        },
        measure=invertible,
    ),
    "vae_diagonal": vae("diagonal"),
    "vae_iaf": vae("iaf"),
    "pixelcnn_binary": Fit(
        lambda: PixelCNN(MNIST, width=64, depth=10),
        transform=binarize,
        settings={"epochs": 10, "batch_size": 32, "anneal": True, "max_grad_norm": 1.0, "precision": "auto"},
        measure=likelihood,
    ),
    "pixelcnn_binary_more": Fit(
        lambda: PixelCNN(MNIST, width=64, depth=10),
        transform=binarize,
        begins_with="pixelcnn_binary",
        settings={
            "epochs": 4,
            "batch_size": 32,
            "learning_rate": 7e-4,
            "anneal": True,
            "max_grad_norm": 1.0,
            "precision": "auto",
        },
        measure=likelihood,
    ),
    "pixelcnn_fashion": Fit(
        lambda: PixelCNN((1, 16, 16), levels=4, width=64, depth=8),
        data="fashion-mnist",
        transform=resize(16, quantize(4), mode="bilinear"),
        settings={"epochs": 3, "batch_size": 32, "anneal": True, "max_grad_norm": 1.0, "precision": "auto"},
        measure=likelihood,
    ),
    "pixelcnn_mixture": Fit(
        lambda: PixelCNN(MNIST, levels=256, width=64, depth=6, mixture=10),
        settings={
            "epochs": 10,
            "batch_size": 8,
            "learning_rate": 4e-3,
            "warmup": 200,
            "anneal": True,
            "max_grad_norm": 1.0,
            "precision": "auto",
        },
        measure=likelihood,
    ),
}


def about() -> dict[str, Any]:
    """Of the machine and the versions."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count(), "processor": platform.machine()}


def run(fits: dict[str, Fit], script: str, words: str | None) -> None:
    """The command line of a table of fits."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=fits)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("images"), help="folder of checkpoints")
    parser.add_argument("--data-root", type=Path, default=ROOT)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    chosen = fits[flags.name]
    data = load_images(chosen.data, flags.data_root)
    torch.manual_seed(flags.seed)
    model = chosen.model()
    if chosen.begins_with is not None:
        before = load_model(flags.runs / f"{chosen.begins_with}-{flags.seed}.model.safetensors")
        part = getattr(model, chosen.begins_with, model)
        part.load_state_dict(before.state_dict())
    flags.runs.mkdir(parents=True, exist_ok=True)
    transform = chosen.transform if chosen.task is None else chosen.task(data, flags.seed)
    train, held_out = (data.train[:-1000], data.train[-1000:]) if chosen.held_out else (data.train, None)
    rows = fit(
        model,
        train,
        held_out=held_out,
        transform=transform,
        seed=flags.seed,
        checkpoint=flags.runs / f"{flags.name}-{flags.seed}.safetensors",
        on_epoch=lambda model, row: print(json.dumps(row), flush=True),
        progress=False,
        **chosen.settings,
    )
    minutes = sum(row["seconds"] for row in rows) / 60
    save_model(flags.runs / f"{flags.name}-{flags.seed}.model.safetensors", model)
    start = time.perf_counter()
    with torch.no_grad():
        measured = chosen.measure(Fitted(model, data, transform, flags.seed, flags.runs, flags.data_root))
    result = {"name": flags.name, "seed": flags.seed, "minutes": round(minutes, 1), **measured}
    result["measuring_minutes"] = round((time.perf_counter() - start) / 60, 1)
    result["parameters"] = sum(math.prod(item.shape) for item in model.parameters())
    result["precision"] = faster_precision(chosen.settings.get("precision", "float32"))
    result |= {"command": f"python demos/{script} {flags.name} --seed {flags.seed}", **about()}
    print(json.dumps(result), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{flags.name}-{flags.seed}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    run(FITS, "images.py", __doc__)
