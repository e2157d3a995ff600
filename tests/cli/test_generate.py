"""`genrl generate` and `genrl resume` of what it leaves: flags, the last line, and refusals of one sentence."""

import json
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genrl.cli import main
from genrl.cli._ending import _rows_of_generation, report_generation
from genrl.cli._flags import parse_run
from genrl.generation import GenerateConfig
from genrl.generation.pictures import SamplesOverTime, grid

SEE = "; see `genrl generate --help`"
TINY = "generate --data bars.npz --model.latent 4 --model.hidden 16 --epochs 2 --batch-size 16 --judge-images 0"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """In a folder with a few images, and with the user's cache inside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENRL_DATA", raising=False)
    rng = np.random.default_rng(0)
    np.savez("bars.npz", images=rng.integers(0, 256, (64, 8, 8), dtype=np.uint8))
    np.savez("floats.npz", images=rng.random((64, 8, 8)))
    np.savez("odd.npz", images=rng.integers(0, 256, (64, 7, 7), dtype=np.uint8))
    for name in ("empty", "mixed"):
        (tmp_path / name).mkdir()
    for size in (8, 9):
        Image.new("L", (size, size)).save(tmp_path / "mixed" / f"{size}.png")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")


def test_flags_become_the_configuration():
    config = parse_run(GenerateConfig, shlex.split("--model VAE --model.posterior iaf --model.channels 8 16 --data bars.npz --levels 4"))
    assert (config.model_kwargs["posterior"], config.model_kwargs["channels"], config.model_kwargs["hidden"]) == ("iaf", (8, 16), None)
    assert (config.levels, config.name) == (4, "bars-vae-seed0")
    frames = parse_run(GenerateConfig, shlex.split("--model pixelcnn --data frames:genrl/SparseMountainCar-v0 --env.threshold 0.5"))
    assert frames.env_kwargs == {"threshold": 0.5}
    assert str(frames.directory) == "runs/SparseMountainCar-v0-pixelcnn-seed0"


def test_as_many_images_as_are_asked_for_are_learnt_from(capsys):
    assert main([*TINY.split(), "--images", "20", "--out", "few"]) == 0
    assert "20 images to learn from" in " ".join(json.loads(Path("few/result.json").read_text())["images"].split())
    assert main([*TINY.split(), "--images", "1000", "--out", "many"]) == 2
    assert "genrl: --images is 1000, but bars.npz has " in capsys.readouterr().err
    assert main(["generate", "--data", "frames:CartPole-v1", "--images", "20"]) == 2
    assert "--images is 20, but --data frames:CartPole-v1 records frames; write --frames 20" in capsys.readouterr().err


def test_help_of_a_model_lists_its_hyperparameters_but_not_what_the_images_decide(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--model", "pixelcnn", "--help"])
    text = capsys.readouterr().out
    assert "--model.mixture INT" in text and "--model.blocks {residual,gated}" in text
    assert "--model.levels" not in text and "--model.image-shape" not in text


def test_generate_and_resume(capsys):
    assert main([*TINY.split(), "--out", "run"]) == 0
    captured = capsys.readouterr()
    *_, pictures, last = captured.out.splitlines()
    assert pictures == "pictures in run: curves.png, interpolations.png, reconstructions.png, samples.png, samples_over_time.png"
    assert last == "train longer: genrl resume run --epochs 4"
    assert "58 images to learn from, 6 to test on; 8 × 8, black and white" in captured.err
    assert main(["resume", "run", "--epochs", "3"]) == 0
    with open("run/result.json") as file:  # noqa: PTH123
        assert json.load(file)["epochs"] == 3


def test_the_numbers_of_samples_are_printed_with_how_good_their_judge_is(capsys):
    numbers = {"fid": 1.5, "kid": 0.02, "kid_error": 0.001, "precision": 0.75, "recall": 0.5}
    scores = {"images": 1000, "inception_score": 7.25, "inception_score_of_test": 9.5, "judge_accuracy": 0.987}
    known = {"images": "few", "counted": False, "epochs": 1, "seconds": 2, "parameters": 3, "likelihood": None}
    rows = dict(_rows_of_generation(known | {"distances": numbers | scores | {"floor": numbers}}))
    assert rows["samples"] == "FID 1.5, KID 0.02 ± 0.001, precision 0.75, recall 0.50 (1,000 of each)"
    assert rows["Inception score"] == "7.25, of the test images 9.5, by a judge that names 98.70% of them right"
    rows = dict(_rows_of_generation(known | {"distances": numbers | scores | {"judge_accuracy": None, "floor": numbers}}))
    assert rows["Inception score"] == "7.25, of the test images 9.5"


def test_a_model_that_is_no_better_than_its_floor_says_so_in_the_result_and_at_the_end(capsys):
    flags = "generate --data bars.npz --model vae --model.latent 4 --model.hidden 16 --epochs 1 --batch-size 58 --learning-rate 1e-6"
    assert main([*flags.split(), "--levels", "256", "--judge-samples", "2", "--out", "run"]) == 0
    with open("run/result.json") as file:  # noqa: PTH123
        said = json.load(file)["verdict"]
    assert "bits per dimension against the floor of" in said and said.endswith("it has not learnt yet")
    assert " ".join(said.split()[:6]) in " ".join(capsys.readouterr().out.split())


def test_the_title_of_a_grid_stands_above_its_images():
    images = torch.zeros(2, 1, 84, 84, dtype=torch.uint8)
    plain, titled = grid(images, 2), grid(images, 2, title="one\ntwo")
    moved = titled.height - plain.height
    assert moved == 44
    assert titled.crop((4, moved + 4, 180, titled.height)).tobytes() == plain.crop((4, 4, 180, plain.height)).tobytes()
    assert titled.crop((0, 0, titled.width, moved)).getextrema()[0][0] < 128  # words are there
    assert grid(images[:1], 1, title="a title that is wider than the picture").width > plain.width


def test_samples_without_numbers_say_why(capsys):
    assert main([*TINY.split(), "--no-pictures", "--judge-images", "5", "--out", "run"]) == 0
    assert "FID and KID not measured: the images have no labels" in " ".join(capsys.readouterr().out.split())


def test_an_encoder_that_was_not_probed_says_what_its_task_lacks():
    shown = {"images": "", "counted": True, "parameters": 1, "likelihood": None, "distances": None, "encoder": {"sight": None}}
    assert (
        'does not put its state, an array of numbers, into info["state"]'
        in dict(_rows_of_generation(shown | {"data": "frames:A-v0"}))["what it sees"]
    )
    assert "what it sees" not in dict(_rows_of_generation(shown | {"data": "mnist"}))


def test_what_is_advised_has_the_same_images_and_as_many_frames_as_were_probed(capsys):
    labelled = np.load("bars.npz")["images"]
    np.savez("labelled.npz", images=labelled, labels=np.arange(64) % 2)
    counted = "generate --model naive-bayes --data labelled.npz --images 30 --crop 1 1 0 0 --seed 2 --judge-images 0 --no-pictures"
    assert main([*counted.split(), "--out", "counted"]) == 0
    said = capsys.readouterr().out
    assert "do better: genrl generate --model vae --data labelled.npz --images 30 --crop 1 1 0 0 --seed 2\n" in said
    eyes = "generate --model random --data frames:genrl/PixelPendulum-v0 --frames 200 --judge-images 0 --no-pictures"
    assert main([*eyes.split(), "--history", "5", "--out", "eyes"]) == 0
    capsys.readouterr()
    result = json.loads(Path("eyes/result.json").read_text())
    result["encoder"]["sight"] |= {"state": {"sin_theta": -2.0, "theta_dot": 0.4}, "products": {"sin_theta": -1.0, "theta_dot": 0.9}}
    assert report_generation(result, Path("eyes")) == 0
    seen = "explore --env genrl/PixelPendulum-v0 --encoder eyes --history 5 --learner sac"
    assert f"learn through its eyes: genrl {seen}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "advice"), [("random", "do better: genrl generate --model vae --data"), ("vae", "train longer: genrl resume eyes")]
)
def test_eyes_that_see_nothing_are_not_learnt_through(model, advice, capsys):
    eyes = f"generate --model {model} --data frames:genrl/PixelPendulum-v0 --frames 100 --judge-images 0 --no-pictures --out eyes"
    assert main([*eyes.split(), *(["--epochs", "1", "--model.hidden", "8"] if model == "vae" else [])]) == 0
    said = capsys.readouterr().out
    assert "at worst); try another --model, more frames (--frames)" in " ".join(said.split())
    assert advice in said.splitlines()[-1]
    assert "--frames" not in said.splitlines()[-1]  # the default is more


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(SamplesOverTime, "add", lambda film, model, epoch: os.kill(os.getpid(), signal.SIGINT) if epoch == 1 else None)
        assert main([*TINY.split(), "--out", "run"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted after 1 epoch; go on with: genrl resume run"
    assert main(["resume", "run"]) == 0


def test_an_interrupt_before_anything_is_written_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("genrl.generation.running.images_of", interrupted)
    assert main([*TINY.split(), "--out", "run"]) == 130
    assert capsys.readouterr().err == "genrl: interrupted\n"
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_says_why_and_exits_with_1(capsys, monkeypatch):
    monkeypatch.setattr("genrl.models.vae.VAE.loss", lambda model, x: model.to_posterior.bias.sum() * float("nan"))
    assert main([*TINY.split(), "--out", "run"]) == 1
    reason = "the loss of a batch is nan in epoch 1, step 0; lower the learning rate"
    assert capsys.readouterr().err.splitlines()[-1] == f"genrl: {reason}; no model was saved"


def test_numbers_that_could_not_be_measured_say_how_to_do_it_again(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("genrl.generation.training.likelihood", lambda *args: 1 / 0)
        assert main([*TINY.split(), "--judge-images", "5", "--no-pictures", "--out", "run"]) == 1
    reason = "the likelihood failed (ZeroDivisionError: division by zero); the training is saved, do the rest with: genrl resume run"
    assert capsys.readouterr().err.splitlines()[-1] == f"genrl: {reason}"
    assert main(["resume", "run"]) == 0


BAD = {
    "generate --model pixelcn": "there is no model 'pixelcn'; did you mean pixelcnn?",
    "generate --model ising": "there is no model 'ising'; choose one of naive-bayes, vae, pixelcnn, realnvp, conditional-vae, gan, dcgan, "
    "conditional-gan, infogan, semi-supervised, diffusion, energy, vq-vae, mae, jepa, pca, random",
    "generate --model vae --model.latant 3": f"the chosen model has no --model.latant; did you mean --model.latent{SEE}",
    "generate --model pixelcnn --model.levels 4": f"the chosen model has no --model.levels; did you mean --levels{SEE}",
    "generate --dat mnist": f"there is no flag --dat; did you mean --data{SEE}",
    "generate --levels 1": f"--levels is 1, but must be at least 2{SEE}",
    "generate --model naive-bayes --levels 4": f"--levels is 4, but must be 2 for --model naive-bayes{SEE}",
    "generate --model naive-bayes --epochs 4": f"--epochs is 4, but --model naive-bayes counts once; leave --epochs out{SEE}",
    "generate --model naive-bayes --batch-size 7": f"--batch-size is 7, but --model naive-bayes counts once; leave --batch-size out{SEE}",
    "generate --model pca --precision bfloat16": f"--precision is bfloat16, but --model pca counts in float32; leave --precision out{SEE}",
    "generate --model jepa --samples 9 --data frames:CartPole-v1": "--samples is 9, but --model jepa draws none; leave --samples out",
    "generate --data bars.npz --model naive-bayes --code 5": "--code is 5, but --model naive-bayes on bars.npz leaves no encoder; leave "
    "--code out",
    "generate --data bars.npz --data-root .": ". was given as the folder of mnist and fashion-mnist, but the images are those "
    "of bars.npz; leave it out",
    "generate --imports mine": "--imports was given, but there is no run of a policy that may import them; add --policy RUN" + SEE,
    "generate --model pca --device cuda": f"--device is cuda, but --model pca counts on the CPU; leave --device out{SEE}",
    "generate --seed 9999999999999999999": f"--seed is 9999999999999999999, but must be below 2 to the 63{SEE}",
    "generate --data bars.npz --model energy --model.clip inf": "--model.clip is inf, but must be finite",
    "generate --data frames:CartPole-v1 --model conditional-gan": "--model conditional-gan needs labels, and frames have none; write "
    f"another --model, or --data with labels{SEE}",
    "generate --size 3": f"--size is 3, but must be at least 4, or 0 for images as they are{SEE}",
    "generate --labels 20": f"--labels is 20, but --model vae has no use for a few; write --model semi-supervised{SEE}",
    "generate --model semi-supervised --labels 0": f"--labels is 0, but must be at least 1{SEE}",
    "generate --model semi-supervised --data bars.npz": "--model semi-supervised on bars.npz: these images have no labels, which a "
    "conditional model or a classifier needs; put each class into a folder of its own",
    "generate --learning-rate 0": f"--learning-rate is 0.0, but must be positive and finite{SEE}",
    "generate --frames 3": f"--frames is 3, but must be at least 20{SEE}",
    "generate --policy taken": f"--policy was given, but --data mnist records nothing; write --data frames:TASK{SEE}",
    "generate --env.gravity 3": "--env.gravity was given, but --data mnist records nothing; write --data frames:TASK",
    "generate --data frames:": f"--data is 'frames:', but needs a task behind the colon, such as frames:CarRacing-v3{SEE}",
    "generate --data frames:CartPol-v1": "there is no task 'CartPol-v1'; did you mean CartPole-v1 or CartPole-v0?",
    "generate --data nothing": "there are no images at nothing; give mnist, fashion-mnist, an .npz, or a folder of images",
    "generate --data empty": "empty has no images; put .bmp, .gif, .jfif, .jpeg, .jpg, .pgm, .png, .ppm, .webp files into it, "
    "or into a folder for each class",
    "generate --data mixed": "mixed/9.png has 1 × 9 × 9 pixels, but mixed/8.png has 1 × 8 × 8; make all of one size",
    "generate --data floats.npz": "the images of floats.npz are float64, but must be bytes from 0 to 255 (uint8)",
    "generate --data odd.npz --model realnvp": "--model realnvp on odd.npz: RealNVP needs image_shape to be of sizes divisible by 2, "
    "but was given (1, 7, 7); --size 8 would do",
    "generate --data odd.npz --model conditional-vae --given coarse": "--given coarse on odd.npz: images of 7 × 7 are no whole squares of "
    "2 pixels; give others, or another factor; --size 8 would do",
    "generate --data bars.npz --model.latent 0": "--model vae on bars.npz: VAE needs latent to be at least 1, or 2 with a flow, "
    "but was given 0; type latent=32 for the default",
    "generate --data bars.npz --out taken": "taken already holds a run; go on with it by `genrl resume taken`, or choose another --out",
    "resume nothing": "nothing holds no run; start one with `genrl explore`",
}


@pytest.mark.parametrize(("words", "sentence"), BAD.items(), ids=list(BAD))
def test_one_sentence_and_exit_code_2(words, sentence, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err == f"genrl: {sentence}\n"
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_named_set_that_is_not_here_says_where_it_was_looked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pooch.retrieve", lambda *args, **kwargs: 1 / 0)
    assert main(["generate", "--data-root", "nowhere"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("genrl: train-images-idx3-ubyte.gz of mnist is neither in nowhere/mnist nor in ")
    assert err.endswith("put it into nowhere/mnist, or name the folder above by --data-root or GENRL_DATA\n")


def test_a_conditional_model_needs_labels(capsys):
    assert main(["generate", "--model", "conditional-gan", "--data", "bars.npz", "--out", "run"]) == 2
    reason = "these images have no labels, which a conditional model or a classifier needs; put each class into a folder of its own"
    assert capsys.readouterr().err == f"genrl: --model conditional-gan on bars.npz: {reason}\n"


def test_flags_of_learners_are_refused_for_a_generative_model(capsys):
    assert main([*TINY.split(), "--no-pictures", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["resume", "run", "--steps", "9"]) == 2
    known = "it has --epochs, --data, --data-root, --device"
    assert capsys.readouterr().err == f"genrl: run is the run of a generative model, which has no --steps; {known}\n"
    assert main(["resume", "taken", "--epochs", "9"]) == 2
    assert (
        capsys.readouterr().err
        == "genrl: taken is the run of a learner, which has no --epochs; it has --steps, --demos, --device, --step-timeout, --imports\n"
    )
    assert main(["watch", "run"]) == 2
    assert (
        capsys.readouterr().err == "genrl: run is the run of a generative model, which has no learner and no policy; look at its pictures\n"
    )


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda:7", "--device is cuda:7, but torch finds no such device here; type --device cpu"),
        ("gpu", "--device is 'gpu', which torch does not know; type cpu, cuda, cuda:1, mps or auto"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(capsys, device, said):
    assert main([*TINY.split(), "--device", device, "--out", "run"]) == 2
    assert capsys.readouterr().err == f"genrl: {said}\n"
    assert not Path("run").exists()
    assert main([*TINY.split(), "--no-pictures", "--device", "auto", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["resume", "run", "--epochs", "9", "--device", device]) == 2
    assert capsys.readouterr().err == f"genrl: {said}\n"
