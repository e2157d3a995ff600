"""Numbers that say how good a generative model is, each beside that of a trivial one: its likelihood, and distances of its samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genrl.data import Images
from genrl.generation.balance import Balance
from genrl.generation.classifier import Classifier, judge
from genrl.generation.config import GenerateConfig
from genrl.generation.images import RunImages
from genrl.generation.metrics import compare_with_floor, inception_score
from genrl.generators import forked_generators
from genrl.models.base import ImageModel
from genrl.models.capabilities import Completer, Density, Sampler
from genrl.models.naive_bayes import NaiveBayes, PixelHistograms
from genrl.models.pixels import bits_per_dim

__all__ = ["SEED", "accuracy", "balance_of", "distances", "judged_images", "likelihood", "no_distances", "verdict"]

SEED = 12_345
"""Seed of everything that is drawn to judge: every model and every seed of a run meets the same images, levels and noise."""
BATCH = 250
FEWEST = 20
"""Fewest images of which distances are taken."""
JUDGED_SIZES = range(8, 65)
"""Pixels a side of images that the judge takes, the classifier whose features are compared."""


def judged_images(source: RunImages, n: int) -> Images:
    """Draw ``n`` test images at random; all of them if there are fewer."""
    test = source.data.test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(SEED))
    return test[order[:n]]


def draws(config: GenerateConfig, model: ImageModel) -> int | None:
    """Importance samples per image in the bound; ``None`` for a model that has no such bound."""
    usual = model.bound_samples()
    return config.judge_samples if usual is not None and config.judge_samples is not None else usual


@torch.no_grad()
def likelihood(config: GenerateConfig, source: RunImages, model: ImageModel) -> dict[str, Any] | None:
    """Nats per image and bits per dimension of the judged images, beside the floor of independent pixels; none without a density.

    The floor of black and white images is naive Bayes with one class; that of other images is a histogram of levels for each pixel.
    """
    if not config.judge_images or not isinstance(model, Density):
        return None
    images = judged_images(source, config.judge_images)
    x = source.seen(images, SEED)
    if isinstance(model, Completer):
        return _completion(config, source, model, x)
    samples = draws(config, model)
    arguments = {} if samples is None else {"samples": samples}
    with forked_generators():
        torch.manual_seed(SEED)
        log_p = torch.cat([model.log_prob(part, **arguments) for part in x.split(BATCH if samples is None else 100)])
    return {
        "kind": model.likelihood,
        "samples": samples,
        "images": len(images),
        **_in_units(log_p, source.data.train.shape),
        "floor": _in_units(_floor(source, x), source.data.train.shape),
    }


def verdict(result: Mapping[str, Any]) -> str | None:
    """A sentence where a model that learns is no better than its floor, so that its samples are noise; otherwise none.

    Example:
        >>> found = {"bits_per_dim": 8.8, "nats": 4782.0, "floor": {"bits_per_dim": 1.1, "nats": 597.7}}
        >>> verdict({"counted": False, "levels": 256, "likelihood": found})
        '8.8 bits per dimension against the floor of 1.1: it has not learnt yet'
    """
    found = result.get("likelihood")
    if not found or result["counted"] or found["nats"] < found["floor"]["nats"]:
        return None
    unit, words = ("nats", "nats an image") if result["levels"] == 2 else ("bits_per_dim", "bits per dimension")
    return f"{found[unit]:.3g} {words} against the floor of {found['floor'][unit]:.3g}: it has not learnt yet"


def _completion(config: GenerateConfig, source: RunImages, model: Any, x: Tensor) -> dict[str, Any]:
    """The likelihood of what is wanted, given the rest; the floor is the plain network that makes the first guess."""
    assert source.corruption is not None
    generator, samples = torch.Generator().manual_seed(SEED), draws(config, model)
    parts = [source.corruption(part, generator) for part in x.split(BATCH)]
    with forked_generators():
        torch.manual_seed(SEED)
        log_p = torch.cat([model.log_prob(*part, samples=samples or 1) for part in parts])
    guess = torch.cat([model.log_prob_of_guess(*part) for part in parts])
    shape = (1, 1, round(float(torch.cat([wanted for _, _, wanted in parts]).sum()) / len(x)))  # what is wanted, not the whole
    about = {"kind": model.likelihood, "samples": samples, "images": len(x)}
    return about | _in_units(log_p, shape) | {"floor": _in_units(guess, shape), "floor_name": "plain network"}


def _floor(source: RunImages, x: Tensor) -> Tensor:
    """log p(x) by independent pixels, in nats, ``(batch,)``."""
    if source.levels == 2:
        bayes = NaiveBayes(source.data.train.shape)
        bayes.count((grey, None) for grey in _batches(source.data.train))
        return bayes.log_prob(x)
    seen = (source.seen(source.data.train[part], SEED) for part in _parts(source.data.train))
    return PixelHistograms(seen, source.levels).log_prob(x)


def _in_units(log_p: Tensor, shape: tuple[int, int, int]) -> dict[str, float]:
    nats, error = -float(log_p.mean()), float(log_p.std(correction=min(1, len(log_p) - 1))) / math.sqrt(len(log_p))
    return {
        "nats": nats,
        "nats_error": error,
        "bits_per_dim": bits_per_dim(nats, shape),
        "bits_per_dim_error": bits_per_dim(error, shape),
    }


@torch.no_grad()
def distances(config: GenerateConfig, source: RunImages, model: ImageModel) -> dict[str, Any] | None:
    """FID, KID, precision and recall of samples against test images, beside the floor of as many training images against the same.

    The features are those of a classifier that is trained here on the images' labels, so there are no distances without labels, with too
    few images, or with sizes that it does not take. The result also has the share of test images that the classifier names right, and the
    Inception scores by its classes of the samples and of the test images.
    """
    train = source.data.train
    if not isinstance(model, Sampler) or _obstacle(config, source):
        return None
    test = judged_images(source, min(config.judge_images, len(train)))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED))
    known = train[order[: len(test)]]
    with forked_generators():
        torch.manual_seed(SEED)
        generated = torch.cat([model.sample(len(part)) for part in torch.arange(len(test)).split(500)])
    # Means are compared with the images themselves, samples of levels with images whose levels are drawn in the same way.
    real, other = (source.seen(part, SEED) if model.draws_levels else part.batch() for part in (test, known))
    classifier = _classifier(source)
    found, floor = compare_with_floor(classifier.features, other, real, generated, seed=SEED)
    scores = [inception_score(torch.cat([classifier(part) for part in x.split(500)])) for x in (generated, real)]
    return {
        "images": len(test),
        **asdict(found),
        "inception_score": scores[0],
        "inception_score_of_test": scores[1],
        "judge_accuracy": None if test.labels is None else classifier.accuracy(real, test.labels),
        "floor": asdict(floor),
    }


@torch.no_grad()
def accuracy(config: GenerateConfig, source: RunImages, model: ImageModel) -> dict[str, Any] | None:
    """Share of the judged images that a classifier of few labels names right; the floor is the nearest labelled image, pixel by pixel."""
    if source.labelled is None or not config.judge_images:
        return None
    classifier: Any = model
    images, few = judged_images(source, config.judge_images), source.labelled
    x, known = images.batch(), images.needed_labels
    nearest = few.needed_labels[torch.cdist(x.flatten(1), few.batch().flatten(1)).argmin(1)]
    right = (classifier.classify(x).argmax(1) == known).double().mean()
    return {"images": len(images), "labels": len(few), "accuracy": float(right), "floor": float((nearest == known).double().mean())}


def balance_of(
    config: GenerateConfig, source: RunImages, model: ImageModel, rows: Sequence[Mapping[str, float]], say: Callable[[str], None]
) -> Balance | None:
    """The watch over a GAN's two players, after ``rows`` of its log; where images can be classified, it counts the classes drawn."""
    if not model.adversarial:
        return None
    images = judged_images(source, 2_000)
    real = source.seen(images, SEED)
    if len(real) < 2 or (real == real[:1]).all():
        return None
    classifier = None if _obstacle(config, source) else _classifier(source)
    return Balance(real, classifier, images.labels, before=rows, seed=config.seed, say=say)


