"""Image models that have a likelihood: fit one as stated here and measure it on the test set.

    python demos/images.py pixelcnn_binary --seed 0

Each writes demos/results/images/NAME-SEED.json. A fit is saved after every epoch, and goes on from there when it is started again. It uses
one thread, so run two at a time. MNIST and Fashion-MNIST are looked for in --data-root, or where GENRL_DATA says, then in the user's cache;
where they are not, they are downloaded.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from measured import write
from torch import nn

from genrl.data import ImageData, load_images
from genrl.models.base import ImageModel, load_model, save_model
from genrl.models.capabilities import Transform
from genrl.models.code_prior import CodePrior
from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.corruptions import coarse, hole, noisy, quadrants
from genrl.models.pixelcnn import PixelCNN
from genrl.models.pixels import binarize, bits_per_dim, quantize, resize
from genrl.models.realnvp import RealNVP, dequantize_to_logits
from genrl.models.training import faster_precision, fit, held_out_loss
from genrl.models.vae import VAE
from genrl.models.vqvae import VQVAE

MNIST = (1, 28, 28)


@dataclass
class Fit:
    """What is fitted to which images, how, and what is measured of it."""

    model: Callable[[], ImageModel]
    data: str = "mnist"
    transform: Transform | None = None
    task: Callable[[ImageData, int], Transform] | None = None
    """Makes the transform from the images and the seed, where it depends on them."""
    begins_with: str | None = None
    """An earlier fit whose weights this one starts from: those of its attribute of that name, or of the whole model if it has none."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keywords of :func:`genrl.models.training.fit`."""
    measure: Callable[[Fitted], dict[str, Any]] = lambda fitted: {}
    held_out: bool = True
    """Keep the last 1,000 training images out of the fit, and measure them after every epoch."""


@dataclass
class Fitted:
    """What a measurement gets."""

    model: Any
    data: ImageData
    transform: Transform | None
    seed: int
    runs: Path
    data_root: Path | None


def likelihood(fitted: Fitted) -> dict[str, float]:
    """Nats per image and bits per pixel of the test set, with one fixed seed of a random transform."""
    nats = held_out_loss(fitted.model, fitted.data.test, fitted.transform, seed=12345)
    return {"nats": nats, "bits_per_dim": bits_per_dim(nats, fitted.model.image_shape)}


def invertible(fitted: Fitted) -> dict[str, float]:
    """The bound with 20 draws of the noise and with one, and the largest error of the flow's inverse, in logits."""
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
    """The importance-weighted bound with 500 samples on every tenth test image, and the evidence lower bound on all."""
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
    """Nats of the wanted quadrants on the test set: the importance-weighted bound with 100 samples, and the plain guess."""
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
    """PSNR in dB, from the mean squared error of the test set, of the model, of what is given and of simple fills."""
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


def conditional_vae(task: Transform, epochs: int, measure: Callable[[Fitted], dict[str, Any]]) -> Fit:
    settings = {"epochs": epochs, "batch_size": 256, "learning_rate": 2e-3, "anneal": True}
    return Fit(lambda: ConditionalVAE(MNIST), transform=task, settings=settings, measure=measure)


def vae(posterior: str) -> Fit:
    return Fit(
        lambda: VAE(MNIST, latent=32, channels=(32, 64), hidden=(256,), posterior=posterior),
        transform=binarize,
        settings={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3, "anneal": True},
        measure=weighted_bound,
    )


def codes(fitted: Fitted) -> dict[str, float]:
    """Share of the codebook that the test set uses, and the mean squared error of its reconstructions."""
    model, test = fitted.model, fitted.data.test
    error = 0.0
    with torch.no_grad():
        for index in torch.arange(len(test)).split(500):
            x = test.batch(index)
            error += float((model.decode(model.encode(x)) - x).square().mean()) * len(index)
    return {"codes_used": model.codes_used(test), "squared_error": error / len(test)}


def bound(fitted: Fitted) -> dict[str, float]:
    """Bound on log p(image) that the codes and their prior give."""
    model, test = fitted.model, fitted.data.test
    parts = [model.log_prob(test.batch(index)) for index in torch.arange(len(test)).split(250)]
    nats = -float(torch.cat(parts).mean())
    return {"nats": nats, "bits_per_dim": bits_per_dim(nats, model.image_shape)}


