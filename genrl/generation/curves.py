"""Pictures of a fit over its epochs: losses and floor; for a GAN, how its two players stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrl.generation.config import GenerateConfig
from genrl.generation.directory import GenerationDirectory
from genrl.models.pixels import bits_per_dim
from genrl.runs.pictures import BLUE, GREY, INK, ORANGE, STYLE, new_figure, save_figure

__all__ = ["balance_picture", "curves_picture"]


PANELS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("loss", {"discriminator": "discriminator", "generator": "generator"}),
    ("named right", {"accuracy_real": "real images", "accuracy_fake": "generated ones", "accuracy_labelled": "labels"}),
    ("norm of gradient", {"discriminator_grad_norm": "discriminator", "generator_grad_norm": "generator"}),
    ("drawn", {"modes": "classes", "diversity": "diversity", "information": "information, nats"}),
)


def balance_picture(run: GenerationDirectory, rows: Sequence[Mapping[str, float]], title: str) -> None:
    """Losses, the discriminator's accuracies, norms of gradients, and what is drawn: classes as a share of all, and the diversity."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=11)
        for axes, (what, columns) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS, strict=True):
            there = {name: label for name, label in columns.items() if name in rows[0]}
            for (name, label), color in zip(there.items(), (BLUE, ORANGE, GREY), strict=False):
                share = rows[0]["classes"] or 1 if name == "modes" else 1
                words = f"{label}, share of {share:.0f}" if name == "modes" else label
                marker = "." if len(rows) < 40 else None
                axes.plot(epochs, [row[name] / share for row in rows], color=color, linewidth=1.8, label=words, marker=marker)
            axes.set_ylabel(what)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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
        for axes in figure.axes[2:]:
            axes.set_xlabel("epoch")
        save_figure(run, "balance", figure)


def curves_picture(config: GenerateConfig, run: GenerationDirectory, result: Mapping[str, Any]) -> None:
    """The losses of every epoch and, where they are a likelihood, the floor."""
    import matplotlib
    from matplotlib.ticker import MaxNLocator

    rows = run.rows()
    names = [name for name in rows[0] if name not in ("epoch", "step", "seconds") and not name.endswith("_grad_norm")] if rows else []
    if "loss" not in names and len(rows) < 2:  # counted, so there is no curve
        return
    known = result.get("likelihood")
    alone = "floor_name" not in (known or {}) and names == ["loss", "held_out_loss"] and not config.model_kwargs.get("free_bits")
    if not alone:  # the loss is not that likelihood alone
        known = None
    in_bits = known is not None and config.levels > 2
    shape = tuple(result["shape"])
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(f"{config.subject}\n{config.model}, seed {config.seed}")
        epochs, drawn = [row["epoch"] for row in rows], []
        words = {"loss": "training", "held_out_loss": "test images"}
        for name, color in zip(names, (BLUE, ORANGE, GREY, INK), strict=False):
            values = [bits_per_dim(row[name], shape) if in_bits else row[name] for row in rows]
            drawn.append(values)
            marker = "." if len(rows) < 40 else None
            axes.plot(epochs, values, color=color, linewidth=1.8, marker=marker, label=words.get(name, name.replace("_", " ")))
        if known is not None:
            floor = known["floor"]["bits_per_dim" if in_bits else "nats"]
            axes.axhline(floor, color=INK, linewidth=1.2, linestyle=":", label="independent pixels")
            drawn.append([floor, floor])
        _cut(axes, drawn)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylabel("bits per dimension" if in_bits else "nats per image" if known is not None else "loss")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        save_figure(run, "curves", figure)


def _cut(axes: Any, drawn: Sequence[Sequence[float]]) -> None:
    """Leave a first epoch outside that is far above all others, so that something is seen of these."""
    high, low = max(max(values[1:], default=values[0]) for values in drawn), min(map(min, drawn))
    if max(map(max, drawn)) > high + 3 * (high - low):
        axes.set_ylim(low - 0.05 * (high - low), high + 0.2 * (high - low))
