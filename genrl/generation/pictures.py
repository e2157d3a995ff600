"""Pictures of a generative model: curves, samples, samples over time, reconstructions and interpolations."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genrl.arrays import open_arrays
from genrl.files import write_whole
from genrl.generation.config import GenerateConfig
from genrl.generation.curves import balance_picture, curves_picture
from genrl.generation.directory import GenerationDirectory
from genrl.generation.images import RunImages
from genrl.generation.judging import judged_images, verdict
from genrl.generators import forked_generators
from genrl.models.base import ImageModel
from genrl.models.capabilities import ClassSampler, Completer, Decoder, Encoder, LatentSampler, Sampler
from genrl.runs.pictures import INK

__all__ = ["COLUMNS", "HIDDEN", "SamplesOverTime", "as_bytes", "draw", "grid", "png", "shown"]

TILE = 84
"""Pixels a side of an image in a grid, about; smaller images are magnified by a whole number, so that every pixel stays a square."""
GAP = 4
LINE = 22
"""Height of a line of the title."""
EDGE = "#d5d8dc"
"""Colour of the line around each image, without which a white image has no edge."""
HIDDEN = 0.35
"""Grey level of what is left out."""
ROWS, COLUMNS = 8, 10
"""Rows and columns of a grid, other than that of the samples."""


def draw(config: GenerateConfig, run: GenerationDirectory, source: RunImages, model: ImageModel, result: Mapping[str, Any]) -> None:
    """Draw everything that this model can show; ``result`` has the floor of its likelihood."""
    rows = run.rows()
    if rows and model.adversarial:
        balance_picture(run, rows, f"{config.subject}\n{config.model}, seed {config.seed}")
    else:
        curves_picture(config, run, result)
    album = _Album(run, f"{config.subject}, {config.model}, seed {config.seed}", verdict(result))
    with forked_generators():
        torch.manual_seed(config.seed)
        if isinstance(model, Sampler):
            album.add("samples", "samples", as_bytes(model.sample(config.samples)), columns=min(8, config.samples))
        _over_time(album)
        if isinstance(model, ClassSampler) and model.conditional:
            album.add(
                "classes", "samples of each class", as_bytes(by_class(model)), COLUMNS, [str(label) for label in range(model.n_classes)]
            )
        if isinstance(model, LatentSampler):
            album.add("interpolations", "from one draw to another", as_bytes(model.walks(ROWS, COLUMNS)), COLUMNS)
            for name, images in model.sweeps(ROWS, COLUMNS).items():
                album.add(name, f"{name} alone changes in a row", as_bytes(images), len(images) // ROWS)
        if isinstance(model, Completer):
            _completions(album, source, model)
        if isinstance(model, Encoder) and isinstance(model, Decoder):
            _coding(album, source, model)


@dataclass(frozen=True)
class _Album:
    """The grids of a run, each with a title."""

    run: GenerationDirectory
    title: str
    """Words of every title."""
    verdict: str | None
    """What is wrong with the model."""

    def add(self, name: str, what: str, images: Tensor, columns: int, labels: Sequence[str] = ()) -> None:
        """Write the grid of uint8 images into a file of that name; ``what`` says what they are."""
        words = f"{self.title}: {what}" + (f"\n{self.verdict}" if self.verdict else "")
        write_whole(self.run.path / f"{name}.png", png(grid(images, columns, labels, words)))


class SamplesOverTime:
    """A file of samples that a model draws while it learns, from the same noise every time.

    Args:
        path: an npz that is written anew with every row: ``epochs``, and ``images``, uint8 ``(row, sample, channel, height, width)``.
        epochs: epochs of the whole fit; about eight of them get a row, early ones more often.
        seed: seed of the noise.
    """

    def __init__(self, path: Path, epochs: int, seed: int) -> None:
        self.path, self.seed = path, seed
        self.shown = {round(epoch) for epoch in np.geomspace(1, epochs, ROWS)}

    def add(self, model: ImageModel, epoch: int) -> None:
        """Draw and write a row, if this epoch gets one."""
        if epoch not in self.shown or not isinstance(model, Sampler):
            return
        with forked_generators():
            torch.manual_seed(self.seed)
            images = as_bytes(model.sample(COLUMNS)).cpu()
        epochs, before = self.read()
        kept = [row for row, when in zip(before, epochs, strict=True) if when < epoch]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, allow_pickle=False, epochs=np.array([*epochs[: len(kept)], epoch]), images=np.stack([*kept, images.numpy()])
        )
        write_whole(self.path, buffer.getvalue())

    def read(self) -> tuple[list[int], Sequence[np.ndarray]]:
        """The epochs and their rows of samples."""
        if not self.path.is_file():
            return [], []
        with open_arrays(self.path) as file:
            return file["epochs"].tolist(), list(file["images"])


def as_bytes(x: Tensor) -> Tensor:
    """Levels in [0, 1] as bytes."""
    return (x.detach() * 255).round().clamp(0, 255).byte()


def shown(given: Tensor) -> Tensor:
    """What a corruption gives of images, ``(batch, 2 channel, height, width)``, as images: grey where nothing is given."""
    value, known = given.chunk(2, dim=1)
    return value.clamp(0, 1) + HIDDEN * (1 - known)


def grid(images: Tensor, columns: int, labels: Sequence[str] = (), title: str = "") -> Image.Image:
    """Images in rows on white, magnified by a whole number.

    Args:
        images: uint8, ``(image, 1 or 3, height, width)``.
        columns: images in a row.
        labels: words to the left of each row.
        title: words above, of one line or more.

    Example:
        >>> grid(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), columns=3).size
        (268, 180)
    """
    height, width = images.shape[2:]
    scale = max(1, round(TILE / max(height, width)))
    height, width = height * scale, width * scale
    font = _font()
    margin = GAP + (round(max(font.getlength(label) for label in labels)) + 2 * GAP if labels else 0)
    rows = -(-len(images) // columns)
    lines = title.splitlines()
    top = GAP + LINE * len(lines)
    across = max([margin + columns * (width + GAP), *(round(font.getlength(line)) + 2 * GAP for line in lines)])
    picture = Image.new("RGB", (across, top + rows * (height + GAP)), "white")
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        pen.text((GAP, GAP + row * LINE + LINE // 2), line, fill=INK, font=font, anchor="lm")
    for i, image in enumerate(images.expand(-1, 3, -1, -1)):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.NEAREST)
        x, y = margin + i % columns * (width + GAP), top + i // columns * (height + GAP)
        pen.rectangle((x - 1, y - 1, x + width, y + height), outline=EDGE)
        picture.paste(tile, (x, y))
    for row, label in enumerate(labels):
        pen.text((margin - 2 * GAP, top + row * (height + GAP) + height // 2), label, fill=INK, font=font, anchor="rm")
    return picture


def _font() -> Any:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 15)


def png(picture: Image.Image) -> bytes:
    """A picture as the content of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _over_time(album: _Album) -> None:
    epochs, rows = SamplesOverTime(album.run.film, 1, 0).read()
    if epochs:
        images = torch.as_tensor(np.concatenate(rows))
        album.add("samples_over_time", "samples over time", images, len(rows[0]), [f"epoch {epoch}" for epoch in epochs])


