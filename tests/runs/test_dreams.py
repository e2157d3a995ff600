"""Runs whose learner also learns in a model of its task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from genrl.cli import main
from genrl.errors import RunError
from genrl.files import load_state
from genrl.runs import DreamConfig, RunConfig, dream, resume

SMALL: dict[str, Any] = {"fit_steps": 20, "world_kwargs": {"members": 2, "hidden": (8,)}, "eval_episodes": 1, "pictures": False}
PPO = {"learner": "ppo", "dream_every": 100, "dreamed_steps": 600, "learner_kwargs": {"n_steps": 100, "batch_size": 50, "net_arch": (8,)}}
SAC = {"learner": "sac", "dream_every": 50, "dreamed_steps": 64, "horizon": 2, "reward": "disagreement"}
SAC |= {"learner_kwargs": {"gradient_steps": 1, "learning_starts": 260, "batch_size": 16, "net_arch": (8,)}}


def run(path: Path, kind: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    return dream(DreamConfig(env="Pendulum-v1", out=path, **SMALL | kind | kwargs), quiet=True)


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for _, value in sorted(state.items()) for tensor in tensors(value)]
    if isinstance(state, list):
        return [tensor for value in state for tensor in tensors(value)]
    return [state] if isinstance(state, torch.Tensor) else []


@pytest.mark.parametrize(("kind", "half", "whole"), [(PPO, 200, 400), (SAC, 330, 400)], ids=["ppo", "sac"])
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(tmp_path: Path, kind: dict[str, Any], half: int, whole: int) -> None:
    straight = run(tmp_path / "straight", kind, steps=whole)
    run(tmp_path / "stopped", kind, steps=half)
    resumed = resume(tmp_path / "stopped", steps=whole, quiet=True)
    assert resumed["evaluation_returns"] == straight["evaluation_returns"]
    for name in ("checkpoint", "world"):
        one, other = (load_state(tmp_path / folder / f"{name}.safetensors") for folder in ("straight", "stopped"))
        for state in (one, other):
            state.pop("recorder", None)  # which has the seconds
        assert len(tensors(one)) == len(tensors(other)) > 3
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def test_a_finished_run_compares_its_dream_with_reality(tmp_path: Path) -> None:
    result = run(tmp_path / "run", PPO, steps=200, pictures=True)
    found = json.loads((tmp_path / "run" / "dream.json").read_text())
    assert len(found["real_returns"]) == len(found["dream_returns"]) == 10
    assert found["quality"]["rows"] == 10 * 200
    assert result["evaluation_error"] is None
    assert result["dream"]["real_return"] == found["real_return"]
    assert (tmp_path / "run" / "dream.png").stat().st_size > 10_000
    header = (tmp_path / "run" / "progress.csv").read_text().split("\n")[0]
    assert {"dream/held_out_loss", "dream/fit_seconds", "dream/clipped"} <= set(header.split(","))


def test_the_control_is_a_run_without_a_world(tmp_path: Path) -> None:
    result = run(tmp_path / "run", PPO, steps=100, world="none", world_kwargs={})
    assert result["status"] == "finished"
    assert not (tmp_path / "run" / "world.safetensors").exists()


def test_a_configuration_comes_back_from_its_json() -> None:
    config = DreamConfig(learner="sac", world="bayesian", stop_quantile=0.9)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == DreamConfig.read(
        {name: value for name, value in json.loads(json.dumps(config.to_dict())).items() if name != "command"}
    )
    assert (config.horizon, config.dreamed_steps, config.normalize_reward) == (1, 10_000, False)
    assert (DreamConfig().horizon, DreamConfig().dreamed_steps, DreamConfig().normalize_reward) == (50, 150_000, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--horizon", "0"], "--horizon is 0, but must be at least 1"),
        (["--share", "1"], "--share is 1.0, but must be above 0 and below 1"),
        (["--reward", "rnd"], "type --eta 1 to explore"),
        (["--env", "FrozenLake-v1"], "takes observations of a flat Box"),
        (["--world", "ensembel"], "did you mean ensemble"),
        (["--world", "none", "--world.members", "3"], "--world"),
        (["--steps", "200"], "the model is fitted after 500 real steps"),
        (["--stop-quantile", "2"], "--stop-quantile is 2.0"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_written(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dream", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_command_can_be_resumed_and_ends_with_the_next_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", PPO, steps=100)
    assert main(["resume", str(tmp_path / "run"), "--steps", "200"]) == 0
    told = capsys.readouterr().out
    assert "return in the dream" in told
    assert f"watch it: genrl watch {tmp_path / 'run'}" in told
    with pytest.raises(RunError, match="has all its 200 steps"):
        resume(tmp_path / "run")
