"""On a GPU, every kind of run learns, stops and goes on as if it had not stopped, and its policy acts on a CPU. Skipped without one."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import genrl
from genrl.cli import main
from genrl.data import Images
from genrl.encoders import ImageEncoder, Preprocessing
from genrl.files import load_state
from genrl.generation import GenerateConfig, generate, resume_generation
from genrl.generation.directory import GenerationDirectory
from genrl.generators import forked_generators, set_torch_generators, torch_generators
from genrl.models.base import load_model
from genrl.models.training import fit, held_out_loss
from genrl.runs import explore
from tests.generation.test_running import SMALL, bars
from tests.models.test_base import MODELS, SHAPE
from tests.runs import test_rewind, test_vision
from tests.runs.same_directory import assert_same_directory
from tests.runs.test_kills import RUNS, prepared
from tests.runs.test_rewind import stopped_and_resumed
from tests.runs.tiny import assert_equal, config

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch computes on")
COMMANDS = {name: command for name, command in RUNS.items() if not command.startswith("generate")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_learner_reward_and_socket_trains_on_a_gpu(name: str, tmp_path: Path) -> None:
    words = prepared(COMMANDS[name], tmp_path)
    assert main([*words, "--device", DEVICE, "--out", str(tmp_path / "run")]) == 0
    state = load_state(tmp_path / "run" / "checkpoint.safetensors")
    assert state["generators"]["cuda"]


@pytest.mark.parametrize("case", test_rewind.CASES)
def test_a_run_on_a_gpu_that_was_stopped_ends_as_one_that_was_not(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"steps": 512} | test_rewind.CASES[case]
    cell = replace(config(tmp_path / "whole", values.pop("learner", "ppo"), **values), checkpoint_every=60.0, device=DEVICE)
    explore(cell, quiet=True)
    off_policy = "learning_starts" in cell.learner_kwargs
    stopped_and_resumed(replace(cell, out=tmp_path / "stopped"), 101 if off_policy else 2, monkeypatch)
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("case", test_vision.CASES)
def test_a_run_with_an_encoder_on_a_gpu_that_was_stopped_ends_as_one_that_was_not(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"steps": 320, "env": test_vision.TASK, "encoder": test_vision.saved(tmp_path / "eyes")} | test_vision.CASES[case]
    cell = replace(config(tmp_path / "whole", values.pop("learner", "ppo"), **values), checkpoint_every=60.0, device=DEVICE)
    explore(cell, quiet=True)
    stopped_and_resumed(replace(cell, out=tmp_path / "stopped"), 101 if cell.learner == "sac" else 2, monkeypatch)
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")


def test_a_policy_of_a_gpu_acts_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = replace(config(tmp_path / "run", steps=64), device=DEVICE)
    explore(cell, quiet=True)
    there = genrl.load(tmp_path / "run")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    here = genrl.load(tmp_path / "run")
    obs = np.array([[0.5, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(here.predict(obs, deterministic=True)[0], there.predict(obs, deterministic=True)[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "conditional vae"])  # which is fitted with a corruption
def test_every_image_model_learns_on_a_gpu_and_goes_on_there(name: str, tmp_path: Path) -> None:
    images = Images(torch.randint(256, (40, *SHAPE), dtype=torch.uint8))

    def fitted(checkpoint: Path, *epochs: int) -> dict[str, torch.Tensor]:
        for each in epochs:
            torch.manual_seed(0)
            model = MODELS[name]().to(DEVICE)
            fit(model, images, epochs=each, batch_size=10, checkpoint=checkpoint)
        assert all(value.device.type == DEVICE for value in model.parameters())
        return {key: value.cpu() for key, value in model.state_dict().items() if torch.is_tensor(value)}

    whole, resumed = fitted(tmp_path / "a.safetensors", 4), fitted(tmp_path / "b.safetensors", 2, 4)
    assert_equal(whole, resumed)


NETWORKS = {name: kwargs for name, kwargs in SMALL.items() if name != "naive-bayes"} | {
    "mae": {"width": 16, "depth": 1, "decoder_width": 16},
    "jepa": {"width": 4, "latent": 4},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_generative_run_on_a_gpu_that_was_stopped_ends_as_one_that_was_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrl.generation.classifier.STEPS", 6)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.savez(tmp_path / "bars.npz", **bars())
    data = {"data": "frames:genrl/PixelPendulum-v0", "frames": 60, "size": 16} if name == "jepa" else {"data": str(tmp_path / "bars.npz")}
    fitted = {"epochs": 3, "batch_size": 16, "judge_images": 9, "samples": 9, "model_kwargs": NETWORKS[name], "device": DEVICE}
    cell = GenerateConfig(model=name, out=tmp_path / "whole", **data, **fitted)
    assert generate(cell, quiet=True)["judging_error"] is None
    assert all(value.device.type == "cpu" for value in load_model(tmp_path / "whole" / "model.safetensors").state_dict().values())
    write = GenerationDirectory.write_log
    with monkeypatch.context() as patch:
        patch.setattr(GenerationDirectory, "write_log", lambda run, rows: (os.kill(os.getpid(), signal.SIGTERM), write(run, rows)))
        result = generate(replace(cell, out=tmp_path / "stopped"), quiet=True)
    assert (result["status"], result["epochs"]) == ("interrupted", 1)
    assert resume_generation(tmp_path / "stopped", quiet=True)["status"] == "finished"
    if name != "infogan":  # whose grid_sample torch can't repeat bit for bit on a GPU
        assert_same_directory(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("where", ["cpu", DEVICE])
def test_images_are_learnt_from_wherever_they_lie(where: str) -> None:
    torch.manual_seed(0)
    model, images = MODELS["vae"]().to(DEVICE), torch.rand(40, *SHAPE)
    rows = fit(model, images.to(where), epochs=1, batch_size=10, held_out=images.to(where))
    assert rows[0]["held_out_loss"] == held_out_loss(model, images.to(where), batch_size=10)


def test_a_generator_of_a_gpu_is_kept_and_left_alone() -> None:
    torch.rand(1, device=DEVICE)
    state = torch_generators()
    first = torch.rand(3, device=DEVICE)
    set_torch_generators(state)
    with forked_generators():
        torch.rand(5, device=DEVICE)
    assert torch.equal(torch.rand(3, device=DEVICE), first)


def test_an_encoder_on_a_gpu_gives_the_codes_of_the_cpu() -> None:
    images = Images(torch.randint(256, (20, *SHAPE), dtype=torch.uint8))
    encoder = ImageEncoder.of(MODELS["vae"](), Preprocessing(SHAPE), images)
    pixels = torch.randint(256, (20, *SHAPE), dtype=torch.uint8)
    here = encoder(pixels)
    there = encoder.to(DEVICE)(pixels.to(DEVICE))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)
