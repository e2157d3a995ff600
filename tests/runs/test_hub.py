"""A run goes to the hub and comes back as the same policy, without a pickle and without what belongs to this machine; what a stranger has
put there is bounded, and never run."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO

import genrl
from genrl.cli import main
from genrl.errors import RunError
from genrl.generation import GenerateConfig, generate
from genrl.models import VAE
from genrl.roles import LEARNERS
from genrl.runs import explore
from genrl.runs.uses.export import export_sb3
from genrl.runs.uses.hub import BOUNDS, _without_this_machine, card, pull, push
from tests.runs.hub import SHA, Hub, hub
from tests.runs.test_export import KWARGS, OFF_POLICY
from tests.runs.test_vision import saved
from tests.runs.tiny import config


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    monkeypatch.chdir(tmp_path)
    with hub(tmp_path / "hub", monkeypatch) as kind:
        yield kind


def trained(folder: Path, **changes: Any) -> Path:
    explore(config(folder, **{"steps": 128, "normalize_obs": True, "pictures": True} | changes), quiet=True)
    (folder / "watch.gif").write_bytes(b"GIF89a a film")
    return folder


def test_a_run_comes_back_as_the_same_policy(there: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "mine", reward="rnd", reward_kwargs={})
    assert main(["push", "mine", "me/swing"]) == 0
    assert main(["pull", "me/swing"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"https://huggingface.co/me/swing/commit/{SHA}", "watch it: genrl watch runs/swing"]
    assert (tmp_path / "hub/me/swing/.private").read_text() in ("True", "private")
    mine, again = genrl.load("mine"), genrl.load("runs/swing")
    assert again.evaluate(2) == mine.evaluate(2)
    assert again.result == mine.result
    assert all(torch.equal(a, b) for a, b in zip(mine.reward.parameters(), again.reward.parameters(), strict=True))
    files = {path.name for path in (tmp_path / "hub/me/swing").iterdir()}
    assert files >= {"README.md", "config.json", "result.json", "policy.safetensors", "vecnormalize.safetensors", "watch.gif"}
    assert "coverage.png" in files and not {"model.zip", "checkpoint.safetensors"} & files
    assert (tmp_path / "runs/swing/watch.gif").read_bytes() == b"GIF89a a film"


@pytest.mark.parametrize("learner", [part.name for part in LEARNERS.parts if part.name != "maskableppo"])
def test_every_learner_comes_back(learner: str, there: type[Hub], tmp_path: Path) -> None:
    env = "CartPole-v1" if LEARNERS.part(learner).actions == ("Discrete",) else "Pendulum-v1"
    kwargs = KWARGS.get(learner, OFF_POLICY) | {"net_arch": (8,)}
    trained(tmp_path / "mine", learner=learner, env=env, steps=32, learner_kwargs=kwargs, pictures=False)
    push("mine", "me/it")
    assert genrl.load(pull("me/it")).evaluate(1) == genrl.load("mine").evaluate(1)


@pytest.mark.parametrize("finetune", [False, True])
def test_a_run_with_an_encoder_comes_back(finetune: bool, there: type[Hub], tmp_path: Path) -> None:
    own = {"env": "genrl/PixelPendulum-v0", "encoder": saved(tmp_path / "eyes"), "finetune": finetune, "normalize_obs": False}
    trained(tmp_path / "mine", steps=64, pictures=False, **own)
    push("mine", "me/it")
    shutil.rmtree(tmp_path / "eyes")
    assert genrl.load(pull("me/it")).evaluate(1) == genrl.load("mine").evaluate(1)


def test_what_is_pulled_can_be_exported_and_pushed_again(there: type[Hub], tmp_path: Path) -> None:
    trained(tmp_path / "mine", normalize_obs=False)
    push("mine", "me/it")
    run = genrl.load(pull("me/it"))
    model = PPO.load(export_sb3(run, tmp_path / "sb3")[0])
    obs = run.observation_space.sample()
    assert np.array_equal(model.predict(obs, deterministic=True)[0], run.predict(obs)[0])
    push("runs/it", "me/again")
    assert genrl.load(pull("me/again")).evaluate(1) == run.evaluate(1)


def test_a_generative_model_comes_back(there: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=pixels, x_test=pixels[:20])
    generate(GenerateConfig(model="vae", data=str(tmp_path / "images.npz"), epochs=1, out=tmp_path / "vae", pictures=False), quiet=True)
    assert main(["push", "vae", "me/vae", "--public"]) == 0
    assert (tmp_path / "hub/me/vae/.private").read_text() in ("False", "public")
    assert main(["pull", "me/vae", "--out", "again"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "draw images: genrl sample again"
    mine, again = genrl.load("vae"), genrl.load("again")
    assert isinstance(again, VAE)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), again.parameters(), strict=True))


def test_nothing_of_this_machine_is_sent(there: type[Hub], tmp_path: Path) -> None:
    trained(tmp_path / "mine")
    push("mine", "me/swing")
    sent = [path.read_bytes() for path in (tmp_path / "hub/me/swing").iterdir()]
    assert not [content for content in sent if str(tmp_path).encode() in content]
    about = json.loads((tmp_path / "hub/me/swing/config.json").read_text())["about"]
    assert set(about) == {"versions"}


def test_nothing_of_this_machine_is_sent_with_a_generative_model(there: type[Hub], tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8))
    generate(GenerateConfig(model="random", data=str(tmp_path / "images.npz"), out=tmp_path / "eyes", pictures=False), quiet=True)
    config = json.loads((tmp_path / "eyes/config.json").read_text())
    (tmp_path / "eyes/config.json").write_text(json.dumps(config | {"policy": str(tmp_path / "expert")}))
    push("eyes", "me/eyes")
    sent = {path.name: path.read_bytes() for path in (tmp_path / "hub/me/eyes").iterdir()}
    assert not [name for name, content in sent.items() if str(tmp_path).encode() in content]
    assert b"# random on images.npz" in sent["README.md"]
    assert [json.loads(sent[name])["data"] for name in ("config.json", "result.json")] == ["images.npz", "images.npz"]
    frames = {"command": "generate", "data": "frames:genrl/PixelPendulum-v0", "model": "random"}
    assert _without_this_machine(frames)["data"] == frames["data"]  # a task is no path


def test_nothing_that_is_sent_is_a_pickle(there: type[Hub], tmp_path: Path) -> None:
    trained(tmp_path / "mine")
    (tmp_path / "mine/notes.pkl").write_bytes(b"\x80\x04.")
    (tmp_path / "mine/result.png").symlink_to("/etc/passwd")
    push("mine", "me/swing")
    files = [path for path in (tmp_path / "hub/me/swing").iterdir() if path.name != ".private"]
    assert all(path.suffix in (".md", ".json", ".csv", ".safetensors", ".png", ".gif") for path in files)
    assert not any(zipfile.is_zipfile(path) or path.read_bytes()[:1] == b"\x80" for path in files if path.suffix != ".safetensors")
    assert not (tmp_path / "hub/me/swing/result.png").exists()


def test_the_card_has_the_numbers_the_film_and_how_to_get_it(there: type[Hub], tmp_path: Path) -> None:
    trained(tmp_path / "mine")
    push("mine", "me/swing")
    _, front, body = (tmp_path / "hub/me/swing/README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front)
    score = about["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert score == genrl.load("mine").result["evaluation_return"]
    assert about["model-index"][0]["results"][0]["dataset"] == {"name": "Pendulum-v1", "type": "Pendulum-v1"}
    assert "![The policy](watch.gif)" in body and "genrl pull me/swing" in body and "| environment steps | 128 |" in body


def test_the_film_that_is_sent_shows_the_policy_that_is_sent(there: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "mine", eval_every=64)
    assert main(["push", "mine", "me/best", "--best"]) == 0
    assert capsys.readouterr().out.endswith("it has no film; make one, and push again: genrl watch mine --best\n")
    assert not (tmp_path / "hub/me/best/watch.gif").exists()
    (tmp_path / "mine/watch-best.gif").write_bytes(b"GIF89a a better film")
    for name, sent, film in (("best", ["--best"], b"GIF89a a better film"), ("last", [], b"GIF89a a film")):
        assert main(["push", "mine", f"me/{name}", *sent]) == 0
        assert "no film" not in capsys.readouterr().out
        assert (tmp_path / f"hub/me/{name}/watch.gif").read_bytes() == film


def test_a_name_can_not_break_out_of_the_card() -> None:
    text = card("me/it", {"env": 'x"}\n---\n<script>|', "learner": "ppo"}, {"evaluation_return": 1.0}, None)
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["model-index"][0]["results"][0]["dataset"]["name"] == 'x"}\n---\n<script>|'
    assert "<script>" not in body and "\n---\n" not in body.split("| --- | --- |")[0]


class TestAStranger:
    @pytest.fixture
    def folder(self, there: type[Hub], tmp_path: Path) -> Path:
        trained(tmp_path / "mine", pictures=False)
        push("mine", "me/it")
        return tmp_path / "hub/me/it"

    def refused(self, sentence: str) -> None:
        with pytest.raises(RunError, match=sentence):
            pull("me/it")
        assert not Path("runs/it").exists()
        assert not list(Path("runs").glob("*"))

    def test_what_is_no_file_of_a_run_is_not_fetched(self, folder: Path) -> None:
        for name in ("evil.py", "model.zip", "torch.py", "checkpoint.safetensors", "sub/config.json", "X.png", ".hidden.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"import os")
        path = pull("me/it")
        assert {file.name for file in path.rglob("*")} <= set(BOUNDS)

    def test_larger_files_than_a_run_has_are_refused_before_they_are_fetched(self, folder: Path, there: type[Hub]) -> None:
        there.sizes["config.json"] = 10**10
        self.refused(r"me/it has config.json of 9,536.7 MiB, but at most 8.0 MiB are fetched; nothing was")

    def test_a_size_that_is_a_lie_is_found_out(self, folder: Path, there: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(BOUNDS, "config.json", 100)
        there.sizes["config.json"] = 10
        self.refused(r"config.json.* (has|Consistency|consistency|size)")

    def test_a_pickle_alone_is_named(self, folder: Path) -> None:
        (folder / "policy.safetensors").rename(folder / "model.zip")
        self.refused(r"me/it holds no run of genrl, which has .*; it has model.zip, which may hold a pickle")

    def test_a_broken_configuration_is_refused(self, folder: Path) -> None:
        (folder / "config.json").write_text("[" * 1000)
        self.refused("me/it holds no run of genrl: config.json is")

    def test_what_it_would_import_is_asked_for(self, folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | {"env": "evil_module:Task-v0"}))
        with pytest.raises(RunError, match="would import evil_module; if you trust it, add --imports evil_module"):
            genrl.load(pull("me/it"))
        assert "evil_module" not in sys.modules

    def test_weights_of_something_else_are_one_sentence(self, folder: Path) -> None:
        shutil.copy(folder / "vecnormalize.safetensors", folder / "policy.safetensors")
        with pytest.raises(
            RunError, match=r"policy.safetensors is not a whole policy of this PPO and its task; restore it from a copy, or pull it again"
        ):
            genrl.load(pull("me/it"))

    def test_a_directory_that_exists_is_left_alone(self, folder: Path) -> None:
        Path("runs/it").mkdir(parents=True)
        with pytest.raises(RunError, match="runs/it exists; choose another --out"):
            pull("me/it")


def test_what_the_hub_refuses_is_one_sentence(there: type[Hub]) -> None:
    with pytest.raises(RunError, match=r"nothing for me/nowhere \(there is none, or it is private\); log in by `hf auth login`"):
        pull("me/nowhere")
    for name in ("nowhere", "../../etc/passwd", "me/it/more", "me/..", ""):
        with pytest.raises(RunError, match="is no repository of the hub; write it as user/name"):
            pull(name)


@pytest.mark.parametrize("words", [["push", "mine", "me/it"], ["pull", "me/it"]])
def test_without_the_extra_one_sentence_says_what_to_type(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(words) == 2
    needs = f"genrl {words[0]} needs huggingface_hub, which is not installed; type: pip install 'genrl-toolkit[hub]'"
    assert needs in capsys.readouterr().err
