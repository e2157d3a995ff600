"""What is done to an image before a model sees it: the same for the images it learns from and for the observations of a task."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from genrl.data import ImageError, Images
from genrl.models.pixels import quantized

__all__ = ["Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """Cut off the edges, resize to a square, turn grey, round to levels; in this order.

    Example:
        >>> import torch
        >>> prepare = Preprocessing((3, 64, 64), crop=(0, 16, 8, 8), size=24, grey=True)
        >>> prepare.shape, prepare(torch.zeros(5, 3, 64, 64, dtype=torch.uint8)).shape
        ((1, 24, 24), torch.Size([5, 1, 24, 24]))
    """

    source: tuple[int, int, int]
    """Channels, height and width of the images that come in."""
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels that are cut off: top, bottom, left, right."""
    size: int = 0
    """Pixels of each side; each is the mean of those that it covers. 0 leaves the sides as they are."""
    grey: bool = False
    """Whether three channels become one, by ITU-R BT.601."""
    levels: int = 256
    """Number of equally spaced levels to which pixels are rounded down; 2 is black and white."""

    def __post_init__(self) -> None:
        _, height, width = self.source
        top, bottom, left, right = self.crop
        if min(self.crop) < 0 or top + bottom >= height or left + right >= width:
            raise ImageError(f"a crop of {self.crop} (top, bottom, left, right) leaves nothing of {height} × {width} pixels; cut off less")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what comes out."""
        channels, height, width = self.source
        top, bottom, left, right = self.crop
        sides = (self.size, self.size) if self.size else (height - top - bottom, width - left - right)
        return 1 if self.grey else channels, *sides

    def images(self, images: Images) -> Images:
        """Cut, resized and grey, still in bytes.

        Raises:
            ImageError: images of another shape than ``source``.
        """
        if images.shape != self.source:
            raise ImageError(f"images are {_size(images.shape)}, but must be {_size(self.source)} (channels × height × width)")
        images = images.cropped(*self.crop) if any(self.crop) else images
        images = images.resized(self.size) if self.size else images
        return images.grey() if self.grey else images

    def __call__(self, pixels: Tensor) -> Tensor:
        """Levels in [0, 1], float32, ``(batch, channel, height, width)``, of bytes ``(batch, *source)``."""
        return self.levelled(self.images(Images(pixels)).batch())

    def levelled(self, x: Tensor) -> Tensor:
        """Grey levels in [0, 1] of bytes, rounded down to the levels."""
        return x if self.levels == 256 else quantized(x, self.levels)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, of which ``Preprocessing.read`` makes it again."""
        return asdict(self)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_dict`, also after JSON made lists of tuples."""
        plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**plain)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
