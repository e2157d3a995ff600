"""What a fit learns from: batches of images, or of several tensors whose rows belong together, such as frames and actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from genrl.models.capabilities import Batch, Source

__all__ = ["DatasetSource", "TensorSource", "as_source", "parts"]


class TensorSource:
    """Rows of tensors, drawn together.

    Args:
        tensors: one or several of equal length. Bytes (uint8) are pixels: batches have them as floats in [0, 1]. Others come as they are.
        labels: class of each row, int64, for a conditional model.
        dtype: dtype of pixels.

    Raises:
        ValueError: no rows, or tensors of several lengths.

    Example:
        >>> frames, actions = torch.zeros(50, 2, 3, 8, 8, dtype=torch.uint8), torch.zeros(50, 1)
        >>> [part.shape for part in TensorSource(frames, actions).batch(torch.tensor([3, 1]))]
        [torch.Size([2, 2, 3, 8, 8]), torch.Size([2, 1])]
    """

    def __init__(self, *tensors: Tensor, labels: Tensor | None = None, dtype: torch.dtype = torch.float32) -> None:
        lengths = {len(tensor) for tensor in (*tensors, *([] if labels is None else [labels]))}
        if len(lengths) != 1 or lengths == {0}:
            given = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "none"
            raise ValueError(f"a source needs tensors of one length, and at least one row, but was given {given}")
        self.tensors, self.labels, self.dtype = tensors, labels, dtype

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, index: Tensor) -> Batch:
        """The rows at ``index``: a tensor, or a tuple of several."""
        rows = tuple(tensor[index].to(self.dtype) / 255 if tensor.dtype == torch.uint8 else tensor[index] for tensor in self.tensors)
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


class DatasetSource:
    """Items of a torch data set, drawn one by one and put together.

    Args:
        dataset: with a length; an item is an image, or an image and its class, or several tensors: bytes (uint8), or floats in [0, 1].
        collate: makes a batch of a list of items.
        dtype: dtype of the batches.

    Raises:
        TypeError: a data set without a length, or items that are no tensors.
        ValueError: no items; or an image with other values, or of another shape than ``(channel, height, width)``.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> source = DatasetSource(TensorDataset(torch.rand(50, 1, 8, 8), torch.arange(50) % 10))
        >>> source.batch(torch.tensor([3, 1])).shape, source.needed_labels[:3].tolist()
        (torch.Size([2, 1, 8, 8]), [0, 1, 2])
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] = default_collate, dtype: torch.dtype = torch.float32) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"fit needs a data set with a length, but was given {type(dataset).__name__}; collect its images in an array")
        if not len(dataset):
            raise ValueError(f"fit needs at least one image, but {type(dataset).__name__} is empty")
        self.dataset, self.collate, self.dtype = dataset, collate, dtype
        self.batch(torch.zeros(1, dtype=torch.long, device="cpu"))

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: Tensor) -> Batch:
        """The items at ``index``: a tensor, or a tuple of several; classes are left out."""
        found = self._items(index.tolist())
        rows = tuple(_pixels(part, self.dtype) for part in (found[:1] if _is_labelled(found) else found))
        return rows[0] if len(rows) == 1 else rows

    @property
    def needed_labels(self) -> Tensor:
        """The classes, for which the whole data set is read once.

        Raises:
            ValueError: there are none.
        """
        if not _is_labelled(self._items([0])):
            raise ValueError("this data set has no classes, which a conditional model needs; its items have to be (image, class)")
        parts_of = (self._items(list(range(first, min(first + 512, len(self))))) for first in range(0, len(self), 512))
        return torch.cat([found[1] for found in parts_of]).long()

    def _items(self, index: list[int]) -> tuple[Tensor, ...]:
        try:
            found = self.collate([self.dataset[i] for i in index])
        except TypeError as error:
            raise TypeError(f"fit needs items that are tensors, but {error}; give the data set a transform that makes tensors") from error
        found = tuple(found) if isinstance(found, list | tuple) else (found,)
        if not found or not all(isinstance(part, Tensor) for part in found):
            kinds = ", ".join(type(part).__name__ for part in found) or "nothing"
            raise TypeError(f"fit needs items that are tensors, but was given {kinds}; give the data set a transform that makes tensors")
        return found


def _is_labelled(found: tuple[Tensor, ...]) -> bool:
    """Whether items are an image and its class."""
    return len(found) == 2 and found[1].ndim == 1 and found[1].dtype in (torch.int64, torch.int32, torch.uint8)


def as_source(images: Any, dtype: torch.dtype = torch.float32) -> Source:
    """A :class:`Source` as it is; one of an array, a tensor, a data set or a loader of images.

    Args:
        images: a source; a tensor or NumPy array ``(image, channel, height, width)``: bytes (uint8), or floats in [0, 1]; or a torch data
            set of such images. Of a ``DataLoader``, its data set and ``collate_fn`` are used: a fit shuffles and cuts batches itself.
        dtype: dtype of the batches.

    Raises:
        TypeError: it is nothing of that kind.
        ValueError: an array of another shape, or with other values.
    """
    if hasattr(images, "batch") and hasattr(images, "__len__"):
        return images
    if isinstance(images, DataLoader):
        return DatasetSource(images.dataset, images.collate_fn, dtype)
    if isinstance(images, Dataset):
        return DatasetSource(images, dtype=dtype)
    if isinstance(images, np.ndarray) and images.dtype.kind in "uif":
        images = torch.from_numpy(np.ascontiguousarray(images))
    if not isinstance(images, Tensor):
        cure = "give its .train" if hasattr(images, "train") else "give an array (image, channel, height, width)"
        raise TypeError(
            f"fit learns from an array of images, a data set, or what has len and batch, but was given {type(images).__name__}; {cure}"
        )
    if images.ndim != 4 or not len(images):
        raise ValueError(f"fit needs images of shape (image, channel, height, width), at least one, but was given {tuple(images.shape)}")
    _check_values(images)
    return TensorSource(images.cpu() if images.dtype == torch.uint8 else images.to("cpu", dtype), dtype=dtype)


def _check_values(images: Tensor) -> None:
    """Refuse what is neither bytes nor floats in [0, 1]."""
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point() or not 0 <= float(images.min()) <= float(images.max()) <= 1:
        kind = str(images.dtype).removeprefix("torch.")
        values = f"{kind} from {images.min().item():.4g} to {images.max().item():.4g}"
        raise ValueError(f"fit needs images as bytes (uint8) or as floats in [0, 1], but was given {values}; rescale them, such as x / 255")


def _pixels(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows of a data set as a fit takes them; only images are bound to a range."""
    if rows.ndim == 4:
        _check_values(rows)
    return rows.to(dtype) / 255 if rows.dtype == torch.uint8 else rows.to(dtype) if rows.is_floating_point() else rows


def parts(batch: Batch) -> tuple[Tensor, ...]:
    """The tensors of a batch."""
    return (batch,) if isinstance(batch, Tensor) else tuple(batch)
