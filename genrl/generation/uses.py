"""What a trained model is used for: images drawn from nothing, and images made of given ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genrl.data import ImageError, Images
from genrl.encoders import Preprocessing
from genrl.errors import RunError, command
from genrl.files import check_new, write_together
from genrl.generation.config import GenerateConfig
from genrl.generation.directory import GenerationDirectory
from genrl.generation.images import GIVEN
from genrl.generation.pictures import COLUMNS, HIDDEN, as_bytes, grid, png, shown
from genrl.generators import forked_generators
from genrl.models.base import ImageModel
from genrl.models.capabilities import ClassSampler, Completer, Decoder, Encoder, Enlarger, Inpainter, Sampler
from genrl.models.corruptions import coarse, named
from genrl.models.pixels import to_levels
from genrl.reading import read_json
from genrl.runs.uses.load import load

__all__ = ["How", "ways", "write_completions", "write_samples"]

PART = 250
"""Images that are drawn at once."""
How = Literal["reconstruct", "interpolate", "inpaint", "denoise", "enlarge"]
"""What can be made of images."""
Way = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Function of images as the model sees them: what it is given of them and what it makes of that, ``(batch, channel, height, width)``."""


def write_samples(path: Path, out: Path | None, n: int, labels: Sequence[int] | None, seed: int) -> list[Path]:
    """Draw images by the model of a run into a grid and an npz, and return both files.

    Args:
        path: the run directory.
        out: folder of the files; by default the run directory.
        n: number of images.
        labels: classes that are drawn in turn; by default of any class.
        seed: seed of the draws.

    Raises:
        RunError: a run without a model, a model that draws nothing, labels that it does not know, or files that exist.
    """
    config, model = _opened(path)
    if not isinstance(model, Sampler):
        raise RunError(f"{path} holds a {type(model).__name__}, which draws no images from nothing{_instead(ways(model, None), path)}")
    for file in _files(out or path, "drawn"):
        check_new(file)
    told = None if labels is None else _labels(path, model, n, labels)
    with forked_generators(), torch.no_grad():
        torch.manual_seed(seed)
        parts = torch.arange(n).split(PART)
        drawn = [model.sample(len(part), **({} if told is None else {"labels": told[part]})) for part in parts]
    images = as_bytes(torch.cat(drawn))
    arrays = {"images": images.numpy()} | ({} if told is None else {"labels": told.numpy()})
    return _written(out or path, "drawn", grid(images, min(n, COLUMNS), title=_title(config, "drawn", seed)), arrays)


def write_completions(path: Path, images: Images, out: Path | None, how: How | None, given: str | None, seed: int) -> list[Path]:
    """Make of images what the model of a run can, into a grid and an npz with ``given`` and ``images``, and return both files.

    Args:
        path: the run directory.
        images: the images, of the run's size or another.
        out: folder of the files; by default the run directory.
        how: what is made; by default the first that the model can.
        given: for a model that inpaints whatever is unknown: quadrants-1, quadrants-2 (the default), quadrants-3 or hole.
        seed: seed of whatever is drawn.

    Raises:
        RunError: a run without a model, a model that can't do that, a ``given`` that has no say in it, images that it can't take, or files
            that exist.
    """
    config, model = _opened(path)
    can = ways(model, config.given, given or "quadrants-2", seed)
    if how is None and can:
        how = next(iter(can))
    if how not in can:
        asked = f" and can't {how}" if how is not None else " and makes nothing of images"
        raise RunError(f"{path} holds a {type(model).__name__}{asked}{_instead(can, path)}")
    kept = (config.given or GIVEN) if isinstance(model, Completer) else given
    if given is not None and (how != "inpaint" or given != kept):
        why = f"--how is {how}" if how != "inpaint" else f"{path} was trained with {kept}"
        raise RunError(f"--given is {given}, but {why}, where it has no say; leave --given out")
    for file in _files(out or path, how):
        check_new(file)
    with forked_generators(), torch.no_grad():
        torch.manual_seed(seed)
        try:
            known, made = map(as_bytes, can[how](_seen(config, model, images, how, seed)))
        except ValueError as error:  # images that the model refuses
            raise RunError(f"--images for {path}: {error}") from error
    return _written(out or path, how, _rows(known, made, how, _title(config, how, seed)), {"given": known.numpy(), "images": made.numpy()})


