"""The encoder that a run leaves behind, and the report of what it sees."""

from __future__ import annotations

import io
from typing import Any

from genrl.encoders import ImageEncoder, Sight, what_it_sees
from genrl.encoders.encoder import FILE
from genrl.encoders.sight import predicted_state
from genrl.files import write_whole
from genrl.generation.config import GenerateConfig
from genrl.generation.directory import GenerationDirectory
from genrl.generation.images import RunImages
from genrl.models.base import ImageModel
from genrl.models.capabilities import Encoder
from genrl.runs.pictures import BLUE, INK, drawing, empty_figure

__all__ = ["encodes", "keep_encoder"]

MOST = 8
"""Numbers of the state that are drawn, the worst first."""
CURVED = 0.1
"""R² by which the probe with products must be better to be drawn in place of the linear one."""


def encodes(model: ImageModel) -> bool:
    """Whether a model turns an image alone into features."""
    return isinstance(model, Encoder) and not getattr(model, "conditional", False)


def keep_encoder(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel) -> dict[str, Any]:
    """Write encoder.safetensors into the run's directory; its hash and size, and what it sees of the states of a task.

    Raises:
        ValueError: the model gives every image the same code.
    """
    assert source.preprocessing is not None
    encoder = ImageEncoder.of(model, source.preprocessing, source.data.train, most=config.code)
    encoder.save(run.path / FILE)
    walk = source.data.train.walk
    known: dict[str, Any] = {"hash": encoder.hash, "size": encoder.size, "sight": None}
    if walk is None or walk.state is None:
        return known
    sight = what_it_sees(encoder, source.data.train, source.data.test, history=config.history)
    if config.pictures and sight.state:
        _draw(run, source, encoder, sight, f"{config.subject}: what {config.model} sees")
    return known | {"sight": sight.to_dict()}


def _draw(run: GenerationDirectory, source: RunImages, encoder: ImageEncoder, sight: Sight, title: str) -> None:
    """Draw the probe's value against the true one for each number of the state, the worst first."""
    assert source.data.test.walk is not None
    true, linear = predicted_state(encoder, source.data.train, source.data.test, sight.history)
    curved = predicted_state(encoder, source.data.train, source.data.test, sight.history, True)[1] if sight.history > 1 else linear
    names = list(sight.state)[:MOST]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with drawing():
        figure = empty_figure(2.6 * columns, 2.8 * rows + 0.4)
        figure.suptitle(title, fontsize=11)
        for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, names, strict=False):
            place = source.data.test.walk.state_names.index(name)
            by_products = sight.products.get(name, 0.0) > sight.state[name] + CURVED
            said, r2 = (curved, sight.products[name]) if by_products else (linear, sight.state[name])
            axes.plot(true[:, place], said[:, place], ".", color=BLUE, markersize=3, alpha=0.5)
            ends = [float(true[:, place].min()), float(true[:, place].max())]
            axes.plot(ends, ends, color=INK, linewidth=1, linestyle=":")
            axes.set_title(f"{name}\nR² {r2:.2f}{', by products' if by_products else ''}", fontsize=9)
            axes.set_xlabel("true")
            axes.set_ylabel("probed")
        for axes in figure.axes[len(names) :]:
            axes.set_axis_off()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    write_whole(run.path / "sight.png", buffer.getvalue())
