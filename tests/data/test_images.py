"""Images from IDX, npz and folders: what is read is what was written, and what can't be is one sentence."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genrl.data import ImageError, Images, load_images
from genrl.data import image_files as module
from genrl.data.image_files import images_at

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 5, 4), dtype=np.uint8)
LABELS = np.arange(20) % 3


def idx(array: np.ndarray) -> bytes:
    """The format, written by its definition."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape) + array.astype(np.uint8).tobytes()


def test_printed_images_are_their_sizes_and_not_their_pixels(root: Path) -> None:
    assert (
        repr(load_images("mnist", root))
        == "ImageData('mnist', train=Images(15 of 1 × 5 × 4, 3 classes), test=Images(5 of 1 × 5 × 4, 3 classes))"
    )
    assert repr(Images(torch.zeros(1200, 3, 8, 8, dtype=torch.uint8))) == "Images(1,200 of 3 × 8 × 8)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small data set in the place of MNIST."""
    folder = tmp_path / "root" / "mnist"
    folder.mkdir(parents=True)
    for part, images, labels in (("train", PIXELS[:15], LABELS[:15]), ("t10k", PIXELS[15:], LABELS[15:])):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))  # unpacked by hand
    return tmp_path / "root"


class TestNamed:
    def test_reads_packed_and_unpacked_files(self, root):
        data = load_images("mnist", root)
        np.testing.assert_array_equal(data.train.pixels[:, 0].numpy(), PIXELS[:15])
        np.testing.assert_array_equal(data.test.pixels[:, 0].numpy(), PIXELS[15:])
        assert data.test.labels.tolist() == LABELS[15:].tolist()
        assert (data.train.shape, data.train.n_classes) == ((1, 5, 4), 3)

    def test_looks_where_the_environment_says(self, root, monkeypatch):
        monkeypatch.setenv("GENRL_DATA", str(root))
        assert len(load_images("mnist").train) == 15

    def test_without_files_and_network_says_which_file_goes_where(self, tmp_path, monkeypatch):
        import pooch

        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
        monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("no route")))
        with pytest.raises(ImageError) as refused:
            load_images("fashion-mnist", tmp_path)
        told = str(refused.value)
        assert f"put it into {tmp_path / 'fashion-mnist'}, or name the folder above by --data-root or GENRL_DATA" in told
        places = f"neither in {tmp_path / 'fashion-mnist'} nor in {tmp_path / 'cache' / 'fashion-mnist'}"
        assert told.startswith(f"train-images-idx3-ubyte.gz of fashion-mnist is {places}, and could not be downloaded")
        monkeypatch.delenv("GENRL_DATA", raising=False)
        with pytest.raises(
            ImageError, match=rf"fashion-mnist is not in {tmp_path / 'cache' / 'fashion-mnist'}, and could not be downloaded"
        ):
            load_images("fashion-mnist")

    def test_a_download_is_checked_and_kept_in_the_cache(self, tmp_path, monkeypatch):
        import pooch

        asked = []
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")

        def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
            asked.append((url, known_hash))
            path.mkdir(parents=True, exist_ok=True)
            (path / fname).write_bytes(gzip.compress(idx(PIXELS if "images" in fname else LABELS)))
            return str(path / fname)

        monkeypatch.setattr(pooch, "retrieve", retrieve)
        assert len(load_images("mnist").train) == len(load_images("mnist").train) == 20
        assert len(asked) == 4
        assert asked[1] == (
            "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (gzip.compress(idx(PIXELS))[:50], "is broken"),
            (b"not packed at all", "is broken"),
            (gzip.compress(b"<html>not found</html>"), "is no IDX file of bytes"),
            (gzip.compress(idx(PIXELS)[:-1]), r"is truncated: it says that it has \(20, 5, 4\) bytes"),
            (gzip.compress(b"\0\0\x08\x03\0\0"), "is truncated"),
        ],
        ids=["cut", "not packed", "a page", "short", "no sizes"],
    )
    def test_a_broken_file_is_named(self, root, content, sentence):
        (root / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(content)
        with pytest.raises(ImageError, match=rf"train-images-idx3-ubyte.gz {sentence}"):
            load_images("mnist", root)

    def test_labels_of_other_images_are_refused(self, root):
        (root / "mnist" / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:14]))
        with pytest.raises(ImageError, match=r"train-labels-idx1-ubyte: .* one for each of 15 images, but are int64 of shape \(14,\)"):
            load_images("mnist", root)

    @pytest.mark.shared
    @pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
    def test_the_real_ones(self, shared, name):
        data = load_images(name, shared / "data" / "images")
        assert (len(data.train), len(data.test), data.train.shape, data.train.n_classes) == (60_000, 10_000, (1, 28, 28), 10)
        assert data.test.labels.bincount().min() > 850


