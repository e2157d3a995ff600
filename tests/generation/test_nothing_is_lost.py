"""What the run of a generative model keeps when it is killed, doubled, or given files that do not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genrl.files as files
from genrl.errors import RunError
from genrl.files import load_state, save_state
from genrl.generation import GenerateConfig, generate, resume_generation
from genrl.generation.directory import GenerationDirectory
from genrl.runs.directory import LOCK
from tests.runs.same_directory import assert_same_directory
from tests.runs.test_nothing_is_lost import PLACES, Killed, fail_at, kill_points

SMALL: dict[str, dict[str, Any]] = {"vae": {"latent": 2, "hidden": (8,)}, "gan": {"width": 2, "noise": 4}, "naive-bayes": {}}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., GenerateConfig]:
    """A run of a few seconds at most."""
    np.savez(tmp_path / "x.npz", images=np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8))

    def made(out: str = "run", model: str = "vae", **changes: Any) -> GenerateConfig:
        values: dict[str, Any] = {"judge_images": 0, "pictures": False, "precision": "float32", "model_kwargs": SMALL[model]}
        values |= {} if model == "naive-bayes" else {"epochs": 2, "batch_size": 16}
        return GenerateConfig(model=model, data=str(tmp_path / "x.npz"), out=tmp_path / out, **values | changes)

    return made


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.name != LOCK}


# --- one writer ---


def test_a_run_that_is_written_to_is_neither_resumed_nor_begun_again(small: Callable[..., GenerateConfig]) -> None:
    config = small()
    run = GenerationDirectory(config.directory)
    with run.writing(), pytest.raises(RunError, match="another process writes to"):
        generate(config, quiet=True)
    assert not run.path.exists()
    generate(config, quiet=True)
    before = snapshot(run.path)
    with run.writing():
        with pytest.raises(RunError, match="another process writes to"):
            resume_generation(run.path, epochs=4, quiet=True)
        with pytest.raises(RunError, match="already holds a run"):
            generate(config, quiet=True)
    assert snapshot(run.path) == before
    assert resume_generation(run.path, epochs=4, quiet=True)["epochs"] == 4
    assert not (run.path / LOCK).exists()


def test_a_run_that_is_refused_leaves_nothing(small: Callable[..., GenerateConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*arguments: Any, **keywords: Any) -> None:
        raise ValueError("no such images")

    monkeypatch.setattr("genrl.generation.training.fit", refuses)
    config = small()
    with pytest.raises(RunError, match=r"--model vae on .*: no such images"):
        generate(config, quiet=True)
    assert not config.directory.exists()


# --- loading comes first ---


def rows_of_nothing(run: GenerationDirectory) -> None:
    save_state(run.checkpoint, {"fit": {"rows": 3}})


def without_optimizers(run: GenerationDirectory) -> None:
    state = load_state(run.checkpoint)
    del state["fit"]["optimizers"]
    save_state(run.checkpoint, state)


def average_of_another(run: GenerationDirectory) -> None:
    state = load_state(run.checkpoint)
    state["fit"]["average"] = {name: torch.zeros(3) for name in state["fit"]["average"]}
    save_state(run.checkpoint, state)


def moments_of_another(run: GenerationDirectory) -> None:
    state = load_state(run.checkpoint)
    state["fit"]["optimizers"][0]["state"][0]["exp_avg"] = torch.zeros(1)
    save_state(run.checkpoint, state)


def cut_samples(run: GenerationDirectory) -> None:
    run.film.write_bytes(b"PK\x03\x04")


def settings_elsewhere(run: GenerationDirectory) -> None:
    config = json.loads(run.config.read_text())
    config["about"]["fit"]["checkpoint"] = str(run.path.parent / "elsewhere")
    run.config.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "spoil", [rows_of_nothing, without_optimizers, average_of_another, moments_of_another, cut_samples, settings_elsewhere]
)
def test_what_does_not_fit_changes_nothing(spoil: Callable[..., None], small: Callable[..., GenerateConfig], tmp_path: Path) -> None:
    config = small()
    generate(config, quiet=True)
    spoil(GenerationDirectory(config.directory))
    before = snapshot(config.directory)
    with pytest.raises(RunError, match=r"(checkpoint.safetensors|samples_over_time.npz|config.json) .*(; restore it|; give another file)"):
        resume_generation(config.directory, epochs=4, quiet=True)
    assert snapshot(config.directory) == before
    assert not (tmp_path / "elsewhere").exists()


# --- faults inside a write ---


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("model", ["vae", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gan", "naive-bayes"))])
def test_a_kill_inside_any_write_leaves_nothing_behind(
    model: str, place: str, small: Callable[..., GenerateConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small("whole", model)
    with monkeypatch.context() as patch:
        writes = fail_at(patch, place, -1)
        generate(whole, quiet=True)
    (whole.directory / LOCK).unlink()
    for number in kill_points(writes[0]):
        killed = replace(whole, out=tmp_path / f"killed{number}")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            fail_at(patch, place, number)
            generate(killed, quiet=True)
        try:
            resume_generation(killed.directory, quiet=True)
        except RunError as error:
            if "there is nothing left to do" not in str(error) and "has all its epochs" not in str(error):  # the last write was whole
                assert "holds no run" in str(error)
                generate(killed, quiet=True)
        assert_same_directory(whole.directory, killed.directory)
        assert not [path for path in killed.directory.iterdir() if files.LEFT_OVER.fullmatch(path.name)]


@pytest.mark.parametrize("name", ["progress.csv", "model.safetensors", "samples_over_time.npz", "checkpoint.safetensors", "result.json"])
def test_a_disk_that_was_full_costs_nothing(
    name: str, small: Callable[..., GenerateConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last epoch that file alone does not fit."""
    whole = small("whole", epochs=3)
    generate(whole, quiet=True)
    full, seen, write = replace(whole, out=tmp_path / "full"), [0], files.write_whole

    def fails(path: Path, content: bytes) -> None:
        seen[0] += Path(path).name == name
        if Path(path).name == name and seen[0] >= (1 if name == "result.json" else 3):
            raise OSError(28, os.strerror(28), str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        for module in ("genrl.files", "genrl.runs.directory", "genrl.generation.directory", "genrl.generation.pictures"):
            patch.setattr(f"{module}.write_whole", fails)
        if name == "samples_over_time.npz":
            full = replace(full, pictures=True)
        with pytest.raises(OSError, match="No space left"):
            generate(full, quiet=True)
    resume_generation(full.directory, quiet=True)
    if name != "samples_over_time.npz":
        assert_same_directory(whole.directory, full.directory)
    rows = (full.directory / "progress.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]
