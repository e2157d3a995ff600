"""Image models that have no likelihood (GANs, an energy, diffusion): fit one as stated here and measure its samples.

    python demos/samplers.py dcgan_mnist --seed 0

Where the data come from, what is written and how a fit goes on is as in demos/images.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from images import MNIST, Fit, Fitted, run
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from genrl.data import ImageData, load_images
from genrl.generation.balance import modes
from genrl.generation.classifier import judge
from genrl.generation.metrics import compare_with_floor, inception_score
from genrl.generation.probe import balanced
from genrl.models.base import ImageModel
from genrl.models.capabilities import Transform
from genrl.models.diffusion import Diffusion
from genrl.models.energy import EnergyModel
from genrl.models.gan import GAN
from genrl.models.novelty import FeatureDistance, auroc
from genrl.models.semi_supervised import SemiSupervisedGAN, with_labelled
from genrl.models.training import faster_precision
from genrl.models.vae import VAE

OTHER = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}


def distances(fitted: Fitted, n: int = 10_000, *, half: bool = False) -> dict[str, Any]:
    """FID, KID, precision and recall of ``n`` samples and, as a floor, of as many training images, against the test set.

    The features are those of a classifier of the training set. ``half`` draws in the faster precision.
    """
    data = fitted.data
    with torch.enable_grad():
        net = judge(data.train, cache=fitted.runs / f"judge-{data.name}.safetensors")
    torch.manual_seed(12345)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=half and faster_precision() == "bfloat16"):
        samples = torch.cat([fitted.model.sample(500) for _ in range(n // 500)]).float()
    seconds = time.perf_counter() - start
    generated, floor = compare_with_floor(net.features, data.train.batch(slice(0, n)), data.test.batch()[:n], samples)
    logits = torch.cat([net(part) for part in samples.split(500)])
    return {
        **asdict(generated),
        "floor": asdict(floor),
        "inception_score": inception_score(logits),
        "modes": modes(logits.argmax(1).bincount(minlength=10) / n, torch.full((10,), 0.1), n),
        "images_per_second": n / seconds,
    }


def nearest_neighbour(fitted: Fitted) -> dict[str, Any]:
    """Errors on test digits of naming each after the nearest of 50,000 generated digits, and of 50,000 real ones."""
    torch.manual_seed(12345)
    test, known = fitted.data.test.batch().flatten(1), fitted.data.test.needed_labels
    labels = torch.arange(50_000) % 10
    drawn = torch.cat([fitted.model.sample(len(part), part) for part in labels.split(1000)]).flatten(1)
    real = fitted.data.train[:50_000]
    return {
        "error": _nearest_error(drawn, labels, test, known),
        "error_of_real": _nearest_error(real.batch().flatten(1), real.needed_labels, test, known),
    } | distances(fitted)


def _nearest_error(images: Tensor, labels: Tensor, test: Tensor, known: Tensor) -> float:
    found = torch.cat([labels[torch.cdist(part, images).argmin(1)] for part in test.split(500)])
    return float((found != known).double().mean())


def classified(fitted: Fitted) -> dict[str, Any]:
    """Accuracy on the test set."""
    right = fitted.model.classify(fitted.data.test.batch()).argmax(1) == fitted.data.test.needed_labels
    return {"accuracy": float(right.double().mean()), "errors": int((~right).sum())}


def code_accuracy(fitted: Fitted) -> dict[str, Any]:
    """Share of test digits that the categorical code names; a category stands for the digit that fits it best on 10,000 training images."""

    def read(images: Any) -> Tensor:
        parts = torch.arange(len(images)).split(500)
        return torch.cat([fitted.model.recognise(images.batch(part))[0].argmax(1) for part in parts])

    train, test = fitted.data.train[:10_000], fitted.data.test
    counts = torch.zeros(10, 10).index_put_((read(train), train.needed_labels), torch.ones(()), accumulate=True)
    category, digit = linear_sum_assignment(-counts.numpy())
    name = torch.zeros(10, dtype=torch.int64)
    name[torch.as_tensor(category)] = torch.as_tensor(digit)
    return {"code_accuracy": float((name[read(test)] == test.needed_labels).double().mean())} | distances(fitted)


def novelty(fitted: Fitted) -> dict[str, Any]:
    """AUROC with which the energy, and the distance of features, tell the other data set's test images from this one's."""
    model, data = fitted.model, fitted.data
    other = load_images(OTHER[data.name], fitted.data_root)
    distance = FeatureDistance(model.encode, data.train.batch(slice(0, 5000)))
    scores = {}
    for name, images in (("known", data.test), ("new", other.test)):
        parts = [images.batch(index) for index in torch.arange(len(images)).split(500)]
        scores[name] = [torch.cat([score(part) for part in parts]) for score in (model.energy, distance)]
    found = dict(zip(("auroc_energy", "auroc_features"), map(auroc, scores["known"], scores["new"]), strict=True))
    return found | distances(fitted)


def labelled(data: ImageData, seed: int) -> Transform:
    """100 labelled images, ten of each class, drawn anew for each seed."""
    few = data.train[balanced(data.train.needed_labels, 100, torch.Generator().manual_seed(seed))]
    return with_labelled(few.batch(), few.needed_labels, data.train)


def gan(
    data: str = "mnist", *, epochs: int = 6, dense: int = 512, measure: Callable[[Fitted], dict[str, Any]] = distances, **options: Any
) -> Fit:
    return Fit(
        lambda: GAN(MNIST, dense=dense, generator_pace=5.0, **options),
        data=data,
        settings={"epochs": epochs, "batch_size": 64, "learning_rate": 4e-4, "anneal": True},
        measure=measure,
        held_out=False,
    )


def energy(data: str, epochs: int, **options: Any) -> Fit:
    return Fit(
        lambda: EnergyModel(MNIST, **options),
        data=data,
        settings={
            "epochs": epochs,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "max_grad_norm": 1.0,
            "average": 0.99,
        },
        measure=novelty,
        held_out=False,
    )


def _vae() -> ImageModel:
    return VAE(MNIST, latent=32, channels=(32, 64), hidden=(256,), pixels="logistic")


TECHNIQUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "feature_matching": {"feature_matching": True},
    "minibatch": {"minibatch_discrimination": 50},
    "historical": {"historical_averaging": 1e-3},
    "smoothing": {"label_smoothing": 0.1},
    "virtual": {"virtual_batch_norm": True},
}

FITS = {
    "dcgan_mnist": gan(),
    "dcgan_fashion": gan("fashion-mnist"),
    "vae_fashion": Fit(
        _vae,
        data="fashion-mnist",
        settings={"epochs": 10, "batch_size": 128, "learning_rate": 2e-3, "anneal": True},
        measure=distances,
        held_out=False,
    ),
    "conditional_gan": gan(epochs=8, n_classes=10, measure=nearest_neighbour),
    "infogan": gan(epochs=4, categories=(10,), continuous=2, noise=62, information=0.5, distortion=1.0, measure=code_accuracy),
    "infogan_plain": gan(categories=(10,), continuous=2, noise=62, measure=code_accuracy),
    "semi_supervised": Fit(
        lambda: SemiSupervisedGAN(MNIST, 10, networks="convolutional", dense=256, jitter=0.2, entropy=0.5, generator_pace=2.0),
        task=labelled,
        settings={"epochs": 7, "batch_size": 100, "learning_rate": 2e-3, "anneal": True},
        measure=classified,
        held_out=False,
    ),
    **{f"gan_{name}": gan(epochs=2, width=16, **options) for name, options in TECHNIQUES.items()},
    "energy_mnist": energy("mnist", 2),
    "energy_fashion": energy("fashion-mnist", 3, restart=0.8, shapes=0.9, tie=4.0),
    "diffusion": Fit(
        lambda: Diffusion(MNIST),
        settings={"epochs": 5, "batch_size": 64, "learning_rate": 2e-3, "warmup": 200, "anneal": True},
        measure=partial(distances, half=True),
        held_out=False,
    ),
}


if __name__ == "__main__":
    run(FITS, __doc__)
