"""Small pictures drawn in numpy: capsules with smooth edges over a backdrop, and what may disturb them.

A shape is a capsule, the points closer than `radius` to a segment, so a disc is a capsule whose ends are one point. Its share of a
pixel falls from 1 to 0 over the width of one pixel around its edge.
"""

import colorsys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

DISTRACTORS = ("background", "moving", "thing", "light")

COLOURS = {
    "sky": (0.07, 0.09, 0.15),
    "scenery": (0.30, 0.34, 0.42),
    "goal": (0.25, 0.95, 0.45),
    "limb": (0.85, 0.87, 0.92),
    "tip": (1.00, 0.62, 0.12),
    "decoy": (0.62, 0.42, 0.88),
    "decoy_tip": (0.95, 0.40, 0.70),
}
"""Red, green and blue in [0, 1] of everything that is drawn: what matters is bright, what surrounds it is dark."""

TILES = 7  # random colours along a side of a background
BRIGHTEST = 0.6  # of a background's channels, so that what matters stays brighter
SWING = 0.16  # standard deviation of the decoy's speeds, radians per step


class Shape(NamedTuple):
    """A capsule from (`x0`, `y0`) to (`x1`, `y1`) in the world's units, filled with a colour of `COLOURS`."""

    x0: float
    y0: float
    x1: float
    y1: float
    radius: float
    colour: str


def disc(x: float, y: float, radius: float, colour: str) -> Shape:
    return Shape(x, y, x, y, radius, colour)


def palette(colours: str | int) -> dict[str, np.ndarray]:
    """The colours for `"default"`; an int is the seed of an angle by which all hues turn, at the same luma (YIQ's Y) but for clipping.

    Raises:
        ValueError: `colours` is neither.
    """
    if colours == "default":
        return {role: np.array(rgb, np.float32) for role, rgb in COLOURS.items()}
    if isinstance(colours, bool) or not isinstance(colours, int) or colours < 0:
        raise ValueError(f'colours must be "default" or a seed, a whole number from 0, got {colours!r}.')
    turn = np.exp(1j * np.random.default_rng(colours).uniform(np.pi / 3, 5 * np.pi / 3))
    return {role: _turned(rgb, turn) for role, rgb in COLOURS.items()}


def _turned(rgb: tuple[float, float, float], turn: complex) -> np.ndarray:
    luma, i, q = colorsys.rgb_to_yiq(*rgb)
    chroma = complex(i, q) * turn
    return np.array(colorsys.yiq_to_rgb(luma, chroma.real, chroma.imag), np.float32)


def chosen(distractors: str | Iterable[str]) -> tuple[str, ...]:
    """The names in `distractors`, in the order of `DISTRACTORS`.

    Raises:
        ValueError: a name that is no distractor.
    """
    names = (distractors,) if isinstance(distractors, str) else tuple(distractors)
    for name in names:
        if name not in DISTRACTORS:
            raise ValueError(f"distractors must be among {', '.join(DISTRACTORS)}, got {name!r}.")
    return tuple(name for name in DISTRACTORS if name in names)


class Distraction:
    """What disturbs the frames of one episode; all of it is drawn from `rng`, and `advance` moves it by one step.

    | name | what it does |
    | --- | --- |
    | `background` | a cloud of random colours behind everything, drawn anew for each frame |
    | `moving` | two waves of random colours, directions and speeds behind everything, which travel on |
    | `thing` | a decoy: two angles whose speeds are autoregressive noise; the task draws them as it draws its own thing |
    | `light` | brightness, its slope over the picture and its tint drift |
    """

    def __init__(self, names: Sequence[str], rng: np.random.Generator):
        self.names, self._rng = names, rng
        self._angles, self._lengths = rng.uniform(0, 2 * np.pi, 2), rng.uniform(2.5, 6.0, 2)  # of the waves; radians per half a picture
        self._speeds = rng.uniform(0.15, 0.4, 2) * rng.choice((-1.0, 1.0), 2)  # radians per step
        self._tones = rng.uniform(0, BRIGHTEST / 2, (2, 3)).astype(np.float32)
        self._phases = rng.uniform(0, 2 * np.pi, 2)
        self.turns, self._spin = rng.uniform(-np.pi, np.pi, 2), SWING * rng.standard_normal(2)
        self._lamp = rng.uniform(0, 2 * np.pi, 3)
        self._draw_cloud()

    def _draw_cloud(self) -> None:
        self._cloud = BRIGHTEST * self._rng.random((TILES, TILES, 3), np.float32)

    def advance(self) -> None:
        """Move on by one step; what was not chosen stands still and draws nothing."""
        if "background" in self.names:
            self._draw_cloud()
        if "moving" in self.names:
            self._phases = self._phases + self._speeds
        if "thing" in self.names:
            self._spin = 0.95 * self._spin + SWING * np.sqrt(1 - 0.95**2) * self._rng.standard_normal(2)
            self.turns = self.turns + self._spin
        if "light" in self.names:
            self._lamp = self._lamp + 0.05 + 0.1 * self._rng.standard_normal(3)

    def backdrop(self, painter: "Painter") -> np.ndarray | None:
        """The colours behind everything, `(pixels, 3)`; `None` leaves the sky. Two backdrops are mixed half and half."""
        layers = []
        if "background" in self.names:
            rows = painter.tiles @ self._cloud.reshape(TILES, -1)
            layers.append((painter.tiles @ rows.reshape(-1, TILES, 3)).reshape(-1, 3))
        if "moving" in self.names:
            ways = np.stack((np.cos(self._angles), np.sin(self._angles))) * self._lengths
            waves = np.cos(painter.unit @ ways.astype(np.float32) + self._phases.astype(np.float32))
            layers.append((1 + waves) @ self._tones)
        return sum(layers) / len(layers) if layers else None

    def lit(self, painter: "Painter", image: np.ndarray) -> np.ndarray:
        """`image` under the light of the moment, between 0.3 and 1.7 times as bright."""
        if "light" not in self.names:
            return image
        level, way, tint = self._lamp
        slope = painter.unit @ np.array((0.22 * np.cos(way), 0.22 * np.sin(way)), np.float32)
        tints = (1 + 0.12 * np.sin(tint + np.array((0, 2, 4)) * np.pi / 3)).astype(np.float32)
        return image * ((np.float32(0.85 + 0.15 * np.sin(level)) + slope)[:, None] * tints)


