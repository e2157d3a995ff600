"""Images in a folder of files: each folder in it is a class, or the two parts train and test."""

from __future__ import annotations

import os
import struct
import unicodedata
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from genrl.data.images import ImageError, Images, size
from genrl.reading import ROOM, FileError, check_decoded, in_bytes, open_regular

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["read_folder", "read_picture"]

_ENDINGS = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"}
# Pillow tells a format by its content, whatever the ending. Of its other formats EPS starts a program, Ghostscript, and TIFF scrambles
# pictures that are to be turned by 90° (Pillow 13.0).
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")
LARGEST = 2**24
"""Pixels of a picture, at most."""
_LITTER = {"thumbs.db", "desktop.ini"}
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def read_folder(path: Path) -> Images | tuple[Images, Images]:
    """All images of a folder, or those of its parts train and test.

    Raises:
        ImageError: something in it would be left out, turned or guessed; the sentence names it and says what to do.
    """
    folders = _folders(path)
    parts = [folder.name for folder in folders if folder.name.lower() in _PARTS]
    if parts and not _files(path):
        if [folder.name for folder in folders] != ["test", "train"]:
            others = ", ".join(folder.name for folder in folders)
            raise ImageError(f"{path} has the folders {others}; give two parts, train and test, and no other folder beside them")
        return _parts(path)
    return _whole(path)


def _parts(path: Path) -> tuple[Images, Images]:
    """Train and test."""
    train, test = ({folder.name for folder in _folders(path / part)} for part in ("train", "test"))
    if train != test:
        raise ImageError(f"{path} has the class {min(train ^ test)} in only one of train and test; give both the same folders")
    return _whole(path / "train"), _whole(path / "test")


def _whole(path: Path) -> Images:
    classes = _folders(path)
    if classes and (loose := _files(path)):
        raise ImageError(f"{path} has both folders and images, such as {loose[0].name}; put every image into the folder of its class")
    _check_names(classes)
    files = [(file, label) for label, folder in enumerate(classes or [path]) for file in _class(folder, inner=bool(classes))]
    if not files:
        raise ImageError(f"{path} has no images; put {', '.join(sorted(_ENDINGS))} files into it, or into a folder for each class")
    pictures, held, stored = [], 0, 0
    for file, _ in files:
        pictures.append(read_picture(file))
        held, stored = held + pictures[-1].numel(), stored + file.stat().st_size
        try:
            check_decoded(path, held, stored)
        except FileError as error:
            raise ImageError(str(error)) from error
    grey = all(picture.shape[0] == 1 for picture in pictures)
    pixels = pictures if grey else [picture.expand(3, -1, -1) for picture in pictures]
    for (file, _), picture in zip(files, pixels, strict=True):
        if picture.shape != pixels[0].shape:
            raise ImageError(
                f"{file} has {size(tuple(picture.shape))} pixels, but {files[0][0]} has {size(tuple(pixels[0].shape))}; make all of one "
                "size"
            )
    return Images(torch.stack(pixels), torch.tensor([label for _, label in files]) if classes else None)


def _check_names(classes: list[Path]) -> None:
    """Refuse two classes whose names look alike, since Unicode has an é of one letter and one of two."""
    seen: dict[str, Path] = {}
    for folder in classes:
        name = unicodedata.normalize("NFC", folder.name)
        if name in seen:
            raise ImageError(f"the classes {seen[name]!a} and {folder!a} have names that look alike; rename or join them")
        seen[name] = folder


def _class(folder: Path, inner: bool) -> list[Path]:
    """The images of one class; none is left out, and there is at least one."""
    if inner and (deeper := _folders(folder)):
        raise ImageError(f"the class {folder} has folders in it, such as {deeper[0].name}; put every image into the folder of its class")
    files = _files(folder)
    if inner and not files:
        raise ImageError(f"the class {folder} has no images; put some into it, or delete the folder")
    for file in files:
        if file.suffix.lower() not in _ENDINGS or not file.is_file():
            raise ImageError(f"{file} is no image that can be read ({', '.join(sorted(_ENDINGS))}); convert it or move it elsewhere")
    return files


def _visible(folder: Path) -> list[Path]:
    items = sorted(folder.iterdir())
    for item in items:  # macOS puts a ._a.png beside an a.png, which is no picture
        if item.name.startswith(".") and not item.name.startswith("._") and item.suffix.lower() in _ENDINGS:
            raise ImageError(f"{item} is hidden, and would be left out; give it a name without the dot, or move it elsewhere")
    return [item for item in items if not item.name.startswith(".") and item.name.lower() not in _LITTER]


def _folders(folder: Path) -> list[Path]:
    return [item for item in _visible(folder) if item.is_dir()]


def _files(folder: Path) -> list[Path]:
    return [item for item in _visible(folder) if not item.is_dir()]


def read_picture(file: Path) -> Tensor:
    """One image as ``(channel, height, width)`` bytes: upright, on white where it is transparent."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    try:
        with open_regular(file) as opened, _opened(file, opened) as picture:
            _refuse(file, picture)
            grey = picture.mode in ("1", "L", "LA")
            upright = ImageOps.exif_transpose(picture)
            if upright.has_transparency_data:  # what a colour under full transparency is, nobody has ever seen
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
            pixels = np.asarray(upright.convert("L" if grey else "RGB"))
    except ImageError:
        raise
    except FileError as error:
        raise ImageError(str(error)) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError, struct.error) as error:
        raise ImageError(f"{file} is no image that can be read; remove it, or convert it to PNG") from error
    return torch.as_tensor(np.array(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))


def _opened(file: Path, opened: BufferedReader) -> Image.Image:
    """A picture whose checksums are right, if its format has some: Pillow reads PNG without a look at those of its pixels."""
    from PIL import Image

    if os.fstat(opened.fileno()).st_size > ROOM:
        raise ImageError(f"{file} has {in_bytes(os.fstat(opened.fileno()).st_size)}, more than are read; make it smaller")
    formats = [name for name in _FORMATS if name in Image.OPEN]
    picture = Image.open(opened, formats=formats)
    if picture.format == "PNG":
        picture.verify()
        opened.seek(0)
        picture = Image.open(opened, formats=formats)
    return picture


def _refuse(file: Path, picture: object) -> None:
    """Refuse what would be enormous or incomplete.

    That is: too many pixels; pixels of more than a byte, which Pillow would clip or cut; all frames after the first, which it would drop.
    """
    width, height = getattr(picture, "size", (0, 0))
    if width * height > LARGEST:
        raise ImageError(f"{file} has {width:,} × {height:,} pixels, more than are read; make it smaller")
    deep = {str(part) for part in getattr(picture, "tile", ()) if ";16" in str(part)}
    mode, frames = str(getattr(picture, "mode", "")), getattr(picture, "n_frames", 1)
    if mode.startswith(("I", "F")) or deep:
        raise ImageError(f"{file} has {mode} pixels, more than a byte each; save it with 8 bits a channel")
    if frames > 1 and getattr(picture, "format", "") != "MPO":  # a camera's JPEG with a preview behind it
        raise ImageError(f"{file} has {frames} frames; save each as an image of its own")
