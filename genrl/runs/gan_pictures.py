"""Pictures of a GAN: how its two players stood over the epochs, its classes, and what its codes change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from genrl.models.diffusion import Diffusion
from genrl.models.gan import GAN
from genrl.models.infogan import Codes
from genrl.models.latents import walk
from genrl.runs.generation_directory import GenerationDirectory
from genrl.runs.pictures import BLUE, GREY, INK, ORANGE, STYLE, save_figure

__all__ = ["COLUMNS", "ROWS", "balance_picture", "between", "by_class", "by_code"]

ROWS, COLUMNS = 8, 10

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


def by_class(model: GAN | Diffusion) -> Tensor:
    """Draws of each class, a class a row of ``COLUMNS``."""
    labels = torch.arange(model.n_classes).repeat_interleave(COLUMNS)
    return model.sample(len(labels), labels)


def between(model: GAN) -> Tensor:
    """``ROWS`` rows of draws whose noise walks in ``COLUMNS`` steps from one to another, while class and codes stay."""
    start, end = 2 * torch.rand(2, ROWS, model.noise) - 1
    noise = walk(start, end, COLUMNS).transpose(0, 1).flatten(0, 1)
    labels = torch.randint(model.n_classes, (ROWS,)).repeat_interleave(COLUMNS) if model.conditional else None
    codes = None if model.codes is None else model.codes.draw(ROWS).repeat_interleave(COLUMNS, dim=0)
    return model.sample(len(noise), labels, codes, noise)


def by_code(model: GAN) -> dict[str, Tensor]:
    """For each code ``ROWS`` rows of draws: in a row all is the same but that code, which goes through its classes, or from -2 to 2."""
    codes: Codes = model.codes  # type: ignore[assignment]
    found = {}
    sweeps: list[tuple[str, dict[str, Any], int]] = [
        (f"code_{i + 1}_classes", {"categorical": {i: torch.arange(size).repeat(ROWS)}}, size) for i, size in enumerate(codes.categories)
    ]
    sweeps += [
        (f"code_{len(codes.categories) + i + 1}_numbers", {"continuous": {i: torch.linspace(-2, 2, COLUMNS).repeat(ROWS)}}, COLUMNS)
        for i in range(codes.continuous)
    ]
    for name, given, columns in sweeps:
        labels = torch.randint(model.n_classes, (ROWS,)) if model.conditional else None
        latent = model.latent(ROWS, labels).repeat_interleave(columns, dim=0)
        place = slice(model.noise, model.noise + codes.size)
        latent[:, place] = codes.replaced(latent[:, place], **given)
        with torch.no_grad():
            found[name] = model.generator(latent)
    return found
