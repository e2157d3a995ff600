"""`genrl sample` and `genrl complete`: what they write is what the model draws, and what a model can't do is refused by what it can."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genrl import files
from genrl.cli import main
from genrl.data import load_images
from genrl.generation.uses import ways
from genrl.models import GAN, PCA, VAE, ConditionalVAE, Diffusion, NaiveBayes, PixelCNN, load_model, save_model
from genrl.models.semi_supervised import SemiSupervisedGAN

SHAPE = (1, 8, 8)


def small(kind):
    """An untrained model of its kind, and the part of images that it was trained with."""
    torch.manual_seed(0)
    models = {
        "vae": lambda: (VAE(SHAPE, latent=4, hidden=(16,)), None),
        "pixelcnn": lambda: (PixelCNN(SHAPE, width=4, depth=1), None),
        "diffusion": lambda: (Diffusion(SHAPE, width=32, steps=4), None),
        "conditional-gan": lambda: (GAN(SHAPE, noise=4, n_classes=3), None),
        "naive-bayes": lambda: (NaiveBayes.of(torch.eye(3)[:, None, None].expand(3, 1, 8, 3), torch.arange(3), smoothing=1e-9), None),
        "semi-supervised": lambda: (SemiSupervisedGAN(SHAPE, noise=4, n_classes=3), None),
        "hole": lambda: (ConditionalVAE(SHAPE, latent=2, hidden=(8,)), "hole"),
        "noise": lambda: (ConditionalVAE(SHAPE, latent=2, hidden=(8,)), "noise"),
        "coarse": lambda: (ConditionalVAE(SHAPE, latent=2, hidden=(8,)), "coarse"),
    }
    return models[kind]()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes the directory of a run with a model of some kind, beside eight images."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)
    np.savez("images.npz", images=images)

    def make(kind):
        model, given = small(kind)
        (tmp_path / "run").mkdir()
        name = "conditional-vae" if given else kind
        config = {
            "command": "generate",
            "model": name,
            "data": "images.npz",
            "levels": 2 if given or kind == "vae" else 256,
            "given": given,
        }
        if kind in ("pixelcnn", "naive-bayes"):
            config["levels"] = 2
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        save_model("run/model.safetensors", model)
        return images

    return make


class TestSample:
    def test_writes_what_the_model_draws_with_that_seed(self, run, capsys):
        run("vae")
        assert main(["sample", "run", "--n", "12", "--seed", "3"]) == 0
        assert capsys.readouterr().out.split() == ["run/drawn.png", "run/drawn.npz"]
        torch.manual_seed(3)
        expected = (load_model("run/model.safetensors").sample(12) * 255).round().byte().numpy()
        with np.load("run/drawn.npz") as file:
            np.testing.assert_array_equal(file["images"], expected)
        with Image.open("run/drawn.png") as picture:
            assert picture.width > picture.height  # ten in a row, two rows

    def test_nothing_is_overwritten(self, run, capsys):
        run("vae")
        assert main(["sample", "run", "--n", "12"]) == 0
        before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
        assert main(["sample", "run", "--n", "3", "--seed", "1"]) == 2
        assert "genrl: run/drawn.png exists; choose another --out, or delete it first" in capsys.readouterr().err
        assert main(["complete", "run", "--images", "images.npz", "--out", "new"]) == 0
        assert main(["complete", "run", "--images", "images.npz", "--out", "new", "--seed", "1"]) == 2
        assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before

    @pytest.mark.parametrize("name", ["drawn.png", "drawn.npz"])
    def test_both_files_are_written_or_none(self, run, capsys, monkeypatch, name):
        run("vae")
        write = files.write_whole

        def fails(path, content):
            if path.name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            write(path, content)

        monkeypatch.setattr(files, "write_whole", fails)
        assert main(["sample", "run", "--n", "4", "--out", "new"]) == 1
        assert f"new/{name}: No space left on device" in capsys.readouterr().err
        assert list(Path("new").iterdir()) == []

    @pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "gpu"])
    @pytest.mark.parametrize("words", [["sample", "run"], ["complete", "run", "--images", "images.npz"]])
    def test_a_device_is_refused_in_one_sentence(self, run, capsys, words, device):
        run("vae")
        assert main([*words, "--device", device]) == 2
        assert capsys.readouterr().err == f"genrl: there is no flag --device; see `genrl {words[0]} --help`\n"

    def test_the_file_is_data_of_another_run(self, run):
        run("vae")
        assert main(["sample", "run", "--n", "12", "--out", "elsewhere"]) == 0
        data = load_images("elsewhere/drawn.npz")
        assert len(data.train) + len(data.test) == 12

    def test_labels_are_drawn_in_turn_and_kept(self, run):
        run("conditional-gan")
        assert main(["sample", "run", "--n", "5", "--labels", "2", "0"]) == 0
        torch.manual_seed(0)
        expected = load_model("run/model.safetensors").sample(5, labels=torch.tensor([2, 0, 2, 0, 2]))
        with np.load("run/drawn.npz") as file:
            assert file["labels"].tolist() == [2, 0, 2, 0, 2]
            np.testing.assert_array_equal(file["images"], (expected * 255).round().byte().numpy())

    def test_counted_classes_are_drawn_as_they_were_counted(self, run):
        run("naive-bayes")
        assert main(["sample", "run", "--n", "4", "--labels", "2", "0"]) == 0
        with np.load("run/drawn.npz") as file:
            assert file["images"][:, 0].tolist() == [[[0, 0, 255]] * 8, [[255, 0, 0]] * 8] * 2

    @pytest.mark.parametrize(
        ("kind", "flags", "said"),
        [
            ("conditional-gan", "--label 3", "there is no class 3 in run; give labels from 0 to 2"),
            ("vae", "--label 3", "run holds a VAE, which draws images of any class; leave out --label and --labels"),
            ("semi-supervised", "--label 1", "run holds a SemiSupervisedGAN, which draws images of any class; leave out --label"),
            ("hole", "", "which draws no images from nothing; it can inpaint: genrl complete run --how inpaint --images FOLDER"),
            ("vae", "--n 0", "--n is 0, but must be between 1 and 10,000"),
            (
                "vae",
                "--out new/grid.png",
                "--out is new/grid.png, but two files are written, drawn.png and drawn.npz; give their folder: --out new",
            ),
        ],
    )
    def test_refusals(self, run, capsys, kind, flags, said):
        run(kind)
        assert main(["sample", "run", *flags.split()]) == 2
        assert said in capsys.readouterr().err

    def test_the_run_of_a_learner_is_refused(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.json").write_text('{"command": "explore"}')
        assert main(["sample", "run"]) == 2
        assert "the run of a learner, not of a generative model; film it with: genrl watch run" in capsys.readouterr().err


class TestComplete:
    @pytest.mark.parametrize(
        ("kind", "can"),
        [
            ("vae", ["reconstruct", "interpolate"]),
            ("pixelcnn", ["inpaint"]),
            ("diffusion", ["inpaint", "enlarge"]),
            ("conditional-gan", []),
            ("hole", ["inpaint"]),
            ("noise", ["denoise"]),
            ("coarse", ["enlarge"]),
        ],
    )
    def test_every_model_does_what_it_can(self, run, kind, can):
        images = run(kind)
        assert list(ways(*small(kind))) == can
        for how in can:
            assert main(["complete", "run", "--images", "images.npz", "--how", how, "--n", "4"]) == 0
            with np.load(f"run/{how}.npz") as file:
                assert file["images"].shape == ((30, *SHAPE) if how == "interpolate" else (4, *SHAPE))
                if how == "denoise":
                    np.testing.assert_array_equal(file["given"][:, 0], images[:4])

    @pytest.mark.parametrize("kind", ["pixelcnn", "diffusion", "hole"])
    def test_what_is_given_stays_as_it_is(self, run, kind):
        run(kind)
        given = "hole" if kind == "hole" else "quadrants-2"
        assert main(["complete", "run", "--images", "images.npz", "--how", "inpaint", "--given", given]) == 0
        with np.load("run/inpaint.npz") as file:
            given, made = file["given"][:, 0], file["images"][:, 0]
        known = given != round(0.35 * 255)
        assert 0.2 < known.mean() < 0.9
        np.testing.assert_array_equal(made[known], given[known])

    def test_images_of_half_the_size_are_enlarged_as_they_are(self, run):
        run("diffusion")
        little = np.random.default_rng(1).integers(100, 156, (4, 4), dtype=np.uint8)
        Image.fromarray(little).save("little.png")
        assert main(["complete", "run", "--images", "little.png", "--how", "enlarge"]) == 0
        with np.load("run/enlarge.npz") as file:
            np.testing.assert_array_equal(file["given"][0, 0, ::2, ::2], little)
            assert file["images"].shape == (1, *SHAPE)

    def test_an_interpolation_begins_and_ends_at_reconstructions(self, run):
        run("vae")
        for how in ("reconstruct", "interpolate"):
            assert main(["complete", "run", "--images", "images.npz", "--how", how, "--n", "2"]) == 0
        with np.load("run/reconstruct.npz") as ends, np.load("run/interpolate.npz") as file:
            np.testing.assert_array_equal(file["images"][[0, 9]], ends["images"])

    def test_images_of_another_size_and_colour_are_made_to_fit(self, run):
        run("vae")
        Image.new("RGB", (16, 16), "red").save("red.png")
        assert main(["complete", "run", "--images", "red.png"]) == 0
        with np.load("run/reconstruct.npz") as file:
            assert file["given"].shape == (1, *SHAPE)

    @pytest.mark.parametrize(
        ("kind", "flags", "said"),
        [
            (
                "vae",
                "images.npz --how enlarge",
                "VAE and can't enlarge; it can reconstruct, interpolate: genrl complete run --how reconstruct",
            ),
            ("conditional-gan", "images.npz", "GAN and makes nothing of images; it draws images: genrl sample run"),
            ("vae", "nowhere", "there are no images at nowhere"),
            ("vae", "images.npz --given hole", "--given is hole, but --how is reconstruct, where it has no say; leave --given out"),
            ("hole", "images.npz --given quadrants-3", "--given is quadrants-3, but run was trained with hole, where it has no say"),
            ("vae", "one.png --how interpolate", "an interpolation needs at least two images"),
        ],
    )
    def test_refusals(self, run, capsys, kind, flags, said):
        run(kind)
        Image.new("L", (8, 8)).save("one.png")
        assert main(["complete", "run", "--images", *flags.split()]) == 2
        assert said in capsys.readouterr().err


def test_an_exact_inverse_is_no_reconstruction():
    from genrl.models import RealNVP

    assert list(ways(RealNVP(SHAPE, width=4), None)) == ["interpolate"]
    assert list(ways(NaiveBayes(SHAPE), None)) == []
    assert "reconstruct" in ways(PCA(SHAPE), None)