class TestNpz:
    def test_a_folder_of_the_named_data_sets_has_no_say_in_it(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=PIXELS)
        for read in (load_images, images_at):
            with pytest.raises(ImageError, match=r"was given as the folder of mnist and fashion-mnist, but .*a.npz"):
                read(tmp_path / "a.npz", tmp_path)

    @pytest.mark.parametrize("array", [PIXELS, PIXELS[:, None], PIXELS[..., None]], ids=["no channels", "first", "last"])
    def test_channels_may_be_anywhere(self, tmp_path, array):
        np.savez(tmp_path / "a.npz", images=array, labels=LABELS.astype(np.uint8))
        data = load_images(tmp_path / "a.npz", held_out=0.25)
        assert (len(data.train), len(data.test)) == (15, 5)
        both = torch.cat([data.train.pixels, data.test.pixels])[:, 0].numpy()
        assert sorted(map(bytes, both)) == sorted(map(bytes, PIXELS))
        place = {bytes(picture): label for picture, label in zip(PIXELS, LABELS, strict=True)}
        assert all(place[bytes(picture[0].numpy())] == label for picture, label in zip(data.test.pixels, data.test.labels, strict=True))

    def test_a_split_that_is_there_is_kept(self, tmp_path):
        np.savez(tmp_path / "a.npz", x_train=PIXELS[:12], x_test=PIXELS[12:])
        data = load_images(tmp_path / "a.npz")
        np.testing.assert_array_equal(data.test.pixels[:, 0].numpy(), PIXELS[12:])
        assert data.test.labels is None

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"images": PIXELS / 255}, "are float64, but must be bytes from 0 to 255"),
            ({"images": PIXELS[0]}, r"have the shape \(5, 4\), but must be"),
            ({"images": np.zeros((3, 5, 4, 2), np.uint8)}, r"have the shape \(3, 5, 4, 2\)"),
            ({"pictures": PIXELS}, "has pictures, but needs images"),
            ({"images": PIXELS, "labels": LABELS / 2}, "labels of .* are float64, but must be whole numbers"),
            ({"images": PIXELS, "labels": LABELS[:3]}, "one for each of 20 images"),
            (
                {"images": PIXELS, "labels": np.where(LABELS, 2**40, 0)},
                "labels of 20 images must be numbered from 0, but one is 1099511627776",
            ),
            ({"images": PIXELS[:0]}, "there are no images; give at least one"),
            ({"images": np.array([{}], dtype=object)}, "has images as pickled objects, which can run code and are never loaded"),
        ],
    )
    def test_what_can_not_be_is_one_sentence(self, tmp_path, arrays, sentence):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ImageError, match=sentence) as refused:
            load_images(tmp_path / "a.npz")
        assert "a.npz" in str(refused.value)

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"images": PIXELS, "label": LABELS}, "has label beside images, which would be left out"),
            ({"x_train": PIXELS, "x_test": PIXELS, "x_val": PIXELS}, "has x_val beside x_train, x_test, which would be left out"),
            ({"images": PIXELS, "x_train": PIXELS, "x_test": PIXELS}, "has images beside x_train, x_test"),
            ({"x_train": PIXELS, "x_test": PIXELS, "y_train": LABELS}, "has labels of its train images but none of its test images"),
            ({"images": np.zeros((9, 3, 8, 3), np.uint8)}, r"have the shape \(9, 3, 8, 3\), which can be read in two ways"),
            ({"images": np.zeros((8, 8, 3), np.uint8)}, r"have the shape \(8, 8, 3\), which can be read in two ways"),
        ],
        ids=["labels by another name", "a third part", "both layouts", "labels of one part", "channels at both ends", "one picture"],
    )
    def test_nothing_is_left_out_or_guessed(self, tmp_path, arrays, sentence):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ImageError, match=sentence):
            load_images(tmp_path / "a.npz")

    def test_a_file_that_is_not_what_its_name_says(self, tmp_path):
        (tmp_path / "text").write_text("hello")
        np.save(tmp_path / "array.npy", PIXELS)
        Image.fromarray(PIXELS[0]).save(tmp_path / "picture.png")
        for name in ("text", "array.npy", "picture.png"):
            (tmp_path / name).rename(tmp_path / "a.npz")
            with pytest.raises(ImageError, match=r"a.npz is no npz file, whatever its name; give one that is"):
                load_images(tmp_path / "a.npz")
        (tmp_path / "a.txt").write_text("hello")
        with pytest.raises(ImageError, match=r"a.txt is no .npz; give mnist, fashion-mnist, an .npz, or a folder"):
            load_images(tmp_path / "a.txt")
        for name in ("nothing", "nothing.npz"):
            with pytest.raises(ImageError, match=rf"there are no images at .*{name}"):
                load_images(tmp_path / name)

    def test_a_broken_array_is_none_of_pickled_objects(self, tmp_path):
        whole = io.BytesIO()
        np.save(whole, PIXELS)
        for content, sentence in (
            (whole.getvalue()[:-7], r"is not a whole npz file, its images is truncated"),
            (b"hello", "is not a whole npz file, its images is broken"),
        ):
            with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
                file.writestr("images.npy", content)
            with pytest.raises(ImageError, match=f"a.npz {sentence}"):
                load_images(tmp_path / "a.npz")


