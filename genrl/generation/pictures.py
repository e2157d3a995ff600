"""Pictures of a generative model: curves, samples, samples over time, reconstructions and interpolations."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genrl.files import write_whole
from genrl.generation.config import GenerateConfig
from genrl.generation.curves import balance_picture, curves_picture
from genrl.generation.directory import GenerationDirectory
from genrl.generation.judging import judged_images
from genrl.generation.source import Source
from genrl.models.base import ImageModel
from genrl.models.capabilities import Decoder, Encoder, Sampler
from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.diffusion import Diffusion
from genrl.models.gan import GAN
from genrl.models.infogan import Codes
from genrl.models.latents import walk
from genrl.models.realnvp import RealNVP
from genrl.runs.pictures import INK

__all__ = ["Film", "by_code", "draw", "grid"]

TILE = 84
"""Pixels a side of an image in a grid, at least; smaller ones are magnified by a whole number, so that every pixel stays a square."""
GAP = 4
EDGE = "#d5d8dc"
"""A line around each image, without which a white one has no end."""
FILM_ROWS, FILM_COLUMNS = 8, 10


def draw(config: GenerateConfig, run: GenerationDirectory, source: Source, model: ImageModel, result: Mapping[str, Any]) -> None:
    """Draw all that this model can show; ``result`` tells the floor of its likelihood."""
    rows = run.rows()
    if rows and "discriminator" in rows[0]:
        title = f"{config.subject}\n{config.model}, seed {config.seed}"
        balance_picture(run, rows, title)
    else:
        curves_picture(config, run, result)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if isinstance(model, Sampler):
            _save(run, "samples", grid(as_bytes(model.sample(config.samples)), columns=8 if config.samples >= 8 else config.samples))
        _over_time(run)
        if isinstance(model, GAN | Diffusion) and model.conditional:
            _save(run, "classes", grid(as_bytes(by_class(model)), COLUMNS, [str(label) for label in range(model.n_classes)]))
        if isinstance(model, GAN):
            _save(run, "interpolations", grid(as_bytes(between(model)), COLUMNS))
        if isinstance(model, GAN) and model.codes is not None:
            for name, images in by_code(model).items():
                _save(run, name, grid(as_bytes(images), len(images) // ROWS))
        if isinstance(model, ConditionalVAE):
            _completions(run, source, model)
        if isinstance(model, Encoder) and isinstance(model, Decoder):
            _coding(run, source, model)


class Film:
    """Samples of a model while it learns, from the same noise every time.

    Args:
        path: an npz, written anew with every row: ``epochs``, and ``images``, uint8, ``(row, sample, channel, height, width)``.
        epochs: of the whole fit; about eight of them get a row, early ones more often.
        seed: of the noise.
    """

    def __init__(self, path: Path, epochs: int, seed: int) -> None:
        self.path, self.seed = path, seed
        self.shown = {round(epoch) for epoch in np.geomspace(1, epochs, FILM_ROWS)}

    def add(self, model: ImageModel, epoch: int) -> None:
        """Draw a row, if this epoch gets one."""
        if epoch not in self.shown or not isinstance(model, Sampler):
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            images = as_bytes(model.sample(FILM_COLUMNS))
        epochs, before = self.read()
        kept = [row for row, when in zip(before, epochs, strict=True) if when < epoch]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, allow_pickle=False, epochs=np.array([*epochs[: len(kept)], epoch]), images=np.stack([*kept, images.numpy()])
        )
        write_whole(self.path, buffer.getvalue())

    def read(self) -> tuple[list[int], Sequence[np.ndarray]]:
        """Epochs and their rows."""
        if not self.path.is_file():
            return [], []
        with np.load(self.path, allow_pickle=False) as file:
            return file["epochs"].tolist(), list(file["images"])


def as_bytes(x: Tensor) -> Tensor:
    """uint8 of levels in [0, 1]."""
    return (x.detach() * 255).round().clamp(0, 255).byte()


def grid(images: Tensor, columns: int, labels: Sequence[str] = ()) -> Image.Image:
    """Images in rows on white, magnified by a whole number.

    Args:
        images: uint8, ``(image, 1 or 3, height, width)``.
        columns: images a row.
        labels: of the rows, to their left.

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
    picture = Image.new("RGB", (margin + columns * (width + GAP), GAP + rows * (height + GAP)), "white")
    pen = ImageDraw.Draw(picture)
    for i, image in enumerate(images.expand(-1, 3, -1, -1)):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.NEAREST)
        x, y = margin + i % columns * (width + GAP), GAP + i // columns * (height + GAP)
        pen.rectangle((x - 1, y - 1, x + width, y + height), outline=EDGE)
        picture.paste(tile, (x, y))
    for row, label in enumerate(labels):
        pen.text((margin - 2 * GAP, GAP + row * (height + GAP) + height // 2), label, fill=INK, font=font, anchor="rm")
    return picture


def _font() -> Any:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 15)


def _save(run: GenerationDirectory, name: str, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_whole(run.path / f"{name}.png", buffer.getvalue())


def _over_time(run: GenerationDirectory) -> None:
    epochs, rows = Film(run.film, 1, 0).read()
    if epochs:
        images = torch.as_tensor(np.concatenate(rows))
        _save(run, "samples_over_time", grid(images, len(rows[0]), [f"epoch {epoch}" for epoch in epochs]))


def _completions(run: GenerationDirectory, source: Source, model: ConditionalVAE) -> None:
    """Test images: what is given of them, grey where nothing is, two completions, and the images."""
    assert source.task is not None
    x = source.seen(judged_images(source, 2 * COLUMNS), 0)
    target, given, _ = source.task(x, torch.Generator().manual_seed(0))
    value, known = given.chunk(2, dim=1)
    rows = (value.clamp(0, 1) + 0.35 * (1 - known), model.complete(given), model.complete(given), target)
    columns = min(COLUMNS, len(x))
    half = [torch.cat([row[start : start + columns] for row in rows]) for start in range(0, len(x) - columns + 1, columns)]
    words = ["given", "completed", "once more", "the image"]
    _save(run, "completions", grid(as_bytes(torch.cat(half)), columns, words * len(half)))


@torch.no_grad()
def _coding(run: GenerationDirectory, source: Source, model: Any) -> None:
    """Test images above what the model makes of their codes, unless it is sure to make the same; and what lies between two codes."""
    x = source.seen(judged_images(source, 4 * COLUMNS), 0)
    codes = model.encode(x)
    if not isinstance(model, RealNVP):
        made = model.decode(codes)
        columns = min(COLUMNS, len(x))
        rows = len(x) // columns
        pairs = torch.stack([part[: rows * columns].unflatten(0, (rows, columns)) for part in (x, made)], dim=1)
        _save(run, "reconstructions", grid(as_bytes(pairs.flatten(0, 2)), columns, ["given", "decoded"] * rows))
    first, last = codes[: min(6, len(codes) // 2)], codes[len(codes) // 2 :][: min(6, len(codes) // 2)]
    if len(first):
        between = torch.stack([torch.lerp(first, last, share) for share in torch.linspace(0, 1, COLUMNS).tolist()], dim=1)
        _save(run, "interpolations", grid(as_bytes(model.decode(between.flatten(0, 1))), COLUMNS))


ROWS, COLUMNS = 8, 10


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
