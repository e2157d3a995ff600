"""Recorded frames and what belongs to them as one npz; nothing in it is unpickled."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genrl.arrays import open_arrays
from genrl.data import ImageData, ImageError, Images, Walk
from genrl.files import write_whole

__all__ = ["load_frames", "save_frames"]


def save_frames(path: Path, data: ImageData) -> None:
    """Write frames, whole or not at all; :func:`genrl.data.load_images` reads them where nothing belongs to them."""
    arrays: dict[str, np.ndarray] = {}
    for part, images in (("train", data.train), ("test", data.test)):
        arrays[f"x_{part}"] = images.pixels.permute(0, 2, 3, 1).numpy()
        if (walk := images.walk) is not None:
            arrays |= {f"episode_{part}": walk.episode.numpy(), f"action_{part}": walk.action.numpy()}
            arrays |= {"source": np.array(walk.source), "state_names": np.array(walk.state_names, dtype=np.str_)}
            arrays |= {} if walk.state is None else {f"state_{part}": walk.state.numpy()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue())


def load_frames(path: Path) -> ImageData:
    """The inverse of :func:`save_frames`.

    Raises:
        ImageError: the file is broken.
    """
    try:
        with open_arrays(path) as file:
            arrays = dict(file)
        return ImageData(path.stem, *(_part(arrays, part) for part in ("train", "test")))
    except (ValueError, KeyError, TypeError, RuntimeError, IndexError) as error:
        raise ImageError(f"{path} is no file of frames ({error}); restore it from a copy") from error


def _part(arrays: dict[str, Any], part: str) -> Images:
    pixels = torch.from_numpy(np.ascontiguousarray(arrays[f"x_{part}"])).permute(0, 3, 1, 2).contiguous()
    if f"episode_{part}" not in arrays:
        return Images(pixels)
    channels, height, width = (int(size) for size in arrays["source"])
    state = torch.from_numpy(arrays[f"state_{part}"]) if f"state_{part}" in arrays else None
    episode, action = (torch.from_numpy(arrays[f"{name}_{part}"]) for name in ("episode", "action"))
    return Images(pixels, walk=Walk(episode, action, (channels, height, width), state, tuple(arrays["state_names"].tolist())))
