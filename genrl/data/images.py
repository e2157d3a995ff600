"""Images to train on. Pixels stay bytes until a batch is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.data.walks import Walk
from genrl.errors import printable
from genrl.spaces import CHANNELS_FIRST

__all__ = ["ImageData", "ImageError", "Images", "size"]

MOST = 100_000
"""Labels that even a few images may have, as a part of many; a model gets weights for each number up to the largest."""

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601)."""


class ImageError(ValueError):
    """Images that can't be used. The message is one sentence: which file, what is wrong, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message).replace("\n", r"\n"))


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures of one size, as bytes.

    Example:
        >>> images = Images(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 2]))
        >>> images
        Images(3 of 1 × 28 × 28, 3 classes)
        >>> images.batch(torch.tensor([2, 0])).shape
        torch.Size([2, 1, 28, 28])
    """

    pixels: Tensor
    """Bytes, ``(image, channel, height, width)`` with 1 or 3 channels; a NumPy array is taken, too."""
    labels: Tensor | None = None
    """Class of each image, ``(image,)``, int64, or ``None``; a NumPy array or a list of whole numbers is taken, too."""
    walk: Walk | None = None
    """What belongs to frames that a task drew one after the other."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _tensor(self.pixels))
        if self.labels is not None:
            object.__setattr__(self, "labels", _whole(_tensor(self.labels)))
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] not in (1, 3):
            raise ImageError(
                f"images must be bytes (uint8) of shape (image, 1 or 3, height, width), but are {_dtype(self.pixels)} of shape "
                f"{tuple(self.pixels.shape)}{f'; {CHANNELS_FIRST}' if _channels_last(self.pixels) else ''}"
            )
        if not len(self.pixels):
            raise ImageError("there are no images; give at least one")
        if self.labels is not None and self.labels.dtype == torch.int64 and len(self.labels) and self.labels.min() < 0:
            raise ImageError(f"labels must be whole numbers from 0, but one is {int(self.labels.min())}")
        if self.labels is not None and (self.labels.dtype != torch.int64 or self.labels.shape != self.pixels.shape[:1]):
            raise ImageError(
                f"labels must be whole numbers (int64), one for each of {len(self)} images, but are {_dtype(self.labels)} of shape "
                f"{tuple(self.labels.shape)}"
            )
        if self.labels is not None and (largest := int(self.labels.max())) >= max(MOST, len(self)):
            raise ImageError(f"labels of {len(self)} images must be numbered from 0, but one is {largest}; give each class the next number")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def n_classes(self) -> int:
        """One more than the largest label.

        Raises:
            ImageError: there are no labels.
        """
        return int(self.needed_labels.max()) + 1

    @property
    def needed_labels(self) -> Tensor:
        """The labels, for a model that can't do without.

        Raises:
            ImageError: there are none.
        """
        if self.labels is None:
            raise ImageError(
                "these images have no labels, which a conditional model or a classifier needs; put each class into a folder of its own"
            )
        return self.labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        classes = "" if self.labels is None else f", {len(self.labels.unique())} classes"
        return f"Images({len(self):,} of {size(self.shape)}{classes})"

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> Images:
        """The images at ``index``."""
        return Images(self.pixels[index], None if self.labels is None else self.labels[index])

    def batch(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Grey levels in [0, 1], float32, ``(image, channel, height, width)``."""
        return self.pixels[index].float() / 255

    def resized(self, size: int) -> Images:
        """Squares of ``size`` pixels a side, each the mean of those that it covers."""
        if self.shape[1:] == (size, size):
            return self
        parts = [F.interpolate(part.float(), size=(size, size), mode="area").round().byte() for part in self.pixels.split(1000)]
        return replace(self, pixels=torch.cat(parts))

    def cropped(self, top: int, bottom: int, left: int, right: int) -> Images:
        """The images without so many pixels at each edge."""
        height, width = self.shape[1:]
        return replace(self, pixels=self.pixels[:, :, top : height - bottom, left : width - right])

    def grey(self) -> Images:
        """One channel instead of three; grey images are as they were."""
        if self.shape[0] == 1:
            return self
        weights = self.pixels.new_tensor(LUMA, dtype=torch.float32).view(1, 3, 1, 1)
        parts = [(part.float() * weights).sum(1, keepdim=True).round().byte() for part in self.pixels.split(1000)]
        return replace(self, pixels=torch.cat(parts))

    def split(self, share: float, seed: int = 0) -> tuple[Images, Images]:
        """Two disjoint parts, drawn at random; ``share`` is that of the second.

        Raises:
            ImageError: a part would be empty.
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        first = len(self) - round(share * len(self))
        if not 0 < first < len(self):
            raise ImageError(f"a share of {share} of {len(self)} images leaves one part empty; more images are needed")
        return self[order[:first]], self[order[first:]]


@dataclass(frozen=True, eq=False)
class ImageData:
    """A named data set: images to learn from, and images to test on."""

    name: str
    train: Images
    test: Images

    def __repr__(self) -> str:
        return f"ImageData({self.name!r}, train={self.train!r}, test={self.test!r})"

    def __post_init__(self) -> None:
        if self.train.shape != self.test.shape:
            raise ImageError(f"{self.name} trains on images of {size(self.train.shape)} and tests on {size(self.test.shape)}")
        if (self.train.labels is None) != (self.test.labels is None):
            with_labels, without = ("test", "train") if self.train.labels is None else ("train", "test")
            raise ImageError(f"{self.name} has labels of its {with_labels} images but none of its {without} images; give both or neither")


def size(shape: tuple[int, ...]) -> str:
    """A shape in words, such as 1 × 28 × 28."""
    return " × ".join(map(str, shape))


def _tensor(values: Any) -> Tensor:
    """A tensor as it is; a copy of an array or a list."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _whole(labels: Tensor) -> Tensor:
    """Labels of any whole-number dtype as int64; others as they are."""
    return labels if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool else labels.long()


def _channels_last(pixels: Tensor) -> bool:
    return pixels.dtype == torch.uint8 and pixels.ndim == 4 and pixels.shape[3] in (1, 3)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
