"""What fitted image models are good for, measured: samples beside real images, features, novelty, and the speed of sampling.

    python demos/image_uses.py floors      # needs no fit, like novelty
    python demos/image_uses.py probe       # after the fits of demos/images.py and demos/samplers.py that it asks for

One thread. Each writes demos/results/images/NAME.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from images import add_folders, fitted_models
from measured import RESULTS, write
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from genrl.data import ImageData, Images, load_images
from genrl.generation.classifier import judge
from genrl.generation.metrics import compare_with_floor
from genrl.generation.pictures import as_bytes, grid
from genrl.generation.probe import LinearProbe, balanced
from genrl.models import pixelcnn, realnvp
from genrl.models.base import load_model
from genrl.models.corruptions import quadrants
from genrl.models.naive_bayes import NaiveBayes, PixelHistograms
from genrl.models.nn import recompute_batch_norm
from genrl.models.novelty import FeatureDistance, auroc, excess_nats
from genrl.models.pixelcnn import PixelCNN
from genrl.models.pixels import binarize, bits_per_dim, quantize, resize
from genrl.models.training import fit


def floors(runs: Path, root: Path | None) -> dict[str, Any]:
    """What models without a network reach, whose pixels are independent, alone or given the class, or see a few neighbours."""
    mnist, fashion = (load_images(name, root) for name in ("mnist", "fashion-mnist"))
    black_and_white = binarize(mnist.test.batch(), torch.Generator().manual_seed(12345))
    alone = NaiveBayes.of(mnist.train.batch())
    classes = NaiveBayes.of(mnist.train.batch(), mnist.train.needed_labels)
    known = mnist.test.needed_labels
    found: dict[str, Any] = {
        "mnist_independent_nats": -float(alone.log_prob(black_and_white).mean()),
        "mnist_ten_classes_nats": -float(classes.log_prob(black_and_white).mean()),
        "mnist_accuracy_of_thresholded": float((classes.classify(mnist.test.batch().round()) == known).double().mean()),
        "mnist_accuracy_of_binarised": float((classes.classify(black_and_white) == known).double().mean()),
    }
    for name, data in (("mnist", mnist), ("fashion", fashion)):
        nats = -PixelHistograms([data.train.batch()], 256).log_prob(data.test.batch()).mean()
        found[f"{name}_256_levels_bits_per_dim"] = bits_per_dim(float(nats), (1, 28, 28))
    small = resize(16, quantize(4), mode="bilinear")
    train, test = (small(images.batch(), torch.Generator()) for images in (fashion.train, fashion.test))
    found["fashion_4_levels_bits_per_dim"] = {str(n): _causal_table(train, test, n) for n in (0, 2, 4, 6)}
    return found


NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
"""Offsets (row, column) of pixels that come before a pixel in reading order, nearest first."""


def _causal_table(train: Tensor, test: Tensor, neighbours: int, levels: int = 4) -> float:
    """Bits per pixel of a table of each level given its nearest neighbours, black beyond the border; given its place, if there are none."""

    def index(x: Tensor) -> tuple[Tensor, Tensor]:
        whole = (x[:, 0] * (levels - 1)).round().long()
        padded = nn.functional.pad(whole, (2, 2, 2, 0))
        height, width = whole.shape[1:]
        context = torch.arange(height * width).view(height, width).expand_as(whole) if not neighbours else torch.zeros_like(whole)
        for down, right in NEIGHBOURS[:neighbours]:
            context = context * levels + padded[:, 2 + down : 2 + down + height, 2 + right : 2 + right + width]
        return context.flatten(), whole.flatten()

    context, level = index(train)
    cells = max(int(context.max()) + 1, levels**neighbours)
    counts = torch.bincount(context * levels + level, minlength=cells * levels).view(cells, levels) + 1.0
    log_p = (counts / counts.sum(1, keepdim=True)).log2()
    return -float(log_p[index(test)].mean())


def fid(runs: Path, root: Path | None) -> dict[str, Any]:
    """10,000 samples of each model against the test set, on the features of a classifier of the training set."""
    data = load_images("mnist", root)
    net = judge(data.train, cache=runs / "judge.safetensors")
    found: dict[str, Any] = {"judge_accuracy": net.accuracy(data.test.batch(), data.test.needed_labels)}
    for name in ("vae_diagonal", "vae_iaf", "vqvae_prior"):
        found[name] = []
        for path in fitted_models(runs, f"{name}-?"):
            torch.manual_seed(0)
            model: Any = load_model(path)
            samples = torch.cat([model.sample(500) for _ in range(20)])
            generated, floor = compare_with_floor(net.features, data.train.batch(slice(0, 10_000)), data.test.batch(), samples)
            found[name].append(asdict(generated))
    return found | {"floor": [asdict(floor)]}


def probe(runs: Path, root: Path | None) -> dict[str, Any]:
    """Accuracy on the test set of a linear classifier, and of the nearest labelled image, from 100 and 1,000 labels; ten draws."""
    data = load_images("mnist", root)
    found: dict[str, Any] = {}
    for name, encode in _encoders(runs, data).items():
        test = _features(encode, data.test)
        found[name] = {str(n): _probed(encode, test, data, n) for n in (100, 1000)}
    return found


def _encoders(runs: Path, data: ImageData) -> dict[str, Callable[[Tensor], Tensor]]:
    encoders: dict[str, Callable[[Tensor], Tensor]] = {"pixels": lambda x: x.flatten(1)}
    for name in ("vae_diagonal", "vae_iaf", "vqvae", "pixelcnn_binary"):
        model: Any = load_model(fitted_models(runs, f"{name}-0")[0])
        encoders[name] = partial(_encode_black_and_white, model) if name == "pixelcnn_binary" else model.encode
    for name in ("dcgan_mnist", "infogan"):
        model = load_model(fitted_models(runs, f"{name}-0")[0])
        with torch.no_grad():  # its statistics were of real and generated images
            recompute_batch_norm(model.discriminator, [(data.train.batch(index),) for index in torch.arange(10_000).split(500)])
        encoders[name] = model.encode
    return encoders


def _encode_black_and_white(model: Any, x: Tensor) -> Tensor:
    codes: Tensor = model.encode(x.round())
    return codes


@torch.no_grad()
def _features(encode: Callable[[Tensor], Tensor], images: Images) -> Tensor:
    return torch.cat([encode(images.batch(index)) for index in torch.arange(len(images)).split(500)])


def _probed(encode: Callable[[Tensor], Tensor], test: Tensor, data: ImageData, n: int) -> dict[str, float]:
    linear, nearest = [], []
    for draw in range(10):
        few = data.train[balanced(data.train.needed_labels, n, torch.Generator().manual_seed(draw))]
        features, labels = _features(encode, few), data.test.needed_labels
        linear.append(LinearProbe(features, few.needed_labels).accuracy(test, labels))
        nearest.append(float((few.needed_labels[torch.cdist(test, features).argmin(1)] == labels).double().mean()))
    return {"linear": statistics.mean(linear), "linear_std": statistics.stdev(linear), "nearest": statistics.mean(nearest)}


def ensemble(runs: Path, root: Path | None) -> dict[str, Any]:
    """Accuracy of the mean probabilities of the semi-supervised classifiers, each of which has a hundred labels of its own."""
    test = load_images("mnist", root).test
    parts = []
    for path in fitted_models(runs, "semi_supervised-?"):
        model: Any = load_model(path)
        parts.append(model.classify(test.batch()))
    right = [float((p.argmax(1) == test.needed_labels).double().mean()) for p in (*parts, torch.stack(parts).mean(0))]
    return {"accuracy": right[-1], "members": right[:-1], "mean": statistics.mean(right[:-1])}


def sampling(runs: Path, root: Path | None) -> dict[str, Any]:
    """Seconds that the cached and the plain loop take for 64 images of 28 × 28 from the same noise, in turns."""
    model: Any = load_model(fitted_models(runs, "pixelcnn_binary-0")[0])
    cached, plain, same = [], [], True
    for repeat in range(3):  # the plain loop takes minutes
        noise = torch.rand(64, 28, 28, generator=torch.Generator().manual_seed(repeat))
        start = time.perf_counter()
        first = model.sample(64, noise)
        middle = time.perf_counter()
        second = model.sample_plainly(64, noise)
        cached.append(middle - start)
        plain.append(time.perf_counter() - middle)
        same = same and torch.equal(first, second)
    ratios = [slow / fast for slow, fast in zip(plain, cached, strict=True)]
    return {"cached_seconds": cached, "plain_seconds": plain, "ratio": statistics.median(ratios), "ratios": ratios, "identical": same}


def novelty(runs: Path, root: Path | None) -> dict[str, Any]:
    """AUROC with which a PixelCNN of one data set finds the test images of the other: 1 is always right, 0.5 blind, 0 always wrong."""
    data = {name: load_images(name, root) for name in ("fashion-mnist", "mnist")}
    found: dict[str, Any] = {}
    for known, new in (("fashion-mnist", "mnist"), ("mnist", "fashion-mnist")):
        torch.manual_seed(0)
        model = PixelCNN((1, 28, 28), levels=256, width=32, depth=3, mixture=3)
        fit(model, data[known].train[:10_000], epochs=2, batch_size=32, precision="auto", max_grad_norm=1.0, progress=False)
        distance = FeatureDistance(model.encode, data[known].train.batch(slice(0, 5000)))
        some = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[:2000]  # the first half of MNIST's is the easier
        x = {name: data[name].test.batch(some) for name in (known, new)}
        with torch.no_grad():
            log_p = {name: torch.cat([model.log_prob(part) for part in images.split(100)]) for name, images in x.items()}
        found[f"{known} knows, {new} is new"] = {
            "nats": {name: -float(value.mean()) for name, value in log_p.items()},
            "likelihood": auroc(-log_p[known], -log_p[new]),
            "excess_nats": auroc(*(excess_nats(log_p[name], x[name]) for name in (known, new))),
            "feature_distance": auroc(distance(x[known]), distance(x[new])),
        }
    return found


def picture(runs: Path, root: Path | None) -> dict[str, Any]:
    """Draw samples of six models, and what a conditional VAE makes of a quarter of an image, in demos/results/images.png."""
    rows, names = [], []
    for name, words in (
        ("vae_iaf", "VAE, IAF"),
        ("pixelcnn_binary", "PixelCNN"),
        ("realnvp", "RealNVP"),
        ("vqvae_prior", "VQ-VAE"),
        ("dcgan_mnist", "DCGAN"),
        ("diffusion", "diffusion"),
    ):
        torch.manual_seed(1)
        model: Any = load_model(fitted_models(runs, f"{name}-0")[0])
        rows.append(model.sample(16))
        names.append(words)
    completing: Any = load_model(fitted_models(runs, "quadrants_1-0")[0])
    x = binarize(load_images("mnist", root).test.batch(slice(16, 32)), torch.Generator().manual_seed(0))
    given = quadrants(1)(x, torch.Generator())[1]
    rows += [given[:, :1] + 0.35 * (1 - given[:, 1:]), completing.complete(given), completing.complete(given), x]
    names += ["given", "completed", "once more", "the truth"]
    grid(as_bytes(torch.cat(rows)), 16, names).save(RESULTS / "images.png", optimize=True)
    return {"rows": names}


def codes(runs: Path, root: Path | None) -> dict[str, Any]:
    """Draw one code of InfoGAN along each row in demos/results/codes.png: its categories, then each number from -2 to 2."""
    model: Any = load_model(fitted_models(runs, "infogan-0")[0])
    torch.manual_seed(2)
    drawn = model.sweeps(8, 10)
    drawn["code_1_classes"] = drawn["code_1_classes"].unflatten(0, (-1, 10))[:, _by_digit(model, load_images("mnist", root))].flatten(0, 1)
    names = ["category", "first number", "second number"]
    rows = [images[:20] for images in drawn.values()]
    grid(as_bytes(torch.cat(rows)), 10, [name for name in names for _ in range(2)]).save(RESULTS / "codes.png", optimize=True)
    return {"rows": names}


def _by_digit(model: Any, data: ImageData) -> Tensor:
    """The categories, in the order of the digits that they fit best."""
    x, labels = data.train.batch(slice(0, 5000)), data.train.needed_labels[:5000]
    counts = torch.zeros(10, 10).index_put_((labels, model.recognise(x)[0].argmax(1)), torch.ones(()), accumulate=True)
    return torch.as_tensor(linear_sum_assignment(-counts.numpy())[1])


def rounding(runs: Path, root: Path | None) -> dict[str, Any]:
    """Nats per test digit of models computed in float32, in bfloat16 except for the last layer, and in bfloat16 alone."""
    x = load_images("mnist", root).test.batch(slice(0, 500))
    found: dict[str, Any] = {}
    for name, module in (("realnvp", realnvp), ("pixelcnn_mixture", pixelcnn)):
        model: Any = load_model(fitted_models(runs, f"{name}-0")[0])
        found[name] = {"float32": _nats(model, x, False), "bfloat16_but_the_last_layer": _nats(model, x, True)}
        with patch.object(module, "in_full", lambda layer, h: layer(h)):
            found[name]["bfloat16"] = _nats(model, x, True)
    return found


def _nats(model: Any, x: Tensor, half: bool) -> float:
    torch.manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return float(model.loss(x))


USES: dict[str, Callable[[Path, Path | None], dict[str, Any]]] = {
    "floors": floors,
    "fid": fid,
    "probe": probe,
    "ensemble": ensemble,
    "sampling": sampling,
    "novelty": novelty,
    "picture": picture,
    "codes": codes,
    "rounding": rounding,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"{name}: {(use.__doc__ or '').splitlines()[0]}" for name, use in USES.items())
    parser.add_argument("name", choices=USES, metavar="NAME", help="what is measured, one of those below")
    add_folders(parser)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    found = USES[flags.name](flags.runs, flags.data_root)
    write(f"images/{flags.name}", found | {"minutes": round((time.perf_counter() - start) / 60, 1)})


if __name__ == "__main__":
    main()