FITS = {
    "vqvae": Fit(
        lambda: VQVAE(MNIST),
        settings={"epochs": 5, "batch_size": 128, "anneal": True},
        measure=codes,
    ),
    "vqvae_prior": Fit(
        lambda: CodePrior(VQVAE(MNIST), depth=3),
        begins_with="vqvae",
        settings={"epochs": 3, "batch_size": 64, "anneal": True, "max_grad_norm": 1.0},
        measure=bound,
    ),
    "quadrants_1": conditional_vae(quadrants(1, binarize), 10, conditional),
    "quadrants_2": conditional_vae(quadrants(2, binarize), 10, conditional),
    "quadrants_3": conditional_vae(quadrants(3, binarize), 10, conditional),
    "denoise": conditional_vae(noisy(0.5), 6, restored),
    "inpaint": conditional_vae(hole(12), 6, restored),
    "super_resolve": conditional_vae(coarse(2), 6, restored),
    "realnvp": Fit(
        lambda: RealNVP(MNIST, width=64, dequantization="variational"),
        settings={
            "epochs": 8,
            "batch_size": 16,
            "learning_rate": 5e-3,
            "warmup": 200,
            "anneal": True,
            "max_grad_norm": 100.0,
        },
        measure=invertible,
    ),
    "vae_diagonal": vae("diagonal"),
    "vae_iaf": vae("iaf"),
    "pixelcnn_binary": Fit(
        lambda: PixelCNN(MNIST, width=64, depth=10),
        transform=binarize,
        settings={"epochs": 10, "batch_size": 32, "anneal": True, "max_grad_norm": 1.0},
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
        },
        measure=likelihood,
    ),
    "pixelcnn_fashion": Fit(
        lambda: PixelCNN((1, 16, 16), levels=4, width=64, depth=8),
        data="fashion-mnist",
        transform=resize(16, quantize(4), mode="bilinear"),
        settings={"epochs": 3, "batch_size": 32, "anneal": True, "max_grad_norm": 1.0},
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
        },
        measure=likelihood,
    ),
}


def run(fits: dict[str, Fit], words: str | None) -> None:
    """The command line of a table of fits."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=fits, metavar="NAME", help=f"one of {', '.join(fits)}")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and of the fit (default: 0)")
    add_folders(parser)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    fitted, minutes = fit_one(fits, flags.name, flags.seed, flags.runs, flags.data_root)
    start = time.perf_counter()
    with torch.no_grad():
        measured = fits[flags.name].measure(fitted)
    found = {"name": flags.name, "seed": flags.seed, "minutes": round(minutes, 1), **measured}
    found["measuring_minutes"] = round((time.perf_counter() - start) / 60, 1)
    found["parameters"] = sum(math.prod(item.shape) for item in fitted.model.parameters())
    found["computed_in"] = faster_precision()  # "precision" is that of samples
    write(f"images/{flags.name}-{flags.seed}", found)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Flags that the demos of images share."""
    parser.add_argument("--runs", type=Path, default=Path("images"), help="folder of the fitted models (default: images)")
    parser.add_argument("--data-root", type=Path, help="folder with mnist and fashion-mnist (default: GENRL_DATA, then the user's cache)")


def fitted_models(runs: Path, name: str) -> list[Path]:
    """Files of a fit such as vae_iaf-0, or of all seeds of one such as vae_iaf-?."""
    paths = sorted(runs.glob(f"{name}.model.safetensors"))
    if not paths:
        raise SystemExit(f"{runs} has no {name}.model.safetensors; fit it with demos/images.py or demos/samplers.py, or give --runs")
    return paths


def fit_one(fits: dict[str, Fit], name: str, seed: int, runs: Path, data_root: Path | None) -> tuple[Fitted, float]:
    """Fit a model, or go on with its fit, and save it in ``runs``; return it and the minutes that it took."""
    chosen = fits[name]
    data = load_images(chosen.data, data_root)
    torch.manual_seed(seed)
    model = chosen.model()
    if chosen.begins_with is not None:
        before = load_model(fitted_models(runs, f"{chosen.begins_with}-{seed}")[0])
        getattr(model, chosen.begins_with, model).load_state_dict(before.state_dict())
    runs.mkdir(parents=True, exist_ok=True)
    transform = chosen.transform if chosen.task is None else chosen.task(data, seed)
    train, held_out = (data.train[:-1000], data.train[-1000:]) if chosen.held_out else (data.train, None)
    rows = fit(
        model,
        train,
        held_out=held_out,
        transform=transform,
        precision="auto",
        seed=seed,
        checkpoint=runs / f"{name}-{seed}.safetensors",
        on_epoch=lambda model, row: print(json.dumps(row), flush=True),
        progress=False,
        **chosen.settings,
    )
    save_model(runs / f"{name}-{seed}.model.safetensors", model)
    return Fitted(model, data, transform, seed, runs, data_root), sum(row["seconds"] for row in rows) / 60


if __name__ == "__main__":
    run(FITS, __doc__)
