"""Figures of the report as inline SVG and PNG: learning curves, performance profiles, and maps of where the agents have been.

No name that a user chose is given to matplotlib, which would read a ``$`` as mathematics: names are in the HTML around a figure, and as
titles of its lines.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from genrl.runs.coverage import axis_name
from genrl.runs.pictures import drawing
from genrl.studies import statistics
from genrl.studies.results import CellResult
from genrl.studies.summary import common_bins
from genrl.studies.tables import number, steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Map", "Style", "coverage_maps", "data_uri", "learning_curves", "method_styles", "profile"]

COLORS = 6
"""Beside ink, the baseline's. The CSS variables --c0 … --c6 of the template are told apart by people with any one kind of cones missing."""
DASHES = {"solid": "-", "dashed": (0, (4, 1.6)), "dotted": (0, (1, 1.2))}
"""Dashes of lines, by their names in CSS: six methods have the first, the next six the second."""
POINTS = 100
INK, GRID, METHOD = "#010203", "#010204", "#01021{}"
"""Colours that stand for others until the figure is drawn: the text's, the grid's, and a method's."""
ATTRIBUTES = ("d", "style", "transform", "x", "y")
"""SVG attributes that a figure keeps."""
STYLE: Any = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK, "axes.linewidth": 0.6, "axes.labelcolor": INK,
    "axes.axisbelow": True, "xtick.bottom": False, "ytick.left": False, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "font.size": 8.5,
    "axes.labelsize": 8.5, "svg.fonttype": "none", "svg.hashsalt": "genrl", "lines.scale_dashes": True,
}  # fmt: skip
MOST_BINS = 256
"""Most bins along an axis of a map."""


class Style(NamedTuple):
    """How a method is drawn wherever it appears."""

    number: int
    """Number of the method in the study."""
    color: int
    """Number of the CSS variable ``--c<color>``."""
    dash: str
    """A CSS border style."""


class Map(NamedTuple):
    """Where all runs of a method have been."""

    image: str
    """A data URI."""
    bins: int
    """Visited by any of the runs."""
    runs: int


