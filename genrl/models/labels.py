"""Labels of images, checked once for every conditional model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Labels", "checked_labels"]

Labels = Tensor | Sequence[int] | int
"""Classes of images: int64 ``(batch,)``, a list of whole numbers, or one number for all images."""


def checked_labels(labels: Labels, n: int, n_classes: int, owner: str, device: torch.device | None = None) -> Tensor:
    """Labels of ``n`` images as int64, ``(n,)``.

    Args:
        labels: a class for each image, or one for all.
        n: number of images.
        n_classes: labels are from 0 to one below it.
        owner: who needs them, for the message.
        device: where labels are put that are given as numbers.

    Raises:
        ValueError: another number of labels, another type, or a label out of range.

    Example:
        >>> checked_labels(3, 2, 10, "a model").tolist(), checked_labels([0, 9], 2, 10, "a model").tolist()
        ([3, 3], [0, 9])
    """
    if not isinstance(labels, Tensor):
        labels = torch.full((n,), labels, device=device) if isinstance(labels, int) else torch.tensor(labels, device=device)
    kind = str(labels.dtype).removeprefix("torch.")
    if labels.dtype != torch.int64 or tuple(labels.shape) != (n,):
        raise ValueError(f"{owner} needs labels as int64 of shape {(n,)}, but was given {kind} of shape {tuple(labels.shape)}")
    if n and not 0 <= labels.min() <= labels.max() < n_classes:
        raise ValueError(
            f"{owner} needs labels from 0 to {n_classes - 1}, but was given some from {int(labels.min())} to {int(labels.max())}"
        )
    return labels