class Painter:
    """Draws shapes into a square picture of `size` × `size` pixels that shows the world within `reach` of `centre`, y upwards."""

    def __init__(self, size: int, centre: tuple[float, float], reach: float, colours: dict[str, np.ndarray]):
        self.size, self._colours, self._pixel = size, colours, np.float32(2 * reach / size)
        middles = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
        self.unit = np.stack((np.tile(middles, size), np.repeat(-middles, size)), 1)
        self.columns, self._rows = (np.ascontiguousarray(c, np.float32) for c in (self.unit * reach + np.array(centre)).T)
        places = (middles + 1) / 2 * (TILES - 1)
        self.tiles = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(TILES))).astype(np.float32)
        self._clear, self._scenery = np.ones((size * size, 1), np.float32), np.zeros((size * size, 3), np.float32)
        self._empty = self._clear * colours["sky"]

    def add_scenery(self, coverage: np.ndarray, colour: str) -> None:
        """Put what never moves before all that was put so far."""
        share = coverage[:, None]
        self._scenery = self._scenery * (1 - share) + share * self._colours[colour]
        self._clear = self._clear * (1 - share)
        self._empty = self._scenery + self._clear * self._colours["sky"]

    def below(self, height: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """The share of each pixel, `(pixels,)`, beneath a curve whose height and slope are given at `columns`, the x of each pixel."""
        distance = (height - self._rows) / np.sqrt(1 + slope**2)
        return np.clip(distance / self._pixel + 0.5, 0, 1)

    def coverage(self, shapes: Sequence[Shape]) -> np.ndarray:
        """The share of each pixel that each shape covers, `(shapes, pixels)`, for a pixel at p and a segment from a to b:

        clip((radius − |p − a − t (b − a)|) / pixel + ½, 0, 1),  t = clip((p − a)·(b − a) / |b − a|², 0, 1)
        """
        x0, y0, x1, y1, radius = np.array([shape[:5] for shape in shapes], np.float32).T[:, :, None]
        along_x, along_y = x1 - x0, y1 - y0
        square = np.maximum(along_x**2 + along_y**2, 1e-12)
        x, y = self.columns - x0, self._rows - y0
        t = x * (along_x / square)
        t += y * (along_y / square)
        np.clip(t, 0, 1, out=t)
        x -= t * along_x
        y -= t * along_y
        x *= x
        y *= y
        x += y
        np.sqrt(x, out=x)
        x *= -1 / self._pixel
        x += radius / self._pixel + np.float32(0.5)
        return np.clip(x, 0, 1, out=x)

    def draw(self, shapes: Sequence[Shape], distraction: Distraction) -> np.ndarray:
        """The picture, `(size, size, 3)` uint8, with later shapes before earlier ones."""
        backdrop = distraction.backdrop(self)
        image = self._empty.copy() if backdrop is None else self._scenery + self._clear * backdrop
        shares = self.coverage(shapes)
        seen = np.ones_like(shares[0])  # the share that no shape further to the front covers
        for share in shares[::-1]:
            share *= seen
            seen -= share
        image *= seen[:, None]
        image += shares.T @ np.array([self._colours[shape.colour] for shape in shapes])
        image = distraction.lit(self, image)
        np.minimum(image, 1, out=image)
        image *= 255
        image += 0.5
        return image.astype(np.uint8).reshape(self.size, self.size, 3)