class TestFolder:
    def save(self, path: Path, picture: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)

    def test_each_folder_is_a_class(self, tmp_path):
        for i in range(20):
            self.save(tmp_path / "f" / "abc"[LABELS[i]] / f"{i:02}.png", PIXELS[i])
        data = load_images(tmp_path / "f", held_out=0.5)
        assert (data.train.n_classes, data.train.shape) == (3, (1, 5, 4))
        place = {bytes(picture): label for picture, label in zip(PIXELS, LABELS, strict=True)}
        assert all(place[bytes(picture[0].numpy())] == label for picture, label in zip(data.train.pixels, data.train.labels, strict=True))

    @pytest.mark.parametrize("classes", ["a", "", "abc"])
    def test_train_and_test_are_parts(self, tmp_path, classes):
        """Of one class, of none, of three."""
        for i in range(20):
            part = tmp_path / ("train" if i < 14 else "test")
            self.save(part / (classes[LABELS[i] % len(classes)] if classes else ".") / f"{i:02}.png", PIXELS[i])
        data = load_images(tmp_path)
        assert (len(data.train), len(data.test)) == (14, 6)
        assert {bytes(picture.numpy()) for picture in data.test.pixels} == {bytes(picture) for picture in PIXELS[14:]}
        assert data.test.labels is None if not classes else data.test.n_classes == len(classes)

    def test_parts_need_the_same_classes_and_no_images_beside_them(self, tmp_path):
        for name in ("train/a/0.png", "train/b/1.png", "test/a/2.png"):
            self.save(tmp_path / name, PIXELS[0])
        with pytest.raises(ImageError, match="has the class b in only one of train and test; give both the same folders"):
            load_images(tmp_path)
        self.save(tmp_path / "0.png", PIXELS[0])
        with pytest.raises(ImageError, match="has both folders and images"):
            load_images(tmp_path)

    def test_one_coloured_image_makes_all_of_three_channels(self, tmp_path):
        self.save(tmp_path / "a.png", PIXELS[0])
        self.save(tmp_path / "b.png", np.repeat(PIXELS[1][..., None], 3, axis=2))
        data = load_images(tmp_path, held_out=0.5)
        assert data.train.shape == (3, 5, 4)
        assert data.train.labels is None

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(ImageError, match=r"has no images; put .*png"):
            load_images(tmp_path)

    def test_folders_and_images_side_by_side(self, tmp_path):
        self.save(tmp_path / "a.png", PIXELS[0])
        self.save(tmp_path / "one" / "b.png", PIXELS[1])
        with pytest.raises(ImageError, match=r"has both folders and images, such as a.png"):
            load_images(tmp_path)

    def test_two_sizes(self, tmp_path):
        self.save(tmp_path / "a.png", PIXELS[0])
        self.save(tmp_path / "b.png", PIXELS[1][:4])
        with pytest.raises(ImageError, match=r"b.png has 1 × 4 × 4 pixels, but .*a.png has 1 × 5 × 4; make all of one size"):
            load_images(tmp_path)

    def test_a_file_that_is_no_image_or_has_deep_pixels(self, tmp_path):
        (tmp_path / "a.png").write_text("hello")
        with pytest.raises(ImageError, match=r"a.png is no image that can be read; remove it"):
            load_images(tmp_path)
        self.save(tmp_path / "a.png", PIXELS[0].astype(np.uint16) * 200)
        with pytest.raises(ImageError, match=r"a.png has I;16 pixels, more than a byte each"):
            load_images(tmp_path)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
    def test_a_picture_is_upright_as_its_camera_says(self, tmp_path, orientation, ending):
        upright = np.zeros((16, 24), np.uint8)
        upright[:8, :8] = 255  # white above on the left
        # What a camera held otherwise stores (EXIF 2.3, tag 0x0112: where row 0 and column 0 of the file are in the scene).
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.T,
            6: np.rot90(upright, 1),
            7: np.rot90(upright.T, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"a.{ending}"
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
        shutil.copy(path, tmp_path / f"b.{ending}")
        data = load_images(tmp_path, held_out=0.5)
        assert np.abs(data.train.pixels[0, 0].numpy().astype(int) - upright).max() < 60  # JPEG and WebP lose a little

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
    def test_what_is_transparent_lies_on_white(self, tmp_path, mode):
        rgba = np.zeros((2, 4, 4), np.uint8)
        rgba[..., :3], rgba[0, :, 3] = 60, 255  # a grey of 60, visible in the first row alone
        picture, more = Image.fromarray(rgba, "RGBA"), {}
        if mode == "P":
            picture = Image.fromarray(np.array([[1] * 4, [0] * 4], np.uint8), "P")
            picture.putpalette([60, 60, 60] * 2)
            more = {"transparency": 0}
        elif mode == "L":
            picture, more = Image.fromarray(np.array([[61] * 4, [60] * 4], np.uint8)), {"transparency": 60}
        else:
            picture = picture.convert(mode)
        for name in "ab":
            picture.save(tmp_path / f"{name}.png", **more)
        pixels = load_images(tmp_path, held_out=0.5).train.pixels[0, 0].tolist()
        assert pixels == [[61 if mode == "L" else 60] * 4, [255] * 4]

    def test_half_transparent_is_half_of_each(self, tmp_path):
        rgba = np.full((2, 2, 4), 100, np.uint8)
        rgba[..., 3] = 51  # a fifth of 100 and four fifths of 255
        for name in "ab":
            Image.fromarray(rgba, "RGBA").save(tmp_path / f"{name}.png")
        assert load_images(tmp_path, held_out=0.5).train.pixels.unique().tolist() == [224]

    def test_every_kind_of_file_in_a_folder_is_read(self, tmp_path):
        endings = [".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".webp", ".PNG"]
        for i, ending in enumerate(endings):
            self.save(tmp_path / f"{i}{ending}", np.full((8, 8), 20 * i, np.uint8))
        data = load_images(tmp_path, held_out=0.5)
        levels = torch.cat([data.train.pixels, data.test.pixels]).float().mean((1, 2, 3)).sort().values
        torch.testing.assert_close(levels, 20.0 * torch.arange(len(endings)), atol=2, rtol=0)

    @pytest.mark.parametrize(
        ("files", "sentence"),
        [
            (["0.png", "1.heic"], r"1.heic is no image that can be read \(.bmp, .*\); convert it or move it elsewhere"),
            (["0.png", "1.tif"], "1.tif is no image that can be read"),
            (["0.png", "labels.csv"], "labels.csv is no image that can be read"),
            (["a/0.png", "a/old/1.png", "b/2.png"], "the class .*a has folders in it, such as old; put every image into"),
            (["a/0.png", "b/"], "the class .*b has no images; put some into it, or delete the folder"),
            (["a/0.png", "b/.hidden.png"], "b.\\.hidden.png is hidden, and would be left out"),
            (["train/a/0.png", "train/b/1.png", "test/a/2.png", "test/b/"], "the class .*test/b has no images"),
            (["train/a/0.png", "test/a/1.png", "val/a/2.png"], "has the folders test, train, val; give two parts, train and test"),
            (["train/0.png", "val/1.png"], "has the folders train, val; give two parts"),
            (["Train/0.png", "Test/1.png"], "has the folders Test, Train; give two parts"),
        ],
    )
    def test_what_would_be_left_out_or_guessed_is_named(self, tmp_path, files, sentence):
        for name in files:
            if name.endswith("/"):
                (tmp_path / name).mkdir(parents=True)
            elif Path(name).suffix in (".heic", ".csv", ".tif"):
                (tmp_path / name).write_text("hello")
            else:
                self.save(tmp_path / name, PIXELS[0])
        with pytest.raises(ImageError, match=sentence):
            load_images(tmp_path)

    def test_what_a_system_leaves_in_a_folder_is_no_part_of_it(self, tmp_path):
        for name in ("0.png", "1.png", "._0.png"):
            self.save(tmp_path / name, PIXELS[0])
        for name in ("Thumbs.db", "desktop.ini", ".gitignore", ".DS_Store"):
            (tmp_path / name).write_text("hello")
        (tmp_path / ".ipynb_checkpoints").mkdir()
        data = load_images(tmp_path, held_out=0.5)
        assert (len(data.train), len(data.test)) == (1, 1)

    def test_only_the_first_of_many_frames_would_be_read(self, tmp_path):
        frames = [Image.fromarray(picture) for picture in PIXELS[:3]]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match=r"a.gif has 3 frames; save each as an image of its own"):
            load_images(tmp_path)

    def test_deep_colours_would_be_cut(self, tmp_path):
        header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)  # two by two, 16 bits, RGB
        rows = zlib.compress(b"".join(b"\0" + b"\x12\x34" * 6 for _ in range(2)))
        chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
        body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(ImageError, match=r"a.png has RGB pixels, more than a byte each; save it with 8 bits a channel"):
            load_images(tmp_path)

    def test_a_file_that_would_start_a_program_is_not_opened(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\nshowpage\n")
        with pytest.raises(ImageError, match=r"a.png is no image that can be read"):
            load_images(tmp_path)

    def test_one_image_can_not_be_split(self, tmp_path):
        self.save(tmp_path / "a.png", PIXELS[0])
        with pytest.raises(ImageError, match="leaves one part empty"):
            load_images(tmp_path)


class TestImages:
    def test_a_batch_is_grey_levels_from_zero_to_one(self):
        images = Images(torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8))
        torch.testing.assert_close(images.batch()[0, 0], torch.tensor([[0.0, 0.2], [0.4, 1.0]]))

    def test_missing_labels_are_asked_for(self):
        images = Images(torch.zeros(2, 1, 3, 3, dtype=torch.uint8))
        with pytest.raises(ImageError, match="these images have no labels, which a conditional model or a classifier needs"):
            _ = images.n_classes

    def test_a_label_may_be_larger_than_the_number_of_images_but_not_any_number(self):
        assert Images(torch.zeros(1, 1, 3, 3, dtype=torch.uint8), torch.tensor([99_999])).n_classes == 100_000
        with pytest.raises(ImageError, match="must be numbered from 0, but one is 100000; give each class the next number"):
            Images(torch.zeros(1, 1, 3, 3, dtype=torch.uint8), torch.tensor([100_000]))

    @pytest.mark.parametrize(
        ("shape", "dtype", "sentence"),
        [
            ((2, 1, 3, 3), torch.float32, "are float32"),
            ((2, 2, 3, 3), torch.uint8, r"shape \(2, 2"),
            ((0, 1, 3, 3), torch.uint8, "no images"),
        ],
    )
    def test_other_tensors_are_refused(self, shape, dtype, sentence):
        with pytest.raises(ImageError, match=sentence):
            Images(torch.zeros(shape, dtype=dtype))

    def test_arrays_and_lists_are_taken(self):
        images = Images(PIXELS[:, None], LABELS.tolist())
        assert images.labels.dtype == torch.int64
        np.testing.assert_array_equal(images.pixels.numpy(), PIXELS[:, None])
        assert Images(PIXELS[:, None], LABELS.astype(np.int32)).n_classes == 3

    def test_channels_that_come_last_are_told_how_to_come_first(self):
        with pytest.raises(
            ImageError, match=r"of shape \(2, 5, 4, 3\); move the channels first, torch.as_tensor\(images\).permute\(0, 3, 1, 2\)"
        ):
            Images(torch.zeros(2, 5, 4, 3, dtype=torch.uint8))

    def test_train_and_test_of_other_sizes_are_refused(self):
        one, other = Images(torch.zeros(2, 1, 3, 3, dtype=torch.uint8)), Images(torch.zeros(2, 1, 4, 3, dtype=torch.uint8))
        with pytest.raises(ImageError, match="mixed trains on images of 1 × 3 × 3 and tests on 1 × 4 × 3"):
            module.ImageData("mixed", one, other)
