"""A run of a generative model: what it leaves behind, that it goes on as if never stopped, and its numbers beside trivial ones."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genrl.cli._ending import report_generation
from genrl.data import Images
from genrl.data.images import ImageData
from genrl.errors import RunError
from genrl.files import load_state
from genrl.generation import GenerateConfig, curves, generate, resume_generation
from genrl.generation.building import build
from genrl.generation.images import RunImages, images_of
from genrl.generation.judging import SEED, distances, judged_images, likelihood
from genrl.generation.pictures import SamplesOverTime, grid
from genrl.generation.recipes import RECIPES
from genrl.models.base import ImageModel, load_model
from genrl.models.conditional_vae import ConditionalVAE
from genrl.models.corruptions import quadrants
from genrl.models.gan import GAN
from genrl.models.naive_bayes import NaiveBayes
from genrl.runs import resume, watch
from tests.runs.tiny import assert_equal

SMALL = {
    "vae": {"latent": 4, "hidden": (16,)},
    "pixelcnn": {"width": 8, "depth": 1},
    "realnvp": {"width": 4},
    "vq-vae": {"width": 8, "depth": 1, "heads": 1},
    "conditional-vae": {"latent": 2, "hidden": (16,)},
    "naive-bayes": {},
    "diffusion": {"width": 32, "steps": 4},
    "energy": {"width": 4, "features": 8, "chains": 20, "langevin_steps": 2},
    "gan": {"width": 2, "noise": 4},
    "dcgan": {"width": 2, "noise": 4},
    "conditional-gan": {"width": 2, "noise": 4},
    "infogan": {"width": 2, "noise": 4, "categories": (3,)},
    "semi-supervised": {"width": 2, "noise": 4},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Of classifiers, which are fitted in a few steps: not the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("genrl.generation.classifier.STEPS", 6)


def bars(n=64, channels=1, labels=True, size=8):
    """An npz of bright bars, lying or standing, with some noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n, channels, size, size), dtype=np.uint8)
    kind = rng.integers(0, 2, n)
    for image, standing, place in zip(images, kind, rng.integers(0, size, n), strict=True):
        image[(..., place) if standing else (slice(None), place)] = 230
    return {"images": images} | ({"labels": kind} if labels else {})


@pytest.fixture
def config(tmp_path):
    np.savez(tmp_path / "bars.npz", **bars())

    def make(model="vae", out="run", **changes):
        values = {"judge_images": 0, "pictures": False} | ({} if model == "naive-bayes" else {"epochs": 3, "batch_size": 16})
        return GenerateConfig(
            model=model,
            data=str(tmp_path / "bars.npz"),
            out=tmp_path / out,
            model_kwargs=SMALL[model],
            precision="float32",
            **values | changes,
        )

    return make