def no_distances(config: GenerateConfig, source: RunImages, model: ImageModel) -> str | None:
    """The reason in words why images have no distances, for a model that could have them."""
    return _obstacle(config, source) if isinstance(model, Sampler) and config.judge_images else None


def _obstacle(config: GenerateConfig, source: RunImages) -> str | None:
    """The reason in words why the classifier can't judge, if there is one: it needs labels, enough images, and sizes that it takes."""
    train, test = source.data.train, source.data.test
    if train.labels is None:
        return "the images have no labels"
    if len(train.labels.unique()) < 2:
        return "all images have the same label"
    if any(side not in JUDGED_SIZES for side in train.shape[1:]):
        low, high = JUDGED_SIZES[0], JUDGED_SIZES[-1]
        return f"images of {train.shape[1]} × {train.shape[2]} pixels have no judge, which takes {low} to {high} a side"
    for n, whose in (
        (config.judge_images, "--judge-images asks for"),
        (len(test), "the test set has"),
        (len(train), "the training set has"),
    ):
        if n < FEWEST:
            return f"{whose} {n} image{'s' * (n != 1)}, and distances need {FEWEST}"
    return None


def _classifier(source: RunImages) -> Classifier:
    folder = _judge_folder()
    with torch.enable_grad():
        return judge(source.data.train, cache=None if folder is None else folder / f"{source.checksum()[:16]}.safetensors")


def _judge_folder() -> Path | None:
    """Folder where classifiers are kept for the next run on the same images; ``None`` where nothing can be written."""
    import pooch

    folder = Path(pooch.os_cache("genrl")) / "judges"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def _parts(images: Images) -> Iterator[slice]:
    return (slice(start, start + 1000) for start in range(0, len(images), 1000))


def _batches(images: Images) -> Iterator[Tensor]:
    return (images.batch(part) for part in _parts(images))
