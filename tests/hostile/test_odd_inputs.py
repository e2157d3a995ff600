"""Inputs that could be read in two ways, or in part: each is read in the one right way, or refused by a sentence that names it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genrl.cli import main
from genrl.data import DemonstrationError, ImageError, load_images
from genrl.data._image_folders import read_picture
from genrl.reading import FileError, parse_json


def palette(**keywords: object) -> Callable[[Path], None]:
    """Red everywhere but for a green corner, in a palette."""

    def make(path: Path) -> None:
        picture = Image.new("P", (2, 2))
        picture.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)
        picture.putpixel((0, 0), 1)
        picture.save(path, **keywords)

    return make


PICTURES: list[tuple[str, Callable[[Path], object], list[list[int]]]] = [
    ("palette.png", palette(), [[0, 255, 0], [255, 0, 0]]),
    ("clear.png", palette(transparency=0), [[0, 255, 0], [255, 255, 255]]),
    ("clear.gif", palette(transparency=0), [[0, 255, 0], [255, 255, 255]]),
    ("half.png", palette(transparency=bytes([255, 0])), [[255, 255, 255], [255, 0, 0]]),
    ("grey.png", lambda path: Image.new("LA", (2, 2), (0, 0)).save(path), [[255], [255]]),
    ("bit.png", lambda path: Image.new("1", (2, 2), 1).save(path), [[255], [255]]),
    ("key.png", lambda path: Image.new("L", (2, 2), 7).save(path, transparency=7), [[255], [255]]),
    ("print.jpg", lambda path: Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(path, quality=100), [[255, 0, 0], [255, 0, 0]]),
]


@pytest.mark.parametrize(("name", "make", "expected"), PICTURES, ids=[name for name, *_ in PICTURES])
def test_a_picture_is_what_a_viewer_shows_on_white(
    name: str, make: Callable[[Path], object], expected: list[list[int]], tmp_path: Path
) -> None:
    make(tmp_path / name)
    pixels = read_picture(tmp_path / name)
    np.testing.assert_allclose([pixels[:, 0, 0], pixels[:, 1, 1]], expected, atol=2)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_several_frames_are_refused(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / name, save_all=True, append_images=[Image.new("RGB", (4, 4), "blue")])
    with pytest.raises(ImageError, match="has 2 frames"):
        read_picture(tmp_path / name)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="more than a byte each"):
        read_picture(tmp_path / "a.png")


def fill(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(folder / name, format="PNG")
    return folder


def test_endings_in_capitals_and_classes_in_any_letters_are_read(tmp_path: Path) -> None:
    data = load_images(fill(tmp_path, [f"{kind}/{i}.PNG" for kind in ("猫", "Cat", "cat") for i in range(9)]), held_out=0.2)
    assert (len(data.train) + len(data.test), data.train.n_classes) == (27, 3)
    np.savez(tmp_path / "X.NPZ.npz", images=np.zeros((20, 4, 4), np.uint8))
    (tmp_path / "X.NPZ.npz").rename(tmp_path / "X.NPZ")
    assert len(load_images(tmp_path / "X.NPZ").train) == 18


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (lambda folder: fill(folder, [".c.png"]), "is hidden, and would be left out"),
        (lambda folder: os.mkfifo(folder / "c.png"), "no image that can be read"),
        (lambda folder: (folder / "c.png").symlink_to("c.png"), "no image that can be read"),
        (lambda folder: (folder / "labels.csv").write_text("a,1"), "labels.csv is no image"),
        (lambda folder: (folder / "more").symlink_to("."), "has both folders and images"),
        (lambda folder: (folder / "a\nb.txt").write_text(""), r"a\\nb.txt is no image"),
    ],
)
def test_what_would_be_left_out_of_a_folder_is_named(put: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    put(fill(tmp_path / "pictures", ["a.png", "b.png"]))
    with pytest.raises(ImageError, match=said) as caught:
        load_images(tmp_path / "pictures")
    assert "\n" not in str(caught.value)


def test_classes_that_look_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"names that look alike"):
        load_images(fill(tmp_path, ["\u00e9/a.png", "e\u0301/a.png"]))


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((20, 4, 4), np.uint8))
    for second in ("images.npy", "images"):
        with (
            pytest.warns() if second == "images.npy" else zipfile.ZipFile(io.BytesIO(), "w"),
            zipfile.ZipFile(tmp_path / "x.npz", "w") as file,
        ):
            file.writestr("images.npy", buffer.getvalue())
            file.writestr(second, buffer.getvalue())
        with pytest.raises(ImageError, match="two arrays of the name images"):
            load_images(tmp_path / "x.npz")


def test_of_two_values_of_one_key_none_is_taken() -> None:
    with pytest.raises(FileError, match="it has 'steps' twice"):
        parse_json('{"a": {"steps": 1, "steps": 2}}', "config.json")
    assert "\n" not in str(DemonstrationError("a\nb")) and parse_json('{"a": {"b": 1}, "b": 2}', "x") == {"a": {"b": 1}, "b": 2}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("study", "seeds = 1" + "0" * 5000, "is not TOML (Exceeds the limit"),
        ("study", "[study]\ntitle = 2020-01-01", "title is datetime.date(2020, 1, 1), but must be a string"),
        ("study", "[study]\nseeds = nan", "seeds is nan, but must be"),
        ("resume", json.dumps({"command": "generate", "model": "vae", "data": "x.npz", "about": {}}), "has no epochs"),
        ("resume", json.dumps({"command": "generate", "model": "vae", "data": "x.npz", "epochs": 1, "about": [1]}), "x.npz"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_sentence(
    name: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(text)
    (tmp_path / "study.toml").write_text(text)
    assert main([name, "study.toml" if name == "study" else "run"]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
