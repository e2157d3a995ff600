"""Pictures of a fit over its epochs: losses and the floor or, for a GAN, the balance of its two players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrl.generation.config import GenerateConfig, settled
from genrl.generation.directory import GenerationDirectory
from genrl.models.pixels import bits_per_dim
from genrl.runs.pictures import BLUE, GREY, INK, ORANGE, drawing, empty_figure, new_figure, save_figure

__all__ = ["balance_picture", "curves_picture"]


FLOOR = "independent pixels"
"""Label of the floor."""
WORDS = {"loss": "training", "held_out_loss": "test images"}
"""Labels of the columns of the log that are the whole loss; the others are its parts."""
PANELS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("loss", {"discriminator": "discriminator", "generator": "generator"}),
    ("named right", {"accuracy_real": "real images", "accuracy_fake": "generated ones", "accuracy_labelled": "labels"}),
    ("norm of gradient", {"discriminator_grad_norm": "discriminator", "generator_grad_norm": "generator"}),
    ("drawn", {"modes": "classes", "diversity": "diversity", "information": "information, nats"}),
)


def balance_picture(run: GenerationDirectory, rows: Sequence[Mapping[str, float]], title: str) -> None:
    """Draw losses, the discriminator's accuracies, norms of gradients, and what is drawn: classes as a share of all, and the diversity."""
    with drawing():
        figure = empty_figure(9, 5.4)
        figure.suptitle(title, fontsize=11)
        for axes, (what, columns) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS, strict=True):
            _panel(axes, what, columns, rows)
        for axes in figure.axes[2:]:
            axes.set_xlabel("epoch")
        save_figure(run, "balance", figure)


def _panel(axes: Any, what: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, float]]) -> None:
    """One of the four panels: those ``columns`` of the log that are there, under their labels."""
    epochs = [row["epoch"] for row in rows]
    there = {name: label for name, label in columns.items() if name in rows[0]}
    for (name, label), color in zip(there.items(), (BLUE, ORANGE, GREY), strict=False):
        share = rows[0]["classes"] or 1 if name == "modes" else 1
        words = f"{label}, share of {share:.0f}" if name == "modes" else label
        axes.plot(epochs, [row[name] / share for row in rows], color=color, linewidth=1.8, label=words, marker=_marker(rows))
    axes.set_ylabel(what)
    _whole_epochs(axes)
    if what == "norm of gradient":
        axes.set_yscale("log")
    if what == "named right":
        axes.axhline(0.5, color=INK, linewidth=1, linestyle=":")
        axes.set_ylim(0, 1.05)
    if what == "drawn":
        axes.axhline(1, color=INK, linewidth=1, linestyle=":")
        axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def curves_picture(config: GenerateConfig, run: GenerationDirectory, result: Mapping[str, Any]) -> None:
    """Draw the losses of every epoch, beside them the parts of a loss that has some, and the floor of a likelihood."""
    rows = run.rows()
    names = [name for name in rows[0] if name not in ("epoch", "step", "seconds") and not name.endswith("_grad_norm")] if rows else []
    if "loss" not in names and len(rows) < 2:  # counted, so there is no curve
        return
    unit, curves = _curves(config, rows, names, result)
    panels = {unit: curves} | {name.replace("_", " "): {"training": [row[name] for row in rows]} for name in names if name not in WORDS}
    with drawing():
        if len(panels) == 1:
            figure, axes = new_figure(f"{config.subject}\n{config.model}, seed {config.seed}")
        else:  # a part of a loss can be a hundred times the loss
            figure = empty_figure(3.4 * len(panels), 3.8)
            figure.suptitle(f"{config.subject}, {config.model}, seed {config.seed}", x=0.01, ha="left", fontsize=10, fontweight="bold")
            axes = figure.subplots(1, len(panels))[0]
        for panel, (what, drawn) in zip(figure.axes, panels.items(), strict=True):
            _losses(panel, what, drawn, rows)
        if len(panels) == 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        else:
            axes.legend()
        save_figure(run, "curves", figure)


def _losses(axes: Any, what: str, curves: Mapping[str, Sequence[float]], rows: Sequence[Mapping[str, float]]) -> None:
    """One panel: the curves, named by their labels, over the epochs."""
    for (label, values), color in zip(curves.items(), (BLUE, ORANGE, GREY, INK), strict=False):
        if label == FLOOR:
            axes.axhline(values[0], color=INK, linewidth=1.2, linestyle=":", label=label)
        else:
            axes.plot([row["epoch"] for row in rows], values, color=color, linewidth=1.8, marker=_marker(rows), label=label)
    _cut(axes, list(curves.values()))
    axes.set_xlabel("epoch")
    _whole_epochs(axes)
    axes.set_ylabel(what)


def _curves(
    config: GenerateConfig, rows: Sequence[Mapping[str, float]], names: Sequence[str], result: Mapping[str, Any]
) -> tuple[str, dict[str, list[float]]]:
    """The unit of the losses, and each curve by its label; with the floor where the loss is a likelihood and nothing else."""
    floor = (result.get("likelihood") or {}).get("floor")
    weighed = config.moving or config.model_kwargs.get("free_bits")
    if names != ["loss", "held_out_loss"] or "floor_name" in (result.get("likelihood") or {}) or weighed:
        floor = None
    in_bits = floor is not None and settled(config.levels) > 2
    shape = tuple(result["shape"])
    curves = {WORDS[name]: [bits_per_dim(row[name], shape) if in_bits else row[name] for row in rows] for name in names if name in WORDS}
    if floor is None:
        return "loss", curves
    unit, value = ("bits per dimension", floor["bits_per_dim"]) if in_bits else ("nats per image", floor["nats"])
    return unit, curves | {FLOOR: [value, value]}


def _marker(rows: Sequence[object]) -> str | None:
    return "." if len(rows) < 40 else None


def _whole_epochs(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _cut(axes: Any, drawn: Sequence[Sequence[float]]) -> None:
    """Let the axis leave out a first epoch that is far above all others, so that these can be seen."""
    high, low = max(max(values[1:], default=values[0]) for values in drawn), min(map(min, drawn))
    if low < high < max(map(max, drawn)) - 3 * (high - low):
        axes.set_ylim(low - 0.05 * (high - low), high + 0.2 * (high - low))