def method_styles(methods: Sequence[str], baseline: str) -> dict[str, Style]:
    """Ink for the baseline; six colours for the others, then the same ones dashed, then dotted.

    Example:
        >>> method_styles(["vime", "none"], "none")
        {'vime': Style(number=0, color=1, dash='solid'), 'none': Style(number=1, color=0, dash='solid')}
    """
    dashes = list(DASHES)
    others = [method for method in methods if method != baseline]
    places = {method: (1 + i % COLORS, dashes[i // COLORS % len(dashes)]) for i, method in enumerate(others)}
    return {method: Style(i, *places.get(method, (0, "solid"))) for i, method in enumerate(methods)}


def learning_curves(
    runs: Mapping[str, Sequence[CellResult]], styles: Mapping[str, Style], threshold: float | None, label: str
) -> tuple[Markup | None, dict[str, Markup]]:
    """Training return over environment steps, a line and a band for each method; ``None`` if no run has an episode.

    Where more than six lines are too many for one figure, also a small one for each method, beside the baseline.

    Args:
        runs: the finished runs of each method.
        styles: style of each method.
        threshold: a dashed line, if any.
        label: what a screen reader says.
    """
    last = max((item.result["steps"] for items in runs.values() for item in items), default=0)
    grid = np.linspace(0, last, POINTS + 1)[1:]
    curves = {method: _curve(items, grid) for method, items in runs.items() if items}
    curves = {method: curve for method, curve in curves.items() if np.isfinite(curve.iqm).any()}
    if not curves:
        return None, {}
    figure, axes = _figure("environment steps", "return, mean of 20 episodes")
    for method in _baseline_last(curves, styles):
        _line(axes, grid, curves[method], styles[method])
    if threshold is not None:
        axes.axhline(threshold, color=INK, linewidth=0.7, linestyle=(0, (2, 3)), alpha=0.7, clip_on=False)
    axes.set_xlim(0, last)
    axes.xaxis.set_major_formatter(lambda value, _: steps(value))
    drawn = _svg(figure, label, styles)
    return _markup(drawn), _panels(drawn, axes, curves, styles) if len(curves) > COLORS else {}


def profile(scores: Mapping[str, Sequence[Any]], styles: Mapping[str, Style], score: str, label: str) -> Markup | None:
    """The share of runs that score above τ, and its band; ``None`` if all runs have one score.

    Args:
        scores: for each method an array of runs per task.
        styles: style of each method.
        score: what τ is.
        label: what a screen reader says.
    """
    known = {method: tasks for method, tasks in scores.items() if all(len(runs) for runs in tasks)}
    values = np.concatenate([np.zeros(0), *(np.ravel(runs) for tasks in known.values() for runs in tasks)])
    if not len(values) or values.min() == values.max():
        return None
    margin = 0.02 * (values.max() - values.min())
    levels = np.linspace(values.min() - margin, values.max() + margin, POINTS)
    figure, axes = _figure(f"{score}, τ", "share of runs above τ")
    for method in _baseline_last(known, styles):
        share, low, high = statistics.performance_profile(known[method], levels), *np.full((2, POINTS), np.nan)
        if min(map(len, known[method])) >= statistics.FEWEST_RUNS:
            low, high = statistics.performance_profile_band(known[method], levels)
        _line(axes, levels, statistics.Curve(share, low, high), styles[method])
    axes.set_xlim(levels[0], levels[-1])
    axes.set_ylim(-0.02, 1.02)
    return _markup(_svg(figure, label, styles))


def coverage_maps(runs: Mapping[str, Sequence[CellResult]]) -> tuple[dict[str, Map], str]:
    """A map of each method, all of the same extent and colours, and what their axes are; none if no run counted where it was."""
    found = {method: [one for item in items if (one := item.visits)] for method, items in runs.items()}
    found = {method: histograms for method, histograms in found.items() if histograms}
    names = {tuple(item.result["coverage"]["names"]) for items in runs.values() for item in items if item.result["coverage"]}
    if not found or len(names) != 1:
        return {}, ""
    every = [histogram for histograms in found.values() for histogram in histograms]
    width = _width([edges for _, edges in every])
    empty = common_bins([(np.zeros_like(counts), edges) for counts, edges in every], width)
    totals = {method: common_bins([*histograms, empty], width)[0] for method, histograms in found.items()}
    most = max(int(total.max()) for total in totals.values())
    maps = {method: Map(_map(total, most), int(np.count_nonzero(total)), len(found[method])) for method, total in totals.items()}
    return maps, _axes_in_words(names.pop(), empty[1], most)


def data_uri(content: bytes, kind: str) -> str:
    """A file as a URI: ``kind`` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _curve(runs: Sequence[CellResult], grid: np.ndarray) -> statistics.Curve:
    """IQM and its interval; of fewer than five runs median and range, as in the tables."""
    values = np.full((len(runs), len(grid)), np.nan)
    for row, item in zip(values, runs, strict=True):
        ended = np.searchsorted(item.episodes[:, 0], grid, side="right")
        known = (ended > 0) & (grid <= item.result["steps"])
        row[known] = item.smooth[ended[known] - 1]
    if len(runs) >= statistics.FEWEST_RUNS:
        return statistics.learning_curve(values)
    curve = statistics.Curve(*np.full((3, len(grid)), np.nan))
    enough = 2 * np.isfinite(values).sum(axis=0) >= len(runs)
    for line, percent in zip(curve, (50, 0, 100), strict=True):
        line[enough] = np.nanpercentile(values[:, enough], percent, axis=0)
    return curve


def _baseline_last(methods: Mapping[str, Any], styles: Mapping[str, Style]) -> list[str]:
    """The methods with the baseline last, so that it is drawn on top."""
    return sorted(methods, key=lambda method: styles[method].color == 0)


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with drawing(STYLE):
        figure = Figure(figsize=(5, 3.1), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color=GRID, linewidth=0.6, clip_on=False)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(y=0.04)
    return figure, axes


def _line(axes: Axes, x: np.ndarray, curve: statistics.Curve, style: Style) -> None:
    from matplotlib.patches import Polygon

    color, group = METHOD.format(style.color), f"s{style.number}"
    known = np.isfinite(curve.low)
    if (curve.low[known] < curve.high[known]).any():
        lower, upper = ([x[known], side[known]] for side in (curve.low, curve.high))
        corners = np.concatenate([np.transpose(lower), np.transpose(upper)[::-1]])
        axes.add_artist(Polygon(corners, color=color, linewidth=0, clip_on=False, gid=f"band {group}"))
        axes.update_datalim(corners)  # `axes.fill` would look for the extrema of curves along each edge
        axes.autoscale_view()
    dash: Any = DASHES[style.dash]
    if known.sum() == 1:  # runs whose one episode ended with them: a line of no length, whose round ends are a dot
        axes.plot(
            *np.repeat([x[known], curve.iqm[known]], 2, axis=1), color=color, linewidth=5, solid_capstyle="round", clip_on=False, gid=group
        )
        return
    axes.plot(x, curve.iqm, color=color, linewidth=1.5, linestyle=dash, clip_on=False, gid=group)


def _svg(figure: Figure, label: str, styles: Mapping[str, Style]) -> ElementTree.Element:
    """Inline SVG in the colours of the page, as wide as its place, without an id that another figure could have."""
    buffer = io.BytesIO()
    with drawing(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = ElementTree.fromstring(buffer.getvalue())
    root = ElementTree.Element("svg", {"viewBox": drawn.attrib["viewBox"], "role": "img", "aria-label": label})
    names = {f"s{style.number}": method for method, style in styles.items()}
    root.extend(child for part in drawn if (child := _element(part, names)) is not None)
    return root


def _markup(root: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _panels(drawn: ElementTree.Element, axes: Axes, methods: Collection[str], styles: Mapping[str, Style]) -> dict[str, Markup]:
    """What is within the axes of a figure, once for each method: its line, its band, and the baseline's line."""
    width, height = map(float, drawn.attrib["viewBox"].split()[2:])
    box = axes.get_position()
    left, right, top, bottom = width * box.x0, width * box.x1, height * (1 - box.y1), height * (1 - box.y0)
    groups = {
        method: [group for group in drawn.iter("g") if f"s{styles[method].number}" in group.get("class", "").split()] for method in methods
    }
    lines = [group[-1].attrib["d"] for method, both in groups.items() if styles[method].color == 0 for group in both[-1:]]
    panels = {}
    for method, group in groups.items():
        root = ElementTree.Element(
            "svg", {"viewBox": f"{left - 2:.0f} {top - 3:.0f} {right - left + 4:.0f} {bottom - top + 6:.0f}", "role": "img"}
        )
        root.set("aria-label", f"Learning curve of {method}")
        for path in (f"M {left:.1f} {top:.1f} V {bottom:.1f} H {right:.1f}", *lines):
            ElementTree.SubElement(root, "path", {"d": path, "style": "fill: none; stroke: currentColor; opacity: 0.35"})
        root.extend(group)
        panels[method] = _markup(root)
    return panels


def _element(drawn: ElementTree.Element, names: Mapping[str, str]) -> ElementTree.Element | None:
    """What HTML needs of an element of matplotlib's; a method's group has its class, and its name as a title."""
    tag = drawn.tag.rpartition("}")[2]
    if tag in ("defs", "metadata") or drawn.attrib.get("style") == "fill: none":
        return None
    element = ElementTree.Element(tag, {key: _attribute(key, value) for key, value in drawn.attrib.items() if key in ATTRIBUTES})
    if "rotate(-0" in element.attrib.get("transform", ""):
        del element.attrib["transform"]
    element.text = (drawn.text or "").strip()
    if name := names.get((group := drawn.attrib.get("id", "")).removeprefix("band ")):
        element.set("class", group)
        ElementTree.SubElement(element, "title").text = name
    element.extend(child for part in drawn if (child := _element(part, names)) is not None)
    if tag == "g" and not element.attrib and len(element) < 2:
        return element[0] if len(element) else None
    return element


def _attribute(key: str, value: str) -> str:
    if key == "d":
        return re.sub(r"(\d+\.\d)\d+", r"\1", " ".join(value.split()))
    if key == "style":
        value = re.sub(r"font-family: [^;]*; ", "", value).replace(INK, "currentColor").replace(GRID, "var(--grid)")
        return re.sub(METHOD.format(r"(\d)"), r"var(--c\1)", value)
    return value


def _width(edges: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Width of the bins of a map, for each axis: the widest of all runs, doubled until there are at most ``MOST_BINS``.

    The widths of two runs differ by a power of two.
    """
    width = np.max([[axis[1] - axis[0] for axis in axes] for axes in edges], axis=0)
    for axis in range(len(width)):
        low, high = min(axes[axis][0] for axes in edges), max(axes[axis][-1] for axes in edges)
        while (high - low) / width[axis] > MOST_BINS:
            width[axis] *= 2
    return width


def _map(counts: np.ndarray, most: int) -> str:
    """A PNG of one pixel a bin, as bright as the logarithm of its visits; what was never visited is transparent."""
    import matplotlib
    from PIL import Image

    level = np.log(np.maximum(counts, 1)) / np.log(max(most, 2))
    index = np.where(counts > 0, 1 + np.round(254 * level), 0).astype(np.uint8)
    picture = Image.fromarray(index[:, None].T if index.ndim == 1 else index.T[::-1])
    colors = matplotlib.colormaps["viridis"](np.linspace(0.2, 0.97, 255), bytes=True)[:, :3]
    picture.putpalette(bytes(3) + colors.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=0)
    return data_uri(buffer.getvalue(), "image/png")


def _axes_in_words(names: Sequence[str], edges: Sequence[np.ndarray], most: int) -> str:
    axes = []
    for direction, name, ends in zip(("→", "↑"), names, edges, strict=False):
        low, high, width = float(ends[0]), float(ends[-1]), float(ends[1] - ends[0])
        axes.append(f"{direction} {axis_name(name)}, {number(low)} … {number(high)}, in bins of {width:.3g}")
    return f"{'; '.join(axes)}. Brighter is more often, on a logarithmic scale from 1 to {most:,} visits, of all runs together."
