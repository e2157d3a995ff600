"""A canvas in world coordinates for the tasks that have no simulator of their own to draw them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]


class Canvas:
    """A white picture of `width` × `height` pixels that shows x from `left` to `right` and y upwards from `bottom`.

    It is drawn at twice its size and halved, which smooths the edges.
    """

    def __init__(self, left: float, right: float, bottom: float, width: int = 600, height: int = 400):
        self._size = width, height
        self._left, self._bottom = left, bottom
        self._scale = 2 * width / (right - left)
        self._image = Image.new("RGB", (2 * width, 2 * height), "white")
        self._draw = ImageDraw.Draw(self._image)

    def _pixel(self, point: Point) -> Point:
        return (point[0] - self._left) * self._scale, 2 * self._size[1] - (point[1] - self._bottom) * self._scale

    def line(self, points: Sequence[Point], colour: str = "black", width: float = 0.0) -> None:
        """A line through `points`; `width` in world units, at least one pixel."""
        self._draw.line([self._pixel(p) for p in points], colour, max(2, round(width * self._scale)), joint="curve")

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        self._draw.polygon([self._pixel(p) for p in points], colour)

    def disc(self, centre: Point, radius: float, colour: str) -> None:
        self._draw.circle(self._pixel(centre), radius * self._scale, colour)

    def pixels(self) -> np.ndarray:
        """The picture, `(height, width, 3)` uint8."""
        return np.asarray(self._image.reduce(2))