def rows(directory: Path) -> list[dict[str, str]]:
    """Of the log, without the seconds."""
    found = list(csv.DictReader((directory / "progress.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


class TestTheDirectory:
    def test_of_a_model_that_can_all(self, config, tmp_path):
        made = config(judge_images=64, judge_samples=5, pictures=True, epochs=2)
        np.savez(tmp_path / "bars.npz", **bars(300))
        result = generate(made, quiet=True)
        assert {path.name for path in made.directory.iterdir()} == {
            "config.json", "progress.csv", "model.safetensors", "checkpoint.safetensors", "result.json", "curves.png", "curves.svg",
            "samples.png", "samples_over_time.npz", "samples_over_time.png", "reconstructions.png", "interpolations.png",
            "encoder.safetensors",
        }  # fmt: skip
        assert result == json.loads((made.directory / "result.json").read_text())
        assert (result["status"], result["epochs"], result["judging_error"]) == ("finished", 2, None)
        assert set(result["distances"]["floor"]) == {"fid", "kid", "kid_error", "precision", "recall"}
        assert [row["epoch"] for row in rows(made.directory)] == ["1", "2"]
        assert load_model(made.directory / "model.safetensors").sample(3).shape == (3, 1, 8, 8)

    def test_has_the_resolved_configuration_that_repeats_the_run(self, config):
        first = config()
        generate(first, quiet=True)
        content = json.loads((first.directory / "config.json").read_text())
        about = content.pop("about")
        assert content["model_kwargs"]["posterior"] == "diagonal" and content["levels"] == 2 and content["size"] == 0
        assert about["versions"]["torch"] == torch.__version__
        again = replace(GenerateConfig.from_dict(content), out=first.directory.with_name("again"))
        torch.rand(1)  # nothing of what was drawn before matters
        generate(again, quiet=True)
        assert rows(again.directory) == rows(first.directory)

    @pytest.mark.parametrize("model", SMALL)
    def test_of_every_model_holds_weights_that_load(self, config, model):
        made = config(model)
        assert generate(made, quiet=True)["status"] == "finished"
        model = load_model(made.directory / "model.safetensors")
        drawn = model.complete(torch.zeros(2, 2, 8, 8)) if isinstance(model, ConditionalVAE) else model.sample(2)
        assert drawn.shape == (2, 1, 8, 8)

    @pytest.mark.parametrize(
        ("model", "size", "good"), [("realnvp", 27, 28), ("diffusion", 7, 8), ("diffusion", 99, 64), ("vq-vae", 36, 32), ("energy", 5, 8)]
    )
    def test_a_size_that_a_model_refuses_is_answered_by_one_that_it_takes(self, config, tmp_path, model, size, good):
        np.savez(tmp_path / "bars.npz", **bars(20, size=size))
        with pytest.raises(RunError, match=rf"but was given \(1, {size}, {size}\); --size {good} would do"):
            build(*reversed(images_of(config(model, size=0))))
        build(*reversed(images_of(config(model, size=good))))
        with pytest.raises(RunError, match=r"but was given 0; type latent=32 for the default$"):  # where the size is not what is wrong
            build(*reversed(images_of(replace(config("vae"), model_kwargs={"latent": 0}))))

    def test_is_not_written_where_a_run_is_refused(self, config):
        made = config("realnvp", size=9)
        with pytest.raises(RunError, match="sizes divisible by 2"):
            generate(made, quiet=True)
        assert not made.directory.exists()


class TestGoingOn:
    @pytest.mark.parametrize("model", ["vae", "pixelcnn"])
    def test_after_an_interrupt_gives_the_same_numbers(self, config, model, monkeypatch):
        whole, cut = config(model, "whole", pictures=True), config(model, "cut", pictures=True)
        generate(whole, quiet=True)
        with monkeypatch.context() as patch:
            add = SamplesOverTime.add
            patch.setattr(SamplesOverTime, "add", lambda film, net, epoch: (os.kill(os.getpid(), signal.SIGTERM), add(film, net, epoch)))
            result = generate(cut, quiet=True)
        assert (result["status"], result["epochs"]) == ("interrupted", 1)
        assert resume_generation(cut.directory, quiet=True)["status"] == "finished"
        assert rows(cut.directory) == rows(whole.directory)
        first, second = (load_state(item.directory / "checkpoint.safetensors")["fit"] for item in (whole, cut))
        for state in (first, second):
            for row in state["rows"]:
                row.pop("seconds")
        assert_equal(first, second)
        for name in ("samples.png", "samples_over_time.png"):
            assert (cut.directory / name).read_bytes() == (whole.directory / name).read_bytes()

    def test_after_an_interrupt_in_the_first_epoch_begins_again(self, config, monkeypatch):
        made = config()
        with monkeypatch.context() as patch:
            patch.setattr("genrl.models.vae.VAE.loss", lambda model, x: os.kill(os.getpid(), signal.SIGTERM))
            assert generate(made, quiet=True)["epochs"] == 0
        assert resume_generation(made.directory, quiet=True)["epochs"] == 3

    def test_keeps_the_settings_that_it_began_with(self, config, monkeypatch):
        made, seen = config(), []
        generate(made, quiet=True)
        assert json.loads((made.directory / "config.json").read_text())["about"]["fit"] == {"anneal": True, "warmup": 100}
        monkeypatch.setitem(RECIPES, "vae", replace(RECIPES["vae"], fit={"anneal": False}))
        monkeypatch.setattr("genrl.generation.training.fit", lambda *args, **options: seen.append(options))
        resume_generation(made.directory, epochs=4, quiet=True)
        assert (seen[0]["anneal"], seen[0]["warmup"]) == (True, 100)

    def test_refuses_fewer_epochs_than_it_has_and_changes_nothing(self, config):
        made = config()
        generate(made, quiet=True)
        before = (made.directory / "config.json").read_bytes()
        with pytest.raises(RunError, match=r"--epochs is 2, but .*run has 3 already; give more, or leave it out"):
            resume_generation(made.directory, epochs=2)
        assert (made.directory / "config.json").read_bytes() == before

    def test_of_what_is_counted_is_complete(self, config):
        made = config("naive-bayes")
        generate(made, quiet=True)
        with pytest.raises(RunError, match=r"run has counted all images, and is measured; there is nothing left to do"):
            resume_generation(made.directory)

    def test_is_not_told_of_frames(self, config):
        made = config()
        generate(made, quiet=True)
        with pytest.raises(RunError, match="a run keeps its frames itself"):
            resume_generation(made.directory, epochs=4, data="frames:CartPole-v1")

    def test_goes_on_with_measuring_that_was_interrupted(self, config, monkeypatch):
        made = config(judge_images=5)
        with monkeypatch.context() as patch:
            patch.setattr("genrl.generation.training.likelihood", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
            result = generate(made, quiet=True)
        assert (result["status"], result["epochs"], result["judging_error"]) == ("interrupted", 3, "it was interrupted at the likelihood")
        assert report_generation(result, made.directory) == 130
        result = resume_generation(made.directory, quiet=True)
        assert (result["status"], result["likelihood"]["images"], result["judging_error"]) == ("finished", 5, None)

    def test_measures_again_what_could_not_be_measured(self, config, monkeypatch):
        made = config(judge_images=5)
        with monkeypatch.context() as patch:
            patch.setattr("genrl.generation.training.likelihood", lambda *args: 1 / 0)
            assert generate(made, quiet=True)["judging_error"] == "the likelihood failed (ZeroDivisionError: division by zero)"
        before = (made.directory / "progress.csv").read_bytes()
        assert resume_generation(made.directory, quiet=True)["likelihood"]["images"] == 5
        assert (made.directory / "progress.csv").read_bytes() == before

    def test_goes_further_when_asked_and_refuses_when_all_is_done(self, config):
        made = config()
        generate(made, quiet=True)
        with pytest.raises(RunError, match=r"has all its epochs, 3; go further with `genrl resume .*run --epochs 6`"):
            resume_generation(made.directory)
        assert resume_generation(made.directory, epochs=4, quiet=True)["epochs"] == 4
        assert json.loads((made.directory / "config.json").read_text())["epochs"] == 4

    def test_refuses_other_images_and_finds_moved_ones(self, config, tmp_path):
        made = config()
        generate(made, quiet=True)
        (tmp_path / "bars.npz").rename(tmp_path / "moved.npz")
        with pytest.raises(RunError, match="there are no images at"):
            resume_generation(made.directory, epochs=4)
        np.savez(tmp_path / "other.npz", **bars(70))
        with pytest.raises(RunError, match="holds other images than"):
            resume_generation(made.directory, epochs=4, data=tmp_path / "other.npz")
        assert resume_generation(made.directory, epochs=4, data=tmp_path / "moved.npz", quiet=True)["epochs"] == 4

    def test_refuses_a_broken_checkpoint(self, config):
        made = config()
        generate(made, quiet=True)
        checkpoint = made.directory / "checkpoint.safetensors"
        checkpoint.write_bytes(checkpoint.read_bytes()[:999])
        with pytest.raises(RunError, match="is not a whole safetensors file"):
            resume_generation(made.directory, epochs=4)


def test_a_loss_that_is_no_number_is_one_sentence_and_the_last_good_model_stays(config, monkeypatch):
    made = config()
    from genrl.models.vae import VAE

    loss, calls = VAE.loss, []

    def breaks(model, x):
        calls.append(None)
        return loss(model, x) * (float("nan") if len(calls) > 8 else 1)

    monkeypatch.setattr(VAE, "loss", breaks)
    result = generate(made, quiet=True)
    assert result["status"] == "failed"
    assert result["error"] == "the loss of a batch is nan in epoch 3, step 8; lower the learning rate"
    assert result["epochs"] == 2
    assert all(value.isfinite().all() for value in load_model(made.directory / "model.safetensors").state_dict().values())


class TestCompletion:
    @pytest.mark.parametrize("given", ["quadrants-1", "quadrants-3", "hole", "noise", "coarse"])
    def test_is_measured_beside_the_plain_network_and_drawn(self, config, given):
        made = config("conditional-vae", given=given, judge_images=30, judge_samples=4, pictures=True)
        result = generate(made, quiet=True)
        assert result["judging_error"] is None and result["distances"] is None
        assert result["likelihood"]["floor_name"] == "plain network"
        assert Image.open(made.directory / "completions.png").size[0] > 500
        assert (
            GenerateConfig.from_dict(
                {name: value for name, value in json.loads((made.directory / "config.json").read_text()).items() if name != "about"}
            ).given
            == given
        )

    def test_likelihood_is_that_of_what_is_wanted(self, config):
        source, made = images_of(config("conditional-vae", judge_images=8, judge_samples=3))
        assert made.given == "quadrants-1"
        model, made = build(made, source)
        model.eval()
        found = likelihood(made, source, model)
        parts = quadrants(1)(source.seen(judged_images(source, 8), SEED), torch.Generator())
        assert found["floor"]["nats"] == pytest.approx(-float(model.log_prob_of_guess(*parts).mean()), rel=1e-5)
        assert found["bits_per_dim"] == pytest.approx(found["nats"] / math.log(2) / 48)  # three quadrants of 64 pixels are wanted

    def test_nothing_is_given_to_other_models(self, config):
        with pytest.raises(RunError, match="--given is hole, but --model vae is given nothing; write --model conditional-vae"):
            config("vae", given="hole")


class TestAGan:
    def test_has_a_picture_of_its_balance_classes_and_codes(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(300))
        found = generate(config("conditional-gan", judge_images=24, pictures=True), quiet=True)
        run = config().out
        assert "the generator has learnt little yet" in found["trouble"]  # after a few steps all images are grey
        assert {"balance.png", "classes.png", "samples.png", "interpolations.png"} <= {path.name for path in run.iterdir()}
        generate(config("diffusion", out="noise", judge_images=24, pictures=True), quiet=True)
        assert "classes.png" in {path.name for path in config(out="noise").out.iterdir()}
        generate(config("infogan", out="codes", judge_images=24, pictures=True), quiet=True)
        names = {path.name for path in config(out="codes").out.iterdir()}
        assert {"code_1_classes.png", "code_2_numbers.png", "code_3_numbers.png", "balance.png"} <= names
        assert "curves.png" not in names

    def test_logs_both_losses_accuracies_norms_and_what_it_draws(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(300))
        generate(config("dcgan", judge_images=24), quiet=True)
        wanted = {"discriminator", "generator", "accuracy_real", "accuracy_fake", "modes", "diversity"}
        assert wanted | {"discriminator_grad_norm", "generator_grad_norm"} <= rows(config().out)[0].keys()

    def test_that_is_resumed_knows_what_it_drew_before(self, config, tmp_path, monkeypatch, capsys):
        np.savez(tmp_path / "bars.npz", **bars(labels=False))
        with monkeypatch.context() as patch:
            patch.setattr("genrl.generation.balance._spread", lambda features: 1.0)
            generate(config("dcgan", epochs=1), quiet=True)
        capsys.readouterr()
        assert "has collapsed: its images are" in resume_generation(config().out, epochs=2)["trouble"]
        assert "epoch 2: the generator has collapsed: its images are" in capsys.readouterr().err

    def test_counts_the_classes_of_the_labels_whatever_the_judge_takes_them_for(self, config, tmp_path, monkeypatch):
        np.savez(tmp_path / "bars.npz", **bars(300))
        monkeypatch.setattr(
            "genrl.generation.classifier.Classifier.forward", lambda net, x: torch.eye(2)[0].expand(len(x), 2) + 0 * net.features(x)[:, :2]
        )
        generate(config("dcgan", judge_images=24, epochs=1), quiet=True)
        assert [row["classes"] for row in rows(config().out)] == ["2"]

    def test_without_labels_its_diversity_is_still_measured(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(labels=False))
        generate(config("dcgan"), quiet=True)
        assert "diversity" in rows(config().out)[0] and "modes" not in rows(config().out)[0]

    @pytest.mark.parametrize("model", ["conditional-gan", "diffusion"])
    def test_knows_the_classes_of_all_images_and_needs_labels_of_all(self, config, tmp_path, model):
        x, y = (bars(60)[name] for name in ("images", "labels"))
        np.savez(tmp_path / "bars.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:] + 1)
        source, made = images_of(config(model))
        assert build(made, source)[0].n_classes == 3
        np.savez(tmp_path / "bars.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:])
        with pytest.raises(RunError, match="labels of its train images but none of its test images"):
            build(*reversed(images_of(config(model))))

    @pytest.mark.parametrize(("judge_images", "batch_size"), [(1, 16), (17, 16), (5, 2)])
    def test_held_out_images_of_any_number_leave_no_batch_of_one(self, config, tmp_path, judge_images, batch_size):
        x = bars(300)["images"]
        np.savez(tmp_path / "bars.npz", x_train=x[:40], x_test=x[40:])
        assert generate(config("dcgan", judge_images=judge_images, batch_size=batch_size), quiet=True)["status"] == "finished"

    @pytest.mark.parametrize(("images", "batch_size"), [(40, 1), (3, 2)])
    def test_refuses_a_batch_of_one_before_anything_is_trained(self, config, tmp_path, images, batch_size):
        x = bars(60)["images"]
        np.savez(tmp_path / "bars.npz", x_train=x[:images], x_test=x[40:])
        with pytest.raises(RunError, match=f"makes batches of 1 of {images} images, but --model dcgan needs at least 2"):
            generate(config("dcgan", batch_size=batch_size), quiet=True)
        assert not config().out.exists()

    def test_an_image_more_than_a_batch_is_shared_out(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", x_train=bars(33)["images"], x_test=bars(20)["images"])
        assert generate(config("dcgan", batch_size=32), quiet=True)["status"] == "finished"

    def test_a_checkpoint_of_another_model_is_refused_and_nothing_changed(self, config, tmp_path):
        generate(config("dcgan"), quiet=True)
        path = config().out / "config.json"
        path.write_text(path.read_text().replace('"width": 2', '"width": 6'))
        before = path.read_text()
        with pytest.raises(RunError, match=r"can't go on: .* is of a fit with another model"):
            resume_generation(config().out, epochs=5, quiet=True)
        assert path.read_text() == before

    def test_dense_networks_by_one_flag(self, config, tmp_path):
        assert generate(replace(config("infogan"), model_kwargs={"networks": "dense"}), quiet=True)["status"] == "finished"

    def test_of_few_labels_is_told_those_alone_the_same_for_a_seed(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(300))
        source, made = images_of(config("semi-supervised"))
        assert made.labels == 20 and source.labelled.needed_labels.bincount().tolist() == [10, 10]
        again, other = (images_of(replace(config("semi-supervised"), seed=seed))[0].labelled for seed in (0, 1))
        assert torch.equal(again.pixels, source.labelled.pixels) and not torch.equal(other.pixels, source.labelled.pixels)
        x, labelled, labels, others = source.transform(source.data.train.batch(slice(0, 16)), torch.Generator().manual_seed(0))
        told = {(image.numpy().tobytes(), int(label)) for image, label in zip(labelled, labels, strict=True)}
        assert told <= {(image.numpy().tobytes(), int(y)) for image, y in zip(source.labelled.batch(), source.labelled.labels, strict=True)}
        assert len(x) == len(others) == 16

    def test_of_few_labels_is_measured_beside_the_nearest_of_them(self, config, tmp_path):
        """Two noiseless bars: the nearest labelled one names all, a model that has learnt nothing about half."""
        few = {name: value[:300] for name, value in bars(300).items()}
        few["images"] = np.where(few["labels"][:, None, None, None] == 1, 200, 0).astype(np.uint8) * np.ones((1, 1, 8, 8), np.uint8)
        np.savez(tmp_path / "bars.npz", **few)
        made = replace(config("semi-supervised", judge_images=24), labels=4)
        found = generate(made, quiet=True)["accuracy"]
        assert found["floor"] == 1.0 and found["labels"] == 4 and found["images"] == 24
        source, _ = images_of(made)
        model, images = load_model(made.out / "model.safetensors"), judged_images(source, 24)
        right = (model.classify(images.batch()).argmax(1) == images.labels).double().mean()
        assert found["accuracy"] == pytest.approx(float(right))
        assert generate(config("dcgan", out="other", judge_images=24), quiet=True)["accuracy"] is None

    def test_few_labels_of_a_small_class_are_all_that_it_has(self, config, tmp_path):
        labels = np.where(np.arange(60) < 5, 4, np.arange(60) % 2)
        np.savez(tmp_path / "bars.npz", x_train=bars(60)["images"], y_train=labels, x_test=bars(20)["images"], y_test=labels[:20])
        source, made = images_of(config("semi-supervised"))
        assert made.labels == 15 and source.labelled.needed_labels.bincount().tolist() == [5, 5, 0, 0, 5]

    def test_few_labels_that_can_not_be_shared_are_refused(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(300))
        for given, good in ((21, 20), (1, 2), (999, 244)):
            sentence = f"--labels is {given}, but 2 classes, the smallest of 122 images, must share them equally; type --labels {good}"
            with pytest.raises(RunError, match=sentence):
                images_of(replace(config("semi-supervised"), labels=given))
            images_of(replace(config("semi-supervised"), labels=good))
        with pytest.raises(RunError, match="--levels is 8, but must be 256 for --model semi-supervised"):
            replace(config("semi-supervised"), levels=8)

    @pytest.mark.parametrize("model", ["gan", "energy"])
    def test_learns_of_images_that_are_all_alike(self, config, tmp_path, model):
        np.savez(tmp_path / "bars.npz", images=np.full((40, 8, 8), 9, np.uint8))
        assert generate(config(model, judge_images=20), quiet=True)["status"] == "finished"

    def test_in_a_row_of_codes_only_one_code_differs(self):
        torch.manual_seed(0)
        gan = GAN((1, 8, 8), width=2, noise=4, categories=(3,), continuous=1).eval()
        latents = []
        gan.generator.forward = lambda latent: latents.append(latent) or torch.zeros(len(latent), 1, 8, 8)
        assert {name: len(images) for name, images in gan.sweeps(8, 10).items()} == {"code_1_classes": 24, "code_2_numbers": 80}
        for latent, columns, own in ((latents[0], 3, slice(4, 7)), (latents[1], 10, slice(7, 8))):
            by_row = latent.unflatten(0, (8, columns))
            same = torch.ones(8, dtype=torch.bool)
            same[own] = False
            assert torch.equal(by_row[:, :1, same].expand(-1, columns, -1), by_row[..., same])
            assert all(len(row.unique(dim=0)) == columns for row in by_row[..., own])


class TestWhatAModelSees:
    @pytest.mark.parametrize(
        ("model", "channels", "size", "levels", "shape"),
        [
            ("vae", 1, 8, 2, (1, 8, 8)),
            ("vae", 3, 8, 256, (3, 8, 8)),
            ("vae", 1, 40, 256, (1, 40, 40)),
            ("vae", 1, 96, 256, (1, 64, 64)),
            ("pixelcnn", 1, 8, 2, (1, 8, 8)),
            ("pixelcnn", 3, 48, 8, (1, 32, 32)),
            ("realnvp", 1, 8, 256, (1, 8, 8)),
            ("naive-bayes", 3, 8, 2, (3, 8, 8)),
        ],
    )
    def test_is_decided_by_the_model_and_the_images(self, config, tmp_path, model, channels, size, levels, shape):
        np.savez(tmp_path / "bars.npz", **bars(20, channels, size=size))
        source, made = images_of(replace(config(model), model_kwargs={}))
        assert (made.levels, source.data.train.shape) == (levels, shape)
        net, made = build(made, source)
        x = source.seen(source.data.test, 0)
        assert len(x.unique()) <= levels and ((x * (levels - 1)).round() / (levels - 1) - x).abs().max() < 1e-6
        assert net.log_prob(x).isfinite().all()

    @pytest.mark.parametrize(("size", "channels"), [(8, (32,)), (32, (32, 64, 128)), (64, (32, 64, 128, 128)), (30, (32,)), (7, ())])
    def test_large_and_coloured_images_are_halved_to_a_few_pixels(self, config, tmp_path, size, channels):
        np.savez(tmp_path / "bars.npz", **bars(20, 3, size=size))
        made = build(*reversed(images_of(replace(config(), model_kwargs={}))))[1]
        assert tuple(made.model_kwargs["channels"]) == channels

    def test_images_are_halved_as_often_as_both_sides_can_be(self):
        found = [len(RECIPES["vae"].sized((3, height, width), 256)["channels"]) for height, width in ((32, 24), (33, 32), (32, 33))]
        assert found == [2, 0, 0]

    def test_grey_is_what_eyes_see_of_colours(self, config, tmp_path):
        colours = np.zeros((20, 8, 8, 3), np.uint8)
        colours[...] = (100, 200, 50)
        np.savez(tmp_path / "bars.npz", images=colours)
        source, _ = images_of(config("pixelcnn"))
        assert source.data.train.pixels.unique().tolist() == [round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)]
        assert source.notes == ("pixelcnn models one channel, so colours are turned grey; for colours type --model vae",)

    def test_a_smaller_size_is_a_mean(self, config, tmp_path):
        images = np.tile(np.array([[0, 100], [200, 40]], np.uint8), (20, 4, 4))
        np.savez(tmp_path / "bars.npz", images=images)
        source, _ = images_of(config(size=4))
        assert source.data.train.shape == (1, 4, 4)
        assert source.data.train.pixels.unique().tolist() == [85]

    def test_cut_images_are_not_said_to_be_resized(self, config):
        source, _ = images_of(config(crop=(1, 1, 2, 2)))
        assert source.data.train.shape == (1, 6, 4)
        assert source.notes == ()
        resized = "images of 6 × 4 pixels are resized to 5 × 5; --size 0 leaves them as they are"
        assert images_of(config(crop=(1, 1, 2, 2), size=5))[0].notes == (resized,)


class TestTheNumbers:
    def source(self, levels):
        """One pixel: white in 3 of 4 training images, and in half of the test images."""
        train = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(4, 1, 1, 1)
        test = torch.tensor([255, 0], dtype=torch.uint8).view(2, 1, 1, 1)
        return RunImages(ImageData("pixel", Images(train), Images(test)), levels)

    def test_of_black_and_white_images_stand_beside_counted_pixels_in_nats(self):
        model = NaiveBayes((1, 1, 1))
        found = likelihood(GenerateConfig(), self.source(2), model)
        assert found["nats"] == pytest.approx(math.log(2))
        assert found["floor"]["nats"] == pytest.approx(-(math.log(4 / 6) + math.log(2 / 6)) / 2)
        assert found["floor"]["nats_error"] == pytest.approx(math.log(2) / 2)  # the std of two numbers, over the root of two
        assert found["floor"]["bits_per_dim"] == pytest.approx(found["floor"]["nats"] / math.log(2))

    def test_of_levels_stand_beside_histograms_in_bits(self):
        class Fair(ImageModel):
            likelihood = "exact"

            def log_prob(self, x):
                return torch.full((len(x),), -math.log(4))

        found = likelihood(GenerateConfig(levels=4), self.source(4), Fair())
        assert found["bits_per_dim"] == pytest.approx(2)
        assert found["floor"]["bits_per_dim"] == pytest.approx(-(math.log2(3.5 / 6) + math.log2(1.5 / 6)) / 2)

    def test_of_a_vae_are_a_bound_with_its_samples(self, config):
        made = config(judge_images=4, judge_samples=7)
        source, made = images_of(made)
        model, made = build(made, source)
        found = likelihood(made, source, model)
        assert (found["kind"], found["samples"], found["images"]) == ("lower bound", 7, 4)
        torch.manual_seed(SEED)
        x = source.seen(judged_images(source, 4), SEED)
        assert found["nats"] == pytest.approx(-float(model.log_prob(x, samples=7).mean()))

    def test_of_samples_need_labels(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(300, labels=False))
        source, made = images_of(config("naive-bayes", judge_images=30))
        assert distances(made, source, build(made, source)[0]) is None
        np.savez(tmp_path / "bars.npz", **bars(300))
        source, made = images_of(made)
        found = distances(made, source, build(made, source)[0])
        assert found["images"] == 30 and found["fid"] > found["floor"]["fid"] >= 0
        few = replace(source, data=replace(source.data, train=source.data.train[:25]))
        assert distances(made, few, build(made, source)[0])["images"] == 25

    def test_of_samples_tell_how_good_their_judge_is(self, config, tmp_path, monkeypatch):
        """It takes dark images for the first class, bright ones for the second; the model draws dark ones."""
        grey = np.where(np.arange(300) % 2, 250, 5).astype(np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
        np.savez(tmp_path / "bars.npz", x_train=grey, y_train=np.arange(300) % 2, x_test=grey[:40], y_test=np.arange(40) % 4 // 3)
        source, made = images_of(config("dcgan", judge_images=40))
        model, made = build(made, source)
        model.sample = lambda n: torch.rand(n, 1, 8, 8) / 9
        dark = torch.tensor([50.0, -50.0])
        monkeypatch.setattr("genrl.generation.classifier.Classifier.forward", lambda net, x: (0.5 - net.features(x)[:, :1]) * dark)
        monkeypatch.setattr("genrl.generation.classifier.Classifier.features", lambda net, x: x.mean((2, 3)))
        monkeypatch.setattr("genrl.generation.classifier.fit", lambda *args, **options: None)
        found = distances(made, source, model)
        assert found["judge_accuracy"] == 0.75
        assert found["inception_score"] == pytest.approx(1.0)
        assert found["inception_score_of_test"] == pytest.approx(2.0)

    @pytest.mark.parametrize(
        ("changes", "images", "why"),
        [
            ({}, {"labels": None}, "the images have no labels"),
            ({}, {"labels": np.full(60, 5)}, "all images have the same label"),
            ({}, {"size": 6}, "images of 6 × 6 pixels have no judge, which takes 8 to 64 a side"),
            ({}, {}, "the test set has 19 images, and distances need 20"),
            ({"judge_images": 5}, {}, "--judge-images asks for 5 images, and distances need 20"),
            ({"judge_images": 0}, {}, None),
        ],
    )
    def test_of_samples_that_are_none_say_why(self, config, tmp_path, changes, images, why):
        found = bars(60, size=images.get("size", 8)) | {"labels": images.get("labels", np.arange(60) % 2)}
        given = {x: values for x, values in zip("xy", found.values(), strict=True) if values is not None}
        parts = {"train": slice(19, None), "test": slice(19)}
        np.savez(tmp_path / "bars.npz", **{f"{x}_{part}": values[cut] for x, values in given.items() for part, cut in parts.items()})
        result = generate(config("gan", **({"judge_images": 100, "epochs": 1} | changes)), quiet=True)
        assert (result["distances"], result["no_distances"], result["judging_error"]) == (None, why, None)

    def test_of_samples_that_are_there_need_no_reason_nor_those_of_a_model_that_completes(self, config, tmp_path):
        np.savez(tmp_path / "bars.npz", **bars(300))
        found = generate(config("naive-bayes", judge_images=30), quiet=True)
        assert found["distances"] is not None and found["no_distances"] is None
        assert generate(config("conditional-vae", out="other", judge_images=3, epochs=1), quiet=True)["no_distances"] is None

    def test_judged_images_are_the_same_for_every_seed(self, config):
        first, second = (judged_images(images_of(config(seed=seed))[0], 3).pixels for seed in (0, 1))
        assert torch.equal(first, second)


class TestPictures:
    def test_have_whole_squares_for_pixels(self):
        images = torch.tensor([0, 255, 128, 64], dtype=torch.uint8).view(1, 1, 2, 2).expand(5, 1, 2, 2)
        picture = np.asarray(grid(images, columns=3))
        assert picture.shape == (4 + 2 * 88, 4 + 3 * 88, 3)
        assert (picture[:3] == 255).all() and (picture[3, 3 : 3 + 86] == (0xD5, 0xD8, 0xDC)).all()  # a line around each, for white images
        tile = picture[4:88, 92:176, 0]
        assert [np.unique(part).tolist() for part in (tile[:42, :42], tile[:42, 42:], tile[42:, :42], tile[42:, 42:])] == [
            [0],
            [255],
            [128],
            [64],
        ]
        assert (picture[92:, 4 + 2 * 88 :] == 255).all()  # the sixth place is empty

    def test_of_a_run_have_the_right_sizes(self, config):
        made = config(pictures=True, samples=20)
        title = 22 if generate(made, quiet=True)["verdict"] is None else 44
        sizes = {path.stem: Image.open(path).size for path in made.directory.glob("*.png")}
        assert sizes["samples"] == (4 + 8 * 84, title + 4 + 3 * 84)  # 8 pixels, magnified 10 times
        assert sizes["interpolations"] == (4 + 10 * 84, title + 4 + 3 * 84)  # of 6 test images
        assert sizes["samples_over_time"][1] == title + 4 + 3 * 84
        assert sizes["curves"] == (960, 570)

    def test_of_a_flow_are_walks_between_test_images_without_the_same_images_again(self, config):
        made = config("realnvp", pictures=True)
        title = 22 if generate(made, quiet=True)["verdict"] is None else 44
        assert {path.stem for path in made.directory.glob("*.png")} == {"curves", "samples", "samples_over_time", "interpolations"}
        walks = np.asarray(Image.open(made.directory / "interpolations.png"))[title:, :, 0]
        source, _ = images_of(made)
        seen = (255 * source.seen(judged_images(source, 6), 0)).round().numpy()
        for row in range(3):  # each pixel is a square of ten
            first, last = (walks[4 + 84 * row :, 4 + 84 * column :][5:80:10, 5:80:10] for column in (0, 9))
            assert np.array_equal(first, seen[row, 0]) and np.array_equal(last, seen[3 + row, 0])

    @pytest.mark.parametrize(("values", "cut"), [([3.0, 2.0], False), ([3.0, 2.0, 2.0], False), ([9.0, 2.0, 1.0], True)])
    def test_of_losses_leave_out_a_first_epoch_only_where_the_others_differ(self, values, cut):
        from matplotlib.figure import Figure

        axes = Figure().subplots()
        axes.plot(values)
        curves._cut(axes, [values])  # of two epochs one is left, which has no height of its own to show
        assert (axes.get_ylim()[1] < values[0]) == cut

    def test_of_two_players_that_are_no_gan_show_every_loss(self, config, monkeypatch):
        drawn = []
        draw = curves._losses

        def spied(axes, what, found, rows):
            drawn.append((what, *found))
            draw(axes, what, found, rows)

        monkeypatch.setattr(curves, "_losses", spied)
        generate(config("vq-vae", pictures=True, judge_images=6), quiet=True)
        assert drawn == [("loss", "training", "test images"), ("loss of codes", "training")]

    def test_of_a_loss_that_is_weighed_have_no_unit_and_no_floor(self):
        found = {"shape": [3, 32, 32], "likelihood": {"floor": {"bits_per_dim": 2.0, "nats": 4000.0}}}
        rows, names = [{"loss": 9000.0, "held_out_loss": 9500.0}], ["loss", "held_out_loss"]

        def drawn(**keywords):
            config = GenerateConfig(model="vae", data="frames:genrl/PixelPendulum-v0", levels=256, **keywords)
            return curves._curves(config, rows, names, found)

        assert drawn()[0] == "bits per dimension" and "independent pixels" in drawn()[1]
        assert drawn(moving=20.0) == ("loss", {"training": [9000.0], "test images": [9500.0]})

    def test_of_a_film_come_from_the_same_noise(self, tmp_path):
        film = SamplesOverTime(tmp_path / "film.npz", 3, seed=0)
        model = NaiveBayes((1, 4, 4))
        for epoch in (1, 2, 3, 2):
            film.add(model, epoch)
            torch.rand(1)
        epochs, images = film.read()
        assert epochs == [1, 2]  # the second 2 takes the place of the first, and of what came after it
        assert np.array_equal(images[0], images[1])


def test_the_run_directory_of_a_learner_is_none_of_a_generative_model(config, tmp_path):
    made = config()
    generate(made, quiet=True)
    for wants_a_learner in (resume, watch):
        with pytest.raises(RunError, match="is the run of a generative model, which has no learner and no policy"):
            wants_a_learner(made.directory)
