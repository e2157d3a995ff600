"""What fitted image models are good for, measured: samples beside real images, features, novelty, and the speed of sampling.

    python demos/image_uses.py fid         # after the fits of demos/images.py that it names
    python demos/image_uses.py probe
    python demos/image_uses.py sampling
    python demos/image_uses.py novelty

One thread. Each writes demos/results/images/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genrl.data import ImageData, Images, load_images
from genrl.models.base import load_model
from genrl.models.classifier import judge
from genrl.models.metrics import compare_with_floor
from genrl.models.novelty import FeatureDistance, auroc, excess_nats
from genrl.models.pixelcnn import PixelCNN
from genrl.models.probe import LinearProbe, balanced
from genrl.models.training import fit

RESULTS = Path(__file__).parent / "results" / "images"


def fid(runs: Path, root: Path) -> dict[str, Any]:
    """10,000 samples of each model against the test set, on the features of a classifier of the training set."""
    data = load_images("mnist", root)
    net = judge(data.train, cache=runs / "judge.safetensors")
    found: dict[str, Any] = {"judge_accuracy": net.accuracy(data.test.batch(), data.test.needed_labels)}
    for name in ("vae_diagonal", "vae_iaf", "vqvae_prior"):
        torch.manual_seed(0)
        model: Any = load_model(runs / f"{name}-0.model.safetensors")
        samples = torch.cat([model.sample(500) for _ in range(20)])
        generated, floor = compare_with_floor(net.features, data.train.batch(slice(0, 10_000)), data.test.batch(), samples)
        found |= {name: asdict(generated), "floor": asdict(floor)}
    return found


def probe(runs: Path, root: Path) -> dict[str, Any]:
    """A linear classifier on 100 and 1,000 labels of the training set, ten draws, on the whole test set; 1-NN on pixels beside it."""
    data = load_images("mnist", root)
    found: dict[str, Any] = {}
    for name, encode in _encoders(runs).items():
        test = _features(encode, data.test)
        found[name] = {str(n): _probed(encode, test, data, n) for n in (100, 1000)}
    return found


def _encoders(runs: Path) -> dict[str, Callable[[Tensor], Tensor]]:
    encoders: dict[str, Callable[[Tensor], Tensor]] = {"pixels": lambda x: x.flatten(1)}
    for name in ("vae_diagonal", "vae_iaf", "vqvae", "pixelcnn_binary"):
        model: Any = load_model(runs / f"{name}-0.model.safetensors")
        encoders[name] = (lambda x, model=model: model.encode(x.round())) if name.startswith("pixelcnn") else model.encode
    return encoders


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


def sampling(runs: Path, root: Path) -> dict[str, Any]:
    """64 images of 28 × 28 by the cached and by the plain loop, in turns, with the same noise."""
    model: Any = load_model(runs / "pixelcnn_binary-0.model.safetensors")
    cached, plain, same = [], [], True
    for repeat in range(3):
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


def novelty(runs: Path, root: Path) -> dict[str, Any]:
    """A PixelCNN of one data set scores the test images of both; 1 finds every new image, 0.5 is blind, 0 is wrong every time."""
    data = {name: load_images(name, root) for name in ("fashion-mnist", "mnist")}
    found: dict[str, Any] = {}
    for known, new in (("fashion-mnist", "mnist"), ("mnist", "fashion-mnist")):
        torch.manual_seed(0)
        model = PixelCNN((1, 28, 28), levels=256, width=32, depth=3, mixture=3)
        fit(model, data[known].train[:10_000], epochs=2, batch_size=32, precision="bfloat16", max_grad_norm=1.0, progress=False)
        distance = FeatureDistance(model.encode, data[known].train.batch(slice(0, 5000)))
        x = {name: data[name].test.batch(slice(0, 2000)) for name in (known, new)}
        with torch.no_grad():
            log_p = {name: torch.cat([model.log_prob(part) for part in images.split(100)]) for name, images in x.items()}
        found[f"{known} knows, {new} is new"] = {
            "nats": {name: -float(value.mean()) for name, value in log_p.items()},
            "likelihood": auroc(-log_p[known], -log_p[new]),
            "excess_nats": auroc(*(excess_nats(log_p[name], x[name]) for name in (known, new))),
            "feature_distance": auroc(distance(x[known]), distance(x[new])),
        }
    return found


USES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {"fid": fid, "probe": probe, "sampling": sampling, "novelty": novelty}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=USES)
    parser.add_argument("--runs", type=Path, default=Path("images"), help="folder of the fitted models")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data/images"))
    flags = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    found = USES[flags.name](flags.runs, flags.data_root)
    found["minutes"] = round((time.perf_counter() - start) / 60, 1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{flags.name}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
