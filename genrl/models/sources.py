"""What a fit learns from: batches of images, or of several tensors whose rows belong together, such as frames and actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrl.models.capabilities import Batch, Source

__all__ = ["TensorSource", "as_source", "parts"]


class TensorSource:
    """Rows of tensors, drawn together.

    Args:
        tensors: one or several of equal length. Bytes (uint8) are pixels: batches have them as float32 in [0, 1]. Others come as they are.
        labels: class of each row, int64, for a conditional model.

    Raises:
        ValueError: no rows, or tensors of several lengths.

    Example:
        >>> frames, actions = torch.zeros(50, 2, 3, 8, 8, dtype=torch.uint8), torch.zeros(50, 1)
        >>> [part.shape for part in TensorSource(frames, actions).batch(torch.tensor([3, 1]))]
        [torch.Size([2, 2, 3, 8, 8]), torch.Size([2, 1])]
    """

    def __init__(self, *tensors: Tensor, labels: Tensor | None = None) -> None:
        lengths = {len(tensor) for tensor in (*tensors, *([] if labels is None else [labels]))}
        if len(lengths) != 1 or lengths == {0}:
            given = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "none"
            raise ValueError(f"a source needs tensors of one length, and at least one row, but was given {given}")
        self.tensors, self.labels = tensors, labels

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, index: Tensor) -> Batch:
        """The rows at ``index``: a tensor, or a tuple of several."""
        rows = tuple(tensor[index].float() / 255 if tensor.dtype == torch.uint8 else tensor[index] for tensor in self.tensors)
        return rows[0] if len(rows) == 1 else rows

    @property
    def needed_labels(self) -> Tensor:
        """The labels.

        Raises:
            ValueError: there are none.
        """
        if self.labels is None:
            raise ValueError("these tensors have no labels, which a conditional model needs; give TensorSource(images, labels=labels)")
        return self.labels


def as_source(images: Any, dtype: torch.dtype = torch.float32) -> Source:
    """A :class:`Source` as it is; one of an array or a tensor of images.

    Args:
        images: a source, or a tensor or NumPy array ``(image, channel, height, width)``: bytes (uint8), or floats in [0, 1].
        dtype: dtype of the batches of a float array.

    Raises:
        TypeError: it is nothing of that kind.
        ValueError: an array of another shape, or with other values.
    """
    if hasattr(images, "batch") and hasattr(images, "__len__"):
        return images
    if isinstance(images, np.ndarray) and images.dtype.kind in "uif":
        images = torch.from_numpy(np.ascontiguousarray(images))
    if not isinstance(images, Tensor):
        cure = "give its .train" if hasattr(images, "train") else "give an array (image, channel, height, width)"
        raise TypeError(
            f"fit learns from images with len and batch, or from an array of them, but was given {type(images).__name__}; {cure}"
        )
    kind = str(images.dtype).removeprefix("torch.")
    if images.ndim != 4 or not len(images):
        raise ValueError(f"fit needs images of shape (image, channel, height, width), at least one, but was given {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return TensorSource(images)
    if not images.is_floating_point() or not 0 <= float(images.min()) <= float(images.max()) <= 1:
        values = f"{kind} from {images.min().item():.4g} to {images.max().item():.4g}"
        raise ValueError(f"fit needs images as bytes (uint8) or as floats in [0, 1], but was given {values}; rescale them, such as x / 255")
    return TensorSource(images.to(dtype))


def parts(batch: Batch) -> tuple[Tensor, ...]:
    """The tensors of a batch."""
    return (batch,) if isinstance(batch, Tensor) else tuple(batch)
