"""A byte that changed on a disk is one sentence, or changes nothing, wherever the format carries a checksum of what is read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genrl.data import Demonstrations, load_images
from genrl.data._image_folders import read_picture
from genrl.files import load_state, save_state
from genrl.models import VAE
from genrl.models.base import load_model, save_model
from tests.data.walks import walks
from tests.hostile.corpus import _idx
from tests.runs.tiny import assert_equal

PLACES = 300
"""Bytes of a file that are changed, one at a time, evenly spread."""


def demonstrations(path: Path) -> Any:
    found = Demonstrations.load(path)
    fields = ("observations", "actions", "rewards", "terminations", "truncations", "seed", "kept")
    return [[np.asarray(getattr(episode, name)).tolist() for name in fields] for episode in found.episodes]


def png(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)


def state(path: Path) -> None:
    save_state(
        path,
        {
            "a": torch.arange(50.0),
            "half": torch.ones(3, dtype=torch.bfloat16),
            "empty": torch.zeros(0),
            "one": torch.ones(()).double().expand(1),
            "n": [1, True, "é"],
        },
    )


def mnist(path: Path) -> None:
    path.mkdir()
    for part, images in (("train", 20), ("t10k", 10)):
        pixels = np.arange(images * 49, dtype=np.uint8)
        header = b"\0\0\x08\3" + b"".join(size.to_bytes(4, "big") for size in (images, 7, 7))
        (path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        (path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(np.arange(images) % 10)))


def parts(folder: Path) -> Any:
    data = load_images("mnist", folder.parent)
    return [[part.pixels.tolist(), part.needed_labels.tolist()] for part in (data.train, data.test)]


FORMATS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "walks.npz": (lambda path: walks().save(path), demonstrations),
    "walks.hdf5": (lambda path: walks().save(path), demonstrations),
    "a.safetensors": (state, lambda path: load_state(path)),
    "model.safetensors": (
        lambda path: save_model(path, VAE((1, 4, 4), latent=2, hidden=(4,))),
        lambda path: [value.tolist() for value in load_model(path).state_dict().values()],
    ),
    "a.png": (png, lambda path: read_picture(path).tolist()),
    "mnist": (mnist, parts),
}


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.filterwarnings("ignore")
def test_no_changed_byte_changes_a_value_in_silence(name: str, tmp_path: Path) -> None:
    make, read = FORMATS[name]
    path = tmp_path / name
    make(path)
    expected = read(path)
    file = path / "train-images-idx3-ubyte.gz" if path.is_dir() else path
    whole, refused = file.read_bytes(), 0
    places = range(0, len(whole), max(1, len(whole) // PLACES))
    for place in places:
        for changed in {whole[place] ^ 0x01, whole[place] ^ 0x80}:
            file.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
            try:
                found = read(path)
            except ValueError as error:
                refused += 1
                assert "\n" not in str(error) and str(path.name if path.is_dir() else file.name) in str(error), (place, str(error))
                continue
            assert_equal(found, expected, f"byte {place} of {name}")
    assert refused > len(places)  # of two changes of each, so more than half of them are noticed