def _completions(album: _Album, source: RunImages, model: Completer) -> None:
    """Test images: what is given of them (grey where nothing is), two completions, and the images themselves."""
    assert source.corruption is not None
    x = source.seen(judged_images(source, 2 * COLUMNS), 0)
    target, given, _ = source.corruption(x, torch.Generator().manual_seed(0))
    rows = (shown(given), model.complete(given), model.complete(given), target)
    columns = min(COLUMNS, len(x))
    half = [torch.cat([row[start : start + columns] for row in rows]) for start in range(0, len(x) - columns + 1, columns)]
    words = ["given", "completed", "once more", "the image"]
    album.add("completions", "test images completed", as_bytes(torch.cat(half)), columns, words * len(half))


@torch.no_grad()
def _coding(album: _Album, source: RunImages, model: Any) -> None:
    """Test images above their reconstructions, unless these are exact; and images between two codes."""
    x = source.seen(judged_images(source, 4 * COLUMNS), 0)
    codes = model.encode(x)
    if not model.exact_inverse:
        made = model.decode(codes)
        columns = min(COLUMNS, len(x))
        rows = len(x) // columns
        pairs = torch.stack([part[: rows * columns].unflatten(0, (rows, columns)) for part in (x, made)], dim=1)
        album.add("reconstructions", "test images decoded", as_bytes(pairs.flatten(0, 2)), columns, ["given", "decoded"] * rows)
    first, last = codes[: min(6, len(codes) // 2)], codes[len(codes) // 2 :][: min(6, len(codes) // 2)]
    if len(first):
        between = torch.stack([torch.lerp(first, last, share) for share in torch.linspace(0, 1, COLUMNS).tolist()], dim=1)
        album.add("interpolations", "between two test images", as_bytes(model.decode(between.flatten(0, 1))), COLUMNS)


def by_class(model: ClassSampler) -> Tensor:
    """Draws of each class, a class in each row of ``COLUMNS``."""
    labels = torch.arange(model.n_classes).repeat_interleave(COLUMNS)
    return model.sample(len(labels), labels=labels)
