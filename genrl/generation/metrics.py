"""How far generated images are from real ones, measured on features ``(image, feature)``, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Comparison",
    "compare",
    "compare_with_floor",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "precision_recall",
    "psnr",
]

_ROWS = 1000
"""Of a matrix of distances that is in memory at once: 80 MB beside 10,000 images."""


@dataclass(frozen=True)
class Comparison:
    """Distances of generated images from real ones.

    Example:
        >>> print(Comparison(fid=1.25, kid=0.0125, kid_error=0.00041, precision=0.9, recall=0.75))
        FID 1.25, KID 0.0125 ± 0.00041, precision 0.900, recall 0.750
    """

    fid: float
    """:func:`frechet_distance`, at least 0; comparable between images of the same number and features of the same net only."""
    kid: float
    """:func:`kernel_distance`, about 0 for images of one distribution, and then as often below."""
    kid_error: float
    """Its standard error."""
    precision: float
    """Share of the generated images among real ones, in [0, 1]."""
    recall: float
    """Share of the real images among generated ones, in [0, 1]."""

    def __str__(self) -> str:
        kid = f"{self.kid:.3g} ± {self.kid_error:.2g}"
        return f"FID {self.fid:.3g}, KID {kid}, precision {self.precision:.3f}, recall {self.recall:.3f}"


def compare(features_of: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, *, k: int = 3, seed: int = 0) -> Comparison:
    """All distances between two sets of images.

    Args:
        features_of: features ``(batch, feature)`` of images, such as :meth:`Classifier.features`; it is given 500 at a time.
        real, generated: ``(image, channel, height, width)``, at least 20 each.
        k: of :func:`precision_recall`.
        seed: of :func:`kernel_distance`.

    Raises:
        ValueError: fewer images than that; features that differ in shape, or are NaN or infinite.

    Example:
        >>> images = torch.rand(40, 1, 8, 8)
        >>> same = compare(lambda x: x.flatten(1), images, images)
        >>> round(same.fid, 6), same.precision, same.recall
        (0.0, 1.0, 1.0)
    """
    return _compared(_features(features_of, real), _features(features_of, generated), k, seed)


def compare_with_floor(
    features_of: Callable[[Tensor], Tensor], train: Tensor, test: Tensor, generated: Tensor, *, k: int = 3, seed: int = 0
) -> tuple[Comparison, Comparison]:
    """Generated images against those of the test, and beside it the floor: as many images of the training set against the same.

    No distance of finitely many images is zero; the floor is that of a generator which gives perfect images. All three sets are cut to the
    number of the smallest, drawn at random, because the distances depend on the number.

    Args:
        train, test, generated: ``(image, channel, height, width)``, at least 20 each.
        features_of, k, seed: as in :func:`compare`; ``seed`` draws the images too.

    Returns:
        The comparison of the generated images, and the floor; errors as in :func:`compare`.

    Example:
        >>> train, test, generated = torch.rand(60, 1, 8, 8), torch.rand(40, 1, 8, 8), torch.rand(40, 1, 8, 8).square()
        >>> found, floor = compare_with_floor(lambda x: x.flatten(1), train, test, generated)
        >>> found.fid > floor.fid
        True
    """
    generator = torch.Generator().manual_seed(seed)
    n = min(len(train), len(test), len(generated))
    sets = [images[torch.randperm(len(images), generator=generator)[:n]] for images in (train, test, generated)]
    known, real, made = (_features(features_of, images) for images in sets)
    return _compared(real, made, k, seed), _compared(real, known, k, seed)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""Distance of the normal distributions with the means and covariances of two sets of features (FID), at least 0.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})

    With factors :math:`C = L L^T` of symmetric eigendecompositions, the trace of the square root is the sum of the singular values of
    :math:`L_a^T L_b`: real whatever the rounding, and exact for covariances without full rank too. Few images give too large a distance:
    compare the same number on each side of a table, and more of them than features.

    Args:
        a, b: ``(image, feature)``, at least 2 images each.

    Raises:
        ValueError: fewer images, shapes that differ, NaN or infinite features.

    References:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017, arXiv:1706.08500.

    Example:
        >>> x = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> round(frechet_distance(x, x + torch.tensor([3.0, 4.0])), 6)
        25.0
    """
    a, b = _checked("frechet_distance", a, b, least=2)
    shift = (a.mean(0) - b.mean(0)).square().sum()
    factor_a, factor_b = _factor(a), _factor(b)
    overlap = torch.linalg.svdvals(factor_a.T @ factor_b).sum()
    return max(0.0, float(shift + factor_a.square().sum() + factor_b.square().sum() - 2 * overlap))