def ways(model: ImageModel, trained: str | None, given: str = "quadrants-2", seed: int = 0) -> dict[How, Way]:
    """What a model can make of images, each by its name; ``trained`` is what a model that completes images was trained to be given."""
    can: dict[How, Way] = {}
    if isinstance(model, Encoder) and isinstance(model, Decoder):
        if not model.exact_inverse:
            can["reconstruct"] = lambda x: (x, model.decode(model.encode(x)))
        can["interpolate"] = lambda x: _between(model, x)
    if isinstance(model, Inpainter):
        can["inpaint"] = lambda x: _inpainted(model, x, given, seed)
    if isinstance(model, Enlarger):
        can["enlarge"] = lambda x: (shown(coarse(2)(x, _seeded(seed))[1]), model.super_resolve(F.avg_pool2d(x, 2)))
    if isinstance(model, Completer):
        trained = trained or GIVEN
        how: How = "denoise" if trained == "noise" else "enlarge" if trained == "coarse" else "inpaint"
        can[how] = lambda x: _completed(model, x, trained, seed)
    return can


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _between(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Each image, and the images between it and the next one, ``COLUMNS`` for each pair."""
    if len(x) < 2:
        raise ImageError("an interpolation needs at least two images, but there is one; give a folder or an npz by --images")
    codes = model.encode(x)
    steps = [torch.lerp(codes[:-1], codes[1:], share) for share in torch.linspace(0, 1, COLUMNS).tolist()]
    return x, model.decode(torch.stack(steps, dim=1).flatten(0, 1))


def _inpainted(model: Inpainter, x: Tensor, given: str, seed: int) -> tuple[Tensor, Tensor]:
    """Inpaint the same unknown pixels in all images; in what is given they are grey."""
    _, _, wanted = named(given, *x.shape[2:])(x[:1], _seeded(seed))
    known = wanted[0, 0] == 0
    return torch.where(known, x, HIDDEN), model.inpaint(x, known)


def _completed(model: Completer, x: Tensor, trained: str, seed: int) -> tuple[Tensor, Tensor]:
    """Images are noisy as they come; of all others a part is given, or they are made coarse."""
    if trained == "noise":
        given = torch.cat([x, torch.ones_like(x)], dim=1)
    else:
        _, given, _ = named(trained, *x.shape[2:])(x, _seeded(seed))
    return shown(given), model.complete(given)


def _opened(path: Path) -> tuple[GenerateConfig, ImageModel]:
    run = GenerationDirectory.open(path)
    if read_json(run.config).get("command") != GenerateConfig.command:
        raise RunError(f"{path} is the run of a learner, not of a generative model; film it with: {command('watch', path)}")
    model = load(path)
    assert isinstance(model, ImageModel)
    return run.read_config(), model


def _labels(path: Path, model: object, n: int, labels: Sequence[int]) -> Tensor:
    if not isinstance(model, ClassSampler) or not model.conditional:
        raise RunError(f"{path} holds a {type(model).__name__}, which draws images of any class; leave out --label and --labels")
    if wrong := [label for label in labels if not 0 <= label < model.n_classes]:
        raise RunError(f"there is no class {wrong[0]} in {path}; give labels from 0 to {model.n_classes - 1}")
    return torch.tensor([labels[i % len(labels)] for i in range(n)])


def _instead(can: dict[How, Way], path: Path) -> str:
    if can:
        return f"; it can {', '.join(can)}: {command('complete', path, '--how', next(iter(can)), '--images', 'FOLDER')}"
    return f"; it draws images: {command('sample', path)}"


def _seen(config: GenerateConfig, model: ImageModel, images: Images, how: How, seed: int) -> Tensor:
    """Images as the model saw those that it learnt from: cut, resized, grey, in its levels unless they are noisy or coarse."""
    channels, *sides = model.image_shape
    if list(images.shape[1:]) != sides:
        square = sides[0] if sides[0] == sides[1] else 0
        images = Preprocessing(images.shape, config.crop or (0, 0, 0, 0), square).images(images)
    images = images.grey() if channels == 1 else images
    pixels = images.pixels.expand(-1, channels, -1, -1)
    if tuple(pixels.shape[1:]) != model.image_shape:
        needed = " × ".join(map(str, sides))
        raise ImageError(f"this model takes images of {needed} pixels, but was given {' × '.join(map(str, images.shape[1:]))}; resize them")
    levels = 256 if how in ("denoise", "enlarge") else config.levels or 256
    return to_levels(Images(pixels).batch(), levels, _seeded(seed))


def _title(config: GenerateConfig, what: str, seed: int) -> str:
    return f"{config.subject}, {config.model}: {what}, seed {seed}"


def _rows(given: Tensor, made: Tensor, how: How, title: str) -> Any:
    """What is given above what is made of it; of interpolations, a row for each pair."""
    if how == "interpolate":
        return grid(made, COLUMNS, title=title)
    columns = min(len(given), COLUMNS)
    parts = [part for pair in zip(given.split(columns), made.split(columns), strict=True) for part in pair]
    blank = torch.full((columns, *given.shape[1:]), 255, dtype=torch.uint8)
    full = [torch.cat([part, blank[len(part) :]]) for part in parts]
    return grid(torch.cat(full), columns, ["given", "made"] * (len(full) // 2), title)


def _written(folder: Path, name: str, picture: Any, arrays: dict[str, Any]) -> list[Path]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    picture_file, arrays_file = _files(folder, name)
    write_together({picture_file: png(picture), arrays_file: buffer.getvalue()})
    return [picture_file, arrays_file]


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    if folder.suffix in (".png", ".npz") and not folder.is_dir():
        raise RunError(f"--out is {folder}, but two files are written, {name}.png and {name}.npz; give their folder: --out {folder.parent}")
    return folder / f"{name}.png", folder / f"{name}.npz"
