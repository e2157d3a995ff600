"""Where images come from: MNIST and its like, npz, and folders."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genrl.arrays import open_arrays
from genrl.data._image_folders import read_folder, read_picture
from genrl.data.images import ImageData, ImageError, Images
from genrl.errors import one_line
from genrl.reading import FileError, check_decoded, open_regular

__all__ = ["check_root", "images_at", "load_images"]


def load_images(source: str | Path, root: str | Path | None = None, *, held_out: float = 0.1, seed: int = 0) -> ImageData:
    """Load images by name, from an npz file, or from a folder.

    - ``mnist``, ``fashion-mnist``: IDX files, looked for in ``root`` (or the folder that ``GENRL_DATA`` names), then in the user's cache,
      then downloaded into it from their public home, with a pinned checksum.
    - ``x.npz``: arrays ``images`` (and ``labels``), or ``x_train`` and ``x_test`` (with ``y_train`` and ``y_test``); uint8, shape
      ``(image, height, width)`` or with one or three channels first or last. Nothing in it is unpickled.
    - a folder of PNG, JPEG, WebP, BMP, GIF, PGM or PPM files of one size. If it has folders, each of them is a class, except that
      ``train`` and ``test`` alone are the two parts, with the same classes in them. A picture is turned upright as its EXIF orientation
      says, and what is transparent lies on white.

    Nothing is left out: a file, frame, folder or array that would not be read is refused by name.

    Args:
        source: the name, the file or the folder.
        root: folder with a folder for each named data set.
        held_out: share of the images to test on, drawn at random, where the source has no test part of its own.
        seed: seed of that draw.

    Raises:
        ImageError: the source is none of these, or it is broken, or it has no name and ``root`` is given; one sentence says which file,
            and what to do.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from genrl.data import load_images
        >>> with TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/squares.npz", images=np.zeros((50, 28, 28), np.uint8))
        ...     images = load_images(f"{folder}/squares.npz")
        >>> images.train, images.test
        (Images(45 of 1 × 28 × 28), Images(5 of 1 × 28 × 28))
        >>> load_images("mnist").train  # doctest: +SKIP
        Images(60,000 of 1 × 28 × 28, 10 classes)
    """
    check_root(source, root)
    if str(source) in NAMED:
        return _named(str(source), root)
    found = _found(Path(source))
    return ImageData(Path(source).stem, *(found if isinstance(found, tuple) else found.split(held_out, seed)))


def images_at(source: str | Path, root: str | Path | None = None) -> Images:
    """Images that are not learnt from: all that a source has, or its test images where it says which those are.

    Args:
        source: as for :func:`load_images`, or one picture.
        root: folder with a folder for each named data set.

    Raises:
        ImageError: the source is none of these, or it is broken, or it has no name and ``root`` is given.
    """
    check_root(source, root)
    if str(source) in NAMED:
        return _named(str(source), root).test
    path = Path(source)
    if path.suffix.lower() != ".npz" and path.is_file():
        return Images(read_picture(path)[None])
    found = _found(path)
    return found[1] if isinstance(found, tuple) else found


def check_root(source: str | Path, root: str | Path | None) -> None:
    """Refuse a folder of the named data sets where the images are of none of them.

    Raises:
        ImageError: ``root`` is given, and the source is not one of the names.
    """
    if root is not None and str(source) not in NAMED:
        raise ImageError(f"{root} was given as the folder of {' and '.join(NAMED)}, but the images are those of {source}; leave it out")


def _found(path: Path) -> Images | tuple[Images, Images]:
    """All images of an npz or a folder, or those of its two parts."""
    if path.is_dir():
        return read_folder(path)
    if path.suffix.lower() == ".npz" and path.exists():
        return _npz(path)
    known = f"give {', '.join(NAMED)}, an .npz, or a folder of images"
    raise ImageError(f"{path} is no .npz; {known}" if path.is_file() else f"there are no images at {path}; {known}")


# --- named data sets: IDX ---

_PARTS = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
NAMED: dict[str, tuple[str, tuple[str, ...]]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}
"""Public home, and the MD5 sums of the four files there, in the order of their names above."""


def _named(name: str, root: str | Path | None) -> ImageData:
    files = [_find(name, file, root) for file in _PARTS]
    return ImageData(name, *(_labelled(images, labels) for images, labels in (files[:2], files[2:])))


def _labelled(images: Path, labels: Path) -> Images:
    try:
        return Images(_channels(images, _idx(images)), torch.as_tensor(_idx(labels).astype(np.int64)))
    except ImageError as error:
        raise error if str(images) in str(error) or str(labels) in str(error) else ImageError(f"{labels}: {error}") from error


def _find(name: str, file: str, root: str | Path | None) -> Path:
    import pooch

    asked = root if root is not None else os.environ.get("GENRL_DATA")
    folders = [Path(asked) / name] if asked else []
    cache = Path(pooch.os_cache("genrl")) / name
    for folder in (*folders, cache):
        for path in (folder / file, folder / file.removesuffix(".gz")):
            if path.exists():  # also a pipe, which is refused when it is read
                return path
    home, sums = NAMED[name]
    checksum = sums[_PARTS.index(file)]
    try:
        return Path(pooch.retrieve(home + file, f"md5:{checksum}", fname=file, path=cache))
    except Exception as error:  # whatever the network does
        places = [str(folder) for folder in (*folders, cache)]
        absent = f"{'neither' if folders else 'not'} in {' nor in '.join(places)}"
        raise ImageError(
            f"{file} of {name} is {absent}, and could not be downloaded from {home}; put it into {places[0]}, or name the folder above by "
            "--data-root or GENRL_DATA"
        ) from error


MAGIC = b"\x00\x00\x08"
"""How an IDX file of bytes begins; the number of axes follows."""


def _idx(path: Path) -> np.ndarray:
    """An array of the IDX format: two zero bytes, the type, the number of axes, their sizes, the values."""
    try:
        content = _unpacked(path)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(f"{path} is broken ({one_line(error)}); delete it, and it will be downloaded again") from error
    if len(content) < 4 or content[:3] != MAGIC:
        raise ImageError(f"{path} is no IDX file of bytes; delete it, and it will be downloaded again")
    axes = content[3]
    shape = struct.unpack_from(f">{axes}I", content, 4) if len(content) >= 4 + 4 * axes else (-1,)
    if len(content) - 4 - 4 * axes != prod(shape):
        raise ImageError(f"{path} is truncated: it says that it has {shape} bytes; delete it, and it will be downloaded again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """The content of an IDX file, of which not more is unpacked than its first bytes say."""
    try:
        with open_regular(path) as file:
            opened = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            start = opened.read(4)
            if start[:3] != MAGIC or len(start) < 4:
                return start
            start += opened.read(4 * start[3])
            declared = prod(struct.unpack(f">{len(start) // 4 - 1}I", start[4 : len(start) // 4 * 4]))
            check_decoded(path, declared, os.fstat(file.fileno()).st_size)
            return start + opened.read(declared + 1)
    except FileError as error:
        raise ImageError(str(error)) from error


# --- npz ---


def _npz(path: Path) -> Images | tuple[Images, Images]:
    try:
        with open_arrays(path) as file:
            found, arrays = list(file), {name: file[name] for name in file if file.is_array(name)}
    except FileError as error:
        raise ImageError(str(error)) from error
    parts = [("x_train", "y_train"), ("x_test", "y_test")] if {"x_train", "x_test"} <= set(arrays) else [("images", "labels")]
    if not {images for images, _ in parts} <= set(arrays):
        raise ImageError(f"{path} has {', '.join(arrays) or 'no arrays'}, but needs images (and labels), or x_train and x_test")
    if unread := sorted(set(found) - {name for part in parts for name in part}):
        read = ", ".join(images for images, _ in parts)
        raise ImageError(
            f"{path} has {', '.join(unread)} beside {read}, which would be left out; leave out what is no image, and call labels labels, "
            "or y_train and y_test"
        )
    pairs = [_pair(path, arrays, *part) for part in parts]
    return (pairs[0], pairs[1]) if len(pairs) == 2 else pairs[0]


def _pair(path: Path, arrays: dict[str, np.ndarray], images: str, labels: str) -> Images:
    given = arrays.get(labels)
    if given is not None and not np.issubdtype(given.dtype, np.integer):
        raise ImageError(f"{labels} of {path} are {given.dtype}, but must be whole numbers")
    try:
        return Images(_channels(path, arrays[images]), None if given is None else torch.as_tensor(given.astype(np.int64)))
    except ImageError as error:
        raise error if str(path) in str(error) else ImageError(f"{path}: {error}") from error


def _channels(path: Path, array: np.ndarray) -> Tensor:
    """``(image, channel, height, width)``."""
    if array.dtype != np.uint8:
        raise ImageError(f"the images of {path} are {array.dtype}, but must be bytes from 0 to 255 (uint8)")
    first, last = array.ndim == 4 and array.shape[1] in (1, 3), array.ndim >= 3 and array.shape[-1] in (1, 3)
    if last and (first or array.ndim == 3):
        raise ImageError(
            f"the images of {path} have the shape {array.shape}, which can be read in two ways; save them as "
            "(image, channel, height, width) with more than three rows and columns"
        )
    if array.ndim == 3:
        array = array[:, None]
    elif last:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ImageError(
            f"the images of {path} have the shape {array.shape}, but must be (image, height, width), with one or three channels first or "
            "last"
        )
    return torch.as_tensor(np.array(array, order="C"))