def kernel_distance(a: Tensor, b: Tensor, *, subsets: int = 10, size: int | None = None, seed: int = 0) -> tuple[float, float]:
    r"""Unbiased squared maximum mean discrepancy (KID) with the kernel :math:`(x^T y / d + 1)^3`, and its standard error.

    It is computed of ``subsets`` parts of ``size`` images and averaged. The parts are disjoint, so that the spread of their distances gives
    the standard error of the mean: parts that share images would make it as small as one likes.

    Args:
        a, b: ``(image, feature)``.
        subsets: at least 2.
        size: images of each part, at least 2; none takes as many as there are.
        seed: of the draw of the parts.

    Returns:
        The distance, about 0 for features of one distribution, and then as often below; its standard error.

    Raises:
        ValueError: fewer images than ``subsets * size``, shapes that differ, NaN or infinite features.

    References:
        Binkowski et al., "Demystifying MMD GANs", 2018, arXiv:1801.01401.

    Example:
        >>> x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> distance, error = kernel_distance(x, x + 1, subsets=5)
        >>> distance > 3 * error
        True
    """
    for name, value in (("subsets", subsets), ("size", 2 if size is None else size)):
        if value < 2:
            raise ValueError(f"kernel_distance needs {name} of at least 2, but was given {value}")
    a, b = _checked("kernel_distance", a, b, least=subsets * (2 if size is None else size))
    size = min(len(a), len(b)) // subsets if size is None else size
    generator = torch.Generator().manual_seed(seed)  # in order, a part could be a class
    parts_a, parts_b = (x[torch.randperm(len(x), generator=generator)[: subsets * size]].view(subsets, size, -1) for x in (a, b))
    distances = torch.stack([_discrepancy(x, y) for x, y in zip(parts_a, parts_b, strict=True)])
    return float(distances.mean()), float(distances.std()) / math.sqrt(subsets)


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of the generated images that lie among the real ones, and of the real ones that lie among the generated, both in [0, 1].

    An image lies among others if it is in one of their balls; that of each reaches to its k-th nearest neighbour in its own set. Both
    shares depend on the number of images: compare the same.

    Args:
        real, generated: ``(image, feature)``, more than ``k`` images each.
        k: at least 1.

    Raises:
        ValueError: fewer images, shapes that differ, NaN or infinite features.

    References:
        Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019, arXiv:1904.06991.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> precision_recall(real, torch.tensor([[0.4], [0.6]]), k=1)
        (1.0, 0.0)
    """
    if k < 1:
        raise ValueError(f"precision_recall needs k of at least 1, but was given {k}")
    real, generated = _checked("precision_recall", real, generated, least=k + 1)
    real, generated = real - real.mean(0), generated - real.mean(0)  # the same distances, with more digits
    # Copies of one image would else lie outside each other's balls of radius zero, by rounding.
    slack = 1e-12 * float(torch.cat([real, generated]).square().sum(1).max())
    reach_real, reach_generated = _reach(real, k) + slack, _reach(generated, k) + slack
    inside, covered = 0, torch.zeros(len(real), dtype=torch.bool)
    for part, reach in zip(generated.split(_ROWS), reach_generated.split(_ROWS), strict=True):
        distances = _squared_distances(part, real)
        inside += int((distances <= reach_real).any(1).sum())
        covered |= (distances <= reach[:, None]).any(0)
    return inside / len(generated), int(covered.sum()) / len(real)


def inception_score(logits: Tensor) -> float:
    r"""How clear each image's class is and how even the classes: from 1 (all unclear, or all of one class) to the number of classes.

    .. math:: \exp \mathbb{E}_x[\mathrm{KL}(p(y \mid x) \,\|\, p(y))]

    Args:
        logits: of a classifier, ``(image, class)``, at least 1 image.

    Raises:
        ValueError: no images, another shape, NaN or infinite logits.

    References:
        Salimans et al., "Improved Techniques for Training GANs", 2016, arXiv:1606.03498.

    Example:
        >>> round(inception_score(100 * torch.eye(4)), 6), round(inception_score(torch.zeros(5, 4)), 6)
        (4.0, 1.0)
    """
    (logits,) = _checked("inception_score", logits, least=1)
    log_p = logits.log_softmax(1)
    log_marginal = log_p.logsumexp(0) - math.log(len(logits))
    return math.exp(float((log_p.exp() * (log_p - log_marginal)).sum(1).mean()))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, decibels, ``(image,)``, float64; infinite for images that are the same.

    Args:
        a, b: grey levels in [0, 1], ``(image, channel, height, width)``.

    Raises:
        ValueError: shapes that differ, NaN, or levels outside of [0, 1].

    Example:
        >>> psnr(torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), 0.1)).round(decimals=4).tolist()
        [20.0, 20.0]
    """
    if a.shape != b.shape or a.ndim != 4 or not a.numel():
        raise ValueError(
            f"psnr needs images of one shape (image, channel, height, width), but was given {tuple(a.shape)}, {tuple(b.shape)}"
        )
    for x in (a, b):
        low, high = float(x.min()), float(x.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(f"psnr needs grey levels in [0, 1], but was given some from {low:g} to {high:g}; clamp or rescale them")
    return -10 * (a.double() - b.double()).square().flatten(1).mean(1).log10()


def _checked(what: str, *sets: Tensor, least: int) -> list[Tensor]:
    """Sets of features in double precision, or an error in one sentence."""
    shapes = " and ".join(str(tuple(x.shape)) for x in sets)
    if any(x.ndim != 2 or x.shape[1] != sets[0].shape[1] or not x.shape[1] for x in sets):
        raise ValueError(f"{what} needs (image, feature) with the same number of features, but was given {shapes}")
    if min(len(x) for x in sets) < least:
        raise ValueError(f"{what} needs at least {least} image{'s' * (least > 1)}, but was given {' and '.join(str(len(x)) for x in sets)}")
    for x in sets:
        need_finite(what, x)
    return [x.detach().double() for x in sets]


def need_finite(what: str, x: Tensor) -> None:
    """Raise a ValueError if numbers of images ``(image, feature)`` are NaN or infinite; ``what`` needs them."""
    if broken := int((~x.isfinite().all(1)).sum()):
        raise ValueError(f"{what} needs finite numbers, but those of {broken} of {len(x)} images are NaN or infinite; look at the images")


def _factor(x: Tensor) -> Tensor:
    """L, of the covariance L L^T."""
    values, vectors = torch.linalg.eigh(x.T.cov(correction=1).reshape(x.shape[1], -1))
    return vectors * values.clamp_min(0).sqrt()


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of two sets of one size."""
    n, d = x.shape
    within = sum((kernel.sum() - kernel.trace()) / (n * (n - 1)) for kernel in ((x @ x.T / d + 1) ** 3, (y @ y.T / d + 1) ** 3))
    return within - 2 * ((x @ y.T / d + 1) ** 3).mean()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """``(image of x, image of y)``."""
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2).clamp_min_(0)


def _reach(x: Tensor, k: int) -> Tensor:
    """Squared distance of each image to its k-th nearest neighbour, ``(image,)``; the nearest of all is the image itself."""
    return torch.cat([_squared_distances(part, x).topk(k + 1, dim=1, largest=False).values[:, -1] for part in x.split(_ROWS)])


def _features(features_of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([features_of(part) for part in images.split(500)])


def _compared(real: Tensor, generated: Tensor, k: int, seed: int) -> Comparison:
    kid, kid_error = kernel_distance(real, generated, seed=seed)
    return Comparison(frechet_distance(real, generated), kid, kid_error, *precision_recall(real, generated, k))
