"""Distances of generated images from real ones, measured on features ``(image, feature)`` in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Distances",
    "compare",
    "compare_with_floor",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "need_finite",
    "precision_recall",
    "psnr",
]

_ROWS = 1000
"""Rows of a matrix of distances that are in memory at once: 80 MB beside 10,000 images."""


@dataclass(frozen=True)
class Distances:
    """Distances of generated images from real ones.

    Example:
        >>> print(Distances(fid=1.25, kid=0.0125, kid_error=0.00041, precision=0.9, recall=0.75))
        FID 1.25, KID 0.0125 ± 0.00041, precision 0.900, recall 0.750
    """

    fid: float
    """:func:`frechet_distance`, at least 0; comparable only between equal numbers of images and features of one network."""
    kid: float
    """:func:`kernel_distance`, for images of one distribution about 0 and as often below."""
    kid_error: float
    """Standard error of ``kid``."""
    precision: float
    """Share of the generated images among real ones, in [0, 1]."""
    recall: float
    """Share of the real images among generated ones, in [0, 1]."""

    def __str__(self) -> str:
        kid = f"{self.kid:.3g} ± {self.kid_error:.2g}"
        return f"FID {self.fid:.3g}, KID {kid}, precision {self.precision:.3f}, recall {self.recall:.3f}"


def compare(features_of: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, *, k: int = 3, seed: int = 0) -> Distances:
    """All distances between two sets of images.

    Args:
        features_of: function from images to their features ``(batch, feature)``, such as :meth:`Classifier.features`; it is called with 500
            images at a time.
        real: real images, ``(image, channel, height, width)``, at least 20.
        generated: generated images, ``(image, channel, height, width)``, at least 20.
        k: neighbour that :func:`precision_recall` looks at.
        seed: seed of :func:`kernel_distance`.

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
) -> tuple[Distances, Distances]:
    """Distances of generated images from test images, and the floor: distances of as many training images from the same test images.

    No distance between finitely many images is zero, and the floor is the distance of a perfect generator. Since distances depend on the
    number of images, all three sets are cut to the size of the smallest, at random.

    Args:
        features_of: function from images to their features, as in :func:`compare`.
        train: training images, ``(image, channel, height, width)``, at least 20.
        test: test images, ``(image, channel, height, width)``, at least 20.
        generated: generated images, ``(image, channel, height, width)``, at least 20.
        k: neighbour that :func:`precision_recall` looks at.
        seed: seed of :func:`kernel_distance` and of the draw of images.

    Returns:
        The distances of the generated images, and the floor.

    Raises:
        ValueError: as in :func:`compare`.

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
    r"""Fréchet distance (FID) of two normal distributions with the means and covariances of two sets of features, at least 0.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})

    With factors :math:`C = L L^T` of symmetric eigendecompositions, the trace of the square root is the sum of the singular values of
    :math:`L_a^T L_b`: real whatever the rounding, and exact for covariances without full rank too. Few images give too large a distance:
    compare equal numbers of images only, and more images than features.

    Args:
        a: features of at least 2 images, ``(image, feature)``.
        b: features of at least 2 other images, ``(image, feature)``.

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

    The distance is the mean over ``subsets`` parts of ``size`` images. The parts are disjoint, so that the spread of their distances gives
    the standard error of the mean; parts that share images would make it as small as one likes.

    Args:
        a: features of images, ``(image, feature)``.
        b: features of other images, ``(image, feature)``.
        subsets: number of parts, at least 2.
        size: images in each part, at least 2; by default as many as there are.
        seed: seed of the draw of the parts.

    Returns:
        The distance, for features of one distribution about 0 and as often below; and its standard error.

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

    An image lies among others if it is in the ball of one of them, which reaches to its k-th nearest neighbour in its own set. Both shares
    depend on the number of images: compare equal numbers only.

    Args:
        real: features of more than ``k`` real images, ``(image, feature)``.
        generated: features of more than ``k`` generated images, ``(image, feature)``.
        k: neighbour to which a ball reaches, at least 1.

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
    r"""Inception score: high where the class of each image is clear and all classes are equally frequent, from 1 to the number of classes.

    .. math:: \exp \mathbb{E}_x[\mathrm{KL}(p(y \mid x) \,\|\, p(y))]

    Args:
        logits: logits of a classifier for at least 1 image, ``(image, class)``.

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
    """Peak signal-to-noise ratio of each image in decibels, ``(image,)``, float64; infinite for equal images.

    Args:
        a: images in [0, 1], ``(image, channel, height, width)``.
        b: images of the same shape.

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
    """The sets of features in double precision; a ValueError if they don't fit."""
    shapes = " and ".join(str(tuple(x.shape)) for x in sets)
    if any(x.ndim != 2 or x.shape[1] != sets[0].shape[1] or not x.shape[1] for x in sets):
        raise ValueError(f"{what} needs (image, feature) with the same number of features, but was given {shapes}")
    if min(len(x) for x in sets) < least:
        raise ValueError(f"{what} needs at least {least} image{'s' * (least > 1)}, but was given {' and '.join(str(len(x)) for x in sets)}")
    for x in sets:
        need_finite(what, x)
    return [x.detach().double() for x in sets]


def need_finite(what: str, x: Tensor) -> None:
    """Refuse features ``(image, feature)`` that are NaN or infinite, in the name of ``what``."""
    if broken := int((~x.isfinite().all(1)).sum()):
        raise ValueError(f"{what} needs finite numbers, but those of {broken} of {len(x)} images are NaN or infinite; look at the images")


def _factor(x: Tensor) -> Tensor:
    """L, a factor of the covariance L L^T of ``x``."""
    values, vectors = torch.linalg.eigh(x.T.cov(correction=1).reshape(x.shape[1], -1))
    return vectors * values.clamp_min(0).sqrt()


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of two sets of one size."""
    n, d = x.shape
    within = sum((kernel.sum() - kernel.trace()) / (n * (n - 1)) for kernel in ((x @ x.T / d + 1) ** 3, (y @ y.T / d + 1) ** 3))
    return within - 2 * ((x @ y.T / d + 1) ** 3).mean()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distance of each image of ``x`` to each of ``y``."""
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2).clamp_min_(0)


def _reach(x: Tensor, k: int) -> Tensor:
    """Squared distance of each image to its k-th nearest neighbour, ``(image,)``; the nearest of all is the image itself."""
    return torch.cat([_squared_distances(part, x).topk(k + 1, dim=1, largest=False).values[:, -1] for part in x.split(_ROWS)])


def _features(features_of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([features_of(part) for part in images.split(500)])


def _compared(real: Tensor, generated: Tensor, k: int, seed: int) -> Distances:
    kid, kid_error = kernel_distance(real, generated, seed=seed)
    return Distances(frechet_distance(real, generated), kid, kid_error, *precision_recall(real, generated, k))
